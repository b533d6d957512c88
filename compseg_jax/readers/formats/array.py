"""NumPy arrays: .npy as (y, x, c) or (y, x), .npz with the cube under `absorbance`. No pickles."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError

# Longest end of a zip archive: 22 bytes and a comment of 65535 (PKWARE APPNOTE 4.3.16).
_MAX_END_BYTES = 22 + 0xFFFF


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads a cube from a .npy (memory-mapped) or .npz file.

    A .npz holds the cube under `variable`, else `absorbance`, else its only three-dimensional array; and
    may hold `wavenumbers_cm1` of shape (c,) and a scalar `pixel_size_um`.

    Returns:
      the cube, absorbance of shape (y, x, c); a two-dimensional array becomes one channel. The axis is
      None where neither the file nor the caller gives one: the channels of a plain array have no unit.

    Raises:
      CubeError: if the file is damaged, holds no such array, or the axis does not fit.
    """
    path = Path(path)
    with checks.Reading(path, "a NumPy file"):
        is_zip = zipfile.is_zipfile(path)
        found_axis: np.ndarray | None = None
        pixel_size_um: float | None = None
        if is_zip:
            arrays = _members(path)
            name = _choose(arrays, variable, path)
            values = arrays[name]
            found_axis = arrays.get("wavenumbers_cm1")
            if "pixel_size_um" in arrays:
                pixel_size_um = float(arrays["pixel_size_um"].item())
        else:
            if variable is not None:
                raise CubeError(f"{path}: a .npy file has no variables; found variable={variable!r}.")
            name = "the array"
            values = load(path)
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    stated = "none stated; the channels have no unit"
    if found_axis is not None:
        found_axis = axis.to_wavenumbers_cm1(found_axis, "cm-1", path)
        stated = "wavenumbers_cm1 of the file"
    if wavenumbers_cm1 is not None:
        found_axis, stated = axis.settle(None, wavenumbers_cm1, path, stated)
    provenance = {
        "source": str(path),
        "format": "npz" if is_zip else "npy",
        "variable": name,
        "axis": stated,
        "direction": axis.direction(found_axis),
    }
    return Cube(checks.as_float(values, path), found_axis, pixel_size_um, provenance)


def load(path: Path) -> np.ndarray:
    """Memory-maps a .npy file after its header has been checked against its length.

    Raises:
      CubeError: if the header and the length disagree, or the array is not of real numbers.
    """
    with checks.Reading(path, "a .npy array"):
        with path.open("rb") as stream:
            _, shape = checks.array_header(stream, os.path.getsize(path), path, "the array")
        checks.count(shape, path, "the array")
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return values


def _members(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        _check_directory(archive, path)
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise CubeError(f"{path}: its member {member.filename!r} is no .npy array; save it again.")
            if member.file_size > checks.DEFLATE_MAX_RATIO * max(member.compress_size, 1):
                raise CubeError(f"{path}: {member.filename} announces {member.file_size} bytes; damaged.")
            with archive.open(member) as stream:
                checks.array_header(stream, member.file_size, path, member.filename)
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(
                    stream, allow_pickle=False
                )
    return arrays


def _check_directory(archive: zipfile.ZipFile, path: Path) -> None:
    """Compares the members found with the number stated at the end of the archive, which zipfile does not."""
    with path.open("rb") as stream:
        stream.seek(-min(path.stat().st_size, _MAX_END_BYTES), os.SEEK_END)
        end = stream.read()
    at = end.rfind(b"PK\x05\x06")
    stated = int.from_bytes(end[at + 10 : at + 12], "little")
    if stated not in (len(archive.infolist()), 0xFFFF):
        raise CubeError(f"{path}: found {len(archive.infolist())} of {stated} arrays; the file is damaged.")


def _choose(arrays: dict[str, np.ndarray], variable: str | None, path: Path) -> str:
    shapes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items()) or "nothing"
    if variable is not None or "absorbance" in arrays:
        wanted = variable or "absorbance"
        if wanted not in arrays:
            raise CubeError(f"{path}: found no array {wanted!r}, only {shapes}. Name one with variable=.")
        return wanted
    cubes = [name for name, values in arrays.items() if values.ndim == 3]
    if len(cubes) != 1:
        raise CubeError(
            f"{path}: found {shapes}; required is an array `absorbance` or exactly one of three dimensions. "
            "Name one with variable=."
        )
    return cubes[0]
