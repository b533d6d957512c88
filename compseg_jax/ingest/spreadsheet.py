"""A table as spreadsheets and instruments write it: text of any usual delimiter and encoding, or an Excel workbook."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from compseg_jax.config.regular_files import refuse_special
from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.ingest.workbook import Fault, refuse_other_workbooks, sheet_cells
from compseg_jax.runtime.csv_tables import unguarded

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEP_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
_ERROR_VALUE = re.compile(r"#(N/A|NV|N/D|[\w/]+[!?])", re.IGNORECASE)
"""What Excel shows where a formula fails, in its languages: #N/A, #NV, #REF!, #WERT!, #NAME? …"""
_BINARY_LOOK_BYTES = 4096
_SEARCHED_FOR_NAMES = 20
_INVISIBLE = "\ufeff\u200b\u200e\u200f"


@dataclass(frozen=True)
class Line:
    """One row below the names.

    Attributes:
      number: its row, as a spreadsheet or an editor counts.
      cells: text by column; what surrounds it is stripped.
      faults: why a cell has no value, by column.
      surplus: what stands right of the last column.
    """

    number: int
    cells: Mapping[str, str]
    faults: Mapping[str, str] = field(default_factory=dict)
    surplus: tuple[str, ...] = ()

    def value(self, column: str | None) -> str:
        """Text of a cell, '' where the table lacks the column; raises IngestError where the cell is at fault."""
        if column is None:
            return ""
        if column in self.faults:
            raise IngestError(f"column {column!r} holds {self.faults[column]}")
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Spreadsheet:
    """Named columns and what stands below them.

    Attributes:
      columns: names as written, in their order; those without a name are left out, one may occur twice.
      lines: rows that hold something.
      notes: what was assumed while reading, a line each.
      has_row_names: whether a column without a name, as pandas and R write it, stands before all others.
    """

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    has_row_names: bool = False


def folded(name: str) -> str:
    """A name without case, spaces, underscores and other marks: 'Sample ID' and 'sample_id' are one."""
    return "".join(character for character in name.casefold() if character.isalnum())


def cleaned(text: str) -> str:
    """A cell without what surrounds it, marks that nobody sees among it."""
    return text.strip().strip(_INVISIBLE).strip()


def read_spreadsheet(table: Path, sheet: str, expected: Iterable[str]) -> Spreadsheet:
    """Reads a table.

    Args:
      table: a text file (delimiter ``,`` ``;`` tab or ``|``; UTF-8, UTF-16 or Windows-1252) or an .xlsx workbook,
        told apart by content and not by name.
      sheet: of a workbook; '' where it has one.
      expected: names that the header may hold, folded; the delimiter that finds most of them is used.

    Raises:
      IngestError: when the file is missing or no such table.
    """
    refuse_special(table)
    if not table.is_file():
        what = "is a folder" if table.is_dir() else "no such file"
        raise IngestError(f"{table}: {what}. Give a table (CSV or .xlsx) with the columns id, path, label.")
    refuse_other_workbooks(table)
    with table.open("rb") as file:
        first = file.read(_BINARY_LOOK_BYTES)
    if first.startswith(b"PK\x03\x04"):
        cells, notes = sheet_cells(table, sheet)
        return _named(cells, notes)
    if sheet:
        raise IngestError(f"{table}: --sheet {sheet}: the table is text, which has no sheets; leave it out.")
    text, encoding = _decoded(table, first)
    records, notes = _records(table, text, set(expected))
    if encoding is not None:
        notes = [*notes, f"text read as {encoding}, as it is not UTF-8{_example(records)}"]
    return _named(records, notes)


def _decoded(table: Path, first: bytes) -> tuple[str, str | None]:
    """The text of a file, and the encoding where it is not the usual one."""
    raw = table.read_bytes()
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in first and not wide:
        raise IngestError(f"{table}: is not a table but binary data. Save the table as 'CSV UTF-8' or .xlsx.")
    try:
        if wide:
            return raw.decode("utf-16"), None
        return raw.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        try:
            if wide:
                raise error
            return raw.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            raise IngestError(f"{table}: cannot be read ({error}). Save the table as 'CSV UTF-8'.") from error


