"""One rule for cube and axis in .npz, MATLAB, HDF5 and zarr; nothing is guessed without a word."""

from __future__ import annotations

import struct
from pathlib import Path

import instrument_files as files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compseg_jax.readers import axis as axes_of
from compseg_jax.readers import axis_names, named_arrays, read, read_spectra
from compseg_jax.readers.axis_file import read_axis
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray
from compseg_jax.readers.formats import mat5

KINDS = ["npz", "hdf5", "mat73", "mat5", "zarr"]
AXIS = 1800 - 4.0 * np.arange(9)


def written(kind, folder, arrays, texts=None, units=None):
    """A file of named arrays, texts beside them and attributes `units`, where the kind has these."""
    texts, units = texts or {}, units or {}
    path = (
        folder / {"npz": "a.npz", "hdf5": "a.h5", "mat73": "a.mat", "mat5": "a.mat", "zarr": "a.zarr"}[kind]
    )
    if kind == "npz":
        np.savez(path, **arrays, **texts)
    elif kind == "mat5":
        pytest.importorskip("scipy.io").savemat(path, {**arrays, **texts})
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(str(path), mode="w")
        for name, values in arrays.items():
            chunks = tuple(min(2, extent) for extent in values.shape)
            array = group.create_array(name, data=values, chunks=chunks)
            array.attrs.update({"units": units[name]} if name in units else {})
    elif kind == "mat73":
        files.mat73(path, arrays)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
            for name, text in texts.items():
                file[name] = text
            for name, unit in units.items():
                file[name].attrs["units"] = unit
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["wavenumbers", "WaveNumber", "wn", "raman_shift", "wvnmbr", "x_cm1", "wavenumbers_cm1"]
)
def test_an_axis_of_a_usual_name(tmp_path, kind, name):
    values, _ = files.sample()
    cube = read(written(kind, tmp_path, {"data": values, name: AXIS}))
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, AXIS)
    said = cube.provenance
    assert (said["axis"], said["direction"], said["variable"]) == (
        f"{name}, cm-1 in the file",
        "descending",
        "data",
    )
    assert (said["axes"], said["stored_type"]) == ("(y, x, c) in the file", "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_positions_of_pixels_are_no_axis(tmp_path, kind):
    values, _ = files.sample()
    arrays = {"data": values, "x": np.arange(4.0), "y": np.arange(3.0), "wavenumber": AXIS}
    np.testing.assert_array_equal(read(written(kind, tmp_path, arrays)).wavenumbers_cm1, AXIS)
    # Even where they look like wavenumbers and there is no other vector.
    square, _ = files.sample(3, 9, 9)
    places = {"data": square, "x": 2000.0 + 100 * np.arange(9), "y": 2000.0 + 100 * np.arange(3)}
    with pytest.raises(CubeError, match="x was taken for the places of pixels"):
        read(written(kind, tmp_path, places))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("vector", "why"),
    [
        (AXIS, "x, taken as cm⁻¹ because its values fall from 1800 to 1768"),
        (np.linspace(900, 3900, 9), "x, taken as cm⁻¹ because its values rise to 3900"),
        (np.linspace(1000, 1800, 9), None),
        (np.linspace(0.4, 1.0, 9), None),
        (np.arange(9.0), None),
    ],
)
def test_a_general_name_without_a_unit_counts_where_its_values_tell(tmp_path, kind, vector, why):
    values, _ = files.sample()
    path = written(kind, tmp_path, {"data": values, "x": vector})
    if why is None:
        with pytest.raises(
            CubeError, match=r"x \(.*\) was not taken, for its unit is not stated.*wavenumbers_cm1="
        ):
            read(path)
        given_axis = read(path, wavenumbers_cm1=AXIS)
        assert given_axis.provenance["axis"] == "given by the caller"
    else:
        cube = read(path)
        np.testing.assert_array_equal(cube.wavenumbers_cm1, vector)
        assert cube.provenance["axis"].startswith(why)


