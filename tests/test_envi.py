"""ENVI as instruments' programs write it: defaults, units, bands and pixels left out, sizes of pixels."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.formats import envi
from compseg_jax.readers.scan import Scan, open_scan

VALUES, AXIS = files.sample()


def changed(path, *lines, without=()):
    """A header without some of its fields and with further lines."""
    kept = [line for line in path.read_text().split("\n") if not line.startswith(tuple(without) or "\0")]
    path.write_text("\n".join([*kept, *lines]) + "\n")
    return path


def thermo(folder, *lines, **more):
    """As OMNIC exports: no byte order, the unit in the plot titles only."""
    path = files.envi(folder, VALUES, AXIS, unit=None, offset=0, **more)
    title = "z plot titles = {Wavenumbers (cm-1), Absorbance}"
    return changed(path, title, *lines, without=("byte order", "header offset"))


def test_an_export_of_omnic(tmp_path):
    cube = read(thermo(tmp_path, "pixel size = {0.025, 0.025}"))
    np.testing.assert_array_equal(cube.absorbance, VALUES)
    np.testing.assert_allclose(cube.wavenumbers_cm1, AXIS)
    assert cube.provenance["axis"] == "wavelength, Wavenumbers (cm-1) in the file (z plot titles)"
    assert cube.pixel_size_um is None
    assert "25000 µm: not believed" in cube.provenance["pixel_size"]
    assert "(25 where the file means millimetres)" in cube.provenance["pixel_size"]


@pytest.mark.parametrize(
    ("line", "size_um", "said"),
    [
        ("pixel size = {5.5e-06, 5.5e-06}", 5.5, "in meters"),
        ("pixel size = {2.7, 2.7, units=Micrometers}", 2.7, "in Micrometers"),
        ("pixel size = {0.0054, 0.0054, units = mm}", 5.4, "in mm"),
        ("pixel size = {.005, .005}", None, "not believed"),
        ("pixel size = {30, 30, units=Meters}", None, "not believed"),
        ("pixel size = {1e-6, 2e-6}", None, "not square"),
        ("pixel size = {1, 1, units=Degrees}", None, "in Degrees; give pixel_size_um="),
        ("map info = {Arbitrary, 1, 1, 0, 0, 6.25e-06, 6.25e-06, units=Meters}", 6.25, "map info 6.25e-06"),
        ("map info = {Arbitrary, 1, 1, 0, 0, 1, 1}", None, "in no stated unit; give pixel_size_um="),
    ],
)
def test_pixel_sizes(tmp_path, line, size_um, said):
    cube = read(thermo(tmp_path, line))
    assert cube.pixel_size_um == (None if size_um is None else pytest.approx(size_um))
    assert said in cube.provenance["pixel_size"]


@pytest.mark.parametrize("unit", ["cm-1", "1/cm", "Wavenumber", "Wavenumber (cm-1)", "Wavenumbers", "CM^-1"])
def test_units_as_programs_write_them(tmp_path, unit):
    np.testing.assert_allclose(read(files.envi(tmp_path, VALUES, AXIS, unit=unit)).wavenumbers_cm1, AXIS)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("kind", [4, 5, 2])
@pytest.mark.parametrize("ignored", [-9999, 0])
def test_the_value_to_ignore(tmp_path, interleave, kind, ignored):
    values = np.round(VALUES * 100)
    values[0, 1] = ignored
    values[2, 3, 4] = ignored
    path = files.envi(tmp_path, values, AXIS, interleave=interleave, kind=kind, big_endian=kind == 2)
    cube = read(changed(path, f"data ignore value = {ignored}"))
    expected = values.copy()
    expected[0, 1] = 0
    if ignored:
        expected[2, 3] = 0
    np.testing.assert_array_equal(cube.absorbance, expected)
    in_part = ", 1 of them in some channels only" if ignored else ""
    number = 2 if ignored else 1
    words = f"{number} of 12 pixels that hold the data ignore value {ignored}{in_part}; they are zero"
    assert cube.provenance["left_out"] == words


@pytest.mark.parametrize(
    ("text", "kind"), [("nan", 4), ("-3.40282346638529e+038", 4), ("-32768", 2), ("-1.5", 2)]
)
def test_values_to_ignore_of_every_kind(tmp_path, text, kind):
    values = np.round(VALUES * 100)
    stored = {"nan": np.nan, "-32768": -32768}.get(text, np.float32(text) if kind == 4 else 7)
    values[1, 1] = stored
    cube = read(changed(files.envi(tmp_path, values, AXIS, kind=kind), f"data ignore value = {text}"))
    assert cube.absorbance[1, 1].any() == (text == "-1.5")  # no 16-bit number is -1.5
    assert ("left_out" in cube.provenance) == (text != "-1.5")


def test_bad_bands_are_left_out(tmp_path):
    path = changed(files.envi(tmp_path, VALUES, AXIS), "bbl = {1, 1, 0, 0,\n 1, 1, 1, 0, 1}")
    good = np.array([1, 1, 0, 0, 1, 1, 1, 0, 1], bool)
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, VALUES[:, :, good])
    np.testing.assert_allclose(cube.wavenumbers_cm1, AXIS[good])
    assert cube.provenance["left_out"] == "3 of 9 bands by bbl (3-4, 8)"
    for given in (AXIS, AXIS[good]):
        np.testing.assert_allclose(read(path, wavenumbers_cm1=given).wavenumbers_cm1, AXIS[good])
    with pytest.raises(CubeError, match="8 wavenumbers for 6 channels"):
        read(path, wavenumbers_cm1=AXIS[:-1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bbl = {1, 0}", "`bbl` lists 2 values for 9 bands"),
        ("bbl = {0, 0, 0, 0, 0, 0, 0, 0, 0}", "nothing is left"),
        ("bbl = {1, x, 0}", "holds 'x'"),
        ("data ignore value = none", "`data ignore value` holds 'none'"),
        ("file compression = 1", "without compression"),
        ("file type = ENVI Spectral Library", "spectral library"),
        ("samples = 5", "twice, as 4 and 5; state it once"),
    ],
)
def test_headers_that_cannot_be_followed(tmp_path, line, message):
    with pytest.raises(CubeError, match=message):
        read(changed(files.envi(tmp_path, VALUES, AXIS), line))


def test_headers_with_comments_and_repeated_fields(tmp_path):
    path = files.envi(tmp_path, VALUES, AXIS)
    cube = read(
        changed(path, "; samples = 7", "samples = 4", "Data Gain Values = {2, 2, 2, 2, 2, 2, 2, 2, 2}")
    )
    np.testing.assert_array_equal(cube.absorbance, VALUES)
    assert "data gain values of the header, which are not applied" in cube.provenance["left_out"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    np.testing.assert_array_equal(read(path).absorbance, VALUES)


def test_complex_numbers_are_refused(tmp_path):
    path = files.envi(tmp_path, VALUES, AXIS)
    path.write_text(path.read_text().replace("data type = 4", "data type = 6"))
    with pytest.raises(CubeError, match="complex numbers"):
        read(path)


def test_data_longer_than_the_header_says(tmp_path):
    path = files.envi(tmp_path, VALUES, AXIS, offset=12)
    changed(path, without=("header offset",))
    with pytest.raises(CubeError, match="state `header offset = 12`"):
        read(path)
    np.testing.assert_array_equal(read(changed(path, "header offset = 12")).absorbance, VALUES)


def test_the_data_file_is_the_one_of_the_right_size(tmp_path):
    path = files.envi(tmp_path, VALUES, AXIS)
    (tmp_path / "cube.dat").rename(tmp_path / "cube.img")
    (tmp_path / "cube").write_bytes(b"notes")
    np.testing.assert_array_equal(read(path).absorbance, VALUES)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (np.int32(348).tobytes() + bytes(344), "NIfTI or Analyze"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "high-dynamic-range picture"),
        (b"BYTEORDER I\nLAYOUT BIL\n", "ESRI"),
        (b'ScanDefinition = { Label = "a.hdr";', "X-ray"),
    ],
)
def test_headers_of_other_programs_are_named(tmp_path, content, what):
    (tmp_path / "a.hdr").write_bytes(content)
    (tmp_path / "a.img").write_bytes(b"")
    with pytest.raises(CubeError, match=what):
        read(tmp_path / "a.hdr")


def test_a_large_image_with_parts_left_out_is_read_by_windows(tmp_path, monkeypatch):
    values = VALUES.copy()
    values[1, 2] = -1
    path = files.envi(tmp_path, values, AXIS)
    changed(path, "data ignore value = -1", "bbl = {1, 1, 1, 0, 1, 1, 1, 1, 1}")
    cube = read(path)
    monkeypatch.setattr(envi, "_WHOLE_BYTES", 0)
    scan = open_scan(path)
    assert isinstance(scan, envi.PartialScan)
    assert isinstance(scan, Scan)
    assert scan.shape == cube.absorbance.shape
    np.testing.assert_array_equal(scan.wavenumbers_cm1, cube.wavenumbers_cm1)
    rows, columns, channels = slice(1, None), slice(1, 3), slice(2, 5)
    np.testing.assert_array_equal(
        scan.window(rows, columns, channels), cube.absorbance[rows, columns, channels]
    )
    assert "bands by bbl (4); pixels that hold the data ignore value -1" in scan.provenance["left_out"]
