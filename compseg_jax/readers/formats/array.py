"""NumPy arrays: .npy as (y, x, c) or (y, x), and .npz with a cube and its axis among its arrays. No pickles."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from compseg_jax.readers import checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray

# Longest end of a zip archive: 22 bytes and a comment of 65535 (PKWARE APPNOTE 4.3.16).
_MAX_END_BYTES = 22 + 0xFFFF
_MAX_TEXT_BYTES = 1 << 16
_PART_BYTES = 1 << 20


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
) -> Cube:
    """Reads a cube from a .npy (memory-mapped) or .npz file.

    In a .npz, cube and axis are found by the rules of `named_arrays`; a number `pixel_size_um` states the pixel size.

    Returns:
      the cube, absorbance of shape (y, x, c); a two-dimensional array becomes one channel. The axis is
      None where neither the file nor the caller gives one: the channels of a plain array have no unit.

    Raises:
      CubeError: if the file is damaged, holds no such array, or the axis does not fit; if a .npz holds a vector
        that may be the axis by its length, but not by its name.
    """
    path = Path(path)
    with checks.Reading(path, "a NumPy file"):
        is_zip = zipfile.is_zipfile(path)
        if not is_zip and variable is not None:
            raise CubeError(f"{path}: a .npy file has no variables; found variable={variable!r}.")
        if is_zip:
            chosen, pixel_size_um, stated = _of_archive(path, variable, axes, wavenumbers_cm1)
        else:
            values = load(path)
            whole = NamedArray(values.shape, lambda: values, None, str(values.dtype))
            contents = Contents({"the array": whole})
            chosen = named_arrays.find(
                contents, path, variable="the array", axes=axes, given=wavenumbers_cm1, refuse_features=False
            )
            pixel_size_um, stated = None, {}
    provenance = {"source": str(path), "format": "npz" if is_zip else "npy", **chosen.provenance, **stated}
    return Cube(checks.as_float(chosen.values, path), chosen.wavenumbers_cm1, pixel_size_um, provenance)


def read_axis(path: Path) -> np.ndarray:
    """The axis in cm⁻¹ that a .npz holds, as of `named_arrays.only_axis`."""
    with checks.Reading(path, "a NumPy archive"), zipfile.ZipFile(path) as archive:
        return named_arrays.only_axis(_members(archive, path), path)


def _of_archive(
    path: Path, variable: str | None, axes: str | None, given: np.ndarray | None
) -> tuple[named_arrays.Chosen, float | None, dict[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            contents = _members(archive, path)
            chosen = named_arrays.find(
                contents, path, variable=variable, axes=axes, given=given, refuse_features=False
            )
            return chosen, *named_arrays.pixel_size_um(contents)
    except NotImplementedError as error:
        raise CubeError(
            f"{path}: a kind of zip archive that numpy.savez does not write ({error}). The file is damaged, or of "
            "another program; save the arrays with numpy.savez."
        ) from error


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


def _members(archive: zipfile.ZipFile, path: Path) -> Contents:
    """What an archive holds, every size checked, nothing but texts read."""
    arrays: dict[str, NamedArray] = {}
    texts: dict[str, str] = {}
    unread: dict[str, str] = {}
    _check_directory(archive, path)
    members = archive.infolist()
    # What is not used is read, too, to see whether it is damaged.
    unpacked, packed = sum(each.file_size for each in members), sum(each.compress_size for each in members)
    largest = max((each.file_size for each in members), default=0)
    checks.room(path, 2 * largest, "an array", unpacked=unpacked, packed=packed)
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if member.file_size > checks.DEFLATE_MAX_RATIO * max(member.compress_size, 1):
            raise CubeError(f"{path}: {member.filename} announces {member.file_size} bytes; damaged.")
        if name == member.filename:
            unread[name] = "no .npy array"
            _check_sum(archive, member)
            continue
        try:
            with archive.open(member) as stream:
                dtype, shape = checks.array_header(stream, member.file_size, path, member.filename)
        except CubeError as error:
            not_taken = error
            with archive.open(member) as stream:
                dtype = _dtype(stream)
        else:
            load = partial(_load_member, archive, member)
            arrays[name] = NamedArray(shape, load, None, str(dtype))
            continue
        if dtype.kind in "US" and member.file_size < _MAX_TEXT_BYTES:
            texts[name] = " ".join(str(part) for part in np.ravel(_load_member(archive, member)))
        elif dtype.kind not in "fiub":
            unread[name] = f"of type {dtype}; only plain real numbers are read (never pickles)"
            _check_sum(archive, member)
        else:
            raise not_taken
    return Contents(arrays, texts, unread)


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Reads what is not used, to its end: where it is damaged it may be another thing than it says."""
    with archive.open(member) as stream:
        while stream.read(_PART_BYTES):
            pass


def _dtype(stream: IO[bytes] | io.BufferedIOBase) -> np.dtype:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[2]
    return np.lib.format.read_array_header_2_0(stream)[2]


def _load_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        values: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        return values


def _check_directory(archive: zipfile.ZipFile, path: Path) -> None:
    """Compares the members found with the number stated at the end of the archive, which zipfile does not."""
    with path.open("rb") as stream:
        stream.seek(-min(path.stat().st_size, _MAX_END_BYTES), os.SEEK_END)
        end = stream.read()
    at = end.rfind(b"PK\x05\x06")
    stated = int.from_bytes(end[at + 10 : at + 12], "little")
    if stated not in (len(archive.infolist()), 0xFFFF):
        raise CubeError(f"{path}: found {len(archive.infolist())} of {stated} arrays; the file is damaged.")


@contextmanager
def opened(path: Path) -> Iterator[named_arrays.Contents]:
    """What a .npz holds, while its arrays are loaded."""
    with zipfile.ZipFile(path) as archive:
        yield _members(archive, path)
