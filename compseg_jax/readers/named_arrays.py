"""Which of a file's named arrays is the cube and which its axis: one set of rules for MATLAB, HDF5, zarr.

1. The cube is the array named by the caller, else the one called `absorbance`, else the only numeric array
   of three dimensions.
2. The axis is the vector called by one of the names in `AXIS_UNITS`, in the cube's own group first.
3. The extent as long as the axis is the spectral one, the last where several are; the other two are y and
   x in the order in which they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis
from compseg_jax.readers.cube import CubeError

# Names an axis goes by, and the unit each implies; an empty unit must be stated by the file.
AXIS_UNITS = {
    **dict.fromkeys(("wavenumbers_cm1", "wavenumber_cm1", "wavenumbers", "wavenumber", "wavenum"), "cm-1"),
    **dict.fromkeys(("wn", "wns", "wvn", "wvns", "raman_shift", "raman_shift_cm1"), "cm-1"),
    **dict.fromkeys(("wavelengths_nm", "wavelength_nm"), "nm"),
    **dict.fromkeys(("wavelengths_um", "wavelength_um"), "um"),
    **dict.fromkeys(("wavelengths", "wavelength", "spectral_axis"), ""),
}


@dataclass(frozen=True)
class NamedArray:
    """An array of a file: its shape, how to load it, and the unit the file states for it, if any."""

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]
    unit: str | None = None


def find(
    arrays: Mapping[str, NamedArray], variable: str | None, given: np.ndarray | None, path: Path
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Finds the cube and its axis by the rules above.

    Args:
      arrays: every numeric array of the file by its full name (groups separated by `/`).
      variable: the name of the cube, None for the rules.
      given: the caller's axis, used instead of the file's.
      path: the file, for messages.

    Returns:
      values of shape (y, x, c), the axis of shape (c,), how the axis is stated, the name of the cube.

    Raises:
      CubeError: if no or several arrays fit, or there is no axis.
    """
    name = _cube_name(arrays, variable, path)
    chosen = arrays[name]
    if len(chosen.shape) != 3:
        raise CubeError(f"{path}: {name!r} has the shape {chosen.shape}; a cube has three dimensions.")
    found, stated = (None, "") if given is not None else _axis(arrays, name, path)
    found, stated = axis.settle(found, given, path, stated)
    matching = [at for at, extent in enumerate(chosen.shape) if extent == found.size]
    if not matching:
        raise CubeError(
            f"{path}: found {found.size} wavenumbers for the array {name!r} of shape {chosen.shape}; one "
            "extent must be as long. Give the axis that belongs to it with wavenumbers_cm1=."
        )
    return np.moveaxis(chosen.load(), matching[-1], 2), found, stated, name


def _cube_name(arrays: Mapping[str, NamedArray], variable: str | None, path: Path) -> str:
    shapes = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:20]) or "no numbers"
    if variable is not None:
        if variable.strip("/") not in arrays:
            raise CubeError(f"{path}: found no array {variable!r}, only {shapes}. Name one with variable=.")
        return variable.strip("/")
    called = [name for name in arrays if name.rpartition("/")[2].lower() == "absorbance"]
    cubes = called or [name for name, array in arrays.items() if len(array.shape) == 3]
    if len(cubes) != 1:
        raise CubeError(
            f"{path}: found {shapes}; required is one array `absorbance`, or only one of three dimensions. "
            "Name it with variable=."
        )
    return cubes[0]


def _axis(arrays: Mapping[str, NamedArray], cube: str, path: Path) -> tuple[np.ndarray | None, str]:
    vectors = {
        name: array
        for name, array in arrays.items()
        if name.rpartition("/")[2].lower() in AXIS_UNITS and sum(extent > 1 for extent in array.shape) == 1
    }
    group = cube.rpartition("/")[0]
    beside = {name: array for name, array in vectors.items() if name.rpartition("/")[0] == group}
    vectors = beside or vectors
    if not vectors:
        return None, f"no vector named {', '.join(list(AXIS_UNITS)[:4])} … in the file"
    if len(vectors) > 1:
        raise CubeError(f"{path}: found several axes ({', '.join(vectors)}); give one with wavenumbers_cm1=.")
    ((name, array),) = vectors.items()
    unit = array.unit or AXIS_UNITS[name.rpartition("/")[2].lower()]
    return axis.to_wavenumbers_cm1(array.load(), unit, path), f"{name}, {unit} in the file"
