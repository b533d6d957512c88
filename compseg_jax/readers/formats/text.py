"""Text tables of spectra: .csv, .tsv, .txt, .dpt and .xyz.

Two layouts are read. A table has a header row that ends in the axis, and rows that each begin with as many
names (or, two of them and all numbers, with the x and y position in µm) and end in a spectrum; the two rows
of types and flags that Orange writes below the header are passed over. A list has two columns of numbers,
axis and value, and at most one line of titles. The axis is in cm⁻¹ unless the title of a list's first
column names a length (nm, µm). Lines that begin with # or ; are comments.

A table does not state how many rows it has: one cut between two rows is read as the shorter table it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.point_spectra import Spectra

_ORANGE_TYPES = frozenset(("", "c", "d", "s", "t", "continuous", "discrete", "string", "time"))
_ORANGE_FLAGS = frozenset(("", "class", "meta", "i", "ignore"))
_MAX_BYTES = 1 << 31


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a text table or list.

    Raises:
      CubeError: if the table has another layout, a row of another length, or a cell that is no number.
    """
    path = Path(path)
    with checks.Reading(path, "a text table of spectra"):
        if path.stat().st_size > _MAX_BYTES:
            raise CubeError(f"{path}: {path.stat().st_size} bytes are too many for a text table.")
        content = path.read_text(encoding="utf-8-sig")
        lines = [line.rstrip("\r\n") for line in content.splitlines()]
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", ";"))]
        if len(lines) < 2:
            raise CubeError(f"{path}: found {len(lines)} lines; required are an axis and a spectrum.")
        rows = _split(lines)
        spectra = _list(rows, path) if len(rows[-1]) == 2 else _table(rows, path)
        return spectra


def _split(lines: list[str]) -> list[list[str]]:
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in lines[0]), None)
    if delimiter == ";" and any("," in line for line in lines):
        lines = [line.replace(",", ".") for line in lines]
    return [[cell.strip() for cell in line.split(delimiter)] for line in lines]


def _list(rows: list[list[str]], path: Path) -> Spectra:
    unit = "cm-1"
    if not all(_is_number(cell) for cell in rows[0]):
        words = re.split(r"[^\wµμ⁻¹^/-]+", rows[0][0].lower())
        unit = next((word for word in words if axis.unit_named(word) in ("nm", "um")), unit)
        rows = rows[1:]
    table = np.array([_numbers(row, 2, at, path) for at, row in enumerate(rows, 1)])
    found = axis.to_wavenumbers_cm1(table[:, 0], unit, path)
    return Spectra(table[:, 1:].T.copy(), found, (), None, _provenance(path, "first column", unit, found))


def _table(rows: list[list[str]], path: Path) -> Spectra:
    header = rows[0]
    leading = next((at for at, cell in enumerate(header) if _is_number(cell)), len(header))
    if leading == 0 or leading == len(header):
        raise CubeError(
            f"{path}: its first row has {leading} titles and {len(header) - leading} numbers; required are "
            "titles, then the axis. Write the wavenumbers into the header, a title above the names."
        )
    if header[leading - 1][:1].isdigit():
        raise CubeError(f"{path}: {header[leading - 1]!r} before the axis is no number. Correct the header.")
    found = axis.to_wavenumbers_cm1(np.array(_numbers(header, len(header), 1, path, leading)), "cm-1", path)
    body = rows[1:]
    passed = 0
    if len(body) > 2 and set(body[0]) <= _ORANGE_TYPES and set(body[1]) <= _ORANGE_FLAGS:
        passed = 2
    numbered = enumerate(body[passed:], 2 + passed)
    values = np.array([_numbers(row, len(header), at, path, leading) for at, row in numbered])
    titles = [row[:leading] for row in body[passed:]]
    if leading == 2 and all(_is_number(cell) for row in titles for cell in row):
        positions = np.array([[float(cell) for cell in row] for row in titles])
        return Spectra(values, found, (), positions, _provenance(path, "header row", "cm-1", found))
    for at in range(1, leading):
        if all(_is_number(row[at]) for row in titles):
            raise CubeError(
                f"{path}: column {at + 1} holds numbers below {header[at]!r}; required is a wavenumber above "
                "them. Correct the header, or remove the column."
            )
    names = tuple(" ".join(row) for row in titles)
    return Spectra(values, found, names, None, _provenance(path, "header row", "cm-1", found))


def _numbers(row: list[str], cells: int, line: int, path: Path, leading: int = 0) -> list[float]:
    if len(row) != cells:
        raise CubeError(f"{path}: row {line} has {len(row)} cells; required are {cells} as in the first.")
    for at, cell in enumerate(row[leading:], leading + 1):
        if not _is_number(cell):
            raise CubeError(f"{path}: row {line}, cell {at} is {cell!r}; required is a number.")
    return [float(cell) for cell in row[leading:]]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _provenance(path: Path, where: str, unit: str, found: np.ndarray) -> dict[str, str]:
    return {
        "source": str(path),
        "format": "text table",
        "axis": f"{where}, {unit}",
        "direction": axis.direction(found),
    }
