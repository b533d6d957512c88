"""NeXus files: written by h5py as the three versions of NeXus' rules say, read back exactly."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
import science_files

from compseg_jax.readers import CubeError, read

h5py = pytest.importorskip("h5py", reason="h5py reads and writes NeXus")

WAVENUMBERS = np.linspace(1800, 1000, 5)
CUBE = np.random.default_rng(2).uniform(size=(3, 4, 5)).astype(np.float32)
Y, X = 10 + 2.5 * np.arange(3), -5 + 2.5 * np.arange(4)
VECTORS = {"y": ("sample_y", Y, "um"), "x": ("sample_x", X, "um"), "c": ("wavenumber", WAVENUMBERS, "1/cm")}


def written(path, order: str = "yxc", cube: np.ndarray = CUBE, vectors=None, **how):
    vectors = VECTORS if vectors is None else vectors
    axes = {vectors[letter][0]: vectors[letter][1:] for letter in order}
    return science_files.nexus(path, cube.transpose(["yxc".index(letter) for letter in order]), axes, **how)


@pytest.mark.parametrize("order", ["".join(each) for each in itertools.permutations("yxc")])
@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("suffix", ["nxs", "h5"])
def test_every_order_of_dimensions_is_read_as_named(tmp_path, order, version, suffix):
    cube = read(written(tmp_path / f"a.{suffix}", order, version=version))
    np.testing.assert_array_equal(cube.absorbance, CUBE)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, WAVENUMBERS)
    assert cube.pixel_size_um == 2.5
    assert cube.provenance["format"] == "NeXus"
    assert cube.provenance["variable"] == "entry1/data/intensity"
    assert cube.provenance["stored_type"] == "float32"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_numbers_are_kept(tmp_path, dtype):
    cube = read(written(tmp_path / "a.nxs", cube=(1e4 * CUBE).astype(dtype)))
    np.testing.assert_array_equal(cube.absorbance, (1e4 * CUBE).astype(dtype))


@pytest.mark.parametrize(
    ("name", "values", "unit", "expected"),
    [
        ("energy", WAVENUMBERS / 8065.544, "eV", WAVENUMBERS),
        ("energy", WAVENUMBERS / 8.065544, "meV", WAVENUMBERS),
        ("wavelength", 1e4 / WAVENUMBERS, "um", WAVENUMBERS),
        ("wavelength_nm", 1e7 / WAVENUMBERS, "nm", WAVENUMBERS),
        ("raman_shift", WAVENUMBERS, "cm^-1", WAVENUMBERS),
        ("wavenumber", WAVENUMBERS, "", WAVENUMBERS),
    ],
)
def test_units_of_the_axis(tmp_path, name, values, unit, expected):
    cube = read(written(tmp_path / "a.nxs", vectors=VECTORS | {"c": (name, values, unit)}))
    np.testing.assert_allclose(cube.wavenumbers_cm1, expected, rtol=1e-12)
    assert cube.provenance["direction"] == "descending"


def test_energies_of_xrays_are_no_wavenumbers(tmp_path):
    energies = np.linspace(280, 290, 5)
    cube = read(written(tmp_path / "a.nxs", "cyx", vectors=VECTORS | {"c": ("energy", energies, "eV")}))
    np.testing.assert_array_equal(cube.absorbance, CUBE)
    assert cube.wavenumbers_cm1 is None
    assert cube.provenance["channel_name"] == "photon energy in eV"
    np.testing.assert_array_equal(cube.provenance["channel_values"], energies)


@pytest.mark.parametrize("name", ["energy", "wavelength"])
def test_an_axis_without_its_unit_is_asked_for(tmp_path, name):
    vectors = VECTORS | {"c": (name, WAVENUMBERS, ""), "x": ("x", X, "um"), "y": ("y", Y, "um")}
    path = written(tmp_path / "a.nxs", vectors=vectors)
    with pytest.raises(CubeError, match=r"unit of the spectral axis is ''.*give wavenumbers_cm1="):
        read(path)
    np.testing.assert_array_equal(read(path, wavenumbers_cm1=WAVENUMBERS).wavenumbers_cm1, WAVENUMBERS)


@pytest.mark.parametrize("leaf", ["energy", "photon_energy"])
def test_the_layout_of_nxstxm_is_known_without_attributes(tmp_path, leaf):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry1/Counter0")
        group["data"] = np.moveaxis(CUBE, 2, 0)
        group[leaf], group["sample_y"], group["sample_x"] = np.linspace(280, 290, 5), Y, X
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, CUBE)
    assert cube.provenance["axes"] == f"({leaf}, sample_y, sample_x) in the file"


def test_dimensions_of_equal_length_without_attributes_are_asked_for(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry1/Counter0")
        group["data"] = CUBE[:, :3, :3]
        group["energy"], group["sample_y"], group["sample_x"] = WAVENUMBERS[:3], Y, X[:3]
        group["energy"].attrs["units"] = "cm-1"
    with pytest.raises(CubeError, match=r"0 are spectral.* axes='cyx'"):
        read(path)
    cube = read(path, axes="yxc")
    np.testing.assert_array_equal(cube.absorbance, CUBE[:, :3, :3])
    np.testing.assert_array_equal(cube.wavenumbers_cm1, WAVENUMBERS[:3])


def test_the_default_signal_is_taken_another_is_named(tmp_path):
    path = written(tmp_path / "a.nxs", groups=("first", "second"))
    assert read(path).provenance["variable"] == "entry1/second/intensity"
    assert read(path, variable="entry1/first").provenance["variable"] == "entry1/first/intensity"
    path = written(tmp_path / "b.nxs", groups=("first", "second"), default=False)
    with pytest.raises(
        CubeError, match=r"2 signals .*entry1/first/intensity \(3, 4, 5\).*name one with variable="
    ):
        read(path)
    with pytest.raises(CubeError, match="no signal 'third'"):
        read(path, variable="third")


@pytest.mark.parametrize(
    ("positions", "unit", "size_um"),
    [(X, "mm", 2500), (X, "nm", None), (X * 1.5, "um", None), (X, "", None), (X**3, "um", None)],
)
def test_pixel_size_is_the_even_step_of_both_positions(tmp_path, positions, unit, size_um):
    vectors = VECTORS | {"x": ("sample_x", positions, unit)}
    if unit == "mm":
        vectors |= {"y": ("sample_y", Y, "mm")}
    cube = read(written(tmp_path / "a.nxs", vectors=vectors))
    assert cube.pixel_size_um == size_um
    assert read(tmp_path / "a.nxs", pixel_size_um=7.0).pixel_size_um == 7


def test_links_that_go_in_circles_end(tmp_path):
    path = written(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        file["entry1/again"] = file["entry1"]
        file["entry1/data/top"] = h5py.SoftLink("/")
        file["entry1/broken"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(read(path).absorbance, CUBE)


def test_an_hdf5_file_without_signals_is_read_by_names(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["absorbance"], file["wavenumbers"] = CUBE, WAVENUMBERS
    cube = read(path)
    assert cube.provenance["format"] == "HDF5"
    np.testing.assert_array_equal(cube.absorbance, CUBE)


def test_texts_that_hdf5_would_follow_for_ever_are_refused(tmp_path):
    path = written(tmp_path / "a.nxs")
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    index, length = struct.unpack_from("<H6xQ", content, at)
    while index:
        at += 16 + -(-length // 8) * 8
        index, length = struct.unpack_from("<H6xQ", content, at)
    assert length > 0
    struct.pack_into("<Q", content, at + 8, 0)  # the free rest of the texts
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"its texts, at byte [0-9]+, are damaged"):
        read(path)
