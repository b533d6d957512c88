"""Baselines taken off: the rubber band (lower convex hull) and polynomials, plain or iterated."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.spectra.resampling import AnyArray, apply_operator, host_axis, median_step_cm1, spectra_on


def rubber_band(
    absorbance: Float[AnyArray, "... c"], wavenumbers_cm1: Float[AnyArray, " c"]
) -> Float[Array, "... c"]:
    """Subtracts the lower convex hull of each spectrum, the rubber band stretched from below.

    The hull is found for all spectra at once by gift wrapping (Jarvis 1973,
    doi:10.1016/0020-0190(73)90020-3): one pass over the channels for each vertex of the spectrum that has
    most. The result is 0 at both ends and never negative. Differentiable: the gradient is that of the
    hull's vertices as they lie.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.

    Returns:
      Corrected spectra, shape (…, c), in the dtype of ``absorbance``; NaN throughout where a channel is
      not finite.

    Raises:
      ValueError: if axis and spectra disagree.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    if axis.size < 2:
        return (spectra - spectra).reshape(absorbance.shape)
    position = jnp.asarray((axis - axis[0]) / (axis[-1] - axis[0]), spectra.dtype)
    return _above_hull(spectra, position).reshape(absorbance.shape)


def polynomial_baseline(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    order: int,
    points_cm1: Float[AnyArray, " p"] | None = None,
    *,
    iterations: int = 0,
) -> Float[Array, "... c"]:
    """Subtracts a polynomial fitted by least squares.

    Infrared practice draws it through chosen points free of bands (``points_cm1``; order 1 through two
    points is the two-point baseline). Without points it is fitted to the whole spectrum and runs through
    the bands, not under them; ``iterations`` brings it below: after each fit every channel above the
    polynomial is set down onto it, and the polynomial is fitted again (Lieber and Mahadevan-Jansen 2003,
    doi:10.1366/000370203322554518). Pure and differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      order: of the polynomial; 0 is a constant.
      points_cm1: wavenumbers it is fitted at, each by the channel next to it; None for all channels.
      iterations: fits after the first; 0 is plain least squares.

    Returns:
      Corrected spectra, shape (…, c), in the dtype of ``absorbance``.

    Raises:
      ValueError: if axis and spectra disagree, the order or iterations are negative, or the points are
        too few or lie outside the axis.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    for name, value in (("order", order), ("iterations", iterations)):
        if value < 0:
            raise ValueError(f"polynomial_baseline {name}: found {value}; required 0 or more.")
    channels = np.arange(axis.size) if points_cm1 is None else _nearest_channels(axis, points_cm1)
    if channels.size <= order:
        raise ValueError(
            f"polynomial_baseline: found {channels.size} different channels for order {order}; at least "
            f"{order + 1} are required. Lower the order or give more points_cm1."
        )
    solve, curve = _polynomial_fit(axis.tobytes(), channels.astype(np.int64).tobytes(), order)
    inputs = spectra if points_cm1 is None else spectra[:, channels]

    def lowered(_: Int[Array, ""], values: Float[Array, "n p"]) -> Float[Array, "n p"]:
        fitted = apply_operator(apply_operator(values, solve), curve[channels])
        return jnp.minimum(values, fitted)

    values = jax.lax.fori_loop(0, iterations, lowered, inputs) if iterations else inputs
    corrected = spectra - apply_operator(apply_operator(values, solve), curve)
    return corrected.reshape(absorbance.shape)


@jax.jit
def _above_hull(spectra: Float[Array, "n c"], position: Float[Array, " c"]) -> Float[Array, "n c"]:
    finite = jnp.isfinite(spectra).all(axis=1, keepdims=True)
    values = jnp.where(finite, spectra, 0)
    vertices = _hull_vertices(jax.lax.stop_gradient(values), position)
    channel = jnp.broadcast_to(_channels(values), values.shape)
    left = jax.lax.cummax(jnp.where(vertices, channel, 0), axis=1)
    right = jax.lax.cummin(jnp.where(vertices, channel, values.shape[1] - 1), axis=1, reverse=True)
    span = jnp.where(left == right, 1, position[right] - position[left])
    share = (position[None, :] - position[left]) / span
    low, high = (jnp.take_along_axis(values, index, axis=1) for index in (left, right))
    # The sum is exact at the vertices (share 0); rounding may still lift it above a channel beside them.
    corrected = jnp.maximum(values - (low + share * (high - low)), 0)
    return jnp.where(finite, corrected, jnp.nan)


def _hull_vertices(values: Float[Array, "n c"], position: Float[Array, " c"]) -> Bool[Array, "n c"]:
    """Marks the vertices of each lower hull, from the first channel to the last."""
    count = values.shape[1]
    channel = _channels(values)

    def unfinished(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] < count - 1)

    def wrap(state: tuple[Array, Array]) -> tuple[Array, Array]:
        current, vertices = state
        start = jnp.take_along_axis(values, current[:, None], axis=1)
        ahead = channel > current[:, None]
        run = jnp.where(ahead, position[None, :] - position[current][:, None], 1)
        slope = jnp.where(ahead, (values - start) / run, jnp.inf)
        # The farthest of equal slopes: a straight stretch, such as an empty pixel, takes one pass.
        lowest = jnp.min(slope, axis=1, keepdims=True)
        following = jnp.max(jnp.where(ahead & (slope <= lowest), channel, 0), axis=1)
        current = jnp.minimum(jnp.maximum(following, current + 1), count - 1)
        return current, vertices | (channel == current[:, None])

    first = jnp.zeros(values.shape[0], jnp.int32)
    return jax.lax.while_loop(unfinished, wrap, (first, jnp.broadcast_to(channel == 0, values.shape)))[1]


def _channels(values: Float[Array, "n c"]) -> Int[Array, "1 c"]:
    return jnp.arange(values.shape[1], dtype=jnp.int32)[None, :]


def _nearest_channels(axis: Float[np.ndarray, " c"], points_cm1: AnyArray) -> np.ndarray:
    points = np.atleast_1d(np.asarray(points_cm1, np.float64))
    margin = median_step_cm1(axis) / 2
    outside = points[~((points >= axis.min() - margin) & (points <= axis.max() + margin))]
    if outside.size:
        raise ValueError(
            f"polynomial_baseline points_cm1: found {outside[0]:g} cm⁻¹; the axis covers {axis.min():g} to "
            f"{axis.max():g} cm⁻¹. Choose points inside it."
        )
    return np.unique(np.abs(axis[None, :] - points[:, None]).argmin(axis=1))


@lru_cache(maxsize=16)
def _polynomial_fit(axis_bytes: bytes, channel_bytes: bytes, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients from the values at the channels (order + 1, p), and the curve from them (c, order + 1)."""
    axis = host_axis(np.frombuffer(axis_bytes))
    channels = np.frombuffer(channel_bytes, np.int64)
    half = max((axis.max() - axis.min()) / 2, np.finfo(np.float64).tiny)
    curve = np.polynomial.legendre.legvander((axis - (axis.max() + axis.min()) / 2) / half, order)
    # Orthonormal on the fitted channels, so that float32 products lose nothing.
    _, triangle = np.linalg.qr(curve[channels])
    curve = np.linalg.solve(triangle.T, curve.T).T
    return curve[channels].T, curve
