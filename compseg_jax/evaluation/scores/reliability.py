"""Whether an activation of .8 means that 80 % of such pixels are diseased: reliability curve and calibration error.

Guo, Pleiss, Sun, Weinberger 2017, 'On calibration of modern neural networks' (arXiv:1706.04599), equation 3. Objectives
of sample labels do not ask for calibrated activations, so the curve tells how far to trust their size; ranks and
threshold need none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Pixels by activation, in `BINS` bins of equal width, as a mergeable state.

    Attributes:
      pixels: their number (bins,).
      activation: sum of their activations (bins,).
      diseased: number of diseased ones (bins,).
    """

    pixels: Int[np.ndarray, " bins"]
    activation: Float[np.ndarray, " bins"]
    diseased: Int[np.ndarray, " bins"]

    @classmethod
    def empty(cls) -> Reliability:
        """The state of no pixel."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))

    @classmethod
    def from_pixels(cls, activation: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> Reliability:
        """The state of n pixels of tissue: activation in [0, 1], truth = diseased."""
        value = activation.astype(np.float64)
        bins = np.minimum((value * BINS).astype(np.int64), BINS - 1)
        return cls(
            np.bincount(bins, minlength=BINS),
            np.bincount(bins, weights=value, minlength=BINS).astype(np.float64),
            np.bincount(bins[truth], minlength=BINS),
        )

    def merge(self, other: Reliability) -> Reliability:
        """The state of the pixels of both."""
        return type(self)(
            self.pixels + other.pixels, self.activation + other.activation, self.diseased + other.diseased
        )

    def curve(self) -> dict[str, list[float] | list[int]]:
        """Mean activation, share of diseased pixels and number of pixels of each bin that has any."""
        some = self.pixels > 0
        pixels = self.pixels[some]
        return {
            "activation": (self.activation[some] / pixels).tolist(),
            "diseased": (self.diseased[some] / pixels).tolist(),
            "pixels": pixels.tolist(),
        }

    def compute(self) -> float | None:
        """Expected calibration error: |activation − share diseased| of a bin, mean over pixels; None of no pixel."""
        if not self.pixels.any():
            return None
        return float(np.abs(self.activation - self.diseased).sum() / self.pixels.sum())
