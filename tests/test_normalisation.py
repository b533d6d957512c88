"""Normalisation: scale no longer shows, norms and areas are 1, what has no scale is NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import zscore
from sklearn.preprocessing import normalize

from compseg_jax.spectra.normalisation import (
    amide_i_normalise,
    area_normalise,
    standard_normal_variate,
    vector_normalise,
)

AXIS = np.linspace(1800, 1000, 161)
SPECTRUM = np.exp(-(((AXIS - 1655) / 20) ** 2)) + 0.5 * np.exp(-(((AXIS - 1240) / 30) ** 2)) + AXIS / 4000
FUNCTIONS = [
    vector_normalise,
    lambda x: vector_normalise(x, centre=True),
    standard_normal_variate,
    lambda x: amide_i_normalise(x, AXIS),
    lambda x: amide_i_normalise(x, AXIS, by_height=True),
    lambda x: area_normalise(x, AXIS),
]


def cube():
    rng = np.random.default_rng(0)
    return (SPECTRUM * rng.uniform(0.5, 2, (2, 3, 1)) + rng.normal(0, 0.01, (2, 3, 161))).astype(np.float32)


@given(
    hnp.arrays(np.float32, (2, 9), elements=st.floats(-1, 1, width=32)), st.integers(-30, 30), st.booleans()
)
def test_vector_norm_is_1(spectra, exponent, centre):
    spectra = spectra * np.float32(10.0**exponent)  # norms whose squares leave float32
    spectra[:, 0] += np.float32(2 * 10.0**exponent)
    norms = np.linalg.norm(np.asarray(vector_normalise(spectra, centre=centre)), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_references_agree():
    spectra = cube().reshape(6, 161)
    np.testing.assert_allclose(vector_normalise(spectra), normalize(spectra), atol=1e-6)
    centred = spectra - spectra.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(vector_normalise(spectra, centre=True), normalize(centred), atol=1e-6)
    np.testing.assert_allclose(standard_normal_variate(spectra), zscore(spectra, axis=1, ddof=1), atol=1e-5)


@pytest.mark.parametrize("falling", [True, False])
def test_areas_are_those_of_numpy(falling):
    axis, spectrum = (AXIS, SPECTRUM) if falling else (AXIS[::-1], SPECTRUM[::-1])
    with jax.enable_x64(True):
        whole = np.asarray(area_normalise(jnp.asarray(spectrum), axis))
        part = np.asarray(area_normalise(jnp.asarray(spectrum), axis, low_cm1=1200, high_cm1=1300))
        amide = np.asarray(amide_i_normalise(jnp.asarray(spectrum), axis))
    inside = (axis >= 1200) & (axis <= 1300)
    assert abs(np.trapezoid(whole, axis)) == pytest.approx(1)
    assert abs(np.trapezoid(part[inside], axis[inside])) == pytest.approx(1)
    band = (axis >= 1600) & (axis <= 1700)
    grid = np.sort(axis[band])
    heights = amide[band][np.argsort(axis[band])]
    assert np.trapezoid(heights - np.interp(grid, grid[[0, -1]], heights[[0, -1]]), grid) == pytest.approx(1)


def test_amide_i_on_an_axis_without_its_edges():
    """Between channels the edges are interpolated: the same spectrum on a shifted axis has the same scale."""
    fine = np.linspace(1500, 1800, 601)
    shifted = np.linspace(1500.3, 1799.2, 301)

    def spectrum(axis):
        return np.exp(-(((axis - 1655) / 20) ** 2)) + axis / 1000

    with jax.enable_x64(True):
        scales = [
            float(
                spectrum(axis)[0] / amide_i_normalise(jnp.asarray(spectrum(axis)), axis, by_height=height)[0]
            )
            for height in (False, True)
            for axis in (fine, shifted)
        ]
    assert scales[0] == pytest.approx(scales[1], rel=2e-3)
    assert scales[2] == pytest.approx(scales[3], rel=2e-3)
    grid = np.linspace(1600, 1700, 100001)
    above = spectrum(grid) - np.interp(grid, [1600, 1700], spectrum(np.array([1600.0, 1700.0])))
    assert scales[0] == pytest.approx(np.trapezoid(above, grid), rel=1e-3)
    assert scales[2] == pytest.approx(above.max(), rel=1e-3)


def test_a_gap_adds_no_area():
    axis = np.concatenate([np.arange(2200, 2260, 4.0), np.arange(2410, 2480, 4.0)])
    result = np.asarray(area_normalise(np.ones(axis.size, np.float32), axis))
    assert 1 / result[0] == pytest.approx((2256 - 2200) + (2478 - 2410), rel=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=settings().max_examples // 2)
@given(scale=st.floats(0.01, 100))
def test_scale_does_not_show(function, scale):
    compiled = jax.jit(function)
    np.testing.assert_allclose(
        compiled((scale * SPECTRUM).astype(np.float32)),
        compiled(SPECTRUM.astype(np.float32)),
        rtol=2e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_single_spectra_equal_cubes_and_hopeless_ones_are_nan(function):
    spectra = cube()
    spectra[0, 0] = 0
    spectra[0, 1, 7] = np.nan
    spectra[0, 2, 7] = np.inf
    whole = np.asarray(jax.jit(function)(spectra))
    assert whole.dtype == np.float32
    assert np.isnan(whole[0]).all()
    assert np.isfinite(whole[1]).all()
    for x in range(3):
        np.testing.assert_allclose(whole[1, x], jax.jit(function)(spectra[1, x]), rtol=1e-5, atol=1e-6)
    finite = spectra.copy()
    finite[0, 1:] = 0
    slope = jax.grad(lambda x: jnp.sum(jnp.where(jnp.isfinite(function(x)), function(x), 0) ** 3))
    gradient = jax.jit(slope)(jnp.asarray(finite))
    assert np.isfinite(np.asarray(gradient)).all()


def test_constants_have_no_deviation_and_negative_bands_no_scale():
    constant = np.full((2, 161), 0.1, np.float32)
    assert np.isnan(np.asarray(standard_normal_variate(constant))).all()
    assert np.isnan(np.asarray(vector_normalise(constant, centre=True))).all()
    assert np.isnan(np.asarray(amide_i_normalise(constant, AXIS))).all()
    assert np.isnan(np.asarray(area_normalise(-constant, AXIS))).all()


def test_errors_say_what_is_wrong():
    short = np.linspace(1000, 1650, 161)
    with pytest.raises(ValueError, match="covers 1000 to 1650"):
        amide_i_normalise(SPECTRUM, short)
    with pytest.raises(ValueError, match="found 0 channels between 2000 and 2100"):
        area_normalise(SPECTRUM, AXIS, low_cm1=2000, high_cm1=2100)
    with pytest.raises(ValueError, match="found 1 channel"):
        standard_normal_variate(np.ones((3, 1)))
