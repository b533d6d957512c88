"""What the data look like, and which recipe was made for such data; said, never chosen."""

from __future__ import annotations

from statistics import median

from compseg_jax.config import Training
from compseg_jax.store.input_preparation import MOST_CHANNELS_OF_IMAGES
from compseg_jax.store.read import Store

FULL_RESOLUTION_PX = 96
"""Ordinary images with a shorter side below this were made small: cells and glands cannot be told in them."""


def recipe_hint(config: Training, store: Store) -> str:
    """A line that names ``texture`` for ordinary images about to be trained with ``default``, else nothing.

    Ordinary images have no wavenumbers and at most four channels. The choice stays with the user: in brain scans, too
    ordinary images, a lesion differs by its brightness, which `default` finds.
    """
    if config.recipe != "default" or store.wavenumbers_cm1 is not None:
        return ""
    if store.channels > MOST_CHANNELS_OF_IMAGES:
        return ""
    shorter_px = int(median(min(sample.height, sample.width) for sample in store.samples))
    small = (
        f" These are small ({shorter_px} pixels): ingest the images at full resolution for it."
        if shorter_px < FULL_RESOLUTION_PX
        else ""
    )
    return (
        f"hint: {store.channels} channel(s) without wavenumbers are ordinary images. Where the disease shows by its "
        f"texture (histology), try --recipe texture (docs/recipes.md).{small}"
    )
