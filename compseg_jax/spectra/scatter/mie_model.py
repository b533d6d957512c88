"""What ME-EMSC needs to know about an axis and a reference, computed once on the host in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from compseg_jax.spectra.scatter.kramers_kronig import dispersion_matrix
from compseg_jax.spectra.scatter.mie_curves import Spheres, extinction_curves
from compseg_jax.spectra.scatter.mie_series import (
    CompressedCurves,
    DirectCurves,
    direct_curves,
    series_curves,
)

MAX_COMPONENTS = 30
SPHERES = Spheres()
_EXPLAINED_PERCENT = 99.96
# Ten to a hundred times under what each dtype is asked to reproduce: 2e-3 and 1e-6 in absorbance.
_CURVE_TOLERANCE = {np.dtype(np.float32): 3e-4, np.dtype(np.float64): 1e-8}
_SPARE_ROWS = 6


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("reference", "scaling", "baseline", "baseline_fit", "dispersion", "curves"),
    meta_fields=("n_components",),
)
@dataclass(frozen=True)
class MieModel:
    """What depends on the axis and the reference alone.

    Attributes:
      reference: pure spectrum to start from, clipped at zero, shape (c,).
      scaling: its product with a guess is the factor of the guess to the reference, shape (c,).
      baseline, baseline_fit: quadratic baseline and the products that fit it, shape (3, c).
      dispersion: ``dispersion_matrix``, transposed, shape (c, c).
      curves: extinction curves of a batch.
      n_components: number of Mie components in the fit.
    """

    reference: Float[Array, " c"]
    scaling: Float[Array, " c"]
    baseline: Float[Array, "3 c"]
    baseline_fit: Float[Array, "3 c"]
    dispersion: Float[Array, "c c"]
    curves: DirectCurves | CompressedCurves
    n_components: int


def mie_model(
    wavenumbers_cm1: Float[np.ndarray, " c"],
    reference: Float[np.ndarray, " c"],
    *,
    n_components: int | None = None,
    spheres: Spheres = SPHERES,
    dtype: np.dtype | type = np.float32,
    curve_tolerance: float | None = None,
) -> MieModel:
    """Model for ``correct_pool``; the last few are kept, so asking again costs nothing.

    Args:
      wavenumbers_cm1: axis, shape (c,), strictly rising or falling.
      reference: pure absorbance spectrum, shape (c,); negative values count as zero.
      n_components: number of Mie components; None takes as many as explain 99.96 % of the variance of the
        reference's curves among the first 30.
      spheres: grid of spheres.
      dtype: of the arithmetic.
      curve_tolerance: what the compressed curves may leave out (``series_curves``); None chooses by dtype, 0
        evaluates the formula for every curve, the slow check of everything else.

    Raises:
      ValueError: if the axis or the reference is unusable or ``n_components`` out of range.
    """
    axis = np.asarray(wavenumbers_cm1, np.float64)
    pure = np.asarray(reference, np.float64)
    dtype = np.dtype(dtype)
    _check(axis, pure, n_components)
    tolerance = _CURVE_TOLERANCE[dtype] if curve_tolerance is None else curve_tolerance
    return _model(axis.tobytes(), pure.tobytes(), n_components, spheres, dtype, tolerance)


@lru_cache(maxsize=4)
def _model(
    axis_bytes: bytes,
    reference_bytes: bytes,
    n_components: int | None,
    spheres: Spheres,
    dtype: np.dtype,
    tolerance: float,
) -> MieModel:
    axis = np.frombuffer(axis_bytes)
    pure = np.maximum(np.frombuffer(reference_bytes), 0)
    dispersion = dispersion_matrix(axis, spheres.padding)
    index = dispersion @ pure - 1j * pure
    if n_components is None:
        n_components = component_count(axis, pure, spheres)
    scaled = (axis - (axis.min() + axis.max()) / 2) / (np.ptp(axis) / 2)
    design = np.stack([pure, np.ones_like(scaled), scaled, np.square(scaled)])
    fit = np.linalg.pinv(design.T)
    if tolerance == 0:
        curves: DirectCurves | CompressedCurves = direct_curves(
            axis, spheres, np.eye(spheres.phase_um.size), dtype
        )
    else:
        rows = n_components + _SPARE_ROWS
        curves = series_curves(axis, spheres, index, tolerance=tolerance, min_rows=rows, dtype=dtype)
    return MieModel(
        reference=jnp.asarray(pure, dtype),
        scaling=jnp.asarray(fit[0], dtype),
        baseline=jnp.asarray(design[1:], dtype),
        baseline_fit=jnp.asarray(fit[1:], dtype),
        dispersion=jnp.asarray(dispersion.T, dtype),
        curves=curves,
        n_components=n_components,
    )


def component_count(
    wavenumbers_cm1: NDArray[np.float64], reference: NDArray[np.float64], spheres: Spheres
) -> int:
    """Components that explain more than 99.96 % of the curves' variance among the first 30.

    The variance is that about zero, not about the mean, as in the Matlab code of Solheim et al. 2019.
    """
    index = dispersion_matrix(wavenumbers_cm1, spheres.padding) @ reference - 1j * reference
    curves = extinction_curves(wavenumbers_cm1, index, spheres)
    unit = reference / np.linalg.norm(reference)
    curves = curves - np.outer(curves @ unit, unit)
    values = np.linalg.svd(curves, compute_uv=False)[: min(MAX_COMPONENTS, len(reference) - 1)]
    explained = 100 * np.cumsum(np.square(values)) / np.sum(np.square(values))
    return int(np.argmax(explained > _EXPLAINED_PERCENT)) + 1


def _check(axis: NDArray[np.float64], reference: NDArray[np.float64], n_components: int | None) -> None:
    steps = np.diff(axis)
    if axis.ndim != 1 or axis.size < 8 or not (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError(
            f"wavenumbers_cm1: found shape {axis.shape}; at least 8 strictly rising or falling values are "
            "required. Sort the channels along the axis and remove repeated ones."
        )
    if reference.shape != axis.shape:
        raise ValueError(
            f"reference: found shape {reference.shape} for {axis.size} wavenumbers; interpolate the "
            "reference to the axis of the spectra."
        )
    if not np.all(np.isfinite(reference)) or reference.max() <= 0:
        raise ValueError(
            f"reference: found values from {reference.min():g} to {reference.max():g}; finite absorbances "
            "with a maximum above 0 are required. Check the range over which it was interpolated."
        )
    most = min(MAX_COMPONENTS, axis.size - 4)
    if n_components is not None and not 1 <= n_components <= most:
        raise ValueError(f"n_components: found {n_components}; it must be 1 to {most}, or None.")
