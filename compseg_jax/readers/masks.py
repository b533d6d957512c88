"""Masks: which pixels of an image count."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.formats import array, image


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a reference or tissue mask from a PNG, TIFF or .npy file.

    Returns:
      bool array of shape (y, x), True where any channel is not zero.

    Raises:
      CubeError: if the file is damaged, not of two dimensions (three with channels), or holds NaN.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = array.load(path)
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3)):
            raise CubeError(f"{path}: found a mask of shape {values.shape}; required is (y, x).")
        values = values.reshape(*values.shape[:2], -1)
    else:
        values = image.read(path).absorbance
    if values.dtype.kind == "f" and np.any(np.isnan(values)):
        raise CubeError(
            f"{path}: the mask holds NaN; required are numbers, zero outside and not zero inside."
        )
    inside: np.ndarray = np.any(np.asarray(values) != 0, axis=2)
    return inside
