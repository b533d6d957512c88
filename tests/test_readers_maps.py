"""Instruments' maps, every spectrum in the pixel of its position, and the single spectra of the same formats."""

from __future__ import annotations

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read, read_spectra, recognise
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
    assert "y downwards" in cube.provenance["orientation"]
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
    assert "pixels of 2.5 × 4 µm are not square" in cube.provenance["pixel_size"]


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


def agrees(cube, values, axis, pixel_size_um):
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_allclose(cube.wavenumbers_cm1, axis, rtol=0, atol=1e-4)
    assert cube.pixel_size_um == (None if pixel_size_um is None else pytest.approx(pixel_size_um))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16"])
@pytest.mark.parametrize("order", ["rows", "columns", "shuffled"])
def test_labspec_map_of_any_order(tmp_path, encoding, order):
    values, axis = files.sample(3, 5, 9)
    at = np.arange(15)
    at = {"rows": at, "columns": at.reshape(3, 5).T.ravel(), "shuffled": at[::-1][np.argsort(at % 4)]}[order]
    path = files.labspec(tmp_path / "map.txt", values, axis, order=at, encoding=encoding)
    cube = read(path)
    agrees(cube, values, axis, 1.5)
    assert cube.absorbance.dtype == np.float64
    assert cube.provenance["axis"] == "first row, 1/cm in the file"
    assert cube.provenance["pixel_size"] == "steps of the positions, in the unit stated"
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values.reshape(15, 9)[at])
    np.testing.assert_allclose(spectra.positions_um, np.stack(files.positions(values, 1.5), 1)[at])


def test_units_that_labspec_states_are_used(tmp_path):
    values, _ = files.sample(3, 5, 9)
    nanometres = np.linspace(540, 560, 9)
    path = files.labspec(tmp_path / "map.txt", values, nanometres, axis_unit="nm", unit="mm", step=0.002)
    agrees(read(path), values, 1e7 / nanometres, 2)
    path = files.labspec(tmp_path / "map.txt", values, nanometres, axis_unit="eV")
    with pytest.raises(CubeError, match=r"'eV'.*wavenumbers_cm1="):
        read(path)
    agrees(read(path, wavenumbers_cm1=nanometres), values, nanometres, 1.5)