@pytest.mark.parametrize(("kind", "name"), [("hdf5", "x"), ("zarr", "axis"), ("hdf5", "wavelength")])
def test_a_unit_in_an_attribute(tmp_path, kind, name):
    values, _ = files.sample()
    rising = np.linspace(1000, 1800, 9)
    path = written(kind, tmp_path, {"data": values, name: rising}, units={name: "1/cm"})
    np.testing.assert_array_equal(read(path).wavenumbers_cm1, rising)
    (tmp_path / "nm").mkdir()
    path = written(kind, tmp_path / "nm", {"data": values, name: rising}, units={name: "nm"})
    np.testing.assert_allclose(read(path).wavenumbers_cm1, 1e7 / rising)


@pytest.mark.parametrize("kind", ["npz", "hdf5", "mat5"])
@pytest.mark.parametrize("key", ["units", "x_unit", "xunits"])
def test_a_unit_in_a_text_beside_the_axis(tmp_path, kind, key):
    values, _ = files.sample()
    rising = np.linspace(1000, 1800, 9)
    cube = read(written(kind, tmp_path, {"data": values, "x": rising}, {key: "Wavenumbers (cm-1)"}))
    np.testing.assert_array_equal(cube.wavenumbers_cm1, rising)
    assert cube.provenance["axis"] == "x, Wavenumbers (cm-1) in the file"


@pytest.mark.parametrize("kind", ["npz", "hdf5", "mat73", "mat5"])
def test_the_file_itself_can_be_the_file_of_the_axis(tmp_path, kind):
    values, _ = files.sample()
    rising = np.linspace(1000, 1800, 9)
    path = written(kind, tmp_path, {"data": values, "x": rising})
    with pytest.raises(CubeError, match="Where x is in cm⁻¹, this file can be given as the file of the axis"):
        read(path)
    np.testing.assert_array_equal(read(path, wavenumbers_cm1=read_axis(path)).wavenumbers_cm1, rising)
    (tmp_path / "b").mkdir()
    for arrays in ({"data": values}, {"wn": rising, "wavenumber": rising + 1}):
        with pytest.raises(CubeError, match=r"required is one vector.*Save the axis alone"):
            read_axis(written(kind, tmp_path / "b", arrays))


def test_a_name_and_a_unit_that_contradict_each_other(tmp_path):
    values, _ = files.sample()
    path = written("hdf5", tmp_path, {"data": values, "wavenumbers": AXIS}, units={"wavenumbers": "nm"})
    with pytest.raises(CubeError, match=r"'wavenumbers' is called so.*'nm'.*wavenumbers_cm1="):
        read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_axes_say_how_an_array_lies(tmp_path, kind):
    values, _ = files.sample(9, 4, 9)
    plain = written(kind, tmp_path, {"data": values, "wn": AXIS})
    last = read(plain)
    np.testing.assert_array_equal(last.absorbance, values)
    assert "2 extents are 9; the last is taken" in last.provenance["axes"]
    first = read(plain, axes="cxy")
    np.testing.assert_array_equal(first.absorbance, values.transpose(2, 1, 0))
    assert first.provenance["axes"] == "(c, x, y) in the file, as axes= says"


def test_axes_of_a_plain_array(tmp_path):
    values, _ = files.sample()
    np.save(tmp_path / "a.npy", values.transpose(2, 0, 1))
    cube = read(tmp_path / "a.npy", axes="cyx", wavenumbers_cm1=AXIS)
    np.testing.assert_array_equal(cube.absorbance, values)
    assert isinstance(cube.absorbance, np.memmap)
    np.testing.assert_array_equal(read(tmp_path / "a.npy", axes="cyx").absorbance, values)
    for wrong in ("yx", "yxcc", "yxz", "yxcb"):
        with pytest.raises(CubeError, match="axes='yxc' or axes='cyx'"):
            read(tmp_path / "a.npy", axes=wrong)
    with pytest.raises(CubeError, match=r"9 wavenumbers for 4 channels.*axes='xyc'"):
        read(tmp_path / "a.npy", axes="xyc", wavenumbers_cm1=AXIS)


def test_few_channels_beside_a_vector_that_may_be_their_axis(tmp_path):
    values, _ = files.sample()
    np.savez(tmp_path / "a.npz", data=values[:, :, :2], energy=np.array([100.0, 101]))
    with pytest.raises(CubeError, match=r"energy \(100 … 101\) was not taken.*wavenumbers_cm1="):
        read(tmp_path / "a.npz")


