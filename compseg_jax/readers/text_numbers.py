"""Tables of numbers in text, as arrays: quickly where they are plain, else cell by cell, with the row at fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compseg_jax.readers import text_lines
from compseg_jax.readers.cube import CubeError

_TOLD_BY = 20


def read(
    lines: Sequence[str], first_row: int, path: Path, *, columns: Sequence[int] | None = None
) -> Float[np.ndarray, "row column"]:
    """The numbers in the columns of all rows, float64.

    Args:
      lines: the rows, none of them empty.
      first_row: number of the first of them in the table, for messages.
      path: the file, for messages.
      columns: the columns that hold numbers, None for all.

    Raises:
      CubeError: if a row has another length than the first, or a cell of these columns is no number.
    """
    few = text_lines.cells(list(lines[:_TOLD_BY]), path)
    cells = len(few[0])
    wanted = list(range(cells)) if columns is None else list(columns)
    for delimiter in ("\t", ";", ",", None):
        if [[cell.strip() for cell in line.split(delimiter)] for line in lines[:_TOLD_BY]] != few:
            continue
        try:
            values = np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, ndmin=2)
        except ValueError:
            break  # which row is at fault, or how its numbers are written, is found below
        if values.shape == (len(lines), cells) and cells > max(wanted):
            return values[:, wanted]
    rows = text_lines.cells(list(lines), path)
    values = np.empty((len(rows), len(wanted)))
    for at, row in enumerate(rows):
        if len(row) != cells or cells <= max(wanted):
            raise CubeError(
                f"{path}: row {at + first_row} has {len(row)} cells; required are {cells} as in the first."
            )
        for place, column in enumerate(wanted):
            if not text_lines.is_number(row[column]):
                raise CubeError(
                    f"{path}: row {at + first_row}, cell {column + 1} is {row[column]!r}; required is a number."
                )
            values[at, place] = text_lines.number(row[column])
    return values
