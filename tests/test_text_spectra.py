"""Single spectra and tables of them in text, as programs write them, and WITec's exports."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import CubeError

AXIS = np.array([1800.0, 1796.0, 1792.0])


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_of_any_encoding(tmp_path, encoding, end):
    lines = ["#T=\t45°", "Wellenzahl µ\tExtinktion", "1800,5\t0,25", "1796,5\t0,5", "1792,5\t-1,5e-3"]
    spectra = read_spectra(written(tmp_path / "a.txt", end.join([*lines, ""]), encoding))
    np.testing.assert_array_equal(spectra.absorbance, [[0.25, 0.5, -0.0015]])
    np.testing.assert_array_equal(spectra.wavenumbers_cm1, AXIS + 0.5)
    assert spectra.provenance["axis"] == "first column, taken as cm⁻¹, no unit is stated"


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        ("wavelength (nm),value", "nm"),
        ("Wavelength nm.,R%", "nm"),
        ("#AxisUnit[1]=\tnm", "nm"),
        ("Wellenlänge in µm,value", "µm"),
        ("Raman shift / cm-1,counts", "cm-1"),
        ("a title\nwavenumber (cm-1),value\n", "cm-1"),
        ("sep=,\nwavenumber (cm-1),value\n", "cm-1"),
    ],
)
def test_the_unit_of_a_list(tmp_path, head, unit):
    spectra = read_spectra(written(tmp_path / "a.csv", f"{head}\n500,1\n510,2\n520,3\n"))
    values = np.array([500.0, 510, 520])
    scale = {"nm": 1e7, "µm": 1e4}.get(unit)
    np.testing.assert_allclose(spectra.wavenumbers_cm1, values if scale is None else scale / values)
    assert "in the file" in spectra.provenance["axis"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wavelength,value\n745,1\n744,2\n", "wavelengths of no stated unit"),
        ("0,1\n1,2\n2,3\n", "states no unit, so it holds no wavenumbers"),
        ("1800,1\n1796,2\n1796,3\n1792,1\n", "row 3 begins with 1796 after 1796"),
        ("a,b\n1800,1\n1796,2,3\n", "row 3 has 3 cells"),
        ("1,800\t1\n1,796\t2\n", "decimal comma or a comma after thousands"),
        ("1800 1 2\n1796 3 4\n", "a title above each"),
    ],
)
def test_lists_that_cannot_be_told(tmp_path, text, message):
    with pytest.raises(CubeError, match=message):
        read_spectra(written(tmp_path / "a.csv", text))


def test_columns_with_a_title_above_each(tmp_path):
    text = "wavenumber;liver;tumour; \n1800;1,5;2;3\n1796;4;5,5;6\n1792;7;8;9\n"
    spectra = read_spectra(written(tmp_path / "a.csv", text))
    np.testing.assert_array_equal(spectra.absorbance, [[1.5, 4, 7], [2, 5.5, 8], [3, 6, 9]])
    assert spectra.names == ("liver", "tumour", "")
    np.testing.assert_array_equal(spectra.wavenumbers_cm1, AXIS)


@pytest.mark.parametrize("units", [True, False])
def test_a_table_of_witec_is_an_image(tmp_path, units):
    values = np.round(np.random.default_rng(0).uniform(900, 1000, (3, 4, 5)))
    axis = 100 + 2.5 * np.arange(5)
    cube = read(files.table_of_witec(tmp_path / "a.txt", values, axis, units=units))
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    assert ("rel. 1/cm in the file" in cube.provenance["axis"]) == units
    given = read(tmp_path / "a.txt", wavenumbers_cm1=axis + 1)
    np.testing.assert_array_equal(given.wavenumbers_cm1, axis + 1)
    cut = ["a(0/0)"] * 12
    with pytest.raises(CubeError, match="do not name each pixel of an image of 1 × 1 once"):
        read(files.table_of_witec(tmp_path / "b.txt", values, axis, pixels=cut))


def saved(path, **variables):
    pytest.importorskip("scipy.io").savemat(path, variables)
    return path


def test_images_of_witec_and_of_plain_dataset_objects(tmp_path):
    values = np.random.default_rng(0).uniform(1, 2, (3, 4, 5)).astype(np.float32)
    axis = 100 + 2.5 * np.arange(5)
    path = saved(tmp_path / "a.mat", one=files.of_witec(values.reshape(12, 5), axis, (4, 3)))
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, values)
    assert (cube.pixel_size_um, cube.provenance["axes"]) == (2.0, "unfolded, x fastest, imagesize is (x, y)")
    unfolded = values.transpose(1, 0, 2).reshape(12, 5)
    other = files.of_witec(unfolded, axis, (3, 4), history="created by a script")
    np.testing.assert_array_equal(read(saved(tmp_path / "b.mat", two=other)).absorbance, values)
    path = saved(tmp_path / "c.mat", one=files.of_witec(values.reshape(12, 5), axis, (4, 3)), two=other)
    with pytest.raises(CubeError, match=r"several exports \(one, two\).*variable="):
        read(path)
    np.testing.assert_array_equal(read(path, variable="two").absorbance, values)


@pytest.mark.parametrize(
    ("size", "unit", "what"),
    [
        ((), "µm", "a line scan or depth profile of 12 spectra"),
        ((), "s", "a time series of 12 spectra"),
        ((), "", "a series of 12 spectra"),
        ((2, 2, 3), "", "a stack of 3 images, 2 × 2 pixels each; export each layer"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, size, unit, what):
    values, axis = np.arange(60.0).reshape(12, 5), 100 + 2.5 * np.arange(5)
    record = files.of_witec(values, axis, size, scale=np.arange(12.0), unit=unit)
    path = saved(tmp_path / "a.mat", scan=record)
    with pytest.raises(CubeError, match=f"'scan' is {what}"):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values)
    np.testing.assert_array_equal(spectra.wavenumbers_cm1, axis)
