"""MATLAB files, versions 5 and 7.3: a cube and its axis, a WITec export, or reference spectra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import hdf5, mat5, witec
from compseg_jax.readers.point_spectra import Spectra

_HDF5_MARK = b"\x89HDF\r\n\x1a\n"


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads a cube from a MATLAB file, found by the rules of `named_arrays` or named by `variable`.

    A file whose only variable is a dataset object with an image, as WITec Project exports, is read as such.

    Returns:
      the cube, absorbance of shape (y, x, c), with y and x as MATLAB's first two dimensions.

    Raises:
      CubeError: if the file is damaged, or no cube or no axis is found.
    """
    path = Path(path)
    with checks.Reading(path, "a MATLAB file"):
        if _is_hdf5(path):
            version = "MATLAB 7.3"
            h5py = checks.imported("h5py", path)
            with h5py.File(path, "r") as file:
                arrays = hdf5.datasets(file, path, reverse=True)
                values, found, stated, name = named_arrays.find(arrays, variable, wavenumbers_cm1, path)
                sizes = [array.load().item() for key, array in arrays.items() if key == "pixel_size_um"]
        else:
            version = "MATLAB 5"
            variables = mat5.variables(path)
            if variable is None and len(variables) == 1 and witec.is_export(next(iter(variables.values()))):
                return witec.read(path, wavenumbers_cm1=wavenumbers_cm1)
            arrays = {
                name: _named(value) for name, value in variables.items() if isinstance(value, np.ndarray)
            }
            values, found, stated, name = named_arrays.find(arrays, variable, wavenumbers_cm1, path)
            sizes = [variables[key].item() for key in variables if key == "pixel_size_um"]
    provenance = {
        "source": str(path),
        "format": version,
        "variable": name,
        "axis": stated,
        "direction": axis.direction(found),
    }
    pixel_size_um = float(sizes[0]) if sizes else None
    return Cube(checks.as_float(values, path), found, pixel_size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads reference spectra from the matrix `AB`: wavenumbers in cm⁻¹ in column 0, a spectrum each further.

    Raises:
      CubeError: if the file is damaged or has no such matrix.
    """
    path = Path(path)
    with checks.Reading(path, "a MATLAB file"):
        if _is_hdf5(path):
            h5py = checks.imported("h5py", path)
            with h5py.File(path, "r") as file:
                found = hdf5.datasets(file, path, reverse=True).get("AB")
                table: Any = None if found is None else found.load()
        else:
            table = mat5.variables(path).get("AB")
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


def _named(value: np.ndarray) -> named_arrays.NamedArray:
    return named_arrays.NamedArray(value.shape, lambda: value)
