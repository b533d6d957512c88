"""What a tissue array is: cores with names, places and states, on a grid of rows and columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["present", "broken", "missing"]
Origin = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
STATUSES: tuple[Status, ...] = ("present", "broken", "missing")


@dataclass(frozen=True)
class DearrayOptions:
    """How cores are looked for and named."""

    rows: int = 0
    """Number of rows of the array (0: as many as are seen)."""
    columns: int = 0
    """Number of columns of the array (0: as many as are seen)."""
    core_diameter_um: float = 0.0
    """Diameter of a full core in µm (0: found); needs the pixel size of the picture."""
    letters: Literal["rows", "columns"] = "rows"
    """What is lettered: 'rows' names the core of the second row and third column B3, 'columns' C2."""
    origin: Origin = "top_left"
    """Corner of the picture where the first core lies and from which rows and columns are counted."""
    broken_below: float = 0.6
    """A core with less tissue than this share of a full core's area is broken."""
    missing_below: float = 0.15
    """A position with less tissue than this share of a full core's area is missing."""

    def __post_init__(self) -> None:
        """Refuses values that no array can have.

        Raises:
          ValueError: naming the field, the value found and the values allowed.
        """
        rules = (
            ("rows", self.rows >= 0, "0 or more"),
            ("columns", self.columns >= 0, "0 or more"),
            ("core_diameter_um", 0 <= self.core_diameter_um < math.inf, "0 µm or more"),
            ("letters", self.letters in ("rows", "columns"), "'rows' or 'columns'"),
            ("origin", self.origin in ORIGINS, " or ".join(map(repr, ORIGINS))),
            ("broken_below", 0 < self.broken_below <= 1, "above 0, at most 1"),
            ("missing_below", 0 < self.missing_below <= self.broken_below, "above 0, at most broken_below"),
        )
        for name, holds, required in rules:
            if not holds:
                raise ValueError(
                    f"dearray {name}: found {getattr(self, name)!r}; required {required}. Change {name}."
                )


ORIGINS: tuple[Origin, ...] = ("top_left", "top_right", "bottom_left", "bottom_right")


@dataclass(frozen=True)
class Core:
    """One position of a tissue array.

    Attributes:
      name: letters and a number, such as B3; unique in its array.
      row: 0-based, counted from the array's first corner.
      column: 0-based, counted from the array's first corner.
      y_px: centre of the tissue found, of the grid position where it is missing; whole numbers are the
        centres of pixels, 0 that of the first.
      x_px: the same along x.
      radius_px: about the centre, holds 98 % of the core's tissue; half a diameter where it is missing.
      status: 'present', 'broken' or 'missing'.
      tissue_fraction: tissue pixels over the area of a full core; may exceed 1.
      keep: whether the core is to be used.
    """

    name: str
    row: int
    column: int
    y_px: float
    x_px: float
    radius_px: float
    status: Status
    tissue_fraction: float
    keep: bool = True


@dataclass(frozen=True)
class CoreGrid:
    """The cores of one scan.

    Attributes:
      cores: in the order of rows, within a row of columns.
      angle_deg: by how much the rows are turned against the x axis, positive clockwise on the screen (they
        fall towards the right).
      pitch_px: distance of neighbouring rows and of neighbouring columns (y, x). Where there is one row or
        one column, the other pitch stands for it, for a single core its diameter.
      core_diameter_px: of a full core.
      shape_px: (y, x) of the scan.
      scan: name of the scan, '' where not known.
    """

    cores: tuple[Core, ...]
    angle_deg: float
    pitch_px: tuple[float, float]
    core_diameter_px: float
    shape_px: tuple[int, int]
    scan: str = ""

    @property
    def rows(self) -> int:
        """Number of rows up to the last core."""
        return max((core.row + 1 for core in self.cores), default=0)

    @property
    def columns(self) -> int:
        """Number of columns up to the last core."""
        return max((core.column + 1 for core in self.cores), default=0)

    def core(self, name: str) -> Core:
        """The core of a name; raises ValueError where there is none."""
        for core in self.cores:
            if core.name == name:
                return core
        names = f"{self.cores[0].name} … {self.cores[-1].name}" if self.cores else "none"
        raise ValueError(f"found no core {name!r}; the array has {names}. Choose one of its names.")


def core_name(row: int, column: int, *, letters: Literal["rows", "columns"] = "rows") -> str:
    """Name of a position: letters A … Z, AA, AB … for the one, numbers from 1 for the other."""
    lettered, numbered = (row, column) if letters == "rows" else (column, row)
    word = ""
    count = lettered + 1
    while count:
        count, letter = divmod(count - 1, 26)
        word = chr(ord("A") + letter) + word
    return f"{word}{numbered + 1}"
