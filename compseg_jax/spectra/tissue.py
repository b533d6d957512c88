"""Which pixels hold tissue."""

from __future__ import annotations

from typing import Literal

import numpy as np

Background = Literal["zero", "none"]


def tissue_from_background(absorbance: np.ndarray, background: Background) -> np.ndarray:
    """Tissue (y, x) of a cube (y, x, c) by the rule of its store.

    'zero': pixels whose channels are all 0 are background, as instruments' software and the paper mask
    them. 'none': every pixel is tissue, as in an ordinary image, where black is a value like any other.
    """
    if background == "zero":
        return np.any(absorbance != 0, axis=-1)
    return np.ones(absorbance.shape[:2], bool)
