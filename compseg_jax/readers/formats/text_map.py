"""Maps in text: tables in which every spectrum stands with its x and y position.

Two layouts are read, told by their first rows and not by their suffix. In a *wide* table the first row holds the
axis and every other row x, y and a spectrum: LabSpec's export (two empty cells before the axis, comments that
begin with # before it), the .xyz of CytoSpec and Orange (https://www.cytospec.com/file.php#FileASCII3), and tables
whose titles name x and y, in any place. In a *long* table each row holds x, y, a point of the axis and a value:
WiRE's export (`#X #Y #Wave #Intensity`).

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

from compseg_jax.readers import axis, checks, grid, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_HEAD_BYTES = 1 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")
# Rows by which a layout is told, and an axis of fewer points is none.
_TOLD_BY, _LEAST_POINTS = 20, 3
_X_NAMES = frozenset(
    ("x", "mapx", "posx", "xpos", "positionx", "xposition", "columnx", "stagex", "xcoordinate")
)
_Y_NAMES = frozenset(("y", "mapy", "posy", "ypos", "positiony", "yposition", "rowy", "stagey", "ycoordinate"))
_AXIS_NAMES = frozenset(("wave", "wavenumber", "wavenumbers", "ramanshift", "shift", "wavelength"))
_VALUE_NAMES = frozenset(("intensity", "intens", "absorbance", "counts", "signal", "value"))
_UM_PER_UNIT = {"": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}
_ORANGE_TYPES = frozenset(("", "c", "d", "s", "t", "continuous", "discrete", "string", "time"))


@dataclass(frozen=True)
class _Layout:
    """How the columns of a table are used.

    Attributes:
      first: number of the line after which rows of numbers follow, among those that are no comments.
      x: column of the x position.
      y: column of the y position.
      wavenumbers: the axis of a wide table as it is written, None for a long one.
      spectrum: columns of the spectrum of a wide table; of the axis and the value of a long one.
      axis_unit: unit of the axis as the file states it, empty where it does not.
      um_per_unit: µm of one unit of the positions, None for a unit that is no length.
      is_unit_stated: whether the file states the unit of the positions.
      unused: titles of the columns that are not used.
    """

    first: int
    x: int
    y: int
    wavenumbers: tuple[float, ...] | None
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
    scale: np.ndarray


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
                f"{path}: it holds {_what(table.positions)}, not a map; read it with read_spectra. Of a map, "
                "export every pixel with its x and y."
            )
        found, stated = None, ""
        if wavenumbers_cm1 is None:
            found, stated = _axis(table, path)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        unit = "in the unit stated" if table.layout.is_unit_stated else "taken as µm, no unit is stated"
        pixel_size_um, pixel_size = placed.pixel_size(
            table.layout.um_per_unit, f"steps of the positions, {unit}"
        )
        values = placed.image(table.spectra)
    provenance = {
        **_provenance(path, table.layout, found, stated),
        "orientation": placed.orientation,
        "pixel_size": pixel_size,
        **placed.left_out(),
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
        found, stated = _axis(table, path)
    scale = table.layout.um_per_unit
    positions_um = None if scale is None else table.positions * scale
    provenance = {**_provenance(path, table.layout, found, stated), "measurement": _what(table.positions)}
    return Spectra(table.spectra, found, (), positions_um, provenance)


def _of_table(lines: Sequence[str]) -> list[str]:
    """The lines of a table without comments; the row of titles of WiRE's export begins with # too."""
    return [
        line
        for line in lines
        if line.strip() and (not line.lstrip().startswith("#") or _is_long(_titles(line)) is not None)
    ]


def _read(path: Path) -> _Table:
    every = text_lines.read_lines(path)
    layout = _layout(every, path)
    if layout is None:
        raise CubeError(f"{path}: its rows do not begin with x and y below an axis; not a map in text.")
    body = _of_table(every)[layout.first :]
    columns = (layout.x, layout.y, *layout.spectrum)
    values = text_numbers.read(body, layout.first + 1, path, columns=columns)
    if layout.wavenumbers is not None:
        return _Table(layout, values[:, 2:], values[:, :2], np.array(layout.wavenumbers))
    _, first, which = np.unique(values[:, 0] + 1j * values[:, 1], return_index=True, return_inverse=True)
    counts = np.bincount(which)
    if np.ptp(counts):
        x, y = values[first[np.argmin(counts)], :2]
        raise CubeError(
            f"{path}: the spectrum at x = {x:g}, y = {y:g} has {counts.min()} points, others have {counts.max()}. "
            "The file is cut or two maps in one; export it again."
        )
    # The positions in the order of the file, and their points in the order in which they stand there.
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(first.size)
    ordered = values[np.argsort(rank[which], kind="stable")].reshape(first.size, int(counts[0]), 4)
    if np.any(ordered[:, :, 2] != ordered[:1, :, 2]):
        raise CubeError(f"{path}: its spectra do not share one axis. Export the map on one axis.")
    return _Table(layout, ordered[:, :, 3].copy(), ordered[:, 0, :2].copy(), ordered[0, :, 2].copy())


