"""HDF5 files with a cube and an axis among their datasets, through h5py."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads a cube from an HDF5 file, found by the rules of `named_arrays` or named by `variable`.

    An attribute `units` (or `unit`) of the axis states its unit; an attribute `pixel_size_um` of the cube
    or of the file states the pixel size.

    Returns:
      the cube, absorbance of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, or no cube or no axis is found.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    with checks.Reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        arrays = datasets(file, path)
        values, found, stated, name = named_arrays.find(arrays, variable, wavenumbers_cm1, path)
        size = file[name].attrs.get("pixel_size_um", file.attrs.get("pixel_size_um"))
        pixel_size_um = None if size is None else float(np.asarray(size).item())
    provenance = {
        "source": str(path),
        "format": "HDF5",
        "variable": name,
        "axis": stated,
        "direction": axis.direction(found),
    }
    return Cube(checks.as_float(values, path), found, pixel_size_um, provenance)


def datasets(file: Any, path: Path, *, reverse: bool = False) -> dict[str, named_arrays.NamedArray]:
    """Every numeric dataset of an open file; `reverse` turns the axes round, as MATLAB stores them."""
    found: dict[str, named_arrays.NamedArray] = {}

    def note(name: str, item: Any) -> None:
        if not hasattr(item, "dtype") or item.dtype.kind not in "fiub" or item.shape in (None, ()):
            return
        shape = tuple(int(extent) for extent in item.shape)
        found[name] = named_arrays.NamedArray(
            shape[::-1] if reverse else shape,
            lambda: load(item, path).T if reverse else load(item, path),
            text(item.attrs.get("units", item.attrs.get("unit"))),
        )

    file.visititems(note)
    return found


def load(dataset: Any, path: Path) -> np.ndarray:
    """Reads a dataset after its announced size has been compared with what is stored.

    Raises:
      CubeError: if values are stored elsewhere, chunks are missing, or the sizes do not agree.
    """
    name = dataset.name
    if dataset.is_virtual or dataset.external:
        raise CubeError(f"{path}: {name} points to other files; copy its values into this one.")
    h5py = checks.imported("h5py", path)
    # A damaged description of the numbers is still one HDF5 can follow, to other numbers.
    plain = h5py.h5t.py_create(dataset.dtype)
    if dataset.dtype.kind in "fiu" and not dataset.id.get_type().equal(plain):
        raise CubeError(f"{path}: {name} holds numbers of no usual format; damaged. Write it again.")
    announced = checks.count(dataset.shape, path, str(name)) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if dataset.chunks is None:
        fits = stored == announced
    else:
        chunks = math.prod(-(-size // part) for size, part in zip(dataset.shape, dataset.chunks, strict=True))
        fits = dataset.id.get_num_chunks() == chunks and announced <= checks.DEFLATE_MAX_RATIO * stored
    if not fits or stored > os.path.getsize(path):
        raise CubeError(
            f"{path}: {name} announces {announced} bytes (shape {dataset.shape}), but {stored} are stored. "
            "The file is damaged or was not closed; write it again."
        )
    values: np.ndarray = dataset[()]
    return values


def text(value: Any) -> str | None:
    """An attribute as text: bytes, str, or an array of single characters, as instruments write them."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return "".join(str(text(part)) for part in value.ravel())
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
