"""Masks: which pixels of an image count, from pictures, arrays and outlines, with the words for how they were read.

A mask has two values. What lies inside is the one that is not 0 (black), and nothing is guessed beyond that: grey
levels, labels, −1 and 1, or a palette whose numbers and colours disagree are refused until the caller says what
counts. Values are those that a viewer shows: the colours of a palette, and white for 0 where a TIFF says so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from compseg_jax.readers import axis_names, checks, drawn_outlines, named_arrays
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.drawn_outlines import DISEASED, HEALTHY
from compseg_jax.readers.formats import array, hdf5, image, matlab
from compseg_jax.readers.picture import Picture
from compseg_jax.readers.recognition import read, recognise

DRAWN_SUFFIXES = (".geojson", ".json")
_SHOWN = 6
"""Values or colours that a message lists."""
_ROWS_AT_ONCE = 1024
_COLOUR = re.compile(r"#([0-9a-f]{6}|[0-9a-f]{12})", re.IGNORECASE)
# Share of the image's extent by which outlines may leave it: brushes do, another resolution is farther off.
_MARGIN = 0.1
_OPENERS: dict[str, Callable[[Path], AbstractContextManager[named_arrays.Contents]]] = {
    "array": array.opened,
    "matlab": matlab.opened,
    "hdf5": hdf5.opened,
}
# Read like their images, so that a mask lies as its picture does; a slice or frame is named as for these.
_VOLUMES = ("nifti", "dicom")
# Names that an array of a file goes by where it is the mask, without signs and capitals.
_ARRAY_NAMES = ("mask", "reference", "tissue", "annotation", "segmentation", "label", "labels", "bw", "gt")


class NoneInsideError(CubeError):
    """Outlines are all of other classes than those that lie inside: an empty mask, or a name that is not right."""


@dataclass(frozen=True)
class MaskRule:
    """What counts in masks that do not say it themselves.

    Attributes:
      mask_values: numbers (`255`, `-1`, `0.5`) or colours (`#ff0000`) that lie inside; empty for the one that is
        not 0.
      mask_threshold: values above it lie inside; None for no threshold.
      mask_names: classes of annotations, or the one array, slice or frame (`slice:12`) of a file that holds several;
        empty for the only one.
      is_of_disease: whether a mask marks disease, so that annotations of 'diseased' and 'healthy', as the viewer draws
        them, need no name: healthy ones are cut out of the diseased.
    """

    mask_values: tuple[str | int | float, ...] = ()
    mask_threshold: float | None = None
    mask_names: tuple[str, ...] = ()
    is_of_disease: bool = False


NO_RULE = MaskRule()
"""Two values, one of them 0, of one class or array."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask and how it was read.

    Attributes:
      inside: True where a pixel counts, shape (y, x).
      words: which values were found and which lie inside, for people.
    """

    inside: Bool[np.ndarray, "y x"]
    words: str


def read_mask(
    path: str | os.PathLike[str], *, shape: tuple[int, int] | None = None, rule: MaskRule = NO_RULE
) -> Mask:
    """Reads a reference or tissue mask: an image, .npy, an array of .npz, MATLAB or HDF5, NIfTI, DICOM,
    or outlines (GeoJSON).

    Args:
      path: the file.
      shape: rows and columns of the image that it belongs to; outlines need them, unless they state those that they
        were drawn on, and of several arrays of a file the one of this shape is taken.
      rule: what counts, where the file does not say it.

    Returns:
      the mask, turned as its picture is shown.

    Raises:
      FileNotFoundError: if there is no such file.
      CubeError: if the file is damaged, holds NaN, more than two values (the message lists them), or two of which
        none is 0, and the rule does not say which count.
    """
    path = Path(path)
    if rule.mask_values and rule.mask_threshold is not None:
        raise CubeError(f"{path}: found mask_values= and mask_threshold=; give one of them.")
    if path.suffix.lower() in DRAWN_SUFFIXES and path.is_file():
        return _drawn(path, shape, rule)
    found = recognise(path)
    if found.module == "image":
        try:
            return _of_picture(image.read_picture(path), rule, path)
        except checks.NotOpaqueError as error:
            raise CubeError(
                f"{path}: the mask is an overlay, parts of which are transparent; that does not say what lies inside. "
                "Save it without alpha, black outside and white inside."
            ) from error
    if found.module in _VOLUMES:
        part = rule.mask_names[0] if rule.mask_names else None
        return _of_array(
            read(path, variable=part).absorbance, f"{found.name} {part or ''}".strip(), rule, path
        )
    if found.module not in _OPENERS:
        raise CubeError(
            f"{path}: {found.name} is not read as a mask; save it as PNG, TIFF, .npy, .npz, .mat or GeoJSON."
        )
    with checks.Reading(path, found.name):
        if path.suffix.lower() == ".npy":
            return _of_array(array.load(path), "array", rule, path)
        with _OPENERS[found.module](path) as contents:
            name = _array_name(contents, shape, rule, path)
            values = contents.arrays[name].load()
        return _of_array(values, f"array {name}", rule, path)


def _array_name(
    contents: named_arrays.Contents, shape: tuple[int, int] | None, rule: MaskRule, path: Path
) -> str:
    """The array that the rule names, or the only one that can be a mask."""
    flat = {
        name: each for name, each in contents.arrays.items() if len(each.shape) == 2 and min(each.shape) > 1
    }
    if rule.mask_names:
        wanted = [name for name in rule.mask_names if name in contents.arrays]
        if len(wanted) == 1:
            return wanted[0]
        raise CubeError(
            f"{path}: found {', '.join(contents.arrays) or 'no array'}; {len(wanted)} of them is named by "
            f"mask_names={','.join(rule.mask_names)}. Name one."
        )
    fitting = [name for name, each in flat.items() if shape is None or each.shape == shape]
    called = [name for name in fitting if axis_names.plain(name) in _ARRAY_NAMES]
    chosen = fitting if len(fitting) == 1 else called
    if len(chosen) != 1:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in contents.arrays.items()) or "no array"
        wanted_shape = "(y, x)" if shape is None else str(shape)
        raise CubeError(
            f"{path}: found {shapes}; required is one array of shape {wanted_shape}. Name the mask with mask_names=."
        )
    return chosen[0]


def _of_picture(picture: Picture, rule: MaskRule, path: Path) -> Mask:
    """Reads what a viewer shows."""
    values, words = picture.values, str(picture.known.get("format", "image"))
    if picture.white_is_zero:
        if picture.brightest is None:
            raise CubeError(
                f"{path}: says that 0 is white, but {values.dtype} has no black end. Save it with 0 as black."
            )
        values = ~values if values.dtype.kind == "b" else values.dtype.type(picture.brightest) - values
        words += " that shows 0 as white (values as shown)"
    if picture.indices is not None:
        words += " palette"
    turn = str(picture.known.get("orientation", ""))
    words += f", {turn}" if turn.startswith("turned") else ""
    mask = _of_array(values, words, rule, path, brightest=picture.brightest)
    if picture.indices is not None and not (rule.mask_values or rule.mask_threshold is not None):
        by_number = picture.indices != 0
        if not np.array_equal(by_number, mask.inside):
            raise CubeError(
                f"{path}: by the colours of its palette {np.count_nonzero(mask.inside)} pixels lie inside "
                f"({mask.words}), by the numbers of these colours {np.count_nonzero(by_number)}; which is meant is "
                "not stated. Name the colour that lies inside, such as mask_values='#000000'."
            )
    return mask


def _of_array(
    values: np.ndarray, words: str, rule: MaskRule, path: Path, *, brightest: int | None = None
) -> Mask:
    """Reads an array (y, x) or (y, x, 1 or 3); `brightest` is the white of a picture's bits."""
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3)):
        raise CubeError(
            f"{path}: found a mask of shape {values.shape}; required is (y, x), one value or colour a pixel."
        )
    if values.dtype.kind not in "fiub":
        raise CubeError(f"{path}: found a mask of {values.dtype}; required are real numbers.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise CubeError(
            f"{path}: the mask holds NaN or infinite values; required are numbers, zero outside and not zero inside."
        )
    levels = _Levels.of(values, path, brightest)
    inside, which = levels.inside(rule)
    return Mask(inside, f"{words}: {which}")


