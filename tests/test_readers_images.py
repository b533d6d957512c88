"""Readers of ordinary images, plain arrays, masks, and the containers of named arrays."""

from __future__ import annotations

import warnings
import zipfile

import instrument_files as files
import numpy as np
import pytest
import tifffile
from PIL import Image

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError

RGB = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
STACK = np.random.default_rng(2).integers(0, 60000, (4, 5, 7), dtype=np.uint16)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, suffix) for mode in ("RGB", "L", "P", "1") for suffix in (".png", ".bmp", ".tif")]
    + [("I;16", ".png"), ("I;16", ".tif")],
)
def test_images_keep_their_values(tmp_path, mode, suffix):
    drawn = Image.fromarray(STACK[0]) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    drawn.save(tmp_path / f"a{suffix}")
    expected = np.asarray(drawn.convert("RGB") if mode == "P" else drawn)
    cube = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(cube.absorbance, expected.reshape(5, 7, -1))
    assert cube.absorbance.dtype == np.float32
    assert cube.wavenumbers_cm1 is None


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(
        read(tmp_path / "a.jpg").absorbance, np.asarray(Image.open(tmp_path / "a.jpg"))
    )
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "b.jpg")
    with pytest.raises(CubeError, match="CMYK"):
        read(tmp_path / "b.jpg")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped_only_where_opaque(tmp_path, suffix):
    opaque = np.dstack((RGB, np.full((5, 7), 255, np.uint8)))
    Image.fromarray(opaque).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}").absorbance, RGB)
    opaque[2, 3, 3] = 254
    Image.fromarray(opaque).save(tmp_path / f"b{suffix}")
    with pytest.raises(CubeError, match="1 pixels are not opaque"):
        read(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["u2", ">u2", "u1", "f4", ">f4", "f8", "i4"])
def test_tiff_stacks_become_channels(tmp_path, dtype, compression):
    values = (STACK % 251).astype(dtype)
    order = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", byteorder=order, compression=compression
    )
    cube = read(tmp_path / "a.tif", axes="cyx")
    np.testing.assert_array_equal(cube.absorbance, np.moveaxis(values, 0, 2))
    assert cube.absorbance.dtype == (np.float64 if dtype in ("f8", "i4") else np.float32)
    assert cube.absorbance.dtype.isnative


def test_ome_tiff_gives_pixel_size_and_named_wavenumbers(tmp_path):
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": 5.5,
        "PhysicalSizeY": 5.5,
        "Channel": {"Name": [f"{wavenumber} cm-1" for wavenumber in (1650, 1640, 1630, 1620)]},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, photometric="minisblack", metadata=metadata)
    cube = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(cube.absorbance, np.moveaxis(STACK, 0, 2))
    np.testing.assert_array_equal(cube.wavenumbers_cm1, [1650, 1640, 1630, 1620])
    assert (cube.pixel_size_um, cube.provenance["direction"]) == (5.5, "descending")
    given = read(tmp_path / "a.ome.tif", wavenumbers_cm1=np.arange(4) + 1000)
    assert given.provenance["axis"] == "given by the caller"


def test_tiff_of_several_images_or_stacks_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGB, photometric="rgb")
        file.write(RGB[:3], photometric="rgb")
    with pytest.raises(CubeError, match="found 2 images"):
        read(tmp_path / "a.tif")
    tifffile.imwrite(
        tmp_path / "b.ome.tif", STACK.reshape(2, 2, 5, 7), photometric="minisblack", metadata={"axes": "TCYX"}
    )
    with pytest.raises(CubeError, match="one stack of channels"):
        read(tmp_path / "b.ome.tif")


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "u1", "i4", "f2", "?"])
@pytest.mark.parametrize("fortran", [False, True])
def test_npy_is_mapped_and_converted(tmp_path, dtype, fortran):
    values = np.round(files.sample()[0] * 50).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(values) if fortran else values)
    cube = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(cube.absorbance, values.astype(np.float64))
    assert isinstance(cube.absorbance, np.memmap) == (dtype in ("f4", "f8"))
    np.save(tmp_path / "b.npy", values[:, :, 0])
    assert read(tmp_path / "b.npy").absorbance.shape == (3, 4, 1)


def test_npz_by_its_names(tmp_path):
    values, axis = files.sample()
    np.savez_compressed(
        tmp_path / "a.npz", absorbance=values, wavenumbers_cm1=axis, pixel_size_um=5.5, x=values
    )
    cube = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    assert cube.pixel_size_um == 5.5
    np.savez(tmp_path / "b.npz", only=values, flat=values[0])
    assert read(tmp_path / "b.npz").provenance["variable"] == "only"
    np.savez(tmp_path / "c.npz", one=values, two=values)
    with pytest.raises(CubeError, match="Name it with variable="):
        read(tmp_path / "c.npz")
    np.testing.assert_array_equal(read(tmp_path / "c.npz", variable="two").absorbance, values)


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", absorbance=np.array([{"a": 1}], object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(CubeError, match="never pickles"):
            read(tmp_path / name)


