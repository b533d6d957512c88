"""Where each tissue lies in a semi-real core: everything is cut out of smooth random fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from compseg_jax.ingest.phantom.histology import Grid, smooth_fields

TISSUES = ("epithelium", "stroma", "mucus", "fat", "inflammation", "tumour")
_OPTICS_PIXELS = 0.6  # standard deviation of the point spread


@dataclass(frozen=True)
class LayoutRecipe:
    """How the cores of an array are built; lengths are correlation lengths of the fields, in µm.

    Attributes:
      crypt_um: of the epithelium.
      region_um: of stroma, mucus, fat and inflammation.
      tumour_um: of the tumour's outline.
      sharpness: of the borders between tissues; small means broadly mixed.
      epithelium, mucus, fat, inflammation: levels of their fields against the stroma's, 0: as frequent.
      margin: height of the tumour's field over which its outline is mixed with what it grows into.
      septa: share of stroma and inflammation within the tumour.
      tumour_share: bounds of the tumour's share of a diseased core.
    """

    crypt_um: float
    region_um: float
    tumour_um: float
    sharpness: float
    epithelium: float
    mucus: float
    fat: float
    inflammation: float
    margin: float
    septa: float
    tumour_share: tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """One core.

    Attributes:
      tissue: (y, x) bool.
      tumour: (y, x) bool, the reference mask, inside ``tissue``.
      fractions: (y, x, t) float32, volume fraction of each of `TISSUES`; the rest is empty.
    """

    tissue: Bool[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]
    fractions: Float[np.ndarray, "y x t"]


def draw_layout(rng: np.random.Generator, grid: Grid, recipe: LayoutRecipe, share: float | None) -> Layout:
    """Draws a core.

    Args:
      rng: source of everything random.
      grid: the image.
      recipe: how cores of this array are built.
      share: the tumour's share of the tissue, None for a healthy core.
    """
    core_rng, healthy_rng, tumour_rng = rng.spawn(3)
    tissue = _core(core_rng, grid)
    crypts = smooth_fields(healthy_rng, grid, recipe.crypt_um)[0]
    fields = smooth_fields(healthy_rng, grid, recipe.region_um, 4)
    levels = np.array([recipe.epithelium, 0.0, recipe.mucus, recipe.fat, recipe.inflammation])
    heights = np.concatenate([crypts[None], fields]) + levels[:, None, None]
    weights = np.exp(recipe.sharpness * (heights - heights.max(axis=0)))
    fractions = np.zeros((len(TISSUES), grid.size, grid.size))
    fractions[:-1] = weights / weights.sum(axis=0)
    tumour = np.zeros_like(tissue)
    if share is not None:
        height = _tumour_height(tumour_rng, grid, tissue, recipe.tumour_um, share)
        tumour = tissue & (height > 0.0)
        nests, kind = smooth_fields(tumour_rng, grid, recipe.crypt_um, 2)
        between = np.clip(recipe.septa * (1.0 + nests), 0.0, 0.7)
        stroma = 1.0 / (1.0 + np.exp(-2.0 * kind))
        inside = np.zeros_like(fractions)
        inside[TISSUES.index("stroma")] = between * stroma
        inside[TISSUES.index("inflammation")] = between * (1.0 - stroma)
        inside[TISSUES.index("tumour")] = 1.0 - between
        # It infiltrates: half of the tissue at its outline is tumour.
        purity = np.clip(0.5 + height / recipe.margin / 2.0, 0.0, 1.0)
        fractions = purity * inside + (1.0 - purity) * fractions
    fractions = gaussian_filter(fractions * tissue, (0, _OPTICS_PIXELS, _OPTICS_PIXELS), mode="constant")
    return Layout(tissue, tumour, np.moveaxis(fractions * tissue, 0, -1).astype(np.float32))


def _core(rng: np.random.Generator, grid: Grid) -> Bool[np.ndarray, "y x"]:
    """A disc with an uneven rim and a few tears."""
    radius = rng.uniform(0.84, 0.94)
    centre = rng.uniform(-0.04, 0.04, 2)
    y, x = (np.mgrid[: grid.size, : grid.size] + 0.5) / (grid.size / 2.0) - 1.0
    scale_um = grid.size * grid.pixel_size_um
    rim, tears = (smooth_fields(rng, grid, scale_um / parts)[0] for parts in (4, 12))
    inside = np.hypot(y - centre[0], x - centre[1]) < radius * (1.0 + 0.05 * rim)
    return inside & (tears < 2.4)


def _tumour_height(
    rng: np.random.Generator, grid: Grid, tissue: Bool[np.ndarray, "y x"], length_um: float, share: float
) -> Float[np.ndarray, "y x"]:
    """A random field that falls away from a focus, above 0 in the share of the tissue asked for."""
    angle, off_centre = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.1, 0.8)
    y, x = (np.mgrid[: grid.size, : grid.size] + 0.5) / (grid.size / 2.0) - 1.0
    distance = np.hypot(y - off_centre * np.sin(angle), x - off_centre * np.cos(angle))
    height = smooth_fields(rng, grid, length_um)[0] - rng.uniform(1.0, 3.0) * distance
    highest = np.sort(height[tissue])[::-1]
    pixels = min(max(1, round(share * highest.size)), highest.size - 1)
    return height - highest[pixels]