def test_columns_are_those_of_the_axes_that_labspec_names(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.labspec(tmp_path / "map.txt", values, axis)
    lines = path.read_text(encoding="cp1252").splitlines()
    swapped = [
        "\t".join([cells[1], cells[0], *cells[2:]]) for cells in (line.split("\t") for line in lines[11:])
    ]
    text = "\n".join([*lines[:11], *swapped]).replace("[2]=\tX", "[2]=\tY").replace("[3]=\tY", "[3]=\tX")
    path.write_text(text, encoding="cp1252")
    agrees(read(path), values, axis, 1.5)


def test_incomplete_text_map_has_zeros_that_are_counted(tmp_path):
    values, axis = files.sample(3, 5, 9)
    cube = read(files.labspec(tmp_path / "map.txt", values, axis, order=slice(0, 12)))
    expected = values.copy()
    expected[2, 2:] = 0
    agrees(cube, expected, axis, 1.5)
    assert cube.provenance["left_out"] == "3 of 15 pixels were not measured; they are zero"


def test_spectrum_beside_the_map_is_named(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.labspec(tmp_path / "map.txt", values, axis)
    lines = path.read_text(encoding="cp1252").splitlines()
    beside = "\t".join(["5", "103", *lines[-1].split("\t")[2:]])
    path.write_text("\n".join([*lines, beside]))
    with pytest.raises(CubeError, match="spectrum at x = 5, y = 103 lies apart from all others"):
        read(path)
    assert read_spectra(path).absorbance.shape == (16, 9)


def test_line_that_was_left_out_is_zero(tmp_path):
    values, axis = files.sample(5, 5, 9)
    at = np.arange(25)
    cube = read(files.labspec(tmp_path / "map.txt", values, axis, order=at[at % 5 != 2]))
    expected = values.copy()
    expected[:, 2] = 0
    agrees(cube, expected, axis, 1.5)
    assert cube.provenance["left_out"].startswith("5 of 25 pixels")


def test_wire_text_map(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.wire_text(tmp_path / "map.txt", values, axis)
    agrees(read(path), values, axis, 1.5)
    lines = path.read_text().splitlines()
    # The same table sorted by its axis, as other programs write it.
    path.write_text("\n".join([lines[0], *(line for at in range(9) for line in lines[1 + at :: 9])]))
    agrees(read(path), values, axis, 1.5)
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(CubeError, match="at X = -1, Y = 103 has 8 points, others have 9"):
        read(path)


def test_series_and_layers_of_wire_text_are_named(tmp_path):
    lines = ["#Time\t#Wave\t#Intensity", "0\t1000\t1", "0\t1004\t2", "5\t1000\t3", "5\t1004\t4"]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(
        CubeError, match="a series of 2 spectra along Time, not a map; read it with read_spectra"
    ):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, [[1, 2], [3, 4]])
    assert spectra.names == ("Time 0", "Time 5")
    layers = [f"{x}\t{y}\t{z}\t{w}\t1" for z in (0, 1) for y in (0, 1) for x in (0, 1) for w in (1000, 1004)]
    path.write_text("\n".join(["#X\t#Y\t#Z\t#Wave\t#Intensity", *layers]))
    with pytest.raises(CubeError, match=r"4 spectra lie where another does.*layers of a series"):
        read(path)
    assert read_spectra(path).absorbance.shape == (8, 2)


def written(path, values, axis, *, titles, delimiter, cells, decimal="."):
    """A wide table of rows `cells(x, y, n)`, in which None stands for the spectrum."""
    x, y = files.positions(values, 2)
    rows = [[*titles]]
    rows += [[*cells(x[at], y[at], at)] for at in range(x.size)]
    spectra = [axis, *values.reshape(x.size, -1)]
    lines = []
    for row, spectrum in zip(rows, spectra, strict=True):
        at = row.index(None)
        row[at : at + 1] = [repr(float(value)) for value in spectrum]
        lines.append(delimiter.join(str(cell).replace(".", decimal) for cell in row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("titles", "cells", "delimiter", "decimal", "pixel_size_um"),
    [
        (["", "", None], lambda x, y, n: [x, y, None], "\t", ".", 2),
        (["", "", None], lambda x, y, n: [x, y, None], ";", ",", 2),
        ([None], lambda x, y, n: [x, y, None], " ", ".", 2),
        (["x", "y", None], lambda x, y, n: [x, y, None], ",", ".", 2),
        (["Y (mm)", "X (mm)", None], lambda x, y, n: [y, x, None], ",", ".", None),
        (["id", "y_um", "x_um", None], lambda x, y, n: [n, y, x, None], ",", ".", 2),
        (["name", "y_um", "x_um", None], lambda x, y, n: [f"s{n}", y, x, None], "\t", ",", 2),
        ([None, "map_x", "map_y"], lambda x, y, n: [None, x, y], "\t", ".", 2),
        (["X [px]", "Y [px]", None], lambda x, y, n: [x, y, None], ",", ".", None),
    ],
)
def test_wide_tables_name_x_and_y(tmp_path, titles, cells, delimiter, decimal, pixel_size_um):
    values, axis = files.sample(3, 5, 9)
    path = written(
        tmp_path / "a.csv", values, axis, titles=titles, cells=cells, delimiter=delimiter, decimal=decimal
    )
    cube = read(path)
    agrees(cube, values, axis, pixel_size_um)
    assert "taken as cm⁻¹" in cube.provenance["axis"]
    if len(titles) > 3:
        assert cube.provenance["columns_not_used"] == titles[0]


def test_line_that_tells_excel_the_delimiter(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = written(
        tmp_path / "a.csv",
        values,
        axis,
        titles=["x", "y", None],
        cells=lambda x, y, n: [x, y, None],
        delimiter=";",
        decimal=",",
    )
    path.write_text("sep=;\n" + path.read_text())
    agrees(read(path), values, axis, 2)


def test_orange_table_with_rows_of_types(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = written(
        tmp_path / "a.tsv",
        values,
        axis,
        titles=[None, "map_x", "map_y", "class"],
        cells=lambda x, y, n: [None, x, y, "a"],
        delimiter="\t",
    )
    lines = path.read_text().splitlines()
    kinds = ["\t".join([*["c"] * 11, "d"]), "\t".join([*[""] * 9, "meta", "meta", "class"])]
    path.write_text("\n".join([lines[0], *kinds, *lines[1:]]))
    agrees(read(path), values, axis, 2)


@pytest.mark.parametrize(("shape", "words"), [((1, 6), "a line of 6 spectra"), ((1, 1), "a single spectrum")])
def test_line_of_text_is_spectra_with_positions(tmp_path, shape, words):
    values, axis = files.sample(*shape, 9)
    path = files.labspec(tmp_path / "line.txt", values, axis)
    with pytest.raises(CubeError, match=f"{words}.*read_spectra"):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values[0])
    assert words in spectra.provenance["measurement"]


def test_text_map_at_fault_names_the_row(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.labspec(tmp_path / "map.txt", values, axis)
    lines = path.read_text(encoding="cp1252").splitlines()
    path.write_text("\n".join([*lines[:13], lines[13] + "\t7", *lines[14:]]))
    with pytest.raises(CubeError, match="row 4 has 12 cells; required are 11"):
        read(path)
    path.write_text("\n".join([*lines[:13], lines[13] + "x", *lines[14:]]))
    with pytest.raises(CubeError, match=r"row 4, cell 11 is .*; required is a number"):
        read(path)
    path.write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(CubeError, match="1 spectra lie where another does, the first at x = -1, y = 103"):
        read(path)


@pytest.mark.parametrize(
    "text",
    ["\t1000\t1004\t1008\n0\t1\t2\t3\n60\t1\t2\t3\n", "1000\t2\n1004\t3\n", "name,1000,1004,1008\na,1,2,3\n"],
)
def test_other_tables_are_no_maps(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert recognise(path).module == "text"


@pytest.mark.parametrize("positions_in_titles", [False, True])
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_omnic_map_of_any_order(tmp_path, order, positions_in_titles):
    values, axis = files.sample(3, 5, 9)
    at = np.arange(15) if order == "rows" else np.arange(15).reshape(3, 5).T.ravel()
    path = files.omnic_map(
        tmp_path / "a.map", values, axis, order=at, positions_in_titles=positions_in_titles
    )
    cube = read(path)
    agrees(cube, values, axis, 12.5)
    assert cube.absorbance.dtype == np.float32
    assert cube.provenance["quantity"] == "absorbance"
    assert "y upwards" in cube.provenance["orientation"]
    spectra = read_spectra(path)
    assert spectra.names[0].startswith("Spectrum")
    np.testing.assert_allclose(spectra.positions_um, np.stack(files.positions(values, 12.5), 1)[at])


def test_omnic_map_that_is_incomplete_or_a_line(tmp_path):
    values, axis = files.sample(3, 5, 9)
    cube = read(files.omnic_map(tmp_path / "a.map", values, axis, order=slice(0, 12)))
    expected = values.copy()
    expected[0, 2:] = 0
    agrees(cube, expected, axis, 12.5)
    assert cube.provenance["left_out"].startswith("3 of 15 pixels")
    path = files.omnic_map(tmp_path / "b.map", values[:1], axis)
    with pytest.raises(CubeError, match=r"a line of 5 spectra.*read_spectra"):
        read(path)
    np.testing.assert_array_equal(read_spectra(path).absorbance, values[0])


def test_omnic_spectrum_group_and_interferogram(tmp_path):
    values, axis = files.sample(1, 2, 9)
    one = [(2, files.omnic_header(axis)), (3, values[0, 0].tobytes())]
    two = [(2, files.omnic_header(axis)), (3, values[0, 1].tobytes()), (107, b"tissue".ljust(264, b"\0"))]
    spectra = read_spectra(files.omnic(tmp_path / "a.spa", one, is_extended=False))
    np.testing.assert_array_equal(spectra.absorbance, values[0, :1])
    np.testing.assert_allclose(spectra.wavenumbers_cm1, axis)
    group = [*one, (107, b"blank".ljust(264, b"\0")), *two]
    spectra = read_spectra(files.omnic(tmp_path / "a.spg", group, is_extended=False))
    np.testing.assert_array_equal(spectra.absorbance, values[0])
    assert spectra.names == ("blank", "tissue")
    with pytest.raises(CubeError, match="single spectra, not a map; read them with read_spectra"):
        read(tmp_path / "a.spg")
    other = [*one, (2, files.omnic_header(axis - 1)), (3, values[0, 1].tobytes())]
    with pytest.raises(CubeError, match="on 2 axes"):
        read_spectra(files.omnic(tmp_path / "b.spg", other, is_extended=False))
    points = [(2, files.omnic_header(axis, unit=2)), (3, values[0, 0].tobytes())]
    with pytest.raises(CubeError, match="interferograms"):
        read_spectra(files.omnic(tmp_path / "b.spa", points, is_extended=False))


@pytest.mark.parametrize("unit", [3, 4, 32])
def test_units_of_omnic(tmp_path, unit):
    values, _ = files.sample(3, 5, 9)
    stored = {3: np.linspace(800, 1000, 9), 4: np.linspace(5, 7, 9), 32: np.linspace(400, 3200, 9)}[unit]
    cube = read(files.omnic_map(tmp_path / "a.map", values, stored, unit=unit))
    expected = {3: 1e7 / stored, 4: 1e4 / stored, 32: stored}[unit]
    np.testing.assert_allclose(cube.wavenumbers_cm1, expected, rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("own_z", "has_x", "log"), [(False, False, b""), (True, True, b"made up log")])
def test_grams_map(tmp_path, order, own_z, has_x, log):
    values, axis = files.sample(3, 5, 9)
    cube = read(files.grams(tmp_path / "a.spc", values, axis, order=order, own_z=own_z, has_x=has_x, log=log))
    agrees(cube, values, axis, 5)
    assert cube.absorbance.dtype == np.float32
    assert cube.provenance["quantity"] == "absorbance"
    assert cube.provenance["axes"] == "z in the file is x, w is y"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("stored", "dtype"), [("i2", np.float32), ("i4", np.float64)])
def test_integers_of_grams_keep_every_bit(tmp_path, order, stored, dtype):
    limits = np.iinfo(stored)
    whole = np.array([[limits.min, -1, 0, 1, limits.max], [5, 4, 3, 2, 1]])
    path = files.grams(tmp_path / "a.spc", whole, 1000 + 4.0 * np.arange(5), order=order, stored=stored)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, whole * 2.0 ** (3 - limits.bits))
    assert spectra.absorbance.dtype == dtype
    assert spectra.provenance["stored_type"] == f"int{limits.bits}"
    assert "a series of 2 spectra along z" in spectra.provenance["measurement"]


def test_old_grams_words_are_swapped(tmp_path):
    whole = np.array([[-(2**31), -1, 0, 1, 2**31 - 1], [70000, -70000, 3, 2, 1]])
    axis = 1000 + 4.0 * np.arange(5)
    spectra = read_spectra(files.grams_old(tmp_path / "a.spc", whole, axis, exponent=-2))
    np.testing.assert_array_equal(spectra.absorbance, whole * 2.0**-34)
    np.testing.assert_allclose(spectra.wavenumbers_cm1, axis)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"places": (5, 2)}, r"a series of 15 spectra along z \(min\) and w \(um\), not a map"),
        ({"kind": 4}, r"its x is in s; required is a wavenumber.*wavenumbers_cm1="),
    ],
)
def test_other_measurements_of_grams_are_named(tmp_path, options, words):
    values, axis = files.sample(3, 5, 9)
    with pytest.raises(CubeError, match=words):
        read(files.grams(tmp_path / "a.spc", values, axis, **options))


