"""Text of unknown encoding, delimiter and decimal mark: its lines, their cells, and numbers.

Instruments' programs write in the encoding of their Windows (cp1252), in UTF-8 or in UTF-16, and numbers with
the decimal mark of the country. Nothing here knows what the cells mean.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from compseg_jax.config.regular_files import refuse_special
from compseg_jax.readers.cube import CubeError

_MAX_BYTES = 1 << 31
# The longer mark first: that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JUDGED_BY = 10_000
"""Numbers with commas by which their meaning is judged; more where these leave it open."""
_DELIMITERS = ("\t", ";", ",")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_WITH_COMMAS = re.compile(r"[+-]?\d[\d,]*(?:\.\d*)?(?:[eE][+-]?\d+)?")
_WITH_POINTS = re.compile(r"[+-]?\d[\d.]*,\d*(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


def decoded(content: bytes, path: Path) -> tuple[str, str]:
    """Text and the name of its encoding: that of its byte-order mark, else UTF-16, UTF-8 or cp1252 as it fits.

    Raises:
      CubeError: if the bytes are no text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        # Numbers in UTF-16 are digits and NULs by turns.
        first = content[:4096]
        share = [first[start::2].count(0) / max(len(first[start::2]), 1) for start in (0, 1)]
        encoding = (
            "utf-16-le" if share[1] > 0.5 > share[0] else "utf-16-be" if share[0] > 0.5 > share[1] else None
        )
        if encoding is None:
            raise CubeError(
                f"{path}: it holds bytes that are no text. Give a text file, or correct its suffix."
            )
    if encoding is not None:
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError as error:
            raise CubeError(
                f"{path}: its text is not all {encoding} ({error.reason}); cut or damaged."
            ) from error
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in whatever encoding, without their ends.

    Raises:
      CubeError: if the file is no text, or larger than 2 GiB.
      NotRegularError: if it is a named pipe, a socket or a device.
    """
    refuse_special(path)
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise CubeError(f"{path}: {size} bytes are too many for a text table; export it in a binary format.")
    # str.splitlines also breaks at characters that cp1252 and Latin-1 have within lines.
    return re.split(r"\r\n|\n|\r", decoded(path.read_bytes(), path)[0])


def cells(lines: Sequence[str], path: Path) -> list[list[str]]:
    """Cells of the lines of a table; decimal commas become points, separators of thousands are removed.

    The delimiter is the tab, semicolon or comma that the most lines have, else blanks. Cells may stand in double
    quotes. A comma within numbers, where it is not the delimiter, marks decimals.

    Raises:
      CubeError: if a comma may mark decimals or thousands.
    """
    delimiter = _delimiter(lines)
    if delimiter is None:
        rows = [line.split() for line in lines]
    elif any('"' in line for line in lines):
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
    else:
        rows = [[cell.strip() for cell in line.split(delimiter)] for line in lines]
    if delimiter == "," and not any('"' in line for line in lines):
        return rows
    return _with_points(rows, path)


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point."""
    return _NUMBER.fullmatch(cell) is not None


def number(cell: str) -> float:
    """The number in a cell for which `is_number` holds; D marks the exponent as in Fortran."""
    try:
        return float(cell)
    except ValueError:
        return float(cell.lower().replace("d", "e"))


def _delimiter(lines: Sequence[str]) -> str | None:
    """The delimiter of most lines; a decimal comma is in as many lines as the delimiter and comes last."""
    counts = {mark: sum(mark in line for line in lines) for mark in _DELIMITERS}
    most = max(counts.values(), default=0)
    found = (
        next((mark for mark in _DELIMITERS if counts[mark] == most), None) if 2 * most > len(lines) else None
    )
    if found == "," and all(_is_blank_delimited(line) for line in lines if "," in line):
        return None
    return found


def _is_blank_delimited(line: str) -> bool:
    """Whether blanks part numbers with decimal commas: `1000,5  0,25`."""
    parts = line.split()
    return len(parts) > 1 and all(re.fullmatch(r"[+-]?\d*,?\d+(?:[eE][+-]?\d+)?", part) for part in parts)


def _with_points(rows: list[list[str]], path: Path) -> list[list[str]]:
    found = (cell for row in rows for cell in row if "," in cell and _looks_like_number(cell))
    commas = list(itertools.islice(found, _JUDGED_BY))
    if commas and all(_THOUSANDS.fullmatch(cell) for cell in commas):
        commas += found
    if not commas:
        return rows
    if any(_WITH_POINTS.fullmatch(cell) and "." in cell for cell in commas):
        remove, decimal = ".", ","
    elif any("." in cell or cell.count(",") > 1 for cell in commas):
        remove, decimal = ",", "."
    elif all(_THOUSANDS.fullmatch(cell) for cell in commas):
        raise CubeError(
            f"{path}: {commas[0]!r} may have a decimal comma or a comma after thousands, as all numbers with "
            "commas here. Export it with a decimal point and without separators of thousands."
        )
    else:
        remove, decimal = "", ","
    return [[_plain(cell, remove, decimal) for cell in row] for row in rows]


def _looks_like_number(cell: str) -> bool:
    return bool(
        _WITH_COMMAS.fullmatch(cell) or _WITH_POINTS.fullmatch(cell) or re.fullmatch(r"[+-]?,\d+", cell)
    )


def _plain(cell: str, remove: str, decimal: str) -> str:
    if "," not in cell and (not remove or remove not in cell):
        return cell
    changed = (cell.replace(remove, "") if remove else cell).replace(decimal, ".")
    return changed if is_number(changed) else cell


def without_comments(lines: Iterable[str], marks: tuple[str, ...] = ("#", ";")) -> list[str]:
    """The lines that are neither empty nor comments."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith(marks)]
