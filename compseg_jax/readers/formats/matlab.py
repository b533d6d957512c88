"""MATLAB files, versions 5 and 7.3: a cube and its axis, a WITec export, or reference spectra."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray
from compseg_jax.readers.formats import cytospec, hdf5, mat5, witec
from compseg_jax.readers.hdf5_heaps import check_heaps
from compseg_jax.readers.point_spectra import Spectra

_HDF5_MARK = b"\x89HDF\r\n\x1a\n"
# Longer cell arrays hold lists of texts or spectra, no named parts.
_MAX_ELEMENTS = 64
_MAX_NAME_BYTES = 64


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
) -> Cube:
    """Reads a cube from a MATLAB file, found by the rules of `named_arrays` or named by `variable`.

    Fields of a structure are named `structure/field`. Files of WITec Project, CytoSpec and OCTAVVS are told by what
    they hold, and read as these programs mean them.

    Returns:
      the cube, absorbance of shape (y, x, c), with y and x as MATLAB's first two dimensions.

    Raises:
      CubeError: if the file is damaged, or no cube or no axis is found.
    """
    path = Path(path)
    with checks.Reading(path, "a MATLAB file"):
        if _is_hdf5(path):
            h5py = checks.imported("h5py", path)
            check_heaps(path)
            with h5py.File(path, "r") as file:
                return _found(
                    hdf5.contents(file, path, reverse=True),
                    path,
                    "MATLAB 7.3",
                    wavenumbers_cm1,
                    variable,
                    axes,
                )
        _refuse_version_4(path)
        variables = mat5.contents(path)
        name = witec.only_export(variables, variable, path)
        if name is not None and axes is None:
            return witec.read(variables[name], name, path, wavenumbers_cm1)
        if cytospec.is_image(variables) and axes is None:
            return cytospec.cube(variables, path, wavenumbers_cm1, variable)
        return _found(_contents(variables), path, "MATLAB 5", wavenumbers_cm1, variable, axes)


def read_axis(path: Path) -> np.ndarray:
    """The axis in cm⁻¹ that a file holds, as of `named_arrays.only_axis`."""
    if _is_hdf5(path):
        return hdf5.read_axis(path)
    with checks.Reading(path, "a MATLAB file"):
        _refuse_version_4(path)
        return named_arrays.only_axis(_contents(mat5.contents(path)), path)


def _refuse_version_4(path: Path) -> None:
    if holds(path):
        raise CubeError(
            f"{path}: this is a file of MATLAB 4, which holds matrices and no cubes. Save it with -v7."
        )


def _found(
    contents: Contents,
    path: Path,
    version: str,
    wavenumbers_cm1: np.ndarray | None,
    variable: str | None,
    axes: str | None,
) -> Cube:
    chosen = named_arrays.find(contents, path, variable=variable, axes=axes, given=wavenumbers_cm1)
    pixel_size_um, stated = named_arrays.pixel_size_um(contents)
    provenance = {"source": str(path), "format": version, **chosen.provenance, **stated}
    return Cube(checks.as_float(chosen.values, path), chosen.wavenumbers_cm1, pixel_size_um, provenance)


def _contents(variables: dict[str, Any]) -> Contents:
    """Numbers, texts and the rest, fields of structures and elements of cell arrays by their full names."""
    arrays: dict[str, NamedArray] = {}
    texts: dict[str, str] = {}
    unread: dict[str, str] = {}

    def note(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.size:
            arrays[name] = NamedArray(value.shape, lambda: value, None, str(value.dtype))
        elif isinstance(value, str):
            texts[name] = value
        elif isinstance(value, mat5.Unread):
            unread[name] = value.what
        elif isinstance(value, dict):
            for field, part in value.items():
                note(f"{name}/{field}", part)
        elif isinstance(value, mat5.Cells) and len(value.elements) <= _MAX_ELEMENTS:
            for at, part in enumerate(value.elements):
                note(f"{name}/{at + 1}", part)

    for name, value in variables.items():
        note(name, value)
    return Contents(arrays, texts, unread)


def holds(path: Path) -> bool:
    """Whether a file is one of MATLAB 4: five 32-bit words, the first of them a number MOPT of four digits."""
    with path.open("rb") as stream:
        begin = stream.read(20)
    if len(begin) < 20:
        return False
    for order in "<>":
        kind, rows, columns, is_complex, length = struct.unpack(order + "5i", begin)
        machine, none, number, of_matrix = (kind // place % 10 for place in (1000, 100, 10, 1))
        known = 0 <= kind < 5000 and machine < 5 and none == 0 and number < 6 and of_matrix < 3
        if known and rows >= 0 and columns >= 0 and is_complex in (0, 1) and 0 < length < _MAX_NAME_BYTES:
            return True
    return False


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a WITec export, or reference spectra from the matrix `AB`.

    The first column of `AB` holds wavenumbers in cm⁻¹, each further one a spectrum.

    Raises:
      CubeError: if the file is damaged or has no such matrix.
    """
    path = Path(path)
    with checks.Reading(path, "a MATLAB file"):
        if _is_hdf5(path):
            h5py = checks.imported("h5py", path)
            check_heaps(path)
            with h5py.File(path, "r") as file:
                found = hdf5.contents(file, path, reverse=True).arrays.get("AB")
                table: Any = None if found is None else found.load()
        else:
            _refuse_version_4(path)
            variables = mat5.variables(path)
            name = witec.only_export(variables, None, path)
            if name is not None:
                return witec.read_spectra(variables[name], name, path)
            table = variables.get("AB")
        if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] < 2:
            shape = getattr(table, "shape", None)
            raise CubeError(
                f"{path}: required is a matrix `AB` of at least two columns, wavenumbers first; found "
                f"{shape}. Save the spectra so, or read an image with read."
            )
        wavenumbers = axis.to_wavenumbers_cm1(table[:, 0], "cm-1", path, spaced_evenly=False)
    provenance = {
        "source": str(path),
        "format": "MATLAB",
        "axis": "column 0 of AB, cm⁻¹",
        "direction": axis.direction(wavenumbers),
    }
    absorbance = checks.as_float(np.ascontiguousarray(table[:, 1:].T), path)
    return Spectra(absorbance, wavenumbers, (), None, provenance)


def _is_hdf5(path: Path) -> bool:
    """Version 7.3 files are HDF5 after a block of 512 bytes (or none, where other programs wrote them)."""
    with path.open("rb") as stream:
        begin = stream.read(520)
    return begin.startswith(_HDF5_MARK) or begin[512:].startswith(_HDF5_MARK)


@contextmanager
def opened(path: Path) -> Iterator[named_arrays.Contents]:
    """What a file holds, while its arrays are loaded."""
    if _is_hdf5(path):
        with hdf5.opened(path, reverse=True) as found:
            yield found
        return
    _refuse_version_4(path)
    yield _contents(mat5.contents(path))
