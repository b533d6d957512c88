"""ME-EMSC on simulated spectra whose truth is known; measured ones are in ``test_mie_reference``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.spectra.scatter.kramers_kronig import dispersion_matrix
from compseg_jax.spectra.scatter.mie import MieSettings, correct_chunks, me_emsc
from compseg_jax.spectra.scatter.mie_curves import Spheres, extinction_curves
from compseg_jax.spectra.scatter.mie_loop import StopRule, correct_pool
from compseg_jax.spectra.scatter.mie_model import mie_model
from compseg_jax.spectra.scatter.mie_step import curves_of_guess

pytestmark = pytest.mark.optimised  # the Mie correction
SETTINGS = MieSettings(7, StopRule("tolerance", max_iterations=30))


def tissue_like(axis):
    bands = [
        (1655, 28, 1.0),
        (1545, 26, 0.6),
        (1450, 18, 0.25),
        (1395, 20, 0.2),
        (1240, 30, 0.25),
        (1080, 35, 0.3),
    ]
    return sum(height * np.exp(-(((axis - centre) / width) ** 2)) for centre, width, height in bands) + 0.02


def rms(difference):
    return np.sqrt(np.mean(np.square(difference), axis=-1))


def printed_extinction(axis_cm1, refraction, absorption, radius_m, index):
    """Van de Hulst's formula as printed, with rho and tan(beta), for one sphere; SI units."""
    wavenumbers = 100 * axis_cm1
    alpha = 4 * np.pi * radius_m * (index - 1)
    gamma = 0.25 * np.log(10) / (4 * np.pi * 0.5 * np.pi * radius_m) / (index - 1)
    real, imaginary = refraction / wavenumbers, absorption / wavenumbers
    rho = alpha * (1 + gamma * real) * wavenumbers
    tan_beta = imaginary / (1 / gamma + real)
    beta = np.arctan(tan_beta)
    decay = np.exp(-rho * tan_beta)
    ratio = np.cos(beta) / rho
    return (
        2
        - 4 * decay * ratio * np.sin(rho - beta)
        - 4 * decay * ratio**2 * np.cos(rho - 2 * beta)
        + 4 * ratio**2 * np.cos(2 * beta)
    )


def test_dispersion_belongs_to_the_band():
    # 1/(1+x^2) and -x/(1+x^2) are a Kramers-Kronig pair: the index is raised below a band, lowered above it.
    axis = np.linspace(1400, 1900, 1001)
    x = (axis - 1650) / 12
    expected = axis * (-x / (1 + x**2)) / 1650
    found = dispersion_matrix(axis) @ (axis / 1650 / (1 + x**2))
    core = slice(300, 700)
    np.testing.assert_allclose(found[core], expected[core], atol=0.03)
    np.testing.assert_allclose(dispersion_matrix(axis[::-1]), dispersion_matrix(axis)[::-1, ::-1], atol=1e-12)


def test_curves_are_the_printed_formula():
    axis = np.linspace(1000, 1800, 300)
    pure = tissue_like(axis)
    dispersion = dispersion_matrix(axis) @ pure
    spheres = Spheres()
    curves = extinction_curves(axis, dispersion - 1j * pure, spheres).reshape(10, 10, -1)
    for pair in (0, 4, 9):
        expected = printed_extinction(
            axis, dispersion, pure, spheres.radii_um[pair] * 1e-6, spheres.refractive_indices[pair]
        )
        np.testing.assert_allclose(curves[pair, pair], expected, rtol=1e-12)


@pytest.fixture(scope="module")
def simulated():
    """Eight pure spectra, unlike the reference, seen through spheres that are not on the grid."""
    rng = np.random.default_rng(4)
    axis = np.linspace(1000, 1800, 208)
    reference = tissue_like(axis)
    variation = rng.uniform(0.8, 1.2, (8, 1)) * np.exp(
        -(((axis - rng.uniform(1050, 1600, (8, 1))) / 25) ** 2)
    )
    pure = reference + 0.15 * variation
    dispersion = pure @ dispersion_matrix(axis).T
    measured = np.empty_like(pure)
    for i in range(8):
        curve = printed_extinction(
            axis, dispersion[i], pure[i], rng.uniform(2.2, 6.8) * 1e-6, rng.uniform(1.12, 1.38)
        )
        measured[i] = 0.4 * pure[i] + rng.uniform(0.05, 0.12) * curve + 0.02
    measured += rng.normal(0, 5e-4, measured.shape)
    return axis, reference, pure, measured


