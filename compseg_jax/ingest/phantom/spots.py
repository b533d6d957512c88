"""Simulated tissue arrays with ground truth: the embedded default data set.

A spot is a round core of colon tissue. Its histology (`histology`) mixes tissue types whose absorption comes
from named bands (`bands`); thickness, Mie extinction, the array's batch effect and noise come from
`measurement`. Everything is a function of (configuration, seed, array, index) alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.ingest.phantom.histology import Grid, simulate_histology
from compseg_jax.ingest.phantom.measurement import DIALS, draw_array_effect, measure

FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1 = 1800.0, 948.0  # Schuhmacher et al. 2019, section 2
TUMOUR_SHARE_EXPONENT = 1.7  # share = low + (high − low)·u^1.7: small tumours are the more frequent
_ARRAY_STREAM, _SPOT_STREAM = 1, 2  # keep the random numbers of arrays and spots apart


@dataclass(frozen=True)
class PhantomConfig:
    """What kind of spots to simulate."""

    size: int = 64
    """Height and width of a spot in pixels, at least 16."""
    channels: int = 32
    """Number of wavenumbers, equally spaced from 1800 down to 948 cm⁻¹, at least 2."""
    difficulty: float = 1.0
    """0 (easy) to 1 (as shipped) to 2: batch effects, scatter, noise, thickness, likeness of the tumour."""
    tumour_fraction: tuple[float, float] = (0.05, 0.8)
    """Bounds of the tumour's share of the tissue area in diseased spots, each between 0 and 1."""
    pixel_size_um: float = 10.0
    """Edge length of a pixel in µm; 64 pixels of 10 µm hold a core of 0.6 mm."""

    def __post_init__(self) -> None:
        """Refuses values that no spot can have.

        Raises:
          ValueError: naming the field, the value found and the values allowed.
        """
        low, high = self.tumour_fraction
        rules = (
            ("size", self.size >= 16, "16 pixels or more"),
            ("channels", self.channels >= 2, "2 wavenumbers or more"),
            ("difficulty", 0.0 <= self.difficulty <= 2.0, "0 to 2"),
            ("tumour_fraction", 0.0 < low <= high < 1.0, "two shares with 0 < low ≤ high < 1"),
            ("pixel_size_um", 1.0 <= self.pixel_size_um <= 50.0, "1 to 50 µm"),
        )
        for name, holds, required in rules:
            if not holds:
                raise ValueError(
                    f"phantom {name}: found {getattr(self, name)}; required {required}. Change --{name}."
                )


@dataclass(frozen=True)
class Spot:
    """One simulated spot with its ground truth.

    Attributes:
      absorbance: (y, x, c) float32, 0 outside the tissue.
      tissue: (y, x) bool.
      tumour: (y, x) bool, the reference mask; empty in a healthy spot.
      array: index of the tissue array the spot lies on.
      index: number of the spot.
      label: 1 diseased, 0 healthy.
      fractions: (y, x, t) float32, volume fraction of each of `bands.TISSUE_TYPES`.
    """

    absorbance: Float[np.ndarray, "y x c"]
    tissue: Bool[np.ndarray, "y x"]
    tumour: Bool[np.ndarray, "y x"]
    array: int
    index: int
    label: int
    fractions: Float[np.ndarray, "y x t"]


def wavenumber_axis(channels: int) -> Float[np.ndarray, " c"]:
    """The spectral axis: ``channels`` equally spaced wavenumbers from 1800 down to 948 cm⁻¹, float64."""
    return np.linspace(FIRST_WAVENUMBER_CM1, LAST_WAVENUMBER_CM1, channels)


def simulate_spot(config: PhantomConfig, *, seed: int, index: int, diseased: bool, array: int) -> Spot:
    """Simulates one spot, the same one whenever the arguments are the same.

    Args:
      config: size, wavenumbers, difficulty.
      seed: names the data set; 0 or more.
      index: names the spot in its array; 0 or more. The diseased and the healthy spot of one index share the
        core, its crypts and inflammation; only the tumour differs.
      diseased: whether a tumour grows in it.
      array: names the tissue array, whose batch effect it carries; 0 or more.

    Returns:
      The spot with its reference mask.

    Raises:
      ValueError: if ``seed``, ``index`` or ``array`` is negative.
    """
    for name, value in (("seed", seed), ("index", index), ("array", array)):
        if value < 0:
            raise ValueError(f"phantom {name}: found {value}; required 0 or more. Choose another {name}.")
    grid = Grid(config.size, config.pixel_size_um)
    dials = DIALS.at(config.difficulty)
    array_rng = np.random.default_rng([_ARRAY_STREAM, seed, array])
    first_share = array_rng.uniform()
    effect = draw_array_effect(array_rng, config.channels, dials)
    histology_rng, physics_rng = np.random.default_rng([_SPOT_STREAM, seed, array, index]).spawn(2)
    histology = simulate_histology(
        histology_rng, grid, _tumour_share(config, first_share, index) if diseased else None
    )
    absorbance = np.zeros((config.size, config.size, config.channels), dtype=np.float32)
    absorbance[histology.tissue] = measure(
        physics_rng, grid, histology, wavenumber_axis(config.channels), effect, dials
    )
    return Spot(
        absorbance, histology.tissue, histology.tumour, array, index, int(diseased), histology.fractions
    )


def simulate_array(
    config: PhantomConfig, *, seed: int, n: int, array: int, first_index: int = 0
) -> Iterator[Spot]:
    """Yields ``n`` spots of one array, healthy (even index) and diseased (odd index) in turn."""
    for index in range(first_index, first_index + n):
        yield simulate_spot(config, seed=seed, index=index, diseased=index % 2 == 1, array=array)


def _tumour_share(config: PhantomConfig, first_share: float, index: int) -> float:
    """Share of the tissue; golden-ratio steps spread the tumours of an array evenly over the bounds."""
    low, high = config.tumour_fraction
    # About a pixel of the core: rounding to pixels must not leave the bounds.
    margin = min(1.5 / config.size**2, (high - low) / 2.0)
    u = (first_share + index * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0
    return low + margin + (high - low - 2.0 * margin) * u**TUMOUR_SHARE_EXPONENT
