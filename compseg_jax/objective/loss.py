"""Losses of a sample: its output or its share against its label, its pixels against a mask.

Each is a pure function that cites its equation; [CompSegNet] is Schuhmacher, Gerwert and Mosig (2019), [OpenVibSpec]
their group's later public code (RUB-Bioinf/OpenVibSpec, src/openvibspec/compsegnet.py, 2022).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from compseg_jax.config import ALPHA, BETA
from compseg_jax.objective.pooling import mean_over_pixels
from compseg_jax.objective.transfer import at_least_float32, log_filled_share


def absolute_error(
    o: Float[Array, "*b"],
    label: Shaped[Array, "*b"] | int,
    alpha: Float[Array, ""] | float = ALPHA,
) -> Float[Array, "*b"]:
    r"""The loss of each sample, \|o − αℓ\|; the printed loss g is its sum over the samples.

    The paper's text calls it a root-mean-squared error; the formula counts.

    Args:
      o: output of the pooling neuron, σ(z).
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: the value a diseased sample should reach.

    >>> absolute_error(jnp.array([0.25, 0.5, 0.5]), jnp.array([1, 1, 0]), alpha=0.25).tolist()
    [0.0, 0.25, 0.5]

    Source: [CompSegNet], section 3.2, equation of g.
    """
    o = jnp.asarray(o)
    return jnp.abs(o - jnp.asarray(alpha, o.dtype) * jnp.asarray(label).astype(o.dtype))


def one_sided_error(
    o: Float[Array, "*b"],
    label: Shaped[Array, "*b"] | int,
    alpha: Float[Array, ""] | float = ALPHA,
) -> Float[Array, "*b"]:
    """α − o for a diseased sample, o for a healthy one: below α the printed loss, above it no turning back.

    This is what the paper's text asks of γ ("introduce an incentive to detect more tumor"); the value of a
    diseased sample is negative beyond :func:`crossing_point`.

    Args:
      o: output of the pooling neuron, σ(z), at or above 0.
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: the value a diseased sample should reach.

    Source: [CompSegNet], section 3.2, properties (L1) and (L2).
    """
    o = jnp.asarray(o)
    diseased = jnp.asarray(label).astype(o.dtype)
    return diseased * (jnp.asarray(alpha, o.dtype) - o) + (1.0 - diseased) * o


def share_cross_entropy(
    log_share: Float[Array, "*b"],
    log_rest: Float[Array, "*b"],
    label: Shaped[Array, "*b"] | int,
    smoothing: float = 0.0,
) -> Float[Array, "*b"]:
    """−ℓ log q − (1 − ℓ) log(1 − q), from the two logarithms that a transfer function gives.

    Args:
      log_share: log q.
      log_rest: log(1 − q).
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      smoothing: ε, which makes labels 1 − ε and ε: the least loss is then at q = ε and q = 1 − ε.

    Source: of ε, Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), section 7, arXiv:1512.00567.
    """
    diseased = jnp.asarray(label).astype(log_share.dtype)
    diseased = diseased * (1.0 - 2.0 * smoothing) + smoothing
    return -diseased * log_share - (1.0 - diseased) * log_rest


def cross_entropy(
    z: Float[Array, "*b"],
    label: Shaped[Array, "*b"] | int,
    alpha: Float[Array, ""] | float = ALPHA,
    beta: Float[Array, ""] | float = BETA,
) -> Float[Array, "*b"]:
    r"""Cross-entropy between the label and q = σ(z)/α with γ = 0, the filled share of the required area.

    .. math:: -\ell \log \tanh u - (1 - \ell) \log(1 - \tanh u), \qquad u = \frac{\beta z}{2\alpha}

    The printed loss is flat where σ saturates: at a random start (z ≈ .5) no label can be learnt from, and a
    map that has collapsed to zero stays there. Here a healthy sample is pushed down however large z is
    (the second term tends to 2u − log 2) and a diseased one is pushed up however small it is, while a
    diseased sample that reaches α is left in peace, as in the printed loss.

    Args:
      z: pooled activation, in [0, 1].
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: least diseased fraction.
      beta: slope parameter of σ.

    Source: this project; σ from [CompSegNet], section 3.2.
    """
    return share_cross_entropy(*log_filled_share(z, alpha, beta), label)


def negatives_error(
    logits: Float[Array, "b y x"],
    label: Shaped[Array, " b"],
    mask: Bool[Array, "b y x"] | None,
    image: Bool[Array, "b y x"] | None = None,
) -> Float[Array, " b"]:
    """−log(1 − p) of the pixels that are known to be healthy, averaged over all pixels of the image.

    Known are all pixels of a healthy sample, and those of a diseased one that lie outside ``mask``.

    Args:
      logits: logits of the first map.
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      mask: pixels that may be diseased; all of them when None.
      image: pixels that belong to the image; all of them when None.

    Source: [OpenVibSpec], TF_cross_entropy_out_of_cluster, which cuts p at 1 − 1e-6; here −log(1 − p) is
    computed from the logit and keeps its gradient.
    """
    logits = logits.astype(at_least_float32(logits.dtype))
    diseased = jnp.asarray(label).astype(logits.dtype).reshape(-1, 1, 1)
    inside = jnp.ones_like(logits) if mask is None else mask.astype(logits.dtype)
    return mean_over_pixels((1.0 - diseased * inside) * jax.nn.softplus(logits), image)


def marks_error(
    logits: Float[Array, "b y x maps"],
    label: Shaped[Array, " b"],
    marks: Bool[Array, "b y x"],
    tissue: Bool[Array, "b y x"],
) -> Float[Array, " b"]:
    """Pixel cross-entropy of what is known: marks are diseased, and so is nothing else of a healthy sample.

    What a diseased sample has beside its marks may be either, and does not count.

    Args:
      logits: logits of the first map count.
      label: 0 for a healthy sample, also for one that marks were grafted onto; 1 for a diseased one.
      marks: pixels taken for diseased.
      tissue: pixels that hold tissue.

    Source: of learning from positives and negatives alone, with the rest left out, Elkan and Noto (2008), Learning
    classifiers from only positive and unlabeled data.
    """
    logits = logits[..., 0].astype(at_least_float32(logits.dtype))
    healthy = (jnp.asarray(label) == 0).reshape(-1, 1, 1)
    diseased = marks.astype(logits.dtype)
    return mean_over_pixels(jax.nn.softplus(logits) - diseased * logits, tissue & (healthy | marks))


def supervised_error(
    logits: Float[Array, "b y x maps"],
    reference: Bool[Array, "b y x"],
    mask: Bool[Array, "b y x"] | None,
) -> Float[Array, " b"]:
    """Pixel cross-entropy plus soft Dice loss of each sample against its reference mask, over ``mask``.

    The upper bound that a network trained from labels is compared with.

    Source: Milletari, Navab and Ahmadi, V-Net (2016), for the Dice term.
    """
    logits = logits[..., 0].astype(at_least_float32(logits.dtype))
    weights = jnp.ones_like(logits) if mask is None else mask.astype(logits.dtype)
    truth = reference.astype(logits.dtype) * weights
    area = jnp.maximum(jnp.sum(weights, axis=(-2, -1)), 1.0)
    cross_entropy = jnp.sum(weights * (jax.nn.softplus(logits) - logits * truth), axis=(-2, -1)) / area
    activation = jax.nn.sigmoid(logits) * weights
    overlap = 2.0 * jnp.sum(activation * truth, axis=(-2, -1)) + 1.0
    total = jnp.sum(activation, axis=(-2, -1)) + jnp.sum(truth, axis=(-2, -1)) + 1.0
    return cross_entropy + 1.0 - overlap / total
