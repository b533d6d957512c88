"""Maps in text: tables in which every spectrum is a row that holds its x and y position.

Such a table is told by its first rows and not by its suffix: the first holds the axis, every other x, y and a
spectrum. Read are LabSpec's export (two empty cells before the axis, comments that begin with # before it), the .xyz
of CytoSpec and Orange (https://www.cytospec.com/file.php#FileASCII3), and tables whose titles name x and y, in any
place.

The pixel of a spectrum is that of its position. A text does not state how many rows it has: one cut between two
rows is read as the smaller or incomplete map it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, grid, position_titles, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_HEAD_BYTES = 1 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")
# Rows by which a layout is told, and an axis of fewer points is none.
_TOLD_BY, _LEAST_POINTS = 20, 3
_ORANGE_TYPES = frozenset(("", "c", "d", "s", "t", "continuous", "discrete", "string", "time"))


@dataclass(frozen=True)
class _Layout:
    """How the columns of a table are used.

    Attributes:
      first: number of the line after which rows of numbers follow, among those that are no comments.
      x: column of the x position.
      y: column of the y position.
      wavenumbers: the axis as it is written.
      spectrum: columns of the spectrum.
      axis_unit: unit of the axis as the file states it, empty where it does not.
      um_per_unit: µm of one unit of the positions, None for a unit that is no length.
      is_unit_stated: whether the file states the unit of the positions.
      unused: titles of the columns that are not used.
    """

    first: int
    x: int
    y: int
    wavenumbers: tuple[float, ...]
    spectrum: tuple[int, ...]
    axis_unit: str
    um_per_unit: float | None
    is_unit_stated: bool
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """Spectra (n, c) with positions (n, 2) and what the file states of them."""

    layout: _Layout
    spectra: np.ndarray
    positions: np.ndarray


def holds(path: Path) -> bool:
    """Whether a text file is such a table, by its first rows."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    try:
        text, _ = text_lines.decoded(head, path)
        lines = _LINE_END.split(text)
        if len(head) == _HEAD_BYTES:
            lines.pop()
        return _layout(lines, path) is not None
    except CubeError:
        # What is no text, or leaves the decimal mark open, is told by the reader of text tables.
        return False


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a map.

    Returns:
      the cube of shape (y, x, c), float64; pixels that were not measured are zero and counted in `left_out`.

    Raises:
      CubeError: if a row has another length or a cell that is no number, the axis has no known unit, or the
        positions are those of a line or of scattered points.
    """
    path = Path(path)
    with checks.Reading(path, "a text table of a map"):
        table = _read(path)
        placed = grid.of_positions(table.positions, path)
        if placed is None:
            raise CubeError(
                f"{path}: it holds {grid.described(table.positions)}, not a map; read it with read_spectra. Of a map, "
                "export every pixel with its x and y."
            )
        found, stated = None, ""
        if wavenumbers_cm1 is None:
            found, stated = _axis(table.layout, path)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        unit = "in the unit stated" if table.layout.is_unit_stated else "taken as µm, no unit is stated"
        pixel_size_um, pixel_size = placed.pixel_size(
            table.layout.um_per_unit, f"steps of the positions, {unit}"
        )
        values = placed.image(table.spectra)
    provenance = {
        **_provenance(path, table.layout, found, stated),
        **placed.provenance(pixel_size),
    }
    return Cube(values, found, pixel_size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a map, a line or scattered points in the order of the file, with their positions.

    Raises:
      CubeError: as of `read`, but for the positions.
    """
    path = Path(path)
    with checks.Reading(path, "a text table of spectra with positions"):
        table = _read(path)
        found, stated = _axis(table.layout, path)
    scale = table.layout.um_per_unit
    positions_um = None if scale is None else table.positions * scale
    provenance = {
        **_provenance(path, table.layout, found, stated),
        "measurement": grid.described(table.positions),
    }
    return Spectra(table.spectra, found, (), positions_um, provenance)


