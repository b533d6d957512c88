"""The original U-Net topology for any number of input channels."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from compseg_jax.networks.convolution import Form
from compseg_jax.networks.extent import Extent, kept
from compseg_jax.networks.layers import (
    WAYS_UP,
    ConvBlock,
    Head,
    RematConvBlock,
    SpectralFront,
    crop_to,
    max_pool,
)
from compseg_jax.networks.normalisation import Normalisation
from compseg_jax.networks.part import PART_LEVELS, Part


class UNet(nn.Module):
    """U-Net with 'same' padding: cube (b, y, x, c) → logits (b, y, x, maps).

    At each of ``depth`` levels two 3×3 convolutions and a 2×2 max pool that doubles the features, then the
    way back with up-convolutions and concatenated skips. Any height and width: a level of odd size is
    pooled with cells of its own at its last row or column, and cropped again on the way up, so the result
    depends on no padding. With 450 channels, base 64 and depth 4 it has 31,289,217 parameters.

    Attributes:
      base: features of the first level.
      depth: number of poolings; the bottleneck has base·2^depth features.
      maps: output maps (1, or 2 for the pair a⁺, a⁻).
      activation: 'softplus' (as in [CompSegNet]), 'relu', 'gelu' or 'elu' in every hidden layer.
      head_bias: starting bias of the logits.
      kernel_init: initialiser of the kernels; 'glorot_uniform' is what the paper's framework does by default.
      dtype: precision of the computation; parameters and logits stay float32.
      remat: recompute each block in the backward pass instead of keeping its activations.
      convolution: 'fast', or 'plain' for ``lax.conv_general_dilated`` and its derivatives everywhere (also
        forward-mode ones).
      channels: channels of a cube; where it holds more, those beyond are zeros added for speed.
      normalisation: 'none', 'batch', 'group' or 'layer' after every hidden convolution.
      dropout: share of features dropped after the encoder's convolutions from the second level on, in training.
      head_norm: normalise the logits over the batch.
      attention_features: hidden features of a gated second map; 0 for a linear one.
      front: features of a linear projection of each spectrum before the first level; 0 for none.
      activation_map: how predictions read the logits ('probability', 'attention' or 'saliency'); changes no logit.
      smoothing_px: standard deviation of the Gaussian mean over tissue that maps go through (0: none); no logit does.
      way_up: 'transposed', the 2×2 up-convolution of the paper, or 'bilinear', a 1×1 convolution and bilinear
        doubling, whose maps have no comb.

    Source: Ronneberger, Fischer and Brox (2015); [CompSegNet], section 3.1.
    """

    base: int = 64
    depth: int = 4
    maps: int = 1
    activation: str = "softplus"
    head_bias: float = 0.0
    kernel_init: str = "glorot_uniform"
    dtype: Any = jnp.float32
    remat: bool = False
    convolution: Form = "fast"
    channels: int | None = None
    normalisation: str = "none"
    dropout: float = 0.0
    head_norm: bool = False
    attention_features: int = 0
    front: int = 0
    activation_map: str = "probability"
    way_up: str = "transposed"
    smoothing_px: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b y x c"],
        *,
        train: bool = False,
        extent: Extent | None = None,
        part: Part | None = None,
    ) -> Float[Array, "b y x maps"]:
        """Logits of each pixel; ``train`` drops features and normalises by the batch where either is asked for.

        Images that do not fill their canvas have an ``extent`` and zeros beyond it: their logits are those of the
        images alone. Where a ``part`` is given logits are 0 beside it, and right in it but for
        ``ReceptiveField.blurred`` pixels along those of its edges that are no edges of the image.
        """
        whole, part = x.shape[:3], part if self.depth else None
        block = RematConvBlock if self.remat else ConvBlock
        shared = {
            "activation": self.activation,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "form": self.convolution,
            "normalisation": self.normalisation,
        }
        channels = self.channels
        if self.front:
            x = SpectralFront(self.front, self.kernel_init, self.dtype, channels, name="front")(x)
            channels = None
        skips, extents, parts = [], [extent], [part]
        for level in range(self.depth):
            options = {**shared, "dropout": self.dropout} if level else {**shared, "channels": channels}
            own = extents[level]
            x = block(self.base * 2**level, name=f"down_{level}", **options)(x, train, own)
            cut = parts[level] if level < PART_LEVELS else None
            if cut is not None:  # XLA would compute the block's activation once for each that takes it
                x = lax.optimization_barrier(x)
            pooled = max_pool(x, own)
            if cut is not None:  # and keep what lies beside the part until the skip is merged
                pooled, x = lax.optimization_barrier((pooled, cut.of(x)))
            skips.append(x)
            x = pooled
            extents.append(None if own is None else own.halved)
            parts.append(None if cut is None else cut.halved)
        options = {**shared, "dropout": self.dropout} if self.depth else {**shared, "channels": channels}
        x = block(self.base * 2**self.depth, name="bottleneck", **options)(x, train, extents[-1])
        for level, skip in reversed(list(enumerate(skips))):
            features = self.base * 2**level
            deeper = parts[level + 1]
            if deeper is not None and level == min(self.depth, PART_LEVELS) - 1:
                x = deeper.of(x)
                extents = [
                    each if own is None else own.extent_of(each)
                    for own, each in zip(parts, extents, strict=True)
                ]
            up = WAYS_UP[self.way_up](
                features, kernel_init=self.kernel_init, dtype=self.dtype, name=f"up_{level}"
            )
            x = up(x, below := extents[level + 1])
            # Normalised before it is cropped: of a level of odd size its last row or column once more.
            reached = None if below is None else below.doubled
            x = Normalisation(self.normalisation, self.dtype, name=f"up_norm_{level}")(x, train, reached)
            own = extents[level]
            x = crop_to(x, *skip.shape[1:3])
            merge = block(features, name=f"merge_{level}", **shared)
            if (
                part is None
            ):  # gradients by one kernel cost less than by two; maps of whole images keep their bits
                x = merge(kept(jnp.concatenate([skip, x], axis=-1), own), train, own)
            else:
                x = merge(kept(skip, own), train, own, kept(x, own))
        head = Head(
            self.maps, self.head_bias, self.kernel_init, self.head_norm, self.attention_features, name="head"
        )
        logits = head(x, train)
        return logits if part is None else part.put_into(jnp.zeros((*whole, self.maps), logits.dtype), logits)
