"""A start whose hidden features have mean 0 and variance 1 over real samples, without normalisation layers.

From Glorot's start with SoftPlus a signal shrinks from layer to layer, until what differs between samples hardly
reaches the head. Batch normalisation undoes that in every step, and ties the network to the batch; here it is done
once, in the parameters, and the network stays what it is.

Source: after Mishkin and Matas (2016), arXiv:1511.06422, with the bias set too and random instead of orthonormal
kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.networks.build import Variables, apply_network
from compseg_jax.networks.layers import BilinearUpConvolution, Conv, UpConvolution

LEAST_DEVIATION = 1e-5

Statistics = dict[tuple[str, ...], tuple[Float[Array, " f"], Float[Array, " f"]]]
"""Mean and variance of every feature of each hidden convolution, by its path."""


def feature_statistics(network: nn.Module, variables: Variables, cube: Float[Array, "b y x c"]) -> Statistics:
    """Mean and variance over a batch of each hidden convolution's features, those before it being normalised.

    Args:
      network: a U-Net or SegNet.
      variables: its random start.
      cube: standardised samples; the zeros outside an image count, as in batch normalisation.

    Returns:
      Empty for a network that is made of other layers than this package's.
    """
    # Recomputed blocks are traced twice, and statistics must not leave an inner trace.
    network = network.clone(remat=False) if getattr(network, "remat", False) else network
    statistics: Statistics = {}

    def normalised(call: Any, args: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        features = call(*args, **options)
        hidden = isinstance(context.module, Conv | UpConvolution | BilinearUpConvolution)
        if context.method_name != "__call__" or not hidden:
            return features
        wide = features.astype(jnp.float32)
        mean, variance = jnp.mean(wide, axis=(0, 1, 2)), jnp.var(wide, axis=(0, 1, 2))
        statistics[context.module.path] = mean, variance
        scaled = (wide - mean.reshape(1, 1, 1, -1)) / _deviation(variance).reshape(1, 1, 1, -1)
        return scaled.astype(features.dtype)

    with nn.intercept_methods(normalised):
        apply_network(network, variables, cube)
    return statistics


def with_normalised_features(variables: Variables, batches: Sequence[Statistics]) -> Variables:
    """Variables whose hidden features have the mean 0 and variance 1 over all batches, nearly.

    Exactly so for one batch; of several the means and the variances are averaged, as batch normalisation does.

    Args:
      variables: the random start that the statistics are of.
      batches: statistics of batches of equal size.
    """
    params = flax.traverse_util.flatten_dict(variables["params"])
    means = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *batches)
    for path, (mean, variance) in means.items():
        deviation = _deviation(variance)
        kernel, bias = (*path, "kernel"), (*path, "bias")
        params[kernel] = params[kernel] / deviation.reshape(1, 1, 1, -1)
        params[bias] = (params[bias] - mean) / deviation
    return {**variables, "params": flax.traverse_util.unflatten_dict(params)}


def _deviation(variance: Float[Array, " f"]) -> Float[Array, " f"]:
    return jnp.sqrt(variance) + LEAST_DEVIATION
