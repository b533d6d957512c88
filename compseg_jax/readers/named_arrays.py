"""Which of a file's named arrays is the cube and which its axis: one set of rules for .npz, MATLAB, HDF5 and zarr.

1. The cube is the array named by the caller, else the one called `absorbance`, else the only one of three
   dimensions; where several have three, the only one with an extent as long as a spectral axis of the file.
2. The axis is a vector by one of the names in `axis_names`, in the cube's own group first, that is as long as an
   extent of the cube. Names of wavenumbers go before those of wavelengths, and these before general ones like `x`.
   Its unit is that of its name, an attribute, or a text beside it; a general name without a unit counts only where
   its values can be nothing but wavenumbers.
3. The extent as long as the axis is the spectral one, the last where several are; the other two are y and x in the
   order in which they are stored. Where the caller names the file's axes, these hold instead.
4. Spectra in rows become an image where the file says where their pixels are (`unfolded`).
5. Without an axis, few channels are those of an ordinary image; more are refused, or kept and said to be none.

Whatever was chosen is said in the words for the provenance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, axis_names, checks, ignored_value, pixel_size, unfolded
from compseg_jax.readers.cube import MOST_COLOURS, CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray

_SHOWN = 20
_NO_NAME = "no vector in the file has the name of a spectral axis"
# A shorter vector beside an array says little by its length.
_LEAST_TELLING = 5


@dataclass(frozen=True)
class Chosen:
    """A cube, its axis, and the words for its provenance.

    Attributes:
      values: shape (y, x, c), as stored.
      wavenumbers_cm1: shape (c,), None for an ordinary image.
      name: full name of the array.
      provenance: `variable`, `axis`, `direction`, `axes`, `stored_type`.
    """

    values: np.ndarray
    wavenumbers_cm1: np.ndarray | None
    name: str
    provenance: dict[str, Any]


def find(
    contents: Contents,
    path: Path,
    *,
    variable: str | None = None,
    axes: str | None = None,
    given: np.ndarray | None = None,
    refuse_features: bool = True,
) -> Chosen:
    """Finds the cube and its axis by the rules above.

    Args:
      contents: what the file holds.
      path: the file, for messages.
      variable: the name of the cube, None for the rules.
      axes: the file's axes in its order, a permutation of 'yxc'; None for the rules.
      given: the caller's axis, used instead of the file's.
      refuse_features: whether more channels than an image has need an axis.

    Raises:
      CubeError: if no or several arrays fit, or there is no axis where one is needed.
    """
    order = None if axes is None else axes_order(axes, path)
    contents = unfolded.folded(contents, path)
    name = _cube_name(contents, variable, path)
    chosen = contents.arrays[name]
    shape = _without_ones(chosen.shape)
    is_picture = len(shape) == 2 and order is None and not refuse_features
    if is_picture:
        shape = (*shape, 1)
    if len(shape) != 3:
        raise CubeError(
            f"{path}: {name!r} has the shape {chosen.shape}; a cube has three dimensions (y, x, c). Save it so, or "
            "name another array with variable=."
        )
    found: np.ndarray | None
    if given is not None:
        found, stated = axis.settle(None, given, path, "")
    else:
        lengths = shape if order is None else (shape[order[2]],)
        taken = _axis(contents, name, lengths, path, is_named=variable is not None)
        found, stated = taken if isinstance(taken, tuple) else (None, taken)
    if is_picture and found is not None and found.size > 1:
        raise CubeError(
            f"{path}: {name!r} has the shape {chosen.shape} beside {found.size} wavenumbers; a cube has three. "
            "If it holds one spectrum in each row, save it with its pixels in two dimensions (y, x, c)."
        )
    if order is not None:
        if found is not None and found.size != shape[order[2]]:
            raise CubeError(
                f"{path}: found {found.size} wavenumbers for {shape[order[2]]} channels of {name!r} (axes={axes!r} of "
                f"the shape {shape}). Correct axes=, or give the axis that belongs to it with wavenumbers_cm1=."
            )
        said = f"({', '.join(axes or '')}) in the file, as axes= says"
    else:
        dims = chosen.dims if len(chosen.dims) == len(chosen.shape) == 3 else ()
        order, said = _stated_order(dims, shape, found) or _order(shape, found, name, path)
    if found is None:
        can_be_first = axes is None and shape[0] <= MOST_COLOURS < shape[2]
        first = " Where its channels stand first, say so with axes='cyx'." if can_be_first else ""
        stated = _without_axis(
            contents, name, shape[order[2]], stated, path, refuse_features=refuse_features, more=first
        )
    values = chosen.load().reshape(shape).transpose(order)
    provenance = {
        "variable": name,
        "axis": stated,
        "direction": axis.direction(found),
        "axes": said,
        "stored_type": chosen.stored_type or str(values.dtype),
        **(chosen.said or {}),
    }
    return Chosen(values, found, name, provenance)


def only_axis(contents: Contents, path: Path) -> np.ndarray:
    """The axis in cm⁻¹, shape (c,), that a file given as one holds; a vector without a unit is taken as cm⁻¹.

    Raises:
      CubeError: if no vector has the name of an axis, or several of the best names differ.
    """
    candidates = _candidates(contents, path, None)
    best = [each for each in candidates if each.rank == min(each.rank for each in candidates)]
    found = [
        axis.to_wavenumbers_cm1(each.array.load(), each.unit or ("cm-1" if each.rank == 2 else ""), path)
        for each in best
    ]
    if not found or not all(axis.same_axis(found[0], other) for other in found[1:]):
        raise CubeError(
            f"{path}: found {', '.join(each.name for each in best) or _listed(contents)}; required is one vector with "
            "the name of a spectral axis, such as `wavenumbers`. Save the axis alone, as text or .npy."
        )
    return found[0]


def axes_order(axes: str, path: Path) -> tuple[int, int, int]:
    """Places of y, x and c among a file's axes, for `transpose`.

    Raises:
      CubeError: if the letters are not y, x and c, each once.
    """
    letters = axes.lower()
    if sorted(letters) != ["c", "x", "y"]:
        raise CubeError(
            f"{path}: found axes={axes!r}; required are the letters y, x and c in the order of the file's axes, such "
            "as axes='cyx' for bands first."
        )
    return letters.index("y"), letters.index("x"), letters.index("c")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the extents of one that make it more than three."""
    kept = list(shape)
    while len(kept) > 3 and 1 in kept:
        kept.remove(1)
    return tuple(kept)


