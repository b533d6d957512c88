"""Normalisation of hidden features, by name.

Statistics are computed in float32. 'batch' and 'group' see every pixel of an image, background included (which the
scaling sets to 0), as in the networks that were published with them; so under 'group' a crop is not what it was in
the whole. 'layer' looks at one pixel at a time, and 'batch' at none once trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.networks.extent import Extent

# Keras' .99 needs some hundred steps before validation sees anything true; a store of 100 samples gives 15 per epoch.
BATCH_MOMENTUM = 0.9
EPSILON = 1e-5
MOST_GROUPS = 8


def _batch(features: int, dtype: Any, train: bool) -> nn.Module:
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=BATCH_MOMENTUM,
        epsilon=EPSILON,
        dtype=dtype,
        name="batch_norm",
    )


def _group(features: int, dtype: Any, train: bool) -> nn.Module:
    groups = math.gcd(features, MOST_GROUPS)
    return nn.GroupNorm(groups, epsilon=EPSILON, dtype=dtype, name="group_norm")


def _layer(features: int, dtype: Any, train: bool) -> nn.Module:
    return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, name="layer_norm")


LAYERS: dict[str, Callable[[int, Any, bool], Callable[[Array], Array]]] = {
    "none": lambda features, dtype, train: lambda x: x,
    "batch": _batch,
    "group": _group,
    "layer": _layer,
}


class Normalisation(nn.Module):
    """'none', or scale and shift of features normalised over the batch, groups of features or those of a pixel.

    Running statistics of 'batch' live in the collection 'batch_stats', move by a tenth per step, and are exported
    with the network. Under ``jit`` over a mesh they are those of the global batch. Samples of weight zero that
    pad a batch repeat real ones and are counted, so the statistics depend a little on the number of devices.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167; Wu and He (2018), arXiv:1803.08494; Ba, Kiros and Hinton
    (2016), arXiv:1607.06450.
    """

    kind: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b y x c"], train: bool = False, extent: Extent | None = None
    ) -> Float[Array, "b y x c"]:
        """Normalises ``x``, by the batch's own statistics in training; 'group' by the pixels of ``extent`` alone."""
        layer = LAYERS[self.kind](x.shape[-1], self.dtype, train)
        if isinstance(layer, nn.GroupNorm) and extent is not None:
            return layer(x, mask=jnp.broadcast_to(extent.pixels(*x.shape[1:3]), x.shape))
        return layer(x)