def test_grams_series_is_no_map(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.grams(tmp_path / "a.spc", values[0], axis, places=(4, 0))
    with pytest.raises(
        CubeError, match=r"a series of 5 spectra along z \(s\), not a map; read it with read_spectra"
    ):
        read(path)
    np.testing.assert_array_equal(read_spectra(path).absorbance, values[0])
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(CubeError, match="Shimadzu's own format"):
        read_spectra(path)


def test_hyperspectra_of_ptir_studio_5(tmp_path):
    pytest.importorskip("h5py")
    values, axis = files.sample(3, 5, 9)
    path = files.ptir5_map(tmp_path / "a.ptir", values, axis)
    cube = read(path)
    agrees(cube, values, axis, 2)
    assert cube.absorbance.dtype == np.float32
    assert cube.provenance["measurement"] == "O-PTIR 1 (OPTIRHyperspectra)"
    assert cube.provenance["axis"] == "XStart and XIncrement, cm⁻¹ in the file"
    with pytest.raises(CubeError, match="found no spectra, only 'O-PTIR 1'"):
        read_spectra(path)


def test_stacks_of_ptir_studio_5_are_named_by_label_or_guid(tmp_path):
    pytest.importorskip("h5py")
    values, axis = files.sample(3, 5, 9)
    uneven = np.array([900.0, 1000, 1100, 1150, 1200, 1250, 1300, 1400, 1500])
    stack = {**files.ptir5_attributes(values, axis), "TYPE": "OPTIRImageStack", "Wavenumber": uneven}
    light = {**stack, "Label": "DC 1"}
    camera = {**files.ptir5_attributes(values, axis), "TYPE": "FLPTIRImageStack", "Label": "Fluorescence"}
    first = np.moveaxis(values, 2, 0)
    as_bytes = np.ascontiguousarray(first)[..., np.newaxis].view(np.uint8)
    path = files.ptir5(tmp_path / "a.ptir", [(stack, first), (light, first + 1), (camera, as_bytes)])
    with pytest.raises(CubeError, match=r"3 maps: 'O-PTIR 1'.*'DC 1'.*variable="):
        read(path)
    agrees(read(path, variable="O-PTIR 1"), values, uneven, 2)
    agrees(read(path, variable="00000001-70c9-4334-8075-79a6611fe3c4"), values + 1, uneven, 2)
    cube = read(path, variable="Fluorescence")
    np.testing.assert_array_equal(cube.absorbance, values)
    assert cube.pixel_size_um is None  # 8 µm over 5 pixels, 4 µm over 3
    with pytest.raises(CubeError, match="0 maps called 'X'"):
        read(path, variable="X")


def test_spectra_of_ptir_studio_5(tmp_path):
    pytest.importorskip("h5py")
    values, axis = files.sample(1, 2, 9)
    stated = {
        **files.ptir5_attributes(values, axis),
        "TYPE": "OPTIRSpectrum",
        "PositionX": 3.0,
        "PositionY": 4.0,
    }
    raman = {**stated, "TYPE": "RamanSpectrum"}
    path = files.ptir5(
        tmp_path / "a.ptir", [(stated, values[0, 0]), (raman, values[0, 0]), (stated, values[0, 1])]
    )
    with pytest.raises(CubeError, match="read the spectra with read_spectra"):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values[0])
    np.testing.assert_allclose(spectra.wavenumbers_cm1, axis)
    np.testing.assert_array_equal(spectra.positions_um, [[3, 4], [3, 4]])
    assert spectra.names == ("O-PTIR 1", "O-PTIR 1")


