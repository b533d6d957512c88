"""Threshold, cut-off of the area and scores out of fold: chosen by labels, never by the fold they score."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from compseg_jax.evaluation.cross_validation import HeldOut, choose_area_cut, cross_validate
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.model.level import at_odds


def held_out(n: int = 24, folds: int = 3, seed: int = 0) -> list[HeldOut]:
    """Diseased samples have an active lesion; each fold's networks have another brightness."""
    rng = np.random.default_rng(seed)
    results = []
    for number in range(n):
        label, fold = number % 2, number // 2 % folds
        activation = rng.uniform(0.0, 0.2 + 0.05 * fold, (9, 7)).astype(np.float32)
        lesion = np.zeros((9, 7), bool)
        lesion[2:6, 1:5] = label
        activation[lesion] += 0.4
        tissue = np.ones((9, 7), bool)
        result = SampleResult(f"s{number}", label, f"p{number // 2}", activation, tissue, lesion, tissue)
        results.append(HeldOut(fold, result, activation[None]))
    return results


@given(
    areas=st.lists(st.integers(0, 6), min_size=2, max_size=14),
    labels=st.lists(st.integers(0, 1), min_size=14, max_size=14),
)
def test_no_cut_of_the_area_is_better(areas, labels):
    labels = np.array([0, 1, *labels][: len(areas)])
    areas = np.array(areas) / 6

    def youden(cut):
        called = areas > cut
        return called[labels == 1].mean() + (~called)[labels == 0].mean()

    cut = choose_area_cut(areas, labels)
    inner = np.linspace(areas.min(), np.nextafter(areas.max(), 0), 101)
    assert youden(cut) >= max(youden(other) for other in inner) - 1e-12
    assert areas.min() <= cut <= areas.max()


def test_the_cut_lies_in_the_widest_gap():
    assert choose_area_cut(np.array([0.0, 0.1, 0.5, 0.6]), np.array([0, 0, 1, 1])) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="both labels"):
        choose_area_cut(np.array([0.0, 0.1]), np.array([1, 1]))


def test_scores_are_those_of_all_samples_together():
    samples = held_out()
    outcome = cross_validate(samples)
    assert outcome.choice.supported
    assert outcome.metrics is not None
    assert outcome.metrics["folds"] == 3
    areas = []
    for each, row in zip(samples, outcome.rows, strict=True):
        threshold = outcome.metrics["threshold_by_fold"][each.fold]
        assert row["threshold"] == threshold
        areas.append(np.mean(each.result.activation > threshold))
        assert row["area_fraction"] == pytest.approx(areas[-1])
    labels = [each.result.label for each in samples]
    assert outcome.metrics["auc_area"] == pytest.approx(roc_auc_score(labels, areas))
    low, high = outcome.metrics["dice_mean_ci95"]
    assert low <= outcome.metrics["dice_mean"] <= high
    assert outcome.metrics["n_groups"] == 12


def test_a_fold_has_no_say_in_its_own_threshold():
    samples = held_out()
    before = cross_validate(samples).metrics["threshold_by_fold"]
    changed = [
        replace(each, result=replace(each.result, activation=1 - (1 - each.result.activation) ** 4))
        if each.fold == 1
        else each
        for each in samples
    ]
    after = cross_validate(changed).metrics["threshold_by_fold"]
    assert after[1] == before[1]
    assert after[0] != before[0]


def test_one_fold_has_a_threshold_and_no_cross_validation():
    samples = [replace(each, fold=0) for each in held_out()]
    outcome = cross_validate(samples, rule="paper")
    assert (outcome.choice.threshold, outcome.metrics) == (0.35, None)
    assert 0 < outcome.area_cut < 1
    assert {name: len(areas) for name, areas in outcome.validation_areas.items()} == {
        name: sum(each.result.label == label for each in samples)
        for name, label in (("diseased", 1), ("healthy", 0))
    }


def test_levels_of_folds_differ_by_their_samples_alone():
    samples = held_out()
    levels = cross_validate(samples).validation_levels
    assert len(levels) == 12
    shifted = [
        replace(each, activations=at_odds(each.activations, math.exp(-2.0 * each.fold))) for each in samples
    ]
    after = cross_validate(shifted).validation_levels
    # Networks that all lie lower are lower on average, and their samples spread as before.
    assert np.mean(after) == pytest.approx(np.mean(levels) - 2.0, abs=0.3)
    assert np.std(after) == pytest.approx(np.std(levels), abs=0.1)
