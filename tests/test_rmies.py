"""Resonant Mie correction: its curves against the printed formula, and spectra whose truth is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.spectra.scatter.kramers_kronig import dispersion_matrix
from compseg_jax.spectra.scatter.mie_step import mie_components
from compseg_jax.spectra.scatter.resonant_mie import ResonantSpheres, _resonant_curves, rmies

pytestmark = pytest.mark.optimised  # the Mie correction
AXIS = np.linspace(1000, 1800, 208)
FEW = ResonantSpheres(radii_um=(2.0, 5.0, 8.0), mean_indices=(1.1, 1.3, 1.5), amplifications=4)


def tissue_like():
    bands = [(1655, 28, 1.0), (1545, 26, 0.6), (1450, 18, 0.25), (1240, 30, 0.25), (1080, 35, 0.3)]
    return sum(height * np.exp(-(((AXIS - centre) / width) ** 2)) for centre, width, height in bands) + 0.02


def printed_extinction(pure, radius_um, mean_index, amplification):
    """Bassan et al. 2010: Q = 2 - 4/rho sin(rho) + 4/rho^2 (1 - cos(rho)), rho = 4 pi r nu (n - 1)."""
    dispersive = (dispersion_matrix(AXIS) @ pure) / AXIS
    index = mean_index + amplification * dispersive / abs(dispersive.min())
    rho = 4 * np.pi * radius_um * 1e-4 * AXIS * (index - 1)
    return 2 - 4 / rho * np.sin(rho) + 4 / rho**2 * (1 - np.cos(rho))


def printed_curves(pure, spheres):
    return np.array(
        [
            printed_extinction(pure, radius, index, amplification)
            for radius in spheres.radii_um
            for index in spheres.mean_indices
            for amplification in np.linspace(0, index - 1.01, spheres.amplifications)
        ]
    )


@pytest.mark.parametrize("way", ["series", pytest.param("formula", marks=pytest.mark.slow)])
def test_curves_span_what_the_printed_formula_spans(way):
    pure = tissue_like()
    guess = jnp.asarray(pure[None], jnp.float32)
    dispersion = jnp.asarray((dispersion_matrix(AXIS) @ pure)[None], jnp.float32)
    curves = _resonant_curves(AXIS.tobytes(), FEW, 20, np.dtype(np.float32))
    projected = curves(dispersion, guess) if way == "series" else curves.exact(dispersion, guess)
    assert not curves.outside(dispersion, guess).any()
    unfolded = np.asarray(curves.formula.basis) @ np.asarray(projected)[:, :, 0].T
    expected = printed_curves(pure, FEW)
    np.testing.assert_allclose(unfolded, expected, atol=0.02)
    unit = pure / np.linalg.norm(pure)
    expected = expected - np.outer(expected @ unit, unit)
    leading = np.linalg.svd(expected)[2][:6]
    components = np.asarray(mie_components(projected, guess, 6))[0]
    np.testing.assert_allclose(np.linalg.svd(components @ leading.T)[1], 1, atol=1e-3)


def test_known_pure_spectra_are_recovered():
    rng = np.random.default_rng(2)
    reference = tissue_like()
    pure = reference + 0.1 * np.exp(-(((AXIS - rng.uniform(1050, 1600, (6, 1))) / 25) ** 2))
    measured = np.empty_like(pure)
    for i in range(6):
        mean_index = rng.uniform(1.15, 1.45)
        curve = printed_extinction(pure[i], rng.uniform(2.5, 7.5), mean_index, 0.6 * (mean_index - 1.01))
        measured[i] = 0.4 * pure[i] + rng.uniform(0.05, 0.1) * curve + 0.02
    spheres = ResonantSpheres((2.0, 3.5, 5.0, 6.5, 8.0), (1.1, 1.2, 1.3, 1.4, 1.5), amplifications=5)
    result = rmies(measured.astype(np.float32).reshape(2, 3, -1), AXIS, reference, spheres=spheres)
    assert (result.iterations == 10).all()
    assert result.coefficients.shape == (2, 3, 9)

    def errors(spectra):
        # Distance to the truth after the best factor and offset.
        found = []
        for spectrum, truth in zip(spectra, pure, strict=True):
            design = np.stack([spectrum, np.ones_like(spectrum)], axis=1)
            found.append(np.sqrt(np.mean((truth - design @ np.linalg.lstsq(design, truth)[0]) ** 2)))
        return np.array(found)

    ours, uncorrected = errors(result.corrected.reshape(6, -1)), errors(measured)
    assert np.all(ours < uncorrected)
    assert ours.mean() < 0.3 * uncorrected.mean()


@pytest.mark.slow
def test_a_spectrum_that_turns_nan_is_marked():
    spectra = np.tile(tissue_like(), (2, 1)).astype(np.float32)
    spectra[1, 3] = np.nan
    result = rmies(spectra, AXIS, tissue_like(), spheres=FEW)
    assert result.iterations.tolist() == [10, 0]
    assert np.isnan(result.corrected[1]).all()
    assert np.isfinite(result.corrected[0]).all()