def recovery_error(spectra, pure):
    """Distance to the pure spectra after the best factor and offset, which no correction claims to know."""
    errors = []
    for spectrum, truth in zip(spectra, pure, strict=True):
        design = np.stack([spectrum, np.ones_like(spectrum)], axis=1)
        errors.append(rms(truth - design @ np.linalg.lstsq(design, truth)[0]))
    return np.array(errors)


def corrected_by_us(spectra, axis, reference, **settings):
    defaults = {"n_components": 7, "stop": "tolerance", "max_iterations": 30}
    return me_emsc(spectra, axis, reference, **(defaults | settings))


@pytest.mark.slow
def test_known_pure_spectra_are_recovered(simulated):
    axis, reference, pure, measured = simulated
    peer = pytest.importorskip("biospectools.preprocessing")
    corrected = peer.MeEMSC(reference.copy(), axis, n_components=7, max_iter=30).transform(measured)
    result = corrected_by_us(measured.astype(np.float32), axis, reference)
    ours = recovery_error(result.corrected, pure)
    uncorrected = recovery_error(measured, pure)
    assert np.all(ours < uncorrected)
    assert ours.mean() < 0.3 * uncorrected.mean()
    assert np.all(ours < 1.02 * recovery_error(corrected, pure))


@pytest.mark.slow
def test_series_equals_formula(simulated):
    axis, reference, _, measured = simulated
    mesh = jax.make_mesh((1,), ("spectra",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    formula = mie_model(axis, reference, n_components=7, curve_tolerance=0)
    used = jnp.full(1, 8, jnp.int32)
    spectra = measured.astype(np.float32)
    rule = SETTINGS.rule.values()
    expected = correct_pool(jnp.asarray(spectra), used, formula, rule, mesh=mesh, slots=8)
    result = corrected_by_us(spectra, axis, reference)
    np.testing.assert_array_equal(result.iterations, expected.iterations)
    np.testing.assert_allclose(result.corrected, expected.corrected, rtol=0, atol=2e-4)


def test_guesses_off_the_disc_use_the_formula_or_wait(simulated):
    axis, reference, _, _ = simulated
    model = mie_model(axis, reference, n_components=7)
    guess = jnp.asarray(np.outer([1, 3, 0.9, 4], reference), jnp.float32)
    curves, waiting = curves_of_guess(model, guess, jnp.ones(4, bool), exact_slots=1)
    assert waiting.tolist() == [False, False, False, True]
    _, waiting = curves_of_guess(model, guess, jnp.asarray([True, False, True, True]), exact_slots=1)
    assert waiting.tolist() == [False] * 4
    exact = model.curves.exact(guess @ model.dispersion, guess)
    np.testing.assert_allclose(curves[:, :, :3], exact[:, :, :3], rtol=0, atol=2e-3)
    np.testing.assert_allclose(curves[:, :, 1], exact[:, :, 1], rtol=0, atol=1e-5)


def test_a_spectrum_does_not_depend_on_its_company(simulated):
    axis, reference, _, measured = simulated
    spectra = measured.astype(np.float32)
    together = corrected_by_us(np.tile(spectra, (12, 1)).reshape(6, 16, -1), axis, reference)
    assert together.corrected.shape == (6, 16, axis.size)
    assert together.coefficients.shape[:2] == together.rmse.shape == together.iterations.shape == (6, 16)
    alone = corrected_by_us(spectra[3], axis, reference)
    assert alone.corrected.shape == (axis.size,)
    assert alone.rmse.shape == alone.iterations.shape == ()
    np.testing.assert_allclose(together.corrected.reshape(96, -1)[11], alone.corrected, rtol=0, atol=2e-5)
    assert together.iterations.reshape(96)[11] == alone.iterations


def test_spectra_without_a_result_are_marked(simulated):
    axis, reference, _, measured = simulated
    spectra = measured.astype(np.float32)
    spectra[1] = 0
    spectra[2, 5] = np.nan
    spectra[3, 7] = np.inf
    bad, good = [1, 2, 3], [0, 4, 5, 6, 7]
    result = corrected_by_us(spectra, axis, reference)
    assert np.isnan(result.corrected[bad]).all()
    assert np.isnan(result.coefficients[bad]).all()
    assert np.isnan(result.rmse[bad]).all()
    assert (result.iterations[bad] == 0).all()
    clean = corrected_by_us(measured.astype(np.float32), axis, reference)
    np.testing.assert_allclose(result.corrected[good], clean.corrected[good], rtol=0, atol=2e-5)
    assert (result.iterations[good] > 0).all()


def test_unconverged_spectra_are_kept_or_masked(simulated):
    axis, reference, _, measured = simulated
    spectra = measured.astype(np.float32)
    kept = corrected_by_us(spectra, axis, reference, max_iterations=2)
    masked = corrected_by_us(spectra, axis, reference, max_iterations=2, unconverged="nan")
    assert np.isfinite(kept.corrected).all()
    assert (kept.iterations >= 1).all()
    assert np.isnan(masked.corrected).all()
    assert (masked.iterations == 0).all()


def test_chunks_equal_the_whole_and_resume(simulated):
    axis, reference, _, measured = simulated
    spectra = measured.astype(np.float32).reshape(4, 2, -1)
    spectra[2, 1] = np.nan
    whole = corrected_by_us(spectra, axis, reference, unconverged="nan")
    taken, seen = [], []

    def lazily():
        for chunk in spectra:
            taken.append(len(taken))
            yield chunk

    chunks = list(correct_chunks(lazily(), axis, reference, settings=SETTINGS, progress=seen.append))
    assert [chunk.number for chunk in chunks] == [chunk.number for chunk in seen] == [0, 1, 2, 3]
    joined = np.stack([chunk.result.corrected for chunk in chunks])
    np.testing.assert_allclose(joined, whole.corrected, rtol=0, atol=2e-5)
    assert [chunk.failed.tolist() for chunk in chunks][2] == [False, True]
    resumed = list(correct_chunks(spectra, axis, reference, settings=SETTINGS, first_chunk=3))
    assert [chunk.number for chunk in resumed] == [3]
    np.testing.assert_array_equal(resumed[0].result.corrected, chunks[3].result.corrected)
    stream = correct_chunks(lazily(), axis, reference, settings=SETTINGS)
    taken.clear()
    next(stream)
    assert taken == [0]


def test_chunks_tell_unconverged_from_failed(simulated):
    axis, reference, _, measured = simulated
    spectra = measured[:2].astype(np.float32)
    spectra[0] = np.nan
    settings = MieSettings(7, StopRule(max_iterations=2))
    (chunk,) = correct_chunks([spectra], axis, reference, settings=settings)
    assert chunk.failed.tolist() == [True, False]
    assert chunk.unconverged.tolist() == [False, True]
    assert np.isnan(chunk.result.corrected).all()


@pytest.mark.slow
def test_memory_budget_only_changes_the_pace(simulated):
    axis, reference, _, measured = simulated
    spectra = measured.astype(np.float32)
    small = corrected_by_us(spectra, axis, reference, memory_budget_bytes=1)
    np.testing.assert_allclose(
        small.corrected, corrected_by_us(spectra, axis, reference).corrected, rtol=0, atol=2e-5
    )


def test_no_spectra_give_no_results(simulated):
    axis, reference, _, measured = simulated
    result = me_emsc(measured[:0].astype(np.float32), axis, reference, n_components=3)
    assert result.corrected.shape == (0, axis.size)
    assert result.coefficients.shape == (0, 5)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"absorbance": np.zeros((2, 7), np.float32)}, "absorbance: found shape"),
        ({"reference": np.ones(9)}, "reference: found shape"),
        ({"reference": -np.ones(208)}, "maximum above 0"),
        ({"wavenumbers_cm1": np.ones(208)}, "strictly rising or falling"),
        ({"wavenumbers_cm1": np.linspace(100, 1800, 208)}, "beyond the ends"),
        ({"n_components": 0}, "n_components: found 0"),
        ({"stop": "never"}, "stop: found 'never'"),
        ({"max_iterations": 0}, "max_iterations 0"),
        ({"unconverged": "drop"}, "unconverged: found 'drop'"),
    ],
)
def test_errors_say_what_is_wrong(simulated, changes, message):
    axis, reference, _, measured = simulated
    arguments = {"absorbance": measured.astype(np.float32), "wavenumbers_cm1": axis, "reference": reference}
    with pytest.raises(ValueError, match=message):
        me_emsc(**(arguments | changes))


def test_spheres_are_checked():
    with pytest.raises(ValueError, match="they are pairs"):
        Spheres(radii_um=(2.0,))
    with pytest.raises(ValueError, match="indices above 1"):
        Spheres(radii_um=(2.0,), refractive_indices=(1.0,))
