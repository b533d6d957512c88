"""Finished maps are smoothed over tissue, as much as labels say takes the noise out of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from compseg_jax.evaluation.scores import choose_threshold
from compseg_jax.evaluation.scores.smoothing import (
    SMOOTHINGS_PX,
    choose_smoothing,
    least_of_gain,
    smoothed,
)
from compseg_jax.evaluation.scores.threshold import threshold_of_part
from compseg_jax.networks.smoothing import reach_px, smoothed_over_tissue
from tests.test_threshold import sigmoid

SIZE = 40
PIXELS = np.hypot(*np.mgrid[-19.5:20.5, -19.5:20.5])
TISSUE = PIXELS < 18


def maps_of(lesions, *, seed=0, noise=2.0, healthy=8, diseased=8):
    """Activations, tissues, labels and truths: the logit is ±3, with noise of each pixel."""
    rng = np.random.default_rng(seed)
    labels = [0] * healthy + [1] * diseased
    truths = [TISSUE & lesions(rng) if label else np.zeros_like(TISSUE) for label in labels]
    activations = [
        sigmoid(np.where(truth, 3.0, -3.0) + rng.normal(0, noise, TISSUE.shape)) for truth in truths
    ]
    return activations, [TISSUE] * len(labels), labels, truths


def blobs(rng):
    return gaussian_filter(rng.normal(size=TISSUE.shape), 4) > 0.02


def specks(rng):
    """Lesions of single pixels and pairs."""
    return gaussian_filter(rng.normal(size=TISSUE.shape), 0.5) > 0.35


def mean_dice(activations, truths, threshold):
    found = [(a > threshold) & TISSUE for a in activations]
    pairs = [(f, t) for f, t in zip(found, truths, strict=True) if t.any()]
    return np.mean([2 * (f & t).sum() / (f.sum() + t.sum()) for f, t in pairs])


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 2**16), st.sampled_from(SMOOTHINGS_PX))
def test_the_programs_mean_is_that_of_the_rule(seed, smoothing):
    rng = np.random.default_rng(seed)
    activation, tissue = rng.random((17, 23)).astype(np.float32), rng.random((17, 23)) < 0.6
    found = np.asarray(
        smoothed_over_tissue(jnp.asarray(activation[None]), jnp.asarray(tissue[None]), smoothing)
    )[0]
    np.testing.assert_allclose(found[tissue], smoothed(activation, tissue, smoothing)[tissue], atol=2e-6)
    elsewhere = np.where(tissue, activation, 1 - activation)
    again = smoothed_over_tissue(jnp.asarray(elsewhere[None]), jnp.asarray(tissue[None]), smoothing)
    np.testing.assert_array_equal(np.asarray(again)[0][tissue], found[tissue])
    assert activation[tissue].min() - 1e-6 <= found[tissue].min()
    assert found[tissue].max() <= activation[tissue].max() + 1e-6


def test_a_constant_stays_and_one_pixel_reaches_as_far_as_is_said():
    tissue = jnp.ones((1, 31, 31), jnp.bool_)
    np.testing.assert_allclose(smoothed_over_tissue(jnp.full((1, 31, 31), 0.3), tissue, 2.0), 0.3, rtol=1e-6)
    point = jnp.zeros((1, 31, 31)).at[0, 15, 15].set(1.0)
    for smoothing in SMOOTHINGS_PX[::2]:
        row = np.flatnonzero(np.asarray(smoothed_over_tissue(point, tissue, smoothing))[0, 15])
        assert (row.min(), row.max()) == (15 - reach_px(smoothing), 15 + reach_px(smoothing))
    assert smoothed_over_tissue(point, tissue, 0.0) is point


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_taken_out_of_lesions_with_room_for_it(seed):
    activations, tissues, labels, truths = maps_of(blobs, seed=seed)
    smoothing = choose_smoothing(activations, tissues, labels)
    assert smoothing > 0
    after = [smoothed(a, TISSUE, smoothing) for a in activations]
    rough = choose_threshold(activations, tissues, labels)
    fine = choose_threshold(after, tissues, labels, unsmoothed=activations)
    assert fine.supported
    gained = mean_dice(after, truths, fine.threshold) - mean_dice(activations, truths, rough.threshold)
    assert gained > 0.03


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lesions_finer_than_any_gaussian_are_left(seed):
    activations, tissues, labels, truths = maps_of(specks, seed=seed, noise=1.0)
    smoothing = choose_smoothing(activations, tissues, labels)
    rough = choose_threshold(activations, tissues, labels)
    before = mean_dice(activations, truths, rough.threshold)
    after = [smoothed(a, TISSUE, smoothing) if smoothing else a for a in activations]
    fine = choose_threshold(after, tissues, labels, unsmoothed=activations)
    assert smoothing <= SMOOTHINGS_PX[0]
    assert mean_dice(after, truths, fine.threshold) > before - 0.05


def test_maps_without_noise_and_too_few_samples_are_left():
    activations, tissues, labels, _ = maps_of(blobs, noise=0.0)
    assert choose_smoothing(activations, tissues, labels) == 0
    activations, tissues, labels, _ = maps_of(blobs, healthy=2, diseased=2)
    assert choose_smoothing(activations, tissues, labels) == 0


def test_no_more_is_smoothed_than_three_quarters_of_the_gain_take():
    assert least_of_gain([0.1, 0.2, 0.35, 0.4, 0.3]) == SMOOTHINGS_PX[2]
    assert least_of_gain([-0.1, 0.0, -0.2, -0.3, -0.4]) == 0
    assert least_of_gain([0.4, 0.5, 0.1, 0.0, 0.0]) == SMOOTHINGS_PX[0]


def test_thresholds_of_smoothed_maps_mark_as_much_as_those_before():
    """A rim, which labels cannot tell from disease, moves neither the marked part nor π by much."""
    activations, tissues, labels, truths = maps_of(blobs, noise=1.0)
    after = [smoothed(a, TISSUE, 2.0) for a in activations]
    rough, own = choose_threshold(activations, tissues, labels), choose_threshold(after, tissues, labels)
    matched = choose_threshold(after, tissues, labels, unsmoothed=activations)

    def marked(maps, threshold):
        return np.mean(
            [(a > threshold)[TISSUE].mean() for a, label in zip(maps, labels, strict=True) if label]
        )

    true = np.mean([t[TISSUE].mean() for t in truths if t.any()])
    assert abs(marked(after, matched.threshold) - true) < 0.02
    assert marked(after, own.threshold) > marked(after, matched.threshold)
    assert abs(matched.diseased_fraction - true) < abs(own.diseased_fraction - true)
    assert matched.interval is not None
    assert matched.interval[0] <= matched.threshold <= matched.interval[1]
    assert marked(activations, rough.threshold) == pytest.approx(true, abs=0.02)


def test_maps_that_were_not_changed_keep_their_threshold_whatever_it_is_matched_with():
    activations, tissues, labels, _ = maps_of(blobs, noise=1.5)
    alone = choose_threshold(activations, tissues, labels)
    matched = choose_threshold(activations, tissues, labels, unsmoothed=activations)
    assert matched.diseased_fraction == pytest.approx(alone.diseased_fraction, abs=0.02)
    for a in activations:
        assert abs(int((a > matched.threshold).sum()) - int((a > alone.threshold).sum())) <= 1


def test_a_part_has_the_threshold_that_marks_it():
    tissues = [np.ones((2, 5), np.bool_), np.ones((1, 2), np.bool_)]
    maps = [np.arange(10).reshape(2, 5) / 10, np.array([[0.95, 0.05]])]
    # Samples count alike, however large: .95 is half of the second one.
    threshold = threshold_of_part(0.5 * (0.5 + 0.3), maps, tissues)
    assert 0.5 * sum((a > threshold).mean() for a in maps) == pytest.approx(0.4)
    assert threshold_of_part(0.0, maps, tissues) == 0.95
    assert threshold_of_part(1.0, maps, tissues) == 0.0
