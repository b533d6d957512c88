"""Gases: a line where carbon dioxide was, vapour subtracted by the amount that was put in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.spectra.gases import flatten_co2, subtract_vapour

AXIS = np.arange(4000, 900, -4.0)
TISSUE = (
    np.exp(-(((AXIS - 1655) / 30) ** 2))
    + 0.7 * np.exp(-(((AXIS - 1545) / 30) ** 2))
    + 0.6 * np.exp(-(((AXIS - 3300) / 120) ** 2))
    + AXIS / 8000
)
LINES = np.random.default_rng(0)
CENTRES = np.concatenate([LINES.uniform(1320, 1880, 60), LINES.uniform(3560, 3940, 40)])
VAPOUR = 0.1 * np.sum(np.exp(-(((AXIS[:, None] - CENTRES) / 4) ** 2)) * LINES.uniform(0.3, 1, 100), axis=1)
CO2 = (AXIS >= 2280) & (AXIS <= 2400)


@given(constant=st.floats(-2, 2), slope=st.floats(-2, 2), falling=st.booleans())
def test_a_line_below_the_gas_comes_back(constant, slope, falling):
    order = slice(None) if falling else slice(None, None, -1)
    line = constant + slope * (AXIS - 2340) / 1000
    gas = np.where(CO2, np.sin(AXIS), 0)
    corrected = flatten_co2((line + gas)[order].astype(np.float32), AXIS[order])
    np.testing.assert_allclose(corrected, line[order], atol=2e-6 * (1 + abs(constant) + 2 * abs(slope)))


def test_only_the_band_changes_and_edges_average():
    rng = np.random.default_rng(1)
    spectra = rng.normal(size=(2, 3, AXIS.size)).astype(np.float32)
    corrected = np.asarray(jax.jit(lambda x: flatten_co2(x, AXIS))(spectra))
    assert corrected.dtype == np.float32
    np.testing.assert_array_equal(corrected[..., ~CO2], spectra[..., ~CO2])
    below, above = (AXIS >= 2270) & (AXIS < 2280), (AXIS > 2400) & (AXIS <= 2410)
    for index in np.ndindex(2, 3):
        ends = [spectra[index][side].astype(np.float64).mean() for side in (below, above)]
        line = np.interp(AXIS[CO2], [AXIS[below].mean(), AXIS[above].mean()], ends)
        np.testing.assert_allclose(corrected[index][CO2], line, atol=1e-6)


def test_a_coarse_axis_uses_the_nearest_channel():
    axis = np.array([2000.0, 2150, 2300, 2360, 2500, 2700])
    spectrum = np.array([0, 1, 50, 50, 8, 3.0], np.float32)
    expected = np.interp(axis[2:4], [2150, 2500], [1, 8])
    np.testing.assert_allclose(flatten_co2(spectrum, axis)[2:4], expected, rtol=1e-6)
    np.testing.assert_allclose(flatten_co2(spectrum[::-1], axis[::-1])[2:4], expected[::-1], rtol=1e-6)


@pytest.mark.parametrize("falling", [True, False])
def test_an_axis_that_ends_in_the_band_continues_level(falling):
    axis = AXIS[AXIS <= 2350]
    spectrum = np.where(axis < 2280, 0.25, 7.0).astype(np.float32)
    order = slice(None) if falling else slice(None, None, -1)
    np.testing.assert_allclose(flatten_co2(spectrum[order], axis[order]), 0.25, rtol=1e-6)
    high = AXIS[AXIS >= 2350]
    spectrum = np.where(high > 2400, 0.5, 7.0).astype(np.float32)
    np.testing.assert_allclose(flatten_co2(spectrum[order], high[order]), 0.5, rtol=1e-6)


def test_an_axis_without_the_band_is_left_alone():
    axis = AXIS[(AXIS < 2270) | (AXIS > 2410)]
    spectra = np.random.default_rng(2).normal(size=(3, axis.size)).astype(np.float32)
    np.testing.assert_array_equal(flatten_co2(spectra, axis), spectra)


@given(amount=st.floats(-2, 2), scale=st.floats(0.1, 3), falling=st.booleans())
def test_the_amount_of_vapour_is_found(amount, scale, falling):
    order = slice(None) if falling else slice(None, None, -1)
    spectra = np.stack([scale * TISSUE + amount * VAPOUR, scale * TISSUE])[:, order]
    with jax.enable_x64(True):
        result = subtract_vapour(jnp.asarray(spectra), AXIS[order], VAPOUR[order])
    # The tissue's own curvature is taken for a little vapour, the same with and without vapour in it.
    assert float(result.factor[0] - result.factor[1]) == pytest.approx(amount, abs=1e-9)
    assert abs(float(result.factor[1])) < 0.03 * scale
    np.testing.assert_allclose(result.corrected[0], result.corrected[1], atol=1e-9)


def test_least_squares_of_the_second_derivative():
    """The factor is that of numpy's least squares on five-channel quadratic second derivatives."""
    from scipy.signal import savgol_filter

    spectrum = TISSUE + 0.4 * VAPOUR + np.random.default_rng(3).normal(0, 1e-3, AXIS.size)

    def lines(values):
        return np.concatenate(
            [
                savgol_filter(values[(low <= AXIS) & (high >= AXIS)], 5, 2, 2)[2:-2]
                for low, high in ((1300, 1900), (3550, 3950))
            ]
        )

    expected = np.linalg.lstsq(lines(VAPOUR)[:, None], lines(spectrum), rcond=None)[0][0]
    single = subtract_vapour(spectrum.astype(np.float32), AXIS, VAPOUR)
    assert float(single.factor) == pytest.approx(expected, abs=1e-4)
    with jax.enable_x64(True):
        double = subtract_vapour(jnp.asarray(spectrum), AXIS, VAPOUR)
    assert float(double.factor) == pytest.approx(expected, abs=1e-12)


