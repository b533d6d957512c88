"""Of what each semi-real array is made: which mixture of measured spectra is tumour, how it grows, how it is measured.

Recipes for tuning and for reporting are drawn from ranges that do not overlap where an array could be recognised:
direction of the tumour's change, bands, sizes of regions and tumours, scatter and noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.semi_real_layout import TISSUES, LayoutRecipe

COMPONENTS = ("DNA", "collagen", "glycogen", "lipids", "matrigel")
_RECIPE_STREAM = 51

# Amounts of COMPONENTS in healthy tissues.
_HEALTHY: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "epithelium": (0.50, 0.05, 0.15, 0.05, 0.25),
        "stroma": (0.08, 0.75, 0.03, 0.04, 0.10),
        "mucus": (0.15, 0.05, 0.65, 0.05, 0.10),
        "fat": (0.10, 0.15, 0.02, 0.68, 0.05),
        "inflammation": (0.70, 0.08, 0.03, 0.05, 0.14),
    }
)
# Between the two arrays of a data set, as `draw_array_effect` names them. Three times the response, shift and
# composition outweigh the tumour's change, and a network taught by masks then fails on the other array.
EFFECTS: Mapping[str, float] = MappingProxyType(
    {
        "array_gain": 0.15,
        "array_response": 0.006,
        "array_offset": 0.01,
        "array_slope": 0.01,
        "array_shift_cm1": 0.3,
        "array_composition": 0.03,
        "array_thickness": 0.15,
        "array_scatter": 0.3,
    }
)


@dataclass(frozen=True)
class ArrayRecipe:
    """What the spots of one array are made of.

    Attributes:
      layout: how cores are built.
      tumour_change: what tumour has more (or less) of each of COMPONENTS than epithelium.
      tumour_bands: change of absorbance, relative to amide I, of two of `bands.BANDS` in tumour.
      scatter: absorbance per unit of Mie extinction efficiency.
      noise: standard deviation, absorbance.
      vapour: standard deviation over spots of the absorbance of water vapour's lines.
      variation: of the spectra of a component, in standard deviations as measured.
    """

    layout: LayoutRecipe
    tumour_change: tuple[float, ...]
    tumour_bands: Mapping[str, float]
    scatter: float
    noise: float
    vapour: float
    variation: float

    def mixtures(self) -> Float[np.ndarray, "t n"]:
        """Amounts of COMPONENTS in each of `TISSUES`; they sum to 1."""
        healthy = np.array([_HEALTHY[name] for name in TISSUES[:-1]])
        tumour = (healthy[TISSUES.index("epithelium")] + self.tumour_change).clip(0.0)
        return np.concatenate([healthy, tumour[None] / tumour.sum()])


class Ranges(NamedTuple):
    """From where the recipes of one purpose are drawn: low and high ends, and choices.

    Attributes:
      changes: directions of the tumour's change in COMPONENTS; an array takes a mixture of two.
      bands: of which two change.
      contrast: largest change of an amount.
      band_change: absorbance relative to amide I.
      smallest_share, largest_share: bounds of the tumour's share of a diseased core.
      crypt_um, region_um: correlation lengths of epithelium and of the other tissues.
      scatter, noise: as in `ArrayRecipe`.
    """

    changes: tuple[tuple[float, ...], ...]
    bands: tuple[str, ...]
    contrast: tuple[float, float]
    band_change: tuple[float, float]
    smallest_share: tuple[float, float]
    largest_share: tuple[float, float]
    crypt_um: tuple[float, float]
    region_um: tuple[float, float]
    scatter: tuple[float, float]
    noise: tuple[float, float]


_TUNING = Ranges(
    changes=((0.6, 0.0, -1.0, 0.0, 0.4), (0.8, 0.2, -0.5, -0.5, 0.0)),
    bands=("phosphate s", "phosphate as", "amide I beta", "ester C=O"),
    contrast=(0.055, 0.07),
    band_change=(0.004, 0.006),
    smallest_share=(0.08, 0.12),
    largest_share=(0.55, 0.7),
    crypt_um=(40.0, 60.0),
    region_um=(70.0, 100.0),
    scatter=(0.02, 0.035),
    noise=(0.008, 0.012),
)
_REPORTING = Ranges(
    changes=((-0.6, 0.0, -0.4, 0.2, 0.8), (0.4, -0.2, -0.8, 0.6, 0.0), (0.3, 0.5, -0.9, 0.0, 0.1)),
    bands=("ribose", "DNA backbone", "carboxylate", "CH2 bending", "glycogen 1155", "amide III"),
    contrast=(0.055, 0.07),
    band_change=(0.004, 0.006),
    smallest_share=(0.12, 0.16),
    largest_share=(0.42, 0.54),
    crypt_um=(64.0, 90.0),
    region_um=(105.0, 140.0),
    scatter=(0.037, 0.055),
    noise=(0.005, 0.0075),
)
ARRAYS: Mapping[str, tuple[int, Ranges]] = MappingProxyType(
    {f"array_tune_{n}": (n, _TUNING) for n in (1, 2)}
    | {f"array_report_{n}": (100 + n, _REPORTING) for n in range(1, 19)}
)
"""Number, from which everything random follows, and purpose of every array."""


def recipe_of(name: str, *, test: bool = False) -> ArrayRecipe:
    """The recipe of one of ARRAYS; that of its test spots has the same tumour in another layout and noise."""
    number, ranges = ARRAYS[name]
    rng = np.random.default_rng([_RECIPE_STREAM, number])

    def draw(bounds: tuple[float, float]) -> float:
        return float(rng.uniform(*bounds))

    first, second = rng.choice(len(ranges.changes), 2, replace=False)
    part = draw((0.2, 0.8))
    change = part * np.array(ranges.changes[first]) + (1.0 - part) * np.array(ranges.changes[second])
    change *= draw(ranges.contrast) / np.abs(change).max()
    bands = rng.choice(len(ranges.bands), 2, replace=False)
    heights = [draw(ranges.band_change) * float(rng.choice((-1.0, 1.0))) for _ in bands]
    layout = LayoutRecipe(
        crypt_um=draw(ranges.crypt_um),
        region_um=draw(ranges.region_um),
        tumour_um=draw((110.0, 180.0)),
        sharpness=draw((2.5, 5.0)),
        epithelium=draw((0.1, 0.6)),
        mucus=draw((-1.0, -0.3)),
        fat=draw((-1.6, -0.9)),
        inflammation=draw((-1.1, -0.5)),
        margin=draw((0.2, 0.5)),
        septa=draw((0.15, 0.35)),
        tumour_share=(draw(ranges.smallest_share), draw(ranges.largest_share)),
    )
    recipe = ArrayRecipe(
        layout=layout,
        tumour_change=tuple(float(value) for value in change),
        tumour_bands={ranges.bands[band]: height for band, height in zip(bands, heights, strict=True)},
        scatter=draw(ranges.scatter),
        noise=draw(ranges.noise),
        vapour=draw((0.002, 0.006)),
        variation=draw((0.5, 0.7)),
    )
    if not test:
        return recipe
    crypts, regions, tumours, noise = (float(factor) for factor in rng.uniform(0.85, 1.2, 4))
    other = replace(
        layout,
        crypt_um=layout.crypt_um * crypts,
        region_um=layout.region_um * regions,
        tumour_um=layout.tumour_um * tumours,
        epithelium=layout.epithelium + draw((-0.2, 0.2)),
        inflammation=layout.inflammation + draw((-0.2, 0.2)),
    )
    return replace(recipe, layout=other, noise=recipe.noise * noise)
