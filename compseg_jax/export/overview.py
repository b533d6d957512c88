"""A thumbnail of all channels of a cube, gathered while its tiles pass by, for a viewer's first look.

overview.ome.zarr/    image (c, y, x), float32, one level whose longer side has at most 512 pixels
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compseg_jax import ome
from compseg_jax.store import StoreError
from compseg_jax.store_levels import (
    LONGEST_SIDE_OF_LAST_LEVEL_PX,
    Level,
    create_level,
    open_levels,
    write_group,
)


class OverviewWriter:
    """Means of square blocks of pixels, all channels of them; tiles of any size in any order, each pixel once."""

    def __init__(
        self,
        path: Path | str,
        shape: tuple[int, int, int],
        *,
        pixel_size_um: float | None = None,
        wavenumbers_cm1: np.ndarray | None = None,
    ) -> None:
        """Begins a thumbnail of a cube of ``shape`` (y, x, c); raises StoreError where ``path`` exists."""
        self.path = Path(path)
        if self.path.exists():
            raise StoreError(f"{self.path} exists already. Remove it, or choose another place.")
        height, width, channels = shape
        self.step = -(-max(height, width) // LONGEST_SIDE_OF_LAST_LEVEL_PX)
        """Full-resolution pixels that a pixel of the thumbnail spans in each direction."""
        self._shape = shape
        self._pixel_size_um = pixel_size_um
        self._wavenumbers_cm1 = wavenumbers_cm1
        size = (-(-height // self.step), -(-width // self.step))
        self._sums = np.zeros((*size, channels), np.float32)
        self._pixels = np.zeros(size, np.int64)

    def add(self, y0: int, x0: int, cube: Float[np.ndarray, "h w c"]) -> None:
        """Adds a tile whose first pixel is (y0, x0); raises StoreError where it reaches out of the image."""
        height, width, channels = cube.shape
        inside = 0 <= y0 and 0 <= x0 and y0 + height <= self._shape[0] and x0 + width <= self._shape[1]
        if not inside or channels != self._shape[2]:
            raise StoreError(
                f"{self.path}: a tile {cube.shape} at row {y0}, column {x0} does not fit the cube {self._shape}."
            )
        top, rows = _blocks(y0, height, self.step)
        left, columns = _blocks(x0, width, self.step)
        sums = np.add.reduceat(np.add.reduceat(cube.astype(np.float32, copy=False), rows, 0), columns, 1)
        region = (slice(top, top + len(rows)), slice(left, left + len(columns)))
        self._sums[region] += sums
        self._pixels[region] += np.outer(np.diff([*rows, height]), np.diff([*columns, width]))

    def finish(self) -> Level:
        """Writes the thumbnail, whole or not at all; blocks of which no pixel was added are 0."""
        means = self._sums / np.maximum(self._pixels, 1).astype(np.float32)[..., None]
        thumbnail = np.ascontiguousarray(means.transpose(2, 0, 1))
        staging = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(staging, ignore_errors=True)
        level = create_level(staging / "0", thumbnail.shape, "float32", "cyx")
        level[:] = thumbnail
        group = ome.pyramid_group(self.path.name.split(".")[0], "cyx", [self.step], self._pixel_size_um)
        axis = None if self._wavenumbers_cm1 is None else [float(value) for value in self._wavenumbers_cm1]
        group["attributes"]["compseg"] = {"wavenumbers_cm1": axis, "step_px": self.step}
        write_group(staging, group)
        staging.rename(self.path)
        return open_levels(self.path)[0]


@dataclass(frozen=True)
class Overview:
    """A thumbnail on disk; nothing is read before a part is asked for."""

    bands: Level
    """(c, y, x) float32: ``bands[3:4]`` reads the fourth channel alone."""
    step: int
    """Full-resolution pixels that a pixel spans in each direction."""
    wavenumbers_cm1: np.ndarray | None
    """Axis of the channels, or None for ordinary images."""


def _blocks(start: int, length: int, step: int) -> tuple[int, np.ndarray]:
    """First block that pixels from ``start`` on lie in, and where in them each block begins."""
    first = start // step
    begins = np.arange(first, (start + length - 1) // step + 1) * step - start
    begins[0] = 0
    return first, begins
