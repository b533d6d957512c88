"""Pooling functions: from the logits of the pixels to one value of the sample.

Each is a pure function of logits (b, y, x) and of the pixels that count. The mean gives a share of active pixels,
which the transfer functions of [CompSegNet] (Schuhmacher, Gerwert and Mosig 2019) take; the others give a logit.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from compseg_jax.config import ALPHA, Objective
from compseg_jax.objective.transfer import at_least_float32

Mask = Shaped[Array, "*b y x"]
PIXELS = (-2, -1)


def pooled_activation(
    activation: Float[Array, "*b y x"],
    mask: Mask | None = None,
) -> Float[Array, "*b"]:
    """The pooling neuron: the mean activation over the image, or over the pixels of ``mask``.

    Args:
      activation: activation maps in [0, 1].
      mask: pixels that count (bool, or weights from 0 to 1); all of them when None. A sample without any
        such pixel pools to 0.

    Returns:
      The pooled activation of each sample, in [0, 1], at least float32.

    >>> activation = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    >>> tissue = jnp.array([[True, True], [False, False]])
    >>> float(pooled_activation(activation)), float(pooled_activation(activation, tissue))
    (0.75, 0.5)

    Source: [CompSegNet], section 3.1, "the pooling neuron p will 'count' the number of active pixels".
    """
    activation = activation.astype(at_least_float32(activation.dtype))
    return mean_over_pixels(activation, mask)


def mean_over_pixels(values: Float[Array, "*b y x"], mask: Mask | None = None) -> Float[Array, "*b"]:
    """The mean of any map over the image, or over the pixels of ``mask``; 0 where there is none.

    Of logits it is what global average pooling before a linear classifier gives, since both are linear: the
    logits are the class activation map.

    Source: Zhou, Khosla, Lapedriza, Oliva and Torralba (2016), Learning deep features for discriminative
    localization, section 2, arXiv:1512.04150.
    """
    if mask is None:
        return jnp.mean(values, axis=PIXELS)
    weights = mask.astype(values.dtype)
    return jnp.sum(values * weights, axis=PIXELS) / jnp.maximum(jnp.sum(weights, axis=PIXELS), 1.0)


def background_share(
    activation: Float[Array, "*b y x"], tissue: Mask, image: Mask | None = None
) -> Float[Array, "*b"]:
    """The part of an image's activation that lies outside of its tissue, in [0, 1]; 0 where nothing is active.

    Args:
      activation: activation maps in [0, 1].
      tissue: pixels that hold tissue.
      image: pixels that belong to the image; all of them when None.
    """
    active = activation.astype(at_least_float32(activation.dtype))
    active = active if image is None else active * image.astype(active.dtype)
    outside = jnp.sum(active * (1.0 - tissue.astype(active.dtype)), axis=PIXELS)
    return outside / jnp.maximum(jnp.sum(active, axis=PIXELS), jnp.finfo(active.dtype).tiny)


def log_mean_exp(
    logits: Float[Array, "*b y x"], mask: Mask | None = None, sharpness: float = 10.0
) -> Float[Array, "*b"]:
    r"""Between the mean (sharpness → 0) and the maximum (sharpness → ∞) of the logits.

    .. math:: s = \frac{1}{r}\log\left(\frac{1}{n}\sum_j e^{r s_j}\right)

    Args:
      logits: logits of the pixels.
      mask: pixels that count; all of them when None. A sample without any pools to 0.
      sharpness: r, above 0.

    Source: Pinheiro and Collobert (2015), From image-level to pixel-level labeling with convolutional networks,
    arXiv:1411.6228; Sun, Paluri, Collobert, Nevatia and Bourdev (2016), ProNet, arXiv:1511.03776.
    """
    dtype = at_least_float32(logits.dtype)
    weights = _weights(mask, logits, dtype)
    scaled = jnp.asarray(sharpness, dtype) * logits.astype(dtype)
    highest, powers = _shifted_powers(scaled, weights)
    # A sum of at least one pixel of weight 1 is at least 1; the floor is for samples without any.
    total = jnp.maximum(jnp.sum(weights * powers, axis=PIXELS), jnp.finfo(dtype).tiny)
    area = jnp.sum(weights, axis=PIXELS)
    pooled = (highest + jnp.log(total) - jnp.log(jnp.maximum(area, jnp.finfo(dtype).tiny))) / sharpness
    return jnp.where(area > 0, pooled, 0.0)


def top_share_mean(
    logits: Float[Array, "*b y x"], mask: Mask | None = None, share: float = ALPHA
) -> Float[Array, "*b"]:
    r"""The mean of the highest logits of a sample, as many as make up ``share`` of its pixels.

    A diseased sample has to mark at least that share, whatever the rest of it looks like, and a healthy one
    must not mark even its most suspicious share: what [CompSegNet] asks of α, without a transfer function that
    saturates. The last pixel counts in part, so the pooled value is continuous in the share; at least one pixel
    counts. Pixels of equal logit are interchangeable.

    Args:
      logits: logits of the pixels.
      mask: pixels that count; all of them when None. A sample without any pools to 0.
      share: α, above 0 and at most 1, where it is the mean.

    Source: this project. Between the maximum (α → 0) and the mean; of the family of Durand, Mordan, Thome and Cord,
    WILDCAT (2017), section 3.3.
    """
    dtype = at_least_float32(logits.dtype)
    counts = (_weights(mask, logits, dtype) > 0).reshape(*logits.shape[:-2], -1)
    flat = logits.astype(dtype).reshape(counts.shape)
    falling = -jnp.sort(jnp.where(counts, -flat, jnp.inf), axis=-1)
    wanted = jnp.maximum(jnp.asarray(share, dtype) * jnp.sum(counts, axis=-1).astype(dtype), 1.0)
    rank = jnp.arange(flat.shape[-1], dtype=dtype)
    weights = jnp.clip(wanted[..., None] - rank.reshape((1,) * (flat.ndim - 1) + (-1,)), 0.0, 1.0)
    kept = jnp.where((weights > 0) & jnp.isfinite(falling), falling, 0.0)
    return jnp.sum(weights * kept, axis=-1) / wanted


def attention_weights(attention: Float[Array, "*b y x"], mask: Mask | None = None) -> Float[Array, "*b y x"]:
    r"""Softmax of the attention logits over the pixels that count; they sum to 1, or are 0 where none counts.

    Source: Ilse, Tomczak and Welling (2018), Attention-based deep multiple instance learning, equation 8 (its
    argument, with the gate, is computed by the network's head), arXiv:1802.04712.
    """
    dtype = at_least_float32(attention.dtype)
    weights = _weights(mask, attention, dtype)
    _, powers = _shifted_powers(attention.astype(dtype), weights)
    total = jnp.sum(weights * powers, axis=PIXELS, keepdims=True)
    return weights * powers / jnp.maximum(total, jnp.finfo(dtype).tiny)


def attention_pooled(
    logits: Float[Array, "*b y x"], attention: Float[Array, "*b y x"], mask: Mask | None = None
) -> Float[Array, "*b"]:
    r"""Σₖ aₖ·sₖ: the logit of the sample as the attention-weighted mean of its pixels' logits.

    With a linear classifier this is the bag logit of Ilse et al., w·(Σₖ aₖ hₖ) + b with sₖ = w·hₖ + b.

    Source: Ilse, Tomczak and Welling (2018), equation 7, arXiv:1802.04712.
    """
    weights = attention_weights(attention, mask)
    return jnp.sum(weights * logits.astype(weights.dtype), axis=PIXELS)


def _weights(mask: Mask | None, like: Array, dtype: jnp.dtype) -> Float[Array, "*b y x"]:
    return jnp.ones(like.shape, dtype) if mask is None else mask.astype(dtype)


def _shifted_powers(
    x: Float[Array, "*b y x"], weights: Float[Array, "*b y x"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b y x"]]:
    """The highest value that counts (0 where none does) and exp(x − highest), 1 where a pixel does not count."""
    counts = weights > 0
    highest = jnp.max(jnp.where(counts, x, -jnp.inf), axis=PIXELS, keepdims=True)
    highest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(highest), highest, 0.0))
    return highest[..., 0, 0], jnp.exp(jnp.where(counts, x - highest, 0.0))


PoolingFunction = Callable[[Float[Array, "b y x maps"], Mask | None, Objective], Float[Array, " b"]]

POOLINGS: dict[str, PoolingFunction] = {
    "mean": lambda logits, mask, of: pooled_activation(jax.nn.sigmoid(logits[..., 0]), mask),
    "mean_logit": lambda logits, mask, of: mean_over_pixels(logits[..., 0], mask),
    "log_mean_exp": lambda logits, mask, of: log_mean_exp(logits[..., 0], mask, of.sharpness),
    "top_share": lambda logits, mask, of: top_share_mean(logits[..., 0], mask, of.alpha),
    "attention": lambda logits, mask, of: attention_pooled(logits[..., 0], logits[..., 1], mask),
}
"""The pooling functions by their word in a recipe: (b,) from logits (b, y, x, maps), the pixels that count
and the objective."""
