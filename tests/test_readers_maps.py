"""Maps of instruments: every spectrum in the pixel of its position, whatever the order in which it was measured."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import CubeError


@pytest.mark.parametrize("order", ["rows", "columns", "snake"])
@pytest.mark.parametrize("steps", [(2.5, 2.5), (2.5, -2.5), (-2.5, 2.5)])
def test_wdf_map_of_any_order(tmp_path, order, steps):
    values, axis = files.sample(3, 5, 9)
    cube = read(files.wdf_map(tmp_path / "a.wdf", values, axis, order=order, steps=steps))
    np.testing.assert_array_equal(cube.absorbance, values)
    assert cube.absorbance.dtype == np.float32
    np.testing.assert_allclose(cube.wavenumbers_cm1, axis)
    assert cube.pixel_size_um == pytest.approx(2.5)
    assert "raman shift" in cube.provenance["axis"]
    assert cube.provenance["direction"] == "descending"
    assert cube.provenance["stored_type"] == "float32"
    assert "y rises downwards" in cube.provenance["orientation"]
    assert "left_out" not in cube.provenance


@pytest.mark.parametrize("steps", [(2.5, 2.5), (-2.5, -2.5)])
def test_interrupted_wdf_map_keeps_its_extent(tmp_path, steps):
    values, axis = files.sample(4, 5, 9)
    path = files.wdf_map(tmp_path / "a.wdf", values, axis, order="snake", measured=8, steps=steps)
    cube = read(path)
    measured = np.ones((4, 5), bool)
    measured[2:], measured[1, :2] = False, False
    measured = measured if steps[0] > 0 else measured[::-1, ::-1]
    np.testing.assert_array_equal(cube.absorbance, values * measured[:, :, np.newaxis])
    assert cube.provenance["left_out"] == "12 of 20 pixels were not measured; they are zero"
    spectra = read_spectra(path)
    assert spectra.absorbance.shape == (8, 9)
    np.testing.assert_allclose(np.ptp(spectra.positions_um, axis=0), (10, 2.5))


def test_wdf_pixels_that_are_not_square_have_no_size(tmp_path):
    values, axis = files.sample(3, 5, 9)
    cube = read(files.wdf_map(tmp_path / "a.wdf", values, axis, steps=(2.5, 4)))
    np.testing.assert_array_equal(cube.absorbance, values)
    assert cube.pixel_size_um is None
    assert cube.provenance["pixel_size"] == "not square: 2.5 µm along x and 4 µm along y"


def test_wdf_wavelengths_become_wavenumbers(tmp_path):
    values, _ = files.sample(3, 5, 9)
    nanometres = np.linspace(540, 560, 9)
    cube = read(files.wdf_map(tmp_path / "a.wdf", values, nanometres, unit=3))
    np.testing.assert_allclose(cube.wavenumbers_cm1, 1e7 / nanometres, rtol=1e-6)
    assert "not to Raman shifts" in cube.provenance["axis"]


@pytest.mark.parametrize(
    ("kind", "shape", "words"), [(128, (1, 12), "a line of 12 spectra"), (1, (3, 4), "scattered points")]
)
def test_wdf_that_is_no_map_is_spectra_with_positions(tmp_path, kind, shape, words):
    values, axis = files.sample(*shape, 9)
    path = files.wdf_map(tmp_path / "a.wdf", values, axis, kind=kind)
    with pytest.raises(CubeError, match=f"{words}.*read_spectra"):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values.reshape(12, 9))
    np.testing.assert_allclose(np.diff(spectra.positions_um[:, 0])[0], 2.5)


def test_wdf_without_a_known_unit_takes_an_axis(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.wdf_map(tmp_path / "a.wdf", values, axis, unit=0)
    with pytest.raises(CubeError, match=r"unit 0.*give wavenumbers_cm1="):
        read(path)
    cube = read(path, wavenumbers_cm1=axis)
    np.testing.assert_array_equal(cube.absorbance, values)
    assert cube.provenance["axis"] == "given by the caller"
