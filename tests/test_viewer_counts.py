"""Area, Dice and mean spectra as functions of the threshold; windows and levels of a pyramid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compseg_jax.viewer.image_layers import ArrayLevel, Pyramid, Window, halved, nearest
from compseg_jax.viewer.threshold_counts import SpectraByThreshold, count_thresholds, threshold_edges

SHAPE = (7, 5)
# Values that lie on edges, beside them, and anywhere.
ACTIVATIONS = hnp.arrays(
    np.float32,
    SHAPE,
    elements=st.one_of(
        st.integers(0, 1000).map(lambda n: float(np.float32(n / 1000))),
        st.floats(0, 1, width=32),
        st.sampled_from([0.0, 1.0, float(np.float32(0.34298953)), float(np.nextafter(np.float32(0.5), 1))]),
    ),
)
MASKS = hnp.arrays(bool, SHAPE)
OWN = 0.34298953732650156
THRESHOLDS = st.one_of(st.integers(0, 1000).map(lambda n: n / 1000), st.just(OWN))


@given(ACTIVATIONS, MASKS, MASKS, THRESHOLDS)
def test_looked_up_area_and_dice_are_those_of_the_mask(activation, tissue, reference, threshold):
    counts = count_thresholds([(activation, tissue, reference)], threshold_edges(OWN))
    mask = tissue & (activation > threshold)
    if tissue.any():
        assert counts.area_fraction(threshold) == mask.sum() / tissue.sum()
    else:
        assert counts.area_fraction(threshold) is None
    if reference.any():
        both = (mask & reference).sum()
        assert counts.dice(threshold) == pytest.approx(2 * both / (mask.sum() + reference.sum()), abs=0)
    else:
        assert counts.dice(threshold) is None


@given(ACTIVATIONS, MASKS, MASKS)
def test_area_falls_with_the_threshold_and_parts_add_up(activation, tissue, reference):
    edges = threshold_edges(OWN)
    whole = count_thresholds([(activation, tissue, reference)], edges)
    assert (np.diff(whole.tissue_above) <= 0).all()
    parts = [(activation[rows], tissue[rows], reference[rows]) for rows in (slice(0, 3), slice(3, 7))]
    split = count_thresholds(parts, edges)
    np.testing.assert_array_equal(split.tissue_above, whole.tissue_above)
    np.testing.assert_array_equal(split.reference_above, whole.reference_above)
    assert (split.tissue_px, split.reference_px) == (whole.tissue_px, whole.reference_px)


def test_without_masks_all_finite_pixels_count_and_dice_is_unknown():
    activation = np.array([[0.2, 0.8], [np.nan, 0.9]], np.float32)
    counts = count_thresholds([(activation, None, None)], threshold_edges())
    assert counts.area_fraction(0.5) == pytest.approx(2 / 3)
    assert counts.dice(0.5) is None


@given(ACTIVATIONS, MASKS, THRESHOLDS)
def test_mean_spectra_are_those_of_the_mask(activation, tissue, threshold):
    cube = np.random.default_rng(3).normal(size=(*SHAPE, 4)).astype(np.float32)
    means = SpectraByThreshold.of(cube, activation, tissue, threshold_edges(OWN))
    mask = tissue & (activation > threshold)
    for found, pixels, n in (
        (means.inside(threshold), mask, means.n_inside(threshold)),
        (means.outside(threshold), tissue & ~mask, means.n_outside(threshold)),
    ):
        assert n == pixels.sum()
        if n:
            np.testing.assert_allclose(
                found, cube[pixels].mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6
            )
        else:
            assert found is None


class Counted(ArrayLevel):
    """A level that notes how many values were read of it."""

    n_read = 0

    def read(self, rows, columns):
        part = super().read(rows, columns)
        Counted.n_read += part.size
        return part


def test_an_overview_reads_the_coarse_level_and_a_window_only_itself():
    values = np.arange(4096 * 2048, dtype=np.float32).reshape(4096, 2048)
    levels = [values]
    while max(levels[-1].shape) > 512:
        levels.append(halved(levels[-1]))
    whole = Pyramid(tuple(Counted(level) for level in levels), values.shape)
    Counted.n_read = 0
    layer = whole.overview()
    assert layer.values.shape == (1024, 512)
    assert layer.factor == 4
    assert Counted.n_read == 1024 * 512
    Counted.n_read = 0
    layer = whole.read(Window(1000.5, 1600, 300, 900.2))
    np.testing.assert_array_equal(layer.values, values[1000:1600, 300:901])
    assert (layer.window, layer.factor) == (Window(1000, 1600, 300, 901), 1)
    assert Counted.n_read == 600 * 601


@given(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), st.data())
def test_a_window_covers_what_was_asked_for(shape, data):
    values = np.random.default_rng(0).random(shape, np.float32)
    image = Pyramid.of_array(values, most_px=3)
    top, bottom = sorted(data.draw(st.lists(st.floats(0, shape[0]), min_size=2, max_size=2)))
    left, right = sorted(data.draw(st.lists(st.floats(0, shape[1]), min_size=2, max_size=2)))
    layer = image.read(Window(top, bottom, left, right), most_px=3)
    assert layer.window.contains(Window(top, bottom, left, right).widened(0.0, shape))
    assert layer.values.size >= 1
    again = image.read(layer.window, most_px=10**6)
    np.testing.assert_array_equal(
        again.values,
        values[
            int(again.window.top) : int(again.window.bottom), int(again.window.left) : int(again.window.right)
        ],
    )


def test_halving_means_pairs_and_repeats_a_last_odd_one():
    np.testing.assert_array_equal(halved(np.array([[0, 2, 4], [2, 4, 6]])), [[2, 5]])
    np.testing.assert_array_equal(nearest(np.arange(4).reshape(2, 2), (4, 4))[:, 0], [0, 0, 2, 2])
