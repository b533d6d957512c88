"""Spectra on another axis: cut to a range, interpolated, or averaged where the new axis is much coarser.

Also what the other steps ask of an axis: that it is one (`host_axis`), where it has gaps
(`contiguous_runs`), and the flat batch of spectra that belongs to it (`spectra_on`, `apply_operator`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

AnyArray = Array | np.ndarray

# The axis of the paper: "the range between 1800–948 cm⁻¹ represented as a 450 dimensional vector"
# (Schuhmacher et al. 2019, section 2). Even spacing is our reading; the paper does not print the axis.
PAPER_AXIS_CM1: Float[np.ndarray, " c"] = np.linspace(1800.0, 948.0, 450)
PAPER_AXIS_CM1.setflags(write=False)

GAP_STEPS = 3.0  # a step above this many median steps is a gap: channels were taken out
COARSE_STEPS = 2.0  # a target step above this many source steps averages instead of sampling
_SAME_CHANNEL = 1e-6  # of a step: nearer than this is the channel itself, free of the rounding of the spline
_INSIDE = 1e-3  # of a median step, by which a channel may lie outside a range and still count as inside


def cut(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    first_cm1: float,
    last_cm1: float,
) -> tuple[Float[AnyArray, "... k"], Float[np.ndarray, " k"]]:
    """Keeps the channels from ``first_cm1`` to ``last_cm1``, both included, in the stored direction.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      first_cm1: one end of the range.
      last_cm1: the other end; the order of the two does not matter.

    Returns:
      The spectra (…, k) and their axis (k,), float64. The range may reach beyond the axis.

    Raises:
      ValueError: if axis and spectra disagree, or no channel lies in the range.
    """
    axis = host_axis(wavenumbers_cm1, absorbance.shape[-1])
    low, high = sorted((first_cm1, last_cm1))
    margin = _INSIDE * median_step_cm1(axis)
    inside = np.flatnonzero((axis >= low - margin) & (axis <= high + margin))
    if not inside.size:
        raise ValueError(
            f"cut: no channel lies between {low:g} and {high:g} cm⁻¹; the axis covers {axis.min():g} to "
            f"{axis.max():g} cm⁻¹. Choose a range that holds channels."
        )
    kept = slice(int(inside[0]), int(inside[-1]) + 1)
    return absorbance[..., kept], axis[kept]


def resample(
    absorbance: Float[AnyArray, "... c"],
    from_cm1: Float[AnyArray, " c"],
    to_cm1: Float[AnyArray, " k"],
) -> Float[Array, "... k"]:
    """Spectra on another axis by `resampling_matrix`, in the dtype of ``absorbance``; differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      from_cm1: their axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      to_cm1: the axis wanted, shape (k,), rising or falling, concrete under ``jit``.

    Returns:
      Shape (…, k). An axis equal to the own one gives the same values; a channel that is not finite makes
      its whole spectrum NaN.

    Raises:
      ValueError: as of `resampling_matrix`, or if ``from_cm1`` does not belong to the spectra.
    """
    spectra, axis = spectra_on(absorbance, from_cm1)
    matrix = resampling_matrix(axis, to_cm1)
    return apply_operator(spectra, matrix).reshape(*absorbance.shape[:-1], matrix.shape[0])


def resampling_matrix(
    from_cm1: Float[AnyArray, " c"], to_cm1: Float[AnyArray, " k"]
) -> Float[np.ndarray, "k c"]:
    """The linear operator that brings a spectrum of one axis to another: target = matrix @ spectrum.

    Interpolation is the cubic spline whose ends are 'not-a-knot': it reproduces every cubic and keeps its
    fourth order up to the ends, where a natural spline forces the curvature to 0 that a band on the edge
    of the range has. A target that coincides with a channel takes exactly its value.

    Where the targets lie more than `COARSE_STEPS` source steps apart, sampling would throw measured
    channels away and fold their noise into few; there a target is the mean of the spline over its own
    channel, half the shorter neighbouring target step to either side. The channel stays symmetric, shrunk
    at an end of the data, so a straight line keeps its values.

    Each run of channels without gap (`contiguous_runs`) has its own spline. Nothing is extrapolated:
    a target up to half a channel step outside its run, which is still within the outermost channel, takes
    the value at the run's end; any other is refused, in a gap too.

    Args:
      from_cm1: the axis of the spectra in cm⁻¹, shape (c,), rising or falling.
      to_cm1: the axis wanted, shape (k,), rising or falling.

    Returns:
      Shape (k, c), float64, read-only (it is kept for the next call with the same axes).

    Raises:
      ValueError: if an axis is not strictly monotonic, or a target lies where nothing was measured.
    """
    source, target = host_axis(from_cm1, name="from_cm1"), host_axis(to_cm1, name="to_cm1")
    return _resampling_matrix(source.tobytes(), target.tobytes())


def host_axis(
    wavenumbers_cm1: Float[AnyArray, " c"], channels: int | None = None, name: str = "wavenumbers_cm1"
) -> Float[np.ndarray, " c"]:
    """The axis as a float64 array on the host, checked.

    Raises:
      ValueError: if it is a tracer, not one-dimensional, not finite, not strictly monotonic, or not of
        ``channels`` values.
    """
    try:
        axis = np.asarray(wavenumbers_cm1, np.float64)
    except jax.errors.TracerArrayConversionError as error:
        raise ValueError(
            f"{name}: found an argument of a transformed function; operators are computed from the axis on "
            "the host. Close over the axis (functools.partial, a lambda) instead of passing it through jit."
        ) from error
    if axis.ndim != 1 or not axis.size:
        raise ValueError(f"{name}: found shape {axis.shape}; an axis has shape (c,) with one value or more.")
    if channels is not None and axis.size != channels:
        raise ValueError(
            f"{name}: found {axis.size} values for {channels} channels; they must be as many. Give the axis "
            "that belongs to these spectra."
        )
    steps = np.diff(axis)
    if not np.all(np.isfinite(axis)) or not (np.all(steps > 0) or np.all(steps < 0)):
        raise ValueError(
            f"{name}: the values ({axis[0]:g} … {axis[-1]:g} cm⁻¹) are not finite and strictly rising or "
            "falling. Sort the channels along the axis and remove repeated ones."
        )
    return axis


def spectra_on(
    absorbance: Float[AnyArray, "... c"], wavenumbers_cm1: Float[AnyArray, " c"]
) -> tuple[Float[Array, "n c"], Float[np.ndarray, " c"]]:
    """The spectra as a flat batch (n, c) in their dtype, and their axis checked on the host."""
    axis = host_axis(wavenumbers_cm1, absorbance.shape[-1])
    return as_floats(absorbance).reshape(-1, axis.size), axis


def as_floats(absorbance: AnyArray) -> Float[Array, "... c"]:
    """The spectra on the device, floats in their dtype and integers, such as counts, as float32."""
    spectra = jnp.asarray(absorbance)
    return spectra if jnp.issubdtype(spectra.dtype, jnp.floating) else spectra.astype(jnp.float32)


def apply_operator(spectra: Float[Array, "n c"], matrix: Float[np.ndarray, "k c"]) -> Float[Array, "n k"]:
    """``matrix`` applied to each spectrum, in the dtype of the spectra at full precision."""
    with jax.default_matmul_precision("highest"):
        return spectra @ jnp.asarray(matrix.T, spectra.dtype)


def contiguous_runs(wavenumbers_cm1: Float[np.ndarray, " c"]) -> list[slice]:
    """Channels without a gap between them, in stored order; a gap is a step above 3 median steps."""
    steps = np.abs(np.diff(wavenumbers_cm1))
    breaks = np.flatnonzero(steps > GAP_STEPS * median_step_cm1(wavenumbers_cm1)) + 1
    edges = [0, *breaks.tolist(), wavenumbers_cm1.size]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def median_step_cm1(wavenumbers_cm1: Float[np.ndarray, " c"]) -> float:
    """Median distance of neighbouring channels in cm⁻¹, 0 for a single channel."""
    return float(np.median(np.abs(np.diff(wavenumbers_cm1)))) if wavenumbers_cm1.size > 1 else 0.0


@lru_cache(maxsize=16)
def _resampling_matrix(source_bytes: bytes, target_bytes: bytes) -> Float[np.ndarray, "k c"]:
    stored, target = np.frombuffer(source_bytes), np.frombuffer(target_bytes)
    falling = stored[0] > stored[-1]
    source = stored[::-1] if falling else stored
    matrix = np.zeros((target.size, source.size))
    half_widths = _half_widths_cm1(target)
    placed = np.zeros(target.size, bool)
    for run in contiguous_runs(source):
        block, reached = _run_matrix(source, run, target, half_widths)
        chosen = reached & ~placed
        matrix[chosen, run] = block[chosen]
        placed |= reached
    if not placed.all():
        raise ValueError(_outside(source, target, target[~placed]))
    matrix = np.ascontiguousarray(matrix[:, ::-1] if falling else matrix)
    matrix.setflags(write=False)
    return matrix


def _half_widths_cm1(target: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Half the shorter step to a neighbour; 0, a point, for a single target."""
    if target.size == 1:
        return np.zeros(1)
    steps = np.abs(np.diff(target))
    return np.minimum(np.append(steps[:1], steps), np.append(steps, steps[-1:])) / 2


