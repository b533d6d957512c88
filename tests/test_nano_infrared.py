"""Files of nano-infrared microscopes: Gwyddion Simple Field and neaSPEC's text."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import CubeError


@pytest.mark.parametrize(("lengths", "size_um"), [((7e-6, 5e-6), 1.0), ((7e-6, 10e-6), None), ((0, 0), None)])
def test_a_field_as_gsffile_writes_it(tmp_path, lengths, size_um):
    gsffile = pytest.importorskip("gsffile")
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    about = {"XReal": lengths[0], "YReal": lengths[1], "XYUnits": "m", "Title": "O2A"}
    gsffile.write_gsf(tmp_path / "a.gsf", values, about)
    cube = read(tmp_path / "a.gsf")
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], values)
    assert cube.wavenumbers_cm1 is None
    assert cube.pixel_size_um == (None if size_um is None else pytest.approx(size_um))
    assert (cube.provenance["channel"], isinstance(cube.absorbance, np.memmap)) == ("O2A", True)
    given = read(tmp_path / "a.gsf", wavenumbers_cm1=np.array([1655.0]))
    np.testing.assert_array_equal(given.wavenumbers_cm1, [1655.0])


def test_a_field_of_every_length_of_header(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for more in range(4):
        path = files.gsf(tmp_path / f"{more}.gsf", values, Title="x" * (1 + more))
        np.testing.assert_array_equal(read(path).absorbance[:, :, 0], values)
    with pytest.raises(CubeError, match="XRes is -3"):
        read(files.gsf(tmp_path / "b.gsf", values, XRes=-3))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CubeError, match="a field of 2 × 3"):
        read(path)


def test_a_map_of_neaspec(tmp_path):
    values, axis = files.sample()
    path = files.neaspec(tmp_path / "a.txt", {"O2A": values, "O2P": 2 * values}, axis, step_um=0.05)
    cube = read(path, variable="O2P")
    np.testing.assert_allclose(cube.absorbance, 2 * values, rtol=1e-6)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    assert cube.pixel_size_um == pytest.approx(0.05)
    for variable, message in ((None, "channels O2A, O2P. Name one"), ("O3A", "no channel 'O3A'")):
        with pytest.raises(CubeError, match=message):
            read(path, variable=variable)
    spectra = read_spectra(path)
    assert spectra.absorbance.shape == (24, 9)
    assert spectra.names[5] == "O2A row 1 column 1"
    np.testing.assert_allclose(spectra.absorbance[12 + 5], 2 * values[1, 1], rtol=1e-6)


def test_texts_of_neaspec_that_are_no_map(tmp_path):
    values, axis = files.sample()
    path = files.neaspec(tmp_path / "a.txt", {"O2A": values}, axis)
    text = path.read_text()
    path.write_text("\n".join(text.split("\n")[:-6]) + "\n")
    with pytest.raises(CubeError, match="do not fill a grid of 3 × 4"):
        read(path)
    path.write_text(text.replace("Wavenumber", "M"))
    with pytest.raises(CubeError, match="interferograms"):
        read(path)
    path.write_text(text.replace("Wavenumber", "Wavelength"))
    with pytest.raises(CubeError, match=r"Wavelength states no unit.*wavenumbers_cm1="):
        read(path)
    np.testing.assert_array_equal(read(path, wavenumbers_cm1=axis).wavenumbers_cm1, axis)
