"""NeXus files (HDF5) of beamlines and converters: the signal of an NXdata group with its axes.

The rules are those of the NeXus manual ("Find the plottable data" and "Associating plottable data using
attributes", versions 1 to 3): attributes `default` lead to the group; its `signal` and `axes` name the arrays. The
layout of NXstxm without attributes (Diamond I08, SOLEIL HERMES) is known by the names `data`, `sample_x`, `sample_y`
and `energy` or `photon_energy`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, axis_names, checks, named_arrays, pixel_size
from compseg_jax.readers.cube import CHANNEL_NAME, CHANNEL_VALUES, Cube, CubeError
from compseg_jax.readers.formats import hdf5
from compseg_jax.readers.hdf5_heaps import check_heaps

# e/(hc) in cm⁻¹ (CODATA 2022: 8065.543937), and above what it is no vibration and no visible light.
_CM1_PER_EV = 8065.544
_MOST_CM1 = 1e5
_EV_PER_UNIT = {"mev": 1e-3, "ev": 1.0, "kev": 1e3}
_ENERGIES = ("energy", "energies", "photonenergy", "e")
_ALONG = {
    "x": re.compile(r"(?:^|.*[_\s])x(?:$|[_\s].*)|horizontal|columns?"),
    "y": re.compile(r"(?:^|.*[_\s])y(?:$|[_\s].*)|vertical|rows?"),
}
_UM_PER_UNIT = {"nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UNIT_WORDS = {
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
    "micrometre": "um",
    "millimeter": "mm",
    "meter": "m",
}
_LARGEST_PIXEL_UM = 5e3
_EVEN_WITHIN = 0.02
_MOST_OBJECTS = 20_000


@dataclass(frozen=True)
class _Signal:
    """An array of three dimensions and the axis of each, None where it has none."""

    group: str
    dataset: Any
    axes: tuple[Any | None, Any | None, Any | None]
    vectors: dict[str, Any]
    """Every vector of the group, by its name."""

    @property
    def name(self) -> str:
        return str(self.dataset.name).strip("/")


def holds(path: Path) -> bool:
    """Whether an HDF5 file has an NXdata group, or one as of NXstxm, with a signal of three dimensions."""
    try:
        h5py = checks.imported("h5py", path)
        check_heaps(path)
        with h5py.File(path, "r") as file:
            hdf5.refuse_deep(file, path)
            return next(_signals(file, path), None) is not None
    except Exception:  # whatever a damaged file raises: the reader of HDF5 tells it
        return False


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
) -> Cube:
    """Reads the signal of three dimensions that the file marks as its default, or has only one of.

    `variable` names another group or array; `axes` says what the array's dimensions are where the file does not.
    The axis may be wavenumbers, a Raman shift, wavelengths or energies, by its stated unit. Photon energies of X-rays
    are no wavenumbers: the cube has none, and provenance holds the axis as `channel_values`.

    Returns:
      the cube, the signal of shape (y, x, c); rows and columns in the order of the file.

    Raises:
      CubeError: if the file is damaged, the choice of signal or axes is open, or a unit is not known.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with checks.Reading(path, "a NeXus file"), h5py.File(path, "r") as file:
        hdf5.refuse_deep(file, path)
        signal = _chosen(file, variable, path)
        order, said = _order(signal, axes, path)
        values = hdf5.load(signal.dataset, path)
        values = values.reshape(_without_ones(values.shape)).transpose(order)
        rows, columns, spectral = (
            signal.axes[at] or _by_name(signal, at, kind) for kind, at in zip("yxc", order, strict=True)
        )
        known: dict[str, Any] = {}
        found: np.ndarray | None
        if wavenumbers_cm1 is not None:
            found, stated = axis.settle(None, wavenumbers_cm1, path, "")
        else:
            found, stated, known = _spectral_axis(spectral, path, is_stxm="sample_x" in signal.vectors)
        size_um, size_stated = _pixel_size_um(rows, columns, path)
        provenance = {
            "source": str(path),
            "format": "NeXus",
            "variable": signal.name,
            "axis": stated,
            **known,
            "direction": axis.direction(found),
            "axes": said,
            "stored_type": str(signal.dataset.dtype),
            "orientation": "as stored",
            "pixel_size": size_stated,
            **hdf5.left_out(signal.dataset),
        }
    return Cube(checks.as_float(values, path), found, size_um, provenance)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1) if len(shape) > 3 else shape


# Which signal.


def _chosen(file: Any, variable: str | None, path: Path) -> _Signal:
    found = list(_signals(file, path))
    if variable is not None:
        name = variable.strip("/")
        fitting = [each for each in found if name in (each.name, each.group)]
        if len(fitting) != 1:
            raise CubeError(
                f"{path}: found no signal {variable!r}, only {_listed(found)}. Name it with variable=."
            )
        return fitting[0]
    default = _default(file)
    marked = [each for each in found if each.group == default]
    if len(marked) == 1 or len(found) == 1:
        return (marked or found)[0]
    raise CubeError(
        f"{path}: found {len(found)} signals of three dimensions ({_listed(found)}), none of them marked as the "
        "default; name one with variable=."
    )


