"""The cores of a scan as a CSV that a person edits in a spreadsheet.

One row per core: `name,row,column,y_px,x_px,radius_px,status,tissue_fraction,keep`, rows and columns counted from
0, `keep` 1 or 0. The columns after these describe the whole grid and are the same in every row; they may be
empty in rows that a person adds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from compseg_jax.ingest.cores.grid import STATUSES, Core, CoreGrid
from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.ingest.spreadsheet import folded, read_spreadsheet
from compseg_jax.readers.cube import CubeError
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.runtime.files import write_text

CORE_COLUMNS = ("name", "row", "column", "y_px", "x_px", "radius_px", "status", "tissue_fraction", "keep")
GRID_COLUMNS = ("scan", "height_px", "width_px", "pitch_y_px", "pitch_x_px", "angle_deg", "core_diameter_px")
MAX_PROBLEMS_SHOWN = 10
_TRUE_FALSE = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

Value = TypeVar("Value")


def write_cores_csv(path: str | os.PathLike[str], grid: CoreGrid, scan_name: str) -> None:
    """Writes the cores of a scan; a file of that name is replaced at once, when all is written.

    Args:
      path: of the CSV.
      grid: the cores.
      scan_name: which scan they are of, such as its file name.

    Raises:
      ValueError: if there are no cores to write.
    """
    path = Path(path)
    if not grid.cores:
        raise ValueError(f"{path}: found no cores to write; a table holds at least one. Find cores first.")
    shared = (
        scan_name, *grid.shape_px, *map(_short, grid.pitch_px), _short(grid.angle_deg), _short(grid.core_diameter_px)
    )  # fmt: skip
    rows = []
    for core in grid.cores:
        place = (_short(core.y_px), _short(core.x_px), _short(core.radius_px))
        state = (core.status, _short(core.tissue_fraction), int(core.keep))
        rows.append((core.name, core.row, core.column, *place, *state, *shared))
    write_text(path, csv_text(CORE_COLUMNS + GRID_COLUMNS, rows))


def read_cores_csv(path: str | os.PathLike[str]) -> CoreGrid:
    """Reads the cores that `write_cores_csv` wrote and a person may have edited.

    Rows may be deleted, added or sorted, cores renamed, moved and marked (keep 0); columns may be in any
    order and more may be added. Files that a spreadsheet saved, with semicolons and decimal commas or as .xlsx,
    are read too.

    Raises:
      FileNotFoundError: if there is no such file.
      CubeError: naming the lines at fault (the first ten), what was found and what is required.
    """
    path = Path(path)
    rows = _rows(path)
    problems: list[str] = []
    shared = _grid_values(rows, problems)
    cores: list[Core] = []
    for line, row in rows:
        try:
            core = _core(row, (shared.get("height_px", 0), shared.get("width_px", 0)))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        problems += [f"line {line}: {problem}" for problem in _clashes(core, cores)]
        cores.append(core)
    if problems:
        more = len(problems) - MAX_PROBLEMS_SHOWN
        listed = "\n  ".join(problems[:MAX_PROBLEMS_SHOWN] + ([f"and {more} more"] if more > 0 else []))
        raise CubeError(f"{path}: the cores cannot be read. Correct these lines:\n  {listed}")
    return CoreGrid(
        cores=tuple(sorted(cores, key=lambda core: (core.row, core.column))),
        angle_deg=shared["angle_deg"],
        pitch_px=(shared["pitch_y_px"], shared["pitch_x_px"]),
        core_diameter_px=shared["core_diameter_px"],
        shape_px=(shared["height_px"], shared["width_px"]),
        scan=shared["scan"],
    )


def _short(value: float) -> float:
    return round(float(value), 3)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows, without empty ones."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file. Correct the path.")
    known = {folded(name): name for name in CORE_COLUMNS + GRID_COLUMNS}
    try:
        sheet = read_spreadsheet(path, "", known)
        names = [folded(column) for column in sheet.columns]
        missing = [name for fold, name in known.items() if names.count(fold) != 1]
        if missing:
            raise CubeError(
                f"{path}: found the columns {', '.join(sheet.columns) or 'none'}; required once each: "
                f"{', '.join(missing)}. Put the first line back as it was written."
            )
        columns = {
            known[fold]: column for fold, column in zip(names, sheet.columns, strict=True) if fold in known
        }
        rows = [
            (line.number, {name: line.value(column) for name, column in columns.items()})
            for line in sheet.lines
        ]
    except IngestError as error:
        raise CubeError(str(error)) from error
    if not rows:
        raise CubeError(f"{path}: found no cores below the first line; write the table anew.")
    return [
        (
            number,
            {
                name: text if name in ("name", "scan") else text.replace(",", ".")
                for name, text in cells.items()
            },
        )
        for number, cells in rows
    ]


def _grid_values(rows: list[tuple[int, dict[str, str]]], problems: list[str]) -> dict[str, Any]:
    """What the columns of the grid say; they must not say two things."""
    readers: Mapping[str, Callable[[str, str], Any]] = {
        "scan": lambda _, text: text,
        "height_px": _count,
        "width_px": _count,
        "angle_deg": _number,
    }
    values: dict[str, Any] = {}
    for name in GRID_COLUMNS:
        stated = [(line, row[name]) for line, row in rows if row[name]]
        if not stated and name != "scan":
            problems.append(f"column {name}: found no value; required in at least one row")
        for line, text in stated:
            try:
                value = readers.get(name, _positive)(name, text)
            except ValueError as error:
                problems.append(f"line {line}: {error}")
                break
            if values.setdefault(name, value) != value:
                problems.append(
                    f"line {line}: {name} is {text}, but {values[name]} above; it is the same for all"
                )
                break
    return {"scan": ""} | values


def _core(row: dict[str, str], shape_px: tuple[int, int]) -> Core:
    name = row["name"]
    if not name or name in (".", "..") or any(c in '/\\:*?"<>|' or ord(c) < 32 for c in name):
        raise ValueError(f"name is {name!r}; required a name that a file can have, such as B3")
    status = next((one for one in STATUSES if one == row["status"]), None)
    if status is None:
        raise ValueError(f"status of {name} is {row['status']!r}; required {', '.join(STATUSES)}")
    if row["keep"].lower() not in _TRUE_FALSE:
        raise ValueError(f"keep of {name} is {row['keep']!r}; required 1 or 0")
    core = Core(
        name=name,
        row=_count("row", row["row"], 0),
        column=_count("column", row["column"], 0),
        y_px=_number("y_px", row["y_px"]),
        x_px=_number("x_px", row["x_px"]),
        radius_px=_positive("radius_px", row["radius_px"]),
        status=status,
        tissue_fraction=_number("tissue_fraction", row["tissue_fraction"]),
        keep=_TRUE_FALSE[row["keep"].lower()],
    )
    if core.tissue_fraction < 0:
        raise ValueError(f"tissue_fraction of {name} is {core.tissue_fraction:g}; required 0 or more")
    # The position of a missing core may lie outside; nothing is read there.
    for axis, centre, length in zip("yx", (core.y_px, core.x_px), shape_px, strict=True):
        if length and core.keep and not 0 <= centre <= length - 1:
            raise ValueError(
                f"{axis}_px of {name} is {centre:g}, outside of the scan; required 0 to {length - 1}, or keep 0"
            )
    return core


def _clashes(core: Core, others: list[Core]) -> list[str]:
    problems = []
    # Two names that differ by case alone are one file on many disks.
    if any(core.name.lower() == other.name.lower() for other in others):
        problems.append(f"the name {core.name} is given twice; every core has its own")
    same = [other.name for other in others if (other.row, other.column) == (core.row, core.column)]
    if same:
        problems.append(f"{core.name} has the row {core.row} and column {core.column} of {same[0]}")
    return problems


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is {text!r}; required a number")
    return value


def _positive(name: str, text: str) -> float:
    value = _number(name, text)
    if value <= 0:
        raise ValueError(f"{name} is {text}; required more than 0")
    return value


def _count(name: str, text: str, least: int = 1) -> int:
    value = _number(name, text)
    if value != int(value) or value < least:
        raise ValueError(f"{name} is {text!r}; required a whole number of at least {least}")
    return int(value)