def _of_table(lines: Sequence[str]) -> list[str]:
    """The lines of a table without comments and without the line that tells Excel the delimiter."""
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return kept[1:] if kept and re.fullmatch(r"sep=.\s*", kept[0], re.IGNORECASE) else kept


def _read(path: Path) -> _Table:
    every = text_lines.read_lines(path)
    layout = _layout(every, path)
    if layout is None:
        raise CubeError(f"{path}: its rows do not begin with x and y below an axis; not a map in text.")
    body = _of_table(every)[layout.first :]
    columns = (layout.x, layout.y, *layout.spectrum)
    values = text_numbers.read(body, layout.first + 1, path, columns=columns)
    return _Table(layout, values[:, 2:], values[:, :2])


def _layout(every: Sequence[str], path: Path) -> _Layout | None:
    stated = _comments(every)
    lines = _of_table(every[: len(stated) + 2 * _TOLD_BY])
    if len(lines) < 2:
        return None
    rows = text_lines.cells(lines, path)
    header, first = rows[0], 1
    if len(rows) > 3 and {cell.lower() for cell in rows[1]} <= _ORANGE_TYPES:
        first = 3  # the rows of types and flags that Orange writes below the header
    if not first < len(rows):
        return None
    row = rows[first]
    numbers = [at for at, cell in enumerate(header) if text_lines.is_number(cell)]
    if len(numbers) < _LEAST_POINTS or len(row) < len(numbers) + 2:
        return None
    if len(numbers) == len(header) and len(row) == len(header) + 2:
        header = ["", "", *header]
        numbers = list(range(2, len(header)))
    elif len(header) != len(row):
        return None
    others = [at for at in range(len(header)) if at not in set(numbers)]
    named = [position_titles.name(header[at]) for at in others]
    if others == [0, 1] and named == ["", ""]:
        x, y = (
            (1, 0)
            if position_titles.name(stated.get("axistype[2]", "")) in position_titles.Y_NAMES
            else (0, 1)
        )
    else:
        xs = [at for at, name in zip(others, named, strict=True) if name in position_titles.X_NAMES]
        ys = [at for at, name in zip(others, named, strict=True) if name in position_titles.Y_NAMES]
        if len(xs) != 1 or len(ys) != 1:
            return None
        x, y = xs[0], ys[0]
    if not all(text_lines.is_number(row[at]) for at in (x, y, *numbers)):
        return None
    units = [header[x], header[y]]
    if "axisunit[2]" in stated:
        units = [f"x ({stated['axisunit[2]']})", f"y ({stated.get('axisunit[3]', stated['axisunit[2]'])})"]
    um_per_unit, is_stated = position_titles.um_per_unit(units)
    return _Layout(
        first=first,
        x=x,
        y=y,
        wavenumbers=tuple(text_lines.number(header[at]) for at in numbers),
        spectrum=tuple(numbers),
        axis_unit=stated.get("axisunit[1]", ""),
        um_per_unit=um_per_unit,
        is_unit_stated=is_stated,
        unused=tuple(header[at] for at in others if at not in (x, y)),
    )


def _comments(lines: Sequence[str]) -> dict[str, str]:
    """What LabSpec's comments state, by names in lower case: `#AxisUnit[2]=<tab>µm`."""
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        name, equal, value = line[1:].partition("=")
        if equal:
            found[name.strip().lower()] = value.strip()
    return found


def _axis(layout: _Layout, path: Path) -> tuple[np.ndarray, str]:
    unit = layout.axis_unit
    stated = f"first row, {unit} in the file" if unit else "first row, taken as cm⁻¹, no unit is stated"
    found = axis.to_wavenumbers_cm1(np.array(layout.wavenumbers), unit or "cm-1", path)
    if axis.unit_named(unit) in ("nm", "um"):
        stated += ", turned to absolute wavenumbers"
    return found, stated


def _provenance(path: Path, layout: _Layout, found: np.ndarray, stated: str) -> dict[str, Any]:
    unused = {"columns_not_used": ", ".join(layout.unused)} if layout.unused else {}
    return {
        "source": str(path),
        "format": "text map",
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "text",
        **unused,
    }
