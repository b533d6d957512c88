"""Resonant Mie scattering correction (RMieS-EMSC) of Bassan et al. 2010.

The correction CompSegNet's spectra had. It shares the loop, the Kramers–Kronig transform, the orthogonal
components and the fit with ME-EMSC (``mie``) and differs in the spheres: they scatter but do not absorb, and
the resonance enters as n = a + b·n̂ with n̂ the dispersive index of the guess scaled to a minimum of −1. In
the terms of ``mie_curves`` that is α = 4π·r·(a − 1), γ = b/(a − 1) and the real s = ν·n̂, so each curve is an
entire function of one real number, expanded here in Chebyshev polynomials.

Two steps are those of ME-EMSC and not of the original program: every guess is scaled to the reference and
clipped at zero, and the fit has a constant but no linear baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from compseg_jax.spectra.scatter.mie import (
    AnyArray,
    MieCorrection,
    MieSettings,
    arithmetic_dtype,
    correct_by_model,
)
from compseg_jax.spectra.scatter.mie_curves import PER_CM_TO_PER_UM, extinction_curves
from compseg_jax.spectra.scatter.mie_loop import StopRule
from compseg_jax.spectra.scatter.mie_model import mie_model
from compseg_jax.spectra.scatter.mie_series import DirectCurves, direct_curves, leading_directions

# n̂ is −1 at its minimum; above it hardly reaches the opposite. Spectra beyond use the formula.
_LARGEST_INDEX = 2.0
_NODES = 96
_BLOCK_CHANNELS = 16
_TOLERANCE = {np.dtype(np.float32): 3e-4, np.dtype(np.float64): 1e-8}
_SPARE_ROWS = 6


@dataclass(frozen=True)
class ResonantSpheres:
    """The 1000 spheres of Bassan et al. 2010: every radius with every mean index and every amplification."""

    radii_um: tuple[float, ...] = tuple(np.linspace(2.0, 8.0, 10).tolist())
    mean_indices: tuple[float, ...] = tuple(np.linspace(1.1, 1.5, 10).tolist())
    amplifications: int = 10
    """Values of b for each mean index a, from 0 to a − 1.01, so that n stays above 1."""

    @property
    def phase_um(self) -> NDArray[np.float64]:
        """α of each curve, shape (curves,)."""
        radius, index, _ = self._grid
        return (4 * np.pi * radius * (index - 1)).ravel()

    @property
    def absorption(self) -> NDArray[np.float64]:
        """γ of each curve, shape (curves,); without unit, for s = ν·n̂ with ν in 1/µm."""
        _, index, share = self._grid
        return (share * (index - 1.01) / (index - 1)).ravel()

    @property
    def _grid(self) -> tuple[NDArray[np.float64], ...]:
        shares = np.linspace(0, 1, self.amplifications)
        return tuple(np.meshgrid(self.radii_um, self.mean_indices, shares, indexing="ij"))


SPHERES = ResonantSpheres()


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("coefficients", "wavenumbers_um", "formula"),
    meta_fields=(),
)
@dataclass(frozen=True)
class ResonantCurves:
    """Curves of a batch as Chebyshev series in n̂, projected onto directions of the sphere grid.

    Attributes:
      coefficients: shape (c, rows, terms).
      wavenumbers_um: ν in 1/µm, shape (c,).
      formula: for spectra with n̂ beyond the interval of the series.
    """

    coefficients: Float[Array, "c rows terms"]
    wavenumbers_um: Float[Array, " c"]
    formula: DirectCurves

    def __call__(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> Float[Array, "c rows b"]:
        """Curves around each spectrum; meaningless where ``outside``."""
        scaled = ((self._index(dispersion) - _CENTRE) / _HALF_WIDTH).T
        terms = [jnp.ones_like(scaled), scaled]
        for _ in range(self.coefficients.shape[-1] - 2):
            terms.append(2 * scaled * terms[-1] - terms[-2])
        # The barrier keeps the compiler from computing the whole recurrence anew for every term.
        stacked = jnp.stack(jax.lax.optimization_barrier(terms), axis=1)
        return jnp.einsum("crm,cmb->crb", self.coefficients, stacked)

    def exact(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> Float[Array, "c rows b"]:
        """The same curves by the formula."""
        index = self._index(dispersion) * self.wavenumbers_um[None, :]
        return self.formula(index, jnp.zeros_like(absorbance))

    def outside(self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]) -> Bool[Array, " b"]:
        """Spectra whose n̂ leaves the interval of the series."""
        return jnp.any(self._index(dispersion) > _LARGEST_INDEX, axis=-1)

    def _index(self, dispersion: Float[Array, "b c"]) -> Float[Array, "b c"]:
        index = dispersion / self.wavenumbers_um[None, :]
        return index / jnp.max(-index, axis=-1, keepdims=True)


_CENTRE, _HALF_WIDTH = (_LARGEST_INDEX - 1) / 2, (_LARGEST_INDEX + 1) / 2


def rmies(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    reference: Float[AnyArray, " c"],
    *,
    n_components: int = 7,
    iterations: int = 10,
    spheres: ResonantSpheres = SPHERES,
    memory_budget_bytes: int = 2**30,
) -> MieCorrection:
    """Corrects spectra for resonant Mie scattering.

    Args:
      absorbance: measured spectra, shape (…, c); float64 as for ``me_emsc``.
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), strictly rising or falling.
      reference: a pure spectrum of similar chemistry on that axis, shape (c,).
      n_components: scattering components in the fit.
      iterations: of every spectrum, each with the spectrum corrected before as its reference.
      spheres: radii, mean indices and amplifications.
      memory_budget_bytes: bound for the arrays of the spectra in work at the same time.

    Returns:
      ``MieCorrection``, as of ``me_emsc``; spectra that turn non-finite are NaN with 0 iterations.

    Raises:
      ValueError: if shapes, axis, reference or settings do not fit.

    Source: Bassan et al. 2010, doi:10.1039/b921056c.
    """
    rule = StopRule("fixed", max_iterations=iterations)
    settings = MieSettings(n_components, rule, memory_budget_bytes=memory_budget_bytes)
    dtype = arithmetic_dtype(absorbance)
    axis, pure = np.asarray(wavenumbers_cm1, np.float64), np.asarray(reference, np.float64)
    model = mie_model(axis, pure, n_components=n_components, dtype=dtype, curve_tolerance=0)
    curves = _resonant_curves(axis.tobytes(), spheres, n_components + _SPARE_ROWS, dtype)
    return correct_by_model(absorbance, replace(model, curves=curves), settings)[0]


@lru_cache(maxsize=4)
def _resonant_curves(
    axis_bytes: bytes, spheres: ResonantSpheres, min_rows: int, dtype: np.dtype
) -> ResonantCurves:
    axis = np.frombuffer(axis_bytes)
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    index = _CENTRE + _HALF_WIDTH * np.cos(angles)
    # Chebyshev coefficients by the discrete cosine transform over the nodes.
    transform = 2 / _NODES * np.cos(np.outer(np.arange(_NODES), angles))
    transform[0] /= 2
    blocks = []
    for start in range(0, axis.size, _BLOCK_CHANNELS):
        block = axis[start : start + _BLOCK_CHANNELS]
        delays = np.outer(block * PER_CM_TO_PER_UM, index).astype(np.complex128)
        values = extinction_curves(block, delays, spheres)
        blocks.append(values @ transform.T)
    terms = np.concatenate(blocks, axis=1)
    tolerance = _TOLERANCE[dtype]
    used = 1 + int(np.flatnonzero(np.abs(terms).max(axis=(0, 1)) > tolerance).max())
    terms = terms[..., : max(2, used)]
    basis = leading_directions(terms.reshape(terms.shape[0], -1), tolerance, min_rows)
    return ResonantCurves(
        coefficients=jnp.asarray(np.einsum("gr,gcm->crm", basis, terms), dtype),
        wavenumbers_um=jnp.asarray(axis * PER_CM_TO_PER_UM, dtype),
        formula=direct_curves(axis, spheres, basis, dtype),
    )
