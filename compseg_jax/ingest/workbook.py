"""The cells of an Excel workbook (.xlsx, .xlsm), as Excel shows them.

Source of the layout: Office Open XML, ECMA-376, read by openpyxl.
"""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.readers import checks
from compseg_jax.readers.cube import CubeError

MAX_CELLS = 20_000_000
MAX_UNPACKED_BYTES = 512 * 1024**2
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SAVE_AS = "Save it as .xlsx or 'CSV UTF-8'."


@dataclass(frozen=True)
class Fault:
    """A cell that has no value, and why in words."""

    words: str

    def __str__(self) -> str:
        return ""


Cells = list[tuple[int, Sequence[str | Fault]]]


def refuse_other_workbooks(table: Path) -> None:
    """Raises IngestError for what is a spreadsheet, but not .xlsx: old Excel, OpenDocument, Numbers, binary Excel."""
    with table.open("rb") as file:
        if file.read(8) == _OLE:
            raise IngestError(
                f"{table}: is a workbook of Excel 97 to 2003 (.xls), or one with a password. {_SAVE_AS}"
            )
        file.seek(0)
        if file.read(4) != b"PK\x03\x04":
            return
    names = set(_members(table))
    if "xl/workbook.xml" in names:
        return
    kinds = {"xl/workbook.bin": "binary Excel (.xlsb)", "content.xml": "OpenDocument (.ods)"}
    kind = next((words for name, words in kinds.items() if name in names), "")
    kind = kind or ("Apple Numbers" if any(name.endswith(".iwa") for name in names) else "a zip archive")
    raise IngestError(f"{table}: is {kind}, not an Excel workbook. {_SAVE_AS}")


def _members(table: Path) -> list[str]:
    try:
        with zipfile.ZipFile(table) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise IngestError(f"{table}: the workbook is damaged ({error}). {_SAVE_AS}") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise IngestError(
            f"{table}: the workbook unpacks to {unpacked / 1024**2:.0f} MiB, at most "
            f"{MAX_UNPACKED_BYTES // 1024**2} are read. Copy the table into a workbook of its own."
        )
    return names


def sheet_cells(table: Path, sheet: str) -> tuple[Cells, list[str]]:
    """Cells of a sheet by row, and notes.

    Args:
      table: the workbook.
      sheet: name of the sheet; '' for the only one that is visible and holds something.

    Raises:
      IngestError: when the workbook is damaged, or the sheet is not there or not the only one.
    """
    workbook = _loaded(table, computed=False)
    name = _sheet_name(table, workbook, sheet)
    drawn = workbook[name]
    if drawn.max_row * drawn.max_column > MAX_CELLS:
        raise IngestError(
            f"{table}: sheet {name!r} spans {drawn.max_row} rows and {drawn.max_column} columns, at most "
            f"{MAX_CELLS:,} cells are read. Delete what stands far from the table."
        )
    has_formulas = any(cell.data_type == "f" for row in drawn.iter_rows() for cell in row)
    computed = _loaded(table, computed=True)[name] if has_formulas else drawn
    cells: dict[int, list[str | Fault]] = {
        number: [_shown(cell, computed[cell.coordinate] if cell.data_type == "f" else cell) for cell in row]
        for number, row in enumerate(drawn.iter_rows(), 1)
    }
    notes = [f"sheet {name!r} of the workbook"] if len(workbook.sheetnames) > 1 else []
    notes += _unmerged(drawn, cells)
    hidden = [
        number for number in cells if drawn.row_dimensions[number].hidden and any(map(str, cells[number]))
    ]
    if hidden:
        notes.append(f"{len(hidden)} hidden row(s) of the sheet are read too, the first row {hidden[0]}")
    return list(cells.items()), notes


def _loaded(table: Path, *, computed: bool) -> Any:
    try:
        openpyxl = checks.imported("openpyxl", table, extra="tables")
    except CubeError as error:
        raise IngestError(str(error)) from error
    try:
        # Of an opened file: openpyxl would judge it by its name.
        with warnings.catch_warnings(), table.open("rb") as file:
            # Of parts that it drops when it writes; nothing is written here.
            warnings.simplefilter("ignore")
            return openpyxl.load_workbook(file, data_only=computed)
    except Exception as error:
        raise IngestError(
            f"{table}: the workbook cannot be read ({type(error).__name__}: {error}). {_SAVE_AS}"
        ) from error


def _sheet_name(table: Path, workbook: Any, sheet: str) -> str:
    filled = {
        each.title: each.sheet_state == "visible"
        for each in workbook.worksheets
        if any(cell.value is not None for row in each.iter_rows(max_row=100) for cell in row)
    }
    if sheet:
        named = [title for title in filled if title.strip().casefold() == sheet.strip().casefold()]
        if not named:
            raise IngestError(
                f"{table}: --sheet {sheet}: the sheets that hold something are {', '.join(map(repr, filled))}; "
                "name one of them."
            )
        return named[0]
    visible = [title for title, is_visible in filled.items() if is_visible]
    if len(visible) == 1:
        return visible[0]
    if not visible:
        raise IngestError(f"{table}: no sheet of the workbook holds a table. {_SAVE_AS}")
    raise IngestError(
        f"{table}: {len(visible)} sheets hold something ({', '.join(map(repr, visible))}); name the one with the "
        "samples: --sheet NAME."
    )


def _shown(cell: Any, computed: Any) -> str | Fault:
    """A cell's text as Excel shows it; a whole number without '.0', with the zeros of a format such as 000."""
    value = computed.value
    if value is None:
        if cell.data_type == "f":
            return Fault("a formula without a value. Open the workbook in Excel and save it again.")
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        text = str(int(value)) if float(value).is_integer() else f"{value:.15g}"
        zeros = re.fullmatch("0+", str(cell.number_format))
        return text.zfill(len(zeros[0])) if zeros else text
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _unmerged(drawn: Any, cells: dict[int, list[str | Fault]]) -> list[str]:
    """Gives every row of merged cells what they show, and a note of it; merged across columns they show nothing."""
    down = []
    for merged in sorted(drawn.merged_cells.ranges, key=lambda merged: (merged.min_row, merged.min_col)):
        rows = range(merged.min_row, merged.max_row + 1)
        left = merged.min_col - 1
        for number in rows:
            cells[number][left] = cells[merged.min_row][left]
            for column in range(left + 1, merged.max_col):
                cells[number][column] = Fault(f"part of the merged cells {merged.coord}. Unmerge them.")
        if len(rows) > 1:
            down.append(merged.coord)
    if not down:
        return []
    return [f"{len(down)} merged cells (the first {down[0]}): what they show counts for each of their rows"]
