"""A thumbnail of all channels of a cube, gathered while its tiles pass by, for a viewer's first look.

    overview.ome.zarr/    image (c, y, x), float32, one level whose longer side has at most 512 pixels

Its pixels are those of the last level of the activation map: `step` × `step` full-resolution pixels each, `step` a
power of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compseg_jax.config.locations import Location, location
from compseg_jax.runtime.files import begin_staging, put_new, remove
from compseg_jax.store import ome
from compseg_jax.store.chunk_trailers import KEY
from compseg_jax.store.pyramid import (
    Level,
    create_level,
    group_attributes,
    open_levels,
    steps,
    trailers_below,
    trailers_of,
    write_group,
)
from compseg_jax.store.read import StoreError

_MEANS = "means.npy"


def overview_step(shape: tuple[int, int]) -> int:
    """Full-resolution pixels that a pixel of the thumbnail spans in each direction, for an image (y, x)."""
    return steps(shape)[-1]


@dataclass(frozen=True)
class Overview:
    """A thumbnail on disk; nothing is read before a part is asked for."""

    bands: Level
    """(c, y, x) float32: ``bands[3:4]`` reads the fourth channel alone."""
    step: int
    """Full-resolution pixels that a pixel spans in each direction."""
    wavenumbers_cm1: np.ndarray | None
    """Axis of the channels (c,), or None for ordinary images."""


def open_overview(path: Location | str, sha256: str = "") -> Overview:
    """Opens an overview.ome.zarr, or one below a URL; arguments and errors are those of `ome_zarr.open_maps`."""
    path = location(path)
    (bands,) = open_levels(path, trailers_below(path, sha256))
    about = group_attributes(path).get("compseg", {})
    axis = about.get("wavenumbers_cm1")
    if type(about.get("step_px")) is not int:
        raise StoreError(f"{path} states no step_px, so it is no overview. Predict again.")
    return Overview(bands, about["step_px"], None if axis is None else np.asarray(axis, np.float64))


class OverviewWriter:
    """Writes the means of square blocks of pixels, all channels of them, tile by tile in any order.

    They wait in a hidden folder beside ``path`` that `finish` puts there. Memory holds one tile's.
    """

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
        self.step = overview_step((height, width))
        self._shape = (height, width, channels)
        self._pixel_size_um = pixel_size_um
        self._wavenumbers_cm1 = wavenumbers_cm1
        size = (-(-height // self.step), -(-width // self.step), channels)
        self._staging = begin_staging(self.path)
        self._staging.mkdir()
        self._means: np.memmap | None = np.lib.format.open_memmap(
            self._staging / _MEANS, "w+", np.float32, size
        )

    def write(self, y0: int, x0: int, cube: Float[np.ndarray, "h w c"]) -> None:
        """Adds a tile whose first pixel is (y0, x0).

        Raises:
          StoreError: if the tile reaches out of the image, or its edges are neither multiples of `step` nor those
            of the image.
        """
        height, width, channels = cube.shape
        for begin, end, size in ((y0, y0 + height, self._shape[0]), (x0, x0 + width, self._shape[1])):
            is_whole = begin % self.step == 0 and (end % self.step == 0 or end == size)
            if begin < 0 or end > size or not is_whole or channels != self._shape[2]:
                raise StoreError(
                    f"{self.path}: a tile {cube.shape} at row {y0}, column {x0} does not fit the cube {self._shape}; "
                    f"required are edges at multiples of {self.step} or at the border."
                )
        rows, columns = np.arange(0, height, self.step), np.arange(0, width, self.step)
        sums = np.add.reduceat(np.add.reduceat(cube.astype(np.float32, copy=False), rows, 0), columns, 1)
        pixels = np.outer(np.diff([*rows, height]), np.diff([*columns, width])).astype(np.float32)
        top, left = y0 // self.step, x0 // self.step
        assert self._means is not None
        self._means[top : top + len(rows), left : left + len(columns)] = sums / pixels[..., None]

    def write_row(self, y0: int, row: Float[np.ndarray, "w c"]) -> None:
        """Adds all blocks that begin at row ``y0`` from one of their rows, which stands for the others.

        Raises:
          StoreError: if the row is not as wide as the image, or no block begins there.
        """
        if y0 % self.step or not 0 <= y0 < self._shape[0] or row.shape != self._shape[1:]:
            raise StoreError(
                f"{self.path}: a row {row.shape} for the blocks at row {y0} does not fit the cube {self._shape}; "
                f"required are its whole width and a multiple of {self.step}."
            )
        columns = np.arange(0, self._shape[1], self.step)
        sums = np.add.reduceat(row.astype(np.float32, copy=False), columns, 0)
        assert self._means is not None
        self._means[y0 // self.step] = sums / np.diff([*columns, self._shape[1]]).astype(np.float32)[:, None]

    def finish(self) -> Overview:
        """Puts the thumbnail in its place; blocks that were never written are 0."""
        assert self._means is not None
        size = self._means.shape
        level = create_level(self._staging / "0", (size[2], *size[:2]), "float32", "cyx")
        for first in range(0, size[2], ome.BANDS_IN_FILE):
            bands = slice(first, min(first + ome.BANDS_IN_FILE, size[2]))
            level[bands] = np.ascontiguousarray(self._means[..., bands].transpose(2, 0, 1))
        self._means = None
        (self._staging / _MEANS).unlink()
        group = ome.pyramid_group(self.path.name.split(".")[0], "cyx", [self.step], self._pixel_size_um)
        axis = None if self._wavenumbers_cm1 is None else [float(value) for value in self._wavenumbers_cm1]
        about = {"wavenumbers_cm1": axis, "step_px": self.step, KEY: trailers_of({"0": level})}
        group["attributes"]["compseg"] = about
        write_group(self._staging, group)
        put_new(self._staging, self.path)
        return open_overview(self.path)

    def discard(self) -> None:
        """Removes what was written so far."""
        self._means = None
        remove(self._staging)