def test_an_image_and_features_without_an_axis(tmp_path):
    values, _ = files.sample()
    np.save(tmp_path / "few.npy", values[:, :, :3])
    assert read(tmp_path / "few.npy").provenance["axis"].startswith("none stated; the channels have no unit")
    np.save(tmp_path / "many.npy", values)
    many = read(tmp_path / "many.npy")
    assert many.wavenumbers_cm1 is None
    assert "none found: 9 channels without wavenumbers" in many.provenance["axis"]
    assert "wavenumbers_cm1=" in many.provenance["axis"]


def test_channels_that_may_stand_first_are_asked_for(tmp_path):
    picture = np.arange(3 * 8 * 7, dtype=np.uint8).reshape(3, 8, 7)
    path = written("hdf5", tmp_path, {"0": picture})
    with pytest.raises(CubeError, match="Where its channels stand first, say so with axes='cyx'"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="cyx").absorbance, picture.transpose(1, 2, 0))
    np.save(tmp_path / "a.npy", picture)
    assert "say so with axes='cyx'" in read(tmp_path / "a.npy").provenance["axis"]


def test_a_vector_as_long_as_the_channels_is_never_passed_over(tmp_path):
    values, _ = files.sample()
    np.savez(tmp_path / "a.npz", cube=values, ticks=AXIS)
    with pytest.raises(CubeError, match=r"as long as the 9 channels is ticks.*wavenumbers_cm1=.*\.npy"):
        read(tmp_path / "a.npz")
    np.testing.assert_array_equal(read(tmp_path / "a.npz", wavenumbers_cm1=AXIS).wavenumbers_cm1, AXIS)
    np.savez(tmp_path / "b.npz", cube=values, wavenumbers=AXIS[:-1])
    with pytest.raises(CubeError, match=r"wavenumbers of 8 values, but the array 'cube'.*no extent as long"):
        read(tmp_path / "b.npz")


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_beside_the_cube(tmp_path, kind):
    values, _ = files.sample()
    arrays = {"rgb": values[:, :, :3], "data": values, "wavenumbers": AXIS}
    path = written(kind, tmp_path, arrays)
    np.testing.assert_array_equal(read(path).absorbance, values)
    picture = read(path, variable="rgb")
    assert picture.wavenumbers_cm1 is None
    assert "wavenumbers of 9 values belong to another array" in picture.provenance["axis"]


@pytest.mark.parametrize("kind", KINDS)
def test_spectra_in_rows_are_no_image(tmp_path, kind):
    values, _ = files.sample()
    path = written(kind, tmp_path, {"absorbance": values.reshape(12, 9), "wavenumbers": AXIS})
    with pytest.raises(CubeError, match=r"\(12, 9\).*(y, x, c)"):
        read(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_columns", [True, False])
def test_an_image_of_octavvs(tmp_path, kind, in_columns):
    values, _ = files.sample()
    matrix = np.column_stack([AXIS, values.reshape(12, 9).T.astype(np.float64)])
    arrays = {"AB": matrix if in_columns else matrix.T, "wh": np.array([4, 3])}
    cube = read(written(kind, tmp_path, arrays))
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, AXIS)
    assert cube.provenance["axes"].endswith("of AB, x fastest, wh is (width, height)")
    (tmp_path / "b").mkdir()
    with pytest.raises(CubeError, match=r"wh states 4 × 4 pixels, but AB has the shape"):
        read(written(kind, tmp_path / "b", {**arrays, "wh": np.array([4, 4])}))


@pytest.mark.parametrize("kind", KINDS)
def test_spectra_with_positions_of_their_rows(tmp_path, kind):
    values, _ = files.sample()
    rows, columns = np.divmod(np.random.default_rng(0).permutation(12)[:11], 4)
    arrays = {
        "spectra": values[rows, columns],
        "map_x": 10.0 + 2 * columns,
        "map_y": -5 + 2.0 * rows,
        "wavenumber": AXIS,
    }
    cube = read(written(kind, tmp_path, arrays))
    expected = np.zeros_like(values)
    expected[rows, columns] = values[rows, columns]
    np.testing.assert_array_equal(cube.absorbance, expected)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, AXIS)
    assert cube.provenance["left_out"].startswith("1 of 12 pixels were not measured")
    (tmp_path / "b").mkdir()
    with pytest.raises(CubeError, match="lie on a line or are scattered"):
        read(written(kind, tmp_path / "b", {**arrays, "map_y": np.zeros(11) + 1}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "found"), [(5.5, 5.5), (5500.0, None), (-1.0, None)])