def test_single_spectra_of_older_ptir_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    values, axis = files.sample(1, 2, 9)
    with h5py.File(tmp_path / "a.ptir", "w") as file:
        for at, (label, spectrum) in enumerate(
            [("Background", values[0, 0]), ("a", values[0, 0]), ("b", values[0, 1])]
        ):
            group = file.create_group(f"Measurement_{at:03d}")
            group.attrs["Label"] = np.bytes_(label.encode())
            if label != "Background":
                group.attrs["IsRaman"] = np.array([0])
            group.create_group("Channel_000")["Raw_Data"] = spectrum[np.newaxis]
            group["Spectroscopic_Values"] = axis[np.newaxis]
            group["Spectroscopic_Values"].attrs["units"] = np.array([b"c", b"m", b"-", b"1"])
            group["Position_Indices"] = np.zeros((1, 1), np.uint32)
    with pytest.raises(CubeError, match="single spectra, not a map; read them with read_spectra"):
        read(tmp_path / "a.ptir")
    spectra = read_spectra(tmp_path / "a.ptir")
    np.testing.assert_array_equal(spectra.absorbance, values[0])
    assert spectra.names == ("a", "b")


# One spectrum in the forms of JCAMP-DX 4.24: plain, packed, squeezed, differences, differences and repetitions.
JCAMP_FORMS = {
    "plain": "1000 10 11 11 11\n1016 -2 -3 105 105\n",
    "packed": "1000+10+11+11+11\n1016-2-3+105+105\n",
    "squeezed": "1000A0A1A1A1\n1016bcA05A05\n",
    "squeezed and repeated": "1000A0A1U\n1016bcA05T\n",
    "differences": "1000A0J%%\n1012A1j3jJ08%\n1028A05\n",
    "differences and repetitions": "1000A0J%T\n1012A1j3jJ08%\n1028A05\n",
}


