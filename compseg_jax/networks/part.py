"""The part of an image whose map is asked for: all else only lends it its surroundings.

A tile is read with a margin in which everything that reaches its core lies. The way down needs all of it; the last
levels of the way up, half of its work, reach 6 pixels far and are computed on little more than the core: of a U-Net
with four poolings 8 pixels beside it instead of 96. (The levels below would be cheaper too, but their loops, which are
not those of the way down then, take longer to compile.) Parts begin where cells of the poolings between these levels
do, so that they stay where they are. Skips are not concatenated then, but have a product of their own (`layers.Conv`).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
from jax import lax
from jaxtyping import Array, Float

from compseg_jax.networks.extent import Extent

PART_LEVELS = 2
"""Levels of the way up that are computed on parts alone, the full resolution among them."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Part:
    """A rectangle of each image of a batch.

    Attributes:
      top: its first row in each image, Int (b,), a multiple of 2^`PART_LEVELS`.
      left: its first column, likewise.
      size_px: its rows and columns; along each axis such a multiple, or the whole image.
    """

    top: Any
    left: Any
    size_px: tuple[int, int] = field(metadata={"static": True})

    @property
    def halved(self) -> Part:
        """After a 2×2 pooling."""
        height, width = ((length + 1) // 2 for length in self.size_px)
        return Part(self.top // 2, self.left // 2, (height, width))

    def of(self, x: Float[Array, "b y x c"]) -> Float[Array, "b v u c"]:
        """What lies in it."""

        def cut(image: Array, top: Array, left: Array) -> Array:
            return lax.dynamic_slice(image, (top, left, 0), (*self.size_px, image.shape[-1]))

        return jax.vmap(cut)(x, self.top, self.left)

    def extent_of(self, extent: Extent | None) -> Extent | None:
        """Where images end, counted from where the part begins."""
        return None if extent is None else Extent(extent.rows - self.top, extent.columns - self.left)

    def put_into(self, whole: Float[Array, "b y x c"], x: Float[Array, "b v u c"]) -> Float[Array, "b y x c"]:
        """``whole`` with ``x`` in its place."""

        def put(image: Array, part: Array, top: Array, left: Array) -> Array:
            return lax.dynamic_update_slice(image, part, (top, left, 0))

        return jax.vmap(put)(whole, x, self.top, self.left)


def takes_part(network: nn.Module) -> bool:
    """Whether a network computes no more of its way up than a part needs."""
    return "part" in inspect.signature(type(network).__call__).parameters
