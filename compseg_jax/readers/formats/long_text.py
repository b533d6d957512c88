"""Long tables in text: one row for each point of each spectrum, as WiRE exports maps, lines and series.

The titles name the columns, `#X #Y #Wave #Intensity`, in any order: one holds the axis, one the value, and the others
say which spectrum a row belongs to: its position, or its time, depth or number. The rows of a spectrum stand together
or are sorted by the axis; the pixel of a spectrum is that of its position.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, grid, position_titles, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_HEAD_BYTES = 1 << 16
_AXIS_NAMES = frozenset(("wave", "wavenumber", "wavenumbers", "ramanshift", "shift", "wavelength"))
_VALUE_NAMES = frozenset(("intensity", "intens", "absorbance", "counts", "signal", "value"))


@dataclass(frozen=True)
class _Columns:
    """The titles, and which column is which; x and y are None in a series."""

    titles: tuple[str, ...]
    leading: tuple[int, ...]
    x: int | None
    y: int | None
    axis: int
    value: int


@dataclass(frozen=True)
class _Table:
    """Spectra (n, c), what the leading columns hold of each (n, k), and the axis as it is written."""

    columns: _Columns
    spectra: np.ndarray
    places: np.ndarray
    scale: np.ndarray

    @property
    def positions(self) -> np.ndarray | None:
        """x and y of each spectrum, (n, 2)."""
        if self.columns.x is None or self.columns.y is None:
            return None
        return self.places[:, [self.columns.leading.index(at) for at in (self.columns.x, self.columns.y)]]


def holds(path: Path) -> bool:
    """Whether the first row of a text file names the columns of a long table."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    try:
        text, _ = text_lines.decoded(head, path)
    except CubeError:
        return False
    return _columns(re.split(r"\r\n|\n|\r", text.lstrip(), maxsplit=1)[0]) is not None


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a map.

    Returns:
      the cube of shape (y, x, c), float64; pixels that were not measured are zero and counted in `left_out`.

    Raises:
      CubeError: if a spectrum is cut or on another axis, or the table is that of a line, a series or scattered points.
    """
    path = Path(path)
    with checks.Reading(path, "a long table of a map"):
        table = _read(path)
        positions = table.positions
        placed = None if positions is None else grid.of_positions(positions, path)
        if placed is None or positions is None:
            raise CubeError(f"{path}: it holds {_what(table)}, not a map; read it with read_spectra.")
        found, stated = (None, "") if wavenumbers_cm1 is not None else _axis(table, path)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        um_per_unit, is_stated = _unit_of_positions(table.columns)
        unit = "in the unit stated" if is_stated else "taken as µm, no unit is stated"
        size_um, size = placed.pixel_size(um_per_unit, f"steps of the positions, {unit}")
        values = placed.image(table.spectra)
    provenance = {
        **_provenance(path, found, stated),
        **placed.provenance(size),
    }
    return Cube(values, found, size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a map, line or series in the order of the file, with their positions where it has them.

    Raises:
      CubeError: if a spectrum is cut or on another axis.
    """
    path = Path(path)
    with checks.Reading(path, "a long table of spectra"):
        table = _read(path)
        found, stated = _axis(table, path)
    um_per_unit, _ = _unit_of_positions(table.columns)
    positions = table.positions
    positions_um = None if positions is None or um_per_unit is None else positions * um_per_unit
    titles = [table.columns.titles[at] for at in table.columns.leading]
    names = tuple(
        ", ".join(f"{title} {value:g}" for title, value in zip(titles, place, strict=True))
        for place in table.places
    )
    provenance = {**_provenance(path, found, stated), "measurement": _what(table)}
    return Spectra(table.spectra, found, names, positions_um, provenance)


