"""Tumour in another sample: what was marked in a diseased sample, put into a healthy one in place of its tissue.

A network that learns from labels of samples marks what lies *near* a lesion, too: no healthy sample has such pixels, so
nothing tells it otherwise. Around a graft lies tissue that is known to be healthy, and every pixel beside the graft is.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from compseg_jax.training.batch import Batch

UNCHANGED_SHARE = 1 / 3
"""Of the healthy samples: those that nothing is grafted onto."""
PATCH_PX = 10
"""Distance of the random values that a graft's outline is cut from."""
LEAST_CUT, LARGEST_CUT = -2.0, 0.5
"""Standard deviations: a graft is what lies above a cut between them, .98 to .3 of the marks."""


def grafted(batch: Batch, key: PRNGKeyArray) -> Batch:
    """Half as many samples: each a healthy one with marks of a diseased one in their place.

    Samples of either label are taken in turn, so with as many of both each is used once. A part of the marks is
    grafted, with an outline of its own, where both samples have tissue.

    Args:
      batch: samples of both labels; `reference` holds their marks. Those of weight 0 are not used.
      key: of everything random.

    Returns:
      Samples of label 0, with the grafts as `reference`, and weight 1 for as many as half of the samples make; all 0
      where none is healthy.
    """
    if batch.reference is None:
        raise ValueError("target='marks' needs marks; this batch holds none.")
    n = batch.label.shape[0]
    n_made = -(-n // 2)
    turn = jnp.arange(n_made)
    counts = batch.weight > 0
    healthy = (batch.label == 0) & counts
    donor = (batch.label == 1) & counts & jnp.any(batch.reference, axis=(1, 2))
    onto, of = (
        jnp.argsort(~some, stable=True)[turn % jnp.maximum(jnp.sum(some), 1)] for some in (healthy, donor)
    )
    unchanged_key, outline_key = jax.random.split(key)
    is_grafted = jax.random.uniform(unchanged_key, (n_made,)) >= UNCHANGED_SHARE
    graft = batch.reference[of] & batch.tissue[of] & batch.tissue[onto]
    is_grafted &= jnp.any(healthy) & jnp.any(donor)
    graft &= random_part(outline_key, (n_made, *batch.tissue.shape[1:])) & is_grafted[:, None, None]
    is_made = jnp.any(healthy) & (turn < (jnp.sum(counts) + 1) // 2)
    return replace(
        batch,
        cube=jnp.where(graft[..., None], batch.cube[of], batch.cube[onto]),
        tissue=batch.tissue[onto],
        label=jnp.zeros(n_made, batch.label.dtype),
        weight=is_made.astype(batch.weight.dtype),
        reference=graft,
        image=None if batch.image is None else batch.image[onto],
    )


def random_part(key: PRNGKeyArray, shape: tuple[int, ...]) -> Bool[Array, "b y x"]:
    """Of each image what lies above a random cut through a smooth random field."""
    n, height, width = shape
    coarse = (n, max(2, height // PATCH_PX), max(2, width // PATCH_PX))
    field_key, cut_key = jax.random.split(key)
    field: Float[Array, "b y x"] = jax.image.resize(jax.random.normal(field_key, coarse), shape, "cubic")
    mean = jnp.mean(field, axis=(1, 2), keepdims=True)
    spread = jnp.std(field, axis=(1, 2), keepdims=True)
    cut = jax.random.uniform(cut_key, (n, 1, 1), minval=LEAST_CUT, maxval=LARGEST_CUT)
    return field > mean + cut * spread
