"""Gaussian means over tissue: what a map is smoothed by, once its network is trained.

A network of small view judges each pixel by a few neighbours and leaves the noise of measurement in its map. Labels say
how much smoothing takes it out (``evaluation.scores.smoothing``).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

TRUNCATED_AT = 3.0
"""Standard deviations at which the Gaussian ends."""


def reach_px(smoothing_px: float) -> int:
    """Pixels on each side that a mean with this standard deviation takes in."""
    return int(TRUNCATED_AT * smoothing_px + 0.5)


def gaussian_weights(smoothing_px: float) -> Float[np.ndarray, " n"]:
    """Weights of the pixels of one row, sum 1, float32; one weight of 1 for a standard deviation of 0."""
    reach = reach_px(smoothing_px)
    if reach == 0:
        return np.ones(1, np.float32)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / smoothing_px) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def least_total(weights: Float[np.ndarray, " n"]) -> float:
    """Below every sum of weights around a pixel of tissue, which counts itself: sums are kept above it."""
    return 0.5 * float(weights[weights.size // 2]) ** 2


def smoothed_over_tissue(
    activation: Float[Array, "b y x"], tissue: Bool[Array, "b y x"], smoothing_px: float
) -> Float[Array, "b y x"]:
    """Mean of the activation of tissue around each pixel, weighted by a Gaussian; of no meaning outside the tissue.

    Args:
      activation: map in [0, 1]; values outside the tissue count for nothing.
      tissue: pixels that count.
      smoothing_px: standard deviation; 0 leaves the map as it is.

    Source: normalised convolution, Knutsson and Westin (1993), doi 10.1109/CVPR.1993.341081.
    """
    weights = gaussian_weights(smoothing_px)
    if weights.size == 1:
        return activation
    certainty = tissue.astype(activation.dtype)
    total = jnp.maximum(_weighted_sum(certainty, weights), least_total(weights))
    return _weighted_sum(certainty * activation, weights) / total


def _weighted_sum(image: Float[Array, "b y x"], weights: Float[np.ndarray, " n"]) -> Float[Array, "b y x"]:
    """Sum along both axes, zeros around the image."""
    reach = weights.size // 2
    height, width = image.shape[1:]
    padded = jnp.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    rows = jnp.zeros((image.shape[0], height, width + 2 * reach), image.dtype)
    for at, weight in enumerate(weights.tolist()):
        rows = rows + weight * padded[:, at : at + height]
    total = jnp.zeros_like(image)
    for at, weight in enumerate(weights.tolist()):
        total = total + weight * rows[:, :, at : at + width]
    return total
