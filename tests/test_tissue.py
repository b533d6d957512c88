"""The tissue mask finds simulated tissue, keeps full images whole and empty ones empty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.ingest.phantom.measurement import DIALS
from compseg_jax.ingest.phantom.spots import PhantomConfig, simulate_spot, wavenumber_axis
from compseg_jax.spectra.tissue import (
    TissueOptions,
    amide_i_map,
    band_channels,
    mask_from_amide_i,
    otsu,
    tissue_mask,
)

AXIS = np.linspace(1800, 948, 120)


def gaussian(axis, centre, fwhm):
    return np.exp(-4 * np.log(2) * ((axis - centre) / fwhm) ** 2)


def spectrum(axis):
    return gaussian(axis, 1655, 57) + 0.6 * gaussian(axis, 1545, 65) + 0.2 * gaussian(axis, 1080, 45)


def spot(*, seed, size, difficulty, channels=120):
    """A simulated spot on substrate that has the array's kind of baseline and the noise of its tissue."""
    config = PhantomConfig(size=size, channels=channels, difficulty=difficulty)
    made = simulate_spot(config, seed=seed, index=seed, diseased=seed % 2 == 1, array=seed)
    rng = np.random.default_rng(seed)
    substrate = 0.01 + 0.01 * np.linspace(-1, 1, channels)
    noise = DIALS.at(difficulty)["noise"] * rng.standard_normal(made.absorbance.shape)
    image = np.where(made.tissue[..., None], made.absorbance, substrate + noise)
    return image.astype(np.float32), made.tissue


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize(
    ("difficulty", "channels"), [(0.0, 120), (0.5, 32), (1.0, 32), (1.0, 120), (1.3, 120)]
)
def test_simulated_tissue_is_found(difficulty, channels):
    for seed in range(4):
        image, truth = spot(seed=seed, size=24 + 13 * seed, difficulty=difficulty, channels=channels)
        assert overlap(tissue_mask(image, wavenumber_axis(channels)), truth) >= 0.95


def test_a_rising_axis_gives_the_same_mask():
    image, _ = spot(seed=2, size=32, difficulty=1.0)
    falling = tissue_mask(image, AXIS)
    np.testing.assert_array_equal(tissue_mask(image[..., ::-1], AXIS[::-1]), falling)
    assert 0 < falling.sum() < falling.size


def test_an_image_of_tissue_alone_is_kept_whole():
    image, truth = spot(seed=1, size=64, difficulty=1.0)
    inside = image[20:40, 24:40]
    assert truth[20:40, 24:40].all()
    assert tissue_mask(inside, AXIS).all()


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01, 0.1])
def test_an_empty_image_holds_no_tissue(noise):
    rng = np.random.default_rng(3)
    image = (0.02 + noise * rng.standard_normal((40, 50, 400))).astype(np.float32)
    assert not tissue_mask(image, np.linspace(1800, 948, 400)).any()


def test_a_raised_background_is_still_background():
    rng = np.random.default_rng(4)
    truth = np.zeros((30, 40), bool)
    truth[5:25, 8:30] = True
    thickness = np.where(truth, rng.uniform(0.3, 1.2, truth.shape), 0.07)
    image = thickness[..., None] * spectrum(AXIS) + 0.005 * rng.standard_normal((30, 40, 120))
    np.testing.assert_array_equal(tissue_mask(image.astype(np.float32), AXIS), truth)


def test_an_uneven_background_does_not_cost_thin_tissue():
    rng = np.random.default_rng(5)
    truth = np.zeros((40, 50), bool)
    truth[5:35, 10:40] = True
    heights = np.where(truth, rng.uniform(0.2, 0.4, truth.shape), np.abs(rng.normal(0, 0.07, truth.shape)))
    assert overlap(mask_from_amide_i(heights), truth) > 0.95


def test_specks_go_small_holes_close_and_lumens_stay():
    heights = np.zeros((40, 50))
    heights[4:36, 6:44] = 0.6
    truth = heights > 0
    heights[10:16, 10:16] = 0.0  # a lumen
    truth[10:16, 10:16] = False
    heights[20:22, 20:22] = 0.0  # a gap between cells
    heights[20, 44:46] = 0.6  # on to the edge of the tissue: not a speck
    truth[20, 44:46] = True
    heights[0:3, 0:3] = 0.6  # dust
    heights[4, 6] = 0.0  # a notch is open to the background
    truth[4, 6] = False
    np.testing.assert_array_equal(mask_from_amide_i(heights), truth)
    kept = mask_from_amide_i(heights, options=TissueOptions(min_area_px=0, min_hole_px=0))
    np.testing.assert_array_equal(kept, heights > 0)


def test_a_gap_at_the_edge_may_go_on_beyond_it():
    heights = np.full((20, 20), 0.5)
    heights[0:2, 8:10] = 0.0
    assert not mask_from_amide_i(heights)[0:2, 8:10].any()


