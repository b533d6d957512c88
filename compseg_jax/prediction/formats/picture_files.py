"""Pictures read some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

ROWS_AT_ONCE = 512


@runtime_checkable
class Picture(Protocol):
    """An array (y, x) of which some rows are read at a time: in memory, or on disk as `open_maps` gives it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Some rows, as anything that ``np.asarray`` takes."""


def strips(picture: Picture) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a picture from top to bottom, 512 at a time: where they are, and their values."""
    height = picture.shape[0]
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, min(top + ROWS_AT_ONCE, height))
        yield rows, np.asarray(picture[rows])


def mask_255(values: np.ndarray) -> np.ndarray:
    """uint8: 255 where a mask is not 0, so that every viewer shows it."""
    return np.where(values != 0, np.uint8(255), np.uint8(0))
