"""Intervals of the AUC: equation and laws, groups, refusals, and that they hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks.auc_coverage import CASES, Case, coverage, shift_of, singles
from compseg_jax.evaluation.report.report_tables import headline
from compseg_jax.evaluation.scores import evaluate_samples
from compseg_jax.evaluation.scores.auc_interval import (
    auc_interval,
    effective_size,
    hanley_mcneil_variance,
    score_interval,
    too_few_groups,
)
from compseg_jax.evaluation.verdict import verdict
from tests.test_metrics import random_results, result

aucs = st.floats(0, 1)
sizes = st.floats(1, 300)


@given(aucs, sizes, sizes)
def test_the_ends_lie_where_the_auc_found_begins_to_surprise(found, m, n):
    low, high = score_interval(found, m, n)
    assert 0 <= low <= found <= high <= 1
    assert high - low > 0
    for end in (low, high):
        if 1e-6 < end < 1 - 1e-6:
            surprise = abs(found - end) / np.sqrt(hanley_mcneil_variance(end, m, n))
            assert surprise == pytest.approx(1.959964, rel=1e-4)


@given(aucs, sizes, sizes)
def test_scores_turned_round_turn_the_interval_round(found, m, n):
    low, high = score_interval(found, m, n)
    assert score_interval(1 - found, n, m) == pytest.approx([1 - high, 1 - low], abs=1e-7)
    assert score_interval(found, m, n) == pytest.approx(score_interval(found, n, m))


@given(aucs, sizes, sizes)
def test_more_samples_give_a_narrower_interval(found, m, n):
    (few_low, few_high), (low, high) = score_interval(found, m, n), score_interval(found, 2 * m, 2 * n)
    assert few_low <= low + 1e-9
    assert high <= few_high + 1e-9


def test_the_variance_is_that_of_all_pairs_of_few_exponential_scores():
    """Exact for exponential scores of equal numbers: an AUC of m and m samples, simulated."""
    rng, m, rate = np.random.default_rng(0), 4, 3.0
    diseased, healthy = rng.exponential(rate, (40_000, m, 1)), rng.exponential(1, (40_000, 1, m))
    found = (diseased > healthy).mean((1, 2))
    theta = rate / (1 + rate)
    assert found.mean() == pytest.approx(theta, abs=3e-3)
    assert found.var() == pytest.approx(hanley_mcneil_variance(theta, m, m), rel=0.03)


def scores_of(case: Case, seed: int = 0):
    return case.draw(np.random.default_rng(seed))


def test_only_ranks_and_who_shares_a_group_matter():
    scores, labels, groups = scores_of(Case("", [5] * 4, [3] * 5, 1.0, 0.5))
    found = auc_interval(scores, labels, groups)
    assert found[0] < roc_auc_score(labels, scores) < found[1]
    assert auc_interval(np.exp(3 * scores), labels, [f"other {each}" for each in groups]) == found
    assert auc_interval(scores, labels, [str(i) for i in range(len(labels))]) != found


def test_copies_of_a_sample_tell_nothing_more():
    scores, labels, groups = scores_of(Case("", singles(6), singles(7), 1.0))
    once = auc_interval(scores, labels, groups)
    again = auc_interval(np.repeat(scores, 5), np.repeat(labels, 5), list(np.repeat(groups, 5)))
    assert again == pytest.approx(once)


def test_samples_of_a_group_are_worth_between_one_and_all_of_them():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(8), 10)
    own, shared = rng.normal(size=80), rng.normal(size=8)[groups]
    worth = [
        effective_size(np.argsort(np.argsort(shared * part + own)).astype(float), groups)
        for part in (0, 1, 100)
    ]
    assert worth[0] == pytest.approx(80, rel=0.2)
    assert worth[0] > worth[1] > worth[2]
    assert worth[2] == pytest.approx(8, rel=0.02)
    assert effective_size(own, np.zeros(80, int)) == 1
    assert effective_size(np.ones(80), groups) == 8, "of equal scores nobody knows how much groups share"


@pytest.mark.parametrize(
    ("diseased", "healthy", "said"),
    [
        ([1, 1], singles(20), "3 diseased samples are needed, here are 2"),
        ([5] * 4, [5, 5], "3 healthy groups are needed, here are 2"),
        ([1, 2, 12], [5] * 3, "one diseased group has 12 of 15 samples"),
        ([2, 3, 4], singles(3), ""),
    ],
)
def test_too_few_are_refused_in_words(diseased, healthy, said):
    scores, labels, groups = scores_of(Case("", diseased, healthy, 2.0))
    assert too_few_groups(labels, groups) == said
    assert (auc_interval(scores, labels, groups) is None) is bool(said)


def test_a_report_says_that_there_is_no_interval_and_why():
    metrics = evaluate_samples(random_results(20, groups=2), threshold=0.35, n_bootstrap=10).metrics
    assert metrics["auc_area_ci95"] is metrics["auc_mean_activation_ci95"] is None
    assert "The AUC has no interval: 3 diseased groups are needed, here are 2." in metrics["notes"]
    assert "(no 95 % interval: too few)" in headline(metrics)
    assert verdict(metrics, threshold_supported=True).labels_learnt is None
    uneven = [
        result(f"{i}", i % 2, np.full((2, 2), 0.2 + 0.5 * (i % 2)), group=f"p{max(0, i - 30)}")
        for i in range(40)
    ]
    metrics = evaluate_samples(uneven, threshold=0.35, n_bootstrap=10).metrics
    sentence = verdict(metrics, threshold_supported=True).sentence
    assert sentence.startswith("Labels: too few groups: their AUC has no interval; use --folds (AUC 1.00)")


def test_all_ranked_right_is_no_proof():
    results = [result(f"{i}", i % 2, np.full((2, 2), 0.2 + 0.5 * (i % 2))) for i in range(20)]
    metrics = evaluate_samples(results, threshold=0.35, n_bootstrap=10).metrics
    assert metrics["auc_area"] == 1
    assert metrics["auc_area_ci95"] == pytest.approx([0.8002, 1], abs=1e-4)


@pytest.mark.parametrize(
    "case", [CASES[2], Case("", [5] * 4, [5] * 4, shift_of(0.9), 0.5)], ids=["10+10", "4+4x5"]
)
def test_it_holds_the_truth_as_often_as_it_says(case):
    """All cases: python -m benchmarks.auc_coverage."""
    held, _ = coverage(case, auc_interval, 400, seed=2)
    assert 0.93 <= held < 1