def test_values_not_finite_are_no_tissue():
    image, truth = spot(seed=0, size=32, difficulty=0.5)
    clean = tissue_mask(image, AXIS)
    image[16, 14:17] = np.nan
    image[17, 15, :30] = np.inf
    bad = ~np.isfinite(image).all(axis=-1)
    assert truth[bad].all()
    np.testing.assert_array_equal(tissue_mask(image, AXIS), clean & ~bad)
    assert not tissue_mask(np.full((20, 20, 120), np.nan, np.float32), AXIS).any()


def test_a_given_threshold_is_taken_as_it_is():
    heights = np.linspace(0, 1, 400).reshape(20, 20)
    mask = mask_from_amide_i(heights, noise=0.5, options=TissueOptions(threshold=0.03))
    np.testing.assert_array_equal(mask, heights >= 0.03)


def test_noise_raises_the_floor():
    heights = np.full((20, 20), 0.2)
    assert mask_from_amide_i(heights, noise=0.03).all()
    assert not mask_from_amide_i(heights, noise=0.05).any()


def best_split(values):
    """Otsu's criterion by brute force over the cuts between sorted values."""
    ordered = np.sort(values)
    scores = [
        k * (len(ordered) - k) * (ordered[:k].mean() - ordered[k:].mean()) ** 2
        for k in range(1, len(ordered))
    ]
    return max(scores)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_otsu_reaches_the_greatest_variance_between_classes(numbers):
    values = np.array(numbers, float)
    threshold = otsu(values)
    low, high = values[values < threshold], values[values >= threshold]
    if np.ptp(values) == 0:
        assert threshold == values[0]
    else:
        reached = low.size * high.size * (low.mean() - high.mean()) ** 2
        np.testing.assert_allclose(reached, best_split(values), rtol=1e-9)


@given(height=st.floats(0.01, 3), offset=st.floats(-1, 1))
def test_amide_i_is_linear_and_blind_to_offsets(height, offset):
    with jax.enable_x64(True):
        unit = float(amide_i_map(jnp.asarray(spectrum(AXIS)), AXIS))
        found = amide_i_map(jnp.asarray(height * spectrum(AXIS) + offset), AXIS)
    np.testing.assert_allclose(found, height * unit, atol=1e-12)
    assert 0.9 < unit < 1.0


def test_amide_i_keeps_shape_and_dtype_and_jits():
    image, _ = spot(seed=0, size=16, difficulty=1.0)
    heights = amide_i_map(jnp.asarray(image), AXIS)
    assert heights.shape == (16, 16)
    assert heights.dtype == jnp.float32
    jitted = jax.jit(lambda spectra: amide_i_map(spectra, AXIS))(image)
    np.testing.assert_allclose(jitted, heights, rtol=1e-5, atol=1e-6)
    top, base = (AXIS >= 1640) & (AXIS <= 1670), AXIS >= 1760
    expected = image[..., top].mean(axis=-1) - image[..., base].mean(axis=-1)
    np.testing.assert_allclose(heights, expected, atol=1e-6)


def test_bands_are_found_on_rising_and_falling_axes():
    falling = band_channels(AXIS, (1640, 1670), "amide I")
    rising = band_channels(AXIS[::-1], (1640, 1670), "amide I")
    np.testing.assert_array_equal(AXIS[falling], AXIS[::-1][rising][::-1])
    assert AXIS[falling].size == 4


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: tissue_mask(np.ones((4, 5, 9)), np.linspace(1990, 2113, 9)),
            "amide I: no channel between 1640",
        ),
        (lambda: tissue_mask(np.ones((4, 5, 9)), np.linspace(1000, 1750, 9)), "amide I"),
        (lambda: tissue_mask(np.ones((4, 5, 40)), np.linspace(1000, 1750, 40)), "baseline of amide I"),
        (lambda: tissue_mask(np.ones((4, 120)), AXIS), r"absorbance: found shape \(4, 120\)"),
        (lambda: tissue_mask(np.ones((4, 5, 7)), AXIS), r"wavenumbers_cm1: found shape \(120,\)"),
        (lambda: amide_i_map(jnp.ones(3), np.array([1.0, 3.0, 2.0])), "strictly rising or falling"),
        (lambda: TissueOptions(floor=-1), "floor: found -1"),
        (lambda: TissueOptions(threshold=float("nan")), "threshold: found nan"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tile_without_amide_i_is_refused(shared_data):
    from compseg_jax.readers import read

    cube = read(shared_data / "formats" / "agilent" / "4_noimage_agg256.dat")
    with pytest.raises(ValueError, match="amide I: no channel between 1640 and 1670"):
        tissue_mask(cube.absorbance, cube.wavenumbers_cm1)