def _cube_name(contents: Contents, variable: str | None, path: Path) -> str:
    arrays = contents.arrays
    if variable is not None:
        name = variable.strip("/")
        if name in contents.unread:
            raise CubeError(f"{path}: {name!r} is {contents.unread[name]}.")
        if name not in arrays:
            raise CubeError(
                f"{path}: found no array {variable!r}, only {_listed(contents)}. Name one of them with variable=."
            )
        return name
    called = [
        name for name in arrays if axis_names.plain(name) == "absorbance" and len(arrays[name].shape) > 1
    ]
    cubes = called or [name for name, array in arrays.items() if len(_without_ones(array.shape)) == 3]
    if len(cubes) > 1:
        spectral = [name for name in cubes if _has_axis(arrays, name)]
        cubes = spectral if len(spectral) == 1 else cubes
    if len(cubes) != 1:
        raise CubeError(
            f"{path}: found {_listed(contents)}; required is one array `absorbance`, or only one of three dimensions. "
            f"Name it with variable=.{_hint(contents) if not cubes else ''}"
        )
    return cubes[0]


def _has_axis(arrays: Mapping[str, NamedArray], cube: str) -> bool:
    return any(
        _length(array) in arrays[cube].shape and axis_names.meaning(name) is not None
        for name, array in arrays.items()
        if _length(array)
    )


def _listed(contents: Contents) -> str:
    shapes = [f"{name} {array.shape}" for name, array in contents.arrays.items() if array.shape]
    shapes += [f"{name} ({what})" for name, what in contents.unread.items()]
    more = f" and {len(shapes) - _SHOWN} more" if len(shapes) > _SHOWN else ""
    return ", ".join(shapes[:_SHOWN]) + more or "no numbers"


