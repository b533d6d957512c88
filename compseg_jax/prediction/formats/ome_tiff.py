"""Pictures as pyramidal OME-TIFF for QuPath, Bio-Formats and whatever reads TIFF.

The smaller levels are SubIFDs of the first page, as OME-TIFF has them since its version 6; tiles are deflated,
which every reader can undo.
https://docs.openmicroscopy.org/ome-model/6.2.2/ome-tiff/specification.html#sub-resolutions
"""

from __future__ import annotations

import hashlib
import itertools
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compseg_jax.prediction.formats.picture_files import (
    ROWS_AT_ONCE,
    Picture,
    mask_255,
    strips,
)
from compseg_jax.runtime.files import atomic_file
from compseg_jax.store.pyramid import halved_mean, steps

TILE_PX = ROWS_AT_ONCE
_CLASSIC_TIFF_BYTES = 2**32 - 2**27  # offsets have 32 bits; deflate can make noise a little longer
Conversion = Callable[[np.ndarray], np.ndarray]


def activation_levels(activation: Float[np.ndarray, "y x"]) -> list[np.ndarray]:
    """An activation map in memory and its halves (means), until the longer side is at most 512 pixels."""
    levels = [np.asarray(activation, np.float32)]
    for _ in steps((levels[0].shape[0], levels[0].shape[1]))[1:]:
        levels.append(halved_mean(levels[-1]))
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
    metadata = _metadata(name, "activation", pixel_size_um, levels)
    _write(Path(path), levels, np.dtype(np.float32), _as_float32, metadata)


def write_mask_tiff(
    path: Path | str,
    levels: Sequence[Picture],
    *,
    pixel_size_um: float | None = None,
    name: str = "segmentation",
) -> None:
    """Writes a mask as uint8, 255 where it is not 0, so that every viewer shows it; see `write_activation_tiff`."""
    metadata = _metadata(name, "segmentation", pixel_size_um, levels)
    _write(Path(path), levels, np.dtype(np.uint8), mask_255, metadata)


def _metadata(
    name: str, channel: str, pixel_size_um: float | None, levels: Sequence[Picture]
) -> dict[str, Any]:
    """Of the image, in the names of OME-XML."""
    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": channel}}
    metadata["UUID"] = str(_uuid(channel, levels))
    if pixel_size_um is not None:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    return metadata


def _uuid(channel: str, levels: Sequence[Picture]) -> uuid.UUID:
    """What names the file in OME-XML: of its content, so that the same map gives the same bytes."""
    content = hashlib.sha256(channel.encode())
    for level in levels[:1]:
        content.update(str(tuple(level.shape)).encode())
        for _, rows in strips(level):
            content.update(np.ascontiguousarray(rows))
    return uuid.UUID(bytes=content.digest()[:16], version=5)


def _as_float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32, copy=False)


def _write(
    path: Path,
    levels: Sequence[Picture],
    data_type: np.dtype,
    converted: Conversion,
    metadata: dict[str, Any],
) -> None:
    import tifffile

    shapes = [tuple(level.shape) for level in levels]
    if not shapes or any(b != tuple(-(-size // 2) for size in a) for a, b in itertools.pairwise(shapes)):
        raise ValueError(f"{path}: levels have the shapes {shapes}, required each half of the one before.")
    pixel_size_um = metadata.get("PhysicalSizeX")
    raw_bytes = sum(math.prod(shape) for shape in shapes) * data_type.itemsize
    with (
        atomic_file(path) as partial,
        tifffile.TiffWriter(partial, bigtiff=raw_bytes > _CLASSIC_TIFF_BYTES, ome=True) as file,
    ):
        for number, level in enumerate(levels):
            tile = min(TILE_PX, -(-max(level.shape) // 16) * 16)
            is_full = number == 0
            file.write(
                _tiles(level, tile, converted),
                shape=tuple(level.shape),
                dtype=data_type,
                tile=(tile, tile),
                photometric="minisblack",
                compression="zlib",
                resolution=None if pixel_size_um is None else (1e4 / (pixel_size_um * 2**number),) * 2,
                resolutionunit=None if pixel_size_um is None else "CENTIMETER",
                subifds=len(levels) - 1 if is_full else None,
                subfiletype=0 if is_full else 1,
                metadata=metadata if is_full else None,
            )


def _tiles(level: Picture, tile: int, converted: Conversion) -> Iterator[np.ndarray]:
    """Tiles in reading order, from one row of them in memory at a time."""
    for _, rows in strips(level):
        for left in range(0, level.shape[1], tile):
            yield converted(rows[:, left : left + tile])
