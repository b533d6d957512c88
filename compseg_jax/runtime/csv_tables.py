"""The one writer of CSV tables, and their reader: what a spreadsheet would take for a formula stays text.

A spreadsheet computes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, and a formula can
send what stands beside it elsewhere, or start a program. Names of files, samples and groups come from other people, so
such a text gets an apostrophe in front, which spreadsheets take for 'this is text', and loses it again when it is read.
Numbers are what they are: -1.5 stays -1.5. (OWASP, 'CSV Injection';
https://owasp.org/www-community/attacks/CSV_Injection)
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

APOSTROPHE = "'"
# With the wide forms, which Japanese spreadsheets compute as well. A text that begins with apostrophes before one of
# them gets another one, so that reading takes away what writing has added, and nothing else.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def guarded(cell: object) -> object:
    """A cell as it is written.

    >>> guarded("=1+1"), guarded("'=1+1"), guarded("-1.5"), guarded(-1.5), guarded("B-3")
    ("'=1+1", "''=1+1", '-1.5', -1.5, 'B-3')
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return APOSTROPHE + cell
    return cell


def unguarded(cell: str) -> str:
    """A cell as it was before it was written.

    >>> unguarded("'=1+1"), unguarded("''=1+1"), unguarded("'quoted'")
    ('=1+1', "'=1+1", "'quoted'")
    """
    return cell[1:] if cell.startswith(APOSTROPHE) and _FORMULA.match(cell) else cell


def csv_text(
    columns: Sequence[str],
    rows: Iterable[Sequence[object] | Mapping[str, object]],
    *,
    line_end: str = "\n",
) -> str:
    """A table as text: a line of names, and one a row; None and what a mapping does not hold are empty cells."""
    lines = [_line(columns)]
    for row in rows:
        lines.append(_line([row.get(name) for name in columns] if isinstance(row, Mapping) else row))
    return "".join(line + line_end for line in lines)


def _line(cells: Iterable[object]) -> str:
    """A row without its end. Up to Python 3.12 cells are quoted for the ends of lines that the writer makes alone."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(map(guarded, cells))
    return text.getvalue().removesuffix("\r\n")


def csv_rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of a table that `csv_text` made, each by the names of its columns; a short row lacks the last ones.

    Raises:
      ValueError: where quotes do not match.
    """
    records = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [unguarded(name) for name in next(records, [])]
        for cells in records:
            if cells:
                yield dict(zip(columns, map(unguarded, cells), strict=False))
    except csv.Error as error:
        raise ValueError(f"line {records.line_num} is no CSV: {error}") from error