def jcamp_text(table, *, points=8, last=1028, form="(X++(Y..Y))", units="1/CM", title="a"):
    return (
        f"##TITLE= {title} $$ a comment\n##JCAMP-DX= 4.24\n##DATA TYPE= INFRARED SPECTRUM\n##XUNITS= {units}\n"
        f"##YUNITS= ABSORBANCE\n##FIRSTX= 1000\n##LASTX= {last}\n##XFACTOR= 1\n##YFACTOR= 0.5\n##NPOINTS= {points}\n"
        f"##XYDATA= {form}\n{table}##END=\n"
    )


@pytest.mark.parametrize("form", list(JCAMP_FORMS))
def test_forms_of_jcamp(tmp_path, form):
    (tmp_path / "a.dx").write_text(jcamp_text(JCAMP_FORMS[form]))
    spectra = read_spectra(tmp_path / "a.dx")
    np.testing.assert_array_equal(spectra.absorbance, 0.5 * np.array([[10, 11, 11, 11, -2, -3, 105, 105]]))
    np.testing.assert_allclose(spectra.wavenumbers_cm1, 1000 + 4.0 * np.arange(8))
    assert spectra.names == ("a",)
    assert spectra.provenance["quantity"] == "ABSORBANCE"


def test_repetitions_of_differences_go_on(tmp_path):
    (tmp_path / "a.dx").write_text(jcamp_text("1000A0K2V\n1016E8B%X\n1028E8\n"))
    with pytest.raises(
        CubeError, match=r"line at x = 1016 begins with \[58.0\], the one before it ends with 98"
    ):
        read_spectra(tmp_path / "a.dx")
    (tmp_path / "a.dx").write_text(jcamp_text("1000A0K2V\n1016I8%U\n1028I8\n"))
    spectra = read_spectra(tmp_path / "a.dx")
    np.testing.assert_array_equal(spectra.absorbance[0], 0.5 * np.array([10, 32, 54, 76, 98, 98, 98, 98]))