def _hint(contents: Contents) -> str:
    """What to do about a map whose pixels stand in rows."""
    flat = [name for name, array in contents.arrays.items() if len(array.shape) == 2 and min(array.shape) > 1]
    if not flat:
        return ""
    return f" If {flat[0]!r} holds one spectrum in each row, save it with its pixels in two dimensions (y, x, c)."


def _length(array: NamedArray) -> int:
    """Length of a vector, whatever extents of one it has; 0 for other arrays."""
    extents = [extent for extent in array.shape if extent != 1]
    return extents[0] if len(extents) == 1 else 0


@dataclass(frozen=True)
class _Candidate:
    name: str
    array: NamedArray
    rank: int
    unit: str | None
    """The unit that the file states or the name implies."""


def _axis(
    contents: Contents, cube: str, lengths: tuple[int, ...], path: Path, *, is_named: bool
) -> tuple[np.ndarray, str] | str:
    """The axis in cm⁻¹ and how it is stated, or in words why there is none."""
    group = cube.rpartition("/")[0]
    candidates = _candidates(contents, path, _without_ones(contents.arrays[cube].shape))
    fitting = [each for each in candidates if _length(each.array) in lengths]
    fitting = [each for each in fitting if each.name.rpartition("/")[0] == group] or fitting
    if not fitting:
        named = [f"{each.name} of {_length(each.array)} values" for each in candidates if each.rank < 2]
        if named and is_named and lengths[-1] <= MOST_COLOURS:
            return f"{', '.join(named)} belong to another array"
        if named:
            raise CubeError(
                f"{path}: found {', '.join(named)}, but the array {cube!r} of shape {contents.arrays[cube].shape} has "
                "no extent as long. Give the axis that belongs to it with wavenumbers_cm1=."
            )
        return ""
    not_taken = []
    for rank in sorted({each.rank for each in fitting}):
        found = []
        for each in fitting:
            if each.rank != rank:
                continue
            taken = _converted(each, contents, cube, path)
            if isinstance(taken, str):
                not_taken.append(taken)
            else:
                found.append(taken)
        if found and all(axis.same_axis(found[0][0], other) for other, _ in found[1:]):
            return found[0]
        if found:
            raise CubeError(
                f"{path}: found several axes ({', '.join(each.name for each in fitting if each.rank == rank)}) with "
                "different values; give one with wavenumbers_cm1=."
            )
    return "; ".join(not_taken)


def _candidates(contents: Contents, path: Path, shape: tuple[int, ...] | None) -> list[_Candidate]:
    found = []
    for name, array in contents.arrays.items():
        means = axis_names.meaning(name)
        if means is None or not _length(array):
            continue
        stated = _stated_unit(name, array, contents)
        if stated is None:
            found.append(_Candidate(name, array, means.rank, means.unit))
            continue
        known = axis.unit_named(stated)
        if means.unit is not None and known is not None and known != axis.unit_named(means.unit):
            raise CubeError(
                f"{path}: {name!r} is called so, but its unit is stated as {stated!r}. Correct one of them, or give "
                "the axis with wavenumbers_cm1=."
            )
        if known in ("nm", "um") and not _may_be_wavelengths(name, array, contents, shape):
            continue  # where the pixels lie
        rank = means.rank if known is None else 0 if known == "cm1" else 1
        found.append(
            _Candidate(name, array, rank, stated if means.unit is None or known is not None else means.unit)
        )
    return found


def _may_be_wavelengths(
    name: str, array: NamedArray, contents: Contents, shape: tuple[int, ...] | None
) -> bool:
    """Whether a vector in nm or µm is no place of pixels: by its name, or as it fits the last extent alone."""
    if shape is None or axis_names.plain(name) not in axis_names.POSITIONS:
        return True
    fits_last_alone = _length(array) == shape[-1] and shape.count(shape[-1]) == 1
    return fits_last_alone and not _is_of_pixels(name, contents, shape)


