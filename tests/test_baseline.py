"""Baselines: the hull of scipy, zero at the ends, never below; polynomials those of numpy and pybaselines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import ConvexHull

from compseg_jax.spectra.baseline import polynomial_baseline, rubber_band

AXIS = np.linspace(1800, 948, 60) + 3 * np.sin(np.arange(60))
SPECTRA = hnp.arrays(np.float32, (3, 60), elements=st.floats(-100, 100, width=32))


def scipy_rubber_band(spectrum, axis):
    order = np.argsort(axis)
    points = np.stack([axis[order], spectrum[order]], axis=1)
    # Two points far above make sure that the hull is an area and that its upper part has no channel.
    top = spectrum.max() + np.ptp(spectrum) + 1
    lid = [[axis.min() - 0.0, top], [axis.max() + 0.0, top]]
    vertices = ConvexHull(np.concatenate([points, lid])).vertices
    lower = np.sort(vertices[vertices < len(axis)])
    return spectrum - np.interp(axis, points[lower, 0], points[lower, 1])


@pytest.mark.parametrize("falling", [True, False])
def test_scipy_hull_agrees(falling):
    rng = np.random.default_rng(0)
    axis = AXIS if falling else AXIS[::-1]
    rough = rng.normal(size=(6, 60))
    curved = rough / 4 + np.linspace(-2, 2, 60) ** 2 * np.array([[0], [1], [1], [-1], [3], [0.2]])
    expected = np.stack([scipy_rubber_band(spectrum, axis) for spectrum in curved])
    with jax.enable_x64(True):
        np.testing.assert_allclose(rubber_band(jnp.asarray(curved), axis), expected, atol=1e-10)
    single = rubber_band(curved.astype(np.float32), axis)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)


@given(SPECTRA)
def test_zero_at_the_ends_never_negative_and_idempotent(spectra):
    once = np.asarray(rubber_band(spectra, AXIS))
    assert (once >= 0).all()
    assert (once[:, [0, -1]] == 0).all()
    np.testing.assert_array_equal(rubber_band(once, AXIS), once)


@given(SPECTRA, st.floats(-5, 5), st.floats(-5, 5))
def test_straight_lines_make_no_difference(spectra, constant, slope):
    line = (constant + slope * (AXIS - 1374) / 426).astype(np.float32)
    tilted = rubber_band(spectra + line, AXIS)
    np.testing.assert_allclose(tilted, rubber_band(spectra, AXIS), atol=2e-4)


def test_a_spectrum_does_not_depend_on_its_company():
    rng = np.random.default_rng(2)
    cube = rng.normal(size=(2, 4, 60)).astype(np.float32)
    cube[0, 0] = 0
    cube[1, 1] = np.linspace(-3, 3, 60) ** 2
    cube[1, 2, 5] = np.nan
    whole = np.asarray(jax.jit(lambda x: rubber_band(x, AXIS))(cube))
    for index in np.ndindex(2, 4):
        np.testing.assert_array_equal(whole[index], rubber_band(cube[index], AXIS))
    assert np.isnan(whole[1, 2]).all()
    assert np.isfinite(np.delete(whole.reshape(8, 60), 6, axis=0)).all()
    assert (whole[0, 0] == 0).all()
    np.testing.assert_allclose(rubber_band(cube[1, 1], np.linspace(0, 1, 60)), 0, atol=1e-6)


def test_gradient_is_that_of_the_hull_as_it_lies():
    spectrum = np.random.default_rng(3).normal(size=60)
    weights = np.random.default_rng(4).normal(size=60)
    with jax.enable_x64(True):

        def total(x):
            return jnp.sum(rubber_band(x, AXIS) * weights)

        gradient = jax.grad(total)(jnp.asarray(spectrum))
        step = 1e-6 * np.eye(60)
        totals = jnp.sum(
            rubber_band(np.concatenate([spectrum + step, spectrum - step]), AXIS) * weights[None, :], 1
        )
        numeric = (totals[:60] - totals[60:]) / 2e-6
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)


@given(st.tuples(*[st.floats(-2, 2)] * 4), st.booleans())
def test_polynomials_vanish(coefficients, through_points):
    curve = np.polynomial.polynomial.polyval((AXIS - 1374) / 426, coefficients)
    points = np.array([960.0, 1200.0, 1350.0, 1500.0, 1790.0]) if through_points else None
    corrected = polynomial_baseline(curve.astype(np.float32), AXIS, 3, points)
    np.testing.assert_allclose(corrected, 0, atol=2e-5)


@pytest.mark.parametrize("order", [0, 2, 5])
def test_numpy_polynomial_agrees(order):
    spectra = np.random.default_rng(5).normal(size=(2, 3, 60))
    expected = np.stack(
        [y - np.polynomial.Polynomial.fit(AXIS, y, order)(AXIS) for y in spectra.reshape(6, 60)]
    ).reshape(2, 3, 60)
    with jax.enable_x64(True):
        found = polynomial_baseline(jnp.asarray(spectra), AXIS, order)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    single = jax.jit(lambda x: polynomial_baseline(x, AXIS, order))(spectra.astype(np.float32))
    np.testing.assert_allclose(single, expected, atol=1e-5)


def test_two_points_make_the_two_point_baseline():
    axis = np.linspace(1000, 1100, 51)
    spectrum = np.random.default_rng(6).normal(size=51).astype(np.float32)
    corrected = polynomial_baseline(spectrum, axis, 1, np.array([1020.7, 1080.0]))
    np.testing.assert_allclose(corrected[jnp.array([10, 40])], 0, atol=1e-6)
    line = np.interp(axis[10:41], axis[[10, 40]], spectrum[[10, 40]])
    np.testing.assert_allclose(corrected[10:41], spectrum[10:41] - line, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 7, 30])
def test_pybaselines_modpoly_agrees(iterations):
    fitter = pytest.importorskip("pybaselines").Baseline(AXIS)
    spectrum = np.exp(-(((AXIS - 1655) / 40) ** 2)) + 0.2 * ((AXIS - 1374) / 426) ** 2
    spectrum += np.random.default_rng(7).normal(0, 0.01, 60)
    expected, details = fitter.modpoly(spectrum, 4, tol=-1, max_iter=iterations)
    assert len(details["tol_history"]) == iterations
    with jax.enable_x64(True):
        corrected = polynomial_baseline(jnp.asarray(spectrum), AXIS, 4, iterations=iterations)
    np.testing.assert_allclose(spectrum - np.asarray(corrected), expected, atol=1e-10)


def test_iterations_bring_the_baseline_under_the_band():
    background = 0.3 + 0.2 * (AXIS - 1374) / 426
    band = np.exp(-(((AXIS - 1400) / 60) ** 2))
    spectrum = (background + band).astype(np.float32)
    plain = polynomial_baseline(spectrum, AXIS, 1)
    iterated = polynomial_baseline(spectrum, AXIS, 1, iterations=100)
    assert np.abs(np.asarray(iterated) - band).max() < 0.02 < np.abs(np.asarray(plain) - band).max()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((AXIS, -1), "order: found -1"),
        ((AXIS, 2, np.array([1000.0, 1001.0])), "found 1 different channels for order 2"),
        ((AXIS, 1, np.array([1000.0, 3000.0])), "points_cm1: found 3000"),
        ((AXIS[:9], 1), "found 9 values for 60 channels"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        polynomial_baseline(np.zeros((2, 60), np.float32), *arguments)
