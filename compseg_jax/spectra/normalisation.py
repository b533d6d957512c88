"""Spectra brought to one scale, so that thickness and concentration no longer show.

Each function works on every spectrum for itself. A spectrum that has no scale to divide by (an empty pixel, a
constant, no band where one is needed) becomes NaN throughout, as does one with a channel that is not finite:
mask spectra that are not finite afterwards. All are pure, differentiable and work in the dtype of the input.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compseg_jax.readers.amide_i import AMIDE_I_FEET_CM1
from compseg_jax.spectra.resampling import AnyArray, apply_operator, as_floats, contiguous_runs, spectra_on

AMIDE_I_LOW_CM1, AMIDE_I_HIGH_CM1 = AMIDE_I_FEET_CM1


def vector_normalise(absorbance: Float[AnyArray, "... c"], *, centre: bool = False) -> Float[Array, "... c"]:
    """Divides each spectrum by its Euclidean norm.

    Args:
      absorbance: spectra, shape (…, c).
      centre: subtracts the mean of the spectrum first, as Bruker's OPUS does under this name. Left out by
        default: after a baseline correction or a derivative it is the plain norm that is meant, and the
        centred one differs from `standard_normal_variate` by a constant only.

    Returns:
      Spectra of norm 1, shape (…, c); NaN where the norm is 0.
    """
    spectra = as_floats(absorbance)
    return _unit_norm(spectra, spectra - _mean(spectra) if centre else spectra)


def standard_normal_variate(absorbance: Float[AnyArray, "... c"]) -> Float[Array, "... c"]:
    """Subtracts the mean of each spectrum and divides by its standard deviation (of a sample, c − 1).

    Args:
      absorbance: spectra, shape (…, c), c of 2 or more.

    Returns:
      Spectra of mean 0 and standard deviation 1, shape (…, c); NaN where the spectrum is constant.

    Raises:
      ValueError: if there is only one channel.

    Source: Barnes, Dhanoa and Lister 1989, doi:10.1366/0003702894202201.
    """
    spectra = as_floats(absorbance)
    channels = spectra.shape[-1]
    if channels < 2:
        raise ValueError(f"standard_normal_variate: found {channels} channel; at least 2 have a deviation.")
    return _unit_norm(spectra, spectra - _mean(spectra)) * float(np.sqrt(channels - 1))


def amide_i_normalise(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    *,
    by_height: bool = False,
) -> Float[Array, "... c"]:
    """Divides each spectrum by its amide I band, measured above the line from 1600 to 1700 cm⁻¹.

    The line joins the absorbances at 1600 and 1700 cm⁻¹, interpolated linearly between channels; area is by
    the trapezoidal rule. Only the scale changes; the line is not subtracted.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      by_height: divides by the band's largest height instead of its area.

    Returns:
      Spectra whose amide I area is 1 cm⁻¹, or height 1, shape (…, c); NaN where the band is not above the
      line.

    Raises:
      ValueError: if axis and spectra disagree, or the axis does not cover the band with 3 channels or more.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    inside = (axis >= AMIDE_I_LOW_CM1) & (axis <= AMIDE_I_HIGH_CM1)
    if axis.min() > AMIDE_I_LOW_CM1 or axis.max() < AMIDE_I_HIGH_CM1 or inside.sum() < 3:
        raise ValueError(
            f"amide_i_normalise: the axis covers {axis.min():g} to {axis.max():g} cm⁻¹ with {inside.sum()} "
            "channels between 1600 and 1700 cm⁻¹; the whole band and 3 channels or more are required. "
            "Choose another normalisation."
        )
    points, heights = _heights_above_line(axis, axis[inside])
    if by_height:
        scale = apply_operator(spectra, heights).max(axis=1, keepdims=True)
    else:
        scale = apply_operator(spectra, _trapezoid_weights(points)[None, :] @ heights)
    return _divided(spectra, scale).reshape(absorbance.shape)


def area_normalise(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    *,
    low_cm1: float = -np.inf,
    high_cm1: float = np.inf,
) -> Float[Array, "... c"]:
    """Divides each spectrum by its area, by the trapezoidal rule over the channels of a range.

    Absorbance below 0 counts negative; a gap in the axis adds no area.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      low_cm1: lower end of the range; the whole axis by default.
      high_cm1: upper end.

    Returns:
      Spectra of area 1 cm⁻¹, shape (…, c); NaN where the area is not positive.

    Raises:
      ValueError: if axis and spectra disagree, or fewer than two channels lie in the range.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    inside = np.flatnonzero((axis >= low_cm1) & (axis <= high_cm1))
    if inside.size < 2:
        raise ValueError(
            f"area_normalise: found {inside.size} channels between {low_cm1:g} and {high_cm1:g} cm⁻¹ on an axis "
            f"of {axis.min():g} to {axis.max():g} cm⁻¹; at least 2 span an area. Choose a range inside."
        )
    weights = np.zeros((1, axis.size))
    for run in contiguous_runs(axis):
        members = inside[(inside >= run.start) & (inside < run.stop)]
        weights[0, members] = _trapezoid_weights(axis[members])
    return _divided(spectra, apply_operator(spectra, weights)).reshape(absorbance.shape)


def _mean(spectra: Float[Array, "... c"]) -> Float[Array, "... 1"]:
    return jnp.mean(spectra, axis=-1, keepdims=True)


def _unit_norm(original: Float[Array, "... c"], spectra: Float[Array, "... c"]) -> Float[Array, "... c"]:
    """Norm 1, or NaN where nothing but the rounding of the original is left."""
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(original)), axis=-1, keepdims=True)
    peak = jnp.max(jnp.abs(jax.lax.stop_gradient(spectra)), axis=-1, keepdims=True)
    limits = jnp.finfo(spectra.dtype)
    valid = (peak > 8 * float(limits.eps) * size) & (peak >= float(limits.tiny)) & jnp.isfinite(peak)
    # Squares of the largest value 1 neither overflow nor vanish.
    scaled = jnp.where(valid, spectra / jnp.where(valid, peak, 1), 1)
    norm = jnp.sqrt(jnp.sum(scaled**2, axis=-1, keepdims=True))
    return jnp.where(valid, scaled / norm, jnp.nan)


def _divided(spectra: Float[Array, "n c"], scale: Float[Array, "n 1"]) -> Float[Array, "n c"]:
    """The quotient, or NaN where the scale is not above the rounding of the spectrum."""
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(spectra)), axis=1, keepdims=True)
    limits = jnp.finfo(spectra.dtype)
    finite = jnp.isfinite(spectra).all(axis=1, keepdims=True)
    valid = finite & (scale > 8 * float(limits.eps) * size) & (scale >= float(limits.tiny))
    return jnp.where(valid, spectra / jnp.where(valid, scale, 1), jnp.nan)


def _heights_above_line(
    axis: Float[np.ndarray, " c"], inside: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p c"]]:
    """Wavenumbers of the band with both its ends, and the operator that gives the heights there."""
    points = np.unique(np.concatenate([[AMIDE_I_LOW_CM1], inside, [AMIDE_I_HIGH_CM1]]))
    order = np.argsort(axis)
    rows = np.stack([np.interp(points, axis[order], unit[order]) for unit in np.eye(axis.size)], axis=1)
    share = (points - points[0]) / (points[-1] - points[0])
    return points, rows - np.outer(1 - share, rows[0]) - np.outer(share, rows[-1])


def _trapezoid_weights(points: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    steps = np.abs(np.diff(points))
    return (np.append(steps, 0.0) + np.append(0.0, steps))[: points.size] / 2
