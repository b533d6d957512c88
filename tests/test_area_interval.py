"""The diseased part of a sample as an interval, against simulated samples whose truth is known."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.evaluation.report.report_tables import columns, samples_csv, threshold_story
from compseg_jax.evaluation.scores import (
    AreaRule,
    SampleResult,
    choose_threshold,
    evaluate_samples,
)
from compseg_jax.model import diseased_area

SHAPE = (24, 17)
TISSUE = np.ones(SHAPE, np.bool_)
ONE = AreaRule(np.array([[0.2], [0.1], [0.9], [0.6], [0.05]]))


def simulate(seed: int, n: int, *, between: float) -> tuple[list[np.ndarray], list[int], list[float]]:
    """Maps, labels, diseased parts; `between` is how far (logits) the tumours of different samples lie apart."""
    rng = np.random.default_rng(seed)
    maps, labels, parts = [], [0] * n + [1] * n, []
    for label in labels:
        truth = rng.random(SHAPE) < label * rng.uniform(0.05, 0.8)
        logit = np.where(
            truth, rng.normal(1.5, between) + rng.normal(0, 2, SHAPE), rng.normal(-5, 1.5, SHAPE)
        )
        maps.append((1 / (1 + np.exp(-logit))).astype(np.float32))
        parts.append(float(truth.mean()))
    return maps, labels, parts


def learnt(seed: int, **options) -> dict:
    maps, labels, _ = simulate(seed, 8, **options)
    return vars(choose_threshold(maps, [TISSUE] * len(maps), labels, n_bootstrap=60))


def covered(seeds: range, **options) -> tuple[float, float]:
    """Part of new diseased samples whose truth lies in the interval, and its mean width."""
    hits, widths = [], []
    for seed in seeds:
        choice = learnt(seed, **options)
        rule = AreaRule.of_choice(choice, threshold=choice["threshold"])
        maps, labels, parts = simulate(1000 + seed, 8, **options)
        for activation, label, part in zip(maps, labels, parts, strict=True):
            low, high = rule.interval(activation[TISSUE])
            assert 0 <= low <= high <= 1
            if label:
                hits.append(low <= part <= high)
                widths.append(high - low)
    return float(np.mean(hits)), float(np.mean(widths))


def test_one_resample_by_hand():
    """Of ten pixels 4 lie above .6 and 7 above .2: (.4 − .05)/.95 to max(.7, (.7 − .1)/(.9 − .1))."""
    pixels = np.array([0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.7, 0.8, 0.9])
    assert ONE.interval(pixels) == pytest.approx((0.35 / 0.95, 0.6 / 0.8))
    few = np.array([0.1] * 9 + [0.3])
    assert ONE.interval(few) == pytest.approx((0.0, 0.1))
    blind = AreaRule(np.array([[0.2], [0.1], [0.12], [0.6], [0.05]]))
    assert blind.interval(few)[1] == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 29), st.floats(0, 1))
def test_more_activation_never_means_less_disease(pixels, index, rise):
    before = np.array(pixels)
    after = before.copy()
    after[index % len(before)] += rise * (1 - after[index % len(before)])
    (low, high), (new_low, new_high) = ONE.interval(before), ONE.interval(after[::-1])
    assert new_low >= low
    assert new_high >= high
    assert low <= high


@pytest.mark.parametrize("between", [0.0, 1.5])
def test_intervals_hold_the_truth(between):
    part, width = covered(range(6), between=between)
    assert part >= 0.9
    assert width <= 0.4


def test_the_chosen_threshold_alone_would_promise_too_much(monkeypatch):
    """What the plateau is for: samples that differ are missed by the resampled threshold."""
    with_it = covered(range(6), between=2.5)[0]
    monkeypatch.setattr(diseased_area, "EQUALLY_GOOD", 0.0)
    assert covered(range(6), between=2.5)[0] < 0.85 < 0.9 < with_it


def test_the_fraction_of_all_diseased_samples_has_an_interval():
    choice = learnt(3, between=0.0)
    low, high = choice["diseased_fraction_ci95"]
    assert low < choice["diseased_fraction"] < high
    _, labels, parts = simulate(3, 8, between=0.0)
    assert low < np.mean([part for part, label in zip(parts, labels, strict=True) if label]) < high
    assert high - low > 0.1  # eight samples from 5 to 80 %
    story = threshold_story({"threshold": choice}, choice["threshold"])
    assert f"(95 % interval {100 * low:.1f} % to {100 * high:.1f} %)" in story


def test_a_rule_survives_json():
    choice = learnt(0, between=0.5)
    again = json.loads(json.dumps(choice))
    pixels = simulate(9, 1, between=0.5)[0][1][TISSUE]
    rules = [AreaRule.of_choice(each, threshold=choice["threshold"]) for each in (choice, again)]
    assert rules[0].interval(pixels) == rules[1].interval(pixels)


def test_what_cannot_be_told_is_refused_with_the_reason():
    choice = learnt(0, between=0.0)
    own = choice["threshold"]
    few = vars(choose_threshold([np.zeros((2, 2))], [np.ones((2, 2), np.bool_)], [1]))
    paper = {"threshold": 0.35, "rule": "…", "supported": True, "interval": None, "reason": "as asked for"}
    old = {name: value for name, value in choice.items() if name != "replicates"}
    for given_choice, threshold, reason in (
        (choice, own + 0.1, "was given, not chosen"),
        (few, few["threshold"], "0 healthy and 1 diseased"),
        (paper, 0.35, "was not chosen from validation labels"),
        (old, own, "train it again"),
        ({"threshold": own}, own, "does not state"),
    ):
        rule = AreaRule.of_choice(given_choice, threshold=threshold)
        assert reason in rule.reason
        assert rule.interval(np.array([0.5])) is None


def result(
    name: str, label: int, activation: np.ndarray, reference: np.ndarray | None = None
) -> SampleResult:
    return SampleResult(name, label, name, activation, TISSUE, reference, np.zeros(SHAPE))


def test_columns_notes_and_table():
    choice = learnt(0, between=0.0)
    maps, labels, _ = simulate(5, 2, between=0.0)
    results = [result(f"s{i}", label, a) for i, (label, a) in enumerate(zip(labels, maps, strict=True))]
    threshold = choice["threshold"]
    rule = AreaRule.of_choice(choice, threshold=threshold)
    told = evaluate_samples(results, threshold=threshold, n_bootstrap=20, area_rule=rule)
    rows = list(csv.DictReader(io.StringIO(samples_csv(told.samples))))
    for row, activation in zip(rows, maps, strict=True):
        expected = rule.interval(activation[TISSUE])
        assert (float(row["area_low"]), float(row["area_high"])) == expected
    assert {"area_low", "area_high"} <= set(columns(told.samples))
    assert not any("sample has no interval" in note for note in told.metrics["notes"])

    refused = AreaRule(None, "nobody knows")
    untold = evaluate_samples(results, threshold=threshold, n_bootstrap=20, area_rule=refused)
    assert {(row["area_low"], row["area_high"]) for row in untold.samples} == {(None, None)}
    assert not {"area_low", "area_high"} & set(columns(untold.samples))
    assert untold.metrics["notes"][-1] == "The diseased part of a sample has no interval: nobody knows."


def test_how_often_it_holds_the_reference_is_measured():
    """Ten pixels of 408 above both thresholds: from 0 to .025; a reference of 10 lies within, one of 200 does not."""
    activation = np.zeros(SHAPE, np.float32)
    activation.flat[:10] = 0.9
    results = []
    for name, marked in (("a", 10), ("b", 200)):
        reference = np.zeros(SHAPE, np.bool_)
        reference.flat[:marked] = True
        results.append(result(name, 1, activation, reference))
    evaluation = evaluate_samples(results, threshold=0.3, n_bootstrap=10, area_rule=ONE)
    assert evaluation.metrics["area_interval_coverage"] == 0.5
    assert any("in 1 of 2 diseased samples" in note for note in evaluation.metrics["notes"])
    without = evaluate_samples(results, threshold=0.3, n_bootstrap=10)
    assert without.metrics["area_interval_coverage"] is None


def test_resamples_stay_in_the_range_of_thresholds_that_was_taken():
    """Faint activation all over diseased samples would draw those resamples down that hold small tumours."""
    rng = np.random.default_rng(0)
    maps, labels = [], [0] * 6 + [1] * 6
    for rows in [0] * 6 + [20, 20, 10, 10, 8, 5]:
        logit = rng.normal(-7 if rows and len(maps) > 6 else -11, 0.5, SHAPE)
        logit[:rows] = 4
        maps.append((1 / (1 + np.exp(-logit))).astype(np.float32))
    choice = choose_threshold(maps, [TISSUE] * 12, labels, n_bootstrap=100)
    assert choice.threshold > 0.05
    assert choice.interval[0] > 0.05
