"""Single spectra, as people keep references: several spectra on one spectral axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compseg_jax.readers.cube import CubeError


@dataclass(frozen=True)
class Spectra:
    """Spectra that share an axis.

    Attributes:
      absorbance: array of shape (n, c), float32 or float64; absorbance, Raman counts or what was measured.
      wavenumbers_cm1: the axis in cm⁻¹, shape (c,), float64, strictly monotonic as stored.
      names: a name or class of each spectrum, n of them, empty when the file gives none.
      positions_um: array of shape (n, 2), the x and y position of each spectrum, None when unknown.
      provenance: where the spectra come from (`source` is their file).

    Raises:
      CubeError: if the shapes disagree or the axis is not finite and strictly monotonic.
    """

    absorbance: np.ndarray
    wavenumbers_cm1: np.ndarray
    names: tuple[str, ...] = ()
    positions_um: np.ndarray | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source = self.provenance.get("source", "array")
        if self.absorbance.ndim != 2 or 0 in self.absorbance.shape:
            raise CubeError(f"{source}: found an array of shape {self.absorbance.shape}; required is (n, c).")
        number, channels = self.absorbance.shape
        if self.wavenumbers_cm1.shape != (channels,):
            raise CubeError(
                f"{source}: found {self.wavenumbers_cm1.size} wavenumbers for {channels} channels; "
                "they must be as many."
            )
        steps = np.diff(self.wavenumbers_cm1)
        if not np.all(np.isfinite(self.wavenumbers_cm1)) or not (np.all(steps > 0) or np.all(steps < 0)):
            raise CubeError(f"{source}: the wavenumbers are not finite and strictly rising or falling.")
        if self.names and len(self.names) != number:
            raise CubeError(f"{source}: found {len(self.names)} names for {number} spectra.")
        if self.positions_um is not None and self.positions_um.shape != (number, 2):
            raise CubeError(f"{source}: found positions {self.positions_um.shape} for {number} spectra.")