def _listed(found: list[_Signal]) -> str:
    return ", ".join(f"{each.name} {each.dataset.shape}" for each in found[:20]) or "none of three dimensions"


def _default(file: Any) -> str:
    """The group to which the attributes `default` lead."""
    group = file
    for _ in range(8):
        name = hdf5.text(group.attrs.get("default"))
        below = None if not name else hdf5.own(group).get(name)
        if below is None or not hasattr(below, "keys"):
            break
        group = below
    return str(group.name).strip("/")


def _signals(file: Any, path: Path) -> Iterator[_Signal]:
    """Every signal of three dimensions, in the order of the file."""
    for group in _groups(file):
        with contextlib.suppress(UnicodeDecodeError):
            dataset = _signal_of(group)
            if dataset is not None and len(_without_ones(dataset.shape)) == 3:
                vectors = _vectors(group, dataset)
                yield _Signal(str(group.name).strip("/"), dataset, _axes_of(group, dataset, vectors), vectors)


def _groups(file: Any) -> Iterator[Any]:
    """Every group once, whatever links lead to it."""
    seen = {file}
    waiting = collections.deque([file])
    while waiting and len(seen) < _MOST_OBJECTS:
        group = waiting.popleft()
        yield group
        with contextlib.suppress(UnicodeDecodeError, KeyError):
            for item in hdf5.own(group).values():
                if hasattr(item, "keys") and item not in seen:
                    seen.add(item)
                    waiting.append(item)


def _signal_of(group: Any) -> Any | None:
    """The dataset that the group marks as its signal."""
    arrays = hdf5.own(group)
    arrays = {
        name: item for name, item in arrays.items() if hasattr(item, "dtype") and item.dtype.kind in "fiub"
    }
    named = hdf5.text(group.attrs.get("signal"))
    if named in arrays:
        return arrays[named]
    marked = [item for item in arrays.values() if str(hdf5.text(item.attrs.get("signal"))) == "1"]
    if len(marked) == 1:
        return marked[0]
    is_nexus = hdf5.text(group.attrs.get("NX_class")) == "NXdata"
    is_stxm = {"data", "sample_x", "sample_y"} <= set(arrays) and bool(
        {"energy", "photon_energy"} & set(arrays)
    )
    return arrays.get("data") if is_nexus or is_stxm else None


def _vectors(group: Any, signal: Any) -> dict[str, Any]:
    found = hdf5.own(group)
    return {
        name: item
        for name, item in found.items()
        if hasattr(item, "dtype") and item.dtype.kind in "fiu" and item.ndim == 1 and item != signal
    }


def _axes_of(group: Any, dataset: Any, vectors: dict[str, Any]) -> tuple[Any | None, Any | None, Any | None]:
    """The vector of each dimension, by the attributes of the group, the signal or the vectors, else by its length."""
    extents = dataset.shape
    found: dict[int, Any] = {}
    for at, name in enumerate(_axes_named(group, dataset)):
        indices = np.ravel(group.attrs.get(f"{name}_indices", at))
        place = int(indices[0]) if indices.size == 1 else at
        if name in vectors and place < len(extents) and vectors[name].size == extents[place]:
            found.setdefault(place, vectors[name])
    for item in vectors.values():
        place = int(np.ravel(item.attrs.get("axis", 0))[0]) - 1
        if 0 <= place < len(extents) and item.size == extents[place]:
            found.setdefault(place, item)
    if not found:
        # Vectors of a layout without attributes: those whose length only one dimension has.
        usual = [
            vectors[name] for name in ("energy", "photon_energy", "sample_x", "sample_y") if name in vectors
        ]
        for item in usual:
            fitting = [at for at, extent in enumerate(extents) if extent == item.size]
            if len(fitting) == 1:
                found.setdefault(fitting[0], item)
    places = [at for at, extent in enumerate(extents) if extent != 1] if len(extents) > 3 else [0, 1, 2]
    first, second, third = ([found.get(at) for at in places] + [None] * 3)[:3]
    return first, second, third


def _axes_named(group: Any, dataset: Any) -> list[str]:
    for owner in (group, dataset):
        stated = owner.attrs.get("axes")
        if stated is None:
            continue
        if isinstance(stated, np.ndarray):
            return [str(hdf5.text(each)) for each in stated.ravel()]
        return [each.strip() for each in re.split(r"[:,]", str(hdf5.text(stated)).strip("[] "))]
    return []


# Which dimension is which.


def _leaf(vector: Any) -> str:
    return str(vector.name).rpartition("/")[2].lower()


def _unit(vector: Any) -> str:
    return (hdf5.text(vector.attrs.get("units", vector.attrs.get("unit"))) or "").strip()


def _along(vector: Any) -> str | None:
    """'x' or 'y' where the name of a vector says that pixels lie along it."""
    named = [letter for letter, pattern in _ALONG.items() if pattern.fullmatch(_leaf(vector))]
    return named[0] if len(named) == 1 else None