def test_the_pixel_size_is_judged(tmp_path, kind, size, found):
    values, _ = files.sample()
    arrays = {"data": values, "wavenumbers": AXIS, "pixel_size_um": np.array([size])}
    cube = read(written(kind, tmp_path, arrays))
    assert cube.pixel_size_um == found
    assert f"pixel_size_um {size:g}" in cube.provenance["pixel_size"]


def test_an_archive_with_texts_and_objects_beside_the_cube(tmp_path):
    values, _ = files.sample()
    names = np.array(["a", None], object)
    np.savez(tmp_path / "a.npz", data=values, wn=AXIS, sample="tumour", names=names)
    np.testing.assert_array_equal(read(tmp_path / "a.npz").wavenumbers_cm1, AXIS)
    with pytest.raises(CubeError, match=r"'names' is of type object.*never pickles"):
        read(tmp_path / "a.npz", variable="names")


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("axes", ["yxc", "cyx"])
def test_values_of_every_type_are_kept(tmp_path, kind, dtype, order, axes):
    """The numbers that the format's usual writer wrote, none narrowed, whatever the order of axes."""
    rng = np.random.default_rng(7)
    kind_of = np.dtype(dtype)
    if kind_of.kind in "iu":
        limits = np.iinfo(kind_of)
        top = min(limits.max, 1 << 53)
        values = rng.integers(
            max(limits.min, -top), top, (3, 4, 9), dtype=np.int64 if kind_of.kind == "i" else np.uint64
        )
        values[0, 0, :2] = max(limits.min, -top), top
    else:
        values = rng.normal(size=(3, 4, 9)) if kind_of.kind == "f" else rng.integers(0, 2, (3, 4, 9))
    values = values.astype(np.dtype(order + dtype) if dtype != "?" else "?")
    stored = np.ascontiguousarray(values.transpose(["yxc".index(letter) for letter in axes]))
    cube = read(written(kind, tmp_path, {"data": stored, "wavenumbers": AXIS}))
    np.testing.assert_array_equal(cube.absorbance.astype(np.float64), values.astype(np.float64))
    assert cube.absorbance.dtype == (np.float32 if kind_of.itemsize < 4 or dtype == "f4" else np.float64)


@pytest.mark.parametrize("compressed", [False, True])
def test_structures_and_cells_of_matlab(tmp_path, compressed):
    io = pytest.importorskip("scipy.io")
    values, _ = files.sample()
    inner = {"cube": values, "wavenumbers": AXIS, "name": "spot 1"}
    io.savemat(tmp_path / "a.mat", {"scan": inner}, do_compression=compressed)
    cube = read(tmp_path / "a.mat")
    np.testing.assert_array_equal(cube.absorbance, values)
    assert (cube.provenance["variable"], cube.provenance["axis"][:16]) == ("scan/cube", "scan/wavenumbers")
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = values, 2 * values
    io.savemat(tmp_path / "b.mat", {"layers": cell, "wn": AXIS}, do_compression=compressed)
    with pytest.raises(CubeError, match=r"layers/1 .* layers/2"):
        read(tmp_path / "b.mat")
    np.testing.assert_array_equal(read(tmp_path / "b.mat", variable="layers/2").absorbance, 2 * values)


def test_what_matlab_cannot_hand_over_is_named(tmp_path):
    io = pytest.importorskip("scipy.io")
    sparse = pytest.importorskip("scipy.sparse")
    values, _ = files.sample()
    io.savemat(tmp_path / "a.mat", {"c": values * 1j, "s": sparse.csc_matrix(np.eye(3)), "wn": AXIS})
    with pytest.raises(CubeError, match=r"c \(complex numbers; save their real part or magnitude\)"):
        read(tmp_path / "a.mat")
    with pytest.raises(CubeError, match=r"'s' is a sparse matrix; save it with full"):
        read(tmp_path / "a.mat", variable="s")


