"""The simulated measurement: from histology to absorbance.

    A(ν) = response(ν)·[d·Σ_k c_k ε_k(ν) + s·Q(ν, r)] + baseline(ν) + noise(ν)

with relative thickness d, concentrations c, constituent spectra ε (`bands`), scatter strength s and the
extinction efficiency Q of spheres of radius r. Response, baseline, calibration and the distributions of the
rest differ between arrays; d, c, s and r vary smoothly over a spot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from compseg_jax.ingest.phantom.bands import CONSTITUENTS, constituent_spectra, tissue_concentrations
from compseg_jax.ingest.phantom.histology import Grid, Histology, smooth_fields

SPHERE_RADII_UM = (2.0, 7.0)  # Kohler et al., Appl. Spectrosc. 62:259 (2008): cells and nuclei
REFRACTIVE_INDEX = 1.3  # mean real index of tissue; Bassan et al., Analyst 135:268 (2010) scan 1.1 to 1.5
_RADIUS_STEPS = 21


@dataclass(frozen=True)
class Dial:
    """A constant that grows or shrinks geometrically from difficulty 0 to difficulty 1 and beyond."""

    easy: float
    shipped: float

    def at(self, difficulty: float) -> float:
        """The value at a difficulty."""
        return self.easy * (self.shipped / self.easy) ** difficulty


@dataclass(frozen=True)
class Dials:
    """Everything that difficulty turns, in one place; spreads of factors are spreads of their logarithm."""

    tumour_contrast: Dial = Dial(1.5, 1.0)  # 1: the change in bands._MALIGNANT_CHANGE
    # Between arrays; half widths of uniform distributions, so that no array is an outlier.
    array_gain: Dial = Dial(0.02, 0.12)
    array_thickness: Dial = Dial(0.02, 0.12)
    array_response: Dial = Dial(0.004, 0.02)
    array_offset: Dial = Dial(0.002, 0.010)  # absorbance
    array_slope: Dial = Dial(0.002, 0.010)  # absorbance
    array_shift_cm1: Dial = Dial(0.2, 1.0)
    array_composition: Dial = Dial(0.01, 0.06)
    array_scatter: Dial = Dial(0.1, 0.3)
    # Between the spots of an array; standard deviations.
    spot_thickness: Dial = Dial(0.03, 0.16)
    spot_composition: Dial = Dial(0.02, 0.06)
    spot_scatter: Dial = Dial(0.1, 0.3)
    # Between the pixels of a spot; standard deviations.
    pixel_thickness: Dial = Dial(0.03, 0.22)
    pixel_composition: Dial = Dial(0.03, 0.10)
    pixel_scatter: Dial = Dial(0.2, 0.6)
    scatter_strength: Dial = Dial(0.004, 0.025)  # absorbance per unit of Q
    noise: Dial = Dial(0.003, 0.010)  # absorbance

    def at(self, difficulty: float) -> dict[str, float]:
        """The value of every dial at a difficulty."""
        return {field.name: getattr(self, field.name).at(difficulty) for field in fields(self)}


DIALS = Dials()
THICKNESS_LENGTH_UM = 130.0
COMPOSITION_LENGTH_UM = 60.0
SCATTER_LENGTH_UM = 100.0
SCATTER_RADIUS_SD_UM = 0.8
ARRAY_RADIUS_UM = (3.5, 5.5)  # of an array's mean radius


@dataclass(frozen=True)
class ArrayEffect:
    """What the spots of one array share.

    Attributes:
      response: (c,) gain of the measurement at every wavenumber.
      baseline: (c,) absorbance added to every pixel.
      shift_cm1: calibration error of the wavenumbers.
      composition: (k,) factor of every constituent's concentration: another laboratory, other patients.
      thickness: factor of the section's thickness.
      scatter: factor of the scatter strength.
      radius_um: mean radius of the scattering spheres.
    """

    response: Float[np.ndarray, " c"]
    baseline: Float[np.ndarray, " c"]
    shift_cm1: float
    composition: Float[np.ndarray, " k"]
    thickness: float
    scatter: float
    radius_um: float


def mie_extinction(
    wavenumbers_cm1: Float[np.ndarray, " c"],
    radii_um: Float[np.ndarray, " r"],
    refractive_index: float = REFRACTIVE_INDEX,
) -> Float[np.ndarray, "r c"]:
    """Extinction efficiency of spheres, the approximation of van de Hulst.

    Q(ν) = 2 − (4/ρ) sin ρ + (4/ρ²)(1 − cos ρ),  ρ = 4π r (n − 1) ν

    Args:
      wavenumbers_cm1: ν in cm⁻¹, shape (c,).
      radii_um: r in µm, shape (r,).
      refractive_index: n, the sphere's real refractive index relative to its surroundings.

    Returns:
      Q, dimensionless, shape (r, c); → ρ²/2 for small and → 2 for large spheres.

    References:
      van de Hulst, Light Scattering by Small Particles (1957), section 11.22; Kohler et al., Appl. Spectrosc.
      62:259 (2008), equation 2.
    """
    um_to_cm = 1e-4
    wave = 4.0 * np.pi * (refractive_index - 1.0) * um_to_cm
    rho = wave * radii_um[:, None] * wavenumbers_cm1[None, :]
    # sin ρ / ρ and (1 − cos ρ)/ρ² = sinc²(ρ/2)/2 through sinc, which is exact at ρ = 0.
    return 2.0 - 4.0 * np.sinc(rho / np.pi) + 2.0 * np.sinc(rho / (2.0 * np.pi)) ** 2


def draw_array_effect(rng: np.random.Generator, channels: int, dials: Mapping[str, float]) -> ArrayEffect:
    """Draws the batch effect of an array: everything uniform and bounded."""
    t = np.linspace(-1.0, 1.0, channels)

    def draw(name: str) -> float:
        return dials[name] * float(rng.uniform(-1.0, 1.0))

    ripple = np.zeros(channels)
    for order in (1, 2, 3):
        ripple += draw("array_response") / order * np.cos(np.pi * order * t + rng.uniform(0.0, 2.0 * np.pi))
    return ArrayEffect(
        response=math.exp(draw("array_gain")) * (1.0 + ripple),
        baseline=draw("array_offset") + draw("array_slope") * t,
        shift_cm1=draw("array_shift_cm1"),
        composition=np.exp(dials["array_composition"] * rng.uniform(-1.0, 1.0, len(CONSTITUENTS))),
        thickness=math.exp(draw("array_thickness")),
        scatter=math.exp(draw("array_scatter")),
        radius_um=float(rng.uniform(*ARRAY_RADIUS_UM)),
    )


def measure(
    rng: np.random.Generator,
    grid: Grid,
    histology: Histology,
    wavenumbers_cm1: Float[np.ndarray, " c"],
    effect: ArrayEffect,
    dials: Mapping[str, float],
) -> Float[np.ndarray, "p c"]:
    """Absorbance of the tissue pixels of one spot, in the order of the mask, shape (pixels, c), float32."""
    tissue = histology.tissue
    k = len(CONSTITUENTS)

    per_spot = effect.composition * np.exp(dials["spot_composition"] * rng.standard_normal(k))
    types = tissue_concentrations(dials["tumour_contrast"]) * per_spot[None, :]
    uneven = smooth_fields(rng, grid, COMPOSITION_LENGTH_UM, k)[:, tissue].T
    concentrations = (histology.fractions[tissue] @ types) * np.exp(dials["pixel_composition"] * uneven)

    thickness = effect.thickness * np.exp(
        dials["spot_thickness"] * rng.standard_normal()
        + dials["pixel_thickness"] * smooth_fields(rng, grid, THICKNESS_LENGTH_UM)[0][tissue]
    )
    strength = (dials["scatter_strength"] * effect.scatter) * np.exp(
        dials["spot_scatter"] * rng.standard_normal()
        + dials["pixel_scatter"] * smooth_fields(rng, grid, SCATTER_LENGTH_UM)[0][tissue]
    )
    radius_um = (
        effect.radius_um + SCATTER_RADIUS_SD_UM * smooth_fields(rng, grid, SCATTER_LENGTH_UM)[0][tissue]
    )
    radii_um = np.linspace(*SPHERE_RADII_UM, _RADIUS_STEPS)
    # Linear interpolation of Q between tabulated radii turns scatter into more columns of one product.
    step = radii_um[1] - radii_um[0]
    hats = np.clip(
        1.0 - np.abs(radius_um.clip(*SPHERE_RADII_UM)[:, None] - radii_um[None, :]) / step, 0.0, 1.0
    )

    weights = np.concatenate([thickness[:, None] * concentrations, strength[:, None] * hats], axis=1)
    basis = np.concatenate(
        [
            constituent_spectra(wavenumbers_cm1, shift_cm1=effect.shift_cm1),
            mie_extinction(wavenumbers_cm1, radii_um),
        ]
    )
    basis *= effect.response[None, :]
    absorbance = weights.astype(np.float32) @ basis.astype(np.float32)
    absorbance += effect.baseline.astype(np.float32)[None, :]
    # The detector loses sensitivity towards its cut-off at low wavenumbers.
    noise = (dials["noise"] * np.linspace(0.8, 1.6, wavenumbers_cm1.size)).astype(np.float32)
    absorbance += noise[None, :] * rng.standard_normal(absorbance.shape, dtype=np.float32)
    return absorbance
