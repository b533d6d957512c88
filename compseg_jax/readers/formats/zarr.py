"""Zarr arrays and groups (versions 2 and 3) with a cube and an axis, through the zarr library."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis_names, checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray

# Blosc, zstd and gzip: no codec in use makes real spectra smaller than this.
_MAX_RATIO = checks.DEFLATE_MAX_RATIO


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
) -> Cube:
    """Reads a cube from a zarr directory, found by the rules of `named_arrays` or named by `variable`.

    The axis is an array of the group, or an attribute of the cube or of the group with the name of an axis, such as
    `wavenumbers_cm1`; the attribute `pixel_size_um` states the pixel size.

    Returns:
      the cube, absorbance of shape (y, x, c).

    Raises:
      CubeError: if the directory is damaged, or no cube or no axis is found. Chunks that are not stored hold the
        fill value, as zarr writes those of nothing else, and are counted in the provenance.
    """
    path = Path(path)
    library = checks.imported("zarr", path)
    with checks.Reading(path, "a zarr directory"):
        root = library.open(store=str(path), mode="r")
        attributes = dict(root.attrs)
        found_arrays = {"absorbance": root} if hasattr(root, "shape") else dict(_arrays(root, ""))
        arrays = {
            name: NamedArray(
                tuple(array.shape),
                partial(_load, array, path),
                _unit(array),
                str(np.dtype(array.dtype)),
                dims=_dimensions(array),
            )
            for name, array in found_arrays.items()
            if np.dtype(array.dtype).kind in "fiub" and array.ndim
        }
        for name in list(arrays):
            attributes.update(dict(found_arrays[name].attrs) if len(arrays[name].shape) == 3 else {})
        for key in attributes:
            if axis_names.meaning(key) is not None and key not in arrays:
                arrays |= _listed(key, attributes[key])
        contents = Contents(arrays)
        chosen = named_arrays.find(contents, path, variable=variable, axes=axes, given=wavenumbers_cm1)
        size = attributes.get("pixel_size_um")
        if size is None:
            pixel_size_um, stated = named_arrays.pixel_size_um(contents)
        else:
            pixel_size_um, stated = named_arrays.size_in_attribute(size)
        values, not_used = named_arrays.as_stated(chosen, dict(found_arrays[chosen.name].attrs), path)
        left_out = "; ".join(filter(None, (_not_stored(found_arrays[chosen.name]), not_used)))
    provenance = {
        "source": str(path),
        "format": "zarr",
        **chosen.provenance,
        **stated,
        **({"left_out": left_out} if left_out else {}),
    }
    return Cube(values, chosen.wavenumbers_cm1, pixel_size_um, provenance)


def _arrays(group: Any, prefix: str) -> list[tuple[str, Any]]:
    found = []
    for name, member in group.members():
        if hasattr(member, "shape"):
            found.append((prefix + name, member))
        else:
            found.extend(_arrays(member, f"{prefix}{name}/"))
    return found


def _dimensions(array: Any) -> tuple[str, ...]:
    """Names of an array's dimensions: those of zarr 3, or those that xarray writes into zarr 2."""
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return tuple(str(each or "") for each in named)


def _listed(name: str, value: Any) -> dict[str, NamedArray]:
    """An axis listed in an attribute."""
    if (
        not isinstance(value, list)
        or len(value) < 2
        or not all(isinstance(one, int | float) for one in value)
    ):
        return {}
    values = np.array(value, np.float64)
    return {name: NamedArray(values.shape, lambda: values)}


def _unit(array: Any) -> str | None:
    value = array.attrs.get("units", array.attrs.get("unit"))
    return None if value is None else str(value)


def _load(array: Any, path: Path) -> np.ndarray:
    """Reads an array whose announced size fits what is stored of it."""
    announced = checks.count(array.shape, path, str(array.name)) * np.dtype(array.dtype).itemsize
    expected, found = _parts(array), int(array.nchunks_initialized)
    stored = int(array.nbytes_stored())
    if found == 0 or announced * found > _MAX_RATIO * stored * expected:
        raise CubeError(
            f"{path}: {array.name or 'the array'} announces {announced} bytes (shape {array.shape}, {expected} "
            f"chunks), but {stored} are stored in {found} chunks. The copy is incomplete; copy it again."
        )
    held = checks.held_bytes(math.prod(array.shape), np.dtype(array.dtype).itemsize)
    checks.room(path, held, array.name or "the array", unpacked=announced * found // expected, packed=stored)
    values: np.ndarray = np.asarray(array[...])
    return values


def _parts(array: Any) -> int:
    """Chunks that a complete array has."""
    outer = array.shards or array.chunks
    shards = math.prod(-(-size // part) for size, part in zip(array.shape, outer, strict=True))
    return shards * math.prod(whole // part for whole, part in zip(outer, array.chunks, strict=True))


def _not_stored(array: Any) -> str:
    missing = _parts(array) - int(array.nchunks_initialized)
    return (
        f"{missing} of {_parts(array)} chunks are not stored and hold {array.fill_value}" if missing else ""
    )