def test_tables_of_matlab_are_named(tmp_path):
    io = pytest.importorskip("scipy.io")

    def element(kind, body):
        return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)

    # Class 17: flags, its name, and what MATLAB does not document.
    table = (
        element(6, struct.pack("<II", 17, 0))
        + element(1, b"samples")
        + element(1, b"MCOS")
        + element(1, b"table")
    )
    io.savemat(tmp_path / "a.mat", {"wn": AXIS})
    with (tmp_path / "a.mat").open("ab") as stream:
        stream.write(element(14, table))
    with pytest.raises(CubeError, match=r"samples \(a table or another object; save its arrays"):
        read(tmp_path / "a.mat")
    files.mat73(tmp_path / "b.mat", {"samples": np.ones((1, 6))})
    with pytest.importorskip("h5py").File(tmp_path / "b.mat", "r+") as file:
        file["samples"].attrs["MATLAB_object_decode"] = 3
        file["nothing"] = np.zeros(2, np.uint64)
        file["nothing"].attrs["MATLAB_empty"] = 1
    with pytest.raises(CubeError, match=r"found samples \(a table or another object; save its arrays"):
        read(tmp_path / "b.mat")


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
@pytest.mark.parametrize("of_file", [True, False])
def test_an_axis_in_an_attribute(tmp_path, kind, of_file):
    values, _ = files.sample()
    path = written(kind, tmp_path, {"data": values})
    if kind == "hdf5":
        with pytest.importorskip("h5py").File(path, "r+") as file:
            (file if of_file else file["data"]).attrs["wavenumbers"] = AXIS
    else:
        group = pytest.importorskip("zarr").open_group(str(path), mode="r+")
        (group if of_file else group["data"]).attrs["wavenumbers"] = AXIS.tolist()
    cube = read(path)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, AXIS)


def test_text_of_several_rows_is_read_by_rows(tmp_path):
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "a.mat", {"t": np.array(["first", "2nd"])})
    assert mat5.variables(tmp_path / "a.mat")["t"] == "first\n2nd"


def cytospec(path, *blocks, axis, **changed):
    pytest.importorskip("scipy.io").savemat(path, files.of_cytospec(blocks, axis, **changed))
    return path


def test_an_image_of_cytospec(tmp_path):
    values, _ = files.sample()
    rising = 1000 + 4.0 * np.arange(9)
    holed = values.astype(np.float64)
    holed[1, 2] = np.nan
    path = cytospec(tmp_path / "a.mat", holed, 2 * values, axis=rising)
    cube = read(path)
    holed[1, 2] = 0
    np.testing.assert_array_equal(cube.absorbance, holed)
    np.testing.assert_allclose(cube.wavenumbers_cm1, rising)
    assert cube.provenance["left_out"].startswith("1 of 12 pixels are NaN in every channel")
    np.testing.assert_array_equal(read(path, variable="preprocessed").absorbance, 2 * values)
    with pytest.raises(CubeError, match="only original, preprocessed"):
        read(path, variable="derivative")
    with pytest.raises(CubeError, match=r"WVS is 3, but from 1000 to 1032 in 9 points the step is 4"):
        read(cytospec(tmp_path / "c.mat", values, axis=rising, WVS=3.0))
    with pytest.raises(CubeError, match="XDI is 5, but `C` has 4"):
        read(cytospec(tmp_path / "b.mat", values, axis=rising, XDI=5))


def test_a_file_of_matlab_4_is_named(tmp_path):
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "a.mat", {"AB": np.eye(3)}, format="4")
    for reader in (read, read_spectra):
        with pytest.raises(CubeError, match=r"MATLAB 4.*Save it with -v7"):
            reader(tmp_path / "a.mat")
    (tmp_path / "b.mat").write_bytes(struct.pack("<5i", 9000, -1, 2, 3, 4) * 100)
    with pytest.raises(CubeError, match="not recognised"):
        read(tmp_path / "b.mat")


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_attributes_of_netcdf(tmp_path, kind):
    values, _ = files.sample()
    values[1, 2] = values[0, 0, 4] = -9999
    path = written(kind, tmp_path, {"data": values, "wavenumbers": AXIS})
    about = {"_FillValue": -9999.0, "scale_factor": 0.1, "add_offset": 0.0, "pixel_size_um": "5 µm"}
    if kind == "hdf5":
        with pytest.importorskip("h5py").File(path, "r+") as file:
            file["data"].attrs.update(about)
    else:
        pytest.importorskip("zarr").open_group(str(path), mode="r+")["data"].attrs.update(about)
    cube = read(path)
    values[1, 2] = values[0, 0] = 0
    np.testing.assert_array_equal(cube.absorbance, values)
    said = cube.provenance["left_out"]
    assert said.startswith("2 of 12 pixels that hold the _FillValue -9999, 1 of them in some channels only")
    assert said.endswith("scale_factor, which are not applied: the numbers are as stored")
    assert cube.pixel_size_um is None
    assert "'5 µm', no number; give pixel_size_um=" in cube.provenance["pixel_size"]