def test_cubes_single_spectra_and_traced_vapour_agree():
    rng = np.random.default_rng(4)
    cube = (TISSUE + rng.uniform(-1, 1, (2, 3, 1)) * VAPOUR).astype(np.float32)
    whole = jax.jit(lambda x, v: subtract_vapour(x, AXIS, v))(cube, VAPOUR.astype(np.float32))
    assert whole.factor.shape == (2, 3)
    assert whole.corrected.dtype == jnp.float32
    single = subtract_vapour(cube[1, 2], AXIS, VAPOUR)
    assert single.factor.shape == ()
    assert float(whole.factor[1, 2]) == pytest.approx(float(single.factor), abs=1e-5)
    np.testing.assert_allclose(whole.corrected[1, 2], single.corrected, atol=1e-5)


def test_only_windows_the_axis_reaches_are_used():
    kept = AXIS < 1800
    spectrum = (TISSUE + 0.5 * VAPOUR)[kept].astype(np.float32)
    result = subtract_vapour(spectrum, AXIS[kept], VAPOUR[kept])
    assert float(result.factor) == pytest.approx(0.5, abs=0.03)


@pytest.mark.wrong_types
def test_errors_say_what_is_wrong():
    spectra = np.zeros((2, AXIS.size), np.float32)
    with pytest.raises(ValueError, match="found a band from 2400 to 2280"):
        flatten_co2(spectra, AXIS, low_cm1=2400, high_cm1=2280)
    with pytest.raises(ValueError, match="all 3 channels"):
        flatten_co2(np.zeros(3), np.array([2300.0, 2310.0, 2320.0]))
    with pytest.raises(ValueError, match=r"vapour: found shape \(7,\)"):
        subtract_vapour(spectra, AXIS, VAPOUR[:7])
    with pytest.raises(ValueError, match="1 values not finite"):
        subtract_vapour(spectra, AXIS, np.where(np.arange(AXIS.size) == 3, np.nan, VAPOUR))
    with pytest.raises(ValueError, match="has no lines"):
        subtract_vapour(spectra, AXIS, AXIS / 1000)
    with pytest.raises(ValueError, match="no window of"):
        subtract_vapour(np.zeros(50), np.linspace(2000, 2200, 50), np.ones(50))
