"""HDF5 files with a cube and an axis among their datasets, through h5py."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis_names, checks, named_arrays
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray
from compseg_jax.readers.hdf5_heaps import check_heaps

_MAX_TEXTS = 1 << 12
_MAX_AXIS = 1 << 20
_MOST_LEVELS, _MOST_OBJECTS = 64, 100_000


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
) -> Cube:
    """Reads a cube from an HDF5 file, found by the rules of `named_arrays` or named by `variable`.

    An attribute `units` (or `unit`) of the axis states its unit; an attribute `pixel_size_um` of the cube
    or of the file, or a number of that name in it, states the pixel size.

    Returns:
      the cube, absorbance of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, or no cube or no axis is found.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with checks.Reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        found = contents(file, path)
        chosen = named_arrays.find(
            found, path, variable=_resolved(file, found, variable, path), axes=axes, given=wavenumbers_cm1
        )
        dataset = file[chosen.name]
        size = dataset.attrs.get("pixel_size_um", file.attrs.get("pixel_size_um"))
        if size is None:
            pixel_size_um, stated = named_arrays.pixel_size_um(found)
        else:
            pixel_size_um, stated = named_arrays.size_in_attribute(size)
        values, not_used = named_arrays.as_stated(chosen, dataset.attrs, path)
        not_used = "; ".join(words for words in (*left_out(dataset).values(), not_used) if words)
        provenance = {
            "source": str(path),
            "format": "HDF5",
            **chosen.provenance,
            **stated,
            **({"left_out": not_used} if not_used else {}),
        }
    return Cube(values, chosen.wavenumbers_cm1, pixel_size_um, provenance)


def read_axis(path: Path) -> np.ndarray:
    """The axis in cm⁻¹ that a file holds, as of `named_arrays.only_axis`."""
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with checks.Reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        return named_arrays.only_axis(contents(file, path), path)


def _resolved(file: Any, found: Contents, variable: str | None, path: Path) -> str | None:
    """The full name of what `variable` names, through links within the file."""
    if variable is None:
        return None
    parts = variable.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        # Step by step, so that a link on the way is seen before it is followed.
        link = file.get("/".join(parts[:end]), getlink=True)
        if link is not None and hasattr(link, "filename"):
            raise CubeError(
                f"{path}: {variable!r} is a link into the file {link.filename!r}; give that file, or copy the values."
            )
    if variable not in file:
        return variable
    same = (name for name in (*found.arrays, *found.unread) if file[name] == file[variable])
    return next(same, variable)


def contents(file: Any, path: Path, *, reverse: bool = False) -> Contents:
    """What an open file holds; `reverse` turns the axes round, as MATLAB stores them.

    Left out are groups, types with a name of their own, and empty datasets.
    """
    h5py = checks.imported("h5py", path)
    arrays: dict[str, NamedArray] = {}
    texts: dict[str, str] = {}
    unread: dict[str, str] = {}

    refuse_deep(file, path)

    def note(name: str | bytes, item: Any) -> None:
        if isinstance(name, bytes):
            name = name.decode("utf-8", errors="replace")  # h5py hands over what is no UTF-8
        if isinstance(item, h5py.Group):
            described = _axis_of_hyperspy(item)
            if described is not None:
                arrays[f"{name.rpartition('/')[0]}/{described[0]}".strip("/")] = described[1]
            return
        if not isinstance(item, h5py.Dataset) or item.shape is None or 0 in item.shape:
            return
        if item.is_virtual or item.external:
            unread[name] = "stored in other files; copy its values into this one"
            return
        shape = tuple(int(extent) for extent in item.shape)
        kind = _class_of(item)
        if "MATLAB_empty" in item.attrs:
            return
        if "MATLAB_object_decode" in item.attrs:
            unread[name] = "a table or another object; save its arrays, each by itself"
        elif kind == "char":
            texts[name] = _characters(item)
        elif item.dtype.kind in "fiub":
            arrays[name] = NamedArray(
                shape[::-1] if reverse else shape,
                lambda: load(item, path).T if reverse else load(item, path),
                text(item.attrs.get("units", item.attrs.get("unit"))),
                str(item.dtype),
                dims=() if reverse else _dimensions(item),
            )
        elif h5py.check_string_dtype(item.dtype) is not None and math.prod(shape) <= _MAX_TEXTS:
            texts[name] = text(item[()]) or ""
        elif item.dtype.names == ("real", "imag") or item.dtype.kind == "c":
            unread[name] = "complex numbers; save their real part or magnitude"
        elif len(shape) > 1 and not name.startswith("#"):
            unread[name] = f"of type {kind or item.dtype}, which holds no plain numbers"

    def note_link(name: str | bytes, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink) and isinstance(name, str):
            unread[name] = f"a link into the file {link.filename!r}, which is not followed; give that file"

    file.visititems(note)
    file.visititems_links(note_link)
    cubes = [(name, file[name]) for name in arrays if len(arrays[name].shape) > 1 and name in file]
    for name, holder in [*cubes, ("", file)]:
        arrays.update(_axes_in_attributes(name, holder))
    return Contents(arrays, texts, unread)


