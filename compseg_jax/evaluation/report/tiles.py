"""Activation maps, masks and the layers of an overlay of evaluated samples as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from compseg_jax.drawing.pictures import (
    LARGEST_OPACITY,
    OUTLINE,
    OUTLINE_EDGE,
    SEGMENTATION,
    SPREAD,
    UNFAMILIAR,
    activation_colour,
    data_uri,
    jpeg_bytes,
    outline_levels,
    palette_png,
    png_bytes,
)
from compseg_jax.evaluation.scores.sample_scores import SampleResult

FULL_SPREAD = 0.25  # drawn at full strength: half of the largest possible standard deviation
LARGEST_SPREAD = 0.5
FULL_UNFAMILIARITY = 3.0  # drawn at full strength: three times the limit
UNFAMILIARITY_UNIT = 50
"""Grey value of a pixel at the limit in unfamiliar/<id>.png; 255 is 5.1 limits and more."""
ACTIVATION_LEVELS = 16
LONGEST_SIDE_PX = 256
SHEET_BYTES = 11_000_000


@dataclass(frozen=True)
class Tile:
    """Layers of one overlay as data URIs, from bottom to top; all cover the same field of view."""

    preview: str
    activation: str
    segmentation: str
    outline: str | None
    """The outline of the reference; None where there is none to draw."""
    aspect: float
    """Width over height."""
    spread: str | None = None
    """Disagreement of the networks; None where there was one."""
    unfamiliar: str | None = None
    """What lies outside of training; None where the model cannot say."""


def activation_png(result: SampleResult) -> bytes:
    """8-bit grey PNG of value·255, as in Schuhmacher et al. 2019; 0 outside the tissue."""
    return png_bytes(Image.fromarray(np.rint(result.predicted_activation() * 255).astype(np.uint8)))


def mask_png(result: SampleResult, threshold: float) -> bytes:
    """8-bit grey PNG of the segmentation: 255 above the threshold, else 0."""
    return png_bytes(Image.fromarray(result.predicted_mask(threshold).astype(np.uint8) * 255))


def spread_png(spread: np.ndarray) -> bytes:
    """8-bit grey PNG of a standard deviation of activations: 255 is .5, the largest possible."""
    return png_bytes(Image.fromarray(np.rint(np.clip(spread / LARGEST_SPREAD, 0, 1) * 255).astype(np.uint8)))


def unfamiliarity_png(unfamiliarity: np.ndarray) -> bytes:
    """8-bit grey PNG of how far pixels lie outside of training: above `UNFAMILIARITY_UNIT` is outside."""
    levels = np.floor(np.clip(unfamiliarity * UNFAMILIARITY_UNIT, 0, 255))
    # No pixel outside may be rounded onto the limit.
    outside = (unfamiliarity > 1) & (levels <= UNFAMILIARITY_UNIT)
    return png_bytes(Image.fromarray(np.where(outside, UNFAMILIARITY_UNIT + 1, levels).astype(np.uint8)))


def contact_sheet(
    results: Sequence[SampleResult], threshold: float, *, max_bytes: int = SHEET_BYTES
) -> list[Tile]:
    """A tile for each sample, native size up to 256 px a side, less where all would exceed `max_bytes`."""
    side = LONGEST_SIDE_PX
    while True:
        tiles = [_tile(result, threshold, side) for result in results]
        size = sum(len(tile.preview) + len(tile.activation) + len(tile.segmentation) for tile in tiles)
        size += sum(
            len(tile.outline or "") + len(tile.spread or "") + len(tile.unfamiliar or "") for tile in tiles
        )
        if size <= max_bytes or side <= 16:
            return tiles
        side = max(16, min(side - 8, int(side * math.sqrt(max_bytes / size) * 0.95)))


def _tile(result: SampleResult, threshold: float, side: int) -> Tile:
    y, x = result.activation.shape
    scale = min(1.0, side / max(y, x))
    size = (max(1, round(x * scale)), max(1, round(y * scale)))
    activation = np.asarray(Image.fromarray(result.predicted_activation()).resize(size, Image.Resampling.BOX))
    levels = np.rint(activation * (ACTIVATION_LEVELS - 1)).astype(np.uint8)
    mask = _resized(result.predicted_mask(threshold), size)
    outline = None
    if result.reference is not None and result.reference.any():
        zoom = max(1, side // max(size))
        outline = data_uri(_outline_png(_resized(result.reference, size), zoom))
    return Tile(
        preview=_preview(result.preview, size),
        activation=data_uri(palette_png(levels, _activation_palette())),
        segmentation=data_uri(palette_png(mask.astype(np.uint8), {1: (*SEGMENTATION, 150)})),
        outline=outline,
        aspect=x / y,
        spread=None if result.spread is None else data_uri(_spread_layer(result.spread, size)),
        unfamiliar=None
        if result.unfamiliarity is None
        else data_uri(_unfamiliar_layer(result.unfamiliarity, size)),
    )


def _preview(values: np.ndarray, size: tuple[int, int]) -> str:
    """Grey, or the colours that the picture has; colours as JPEG, a tenth of what PNG takes for a photograph."""
    shown = Image.fromarray(np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8))
    shown = shown.resize(size, Image.Resampling.BOX)
    return data_uri(png_bytes(shown)) if values.ndim == 2 else data_uri(jpeg_bytes(shown), "jpeg")


def _spread_layer(spread: np.ndarray, size: tuple[int, int]) -> bytes:
    return _layer(spread / FULL_SPREAD, size, SPREAD)


def _unfamiliar_layer(unfamiliarity: np.ndarray, size: tuple[int, int]) -> bytes:
    """Transparent up to the limit: a pixel that is like the training has no colour."""
    outside = np.where(unfamiliarity > 1, 0.4 + 0.6 * (unfamiliarity - 1) / (FULL_UNFAMILIARITY - 1), 0)
    return _layer(np.minimum(outside, 1), size, UNFAMILIAR)


def _layer(strength: np.ndarray, size: tuple[int, int], colour: tuple[int, int, int]) -> bytes:
    """One colour, opaque by the strength from 0 to 1."""
    values = np.asarray(Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BOX))
    last = ACTIVATION_LEVELS - 1
    levels = np.rint(np.clip(values, 0, 1) * last).astype(np.uint8)
    palette = {
        level: (*colour, round(255 * LARGEST_OPACITY * level / last)) for level in range(ACTIVATION_LEVELS)
    }
    return palette_png(levels, palette)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 127


def _activation_palette() -> dict[int, tuple[int, int, int, int]]:
    return {level: activation_colour(level / (ACTIVATION_LEVELS - 1)) for level in range(ACTIVATION_LEVELS)}


def _outline_png(mask: np.ndarray, zoom: int) -> bytes:
    return palette_png(outline_levels(mask, zoom), {1: (*OUTLINE_EDGE, 150), 2: (*OUTLINE, 255)})