def hdf5(path):
    return pytest.importorskip("h5py").File(path, "w")


def test_hdf5_of_committed_types_and_empty_datasets(tmp_path):
    values, _ = files.sample()
    with hdf5(tmp_path / "a.h5") as file:
        file["type"] = np.dtype("f4")
        file.create_dataset("data", values.shape, dtype=file["type"], data=values)
        file.create_dataset("nothing", dtype="f4", shape=(0, 3, 3))
        import h5py

        file["null"] = h5py.Empty("f8")
        file["scalar"] = 5.0
        file["wavenumbers"] = AXIS
        file["half"] = values.astype("f2")
        file["alias"] = h5py.SoftLink("/half")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
        file["kind"] = np.dtype([("a", "f4")])
        file["reference"] = file["data"].ref
    cube = read(tmp_path / "a.h5", variable="data")
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(read(tmp_path / "a.h5", variable="alias").absorbance, values.astype("f2"))
    with pytest.raises(CubeError, match=r"link into the file 'other\.h5'"):
        read(tmp_path / "a.h5", variable="elsewhere")
    with pytest.raises(CubeError, match="found no array 'nothing'"):
        read(tmp_path / "a.h5", variable="nothing")


def test_an_axis_as_hyperspy_describes_it(tmp_path):
    values, _ = files.sample()
    with hdf5(tmp_path / "a.hspy") as file:
        group = file.create_group("Experiments/spot")
        group["data"] = values
        described = (("y", 3, 1, "µm"), ("x", 4, 1, "µm"), ("Raman shift", 9, 2, "1/cm"))
        for at, (name, size, scale, unit) in enumerate(described):
            group.create_group(f"axis-{at}").attrs.update(
                {"name": name, "size": size, "scale": scale, "offset": 500.0 * (at == 2), "units": unit}
            )
    cube = read(tmp_path / "a.hspy")
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, 500 + 2.0 * np.arange(9))
    assert cube.provenance["axis"] == "Experiments/spot/Raman shift, 1/cm in the file"


@pytest.mark.parametrize(("fill", "readable"), [(None, False), (-1.0, True)])
def test_parts_of_a_dataset_that_were_never_written(tmp_path, fill, readable):
    values, _ = files.sample(4, 4, 9)
    with hdf5(tmp_path / "a.h5") as file:
        data = file.create_dataset("data", values.shape, "f4", chunks=(2, 4, 9), fillvalue=fill)
        data[:2] = values[:2]
        file["wavenumbers"] = AXIS
    if not readable:
        with pytest.raises(CubeError, match=r"1 of the 2 parts of /data were never written.*write all of it"):
            read(tmp_path / "a.h5")
        return
    cube = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(cube.absorbance[:2], values[:2])
    assert np.all(cube.absorbance[2:] == -1)
    assert (
        cube.provenance["left_out"]
        == "1 of 2 parts of /data were never written; they hold the fill value -1.0"
    )


def test_a_compression_that_is_not_installed_is_named(tmp_path):
    values, _ = files.sample()
    with hdf5(tmp_path / "a.h5") as file:
        import h5py

        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk(values.shape)
        # Optional, so that it can be written without the filter (32000: LZF is known; 305: LZO is not).
        created.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(values.shape)
        identity = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_FLOAT, space, created)
        h5py.Dataset(identity)[...] = values
        file["wavenumbers"] = AXIS
    with pytest.raises(CubeError, match=r"HDF5 filter .*\(305\).*pip install hdf5plugin"):
        read(tmp_path / "a.h5")