def _run_matrix(
    source: Float[np.ndarray, " c"],
    run: slice,
    target: Float[np.ndarray, " k"],
    half_widths: Float[np.ndarray, " k"],
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all targets on one run of a rising axis, and which of them the run reaches."""
    axis = source[run]
    steps = np.diff(axis) if axis.size > 1 else np.array([median_step_cm1(source)])
    reached = (target >= axis[0] - steps[0] / 2) & (target <= axis[-1] + steps[-1] / 2)
    at = np.clip(target, axis[0], axis[-1])
    if axis.size == 1:
        return np.ones((target.size, 1)), reached
    local_step = steps[np.clip(np.searchsorted(axis, at, side="right") - 1, 0, steps.size - 1)]
    from scipy.interpolate import CubicSpline  # .2 s of every start, needed here alone

    spline = CubicSpline(axis, np.eye(axis.size), bc_type="not-a-knot")
    rows = spline(at)
    nearest = np.abs(at[:, None] - axis[None, :]).argmin(axis=1)
    same = np.abs(at - axis[nearest]) <= _SAME_CHANNEL * local_step
    rows[same] = np.eye(axis.size)[nearest[same]]
    half = np.minimum(half_widths, np.minimum(at - axis[0], axis[-1] - at))
    coarse = reached & (2 * half_widths > COARSE_STEPS * local_step) & (half > 0)
    integral = spline.antiderivative()
    low, high, width = (at - half)[coarse], (at + half)[coarse], 2 * half[coarse]
    rows[coarse] = (integral(high) - integral(low)) / width[:, None]
    return rows, reached


def _outside(source: np.ndarray, target: np.ndarray, missing: np.ndarray) -> str:
    runs = " and ".join(f"{source[r][0]:g} to {source[r][-1]:g}" for r in contiguous_runs(source))
    return (
        f"resampling: the spectra cover {runs} cm⁻¹, the axis wanted {target.min():g} to {target.max():g} "
        f"cm⁻¹; {missing.size} of its values ({missing.min():g} to {missing.max():g} cm⁻¹) lie where nothing "
        "was measured. Choose an axis inside the measured range."
    )
