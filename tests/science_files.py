"""Files of formats from mass spectrometry, pathology, radiology and beamlines, by each format's usual writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def imzml(
    folder: Path, image: np.ndarray, mz: np.ndarray, *, dtype: Any = np.float32, first=(1, 1), **how: Any
) -> Path:
    """An image (y, x, c) of every pixel that is not all zero, the places (x, y) counted from `first`."""
    writer = pytest.importorskip("pyimzml.ImzMLWriter", reason="pyimzML writes imzML")
    path = folder / "image.imzML"
    with writer.ImzMLWriter(str(path), intensity_dtype=dtype, **{"mode": "continuous", **how}) as file:
        for y, x in np.argwhere(image.any(axis=-1)):
            file.addSpectrum(mz, image[y, x].astype(dtype), (int(x) + first[0], int(y) + first[1], 1))
    return path
