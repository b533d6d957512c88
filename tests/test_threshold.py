"""The threshold chosen from labels against the best one, which only the hidden truth knows."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import logit

from compseg_jax.evaluation.scores import PAPER_THRESHOLD, SampleResult, choose_threshold
from compseg_jax.evaluation.scores.threshold import threshold_by_rule
from compseg_jax.model.diseased_area import AreaRule

SHAPE = (25, 20)


def mixture(
    seed: int,
    counts: tuple[int, int],
    diseased: tuple[float, float],
    healthy: tuple[float, float],
    spread=0.0,
) -> tuple[list[np.ndarray], list[int], list[np.ndarray]]:
    """Logits, labels, truth: healthy and diseased pixels normal in the logit, 5–80 % of a diseased sample."""
    rng = np.random.default_rng(seed)
    logits, labels, truths = [], [0] * counts[0] + [1] * counts[1], []
    for label in labels:
        truth = rng.random(SHAPE) < label * rng.uniform(0.05, 0.8)
        pixel = np.where(truth, rng.normal(*diseased, SHAPE), rng.normal(*healthy, SHAPE))
        logits.append(pixel + spread * rng.normal())
        truths.append(truth)
    return logits, labels, truths


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def choose(logits: list[np.ndarray], labels: list[int], **options):
    tissues = [np.ones(SHAPE, np.bool_)] * len(labels)
    return choose_threshold([sigmoid(x) for x in logits], tissues, labels, **options)


def true_dice(logits, truths, threshold: float) -> float:
    """Over all pixels of the diseased samples (those whose truth marks something)."""
    pairs = [(sigmoid(x) > threshold, t) for x, t in zip(logits, truths, strict=True) if t.any()]
    return 2 * sum((m & t).sum() for m, t in pairs) / sum(m.sum() + t.sum() for m, t in pairs)


MIXTURES = {
    "clear": ((2.0, 1.0), (-4.0, 1.5), 0.0),
    "overlapping": ((0.0, 1.5), (-2.0, 1.5), 0.0),
    "samples differ": ((2.0, 1.0), (-4.0, 1.5), 0.5),
    "far below one half": ((-5.0, 1.0), (-9.0, 1.0), 0.3),
    "far above one half": ((8.0, 1.0), (4.0, 1.0), 0.3),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MIXTURES)
def test_chosen_threshold_is_nearly_as_good_as_the_best(name, seed):
    diseased, healthy, spread = MIXTURES[name]
    logits, labels, truths = mixture(seed, (12, 12), diseased, healthy, spread)
    choice = choose(logits, labels, n_bootstrap=40)
    best = max(true_dice(logits, truths, t) for t in 1 / (1 + np.exp(-np.linspace(-12, 12, 241))))
    assert choice.supported
    assert true_dice(logits, truths, choice.threshold) >= 0.95 * best
    assert choice.interval[0] <= choice.threshold <= choice.interval[1]
    assert choice.implied_dice == pytest.approx(true_dice(logits, truths, choice.threshold), abs=0.12)


def test_diseased_fraction_is_recovered():
    logits, labels, truths = mixture(1, (15, 15), (3.0, 1.0), (-4.0, 1.0))
    expected = np.mean([t.mean() for t, label in zip(truths, labels, strict=True) if label])
    assert choose(logits, labels).diseased_fraction == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("steps", [-20, 40, -160])
def test_shifting_all_logits_shifts_the_threshold(steps):
    """The search grid has steps of .05 in the logit; a shift by whole steps is found exactly."""
    logits, labels, _ = mixture(2, (8, 8), (1.0, 1.0), (-2.0, 1.0))
    logits = [np.round(x / 0.05) * 0.05 + 0.02 for x in logits]
    plain = choose(logits, labels, n_bootstrap=20)
    moved = choose([x + steps * 0.05 for x in logits], labels, n_bootstrap=20)
    logit = lambda t: np.log(t / (1 - t))  # noqa: E731
    assert logit(moved.threshold) - logit(plain.threshold) == pytest.approx(steps * 0.05, abs=1e-6)
    assert moved.diseased_fraction == pytest.approx(plain.diseased_fraction)


def test_a_monotone_change_keeps_the_segmentation():
    logits, labels, truths = mixture(3, (10, 10), (1.0, 1.0), (-2.0, 1.0))
    stretched = [np.where(x > 0, 3 * x, x / 2) - 1 for x in logits]
    plain = true_dice(logits, truths, choose(logits, labels).threshold)
    assert true_dice(stretched, truths, choose(stretched, labels).threshold) == pytest.approx(plain, abs=0.02)


def test_background_has_no_say():
    logits, labels, _ = mixture(4, (6, 6), (2.0, 1.0), (-3.0, 1.0))
    activations = [sigmoid(x) for x in logits]
    tissue = np.zeros(SHAPE, np.bool_)
    tissue[3:20, 2:15] = True
    loud = [np.where(tissue, a, np.float32(0.999)) for a in activations]
    silent = [np.where(tissue, a, np.float32(0)) for a in activations]
    choices = [choose_threshold(maps, [tissue] * 12, labels, n_bootstrap=20) for maps in (loud, silent)]
    assert choices[0] == choices[1]


@pytest.mark.parametrize("counts", [(2, 2), (0, 9), (9, 1)])
def test_too_few_samples_fall_back_to_the_paper_and_say_so(counts):
    logits, labels, _ = mixture(0, counts, (2.0, 1.0), (-4.0, 1.0))
    choice = choose(logits, labels)
    assert not choice.supported
    assert choice.threshold == PAPER_THRESHOLD == 0.35
    assert f"{counts[0]} healthy and {counts[1]} diseased" in choice.reason


def test_seven_validation_samples_as_in_the_paper_suffice():
    logits, labels, _ = mixture(0, (4, 3), (2.0, 1.0), (-4.0, 1.0))
    assert choose(logits, labels).supported


def test_maps_that_ignore_the_label_are_refused():
    """At most one in ten by chance: the permutation test works at p ≤ .1."""
    supported = [
        choose(*mixture(seed, (8, 8), (-3.0, 1.0), (-3.0, 1.0), 1.0)[:2], n_bootstrap=60).supported
        for seed in range(30)
    ]
    assert sum(supported) <= 7


def test_diseased_below_healthy_and_constant_maps_are_refused():
    logits, labels, _ = mixture(0, (8, 8), (-3.0, 0.5), (2.0, 0.5))
    upside_down = choose(logits, labels)
    assert not upside_down.supported
    assert "do not exceed" in upside_down.reason
    assert not choose([np.zeros(SHAPE)] * 12, [0, 1] * 6).supported


def test_groups_widen_the_interval_and_can_withdraw_support():
    """Two patients with eight slices each say less than sixteen patients."""
    logits, labels, _ = mixture(5, (8, 8), (0.0, 1.0), (-2.0, 1.0), 0.3)
    assert choose(logits, labels, n_bootstrap=60).supported
    patients = [f"p{label}" for label in labels]
    grouped = choose(logits, labels, groups=patients, n_bootstrap=60)
    assert not grouped.supported
    assert "of 2 group(s) are too few" in grouped.reason


def test_one_group_has_a_threshold_but_no_interval():
    """Resamples of one patient are all the same: an interval of them would have no width."""
    logits, labels, _ = mixture(5, (8, 8), (0.0, 1.0), (-2.0, 1.0), 0.3)
    alone = choose(logits, labels, groups=["patient"] * len(labels), n_bootstrap=60)
    assert alone.supported
    assert alone.threshold == choose(logits, labels, n_bootstrap=60).threshold
    assert (alone.interval, alone.diseased_fraction_ci95, alone.replicates) == (None, None, None)
    rule = AreaRule.of_choice(asdict(alone), threshold=alone.threshold)
    assert rule.interval(np.ones(9)) is None
    assert "all of one group" in rule.reason


def test_same_seed_same_choice():
    logits, labels, _ = mixture(6, (6, 6), (1.0, 1.0), (-2.0, 1.0))
    assert choose(logits, labels, seed=3) == choose(logits, labels, seed=3)


def test_bad_input_is_refused():
    logits, labels, _ = mixture(0, (4, 4), (2.0, 1.0), (-4.0, 1.0))
    with pytest.raises(ValueError, match="7 labels"):
        choose_threshold([sigmoid(x) for x in logits], [np.ones(SHAPE, np.bool_)] * 8, labels[:7])
    with pytest.raises(ValueError, match="required 0 and 1"):
        choose(logits, [2] * 8)
    with pytest.raises(ValueError, match="activation of sample 0 holds NaN"):
        choose([np.full(SHAPE, np.nan), *logits[1:]], labels)
    with pytest.raises(ValueError, match="sample 0 has an empty tissue mask"):
        choose_threshold([sigmoid(x) for x in logits], [np.zeros(SHAPE, np.bool_)] * 8, labels)


def test_a_small_fraction_is_not_lost_in_what_samples_differ_by():
    """4 % disease, clearly apart, in tissue whose bulk differs from sample to sample."""
    rng = np.random.default_rng(3)
    logits, labels = [], [0] * 10 + [1] * 10
    for label in labels:
        truth = rng.random(SHAPE) < 0.04 * label
        logits.append(np.where(truth, rng.normal(1, 0.5, SHAPE), rng.normal(-5 + rng.normal(), 1, SHAPE)))
    choice = choose(logits, labels, n_bootstrap=100)
    assert choice.supported
    assert choice.diseased_fraction == pytest.approx(0.04, abs=0.015)


def test_the_rule_with_masks_finds_the_best_dice_and_needs_a_mask():
    diseased, healthy, spread = MIXTURES["overlapping"]
    logits, labels, truths = mixture(0, (4, 4), diseased, healthy, spread)

    def results(references):
        return [
            SampleResult(str(i), label, str(i), sigmoid(x), np.ones(SHAPE, np.bool_), reference, x)
            for i, (x, label, reference) in enumerate(zip(logits, labels, references, strict=True))
        ]

    choice = threshold_by_rule("reference", results(truths))

    def mean_dice(threshold):
        pairs = [(sigmoid(x) > threshold, t) for x, t in zip(logits, truths, strict=True) if t.any()]
        return np.mean([2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in pairs])

    best = max(mean_dice(t) for t in np.linspace(0.01, 0.99, 99))
    assert mean_dice(choice.threshold) == pytest.approx(best, abs=0.005)
    assert threshold_by_rule("paper", []).threshold == PAPER_THRESHOLD
    with pytest.raises(ValueError, match="no validation sample has a reference mask"):
        threshold_by_rule("reference", results([None] * 8))


@pytest.mark.parametrize("name", ["clear", "far below one half", "far above one half"])
def test_maps_of_a_network_that_learnt_from_grafts_are_cut_halfway(name):
    """Halfway to .5 in the logit, with what labels imply there; π stays what labels say of the map."""
    diseased, healthy, spread = MIXTURES[name]
    logits, labels, truths = mixture(2, (12, 12), diseased, healthy, spread)
    alone, halfway = (choose(logits, labels, n_bootstrap=40, halfway=each) for each in (False, True))
    assert logit(halfway.threshold) == pytest.approx(0.5 * logit(alone.threshold), abs=0.03)
    assert halfway.rule.startswith("halfway between 0.5 and")
    assert halfway.diseased_fraction == alone.diseased_fraction
    assert halfway.interval[0] <= halfway.threshold <= halfway.interval[1]
    assert halfway.implied_dice == pytest.approx(true_dice(logits, truths, halfway.threshold), abs=0.12)
