"""Colours of maps and outlines, and pictures as PNG bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image

from compseg_jax.drawing.style import rgb

ACTIVATION_LOW, ACTIVATION_HIGH = rgb("activation-low"), rgb("activation-high")
SEGMENTATION, SPREAD, UNFAMILIAR = rgb("segmentation"), rgb("spread"), rgb("unfamiliar")
OUTLINE, OUTLINE_EDGE = rgb("outline"), rgb("outline-edge")
LARGEST_OPACITY = 0.8


def brightest(values: np.ndarray) -> float:
    """The number that is shown brightest in a picture: 1, 255 or 65535, or its largest where that lies beyond."""
    largest = float(np.max(values, initial=0, where=np.isfinite(values)))
    return next((full for full in (1.0, 255.0, 65535.0) if largest <= full), largest)


def colours_shown(values: np.ndarray, full: float | None = None) -> np.ndarray:
    """Red, green and blue of a picture (…, 3) from 0 to 1; what is not finite is 0.

    Args:
      values: the numbers of the picture, or of a part of it.
      full: the number that is shown brightest; `brightest` of the values where None.
    """
    shown = values / (brightest(values) if full is None else full)
    return np.clip(np.nan_to_num(shown, posinf=0, neginf=0), 0, 1)


def activation_colour(value: float) -> tuple[int, int, int, int]:
    """RGBA, 0–255, that an activation in [0, 1] is drawn in on top of the grey preview."""
    low, high = np.array(ACTIVATION_LOW), np.array(ACTIVATION_HIGH)
    red, green, blue = (int(part) for part in np.rint(low + (high - low) * value))
    return red, green, blue, round(255 * LARGEST_OPACITY * value)


def activation_ramp() -> str:
    """All activations from left to right, as CSS."""
    stops = []
    for step in range(9):
        red, green, blue, alpha = activation_colour(step / 8)
        stops.append(f"rgba({red},{green},{blue},{alpha / 255:.2f}) {step / 8:.1%}")
    return f"linear-gradient(90deg,{','.join(stops)})"


def outline_levels(mask: np.ndarray, zoom: int) -> np.ndarray:
    """Inner edge of the mask (2) and a line around it (1), drawn `zoom` times finer than its pixels; 0 elsewhere."""
    fine = np.kron(mask, np.ones((zoom, zoom), np.bool_))
    width = 2 if zoom > 1 else 1
    line = fine & ~_eroded(fine, width)
    edge = _eroded(~line, 1) ^ ~line
    return np.where(line, 2, np.where(edge & ~fine, 1, 0)).astype(np.uint8)


def _eroded(mask: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        padded = np.pad(mask, 1, constant_values=True)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def palette_png(index: np.ndarray, colours: Mapping[int, tuple[int, int, int, int]]) -> bytes:
    """PNG of palette indices; an index without a colour is transparent."""
    count = max(colours) + 1
    rgba = [colours.get(i, (0, 0, 0, 0)) for i in range(count)]
    image = Image.fromarray(index).convert("P")
    image.putdata(index.ravel())
    image.putpalette([part for colour in rgba for part in colour[:3]])
    buffer = io.BytesIO()
    bits = max(1, math.ceil(math.log2(count)))
    image.save(buffer, "PNG", optimize=True, bits=bits, transparency=bytes(colour[3] for colour in rgba))
    return buffer.getvalue()


def png_bytes(image: Image.Image) -> bytes:
    """An image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # zlib's best takes four times as long and saves a twentieth
    return buffer.getvalue()


def jpeg_bytes(image: Image.Image) -> bytes:
    """An image as JPEG, for photographs."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def data_uri(picture: bytes, kind: str = "png") -> str:
    """A picture as the source of an image inside a page."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")
