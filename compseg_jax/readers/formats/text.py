"""Text tables of spectra: .csv, .tsv, .txt, .dpt, .asc and .xyz, in any encoding, delimiter and decimal mark.

Three layouts are read. A table has a header row that ends in the axis, and rows that each begin with as many
names (or, two of them and all numbers, with the x and y position in µm) and end in a spectrum; the two rows
of types and flags that Orange writes below the header are passed over. A list has two columns of numbers,
axis and value, below any lines of titles. Columns have the axis in the first column and a spectrum in each further
one, below a row of their names. The axis is in cm⁻¹ unless a title or a comment names a length (nm, µm). Lines that
begin with # or ; are comments.

A table does not state how many rows it has: one cut between two rows is read as the shorter table it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, text_lines
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.point_spectra import Spectra

_ORANGE_TYPES = frozenset(("", "c", "d", "s", "t", "continuous", "discrete", "string", "time"))
_ORANGE_FLAGS = frozenset(("", "class", "meta", "i", "ignore"))
# LabSpec states the unit of an axis in a comment.
_COMMENTED_UNIT = re.compile(r"#\s*(?:axisunit\[1\]|x[-_ ]?units?)\s*[=:]\s*(?P<unit>.+)", re.IGNORECASE)
_MOST_TITLE_LINES = 100


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a text table, list or columns.

    Raises:
      CubeError: if the table has another layout, a row of another length, or a cell that is no number.
    """
    path = Path(path)
    with checks.Reading(path, "a text table of spectra"):
        every = text_lines.read_lines(path)
        lines = text_lines.without_comments(every)
        if lines and re.fullmatch(r"sep=.\s*", lines[0], re.IGNORECASE):
            lines = lines[1:]
        if len(lines) < 2:
            raise CubeError(f"{path}: found {len(lines)} lines; required are an axis and a spectrum.")
        rows = text_lines.cells(lines, path)
        titled = _titled(rows)
        unit = _commented_unit(every)
        if len(rows[-1]) == 2 and titled < len(rows):
            return _columns(rows, titled, unit, path)
        titles = [cell for row in rows[:titled] for cell in row]
        if 0 < titled < len(rows) and not any(map(text_lines.is_number, titles)):
            return _columns(rows, titled, unit, path)
        return _table(rows, unit, path)


def _titled(rows: Sequence[Sequence[str]]) -> int:
    """How many rows of titles stand above the first of numbers only."""
    for at, row in enumerate(rows[: _MOST_TITLE_LINES + 1]):
        if len(row) > 1 and all(map(text_lines.is_number, row)):
            return at
    return len(rows)


def _commented_unit(lines: Sequence[str]) -> str | None:
    for line in lines:
        matched = _COMMENTED_UNIT.match(line.lstrip())
        if matched is not None and axis.unit_named(matched["unit"].strip()) is not None:
            return matched["unit"].strip()
    return None


def _columns(rows: list[list[str]], titled: int, commented: str | None, path: Path) -> Spectra:
    """Axis in the first column, a spectrum in each further one."""
    titles, body = rows[:titled], rows[titled:]
    named = [row[0] for row in titles if row and row[0]]
    units = [title for title in reversed(named) if axis.unit_named(title.rstrip(".")) is not None]
    lengths = [word for title in named if (word := _length_in(title)) is not None]
    unit = units[0].rstrip(".") if units else lengths[0] if lengths else commented
    table = np.array([_numbers(row, len(body[0]), at, path) for at, row in enumerate(body, titled + 1)])
    if unit is None and any("wavelength" in title.lower() for title in named):
        raise CubeError(
            f"{path}: its first column holds wavelengths of no stated unit. Write the unit into the title, such as "
            "`wavelength (nm)`."
        )
    steps = np.diff(table[:, 0])
    turns = np.flatnonzero(np.sign(steps) != np.sign(table[-1, 0] - table[0, 0]))
    if turns.size:
        line = titled + 2 + int(turns[0])
        raise CubeError(
            f"{path}: row {line} begins with {table[turns[0] + 1, 0]:g} after {table[turns[0], 0]:g}, and {turns.size} "
            "rows in all do not go on along the axis; required is one that only rises or only falls. Sort the rows, "
            "and remove repeated ones or export more digits."
        )
    if unit is None and np.min(table[:, 0]) <= 0:
        raise CubeError(
            f"{path}: its first column begins at {table[0, 0]:g} and states no unit, so it holds no wavenumbers. Write "
            "a line of titles such as `wavenumber (cm-1),absorbance` above the numbers, if it does."
        )
    found = axis.to_wavenumbers_cm1(table[:, 0], unit or "cm-1", path)
    stated = f"first column, {unit} in the file" if unit else "first column, taken as cm⁻¹, no unit is stated"
    heading = next((row for row in titles if len(row) == len(body[0])), [])
    names = tuple(heading[1:]) if len(body[0]) > 2 else ()
    return Spectra(table[:, 1:].T.copy(), found, names, None, _provenance(path, stated, found))


