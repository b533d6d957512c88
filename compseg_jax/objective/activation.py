"""From a network to its activation map in [0, 1]: how the logits of each recipe are read.

``MAPS`` holds what the names in ``compseg_jax.config.Network.activation_map`` stand for.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from compseg_jax.networks.build import Module, Variables, apply_network
from compseg_jax.networks.extent import Extent
from compseg_jax.networks.part import Part
from compseg_jax.networks.smoothing import smoothed_over_tissue
from compseg_jax.objective.pooling import PIXELS, attention_weights, mean_over_pixels

Logits = Float[Array, "b y x maps"]
Tissue = Bool[Array, "b y x"]


def probability(logits: Logits, tissue: Tissue) -> Float[Array, "b y x"]:
    """The sigmoid of the first map: the activation map of [CompSegNet], and the class activation map."""
    return jax.nn.sigmoid(logits[..., 0].astype(jnp.float32))


def attended_probability(logits: Logits, tissue: Tissue) -> Float[Array, "b y x"]:
    """The probability of a pixel times its attention, as a share of the highest attention of its sample.

    Attention alone says where the network looked, in healthy samples too, and sums to 1 in every sample; the
    probability alone says nothing where it did not look. Ilse et al. scale attention to [0, 1] within a sample
    likewise; with two maps the second is the attention.

    Source: Ilse, Tomczak and Welling (2018), section 4, arXiv:1802.04712; the product is this project's.
    """
    weights = attention_weights(logits[..., 1].astype(jnp.float32), tissue)
    highest = jnp.max(weights, axis=PIXELS, keepdims=True)
    return probability(logits, tissue) * weights / jnp.maximum(highest, jnp.finfo(jnp.float32).tiny)


READINGS: dict[str, Callable[[Logits, Tissue], Float[Array, "b y x"]]] = {
    "probability": probability,
    "attention": attended_probability,
    # Of the classifier whose gradient is taken: what validation during training looks at.
    "saliency": probability,
}


def activation_of_logits(network: Module, logits: Logits, tissue: Tissue) -> Float[Array, "b y x"]:
    """The activation map as far as the logits give it; for 'saliency' that of the underlying classifier."""
    return _smoothed(network, READINGS[_name_of(network)](logits, tissue), tissue)


def activation_map(
    network: Module,
    variables: Variables,
    cube: Float[Array, "b y x c"],
    tissue: Tissue,
    extent: Extent | None = None,
    part: Part | None = None,
) -> Float[Array, "b y x"]:
    """Activation map in [0, 1] of scaled cubes, read as the network's ``activation_map`` says and smoothed as its
    ``smoothing_px`` does; float32.

    Cubes that do not fill their canvas have an ``extent``, and no tissue beyond it. Where a ``part`` is given the map
    beside it, and ``ReceptiveField.blurred`` pixels along its edges, have no meaning.
    """
    if _name_of(network) == "saliency":
        return _smoothed(network, saliency_map(network, variables, cube, tissue, extent), tissue)
    return activation_of_logits(network, apply_network(network, variables, cube, extent, part), tissue)


def _name_of(network: Module) -> str:
    return getattr(network, "activation_map", "probability")


def _smoothed(network: Module, activation: Float[Array, "b y x"], tissue: Tissue) -> Float[Array, "b y x"]:
    return smoothed_over_tissue(activation, tissue, getattr(network, "smoothing_px", 0.0))


def saliency_map(
    network: Module,
    variables: Variables,
    cube: Float[Array, "b y x c"],
    tissue: Tissue,
    extent: Extent | None = None,
) -> Float[Array, "b y x"]:
    r"""How much each pixel's spectrum moves the score of its sample, in [0, 1].

    .. math:: a = \frac{g}{1 + g}, \qquad
              g_{ij} = \Big(K * n \max_c \Big|\frac{\partial s}{\partial x_{ijc}}\Big|\Big)_{ij}

    s is the mean logit over the n pixels of tissue, K a 3×3 binomial filter that sees tissue only. Bands are
    standardised by the training tissue, so g is the change of the summed logit by one standard deviation of a
    band: a constant of the training data scales it, and values of different samples can be compared. a is the
    logistic function of log g, which still distinguishes gradients ten times larger than 1. Nothing in it tells
    evidence for disease from evidence against it.

    Args:
      network: a classifier by the mean of its logits.
      variables: its variables.
      cube: scaled absorbance, 0 outside the tissue.
      tissue: pixels that count.
      extent: of cubes that do not fill their canvas.

    Source: Simonyan, Vedaldi and Zisserman (2013), section 3, arXiv:1312.6034 (reference 18 of [CompSegNet]):
    gradient of the unnormalised score, its largest magnitude over the channels. Filter and scale are this
    project's.
    """

    def total(x: Float[Array, "b y x c"]) -> Float[Array, ""]:
        logits = apply_network(network, variables, x, extent)[..., 0].astype(jnp.float32)
        return jnp.sum(mean_over_pixels(logits, tissue))

    # Samples do not see each other at prediction, so the gradient of the sum holds that of each.
    largest = jnp.max(jnp.abs(jax.grad(total)(cube.astype(jnp.float32))), axis=-1)
    area = jnp.sum(tissue, axis=PIXELS, keepdims=True).astype(jnp.float32)
    weights = tissue.astype(jnp.float32)
    smooth = _binomial_3x3(largest * area * weights) / jnp.maximum(_binomial_3x3(weights), 1e-6)
    return smooth / (1.0 + smooth)


def _binomial_3x3(image: Float[Array, "b y x"]) -> Float[Array, "b y x"]:
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1)))
    rows = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return 0.25 * rows[..., :-2] + 0.5 * rows[..., 1:-1] + 0.25 * rows[..., 2:]
