"""Extended multiplicative signal correction (EMSC): baseline, scale and interferents by one linear fit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.spectra.resampling import AnyArray


class EmscCorrection(NamedTuple):
    """Corrected spectra and their fit.

    Attributes:
      corrected: spectra on the scale of the reference, without baseline and interferents.
      coefficients: polynomial from the constant up, interferents, constituents, factor of the reference.
      residual: what the model leaves unexplained, in measured absorbance.
    """

    corrected: Float[Array, "... c"]
    coefficients: Float[Array, "... k"]
    residual: Float[Array, "... c"]


def emsc(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    reference: Float[AnyArray, " c"],
    *,
    polynomial_order: int | None = 2,
    constituents: Float[AnyArray, "m c"] | None = None,
    interferents: Float[AnyArray, "n c"] | None = None,
    weights: Float[AnyArray, " c"] | None = None,
) -> EmscCorrection:
    """Fits each spectrum by reference, polynomial, constituents and interferents and removes what disturbs.

    The model is  spectrum = Σ pᵢ·xⁱ + Σ qⱼ·interferentⱼ + Σ kₗ·constituentₗ + b·reference + residual,  x the
    wavenumber scaled to −1 … 1. Polynomial and interferents are removed, constituents and residual are
    chemistry and stay, and the result is divided by b. Pure, differentiable, any leading axes; works in the
    dtype of ``absorbance``.

    Args:
      absorbance: measured spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,).
      reference: reference spectrum, for example the mean spectrum, shape (c,).
      polynomial_order: 0 is a constant baseline; None leaves the baseline out.
      constituents: spectra that vary chemically and are kept, shape (m, c).
      interferents: spectra to remove, such as water vapour or paraffin, shape (n, c).
      weights: of the channels in the fit, shape (c,).

    Raises:
      ValueError: if shapes or the order do not fit.

    Source: Martens and Stark 1991, doi:10.1016/0731-7085(91)80188-F; Kohler et al. 2005,
    doi:10.1366/0003702054280649.
    """
    dtype = absorbance.dtype
    channels = absorbance.shape[-1]
    if polynomial_order is not None and polynomial_order < 0:
        raise ValueError(f"polynomial_order: found {polynomial_order}; it must be at least 0, or None.")
    if wavenumbers_cm1.shape != (channels,):
        raise ValueError(
            f"wavenumbers_cm1: found {wavenumbers_cm1.shape[0]} values for {channels} channels; they must be "
            "as many."
        )
    polynomial = _polynomial(jnp.asarray(wavenumbers_cm1, dtype), polynomial_order)
    disturbing = jnp.concatenate([polynomial, _rows("interferents", interferents, channels, dtype)])
    chemical = jnp.concatenate(
        [
            _rows("constituents", constituents, channels, dtype),
            _rows("reference", reference, channels, dtype),
        ]
    )
    design = jnp.concatenate([disturbing, chemical])
    spectra = absorbance.reshape(-1, channels)
    weight = jnp.ones(channels, dtype) if weights is None else _rows("weights", weights, channels, dtype)[0]
    with jax.default_matmul_precision("highest"):
        # Columns of unit length keep the triangular factor well scaled in float32.
        lengths = jnp.linalg.norm(design * weight[None, :], axis=1)
        orthonormal, triangle = jnp.linalg.qr((design * weight[None, :] / lengths[:, None]).T)
        projected = orthonormal.T @ (spectra * weight[None, :]).T
        solved = jax.scipy.linalg.solve_triangular(triangle, projected)
        coefficients = (solved / lengths[:, None]).T
        split = disturbing.shape[0]
        residual = spectra - coefficients @ design
        kept = coefficients[:, split:] @ chemical + residual
    leading = absorbance.shape[:-1]
    return EmscCorrection(
        (kept / coefficients[:, -1:]).reshape(absorbance.shape),
        coefficients.reshape(*leading, design.shape[0]),
        residual.reshape(absorbance.shape),
    )


def _polynomial(wavenumbers_cm1: Float[Array, " c"], order: int | None) -> Float[Array, "k c"]:
    low, high = jnp.min(wavenumbers_cm1), jnp.max(wavenumbers_cm1)
    scaled = (wavenumbers_cm1 - (low + high) / 2) / ((high - low) / 2)
    rows = [jnp.ones_like(scaled)]
    for _ in range(order or 0):
        rows.append(rows[-1] * scaled)
    return jnp.stack(rows)[: 0 if order is None else order + 1]


def _rows(name: str, spectra: AnyArray | None, channels: int, dtype: jnp.dtype) -> Float[Array, "k c"]:
    if spectra is None:
        return jnp.zeros((0, channels), dtype)
    rows = jnp.atleast_2d(jnp.asarray(spectra, dtype))
    if rows.ndim != 2 or rows.shape[1] != channels:
        raise ValueError(
            f"{name}: found shape {rows.shape} for spectra of {channels} channels; interpolate to their axis."
        )
    return rows