def _length_in(title: str) -> str | None:
    """A unit of length among the words of a title."""
    words = re.split(r"[^\wµμ⁻¹^/-]+", title.lower())
    return next((word for word in words if axis.unit_named(word) in ("nm", "um")), None)


def _table(rows: list[list[str]], unit: str | None, path: Path) -> Spectra:
    header = rows[0]
    leading = next((at for at, cell in enumerate(header) if text_lines.is_number(cell)), len(header))
    if leading == 0 or leading == len(header):
        raise CubeError(
            f"{path}: its first row has {leading} titles and {len(header) - leading} numbers; required are "
            "titles, then the axis. Write the wavenumbers into the header, a title above the names; or, where the axis "
            "is the first column, a title above each, such as `wavenumber (cm-1)` and the names of the spectra."
        )
    if header[leading - 1][:1].isdigit():
        raise CubeError(f"{path}: {header[leading - 1]!r} before the axis is no number. Correct the header.")
    listed = np.array(_numbers(header, len(header), 1, path, leading))
    found = axis.to_wavenumbers_cm1(listed, unit or "cm-1", path)
    stated = f"header row, {unit} in the file" if unit else "header row, taken as cm⁻¹, no unit is stated"
    body = rows[1:]
    passed = 0
    if len(body) > 2 and set(body[0]) <= _ORANGE_TYPES and set(body[1]) <= _ORANGE_FLAGS:
        passed = 2
    numbered = enumerate(body[passed:], 2 + passed)
    values = np.array([_numbers(row, len(header), at, path, leading) for at, row in numbered])
    titles = [row[:leading] for row in body[passed:]]
    if leading == 2 and all(text_lines.is_number(cell) for row in titles for cell in row):
        positions = np.array([[text_lines.number(cell) for cell in row] for row in titles])
        return Spectra(values, found, (), positions, _provenance(path, stated, found))
    for at in range(1, leading):
        if all(text_lines.is_number(row[at]) for row in titles):
            raise CubeError(
                f"{path}: column {at + 1} holds numbers below {header[at]!r}; required is a wavenumber above "
                "them. Correct the header, or remove the column."
            )
    names = tuple(" ".join(row) for row in titles)
    return Spectra(values, found, names, None, _provenance(path, stated, found))


def _numbers(row: list[str], cells: int, line: int, path: Path, leading: int = 0) -> list[float]:
    if len(row) != cells:
        raise CubeError(f"{path}: row {line} has {len(row)} cells; required are {cells} as in the first.")
    for at, cell in enumerate(row[leading:], leading + 1):
        if not text_lines.is_number(cell):
            raise CubeError(f"{path}: row {line}, cell {at} is {cell!r}; required is a number.")
    return [text_lines.number(cell) for cell in row[leading:]]


def _provenance(path: Path, stated: str, found: np.ndarray) -> dict[str, str]:
    return {
        "source": str(path),
        "format": "text table",
        "axis": stated,
        "direction": axis.direction(found),
    }
