"""A batch of samples on the device, its padding and its augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Augmentation = Literal["none", "flips", "dihedral"]

# Of the host until it is placed on a device; what computes with it, and mypy, know the latter alone.
if TYPE_CHECKING:
    BatchArray = Array
else:
    BatchArray = Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Samples that are computed together.

    Attributes:
      cube: scaled absorbance (b, y, x, c), 0 outside the tissue.
      tissue: pixels that hold tissue (b, y, x).
      label: 1 for diseased, 0 for healthy samples (b,).
      weight: weight of each sample in the loss (b,); 0 for padding.
      reference: reference masks (b, y, x), or what an earlier network marked, where the objective needs them.
      image: pixels that belong to the image (b, y, x), only where images of different sizes were padded.
    """

    cube: Float[BatchArray, "b y x c"]
    tissue: Bool[BatchArray, "b y x"]
    label: Int[BatchArray, " b"]
    weight: Float[BatchArray, " b"]
    reference: Bool[BatchArray, "b y x"] | None = None
    image: Bool[BatchArray, "b y x"] | None = None


def pad_batch(batch: Batch, multiple: int) -> Batch:
    """``batch`` with samples of weight zero added up to a multiple of ``multiple``.

    The added samples repeat those of the batch, so networks that normalise over it see real images.
    """
    size = batch.label.shape[0]
    missing = -size % multiple
    if missing == 0:
        return batch
    rows = jnp.arange(size + missing) % size
    padded = jax.tree.map(lambda leaf: leaf[rows], batch)
    return replace(padded, weight=jnp.where(jnp.arange(size + missing) < size, padded.weight, 0.0))


def pad_channels(batch: Batch, multiple: int) -> Batch:
    """``batch`` with channels of zeros added up to a multiple of ``multiple``, which matrix units like."""
    missing = -batch.cube.shape[-1] % multiple
    if missing == 0:
        return batch
    return replace(batch, cube=jnp.pad(batch.cube, ((0, 0), (0, 0), (0, 0), (0, missing))))


def augment_batch(batch: Batch, key: PRNGKeyArray, augmentation: Augmentation) -> Batch:
    """Mirrors each sample at random ('flips'), with random quarter turns if square ('dihedral')."""
    if augmentation == "none":
        return batch
    n, height, width = batch.tissue.shape
    # One row per sample: what a sample draws does not depend on how far the batch was padded.
    upside_down, left_right, transposed = jax.random.bernoulli(key, 0.5, (n, 3)).T

    def where(condition: Bool[Array, " b"], turned: Array, plain: Array) -> Array:
        return jnp.where(condition.reshape(n, *[1] * (plain.ndim - 1)), turned, plain)

    def turn(image: Array) -> Array:
        image = where(upside_down, image[:, ::-1], image)
        image = where(left_right, image[:, :, ::-1], image)
        if augmentation == "dihedral" and height == width:
            image = where(transposed, jnp.swapaxes(image, 1, 2), image)
        return image

    optional = {
        name: turn(getattr(batch, name))
        for name in ("reference", "image")
        if getattr(batch, name) is not None
    }
    return replace(batch, cube=turn(batch.cube), tissue=turn(batch.tissue), **optional)
