"""Mie extinction curves of absorbing spheres in van de Hulst's approximation.

A sphere of radius r and refractive index n₀ around a spectrum g (absorbance) has the complex phase delay

    w = i·α·(ν + γ·s),   s = ν·n′ − i·g,   α = 4π·r·(n₀ − 1),   γ = h·ln 10 / (2π²·r·(n₀ − 1)),

ν the wavenumber, ν·n′ the dispersive part that belongs to g (``kramers_kronig``), and the extinction
efficiency Q = 4·Re K(w) with K(w) = 1/2 + exp(−w)/w + (exp(−w) − 1)/w² (van de Hulst 1957, §11.22). This is
the same function as the ρ, β form printed in Konevskikh et al. 2016 (doi:10.1039/C5FD00171D), with
w = ρ·tan β + iρ. Written so, Q is the real part of an *entire* function of the one complex number s, and
that is what ``series_curves`` builds on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from compseg_jax.spectra.scatter.kramers_kronig import PADDING_CHANNELS

PER_CM_TO_PER_UM = 1e-4


@dataclass(frozen=True)
class Spheres:
    """The grid of spheres whose curves span the scattering, as in Solheim et al. 2019.

    Radii and refractive indices are paired: pair i gives αᵢ, pair j gives γⱼ, and every αᵢ meets every γⱼ.
    """

    radii_um: tuple[float, ...] = tuple(np.linspace(2.0, 7.1, 10).tolist())
    refractive_indices: tuple[float, ...] = tuple(np.linspace(1.1, 1.4, 10).tolist())
    absorption_scale: float = 0.25
    """h: how much absorption the sphere has for an absorbance of 1 in the spectrum."""
    padding: int = PADDING_CHANNELS
    """Channels by which spectra are continued at both ends for the Kramers–Kronig transform."""

    def __post_init__(self) -> None:
        if len(self.radii_um) != len(self.refractive_indices):
            raise ValueError(
                f"Spheres: found {len(self.radii_um)} radii_um and {len(self.refractive_indices)} "
                "refractive_indices; they are pairs. Give as many of each."
            )
        if min(self.radii_um) <= 0 or min(self.refractive_indices) <= 1:
            raise ValueError(
                f"Spheres: found radii_um from {min(self.radii_um):g} and refractive_indices from "
                f"{min(self.refractive_indices):g}; radii must be above 0, indices above 1."
            )

    @property
    def phase_um(self) -> NDArray[np.float64]:
        """α in µm of each curve, shape (curves,)."""
        return np.repeat(4 * np.pi * self._contrast_um, len(self.radii_um))

    @property
    def absorption(self) -> NDArray[np.float64]:
        """γ in 1/µm of each curve, shape (curves,); γ runs fastest."""
        gamma = self.absorption_scale * np.log(10) / (2 * np.pi**2 * self._contrast_um)
        return np.tile(gamma, len(self.radii_um))

    @property
    def _contrast_um(self) -> NDArray[np.float64]:
        return np.asarray(self.radii_um) * (np.asarray(self.refractive_indices) - 1)


@runtime_checkable
class SphereGrid(Protocol):
    """Spheres as the formula needs them: α in µm and γ, one value a curve."""

    @property
    def phase_um(self) -> NDArray[np.float64]:
        """α of each curve."""

    @property
    def absorption(self) -> NDArray[np.float64]:
        """γ of each curve, in 1/µm for s as an absorbance."""


def van_de_hulst(delay: Any) -> Any:
    """Extinction efficiency 4·Re K(w) for complex phase delays w ≠ 0; NumPy or JAX arrays of any shape."""
    xp = delay.__array_namespace__()
    inverse = 1 / delay
    decay = xp.exp(-delay)
    return 4 * xp.real(0.5 + decay * inverse + (decay - 1) * inverse * inverse)


def extinction_curves(
    wavenumbers_cm1: NDArray[np.float64], index: NDArray[np.complex128], spheres: SphereGrid
) -> NDArray[np.float64]:
    """Curves of all spheres around one spectrum, on the host in float64.

    Args:
      wavenumbers_cm1: axis, shape (c,).
      index: s = ν·n′ − i·g, shape (c, …); further axes hold further values of s at the same wavenumber.
      spheres: the grid.

    Returns:
      Extinction efficiencies of shape (curves, c, …).
    """
    trailing = [1] * (index.ndim - 1)
    wavenumbers_um = (np.asarray(wavenumbers_cm1, np.float64) * PER_CM_TO_PER_UM).reshape(-1, *trailing)
    phase = spheres.phase_um.reshape(-1, 1, *trailing)
    absorption = spheres.absorption.reshape(-1, 1, *trailing)
    return van_de_hulst(1j * phase * (wavenumbers_um + absorption * index))
