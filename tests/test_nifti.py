"""NIfTI images: written by nibabel, read back exactly."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import science_files

from compseg_jax.readers import CubeError, read

nibabel = pytest.importorskip("nibabel", reason="nibabel reads and writes NIfTI")


def numbers(*shape: int, dtype=np.int16) -> np.ndarray:
    """Positive numbers of that shape (x, y, z, …), all different."""
    return (np.arange(np.prod(shape)) + 7).reshape(shape).astype(dtype)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "NII"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 1, 3), (4, 6, 1, 1, 3)])
def test_an_image_is_read_as_written(tmp_path, suffix, dtype, shape):
    values = numbers(*shape, dtype=dtype)
    cube = read(science_files.nifti(tmp_path / f"a.{suffix}", values))
    np.testing.assert_array_equal(cube.absorbance, values.reshape(4, 6, -1).swapaxes(0, 1))
    assert cube.wavenumbers_cm1 is None
    assert cube.provenance["stored_type"] == np.dtype(dtype).name


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_slice_of_a_volume_has_its_sequences_as_channels(tmp_path, suffix):
    values = numbers(4, 6, 5, 3)
    path = science_files.nifti(tmp_path / f"brain.{suffix}", values)
    cube = read(path, variable="slice:2")
    np.testing.assert_array_equal(cube.absorbance, values[:, :, 2].swapaxes(0, 1))
    assert cube.provenance["slices"] == "2 of 0 … 4"


@pytest.mark.parametrize("variable", [None, "slice:5", "slice", "40"])
def test_a_volume_needs_a_slice_that_it_has(tmp_path, variable):
    path = science_files.nifti(tmp_path / "brain.nii", numbers(4, 6, 5))
    with pytest.raises(CubeError, match=r"a volume of 5 slices .* such as variable='slice:2' \(0 … 4\)"):
        read(path, variable=variable)


def test_slope_and_intercept_are_applied(tmp_path):
    values = numbers(4, 6, 1)
    path = science_files.nifti(tmp_path / "scaled.nii", values)
    content = bytearray(path.read_bytes())
    struct.pack_into("<ff", content, 112, 0.25, -10)  # scl_slope and scl_inter
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path).absorbance[:, :, 0], 0.25 * values[:, :, 0].T - 10)


def test_colours(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (4, 6, 1, 3), np.uint8)
    stored = colours.view([(name, "u1") for name in "RGB"])[..., 0]
    cube = read(science_files.nifti(tmp_path / "a.nii", stored))
    np.testing.assert_array_equal(cube.absorbance, colours[:, :, 0].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("sizes", "unit", "size_um"),
    [
        ((0.9375, 0.9375), "mm", 937.5),
        ((25, 25), "micron", 25),
        ((1, 2), "mm", None),
        ((1, 1), "unknown", None),
    ],
)
def test_pixel_size(tmp_path, sizes, unit, size_um):
    affine = np.diag([*sizes, 5.0, 1.0])
    cube = read(science_files.nifti(tmp_path / "a.nii", numbers(4, 6, 1), affine=affine, unit=unit))
    assert cube.pixel_size_um == size_um
    assert ("give pixel_size_um=" in cube.provenance["pixel_size"]) == (size_um is None)


@pytest.mark.parametrize(
    ("signs", "words"),
    [((1, 1), "columns run to the patient's right, rows to anterior"), ((-1, -1), "left, rows to posterior")],
)
def test_the_direction_in_the_patient_is_said_and_nothing_is_turned(tmp_path, signs, words):
    values = numbers(4, 6, 1)
    cube = read(science_files.nifti(tmp_path / "a.nii", values, affine=np.diag([*signs, 1, 1])))
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], values[:, :, 0].T)
    assert words in cube.provenance["orientation"]


def test_complex_numbers_are_refused(tmp_path):
    path = science_files.nifti(tmp_path / "a.nii", numbers(4, 6, 1, dtype=np.complex64))
    with pytest.raises(CubeError, match="complex64; a cube needs real numbers"):
        read(path)


def test_other_compressed_files_are_refused(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n"))
    with pytest.raises(CubeError, match=r"of compressed files \.nii\.gz is read; unpack it"):
        read(path)
    path = tmp_path / "empty.nii.gz"
    path.write_bytes(gzip.compress(b"no image"))
    with pytest.raises(CubeError, match=r"no NIfTI image|cannot be read"):
        read(path)
