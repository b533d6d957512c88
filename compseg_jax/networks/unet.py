"""The original U-Net topology for any number of input channels."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.networks.convolution import Form
from compseg_jax.networks.layers import ConvBlock, Head, UpConvolution, crop_to, max_pool


class UNet(nn.Module):
    """U-Net with 'same' padding: cube (b, y, x, c) → logits (b, y, x, maps).

    At each of ``depth`` levels two 3×3 convolutions and a 2×2 max pool that doubles the features, then the
    way back with 2×2 up-convolutions and concatenated skips. Any height and width: a level of odd size is
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

    @nn.compact
    def __call__(self, x: Float[Array, "b y x c"], *, train: bool = False) -> Float[Array, "b y x maps"]:
        """Logits of each pixel; ``train`` is part of the common signature and changes nothing here."""
        block = nn.remat(ConvBlock) if self.remat else ConvBlock
        shared = {
            "activation": self.activation,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "form": self.convolution,
        }
        skips = []
        for level in range(self.depth):
            first = self.channels if level == 0 else None
            x = block(self.base * 2**level, name=f"down_{level}", channels=first, **shared)(x)
            skips.append(x)
            x = max_pool(x)
        first = self.channels if self.depth == 0 else None
        x = block(self.base * 2**self.depth, name="bottleneck", channels=first, **shared)(x)
        for level, skip in reversed(list(enumerate(skips))):
            features = self.base * 2**level
            x = UpConvolution(features, kernel_init=self.kernel_init, dtype=self.dtype, name=f"up_{level}")(x)
            x = jnp.concatenate([skip, crop_to(x, *skip.shape[1:3])], axis=-1)
            x = block(features, name=f"merge_{level}", **shared)(x)
        return Head(self.maps, self.head_bias, self.kernel_init, name="head")(x)