def test_a_forged_npz_is_refused_before_it_is_allocated(tmp_path):
    values, _ = files.sample()
    np.savez(tmp_path / "a.npz", absorbance=values)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("absorbance.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("absorbance.npy", content.replace(b"(3, 4, 9), }      ", b"(3000000, 4, 999)}"))
    with pytest.raises(CubeError, match=r"3000000, 4, 999"):
        read(tmp_path / "b.npz")


def _container(kind, folder, arrays):
    """Writes named arrays as HDF5, MATLAB 7.3, MATLAB 5 or zarr."""
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(str(folder / "a.zarr"), mode="w")
        for name, values in arrays.items():
            group.create_array(name, data=values, chunks=tuple(min(2, extent) for extent in values.shape))
        return folder / "a.zarr"
    if kind == "mat5":
        pytest.importorskip("scipy.io").savemat(folder / "a.mat", arrays)
        return folder / "a.mat"
    h5py = pytest.importorskip("h5py")
    if kind == "mat73":
        return files.mat73(folder / "a.mat", arrays)
    with h5py.File(folder / "a.h5", "w") as file:
        for name, values in arrays.items():
            file.create_dataset(f"scan/{name}", data=values, compression="gzip" if values.ndim > 1 else None)
    return folder / "a.h5"


@pytest.mark.parametrize("kind", ["hdf5", "mat73", "mat5", "zarr"])
def test_named_arrays_by_the_stated_rules(tmp_path, kind):
    values, axis = files.sample()
    cube = read(_container(kind, tmp_path, {"image": values, "wavenumbers": axis}))
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    channels_first = read(
        _container(
            kind,
            tmp_path,
            {"absorbance": values.transpose(2, 0, 1), "wavelength_nm": 1e7 / axis, "b": values},
        )
    )
    np.testing.assert_array_equal(channels_first.absorbance, values)
    np.testing.assert_allclose(channels_first.wavenumbers_cm1, axis)


@pytest.mark.parametrize("kind", ["hdf5", "mat73", "mat5", "zarr"])
def test_named_arrays_leave_nothing_open(tmp_path, kind):
    values, axis = files.sample()
    prefix = "scan/" if kind == "hdf5" else ""
    path = _container(kind, tmp_path, {"one": values, "two": 2 * values})
    with pytest.raises(CubeError, match="Name it with variable="):
        read(path)
    with pytest.raises(CubeError, match="Give one with wavenumbers_cm1="):
        read(path, variable=f"{prefix}two")
    with pytest.raises(CubeError, match="one extent must be as long"):
        read(path, variable=f"{prefix}two", wavenumbers_cm1=axis[:-1])
    cube = read(path, variable=f"{prefix}two", wavenumbers_cm1=axis)
    np.testing.assert_array_equal(cube.absorbance, 2 * values)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_of_both_versions_with_attributes(tmp_path, version):
    zarr = pytest.importorskip("zarr")
    values, axis = files.sample()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(
            str(tmp_path / "a.zarr"), data=values, zarr_format=version, chunks=(2, 4, 9)
        )
        array.attrs.update({"wavenumbers_cm1": axis.tolist(), "pixel_size_um": 5.5})
    cube = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(cube.absorbance, values)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    assert cube.pixel_size_um == 5.5
    chunk = next(path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name[0] in "01")
    chunk.unlink()  # as of a chunk of background, which zarr does not write
    found = read(tmp_path / "a.zarr")
    lost = (found.absorbance != values).any(axis=2)
    assert 0 < lost.sum() <= 8
    assert not found.absorbance[lost].any()
    assert "chunks are not stored and hold 0" in found.provenance["left_out"]
    for rest in [
        path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name[0] in "01"
    ]:
        rest.unlink()
    with pytest.raises(CubeError, match="The copy is incomplete"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("first", "name", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a.mat", "a pointer of Git LFS.*git lfs pull"),
        (b"CDF\x01" + bytes(60), "a.nc", "a file of NetCDF 3"),
        (b"\x0e\x03\x13\x01" + bytes(60), "a.hdf", "a file of HDF4"),
    ],
)
def test_what_a_file_is_goes_before_its_name(tmp_path, first, name, words):
    (tmp_path / name).write_bytes(first)
    with pytest.raises(CubeError, match=words):
        read(tmp_path / name)
