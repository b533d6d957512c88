"""How a file is read where it does not say so itself: one set of options for every command that reads files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers.axis_file import read_axis
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.transmittance import KINDS, Kind


@dataclass(frozen=True, eq=False)
class Instructions:
    """What the caller says of a file; the keyword arguments of ``readers.read``.

    Attributes:
      wavenumbers_cm1: the axis (c,), used instead of the one in the file.
      variable: name of the array to read, of files that hold several.
      axes: order of the axes in the file, three letters of y, x and c.
      level: resolution level of a whole slide, 0 the finest.
      pixel_size_um: edge of a pixel in µm, used instead of the one in the file.
      transmittance: 'percent' or 'fraction' where the values are transmittance, 'none' where they are not, whatever
        the file states.
    """

    wavenumbers_cm1: np.ndarray | None = None
    variable: str | None = None
    axes: str | None = None
    level: int | None = None
    pixel_size_um: float | None = None
    transmittance: Kind | None = None

    def keywords(self) -> dict[str, Any]:
        """Those that are given, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Those that are given, as JSON holds them."""
        given = self.keywords()
        if self.wavenumbers_cm1 is not None:
            given["wavenumbers_cm1"] = [float(value) for value in self.wavenumbers_cm1]
        return given

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Instructions:
        """The inverse of ``to_json``."""
        axis = values.get("wavenumbers_cm1")
        others: dict[str, Any] = {each.name: values.get(each.name) for each in fields(cls)}
        return cls(**{**others, "wavenumbers_cm1": None if axis is None else np.asarray(axis, np.float64)})


NOTHING_SAID = Instructions()
"""Everything is left to the file."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The same on the command line."""

    axis: Path | None = None
    """Text file or .npy with one wavenumber in cm⁻¹ for each channel, used instead of the files' own axis; of a .npz,
    MATLAB or HDF5 file its one vector of an axis's name."""
    variable: str | None = None
    """Array to read, in files that hold several (.npz, MATLAB, HDF5, .ptir, zarr); of a volume a slice or frame, such
    as slice:12 (NIfTI) or frame:3 (DICOM)."""
    axes: str | None = None
    """Order of the axes in the files where they do not state it: three letters of y, x and c, such as yxc or cyx."""
    level: int | None = None
    """Resolution level of whole slides: 0 is the finest, each further one coarser."""
    pixel_size: float | None = None
    """Edge of a pixel in µm, used instead of what the files state."""
    transmittance: Kind | None = None
    """Where files do not say it: their values are transmittance in percent or as a fraction (0 to 1), of which
    absorbance is made, or none (absorbance, or something else)."""

    @cached_property
    def instructions(self) -> Instructions:
        """The options as ``readers.read`` takes them; raises CubeError where the file of the axis is none."""
        axis = None if self.axis is None else read_axis(self.axis)
        return Instructions(axis, self.variable, self.axes, self.level, self.pixel_size, self.transmittance)

    @property
    def words(self) -> str:
        """Those that are given, as they are typed; each word begins with a space."""
        given = {option: getattr(self, name) for name, option in zip(READING, OPTIONS.values(), strict=True)}
        words = [
            word for option, value in given.items() if value is not None for word in (option, str(value))
        ]
        return "".join(f" {shlex.quote(word)}" for word in words)


READING = tuple(each.name for each in fields(ReadingOptions))
"""The fields of :class:`ReadingOptions`: a heading of every command that reads files."""
OPTIONS = {
    "wavenumbers_cm1": "--axis",
    "variable": "--variable",
    "axes": "--axes",
    "level": "--level",
    "pixel_size_um": "--pixel-size",
    "transmittance": "--transmittance",
}
"""The option of a command that stands for each keyword of ``readers.read``."""
_VALUES = {
    "--axis": "FILE",
    "--variable": "NAME",
    "--axes": "ORDER",
    "--level": "N",
    "--pixel-size": "UM",
    "--transmittance": "percent|fraction|none",
}
_KEYWORD = re.compile(rf"\b({'|'.join(OPTIONS)})=(?:(['\"])([^'\"]*)\2|(-?[0-9][0-9.]*[0-9]|[0-9]))?")


def in_command_words(message: str) -> str:
    """A message of a reader with the command's options in place of Python's keywords.

    >>> in_command_words("Name one with variable=.")
    'Name one with --variable NAME.'
    >>> in_command_words("found axes='yxc'; leave it out")
    'found --axes yxc; leave it out'
    """

    def option(match: re.Match[str]) -> str:
        name = OPTIONS[match[1]]
        value = match[3] if match[2] else match[4]
        return f"{name} {value or _VALUES[name]}"

    return _KEYWORD.sub(option, message)


def check_instructions(given: Instructions, path: Path) -> None:
    """Refuses what no file can be read by.

    Raises:
      CubeError: naming the keyword, the value and what is allowed.
    """
    if given.axes is not None and sorted(given.axes.lower()) != ["c", "x", "y"]:
        raise CubeError(
            f"{path}: found axes={given.axes!r}; required are the letters y, x and c in the file's order, such as "
            "axes='yxc' or axes='cyx'."
        )
    if given.level is not None and given.level < 0:
        raise CubeError(f"{path}: found level={given.level}; required is 0 (the finest) or more.")
    if given.transmittance not in (None, *KINDS):
        raise CubeError(
            f"{path}: found transmittance={given.transmittance!r}; required is one of {', '.join(KINDS)}."
        )
    if given.pixel_size_um is not None and not 0 < given.pixel_size_um < np.inf:
        raise CubeError(f"{path}: found pixel_size_um={given.pixel_size_um}; required is a length in µm.")
