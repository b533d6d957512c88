"""Resampling: the spline of scipy, exact on cubics and on own channels, silent about nothing it did not measure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from compseg_jax.spectra.resampling import (
    PAPER_AXIS_CM1,
    contiguous_runs,
    cut,
    host_axis,
    resample,
    resampling_matrix,
)

RISING = np.linspace(900, 1802, 90)
UNEVEN = RISING + 2.5 * np.sin(np.arange(90))
GAPPED = np.concatenate([np.arange(2100, 2270, 4.0), np.arange(2410, 2600, 4.0)])


def bands(axis):
    return np.exp(-(((axis - 1655) / 40) ** 2)) + 0.5 * np.exp(-(((axis - 1080) / 60) ** 2)) + axis / 5000


def test_paper_axis():
    assert PAPER_AXIS_CM1.shape == (450,)
    assert PAPER_AXIS_CM1[0] == 1800
    assert PAPER_AXIS_CM1[-1] == 948
    assert not PAPER_AXIS_CM1.flags.writeable


@pytest.mark.parametrize("source", [RISING, UNEVEN, UNEVEN[::-1]])
@pytest.mark.parametrize("target", [np.linspace(948, 1800, 201), np.linspace(1800, 948, 101)])
def test_scipy_spline_agrees(source, target):
    order = np.argsort(source)
    expected = CubicSpline(source[order], bands(source)[order], bc_type="not-a-knot")(target)
    np.testing.assert_allclose(resampling_matrix(source, target) @ bands(source), expected, atol=1e-12)


@given(
    st.lists(st.floats(0.5, 1.4), min_size=1, max_size=30),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_own_axis_changes_nothing(steps, falling, seed):
    axis = 1000 + np.cumsum([0.0, *steps])
    axis = axis[::-1].copy() if falling else axis
    spectra = jnp.asarray(np.random.default_rng(seed).normal(size=(2, axis.size)), jnp.float32)
    np.testing.assert_array_equal(resample(spectra, axis, axis), spectra)
    rounded = axis.astype(np.float32)  # an axis that went through a float32 file is the same axis
    np.testing.assert_allclose(resampling_matrix(axis, rounded), np.eye(axis.size), atol=1e-3)


@given(st.tuples(*[st.floats(-1, 1)] * 4), st.booleans())
def test_cubics_are_exact_up_to_the_ends(coefficients, falling):
    source = UNEVEN[::-1] if falling else UNEVEN
    target = np.linspace(source[0], source[-1], 133)

    def cubic(axis):
        return np.polynomial.polynomial.polyval((axis - 1350) / 450, coefficients)

    np.testing.assert_allclose(resampling_matrix(source, target) @ cubic(source), cubic(target), atol=1e-10)


@pytest.mark.parametrize("source", [np.linspace(900, 1800, 451), np.linspace(1800, 900, 451)])
def test_a_coarse_target_averages(source):
    target = np.arange(900, 1801, 20.0)
    matrix = resampling_matrix(source, target)
    np.testing.assert_allclose(matrix @ source, target, atol=1e-9)  # straight lines keep their values
    inner = matrix[1:-1]
    # Ten channels averaged: a tenth of the noise variance, and the mean of the spline by quadrature.
    np.testing.assert_allclose(np.sum(inner**2, axis=1), 0.1, rtol=0.06)
    order = np.argsort(source)
    rough = np.random.default_rng(0).normal(size=source.size)
    spline = CubicSpline(source[order], rough[order])
    fine = target[7] + (np.arange(20000) + 0.5) / 20000 * 20 - 10
    np.testing.assert_allclose(inner[6] @ rough, spline(fine).mean(), atol=1e-6)
    assert np.count_nonzero(np.abs(resampling_matrix(source, target[::40])[0]) > 1e-9) == 1  # the end itself


def test_twice_as_coarse_still_samples():
    source, target = np.arange(0, 101, 2.0), np.arange(0, 101, 4.0)
    np.testing.assert_array_equal(resampling_matrix(source, target), np.eye(51)[::2])


@pytest.mark.parametrize("falling", [False, True])
def test_a_gap_is_neither_filled_nor_felt(falling):
    axis = GAPPED[::-1].copy() if falling else GAPPED
    assert len(contiguous_runs(axis)) == 2
    target = np.concatenate([np.arange(2101, 2266, 3.0), np.arange(2411, 2590, 3.0)])
    matrix = resampling_matrix(axis, target)
    above = axis > 2300
    assert not matrix[np.ix_(target < 2300, above)].any()
    assert not matrix[np.ix_(target > 2300, ~above)].any()
    np.testing.assert_allclose(matrix @ axis, target, atol=1e-9)
    with pytest.raises(ValueError, match=r"2100 to 2268 and 2410 to 2598.*3 of its values \(2300 to 2340"):
        resampling_matrix(axis, np.array([2300, 2320, 2340, 2500.0]))


@pytest.mark.parametrize("falling", [False, True])
def test_the_outermost_channel_reaches_half_a_step(falling):
    source = np.arange(1000, 1101, 10.0)
    source = source[::-1] if falling else source
    values = (source - 1000) ** 2
    near = resampling_matrix(source, np.array([995.5, 1104.5])) @ values
    np.testing.assert_allclose(near, [0, 1e4])
    with pytest.raises(ValueError, match=r"cover 1000 to 1100 cm⁻¹, the axis wanted 994 to 1100"):
        resampling_matrix(source, np.array([994.0, 1050, 1100]))


def test_leading_axes_dtypes_and_jit():
    cube = np.random.default_rng(1).normal(size=(3, 2, 90)).astype(np.float32)
    target = np.linspace(950, 1750, 40)
    whole = jax.jit(lambda x: resample(x, UNEVEN, target))(cube)
    assert whole.shape == (3, 2, 40)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(whole, cube @ resampling_matrix(UNEVEN, target).T, atol=2e-6)
    np.testing.assert_allclose(whole[2, 1], resample(cube[2, 1], UNEVEN, target), atol=1e-6)
    with jax.enable_x64(True):
        exact = resample(jnp.asarray(cube, jnp.float64), UNEVEN, target)
    assert exact.dtype == jnp.float64
    np.testing.assert_allclose(exact, cube @ resampling_matrix(UNEVEN, target).T, atol=1e-13)
    assert resample(np.zeros((0, 90), np.float32), UNEVEN, target).shape == (0, 40)


@pytest.mark.parametrize("axis", [RISING, RISING[::-1], RISING.astype(np.float32)])
def test_cut_keeps_direction_and_both_ends(axis):
    spectra = np.arange(2 * 90.0).reshape(2, 90)
    low, high = sorted((float(axis[10]), float(axis[50])))
    kept, kept_axis = cut(spectra, axis, high, low)
    np.testing.assert_array_equal(kept, spectra[:, 10:51])
    np.testing.assert_array_equal(kept_axis, axis[10:51])
    assert kept_axis.dtype == np.float64
    wide, wide_axis = cut(spectra, axis, 0, 5000)
    assert wide.shape == (2, 90)
    assert wide_axis.shape == (90,)


@pytest.mark.wrong_types
def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="no channel lies between 100 and 200"):
        cut(np.zeros((2, 90)), RISING, 200, 100)
    with pytest.raises(ValueError, match="found 90 values for 7 channels"):
        resample(np.zeros((2, 7)), RISING, RISING)
    with pytest.raises(ValueError, match=r"to_cm1.*strictly rising"):
        resample(np.zeros((2, 90)), RISING, np.ones(4))
    with pytest.raises(ValueError, match="Close over the axis"):
        jax.jit(resample)(jnp.zeros((2, 90)), RISING, RISING)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        host_axis(np.zeros((2, 2)))