def _example(records: Sequence[tuple[int, Sequence[object]]]) -> str:
    for number, cells in records:
        for cell in map(str, cells):
            if not cell.isascii():
                return f", such as {cleaned(cell)!r} in row {number}"
    return ""


def _records(
    table: Path, text: str, expected: set[str]
) -> tuple[Sequence[tuple[int, Sequence[str | Fault]]], list[str]]:
    """Cells of each record with the line where it begins, and notes."""
    if text.lstrip()[:1] == "<":
        raise IngestError(
            f"{table}: is a web page or XML under the name of a table. Save it as .xlsx or 'CSV UTF-8'."
        )
    stated = _SEP_LINE.fullmatch(re.split(r"\r\n?|\n", text, maxsplit=1)[0])
    if stated:
        head, delimiter = 1, stated[1]
    else:
        head, delimiter = 0, _delimiter(text, expected)
    try:
        records = list(islice(_parsed(text, delimiter), head, None))
    except csv.Error as error:
        raise IngestError(
            f"{table}: cannot be read ({error}): quotes do not match. Save the table as 'CSV UTF-8'."
        ) from error
    notes = [] if delimiter == "," else [f"columns separated by {DELIMITERS.get(delimiter, repr(delimiter))}"]
    return records, notes


def _parsed(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    begins = 1
    for cells in reader:
        yield begins, [unguarded(cell) for cell in cells]
        begins = reader.line_num + 1


def _delimiter(text: str, expected: set[str]) -> str:
    """The delimiter by which one of the first records holds most names that are looked for, then most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        names, columns = 0, 0
        try:
            for _, cells in islice(_parsed(text, delimiter), _SEARCHED_FOR_NAMES):
                names = max(names, len(expected.intersection(map(folded, cells))))
                columns = columns or len([cell for cell in cells if cell.strip()])
        except csv.Error:
            pass
        return names, columns

    return max(DELIMITERS, key=found)


def _named(records: Sequence[tuple[int, Sequence[str | Fault]]], notes: Sequence[str]) -> Spreadsheet:
    """Records with the first that holds something as names; what is empty is left out."""
    filled = [(number, cells) for number, cells in records if any(map(_filled, cells))]
    if not filled:
        return Spreadsheet((), (), tuple(notes))
    (_, head), *rest = filled
    names = [cleaned(str(cell)) for cell in head]
    names = ["" if folded(name) == "unnamed0" else name for name in names]
    while names and not names[-1]:
        names.pop()
    lines = tuple(_line(number, names, cells) for number, cells in rest)
    said = list(notes)
    unnamed = [at for at, name in enumerate(names) if not name]
    unnamed = [at for at in unnamed if any(at < len(cells) and _filled(cells[at]) for _, cells in rest)]
    has_row_names = 0 in unnamed
    if has_row_names:
        said.append("the first column has no name and is left out (row names of pandas or R)")
    if any(unnamed):
        which = ", ".join(str(at + 1) for at in unnamed if at)
        said.append(f"column {which} has no name and is left out")
    columns = tuple(name for name in names if name)
    return Spreadsheet(columns, lines, tuple(said), has_row_names)


def _filled(cell: str | Fault) -> bool:
    return isinstance(cell, Fault) or bool(cleaned(cell))


def _line(number: int, names: Sequence[str], cells: Sequence[str | Fault]) -> Line:
    values, faults = {}, {}
    for name, cell in zip(names, cells, strict=False):
        if isinstance(cell, Fault):
            faults[name] = cell.words
        elif _ERROR_VALUE.fullmatch(cleaned(cell)):
            faults[name] = f"{cleaned(cell)}, the error of a formula. Correct it, or empty the cell."
        else:
            values[name] = cleaned(cell)
    surplus = tuple(str(cell) for cell in cells[len(names) :] if cleaned(str(cell)))
    return Line(number, values, faults, surplus)
