"""Savitzky–Golay: scipy's on even axes, exact on polynomials on any axis, blind across gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from compseg_jax.spectra.derivative import savitzky_golay, savitzky_golay_matrix

EVEN = np.linspace(1000, 1100, 51)
UNEVEN = EVEN + 0.6 * np.sin(np.arange(51) ** 2)
GAPPED = np.concatenate([np.arange(2200, 2260, 4.0), np.arange(2410, 2480, 4.0)])


@pytest.mark.parametrize("derivative", [0, 1, 2, 3])
@pytest.mark.parametrize(("window", "order"), [(7, 3), (9, 4), (5, 4)])
def test_scipy_agrees_on_even_axes(window, order, derivative):
    spectra = np.random.default_rng(0).normal(size=(3, 51))
    expected = savgol_filter(spectra, window, order, derivative, delta=2.0, mode="interp")
    settings = {"window": window, "polynomial_order": order, "derivative": derivative}
    np.testing.assert_allclose(spectra @ savitzky_golay_matrix(EVEN, **settings).T, expected, atol=1e-10)
    # A falling axis holds the same spectrum; its derivative at each wavenumber is the same.
    falling = savitzky_golay_matrix(EVEN[::-1], **settings)
    np.testing.assert_allclose(spectra[:, ::-1] @ falling.T, expected[:, ::-1], atol=1e-10)


@given(
    st.tuples(*[st.floats(-1, 1)] * 4), st.integers(0, 3), st.booleans(), st.sampled_from([UNEVEN, GAPPED])
)
def test_polynomials_are_exact_on_any_axis(coefficients, derivative, falling, axis):
    axis = axis[::-1] if falling else axis
    centre, scale = axis.mean(), np.ptp(axis) / 2
    polynomial = np.polynomial.Polynomial(
        coefficients, domain=[centre - scale, centre + scale], window=[-1, 1]
    )
    expected = (polynomial.deriv(derivative) if derivative else polynomial)(axis)
    found = savitzky_golay_matrix(axis, window=7, polynomial_order=3, derivative=derivative) @ polynomial(
        axis
    )
    np.testing.assert_allclose(found * scale**derivative, expected * scale**derivative, atol=1e-6)


def test_windows_do_not_reach_across_a_gap():
    spectrum = np.where(GAPPED < 2300, 0.0, 5.0)  # a step at the gap has no slope on either side
    matrix = savitzky_golay_matrix(GAPPED, window=5, polynomial_order=2, derivative=1)
    np.testing.assert_allclose(matrix @ spectrum, 0, atol=1e-12)
    below = GAPPED < 2300
    assert not matrix[np.ix_(below, ~below)].any()
    assert not matrix[np.ix_(~below, below)].any()


def test_leading_axes_dtypes_and_jit():
    cube = np.random.default_rng(1).normal(size=(2, 3, 51)).astype(np.float32)

    def smooth(x):
        return savitzky_golay(x, UNEVEN, window=9, polynomial_order=2, derivative=2)

    whole = jax.jit(smooth)(cube)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(whole[1, 2], smooth(cube[1, 2]), atol=1e-6)
    with jax.enable_x64(True):
        exact = smooth(jnp.asarray(cube, jnp.float64))
        assert exact.dtype == jnp.float64
    np.testing.assert_allclose(whole, exact, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 6}, "window: found 6"),
        ({"polynomial_order": 7}, "polynomial_order: found 7"),
        ({"derivative": 4}, "derivative: found 4"),
        ({"window": 53}, "are 51, fewer than the window of 53"),
    ],
)
def test_errors_say_what_is_wrong(changes, message):
    settings = {"window": 7, "polynomial_order": 3, "derivative": 1} | changes
    with pytest.raises(ValueError, match=message):
        savitzky_golay(np.zeros((2, 51), np.float32), EVEN, **settings)
