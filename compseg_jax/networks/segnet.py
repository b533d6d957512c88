"""SegNet, the second topology, with the signature of the U-Net."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from compseg_jax.networks.convolution import Form
from compseg_jax.networks.extent import Extent, kept
from compseg_jax.networks.layers import ConvBlock, Head, RematConvBlock, SpectralFront, crop_to


def max_pool_with_indices(
    x: Float[Array, "b y x c"], extent: Extent | None = None
) -> tuple[Float[Array, "b y2 x2 c"], Int[Array, "b y2 x2 c"]]:
    """2×2 maximum with stride 2, and which of the four pixels (row by row, 0 to 3) held it."""
    b, height, width, c = x.shape
    odd_y, odd_x = height % 2, width % 2
    # The lowest value, never −∞: an unpooled cell multiplies by zero, and −∞·0 is not a number.
    lowest = float(jnp.finfo(x.dtype).min)
    x = kept(x, extent, lowest)
    if odd_y or odd_x:
        x = jnp.pad(x, ((0, 0), (0, odd_y), (0, odd_x), (0, 0)), constant_values=lowest)
    cells = x.reshape(b, (height + odd_y) // 2, 2, (width + odd_x) // 2, 2, c)
    cells = cells.transpose(0, 1, 3, 5, 2, 4).reshape(b, (height + odd_y) // 2, (width + odd_x) // 2, c, 4)
    indices = jnp.argmax(cells, axis=-1)
    pooled = jnp.max(cells, axis=-1)
    return pooled if extent is None else kept(pooled, extent.halved), indices


def unpool(
    x: Float[Array, "b y x c"], indices: Int[Array, "b y x c"], height: int, width: int
) -> Float[Array, "b y2 x2 c"]:
    """Puts each value back where its maximum came from, zeros elsewhere, cropped to ``height`` × ``width``."""
    b, rows, columns, c = x.shape
    cells = x.reshape(b, rows, columns, c, 1) * jax.nn.one_hot(indices, 4, dtype=x.dtype)
    cells = cells.reshape(b, rows, columns, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return crop_to(cells.reshape(b, 2 * rows, 2 * columns, c), height, width)


class SegNet(nn.Module):
    """SegNet with 'same' padding: cube (b, y, x, c) → logits (b, y, x, maps).

    The encoder keeps the place of each maximum and the decoder puts values back there: no skips are
    concatenated, so it holds fewer parameters and activations than a U-Net of the same width. Attributes are
    those of :class:`compseg_jax.UNet`. As in the original the first two levels have two convolutions and the
    deeper ones three.

    Source: Badrinarayanan, Kendall and Cipolla (2017), reference 3 of [CompSegNet].
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
    smoothing_px: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b y x c"], *, train: bool = False, extent: Extent | None = None
    ) -> Float[Array, "b y x maps"]:
        """Logits of each pixel; ``train`` and ``extent`` as for :class:`compseg_jax.UNet`."""
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
        places, reached = [], extent
        for level in range(self.depth):
            options = {**shared, "dropout": self.dropout} if level else {**shared, "channels": channels}
            n_convolutions = 2 if level < 2 else 3
            x = block(self.base * 2**level, n_convolutions, name=f"down_{level}", **options)(
                x, train, reached
            )
            size, own = x.shape[1:3], reached
            x, indices = max_pool_with_indices(x, own)
            places.append((indices, size, own))
            reached = None if own is None else own.halved
        for level, (indices, (height, width), own) in reversed(list(enumerate(places))):
            n_convolutions = 2 if level < 2 else 3
            x = kept(unpool(x, indices, height, width), own)
            # All but the last convolution keep this level's width, the last one leads to the next level's.
            x = block(self.base * 2**level, n_convolutions - 1, name=f"up_{level}", **shared)(x, train, own)
            x = kept(x, own)
            x = block(self.base * 2 ** max(level - 1, 0), 1, name=f"out_{level}", **shared)(x, train, own)
        head = Head(
            self.maps, self.head_bias, self.kernel_init, self.head_norm, self.attention_features, name="head"
        )
        return head(x, train)
