r"""How much the maps of a trained network are smoothed, chosen on validation samples from their labels alone.

Noise of measurement marks pixels of healthy samples, too, and those say how many pixels of a diseased sample it
explains. With a Gaussian of standard deviation σ over the tissue, and the threshold moved along so that as much of the
diseased samples stays marked as before, let

- h(σ) be the part of healthy samples that is marked,
- x(σ) the part of diseased samples that was marked before and no longer is; as much is newly marked.

Of x, (1 − π)(h(0) − h(σ)) is what the healthy samples lead one to expect: noise taken out. The rest may be true, the
corners and gaps of a lesion that a wide Gaussian rounds. Each pixel of noise gains one, each other one loses one:

.. math:: g(σ) = (1 − π)(h(0) − h(σ)) − \big(x(σ) − (1 − π)(h(0) − h(σ))\big)

The least σ whose gain is ¾ of the greatest is taken, and 0 where there is none: no more is smoothed than it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from compseg_jax.evaluation.scores.threshold import choose_threshold, threshold_of_part
from compseg_jax.networks.smoothing import TRUNCATED_AT

SMOOTHINGS_PX = (0.7, 1.0, 1.4, 2.0, 2.8)
SHARE_OF_GAIN = 0.75


def choose_smoothing(
    activations: Sequence[np.ndarray],
    tissues: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> float:
    """Standard deviation in pixels of the Gaussian to smooth maps with, one of `SMOOTHINGS_PX`, or 0.

    Args:
      activations: (y, x) float maps in [0, 1] of validation samples, not smoothed.
      tissues: (y, x) bool masks.
      labels: 1 diseased, 0 healthy.
      groups: what samples share, as in :func:`choose_threshold`.
      seed: of its resampling.

    Returns:
      0 also where the samples do not support a threshold.
    """
    choice = choose_threshold(activations, tissues, labels, groups=groups, seed=seed)
    if not choice.supported or choice.diseased_fraction is None:
        return 0.0
    maps = list(zip(activations, tissues, strict=True))
    diseased = [each for each, label in zip(maps, labels, strict=True) if label == 1]
    healthy = [each for each, label in zip(maps, labels, strict=True) if label == 0]
    before = [activation > choice.threshold for activation, _ in diseased]
    marked = float(np.mean([_part(mask, tissue) for mask, (_, tissue) in zip(before, diseased, strict=True)]))
    noise = float(np.mean([_part(activation > choice.threshold, tissue) for activation, tissue in healthy]))
    gains = []
    for smoothing in SMOOTHINGS_PX:
        softened = [smoothed(*each, smoothing) for each in diseased]
        threshold = threshold_of_part(marked, softened, [tissue for _, tissue in diseased])
        lost = [
            _part(mask & ~(after > threshold), tissue)
            for mask, after, (_, tissue) in zip(before, softened, diseased, strict=True)
        ]
        left = [_part(smoothed(*each, smoothing) > threshold, each[1]) for each in healthy]
        explained = (1 - choice.diseased_fraction) * (noise - float(np.mean(left)))
        gains.append(2 * explained - float(np.mean(lost)))
    return least_of_gain(gains)


def least_of_gain(gains: Sequence[float]) -> float:
    """The least of `SMOOTHINGS_PX` whose gain is `SHARE_OF_GAIN` of the greatest; 0 where none gains."""
    most = max(gains)
    if most <= 0:
        return 0.0
    return next(px for px, gain in zip(SMOOTHINGS_PX, gains, strict=True) if gain >= SHARE_OF_GAIN * most)


def smoothed(
    activation: Float[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"], smoothing_px: float
) -> Float[np.ndarray, "y x"]:
    """``networks.smoothing.smoothed_over_tissue`` of one map on the host, 0 outside the tissue."""
    weights = gaussian_filter(tissue.astype(np.float64), smoothing_px, mode="constant", truncate=TRUNCATED_AT)
    total = gaussian_filter(
        np.where(tissue, activation, 0).astype(np.float64),
        smoothing_px,
        mode="constant",
        truncate=TRUNCATED_AT,
    )
    return np.where(tissue, total / np.where(tissue, weights, 1), 0)


def _part(mask: Bool[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]) -> float:
    return float(mask[tissue].mean())