def _stated_unit(name: str, array: NamedArray, contents: Contents) -> str | None:
    """The unit in an attribute, or in a text beside the axis that is called after it, or that only it can mean."""
    if array.unit is not None and array.unit.strip():
        return array.unit
    group, _, leaf = name.rpartition("/")
    for full, text in contents.texts.items():
        inside, _, called = full.rpartition("/")
        key = axis_names.plain(called)
        own = {axis_names.plain(leaf) + end for end in ("unit", "units")}
        if inside == group and (
            key in own or (key in ("unit", "units") and axis.unit_named(text) is not None)
        ):
            return text
    return None


def _converted(
    candidate: _Candidate, contents: Contents, cube: str, path: Path
) -> tuple[np.ndarray, str] | str:
    name, array, unit = candidate.name, candidate.array, candidate.unit
    if unit is not None:
        return axis.to_wavenumbers_cm1(array.load(), unit, path), f"{name}, {unit} in the file"
    if candidate.rank < 2:
        return axis.to_wavenumbers_cm1(array.load(), unit, path), ""
    values = array.load()
    shape = _without_ones(contents.arrays[cube].shape)
    if _is_of_pixels(name, contents, shape):
        return f"{name} was taken for the places of pixels"
    why = axis_names.taken_for_wavenumbers(values)
    if why is None or shape.count(_length(array)) > 1:
        first, last = values.ravel()[[0, -1]]
        return f"{name} ({first:g} … {last:g}) was not taken, for its unit is not stated and may be another than cm⁻¹"
    return axis.to_wavenumbers_cm1(values, "cm-1", path), f"{name}, taken as cm⁻¹ because {why}"


def _is_of_pixels(name: str, contents: Contents, shape: tuple[int, ...]) -> bool:
    """Whether a vector `x` stands beside a vector `y` that is as long as another extent of the cube."""
    group, _, leaf = name.rpartition("/")
    if axis_names.plain(leaf) not in axis_names.POSITIONS:
        return False
    partner = axis_names.plain(leaf).replace("x", "y")
    return any(
        axis_names.plain(other) == partner and other.rpartition("/")[0] == group and _length(array) in shape
        for other, array in contents.arrays.items()
    )


def _stated_order(
    dims: tuple[str, ...], shape: tuple[int, ...], found: np.ndarray | None
) -> tuple[tuple[int, int, int], str] | None:
    """Places of y, x and c by the names that the file gives its dimensions, and the words for them."""
    letters = [axis_names.letter(each) for each in dims]
    if sorted(letters) != ["c", "x", "y"] and letters.count("c") == 1:
        rest = iter("yx")
        letters = [letter if letter == "c" else next(rest) for letter in letters]
    if sorted(letters) != ["c", "x", "y"]:
        return None
    order = letters.index("y"), letters.index("x"), letters.index("c")
    if found is not None and found.size != shape[order[2]]:
        return None
    return (
        order,
        f"({', '.join(letters)}) in the file, by its dimensions {', '.join(each or '–' for each in dims)}",
    )


def _order(
    shape: tuple[int, ...], found: np.ndarray | None, name: str, path: Path
) -> tuple[tuple[int, int, int], str]:
    """Places of y, x and c, and the words for them."""
    matching = [2] if found is None else [at for at, extent in enumerate(shape) if extent == found.size]
    if found is not None and not matching:
        raise CubeError(
            f"{path}: found {found.size} wavenumbers for the array {name!r} of shape {shape}; one extent must be as "
            "long. Give the axis that belongs to it with wavenumbers_cm1=."
        )
    if matching == [0, 1]:
        first, second, third = shape
        raise CubeError(
            f"{path}: the array {name!r} of shape {shape} has two extents as long as its {first} wavenumbers, and "
            f"the last is neither. axes='cyx' reads {second} × {third} pixels, axes='ycx' reads {first} × {third}. "
            "Give the right one."
        )
    spectral = matching[-1]
    rest = [at for at in range(3) if at != spectral]
    letters = ["", "", ""]
    for at, letter in ((rest[0], "y"), (rest[1], "x"), (spectral, "c")):
        letters[at] = letter
    said = f"({', '.join(letters)}) in the file"
    if len(matching) > 1:
        said += f"; {len(matching)} extents are {shape[spectral]}; the last is taken for that of the spectra (axes=)"
    return (rest[0], rest[1], spectral), said


