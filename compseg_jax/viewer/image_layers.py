"""Parts of an image at the resolution that a screen shows, read from a pyramid of resolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

MOST_PX = 1024
"""Longest edge of a layer: about what a screen shows at once."""
ROWS_AT_ONCE = 512


@runtime_checkable
class Level(Protocol):
    """An array whose last two axes are y and x, read where it is sliced."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extent; the last two are rows and columns."""

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of it."""


@dataclass(frozen=True)
class ArrayLevel:
    """An array in memory as a level."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extent."""
        return self.values.shape

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of it, not copied."""
        part: np.ndarray = self.values[..., rows, columns]
        return part


@dataclass(frozen=True)
class Window:
    """A rectangle in pixels of the full resolution; ends are exclusive and may be fractions of a pixel."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def longest_px(self) -> float:
        """Its longer edge."""
        return max(self.bottom - self.top, self.right - self.left)

    @property
    def n_px(self) -> float:
        """Its area."""
        return (self.bottom - self.top) * (self.right - self.left)

    def whole_px(self) -> Window:
        """The whole pixels that it touches, at least one."""
        top, left = int(np.floor(self.top)), int(np.floor(self.left))
        return Window(
            top, max(top + 1, int(np.ceil(self.bottom))), left, max(left + 1, int(np.ceil(self.right)))
        )

    def widened(self, part: float, shape_px: tuple[int, int]) -> Window:
        """Wider by a part of its size on each side, clipped to an image of this shape."""
        rows, columns = part * (self.bottom - self.top), part * (self.right - self.left)
        height, width = shape_px
        top, left = min(max(0.0, self.top - rows), height), min(max(0.0, self.left - columns), width)
        return Window(
            top, max(top, min(height, self.bottom + rows)), left, max(left, min(width, self.right + columns))
        )

    def contains(self, other: Window) -> bool:
        """Whether the other lies in it."""
        return (
            self.top <= other.top
            and self.bottom >= other.bottom
            and self.left <= other.left
            and self.right >= other.right
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """A part of an image as it is drawn.

    Attributes:
      values: (y, x) or (c, y, x).
      window: what it covers, in pixels of the full resolution.
      factor: pixels of the full resolution along an edge of one of its pixels.
    """

    values: np.ndarray
    window: Window
    factor: float


@dataclass(frozen=True)
class Pyramid:
    """The same image at falling resolution.

    Attributes:
      levels: finest first.
      shape_px: rows and columns of the image they belong to; that of the first level, but for an overview alone.
    """

    levels: tuple[Level, ...]
    shape_px: tuple[int, int]

    @classmethod
    def of_array(cls, values: np.ndarray, most_px: int = MOST_PX) -> Pyramid:
        """An array in memory with means over 2×2, 4×4 … pixels, until the longer edge is at most ``most_px``."""
        levels = [ArrayLevel(values)]
        while max(levels[-1].shape[-2:]) > most_px:
            levels.append(ArrayLevel(halved(levels[-1].values)))
        return cls(tuple(levels), (values.shape[-2], values.shape[-1]))

    def factor(self, index: int) -> float:
        """Pixels of the image along an edge of a pixel of a level.

        A whole number where its size is that of the image, divided by it and rounded up.
        """
        shape = self.levels[index].shape[-2:]
        factor = max(whole / part for whole, part in zip(self.shape_px, shape, strict=True))
        nearest = math.ceil(factor - 1e-9)
        fits = all(-(-whole // nearest) == part for whole, part in zip(self.shape_px, shape, strict=True))
        return nearest if fits else factor

    def level_for(self, window: Window, most_px: int = MOST_PX) -> int:
        """The finest level that shows a window in at most ``most_px`` pixels per side; else the coarsest."""
        for index in range(len(self.levels)):
            if window.longest_px / self.factor(index) <= most_px:
                return index
        return len(self.levels) - 1

    @property
    def whole(self) -> Window:
        """All of the image."""
        return Window(0, self.shape_px[0], 0, self.shape_px[1])

    def read(self, window: Window, most_px: int = MOST_PX) -> Layer:
        """A window at the resolution that fits ``most_px``; only what it touches is read."""
        index = self.level_for(window, most_px)
        level = self.levels[index]
        height, width = level.shape[-2:]
        factor = self.factor(index)
        rows = _touched(window.top, window.bottom, factor, height)
        columns = _touched(window.left, window.right, factor, width)
        covered = Window(
            rows.start * factor, rows.stop * factor, columns.start * factor, columns.stop * factor
        )
        return Layer(level.read(rows, columns), covered, factor)

    def overview(self, most_px: int = MOST_PX) -> Layer:
        """All of the image."""
        return self.read(self.whole, most_px)

    def strips(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The full resolution, some rows at a time, with their place."""
        height, width = self.levels[0].shape[-2:]
        for top in range(0, height, ROWS_AT_ONCE):
            rows = slice(top, min(top + ROWS_AT_ONCE, height))
            yield rows, self.levels[0].read(rows, slice(0, width))


def _touched(start: float, stop: float, factor: float, size: int) -> slice:
    first = min(size - 1, max(0, int(np.floor(start / factor))))
    return slice(first, max(first + 1, min(size, int(np.ceil(stop / factor)))))


def halved(values: np.ndarray) -> np.ndarray:
    """Means over 2×2 pixels of the last two axes; a last odd row or column is averaged with itself."""
    height, width = values.shape[-2:]
    odd = [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)]
    padded = np.pad(values.astype(np.float32, copy=False), odd, mode="edge")
    shape = (*values.shape[:-2], (height + 1) // 2, 2, (width + 1) // 2, 2)
    return padded.reshape(shape).mean(axis=(-3, -1))


def nearest(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The last two axes brought to another size by the pixel nearest to each new centre."""
    index: list[Any] = []
    for old, new in zip(values.shape[-2:], shape, strict=True):
        index.append(np.minimum(old - 1, ((np.arange(new) + 0.5) * old / new).astype(int)))
    brought: np.ndarray = values[..., index[0][:, None], index[1][None, :]]
    return brought
