"""Readers: values of real instrument files, and round trips through files written from the layouts."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read, read_spectra, recognise
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.formats import agilent, mat5

# file, shape (y, x, c), ends of the axis, {place: value}, pixel size in µm; from the folder's README.
CUBES = [
    ("agilent/4_noimage_agg256.dat", (8, 8, 9), (1990.178226, 2113.600132),
     {(0, 1, 1): 1.27181053, (0, 2, 2): 1.27506005, (1, 2, 3): 0.30882764}, 88.0),
    ("agilent/5_mosaic_agg1024.dmt", (8, 4, 9), (1990.178226, 2113.600132),
     {(0, 1, 1): 1.14792180, (0, 2, 2): 1.14063489, (1, 2, 3): 0.28298783}, 176.0),
    ("envi/4_noimage_agg256.hdr", (8, 8, 9), (1990.17823, 2113.60013),
     {(0, 0, 2): 1.30845487, (7, 7, 3): 1.35767233, (0, 1, 1): 1.27181053}, None),
    ("envi/5_Mosaic_agg1024.hdr", (8, 4, 9), (1990.17823, 2113.60013),
     {(0, 1, 1): 1.14792180, (1, 2, 3): 0.28298783}, None),
    ("perkinelmer_fsm/4x4_pixel_PE_image.fsm", (4, 4, 1626), (4000, 750), {(0, 3, 4): 92.910545}, 50.0),
    ("photothermal_ptir_hdf5/Hyper_Sample.ptir", (5, 7, 451), (900, 1800),
     {(0, 0, 0): 0.0137912575, (0, 1, 0): -0.08101661}, 20.0),
    ("mat_witec_raman/3D THP1 map 001 L5 (B+R) (Sub BG).mat", (40, 40, 500), (501.265, 1802.466),
     {(0, 0, 0): -6, (0, 0, 1): 6.6049194, (0, 0, 2): 0.22418213}, 0.625),
]  # fmt: skip
# file, shape (n, c), ends of the axis as stored, {place: value}.
SPECTRA = [
    ("perkinelmer_fsm/single_PE_spectrum.sp", (1, 1626), (4000, 750), {(0, 4): 100.65028381}),
    ("perkinelmer_fsm/spectra.sp", (1, 3301), (4000, 700), {}),
    ("bruker_opus/peach_juice.0", (1, 1816), (4000.1161, 499.53234), {(0, 3): 0.90655535}),
    ("renishaw_wdf/sp.wdf", (1, 1015), (2787.514404, 1226.275269), {(0, 4): 52.49451828}),
    ("csv/collagen.csv", (731, 234), (1801.264, 902.56), {(0, 0): 0.117}),
    ("csv/map_test.xyz", (16, 9), (1641.69, 1634.84), {(0, 0): 0.1245}),
    ("csv/spectra.csv", (84, 1732), (400.19921875, 3798.6435546875), {(0, 0): 173.33334350585938}),
    ("octavvs_reference_mat/matrigel.mat", (1, 6315), (500, 5000), {(0, 0): 0}),
    ("octavvs_reference_mat/casein.mat", (1, 1557), (5000, 500), {(0, 1): -1.22253495e-3}),
]


@pytest.mark.parametrize(("name", "shape", "ends", "values", "pixel_size_um"), CUBES)
def test_cube_of_an_instrument_file(shared_data, name, shape, ends, values, pixel_size_um):
    _need_library_of(name)
    cube = read(shared_data / "formats" / name, transmittance="none")  # as stored
    assert cube.absorbance.shape == shape
    assert cube.absorbance.dtype == np.float32
    np.testing.assert_allclose(cube.wavenumbers_cm1[[0, -1]], ends, rtol=0, atol=1e-3)
    for place, value in values.items():
        np.testing.assert_allclose(cube.absorbance[place], value, rtol=1e-6)
    assert cube.pixel_size_um == pytest.approx(pixel_size_um)
    assert cube.provenance["direction"] == ("ascending" if ends[0] < ends[1] else "descending")


@pytest.mark.parametrize(("name", "shape", "ends", "values"), SPECTRA)
def test_spectra_of_an_instrument_file(shared_data, name, shape, ends, values):
    spectra = read_spectra(shared_data / "formats" / name, transmittance="none")  # as stored
    assert spectra.absorbance.shape == shape
    np.testing.assert_allclose(spectra.wavenumbers_cm1[[0, -1]], ends, rtol=0, atol=1e-3)
    for place, value in values.items():
        np.testing.assert_allclose(spectra.absorbance[place], value, rtol=1e-6)


def test_spectral_files_hold_what_their_origin_states(shared_data):
    folder = shared_data / "formats"
    opus = read_spectra(folder / "bruker_opus/peach_juice.0")
    truth = read_spectra(folder / "bruker_opus/peach_juice.dpt")
    np.testing.assert_allclose(opus.absorbance, truth.absorbance, rtol=0, atol=1e-5)
    np.testing.assert_allclose(opus.wavenumbers_cm1, truth.wavenumbers_cm1, rtol=0, atol=1e-4)
    assert opus.wavenumbers_cm1[3] == pytest.approx(3994.330014648437, abs=1e-6)
    collagen = read_spectra(folder / "csv/collagen.csv")
    counts = {name: collagen.names.count(name) for name in set(collagen.names)}
    assert counts == {"lipids": 214, "glycogen": 212, "collagen": 195, "DNA": 110}
    positions = read_spectra(folder / "csv/map_test.xyz").positions_um
    np.testing.assert_array_equal(positions[[0, 1, 4]], [[1, 4], [1, 7], [3, 4]])


def test_perkinelmer_axis_falls_as_stored(shared_data):
    map_ = read(shared_data / "formats/perkinelmer_fsm/4x4_pixel_PE_image.fsm")
    # The one strong band of the empty map is carbon dioxide at 2349 cm⁻¹; read upwards it would lie at 2401.
    strongest = map_.wavenumbers_cm1[np.argmax(map_.absorbance.mean((0, 1)))]
    assert 2300 < strongest < 2380


def test_interferograms_are_refused(shared_data):
    folder = shared_data / "formats/agilent"
    with pytest.raises(CubeError, match="interferograms"):
        read(folder / "4_noimage_agg256.seq")


def test_agilent_tiles_lie_as_in_the_envi_export(shared_data):
    for name in ("4_noimage_agg256", "5_mosaic_agg1024"):
        suffix = ".dmt" if "mosaic" in name else ".dat"
        ours = read(shared_data / "formats/agilent" / (name + suffix))
        envi = read(shared_data / "formats/envi" / (name.replace("mosaic", "Mosaic") + ".hdr"))
        np.testing.assert_array_equal(ours.absorbance, envi.absorbance)
        np.testing.assert_allclose(ours.wavenumbers_cm1, envi.wavenumbers_cm1, rtol=0, atol=1e-5)


def test_references_saved_as_numpy(shared_data):
    axis = np.load(shared_data / "formats/openvibspec/wvn_agilent.npy")
    assert axis.shape == (1428, 1)
    np.testing.assert_allclose(axis[[0, -1], 0], (948.79868, 3700.70056), atol=1e-4)
    cube = read(shared_data / "formats/openvibspec/emsc_testdata.npy")
    assert cube.absorbance.shape == (12, 3631, 1)
    np.testing.assert_allclose(cube.absorbance[0, [0, -1], 0], (4000, 499.5), atol=0.1)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("kind", list(files.ENVI_TYPES))
@pytest.mark.parametrize("big_endian", [False, True])
def test_envi_of_any_layout(tmp_path, interleave, kind, big_endian):
    values, axis = files.sample()
    values = np.round(values * 100) if files.ENVI_TYPES[kind][0] in "iu" else values
    path = files.envi(tmp_path, values, axis, interleave=interleave, kind=kind, big_endian=big_endian)
    for opened in (path, path.with_suffix(".dat")):
        cube = read(opened)
        np.testing.assert_array_equal(cube.absorbance, values)
        assert cube.absorbance.dtype in (np.float32, np.float64)
        assert cube.absorbance.dtype.isnative
        np.testing.assert_allclose(cube.wavenumbers_cm1, axis)
        assert isinstance(cube.absorbance, np.memmap) == (kind in (4, 5) and not big_endian)


@pytest.mark.parametrize(("unit", "scale"), [("Nanometers", 1e7), ("Micrometers", 1e4), ("um", 1e4)])
def test_lengths_become_wavenumbers_in_the_order_stored(tmp_path, unit, scale):
    values, axis = files.sample()
    cube = read(files.envi(tmp_path, values, scale / axis, unit=unit))
    np.testing.assert_allclose(cube.wavenumbers_cm1, axis, rtol=1e-5)
    assert cube.provenance["direction"] == "descending"
    assert unit in cube.provenance["axis"]


def test_envi_header_in_latin_1(tmp_path):
    values, axis = files.sample()
    path = files.envi(tmp_path, values, 1e4 / axis, unit="µm")
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1").replace(b"\n", b"\r\n"))
    np.testing.assert_allclose(read(path).wavenumbers_cm1, axis, rtol=1e-4)


@pytest.mark.parametrize(("axis", "unit"), [(None, None), (True, None), (True, "Unknown"), (True, "Index")])
def test_an_axis_is_never_guessed(tmp_path, axis, unit):
    values, wavenumbers = files.sample()
    path = files.envi(tmp_path, values, None if axis is None else wavenumbers, unit=unit)
    with pytest.raises(CubeError, match="wavenumbers_cm1="):
        read(path)
    given = read(path, wavenumbers_cm1=wavenumbers)
    np.testing.assert_array_equal(given.wavenumbers_cm1, wavenumbers)
    assert given.provenance["axis"] == "given by the caller"


def test_one_wrong_value_in_an_axis_is_refused_and_a_gap_is_not(tmp_path):
    values, axis = files.sample()
    wrong, gap = axis.copy(), axis.copy()
    wrong[4] += 1.5
    gap[4:] -= 700
    with pytest.raises(CubeError, match="value 4 of the spectral axis"):
        read(files.envi(tmp_path, values, wrong))
    np.testing.assert_allclose(read(files.envi(tmp_path, values, gap)).wavenumbers_cm1, gap)


def test_a_mosaic_is_read_by_windows(tmp_path):
    values, _ = files.sample(12, 8, 5)
    path = files.agilent_mosaic(tmp_path, values, edge=4)
    cube, mosaic = read(path), agilent.open_mosaic(path)
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_allclose(cube.wavenumbers_cm1, 3.75 * (256 + np.arange(5)))
    assert (mosaic.shape, cube.pixel_size_um) == ((12, 8, 5), 11.0)
    rows, columns = slice(2, 9), slice(3, None)
    np.testing.assert_array_equal(mosaic.window(rows, columns), values[2:9, 3:])
    np.testing.assert_array_equal(mosaic.window(rows, columns, slice(1, 2)), values[2:9, 3:, 1:2])
    (tmp_path / "Scan_0001_0002.dmd").unlink()
    with pytest.raises(CubeError, match=r"found 5 tiles .* of 3 × 2"):
        read(path)


def test_an_agilent_tile_belongs_to_its_parameters(tmp_path):
    values, _ = files.sample(4, 4, 8)
    files.agilent_tile(tmp_path / "tile.dat", values)
    files.agilent_parameters(tmp_path / "tile.bsp", 3.75, 256, 8, 4, 2)
    cube = read(tmp_path / "tile.dat")
    np.testing.assert_array_equal(cube.absorbance, values)
    assert isinstance(cube.absorbance, np.memmap)
    # 2 × 2 pixels of 32 points fill the same bytes.
    files.agilent_parameters(tmp_path / "tile.bsp", 3.75, 256, 32, 4, 2)
    with pytest.raises(CubeError, match="do not belong together"):
        read(tmp_path / "tile.dat")


@pytest.mark.parametrize("writer", [files.fsm, files.opus, files.ptir])
def test_maps_written_from_their_layouts(tmp_path, writer):
    values, axis = files.sample()
    if writer is files.ptir:
        pytest.importorskip("h5py")
    suffix = {files.fsm: ".fsm", files.opus: ".0", files.ptir: ".ptir"}[writer]
    cube = read(writer(tmp_path / f"map{suffix}", values, axis))
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_allclose(cube.wavenumbers_cm1, axis)


def test_spectra_written_from_their_layouts(tmp_path):
    values, axis = files.sample(1, 2, 9)
    values = values[0]
    opus = read_spectra(files.opus(tmp_path / "one.12", values[0], axis))
    np.testing.assert_array_equal(opus.absorbance, values[:1])
    np.testing.assert_array_equal(
        read_spectra(files.sp(tmp_path / "a.sp", values[0], axis)).absorbance, values[:1]
    )
    np.testing.assert_array_equal(
        read_spectra(files.wdf(tmp_path / "a.wdf", values, axis)).absorbance, values
    )
    (tmp_path / "list.csv").write_text("wavelength (nm); value\n5000,5; 0,25\n5001,5; 0,5\n")
    listed = read_spectra(tmp_path / "list.csv")
    np.testing.assert_allclose(listed.wavenumbers_cm1, [1e7 / 5000.5, 1e7 / 5001.5])
    np.testing.assert_array_equal(listed.absorbance, [[0.25, 0.5]])
    (tmp_path / "bad.csv").write_text("name,1000,1010,1020\na,1,2,3\nb,1,x,3\n")
    with pytest.raises(CubeError, match="row 3, cell 3 is 'x'"):
        read_spectra(tmp_path / "bad.csv")


def test_opus_image_as_brukeropus_reads_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        brukeropus = pytest.importorskip("brukeropus")
    values, axis = files.sample()
    peer = brukeropus.OPUSFile(str(files.opus(tmp_path / "map.0", values, axis))).a
    np.testing.assert_array_equal(read(tmp_path / "map.0").absorbance.reshape(12, 9), peer.y)
    np.testing.assert_allclose(read(tmp_path / "map.0").wavenumbers_cm1, peer.x)


@pytest.mark.parametrize("compressed", [False, True])
def test_mat5_as_scipy_writes_it(tmp_path, compressed):
    io = pytest.importorskip("scipy.io")
    values, axis = files.sample()
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.arange(6.0).reshape(2, 3), "text"
    content = {
        "c": values,
        "wn": axis,
        "s": {"a": np.int16([1, 2]), "b": cell},
        "t": "µm",
        "z": np.ones(2) * 1j,
    }
    io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = mat5.variables(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["c"], values)
    assert (found["t"], found["s"]["b"].elements[1], "z" in found) == ("µm", "text", False)
    np.testing.assert_array_equal(found["s"]["b"].elements[0], cell[0, 0])
    cube = read(tmp_path / "a.mat")
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)


def _need_library_of(name: str) -> None:
    if Path(name).suffix == ".ptir":
        pytest.importorskip("h5py")


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(CubeError, match=r"Install it with: .*(h5py|compseg-jax\[instruments\])"):
        read(tmp_path / "a.h5")


def test_recognised_by_content_and_never_against_it(tmp_path):
    values, axis = files.sample()
    files.fsm(tmp_path / "map.fsm", values, axis).rename(tmp_path / "map.unknown")
    assert recognise(tmp_path / "map.unknown").module == "perkinelmer"
    files.fsm(tmp_path / "map.png", values, axis)
    with pytest.raises(CubeError, match=r"rename it to \*\.fsm"):
        read(tmp_path / "map.png")
    (tmp_path / "a.xlsx").write_bytes(b"????")
    with pytest.raises(CubeError, match="not recognised"):
        read(tmp_path / "a.xlsx")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.png")
