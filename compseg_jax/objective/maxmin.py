"""A loss after MAXMIN: a region that decides, a remainder that says nothing, and neither of them empty.

Source: Belharbi, Rony, Dolz, Ben Ayed, McCaffrey and Granger (2022), Deep interpretable classification and weakly-
supervised segmentation of histology images via max-min uncertainty, arXiv:2011.07221, and what their public code
does with CAMELYON16, where, as here, one label has no region. The barrier is that of Kervadec, Dolz, Yuan,
Desrosiers, Granger and Ben Ayed (2019), Constrained deep networks: Lagrangian optimization via log-barrier
extensions, arXiv:1904.04205.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from compseg_jax.config import Objective
from compseg_jax.objective.pooling import PIXELS, mean_over_pixels
from compseg_jax.objective.transfer import at_least_float32

BARRIER_SHARPNESS = (
    5.0  # the authors raise it from 1 to 10 by 1 % per epoch; one value keeps epochs comparable
)


def extended_log_barrier(
    excess: Float[Array, "*b"], sharpness: float = BARRIER_SHARPNESS
) -> Float[Array, "*b"]:
    r"""Penalty of the constraint excess ≤ 0: −log(−excess)/t well inside, its tangent from −1/t² on.

    Unlike the logarithm alone it is finite, with a finite slope, on either side of the constraint.

    Args:
      excess: what the constraint wants to be at or below 0.
      sharpness: t, above 0; the penalty tends to the constraint itself as it grows.

    Source: Kervadec et al. (2019), arXiv:1904.04205.
    """
    edge = -1.0 / sharpness**2
    inside = -jnp.log(-jnp.minimum(excess, edge)) / sharpness
    return inside + sharpness * jnp.maximum(excess - edge, 0.0)


def maxmin_error(
    logits: Float[Array, "b y x 2"],
    label: Shaped[Array, " b"],
    mask: Bool[Array, "b y x"] | None,
    objective: Objective,
) -> Float[Array, " b"]:
    r"""The first map is a region m, the second the evidence e that a pixel speaks for disease.

    A diseased sample: −log σ(e over m), which makes the region decide; ``background_weight`` times the
    Kullback-Leibler divergence of σ(e over 1 − m) from the even odds, which makes the remainder say nothing; and
    barriers that keep both from being empty. A healthy sample: −log(1 − σ(e over all)) and −log(1 − m) of every
    pixel. The original masks the image and runs a second network over either part; here the evidence is
    averaged over either part, since the network already gives it pixel by pixel.

    Args:
      logits: region and evidence.
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      mask: pixels that count.
      objective: its ``background_weight`` is used.

    Source: Belharbi et al. (2022), arXiv:2011.07221, total loss; see the module for what differs.
    """
    logits = logits.astype(at_least_float32(logits.dtype))
    region, evidence = logits[..., 0], logits[..., 1]
    share = jax.nn.sigmoid(region)
    size = mean_over_pixels(share, mask)
    inside, outside = _weighted_mean(evidence, share, mask), _weighted_mean(evidence, 1.0 - share, mask)
    # KL(½ ‖ q) = −½ log q − ½ log(1 − q) − log 2, and 0 for a logit of 0.
    undecided = 0.5 * (jax.nn.softplus(outside) + jax.nn.softplus(-outside)) - jnp.log(2.0).astype(size.dtype)
    sizes = extended_log_barrier(-size) + extended_log_barrier(size - 1.0)
    of_diseased = jax.nn.softplus(-inside) + objective.background_weight * undecided + sizes
    of_healthy = jax.nn.softplus(mean_over_pixels(evidence, mask)) + mean_over_pixels(
        jax.nn.softplus(region), mask
    )
    diseased = jnp.asarray(label).astype(logits.dtype)
    return diseased * of_diseased + (1.0 - diseased) * of_healthy


def _weighted_mean(
    values: Float[Array, "b y x"], weights: Float[Array, "b y x"], mask: Bool[Array, "b y x"] | None
) -> Float[Array, " b"]:
    if mask is not None:
        weights = weights * mask.astype(weights.dtype)
    # A part of less than a thousandth of a pixel counts as absent: its mean would be noise.
    return jnp.sum(values * weights, axis=PIXELS) / jnp.maximum(jnp.sum(weights, axis=PIXELS), 1e-3)