def test_pairs_of_jcamp_and_missing_values(tmp_path):
    pairs = "1000, 1; 1004, 2.5; 1009, -3\n1020 1.5E1\n"
    (tmp_path / "a.jdx").write_text(jcamp_text(pairs, points=4, form="(XY..XY)"))
    spectra = read_spectra(tmp_path / "a.jdx")
    np.testing.assert_array_equal(spectra.absorbance, 0.5 * np.array([[1, 2.5, -3, 15]]))
    np.testing.assert_array_equal(spectra.wavenumbers_cm1, [1000, 1004, 1009, 1020])
    (tmp_path / "a.jdx").write_text(jcamp_text("1000 1 ? 3\n", points=3, last=1008))
    np.testing.assert_array_equal(
        read_spectra(tmp_path / "a.jdx").absorbance, 0.5 * np.array([[1, np.nan, 3]])
    )


def test_linked_blocks_of_jcamp(tmp_path):
    link = "##TITLE= both\n##JCAMP-DX= 4.24\n##DATA TYPE= LINK\n##BLOCKS= 3\n"
    peaks = "##TITLE= peaks\n##XUNITS= 1/CM\n##NPOINTS= 1\n##PEAK TABLE= (XY..XY)\n1000, 1\n##END=\n"
    one, two = (jcamp_text(JCAMP_FORMS[form], title=form) for form in ("plain", "squeezed"))
    (tmp_path / "a.dx").write_text(link + one + peaks + two + "##END=\n")
    spectra = read_spectra(tmp_path / "a.dx")
    assert spectra.names == ("plain", "squeezed")
    np.testing.assert_array_equal(spectra.absorbance[0], spectra.absorbance[1])
    assert spectra.provenance["left_out"].startswith("1 blocks")
    (tmp_path / "a.dx").write_text(link + one + jcamp_text("1000 1 2\n", points=2, last=1004) + "##END=\n")
    with pytest.raises(CubeError, match="2 spectra lie on several axes"):
        read_spectra(tmp_path / "a.dx")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (jcamp_text(JCAMP_FORMS["plain"], points=9, last=1032), "only 8 of 9 points"),
        (jcamp_text(JCAMP_FORMS["plain"], points=7, last=1024), "more than 7 of 7 points"),
        (jcamp_text(JCAMP_FORMS["plain"].replace("1016", "1022")), r"point 4 of 8 .* is at 1016"),
        (jcamp_text(JCAMP_FORMS["plain"].replace("105", "1x5")), "in its table is no number"),
        (jcamp_text("1000A0s99999999999\n", points=8), "more than 8 of 8 points"),
        (
            jcamp_text("1000 1 2\n", points=2, last=1004, units="SECONDS"),
            r"no spectrum .* but XYDATA in 'SECONDS'",
        ),
        (jcamp_text("1000 1 2\n", points=10**9), "NPOINTS is 1000000000"),
    ],
)
def test_jcamp_that_does_not_agree_is_refused(tmp_path, text, words):
    (tmp_path / "a.dx").write_text(text)
    with pytest.raises(CubeError, match=words):
        read_spectra(tmp_path / "a.dx")