def _columns(title_row: str) -> _Columns | None:
    """The columns that a row of titles names, None for any other row."""
    parts = (
        re.split(r"[\t;,]+", title_row.strip())
        if re.search(r"[\t;,]", title_row.strip())
        else title_row.split()
    )
    titles = tuple(part.strip().strip('"').lstrip("#").strip() for part in parts if part.strip())
    names = [position_titles.name(title) for title in titles]
    found = [
        [at for at, name in enumerate(names) if name in wanted]
        for wanted in (_AXIS_NAMES, _VALUE_NAMES, position_titles.X_NAMES, position_titles.Y_NAMES)
    ]
    axes, values, xs, ys = found
    if len(axes) != 1 or len(values) != 1 or len(xs) > 1 or len(ys) > 1 or len(titles) < 3:
        return None
    has_positions = bool(xs and ys)
    if not has_positions and not title_row.lstrip().startswith("#"):
        return None
    leading = tuple(at for at in range(len(titles)) if at not in (axes[0], values[0]))
    x, y = (xs[0], ys[0]) if has_positions else (None, None)
    return _Columns(titles, leading, x, y, axes[0], values[0])


def _read(path: Path) -> _Table:
    lines = [line for line in text_lines.read_lines(path) if line.strip()]
    columns = _columns(lines[0]) if lines else None
    if columns is None or len(lines) < 2:
        raise CubeError(
            f"{path}: its first row does not name an axis, a value and a place, or no row follows."
        )
    wanted = (*columns.leading, columns.axis, columns.value)
    values = text_numbers.read(lines[1:], 2, path, columns=wanted)
    places, points = values[:, :-2], values[:, -2:]
    starts = np.flatnonzero(np.r_[True, np.any(places[1:] != places[:-1], axis=1)])
    lengths = np.diff(np.r_[starts, len(values)])
    if len(starts) > 1 and lengths.max() == 1:
        # Sorted by the axis: the rows of a spectrum are brought together, in the order of their first.
        _, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
        rank = np.empty_like(first)
        rank[np.argsort(first)] = np.arange(first.size)
        order = np.argsort(rank[which.ravel()], kind="stable")
        places, points = places[order], points[order]
        lengths = np.bincount(rank[which.ravel()])
        starts = np.r_[0, np.cumsum(lengths)[:-1]]
    if np.ptp(lengths):
        place = _named(columns, places[starts[np.argmin(lengths)]])
        raise CubeError(
            f"{path}: the spectrum at {place} has {lengths.min()} points, others have {lengths.max()}. The file is "
            "cut, or holds two measurements; export it again."
        )
    points = points.reshape(len(starts), int(lengths[0]), 2)
    if np.any(points[:, :, 0] != points[:1, :, 0]):
        raise CubeError(f"{path}: its spectra do not share one axis. Export them on one axis.")
    return _Table(columns, points[:, :, 1].copy(), places[starts], points[0, :, 0].copy())


def _named(columns: _Columns, place: np.ndarray) -> str:
    pairs = zip(columns.leading, place, strict=True)
    return ", ".join(f"{columns.titles[at]} = {value:g}" for at, value in pairs)


def _unit_of_positions(columns: _Columns) -> tuple[float | None, bool]:
    if columns.x is None or columns.y is None:
        return None, False
    return position_titles.um_per_unit([columns.titles[columns.x], columns.titles[columns.y]])


def _axis(table: _Table, path: Path) -> tuple[np.ndarray, str]:
    title = table.columns.titles[table.columns.axis]
    unit = position_titles.unit(title)
    if not unit and "length" in title.lower():
        raise CubeError(
            f"{path}: {title!r} states no unit. Write it into the title, such as 'wavelength (nm)'."
        )
    stated = f"{title}, {unit} in the file" if unit else f"{title}, taken as cm⁻¹, no unit is stated"
    return axis.to_wavenumbers_cm1(table.scale, unit or "cm-1", path), stated


def _what(table: _Table) -> str:
    if table.positions is not None:
        return grid.described(table.positions)
    along = " and ".join(table.columns.titles[at] for at in table.columns.leading)
    return f"a series of {len(table.spectra)} spectra along {along}"


def _provenance(path: Path, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "long text table",
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "text",
    }