def refuse_deep(file: Any, path: Path) -> None:
    """Refuses groups within groups so deep that HDF5, which follows every name from the root, takes minutes for them.

    Raises:
      CubeError: if groups are nested more than `_MOST_LEVELS` deep, or there are more than `_MOST_OBJECTS`.
    """
    visited = itertools.count(1)

    def is_too_much(name: str | bytes) -> bool | None:
        depth = name.count("/") if isinstance(name, str) else name.count(b"/")
        return True if next(visited) > _MOST_OBJECTS or depth >= _MOST_LEVELS else None

    if file.visit(is_too_much):
        raise CubeError(
            f"{path}: it holds groups nested more than {_MOST_LEVELS} deep, or more than {_MOST_OBJECTS} groups and "
            "arrays; no instrument writes that. Write the arrays that are meant into a file of their own."
        )


def own(group: Any) -> dict[str, Any]:
    """What a group holds that lies in its own file, by name; links into other files are not followed."""
    found = {}
    for name in group:
        if not hasattr(group.get(name, getlink=True), "filename"):
            item = group.get(name)
            if item is not None and item.file.filename == group.file.filename:
                found[name] = item
    return found


def refuse_links(file: Any, path: Path) -> None:
    """Refuses a file with links into other files, where the instrument writes none.

    Raises:
      CubeError: if there is one.
    """
    h5py = checks.imported("h5py", path)
    found = file.visititems_links(
        lambda name, link: (name, link) if isinstance(link, h5py.ExternalLink) else None
    )
    if found:
        raise CubeError(
            f"{path}: {found[0]!r} is a link into the file {found[1].filename!r}, which is not followed. Copy what is "
            "meant into this file."
        )


def _dimensions(dataset: Any) -> tuple[str, ...]:
    """Names of a cube's dimensions: their labels, else the scales that are attached to them."""
    if dataset.ndim != 3 or not {"DIMENSION_LIST", "DIMENSION_LABELS"} & set(dataset.attrs):
        return ()
    return tuple(str(each.label or (each[0].name if len(each) else "") or "") for each in dataset.dims)


def _axes_in_attributes(name: str, holder: Any) -> dict[str, NamedArray]:
    """Vectors among the attributes of a dataset or file that have the name of a spectral axis."""
    found = {}
    for key in holder.attrs:
        if axis_names.meaning(key) is not None:
            values = np.asarray(holder.attrs[key])
            if values.ndim == 1 and values.size > 1 and values.dtype.kind in "fiu":
                found[f"{name}/{key}".strip("/")] = NamedArray(
                    values.shape, partial(np.asarray, values), None, str(values.dtype)
                )
    return found


def _axis_of_hyperspy(group: Any) -> tuple[str, NamedArray] | None:
    """The name and values of an axis that HyperSpy describes by a group `axis-N` beside the data."""
    attributes = group.attrs
    if not re.fullmatch(r".*/axis-\d", group.name) or not {"name", "size", "scale", "offset"} <= set(
        attributes
    ):
        return None
    size, scale, offset = (float(np.asarray(attributes[key]).item()) for key in ("size", "scale", "offset"))
    if not 1 < size < _MAX_AXIS:
        return None
    values = offset + scale * np.arange(int(size))
    unit = text(attributes.get("units"))
    return text(attributes["name"]) or "axis", NamedArray(values.shape, lambda: values, unit)


def _class_of(dataset: Any) -> str | None:
    """MATLAB's name of a dataset's class, None in files of other programs."""
    return text(dataset.attrs.get("MATLAB_class"))


