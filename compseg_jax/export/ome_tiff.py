"""Pictures as pyramidal OME-TIFF for QuPath, Bio-Formats and whatever reads TIFF.

The smaller levels are SubIFDs of the first page, as OME-TIFF 6 asks; tiles are deflated, which every reader
can undo. https://docs.openmicroscopy.org/ome-model/6.2.2/ome-tiff/specification.html#sub-resolutions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from compseg_jax.export.files import whole_or_absent
from compseg_jax.store_levels import halved_mask, halved_mean, steps

TILE_PX = 512
_CLASSIC_TIFF_BYTES = 2**32 - 2**25


class Picture(Protocol):
    """An array (y, x) of which parts are read at a time: in memory, or on disk as `ome_zarr.open_maps` has it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Some rows, as anything that ``np.asarray`` takes."""


def activation_levels(activation: Float[np.ndarray, "y x"]) -> list[np.ndarray]:
    """An activation map in memory and its halves, until the longer side is at most 512 pixels."""
    return _halves(np.asarray(activation, np.float32), halved_mean)


def mask_levels(mask: UInt8[np.ndarray, "y x"]) -> list[np.ndarray]:
    """A mask in memory and its halves, uint8 of 0 and 1."""
    return _halves((np.asarray(mask) != 0).astype(np.uint8), halved_mask)


def _halves(full: np.ndarray, halved: Any) -> list[np.ndarray]:
    levels = [full]
    for _ in steps((full.shape[0], full.shape[1]))[1:]:
        levels.append(halved(levels[-1]))
    return levels


def write_activation_tiff(
    path: Path | str,
    levels: Sequence[Picture],
    *,
    pixel_size_um: float | None = None,
    name: str = "activation",
) -> None:
    """Writes an activation map as float32 in [0, 1], so that the threshold of the model is that of the image.

    Args:
      path: file to write, such as ``activation.ome.tif``; whole or not at all.
      levels: the map (y, x) and its halves, such as ``open_maps(…).activation`` or `activation_levels`.
      pixel_size_um: edge of a full-resolution pixel in µm, or None where unknown.
      name: of the image.

    Raises:
      ValueError: if a level is not half as large as the one before.
    """
    _write(path, levels, "float32", lambda values: values.astype(np.float32, copy=False), pixel_size_um, name)


def write_mask_tiff(
    path: Path | str,
    levels: Sequence[Picture],
    *,
    pixel_size_um: float | None = None,
    name: str = "segmentation",
) -> None:
    """Writes a mask as uint8, 255 where it is not 0, so that every viewer shows it; see `write_activation_tiff`."""
    _write(
        path,
        levels,
        "uint8",
        lambda values: (values != 0).astype(np.uint8) * np.uint8(255),
        pixel_size_um,
        name,
    )


def _write(
    path: Path | str,
    levels: Sequence[Picture],
    data_type: str,
    converted: Any,
    pixel_size_um: float | None,
    name: str,
) -> None:
    import tifffile

    shapes = [tuple(level.shape) for level in levels]
    for above, below in zip(shapes, shapes[1:], strict=False):
        if below != tuple(-(-size // 2) for size in above):
            raise ValueError(
                f"{path}: levels have the shapes {shapes}, required each half of the one before."
            )
    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": [name]}}
    options: dict[str, Any] = {"tile": (TILE_PX, TILE_PX), "compression": "zlib", "photometric": "minisblack"}
    if pixel_size_um is not None:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    raw_bytes = sum(int(np.prod(shape)) for shape in shapes) * np.dtype(data_type).itemsize
    with (
        whole_or_absent(path) as partial,
        tifffile.TiffWriter(partial, bigtiff=raw_bytes > _CLASSIC_TIFF_BYTES, ome=True) as file,
    ):
        for number, level in enumerate(levels):
            file.write(
                _tiles(level, converted),
                shape=level.shape,
                dtype=data_type,
                **options,
                **_resolution(pixel_size_um, 2**number),
                **({"subifds": len(levels) - 1, "metadata": metadata} if number == 0 else {"subfiletype": 1}),
            )


def _tiles(level: Picture, converted: Any) -> Iterator[np.ndarray]:
    """Tiles in reading order, from one row of them in memory at a time."""
    height, width = level.shape
    for top in range(0, height, TILE_PX):
        rows = converted(np.asarray(level[top : min(top + TILE_PX, height)]))
        for left in range(0, width, TILE_PX):
            yield rows[:, left : left + TILE_PX]


def _resolution(pixel_size_um: float | None, step: int) -> dict[str, Any]:
    if pixel_size_um is None:
        return {}
    pixels_per_cm = 1e4 / (pixel_size_um * step)
    return {"resolution": (pixels_per_cm, pixels_per_cm), "resolutionunit": "CENTIMETER"}