@pytest.mark.parametrize("states_all", [False, True])
def test_opus_image_that_was_broken_off(tmp_path, states_all):
    values, axis = files.sample(3, 5, 9)
    path = files.opus(
        tmp_path / "a.0",
        values,
        axis,
        runs=[(0, 3), (6, 9)],
        states_all=states_all,
        extra={"DDX": 2.5, "DDY": 2.5},
    )
    cube = read(path)
    measured = np.zeros(15, bool)
    measured[[*range(4), *range(6, 10)]] = True
    agrees(cube, values * measured.reshape(3, 5, 1), axis, 2.5)
    assert cube.provenance["left_out"] == "7 of 15 pixels were not measured; they are zero"
    assert cube.provenance["pixel_size"] == "DDX and DDY"
    assert cube.provenance["stored_type"] == "float32"


def test_opus_series_is_spectra(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.opus(tmp_path / "a.0", values[0], axis)
    with pytest.raises(CubeError, match="a series of spectra, not an image; read it with read_spectra"):
        read(path)
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values[0])
    assert spectra.provenance["measurement"] == "a series of 5 spectra"
    broken_off = files.opus(tmp_path / "b.0", values[0], axis, runs=[(0, 1), (3, 3)], states_all=True)
    np.testing.assert_array_equal(read_spectra(broken_off).absorbance, values[0, [0, 1, 3]])


