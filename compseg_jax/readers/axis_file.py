"""An axis given in a file of its own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.formats.array import load


def read_axis(path: Path) -> np.ndarray:
    """Reads wavenumbers in cm⁻¹ from a .npy file, or from text with blanks, commas or lines between; shape (c,).

    Raises:
      CubeError: if the file holds anything but numbers.
    """
    try:
        if path.suffix.lower() == ".npy":
            return load(path).astype(np.float64).ravel()
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        words = " ".join(line.partition("#")[0] for line in lines)
        return np.array([float(word) for word in re.split(r"[\s,;]+", words) if word])
    except ValueError as error:  # that of Unicode is one, too
        raise CubeError(
            f"{path}: cannot be read as an axis ({error}); required are only numbers, one wavenumber in cm⁻¹ "
            "for each channel, as text or .npy. Correct the file given with --axis."
        ) from error
