"""Images in a corner of a larger canvas: what a network must not see of the rest.

One compiled program takes images of many sizes when each lies in the top left corner of a canvas of one size. The map
of its pixels stays that of the image alone as long as every layer that mixes pixels sees at the image's end what it
would see at the canvas's: zeros beside a convolution, nothing beside a maximum, the last row once more beside a
bilinear doubling, and no pixel of the rest in a mean over the image. Images start where the canvas does, so the 2×2
cells of all poolings stay where they are.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Extent(NamedTuple):
    """Rows and columns of each image of a batch on its canvas; what lies beyond is padding.

    Attributes:
      rows: of each image (b,).
      columns: the same.
    """

    rows: Int[Array | np.ndarray, " b"]
    columns: Int[Array | np.ndarray, " b"]

    @property
    def halved(self) -> Extent:
        """After a 2×2 pooling, in which an odd last row or column forms cells of its own."""
        return Extent((self.rows + 1) // 2, (self.columns + 1) // 2)

    @property
    def doubled(self) -> Extent:
        """After a way up, before it is cropped."""
        return Extent(2 * self.rows, 2 * self.columns)

    def pixels(self, height: int, width: int) -> Bool[Array, "b y x 1"]:
        """Which pixels of canvases of that size belong to the images."""
        rows = jnp.arange(height)[None, :] < self.rows[:, None]
        columns = jnp.arange(width)[None, :] < self.columns[:, None]
        return (rows[:, :, None] & columns[:, None, :])[..., None]


def kept(x: Float[Array, "b y x c"], extent: Extent | None, beyond: float = 0.0) -> Float[Array, "b y x c"]:
    """``x`` with one value beyond the images; ``x`` itself where they fill their canvas (``extent`` None)."""
    if extent is None:
        return x
    return jnp.where(extent.pixels(*x.shape[1:3]), x, jnp.asarray(beyond, x.dtype))


def takes_extent(network: nn.Module) -> bool:
    """Whether a network can be told of images that do not fill their canvas; the package's own can."""
    return "extent" in inspect.signature(type(network).__call__).parameters
