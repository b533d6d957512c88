"""Activation maps and masks as 8-bit PNG, as in Schuhmacher et al. 2019: value·255 rounded; 0 and 255."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from compseg_jax.prediction.formats.picture_files import Picture, mask_255, strips
from compseg_jax.runtime.files import atomic_file

COMPRESSION = 2
"""zlib's, 0 to 9: a map of 4096² pixels takes 0.3 s instead of 1.1 s at 6, and a fifth more bytes."""


def write_activation_png(path: Path | str, activation: Picture) -> None:
    """Writes an activation map (y, x) in [0, 1], read some rows at a time; whole or not at all.

    Raises:
      ValueError: if a value lies outside [0, 1].
    """
    _write(path, activation, _eight_bit)


def write_mask_png(path: Path | str, mask: Picture) -> None:
    """Writes a mask (y, x): 255 where it is not 0, else 0; whole or not at all."""
    _write(path, mask, mask_255)


def _eight_bit(values: np.ndarray) -> np.ndarray:
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "the activation has values that are not from 0 to 1. Check the network and its input."
        )
    return np.rint(values.astype(np.float32) * np.float32(255)).astype(np.uint8)


def _write(path: Path | str, picture: Picture, converted: Callable[[np.ndarray], np.ndarray]) -> None:
    grey = np.empty(picture.shape, np.uint8)
    for rows, values in strips(picture):
        grey[rows] = converted(values)
    with atomic_file(path) as partial, partial.open("wb") as file:
        Image.fromarray(grey).save(file, "PNG", compress_level=COMPRESSION)