def _without_axis(
    contents: Contents, name: str, channels: int, why: str, path: Path, *, refuse_features: bool, more: str
) -> str:
    """The words for a cube without an axis.

    Raises:
      CubeError: if it has more channels than an image and must have an axis, or a vector that may be one is there.
    """
    as_long = [
        other
        for other, array in contents.arrays.items()
        if _length(array) == channels
        and other != name
        and (channels >= _LEAST_TELLING or axis_names.meaning(other) is not None)
    ]
    if channels <= MOST_COLOURS and not as_long:
        return f"none stated; the channels have no unit{f' ({why})' if why else ''}"
    if refuse_features or as_long:
        untold = [other for other in as_long if f"{other} (" not in why]
        beside = f"; as long as the {channels} channels is {', '.join(untold)}" if untold else ""
        image = (
            "" if refuse_features else ", or save the array alone as .npy where its channels are no spectrum"
        )
        called = [other for other in as_long if axis_names.meaning(other) is not None]
        own = (
            f" Where {called[0]} is in cm⁻¹, this file can be given as the file of the axis."
            if called
            else ""
        )
        raise axis.AxisMissingError(
            f"{path}: no spectral axis found for {name!r} ({why or _NO_NAME}{beside}). Give one with wavenumbers_cm1=, "
            f"one value in cm⁻¹ for each channel in the order of the channels{image}.{own}{more}"
        )
    return f"none found: {channels} channels without wavenumbers, as of features; wavenumbers_cm1= gives an axis{more}"


def pixel_size_um(contents: Contents) -> tuple[float | None, dict[str, str]]:
    """The size that a number `pixel_size_um` states, and the entry of the provenance; nothing where there is none."""
    for name, array in contents.arrays.items():
        if axis_names.plain(name) == "pixelsizeum" and np.prod(array.shape) in (1, 2):
            sizes = np.asarray(array.load(), np.float64).ravel()
            size, said = pixel_size.judged(list(sizes), f"{name} {', '.join(f'{one:g}' for one in sizes)}")
            return size, {"pixel_size": said}
    return None, {}


def size_in_attribute(value: Any) -> tuple[float | None, dict[str, str]]:
    """The size in an attribute `pixel_size_um`, and the entry of the provenance."""
    sizes = np.ravel(np.asarray(value))
    if sizes.dtype.kind not in "fiu":
        words = f"attribute pixel_size_um is {value!r}, no number; give pixel_size_um= where you know it"
        return None, {"pixel_size": words}
    words = f"attribute pixel_size_um {', '.join(f'{one:g}' for one in sizes)}"
    size, said = pixel_size.judged(list(sizes.astype(np.float64)), words)
    return size, {"pixel_size": said}


def as_stated(chosen: Chosen, attributes: Mapping[str, Any], path: Path) -> tuple[np.ndarray, str]:
    """Values as floats, with what the attributes of netCDF's conventions say of them, and the words for `left_out`.

    Pixels that hold `_FillValue` or `missing_value` are zero in every channel of a cube with an axis; a scale or an
    offset is named, not applied (https://cfconventions.org, section 2.5.1 and 8.1).
    """
    values, words = chosen.values, []
    for name in ("_FillValue", "missing_value"):
        stated = np.ravel(np.asarray(attributes.get(name, ())))
        ignored = None
        if stated.size == 1 and stated.dtype.kind in "fiu" and chosen.wavenumbers_cm1 is not None:
            ignored = ignored_value.of_type(float(stated[0]), values.dtype)
        if ignored is not None and not np.isnan(ignored):
            values, *pixels = ignored_value.zeroed(values, ignored, path)
            words.append(ignored_value.in_words(name, ignored, (*pixels, values.shape[0] * values.shape[1])))
            break
    packed = [
        name
        for name, neutral in (("scale_factor", 1), ("add_offset", 0))
        if name in attributes and np.any(np.asarray(attributes[name]) != neutral)
    ]
    if packed:
        words.append(f"{' and '.join(packed)}, which are not applied: the numbers are as stored")
    return checks.as_float(values, path), "; ".join(word for word in words if word)
