"""ME-EMSC on measured spectra: the original Matlab code's results, and biospectools at the same stop rule."""

from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.spectra.scatter.mie import me_emsc

Matlab = namedtuple("Matlab", "wavenumbers_cm1 spectrum reference corrected coefficients rmse iterations")


def rows(path):
    lines = [line.split(",")[1:] for line in path.read_text().splitlines()]
    return [np.array([float(value) for value in line]) for line in lines]


@pytest.fixture(scope="module")
def matlab(shared_data):
    folder = shared_data / "me_emsc"
    axis, spectrum = rows(folder / "MieStd1_rawSpec.csv")
    reference_axis, reference = rows(folder / "MieStd2_refSpec.csv")
    return Matlab(
        axis,
        spectrum,
        np.interp(axis, reference_axis, reference),
        rows(folder / "MieStd3_corr.csv"),
        rows(folder / "MieStd4_param.csv"),
        rows(folder / "MieStd7_RMSE.csv"),
        rows(folder / "MieStd6_niter.csv"),
    )


def measured(shared_data, channels):
    """Sixty measured spectra of cells from 1000 cm-1 up, and the Matrigel reference on their axis."""
    scipy_io = pytest.importorskip("scipy.io")
    folder = shared_data / "me_emsc"
    spectra = scipy_io.loadmat(folder / "measuredSpectra.mat", simplify_cells=True)["Spectra"]
    axis = np.asarray(spectra["v"], float).ravel()[:channels]
    reference = np.interp(axis, *rows(folder / "MieStd2_refSpec.csv"))
    return axis, np.asarray(spectra["d"], float)[:, :channels], reference


def by_biospectools(spectra, axis, reference):
    peer = pytest.importorskip("biospectools.preprocessing")
    model = peer.MeEMSC(reference.copy(), axis, max_iter=30)
    corrected, details = model.transform(spectra, details=True)
    return corrected, details.n_iterations


def rms(difference):
    return np.sqrt(np.mean(np.square(difference), axis=-1))


@pytest.mark.parametrize(
    ("row", "settings", "direction"),
    [
        # Its rule for stopping is held against biospectools below, as quickly in float32.
        pytest.param(0, {}, 1, id="default"),
        pytest.param(2, {"max_iterations": 1}, 1, id="fixed iterations"),
        pytest.param(1, {"n_components": 14}, 1, id="14 components", marks=pytest.mark.slow),
        pytest.param(0, {}, -1, id="falling axis", marks=pytest.mark.slow),
    ],
)
def test_matlab_rows(matlab, row, settings, direction):
    with jax.enable_x64(True):
        result = me_emsc(
            jnp.asarray(matlab.spectrum[::direction]),
            matlab.wavenumbers_cm1[::direction],
            matlab.reference[::direction],
            **settings,
        )
    assert result.corrected.dtype == np.float64
    np.testing.assert_allclose(result.corrected[::direction][::20], matlab.corrected[row], rtol=0, atol=1e-6)
    expected = matlab.coefficients[row][~np.isnan(matlab.coefficients[row])]
    np.testing.assert_allclose(np.abs(result.coefficients), np.abs(expected), rtol=0, atol=1e-6)
    assert result.iterations == matlab.iterations[row]
    assert round(float(result.rmse), 4) == matlab.rmse[row]


@pytest.mark.slow
def test_matlab_rows_in_float32(matlab):
    result = me_emsc(matlab.spectrum.astype(np.float32), matlab.wavenumbers_cm1, matlab.reference)
    assert result.corrected.dtype == np.float32
    assert result.iterations == 19
    np.testing.assert_allclose(result.corrected[::20], matlab.corrected[0], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_float32_follows_biospectools(shared_data):
    axis, spectra, reference = measured(shared_data, 450)
    spectra = spectra[::3]
    expected, iterations = by_biospectools(spectra, axis, reference)
    result = me_emsc(spectra.astype(np.float32), axis, reference, stop="tolerance", max_iterations=30)
    agree = result.iterations == iterations
    assert agree.mean() >= 0.95
    assert rms(result.corrected - expected)[agree].max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("channels", [450, 1556])
def test_biospectools_is_followed_on_all_spectra(shared_data, channels):
    axis, spectra, reference = measured(shared_data, channels)
    expected, iterations = by_biospectools(spectra, axis, reference)
    settings = {"stop": "tolerance", "max_iterations": 30}
    with jax.enable_x64(True):
        double = me_emsc(spectra, axis, reference, **settings)
    np.testing.assert_array_equal(double.iterations, iterations)
    assert rms(double.corrected - expected).max() < 1e-4
    single = me_emsc(spectra.astype(np.float32), axis, reference, **settings)
    agree = single.iterations == iterations
    assert agree.mean() >= 0.95
    assert rms(single.corrected - expected)[agree].max() < 2e-3