def test_opus_runs_that_do_not_agree_are_refused(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.opus(tmp_path / "a.0", values, axis, runs=[(6, 9), (0, 3)])
    with pytest.raises(CubeError, match=r"stored in the runs \[\[6, 9\], \[0, 3\]\]"):
        read(path)


@pytest.mark.parametrize("part", ["Header", "X-Axis", "Y-Axis"])
def test_graph_of_witec_in_three_files(tmp_path, part):
    values, axis = files.sample(3, 5, 9)
    files.witec_graph(tmp_path / "map (Header).txt", values, axis)
    cube = read(tmp_path / f"map ({part}).txt")
    # In a folder the header stands for its parts.
    assert recognise(tmp_path / f"map ({part}).txt").stands_beside == (part != "Header")
    agrees(cube, values, axis, 0.5)
    assert cube.provenance["axis"] == "X-Axis, rel. 1/cm in the file"


def test_graph_of_witec_that_does_not_agree(tmp_path):
    values, axis = files.sample(3, 5, 9)
    path = files.witec_graph(tmp_path / "map (Header).txt", values, axis, sizes=(4, 5, 9))
    with pytest.raises(CubeError, match="135 values for 4 × 5 pixels of 9 points"):
        read(path)
    path = files.witec_graph(tmp_path / "map (Header).txt", values, axis, unit="a.u.")
    with pytest.raises(CubeError, match=r"XAxisUnit is 'a.u.'.*or give wavenumbers_cm1="):
        read(path)
    agrees(read(path, wavenumbers_cm1=axis), values, axis, 0.5)
    path = files.witec_graph(tmp_path / "map (Header).txt", values[:1], axis)
    with pytest.raises(
        CubeError, match="a line or series of 5 spectra, not an image; read it with read_spectra"
    ):
        read(path)
    np.testing.assert_array_equal(read_spectra(path).absorbance, values[0])
    (tmp_path / "map (X-Axis).txt").unlink()
    with pytest.raises(CubeError, match=r"no file 'map \(X-Axis\).txt' beside it"):
        read_spectra(path)


@pytest.mark.parametrize("title", ["", "O", "O2", "O2A"])
def test_gwyddion_field_is_one_channel(tmp_path, title):
    values, _ = files.sample(3, 5, 1)
    path = files.gsf(tmp_path / "a.gsf", values[..., 0], XReal=2.5e-7, YReal=1.5e-7, XYUnits="m", Title=title)
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, values)
    assert cube.wavenumbers_cm1 is None
    assert cube.pixel_size_um == pytest.approx(0.05)
    assert read(path, wavenumbers_cm1=np.array([1660.0])).wavenumbers_cm1 == [1660]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CubeError, match="a picture of 3 × 5 pixels needs"):
        read(path)


def test_map_of_neaspec_by_channel(tmp_path):
    values, axis = files.sample(3, 5, 9)
    channels = {"Z": values * 0, "O2A": values, "O2P": 2 * values}
    path = files.neaspec(tmp_path / "a.txt", channels, axis, order=list(range(14, -1, -1)))
    with pytest.raises(CubeError, match=r"2 channels, of O2A, O2P.*variable="):
        read(path)
    agrees(read(path, variable="O2P"), 2 * values, axis, 0.05)
    assert read(path, variable="O2A").provenance["variable"] == "O2A"
    spectra = read_spectra(path)
    np.testing.assert_array_equal(spectra.absorbance, values.reshape(15, 9)[::-1])
    assert spectra.names[0] == "row 2, column 4"
    with pytest.raises(CubeError, match="no channel 'O9A', of O2A, O2P"):
        read(path, variable="O9A")


def test_other_measurements_of_neaspec_are_named(tmp_path):
    values, axis = files.sample(1, 5, 9)
    path = files.neaspec(tmp_path / "a.txt", {"O2A": values}, axis)
    with pytest.raises(CubeError, match="a line of 5 spectra, not a map; read it with read_spectra"):
        read(path)
    (tmp_path / "b.nea").write_text("Row\tColumn\tRun\tChannel\t\n0\t0\t0\tO0A\t11.2\t8.6\t\n")
    with pytest.raises(CubeError, match="interferograms, not spectra"):
        read_spectra(tmp_path / "b.nea")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(CubeError, match="row 0, column 4 has 8 points, others have 9"):
        read_spectra(path)
    path.write_text("# www.neaspec.com\n# Pixel Area (X, Y, Z):\t[px]\t5\t1\t9\n" + "\n".join(lines[3:10]))
    with pytest.raises(CubeError, match="found 1 spectrum of 5 × 1 pixels"):
        read_spectra(path)
    nanometres = "\n".join(lines).replace("Wavenumber", "Wavelength")
    path.write_text(nanometres)
    with pytest.raises(CubeError, match="its unit is not known"):
        read_spectra(path)
    path.write_text("# www.neaspec.com\n# Spectral Range:\t[nm]\t1800\t1768\n" + nanometres)
    np.testing.assert_allclose(read_spectra(path).wavenumbers_cm1, 1e7 / axis)
    path.write_text("# www.neaspec.com\n# Spectral Range:\t[nm]\t1.800\t1.768\n" + nanometres)
    with pytest.raises(CubeError, match="at most 100000"):
        read_spectra(path)
