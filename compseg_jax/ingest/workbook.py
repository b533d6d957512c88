"""The cells of an Excel workbook (.xlsx, .xlsm), as Excel shows them.

Source of the layout: Office Open XML, ECMA-376, read by openpyxl.
"""

from __future__ import annotations

import datetime
import io
import posixpath
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.readers import checks
from compseg_jax.readers.cube import CubeError

MAX_ROWS = 1_048_576
"""Of a sheet (ECMA-376 part 1, 18.3.1.73: as many as the cells' references can name in Excel)."""
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
    # Cell by cell (read-only): the rest of openpyxl reads drawings and rules too, and fails on those that Excel mends.
    with _reading(table), _opened(table, computed=False) as drawn, _opened(table, computed=True) as computed:
        layouts = _layouts(table)
        name = _sheet_name(table, drawn, sheet, layouts)
        drawn[name].reset_dimensions()
        computed[name].reset_dimensions()
        pairs = zip(drawn[name].iter_rows(), computed[name].iter_rows(), strict=True)
        cells: dict[int, list[str | Fault]] = {
            number: [_shown(*pair) for pair in zip(*rows, strict=True)]
            for number, rows in enumerate(pairs, 1)
            if rows[0]
        }
        notes = [f"sheet {name!r} of the workbook"] if len(drawn.sheetnames) > 1 else []
    layout = layouts[name]
    notes += _unmerged(layout.merged, cells)
    hidden = [number for number in layout.hidden if any(map(str, cells.get(number, ())))]
    if hidden:
        notes.append(f"{len(hidden)} hidden row(s) of the sheet are read too, the first row {hidden[0]}")
    return sorted(cells.items()), notes


@contextmanager
def _reading(table: Path) -> Iterator[None]:
    """Turns whatever a damaged workbook makes the libraries raise into one IngestError."""
    try:
        with warnings.catch_warnings():
            # Of parts that openpyxl drops when it writes; nothing is written here.
            warnings.simplefilter("ignore")
            yield
    except IngestError:
        raise
    except CubeError as error:
        raise IngestError(str(error)) from error
    except Exception as error:
        raise IngestError(
            f"{table}: the workbook cannot be read ({type(error).__name__}: {error}). {_SAVE_AS}"
        ) from error


@contextmanager
def _opened(table: Path, *, computed: bool) -> Iterator[Any]:
    """The workbook, with the values of formulas or with the formulas."""
    openpyxl = checks.imported("openpyxl", table, extra="tables")
    with table.open("rb") as file:  # openpyxl would judge a path by its suffix
        workbook = openpyxl.load_workbook(file, read_only=True, data_only=computed, keep_links=False)
        try:
            yield workbook
        finally:
            workbook.close()


@dataclass(frozen=True)
class _Layout:
    """What openpyxl leaves out when it reads cell by cell.

    Attributes:
      merged: ranges such as ``D2:D5``.
      hidden: numbers of the rows that are not shown.
      is_filled: whether a cell holds something.
    """

    merged: list[str]
    hidden: list[int]
    is_filled: bool


def _layouts(table: Path) -> dict[str, _Layout]:
    """The sheets of a workbook by name (ECMA-376 part 1, 18.2.19, 18.3.1.4, 18.3.1.55 and 18.3.1.73)."""
    with zipfile.ZipFile(table) as archive:
        links = {
            each.get("Id"): each.get("Target", "")
            for each in ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
        }
        layouts = {}
        for each in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():
            if _tag(each) != "sheet":
                continue
            link = next((value for key, value in each.attrib.items() if key.endswith("}id")), None)
            part = posixpath.normpath(posixpath.join("/xl", links.get(link, ""))).lstrip("/")
            if part.startswith("xl/worksheets/") and part in archive.namelist():
                with archive.open(part) as stream:
                    layouts[each.get("name", "")] = _layout(table, stream)
    return layouts


def _layout(table: Path, stream: IO[bytes] | io.BufferedIOBase) -> _Layout:
    merged, hidden, is_filled, number = [], [], False, 0
    for _, each in ElementTree.iterparse(stream, events=("end",)):
        tag = _tag(each)
        if tag == "row":
            number = int(each.get("r", number + 1))
            if each.get("hidden") in ("1", "true"):
                hidden.append(number)
            each.clear()
        elif tag == "mergeCell":
            merged.append(each.get("ref", ""))
        elif tag in ("v", "t", "f"):
            is_filled = is_filled or bool(each.text)
        # Openpyxl makes a cell for each place up to the last of a row, and a row for each up to the last.
        beyond = number > MAX_ROWS or (tag == "c" and len(each.get("r", "").rstrip("0123456789")) > 3)
        if beyond:
            raise IngestError(f"{table}: a sheet has cells beyond row {MAX_ROWS} or column XFD. {_SAVE_AS}")
    return _Layout(merged, hidden, is_filled)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _sheet_name(table: Path, workbook: Any, sheet: str, layouts: Mapping[str, _Layout]) -> str:
    filled = {
        each.title: each.sheet_state == "visible"
        for each in workbook.worksheets
        if each.title in layouts and layouts[each.title].is_filled
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


_RANGE = re.compile(r"([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})")


def _unmerged(merged: Sequence[str], cells: dict[int, list[str | Fault]]) -> list[str]:
    """Gives every row of merged cells what they show, and a note of it; merged across columns they show nothing."""
    down = []
    for name in merged:
        found = _RANGE.fullmatch(name)
        if found is None:
            continue
        left, right = _column(found[1]), _column(found[3])
        top, bottom = int(found[2]), int(found[4])
        shown = cells.get(top, [])[left : left + 1]
        for number in sorted(cells.keys() & range(top, bottom + 1)) if shown else ():
            row = cells[number]
            row += [""] * (right + 1 - len(row))
            row[left : right + 1] = [
                *shown,
                *[Fault(f"part of the merged cells {name}. Unmerge them.")] * (right - left),
            ]
        if bottom > top:
            down.append((top, left, name))
    if not down:
        return []
    return [
        f"{len(down)} merged cells (the first {min(down)[2]}): what they show counts for each of their rows"
    ]


def _column(letters: str) -> int:
    """Number of a column, A is 0."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