@dataclass(frozen=True, eq=False)
class _Levels:
    """What a mask holds, one number a pixel (y, x): its value, or the bits of its colour, black being 0."""

    numbers: np.ndarray
    path: Path
    brightest: int | None = None
    colour_bits: int = 0
    """Bits of each part of a colour; 0 for values."""

    @classmethod
    def of(cls, values: np.ndarray, path: Path, brightest: int | None) -> _Levels:
        """Numbers of values (y, x), (y, x, 1), of greys and of colours (y, x, 3)."""
        if values.ndim == 2 or values.shape[2] == 1:
            return cls(np.asarray(values).reshape(values.shape[:2]), path, brightest)
        red, green, blue = (np.asarray(values[:, :, channel]) for channel in range(3))
        if np.array_equal(red, green) and np.array_equal(red, blue):
            return cls(red, path, brightest)
        if values.dtype.kind not in "ub" or values.dtype.itemsize > 2:
            raise CubeError(
                f"{path}: found a mask of three channels of {values.dtype}; required is one value a pixel, or colours "
                "of 8 or 16 bits."
            )
        bits = 8 * values.dtype.itemsize
        codes = red.astype(np.int64) << 2 * bits | green.astype(np.int64) << bits | blue.astype(np.int64)
        return cls(codes, path, brightest, bits)

    def inside(self, rule: MaskRule) -> tuple[np.ndarray, str]:
        """Which pixels count, and the words for it."""
        found = _distinct(self.numbers)
        if rule.mask_threshold is not None:
            return self._above(rule.mask_threshold, found)
        if rule.mask_values:
            return self._told(tuple(str(value) for value in rule.mask_values), found)
        if found.size > 2:
            raise CubeError(f"{self.path}: {self._too_many(found)}")
        if found.min() < 0 or (found.size == 2 and found.min() != 0):
            likely = found[0] if self._is_white(found[-1]) else found[-1]
            number = "the two values" if found.size == 2 else "only the value"
            what = number.replace("value", "colour") if self.colour_bits else number
            outside = "neither of them 0" if found.size == 2 else "below 0"
            raise CubeError(
                f"{self.path}: found {what} {self._listed(found)}, {outside}; a mask has 0 outside. Say which lies "
                f"inside, such as mask_values={self._typed(likely)}."
            )
        if found.size == 1 and found[0] not in (0, 1, 255, self.brightest) and not self._is_white(found[0]):
            raise CubeError(
                f"{self.path}: found only {self._named(found[0])}, in every pixel; whether that is inside is not "
                f"stated. Say so with mask_values={self._typed(found[0])}, or name another value."
            )
        which = f"{self._named(found[-1])} is inside" if found[-1] else "no pixel is inside"
        return self.numbers != 0, f"{self._listed(found)}; {which}"

    def _told(self, values: tuple[str, ...], found: np.ndarray) -> tuple[np.ndarray, str]:
        wanted = {number for text in values for number in self._numbers_of(text)}
        present = wanted & {float(number) for number in found}
        # A map of labels may lack one of them; a mask of 0 and 1 instead of 0 and 255 is another thing.
        is_other_scale = bool(wanted & {1.0, 255.0}) and float(found[-1]) in (1.0, 255.0)
        if not present and (is_other_scale or 0 not in found):
            raise CubeError(
                f"{self.path}: found {self._listed(found)}, none of mask_values={','.join(values)}. Name those that "
                f"lie inside in all masks, such as mask_values={','.join((*values, self._typed(found[-1])))}."
            )
        listed = f"{self._listed(found)}; inside is {' or '.join(values)}, as told"
        return np.isin(self.numbers, np.asarray(sorted(wanted), self._exact())), listed

    def _above(self, threshold: float, found: np.ndarray) -> tuple[np.ndarray, str]:
        if self.colour_bits:
            raise CubeError(
                f"{self.path}: found colours ({self._listed(found)}), which have no threshold; found "
                f"mask_threshold={threshold:g}. Give a mask in grey, or name colours with mask_values=."
            )
        if found.size > 1 and (found[0] > threshold or found[-1] <= threshold):
            raise CubeError(
                f"{self.path}: all of its values ({self._listed(found)}) lie on one side of mask_threshold="
                f"{threshold:g}. Give a threshold between them."
            )
        return self.numbers > threshold, f"{self._listed(found)}; inside is what lies above {threshold:g}"

    def _exact(self) -> np.dtype:
        return np.dtype(np.int64 if self.colour_bits else np.float64)

    def _numbers_of(self, text: str) -> list[float]:
        """The numbers that a value or colour as typed stands for here."""
        colour = _COLOUR.fullmatch(text.strip())
        if colour is not None:
            digits = len(colour[1]) // 3
            parts = [int(colour[1][at : at + digits], 16) for at in range(0, 3 * digits, digits)]
        else:
            try:
                number = float(text)
            except ValueError as error:
                raise CubeError(
                    f"{self.path}: found mask_values={text}; required are numbers, or colours such as #ff0000."
                ) from error
            if not self.colour_bits:
                # White of one bit is 1 here and 255 elsewhere.
                return [1.0 if self.brightest == 1 and number == 255 else number]
            parts = [int(number)] * 3
        if self.colour_bits:
            red, green, blue = parts
            return [red << 2 * self.colour_bits | green << self.colour_bits | blue]
        if len(set(parts)) > 1:
            raise CubeError(f"{self.path}: found mask_values={text} for a mask in grey; name its values.")
        return self._numbers_of(str(parts[0]))

    def _is_white(self, number: float) -> bool:
        return self.colour_bits > 0 and bool(number == 2 ** (3 * self.colour_bits) - 1)

    def _named(self, number: float) -> str:
        if self.colour_bits:
            return f"#{int(number):0{3 * self.colour_bits // 4}x}"
        return f"{number:g}" if not float(number).is_integer() else str(int(number))

    def _typed(self, number: float) -> str:
        """A value as it is typed: # begins a comment in a shell."""
        return f"'{self._named(number)}'" if self.colour_bits else self._named(number)

    def _listed(self, found: np.ndarray) -> str:
        shown = [self._named(number) for number in found[:_SHOWN]]
        if found.size > _SHOWN:
            return f"{', '.join(shown)} … {self._named(found[-1])}"
        return " and ".join(shown) if len(shown) < 3 else ", ".join(shown)

    def _too_many(self, found: np.ndarray) -> str:
        what = "colours" if self.colour_bits else "values"
        count = f"found {found.size} {what} ({self._listed(found)}); a mask has two"
        low, high = found[0], found[-1]
        if self.colour_bits:
            return (
                f"{count}. Is it a picture, or the mask drawn over one? Export the mask alone, or say which colours "
                f"lie inside, such as mask_values={self._typed(high)}."
            )
        half = float(low) + (float(high) - float(low)) / 2
        middle = f"mask_threshold={self._named(np.floor(half) if high > 2 else half)}"
        if not np.array_equal(found, np.round(found)):
            return f"{count}. Are they probabilities? Say from where on they lie inside, such as {middle}."
        if found.size <= 32 and self.path.suffix.lower() not in (".jpg", ".jpeg") and high < 255:
            return f"{count}. Are they labels? Say which lie inside, such as mask_values={self._typed(high)}."
        return (
            f"{count}. Grey levels come from JPEG, smoothing and resizing; save the mask anew without these, or say "
            f"from where on they lie inside, such as {middle}, or which do, such as mask_values={self._typed(high)}."
        )


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """The different numbers in order; quick where there are one or two, and for bytes."""
    if numbers.dtype.kind in "bu" and numbers.dtype.itemsize <= 2:
        counts = np.zeros(2 ** (8 * numbers.dtype.itemsize), np.int64)
        for top in range(0, numbers.shape[0], _ROWS_AT_ONCE):
            part = numbers[top : top + _ROWS_AT_ONCE].astype(np.uint16)
            counts += np.bincount(part.ravel(), minlength=counts.size)
        return np.flatnonzero(counts).astype(np.float64)
    first = numbers.flat[0]
    others = numbers[numbers != first]
    if not others.size:
        return np.array([first], np.float64)
    if np.all(others == others[0]):
        return np.array(sorted((first, others[0])), np.float64)
    return np.unique(numbers).astype(np.float64)