def _is_spectral(vector: Any) -> bool:
    unit = _unit(vector)
    if _along(vector) is not None and axis.unit_named(unit) != "cm1":
        return False
    known = axis.unit_named(unit) is not None or unit.lower() in _EV_PER_UNIT
    means = axis_names.meaning(_leaf(vector))
    return known or means is not None or axis_names.plain(_leaf(vector)) in _ENERGIES


def _order(signal: _Signal, axes: str | None, path: Path) -> tuple[tuple[int, int, int], str]:
    """Places of y, x and c among the dimensions, and the words for it."""
    names = ", ".join("?" if each is None else _leaf(each) for each in signal.axes)
    if axes is not None:
        return named_arrays.axes_order(axes, path), f"({', '.join(axes)}) in the file, as axes= says"
    spectral = [at for at, each in enumerate(signal.axes) if each is not None and _is_spectral(each)]
    interpretation = hdf5.text(signal.dataset.attrs.get("interpretation"))
    if not spectral and interpretation in ("spectrum", "image"):
        spectral = [2 if interpretation == "spectrum" else 0]
    if len(spectral) != 1:
        raise CubeError(
            f"{path}: of the dimensions ({names}) of {signal.name}, shape {signal.dataset.shape}, {len(spectral)} are "
            "spectral; required is one. Say what they are with axes=, such as axes='cyx' for energies first."
        )
    first, second = (at for at in range(3) if at not in spectral)
    along = [None if each is None else _along(each) for each in (signal.axes[first], signal.axes[second])]
    if along in (["x", "y"], ["x", None], [None, "y"]):
        first, second = second, first
    return (first, second, spectral[0]), f"({names}) in the file"


def _by_name(signal: _Signal, at: int, kind: str) -> Any | None:
    """The one vector as long as a dimension whose name says that it belongs to y, x or the spectrum ('c')."""
    extent = _without_ones(signal.dataset.shape)[at]
    fitting = [
        each
        for each in signal.vectors.values()
        if each.size == extent and (_is_spectral(each) if kind == "c" else _along(each) == kind)
    ]
    return fitting[0] if len(fitting) == 1 else None


# What the axes say.


def _spectral_axis(
    vector: Any | None, path: Path, *, is_stxm: bool
) -> tuple[np.ndarray | None, str, dict[str, Any]]:
    """The axis in cm⁻¹, how it is stated, and the energies where these are no wavenumbers."""
    if vector is None:
        found, stated = axis.settle(None, None, path, "the spectral dimension has no vector")
        return found, stated, {}
    values, unit, name = (
        hdf5.load(vector, path).astype(np.float64),
        _unit(vector),
        str(vector.name).strip("/"),
    )
    per_unit = _EV_PER_UNIT.get(unit.lower())
    if per_unit is None and not unit and is_stxm and axis_names.plain(_leaf(vector)) in _ENERGIES:
        per_unit, unit = 1.0, "eV, as NXstxm defines it"
    if per_unit is None:
        means = axis_names.meaning(_leaf(vector))
        unit = unit or (means.unit or "" if means is not None else "")
        return axis.to_wavenumbers_cm1(values, unit, path), f"{name}, {unit} in the file", {}
    if not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise CubeError(f"{path}: {name} holds energies that are not finite or not positive. Damaged.")
    energies = values * per_unit
    if energies.max() * _CM1_PER_EV <= _MOST_CM1:
        found = axis.to_wavenumbers_cm1(energies * _CM1_PER_EV, "cm-1", path)
        return found, f"{name}, {unit} in the file, × {_CM1_PER_EV * per_unit:g} cm⁻¹", {}
    known = {CHANNEL_NAME: "photon energy in eV", CHANNEL_VALUES: tuple(energies.tolist())}
    return None, f"{name}, {unit} in the file: X-rays, no wavenumbers", known


def _pixel_size_um(rows: Any | None, columns: Any | None, path: Path) -> tuple[float | None, str]:
    """Step of the positions of pixels, where it is even."""
    sizes, words = [], []
    for name, vector in (("y", rows), ("x", columns)):
        if vector is None or vector.size < 2:
            continue
        unit = _unit(vector).lower().replace("µ", "u").replace("μ", "u")
        unit = _UNIT_WORDS.get(unit.rstrip("s"), _UNIT_WORDS.get(unit, unit))
        steps = np.abs(np.diff(hdf5.load(vector, path).astype(np.float64)))
        if unit not in _UM_PER_UNIT:
            return (
                None,
                f"positions of no stated length ({unit or 'no unit'}); give pixel_size_um= where you know it",
            )
        step = float(np.median(steps))
        if not np.all(np.abs(steps - step) <= _EVEN_WITHIN * step):
            return None, f"positions along {name} are not evenly spaced"
        sizes.append(step * _UM_PER_UNIT[unit])
        words.append(f"{step:g} {unit} along {name}")
    if not sizes:
        return None, "not stated"
    return pixel_size.judged(sizes, f"positions every {', '.join(words)}", most_um=_LARGEST_PIXEL_UM)
