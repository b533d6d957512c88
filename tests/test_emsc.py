"""EMSC takes off exactly what its model names, and agrees with biospectools."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compseg_jax.spectra.scatter.emsc import emsc

AXIS = np.linspace(1800, 948, 120)
SCALED = (AXIS - 1374) / 426


def band(centre, width):
    return np.exp(-(((AXIS - centre) / width) ** 2))


REFERENCE = band(1655, 30) + 0.6 * band(1545, 28) + 0.3 * band(1080, 40)
VAPOUR = np.stack([band(1700, 6) - band(1680, 5), band(1500, 5)])
LIPID = band(1740, 15)


@settings(max_examples=settings().max_examples // 2)
@given(
    scale=st.floats(0.1, 5),
    polynomial=st.tuples(*[st.floats(-1, 1)] * 3),
    vapour=st.tuples(*[st.floats(-0.5, 0.5)] * 2),
    lipid=st.floats(-0.3, 0.3),
)
def test_a_mixture_is_taken_apart(scale, polynomial, vapour, lipid):
    disturbance = polynomial @ np.stack([SCALED**i for i in range(3)]) + vapour @ VAPOUR
    spectrum = scale * REFERENCE + lipid * LIPID + disturbance
    with jax.enable_x64(True):
        result = emsc(
            jnp.asarray(spectrum),
            AXIS,
            REFERENCE,
            interferents=VAPOUR,
            constituents=LIPID[None],
        )
    np.testing.assert_allclose(result.coefficients, [*polynomial, *vapour, lipid, scale], atol=1e-10)
    np.testing.assert_allclose(result.corrected, REFERENCE + lipid / scale * LIPID, atol=1e-10)
    np.testing.assert_allclose(result.residual, 0, atol=1e-10)


def test_what_the_model_does_not_name_stays():
    unknown = 0.05 * band(1240, 20)
    spectrum = (2 * REFERENCE + 2 * unknown + 0.3).astype(np.float32)
    result = emsc(jnp.asarray(spectrum), AXIS, REFERENCE, polynomial_order=0)
    assert result.corrected.dtype == jnp.float32
    peak = np.argmax(unknown)
    assert abs(result.corrected[peak] - REFERENCE[peak] - unknown[peak]) < 0.01


def test_cubes_equal_single_spectra_and_jit():
    rng = np.random.default_rng(0)
    cube = jnp.asarray(REFERENCE + rng.normal(0, 0.1, (3, 2, 120)), jnp.float32)
    whole = jax.jit(emsc)(cube, AXIS.astype(np.float32), REFERENCE.astype(np.float32))
    single = emsc(cube[2, 1], AXIS, REFERENCE)
    assert whole.coefficients.shape == (3, 2, 4)
    np.testing.assert_allclose(whole.corrected[2, 1], single.corrected, atol=1e-5)
    np.testing.assert_allclose(whole.coefficients[2, 1], single.coefficients, atol=1e-5)


def test_weights_of_zero_hide_channels():
    spectrum = REFERENCE + 0.2
    spectrum[:10] += 5
    weights = np.ones(120)
    weights[:10] = 0
    with jax.enable_x64(True):
        result = emsc(jnp.asarray(spectrum), AXIS, REFERENCE, weights=weights)
    np.testing.assert_allclose(result.coefficients, [0.2, 0, 0, 1], atol=1e-10)


def test_no_baseline_leaves_only_the_scale():
    with jax.enable_x64(True):
        result = emsc(jnp.asarray(3 * REFERENCE), AXIS, REFERENCE, polynomial_order=None)
    np.testing.assert_allclose(result.coefficients, [3.0])


def test_biospectools_agrees():
    peer = pytest.importorskip("biospectools.preprocessing")
    rng = np.random.default_rng(1)
    spectra = REFERENCE * rng.uniform(0.5, 2, (5, 1)) + rng.normal(0, 0.05, (5, 120))
    weights = rng.uniform(0.5, 2, 120)
    model = peer.EMSC(
        REFERENCE, AXIS, poly_order=3, interferents=VAPOUR, analytes=LIPID[None], weights=weights
    )
    expected = model.transform(spectra, check_correlation=False)
    with jax.enable_x64(True):
        result = emsc(
            jnp.asarray(spectra),
            AXIS,
            REFERENCE,
            polynomial_order=3,
            interferents=VAPOUR,
            constituents=LIPID[None],
            weights=weights,
        )
    np.testing.assert_allclose(result.corrected, expected, atol=1e-10)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": np.ones(7)}, "reference: found shape"),
        ({"interferents": np.ones((2, 7))}, "interferents: found shape"),
        ({"wavenumbers_cm1": np.arange(7.0)}, "wavenumbers_cm1: found 7"),
        ({"polynomial_order": -1}, "polynomial_order: found -1"),
    ],
)
def test_errors_say_what_is_wrong(changes, message):
    arguments = {"absorbance": jnp.ones(120), "wavenumbers_cm1": AXIS, "reference": REFERENCE}
    with pytest.raises(ValueError, match=message):
        emsc(**(arguments | changes))