def _characters(dataset: Any) -> str:
    """Text that MATLAB stores as 16-bit numbers."""
    if math.prod(dataset.shape) > _MAX_TEXTS or dataset.dtype.kind != "u":
        return ""
    return "".join(chr(int(unit)) for unit in np.ravel(dataset[()])).strip("\0")


def load(dataset: Any, path: Path) -> np.ndarray:
    """Reads a dataset after its announced size has been compared with what is stored.

    A part that was never written holds the fill value, which counts where the writer chose one; else its absence
    cannot be told from a measurement that was broken off.

    Raises:
      CubeError: if values are stored elsewhere, parts are missing, the sizes do not agree, or a compression is
        not known.
    """
    name = dataset.name
    if dataset.is_virtual or dataset.external:
        raise CubeError(f"{path}: {name} points to other files; copy its values into this one.")
    h5py = checks.imported("h5py", path)
    _refuse_unknown_filters(dataset, path)
    # A damaged description of the numbers is still one HDF5 can follow, to other numbers.
    plain = h5py.h5t.py_create(dataset.dtype)
    if dataset.dtype.kind in "fiu" and not dataset.id.get_type().equal(plain):
        raise CubeError(f"{path}: {name} holds numbers of no usual format; damaged. Write it again.")
    values_announced = checks.count(dataset.shape, path, str(name)) if dataset.shape else 1
    announced = values_announced * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    missing = _missing_chunks(dataset)
    if dataset.chunks is None:
        fits = stored == announced
    else:
        fits = missing >= 0 and announced <= checks.DEFLATE_MAX_RATIO * stored
    if not fits or stored > os.path.getsize(path):
        raise CubeError(
            f"{path}: {name} announces {announced} bytes (shape {dataset.shape}), but {stored} are stored. "
            "The file is damaged or was not closed; write it again."
        )
    held = checks.held_bytes(values_announced, dataset.dtype.itemsize)
    if dataset.chunks is None:
        checks.room(path, held, str(name))
    else:
        checks.room(path, held, str(name), unpacked=announced, packed=stored)
    if missing and dataset.id.get_create_plist().fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED:
        raise CubeError(
            f"{path}: {missing} of the {_chunks(dataset)} parts of {name} were never written, and no fill value was "
            "chosen for them. The measurement was broken off, or the file was not closed; write all of it."
        )
    values: np.ndarray = np.asarray(dataset[()])
    return values


def left_out(dataset: Any) -> dict[str, str]:
    """The entry of a provenance that counts the parts of a dataset that were never written."""
    missing = _missing_chunks(dataset)
    if not missing:
        return {}
    return {
        "left_out": f"{missing} of {_chunks(dataset)} parts of {dataset.name} were never written; "
        f"they hold the fill value {dataset.fillvalue}"
    }


def _chunks(dataset: Any) -> int:
    return math.prod(-(-size // part) for size, part in zip(dataset.shape, dataset.chunks, strict=True))


def _missing_chunks(dataset: Any) -> int:
    return 0 if dataset.chunks is None else _chunks(dataset) - int(dataset.id.get_num_chunks())


def _refuse_unknown_filters(dataset: Any, path: Path) -> None:
    h5py = checks.imported("h5py", path)
    created = dataset.id.get_create_plist()
    codes = {
        int(created.get_filter(at)[0]): created.get_filter(at)[3] for at in range(created.get_nfilters())
    }
    unknown = {code: name for code, name in codes.items() if not h5py.h5z.filter_avail(code)}
    if not unknown:
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # it registers its filters
    unknown = {code: name for code, name in unknown.items() if not h5py.h5z.filter_avail(code)}
    if unknown:
        named = ", ".join(f"{text(name) or 'unnamed'} ({code})" for code, name in unknown.items())
        raise CubeError(
            f"{path}: {dataset.name} is compressed with the HDF5 filter {named}, which is not installed. Install it "
            "with: pip install hdf5plugin, or write the file with gzip."
        )


def text(value: Any) -> str | None:
    """An attribute as text: bytes, str, or an array of single characters, as instruments write them."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return "".join(str(text(part)) for part in value.ravel())
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def opened(path: Path, *, reverse: bool = False) -> Iterator[named_arrays.Contents]:
    """What a file holds, while its arrays are loaded; `reverse` turns the axes round, as MATLAB stores them."""
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with h5py.File(path, "r") as file:
        yield contents(file, path, reverse=reverse)