def _drawn(path: Path, shape: tuple[int, int] | None, rule: MaskRule) -> Mask:
    """Reads outlines; what they reach beyond the image is cut off, where it is little."""
    if shape is None:
        raise CubeError(
            f"{path}: outlines are no pixels; give the rows and columns of the image with shape=."
        )
    if rule.mask_threshold is not None or rule.mask_values:
        raise CubeError(f"{path}: outlines have no values; leave mask_values= and mask_threshold= out.")
    try:
        drawn = json.loads(path.read_text(encoding="utf-8-sig"))
        found = drawn_outlines.classes(drawn)
        shape = drawn_outlines.stated_size(drawn) or shape
        if found and rule.is_of_disease and not rule.mask_names and found.keys() <= {DISEASED, HEALTHY}:
            mask = drawn_outlines.disease_mask(drawn, shape)
            return Mask(mask, f"GeoJSON: {drawn_outlines.listed(drawn)}; healthy is cut out of diseased")
        if len(found) > 1 and not rule.mask_names:
            raise CubeError(
                f"{path}: found the classes {drawn_outlines.listed(drawn)}; a mask is of one. Name those that lie "
                f"inside with mask_names={shlex.quote(next(iter(found)))}."
            )
        areas = drawn_outlines.polygons(drawn, rule.mask_names or None)
        mask = drawn_outlines.geojson_to_mask(drawn, shape, classification=rule.mask_names or None)
    except CubeError:
        raise
    except (ValueError, RecursionError) as error:
        words = str(error).replace("Name one of these", "Name one of these with mask_names=")
        is_of_others = isinstance(error, drawn_outlines.NoneOfClassError)
        raise (NoneInsideError if is_of_others else CubeError)(f"{path}: {words}") from error
    if not areas:
        return Mask(mask, f"GeoJSON: {drawn_outlines.listed(drawn)}; no area is inside")
    corners = np.concatenate([ring for rings in areas for ring in rings])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    height, width = shape
    beyond = max(-left / width, -top / height, (right - width) / width, (bottom - height) / height)
    if beyond > _MARGIN or not mask.any():
        raise CubeError(
            f"{path}: its outlines reach from x {left:g} to {right:g} and y {top:g} to {bottom:g}, the image from 0 to "
            f"{width} and 0 to {height} pixels. They belong to another image or another resolution of it; export them "
            "from this one."
        )
    names = ", ".join(rule.mask_names or found)
    return Mask(mask, f"GeoJSON: areas of {names} are inside")
