"""Gases of the beam path taken out: carbon dioxide bridged by a line, water vapour subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compseg_jax.spectra.derivative import savitzky_golay_matrix
from compseg_jax.spectra.resampling import AnyArray, apply_operator, contiguous_runs, spectra_on

CO2_LOW_CM1, CO2_HIGH_CM1 = 2280.0, 2400.0
CO2_EDGE_CM1 = 10.0  # beside the band, averaged into the ends of the line
# Where vapour has lines: the bending vibration and the stretching vibrations of water.
VAPOUR_WINDOWS_CM1 = ((1300.0, 1900.0), (3550.0, 3950.0))
# Shorter than the tissue's bands and as short as a second derivative allows with some smoothing.
_WINDOW, _POLYNOMIAL_ORDER = 5, 2


class VapourCorrection(NamedTuple):
    """Spectra without vapour.

    Attributes:
      corrected: absorbance − factor · vapour.
      factor: how much of the vapour spectrum each spectrum held.
    """

    corrected: Float[Array, "... c"]
    factor: Float[Array, "*n"]


def flatten_co2(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    *,
    low_cm1: float = CO2_LOW_CM1,
    high_cm1: float = CO2_HIGH_CM1,
) -> Float[Array, "... c"]:
    """Replaces the channels of the carbon dioxide band by a straight line.

    The line joins the mean of the channels up to 10 cm⁻¹ beside each edge (of the nearest channel where that
    strip is empty). Where the axis ends inside the band, the mean of the one edge there is continues level.
    Channels outside the band stay as they are; without channels inside it nothing changes. The band has no
    information on tissue; flattened channels carry none either. Pure and differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      low_cm1: lower edge of the band, included.
      high_cm1: upper edge, included.

    Returns:
      Shape (…, c), in the dtype of ``absorbance``.

    Raises:
      ValueError: if axis and spectra disagree, the edges are out of order, or every channel lies in the band.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    if not low_cm1 < high_cm1:
        raise ValueError(
            f"flatten_co2: found a band from {low_cm1:g} to {high_cm1:g} cm⁻¹; required low < high."
        )
    inside = np.flatnonzero((axis >= low_cm1) & (axis <= high_cm1))
    if inside.size == axis.size:
        raise ValueError(
            f"flatten_co2: all {axis.size} channels ({axis.min():g} to {axis.max():g} cm⁻¹) lie in the band of "
            f"{low_cm1:g} to {high_cm1:g} cm⁻¹; nothing beside it says where the line runs. Leave the step out."
        )
    if not inside.size:
        return spectra.reshape(absorbance.shape)
    line = _line_operator(axis, inside, low_cm1, high_cm1)
    kept = spectra.at[:, inside].set(apply_operator(spectra, line))
    return kept.reshape(absorbance.shape)


def subtract_vapour(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    vapour: Float[AnyArray, " c"],
    *,
    windows_cm1: Sequence[tuple[float, float]] = VAPOUR_WINDOWS_CM1,
) -> VapourCorrection:
    """Subtracts as much of a vapour spectrum as each spectrum holds.

    The amount is the least-squares factor between the second derivatives (five channels, quadratic) in the
    windows where vapour has lines: lines are narrow and rule the second derivative, tissue bands and the
    baseline are broad and hardly show in it. A spectrum without vapour gets a factor near 0; it may be
    negative, where the background was measured in the wetter air. Pure and differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      vapour: spectrum of water vapour of the same instrument and resolution on this axis, shape (c,); checked
        where it is concrete.
      windows_cm1: ranges (low, high) used; those the axis does not reach are passed over.

    Raises:
      ValueError: if axis, spectra and vapour disagree, no window holds channels enough, or the vapour has
        no lines there.

    Source: subtraction of a gas spectrum by one factor for each spectrum, as Kozlov and Besov 2011, Appl.
    Spectrosc. 65, 918–923, who choose the factor that makes the spectrum's curve shortest; least squares of
    second derivatives is the choice of this function.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    operator = _second_derivative(axis, windows_cm1)
    if not isinstance(vapour, jax.core.Tracer):
        _check_vapour(np.asarray(vapour, np.float64), axis, operator)
    reference = jnp.asarray(vapour, spectra.dtype)[None, :]
    lines = apply_operator(reference, operator)
    with jax.default_matmul_precision("highest"):
        weights = lines @ jnp.asarray(operator, spectra.dtype)
        factor = spectra @ weights.T / jnp.sum(lines**2)
    corrected = spectra - factor * reference
    return VapourCorrection(corrected.reshape(absorbance.shape), factor.reshape(absorbance.shape[:-1]))


def _check_vapour(
    reference: np.ndarray, axis: Float[np.ndarray, " c"], operator: Float[np.ndarray, "r c"]
) -> None:
    if reference.shape != axis.shape or not np.isfinite(reference).all():
        raise ValueError(
            f"subtract_vapour vapour: found shape {reference.shape}, {np.count_nonzero(~np.isfinite(reference))} "
            f"values not finite; required {axis.shape}, all finite. Resample it to the axis of the spectra."
        )
    # A straight or empty spectrum leaves only rounding.
    if np.abs(operator @ reference).max() <= 1e-6 * np.abs(operator).max() * np.abs(reference).max():
        raise ValueError(
            "subtract_vapour: the vapour spectrum has no lines in the windows; its second derivative is 0. Give a "
            "measured spectrum of water vapour."
        )


def _second_derivative(
    axis: Float[np.ndarray, " c"], windows_cm1: Sequence[tuple[float, float]]
) -> Float[np.ndarray, "r c"]:
    rows = []
    for low, high in windows_cm1:
        channels = np.flatnonzero((axis >= low) & (axis <= high))
        for run in contiguous_runs(axis[channels]) if channels.size else []:
            members = channels[run]
            if members.size < _WINDOW:
                continue
            block = np.zeros((members.size, axis.size))
            block[:, members] = savitzky_golay_matrix(
                axis[members], window=_WINDOW, polynomial_order=_POLYNOMIAL_ORDER, derivative=2
            )
            # Rows near an end repeat the outermost window.
            rows.append(block[_WINDOW // 2 : members.size - _WINDOW // 2])
    if not rows:
        raise ValueError(
            f"subtract_vapour: no window of {tuple(windows_cm1)} cm⁻¹ holds {_WINDOW} channels of the axis from "
            f"{axis.min():g} to {axis.max():g} cm⁻¹; without vapour lines leave the step out."
        )
    return np.concatenate(rows)


def _line_operator(
    axis: Float[np.ndarray, " c"], inside: np.ndarray, low_cm1: float, high_cm1: float
) -> Float[np.ndarray, "k c"]:
    edges = [_edge(axis, axis < low_cm1, low_cm1), _edge(axis, axis > high_cm1, high_cm1)]
    present = [edge for edge in edges if edge is not None]
    (at, weights), (end, end_weights) = present[0], present[-1]
    share = (axis[inside] - at) / (end - at) if len(present) == 2 else np.zeros(inside.size)
    return np.outer(1 - share, weights) + np.outer(share, end_weights)


def _edge(
    axis: Float[np.ndarray, " c"], beside: np.ndarray, edge_cm1: float
) -> tuple[float, Float[np.ndarray, " c"]] | None:
    """Mean wavenumber of the strip beside the band and the weights of its channels; None where it is absent."""
    if not beside.any():
        return None
    distance = np.where(beside, np.abs(axis - edge_cm1), np.inf)
    strip = distance <= max(CO2_EDGE_CM1, distance.min())
    weights = strip / strip.sum()
    return float(weights @ axis), weights