def _layout(every: Sequence[str], path: Path) -> _Layout | None:
    stated = _comments(every)
    lines = _of_table(every[: len(stated) + 2 * _TOLD_BY])
    if len(lines) < 2:
        return None
    titles = _titles(lines[0])
    columns = _is_long(titles)
    if columns is not None:
        um_per_unit, is_stated = _unit_of_positions([titles[columns[0]], titles[columns[1]]])
        unit = _unit_in(titles[columns[2]]) or ("nm" if "length" in titles[columns[2]].lower() else "")
        return _Layout(1, columns[0], columns[1], None, columns[2:], unit, um_per_unit, is_stated, ())
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
    named = [_name(header[at]) for at in others]
    if others == [0, 1] and named == ["", ""]:
        x, y = (1, 0) if _name(stated.get("axistype[2]", "")) in _Y_NAMES else (0, 1)
    else:
        xs = [at for at, name in zip(others, named, strict=True) if name in _X_NAMES]
        ys = [at for at, name in zip(others, named, strict=True) if name in _Y_NAMES]
        if len(xs) != 1 or len(ys) != 1:
            return None
        x, y = xs[0], ys[0]
    if not all(text_lines.is_number(row[at]) for at in (x, y, *numbers)):
        return None
    units = [header[x], header[y]]
    if "axisunit[2]" in stated:
        units = [f"x ({stated['axisunit[2]']})", f"y ({stated.get('axisunit[3]', stated['axisunit[2]'])})"]
    um_per_unit, is_stated = _unit_of_positions(units)
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


def _titles(line: str) -> list[str]:
    parts = re.split(r"[\t;,]+", line.strip()) if re.search(r"[\t;,]", line.strip()) else line.split()
    return [part.strip().strip('"').lstrip("#") for part in parts if part.strip()]


def _is_long(titles: Sequence[str]) -> tuple[int, int, int, int] | None:
    """Columns of x, y, axis and value where the titles are those of a long table."""
    if len(titles) != 4:
        return None
    names = [_name(title) for title in titles]
    found = [
        [at for at, name in enumerate(names) if name in wanted]
        for wanted in (_X_NAMES, _Y_NAMES, _AXIS_NAMES, _VALUE_NAMES)
    ]
    if any(len(each) != 1 for each in found):
        return None
    return found[0][0], found[1][0], found[2][0], found[3][0]


def _name(title: str) -> str:
    """A title without unit, blanks and signs: `Map_X (µm)` is `mapx`, `column (x)` is `columnx`."""
    text = title.lower()
    unit = re.search(r"[(\[/]\s*([^()\[\]]*?)\s*[)\]]?$", text)
    if unit is not None and unit.group(1) not in ("x", "y"):
        text = text[: unit.start()]
    text = re.sub(r"[_ ](um|µm|μm|mm|nm)$", "", text.strip())
    return re.sub(r"[^a-z]", "", text)


def _unit_in(title: str) -> str:
    found = re.search(r"[(\[/]\s*([^()\[\]]*?)\s*[)\]]?$", title) or re.search(
        r"[_ ](um|µm|μm|mm|nm)$", title
    )
    return found.group(1) if found is not None and found.group(1).lower() not in ("x", "y") else ""


def _unit_of_positions(titles: Sequence[str]) -> tuple[float | None, bool]:
    units = {_unit_in(title).lower().rstrip("s") for title in titles}
    if len(units) != 1:
        return None, True
    unit = units.pop()
    return _UM_PER_UNIT.get(unit), bool(unit)


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


def _axis(table: _Table, path: Path) -> tuple[np.ndarray, str]:
    unit, where = table.layout.axis_unit, "first row"
    if table.layout.wavenumbers is None:
        where = "column of the axis"
    stated = f"{where}, {unit} in the file" if unit else f"{where}, taken as cm⁻¹, no unit is stated"
    found = axis.to_wavenumbers_cm1(table.scale, unit or "cm-1", path)
    if axis.unit_named(unit) == "nm" or axis.unit_named(unit) == "um":
        stated += ", turned to absolute wavenumbers"
    return found, stated


def _what(positions: np.ndarray) -> str:
    number = len(positions)
    if number == 1:
        return "a single spectrum with its position"
    centred = positions - positions.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False)
    kind = "a line of" if spread[-1] <= 1e-3 * spread[0] else "scattered points,"
    return f"{kind} {number} spectra with positions"


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