@given(st.text(max_size=30))
def test_names_and_units_of_any_text(name):
    means = axis_names.meaning(name)
    assert means is None or means.rank in (0, 1, 2)
    assert axes_of.unit_named(name) in (None, "cm1", "nm", "um")


@settings(max_examples=60)
@given(st.sampled_from(["wavenumbers", "x", "wavelength", "nm"]), st.permutations("yxc"), st.integers(2, 12))
def test_whatever_is_found_fits(name, letters, length):
    """Found is an axis as long as the channels and the values that the axes say, or an error in words."""
    values = np.arange(3 * 4 * 5.0).reshape(3, 4, 5)
    vector = 3000.0 - np.arange(length)
    arrays = {
        "cube": NamedArray(values.shape, lambda: values),
        name: NamedArray(vector.shape, lambda: vector),
    }
    contents = Contents(arrays)
    order = "".join(letters)
    channels = values.shape[letters.index("c")]
    if name == "wavelength" or (length != channels and (name != "x" or channels > 4)):
        with pytest.raises(CubeError, match="wavenumbers_cm1="):
            named_arrays.find(contents, Path("file"), axes=order)
        return
    found = named_arrays.find(contents, Path("file"), axes=order)
    assert (found.wavenumbers_cm1 is None) == (length != channels)
    if found.wavenumbers_cm1 is not None:
        np.testing.assert_array_equal(found.wavenumbers_cm1, vector if name != "nm" else 1e7 / vector)
    np.testing.assert_array_equal(found.values, values.transpose([letters.index(at) for at in "yxc"]))


def test_an_order_that_nobody_writes_is_asked_for(tmp_path):
    """Bands first, and as many of them as rows: the last extent is no spectrum, so either of the others may be."""
    values = np.random.default_rng(0).random((8, 8, 5)).astype(np.float32)
    path = tmp_path / "a.npz"
    np.savez(path, absorbance=values, wavenumbers=np.linspace(1000, 1700, 8))
    with pytest.raises(
        CubeError, match=r"two extents as long as its 8 wavenumbers.*axes='cyx' reads 8 × 5 pixels"
    ):
        read(path)
    np.testing.assert_array_equal(read(path, axes="cyx").absorbance, values.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("length", "with_rows", "taken"), [(7, False, True), (7, True, False), (6, False, False)]
)
def test_x_in_nanometres_is_a_spectrum_where_it_can_be_no_place(tmp_path, length, with_rows, taken):
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    nm = np.linspace(2500.0, 9000.0, length)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = values
        for name, places in (("x", nm), *((("y", np.arange(5.0)),) if with_rows else ())):
            file[name] = places
            file[name].attrs["units"] = "nm"
    if taken:
        np.testing.assert_allclose(read(tmp_path / "a.h5").wavenumbers_cm1, 1e7 / nm)
    else:
        with pytest.raises(CubeError, match="no spectral axis found"):
            read(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["scales", "labels", "zarr"])
def test_dimensions_that_the_file_names_are_obeyed(tmp_path, kind):
    """Bands first, as many as rows: only the names of the dimensions tell."""
    values = np.random.default_rng(0).random((8, 8, 5)).astype(np.float32)
    wavenumbers = np.linspace(1000, 1700, 8)
    names = ("wavenumber", "y", "x")
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.create_group(str(tmp_path / "a.zarr"))
        group.create_array("cube", data=values, dimension_names=names)
        group.create_array("wavenumber", data=wavenumbers)
        path = tmp_path / "a.zarr"
    else:
        h5py = pytest.importorskip("h5py")
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file["cube"], file["wavenumber"] = values, wavenumbers
            file["pixel_size_um"] = 5.5
            if kind == "scales":
                file["wavenumber"].make_scale("wavenumber")
                file["cube"].dims[0].attach_scale(file["wavenumber"])
            else:
                for at, name in enumerate(names):
                    file["cube"].dims[at].label = name
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, values.transpose(1, 2, 0))
    assert "by its dimensions" in cube.provenance["axes"]
    assert cube.pixel_size_um == (None if kind == "zarr" else 5.5)
