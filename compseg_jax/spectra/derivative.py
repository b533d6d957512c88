"""Derivatives with respect to wavenumber, and smoothing, by local polynomials (Savitzky–Golay)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Array, Float

from compseg_jax.spectra.resampling import AnyArray, apply_operator, contiguous_runs, host_axis, spectra_on


def savitzky_golay(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    *,
    window: int,
    polynomial_order: int,
    derivative: int,
) -> Float[Array, "... c"]:
    """Fits a polynomial to the channels around each channel and takes its value or derivative there.

    The fit uses the wavenumbers as they are, so uneven axes are exact, and derivatives are per cm⁻¹ towards
    rising wavenumbers whichever way the axis is stored. Near an end the fit of the outermost window serves
    (``mode="interp"`` of scipy). No window reaches across a gap in the axis; each side has its own ends.
    Pure and differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling, concrete under ``jit``.
      window: channels of a fit, odd.
      polynomial_order: below ``window``.
      derivative: 0 smooths; at most ``polynomial_order``.

    Returns:
      Shape (…, c), in absorbance per cm⁻¹ to the power of ``derivative``, dtype of ``absorbance``.

    Raises:
      ValueError: if axis and spectra disagree, a setting is out of bounds, or a run of channels without gap
        is shorter than the window.

    Source: Savitzky and Golay 1964, doi:10.1021/ac60214a047; for uneven axes Gorry 1991, Anal. Chem. 63,
    534–536.
    """
    spectra, axis = spectra_on(absorbance, wavenumbers_cm1)
    matrix = savitzky_golay_matrix(
        axis, window=window, polynomial_order=polynomial_order, derivative=derivative
    )
    return apply_operator(spectra, matrix).reshape(absorbance.shape)


def savitzky_golay_matrix(
    wavenumbers_cm1: Float[AnyArray, " c"], *, window: int, polynomial_order: int, derivative: int
) -> Float[np.ndarray, "c c"]:
    """The linear operator of `savitzky_golay`: derivative = matrix @ spectrum; float64, read-only."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"savitzky_golay window: found {window}; an odd number of channels is required.")
    if not 0 <= polynomial_order < window:
        raise ValueError(
            f"savitzky_golay polynomial_order: found {polynomial_order}; required 0 to {window - 1}, below the "
            "window. Widen the window or lower the order."
        )
    if not 0 <= derivative <= polynomial_order:
        raise ValueError(
            f"savitzky_golay derivative: found {derivative}; required 0 to polynomial_order "
            f"({polynomial_order}), above which it is 0 everywhere."
        )
    axis = host_axis(wavenumbers_cm1)
    for run in contiguous_runs(axis):
        if axis[run].size < window:
            raise ValueError(
                f"savitzky_golay: the channels from {axis[run][0]:g} to {axis[run][-1]:g} cm⁻¹ are "
                f"{axis[run].size}, fewer than the window of {window}. Choose a shorter window or cut them off."
            )
    return _matrix(axis.tobytes(), window, polynomial_order, derivative)


@lru_cache(maxsize=16)
def _matrix(axis_bytes: bytes, window: int, polynomial_order: int, derivative: int) -> np.ndarray:
    axis = np.frombuffer(axis_bytes)
    first = np.concatenate(
        [
            np.clip(np.arange(r.start, r.stop) - window // 2, r.start, r.stop - window)
            for r in contiguous_runs(axis)
        ]
    )
    members = first[:, None] + np.arange(window)[None, :]
    offset = axis[members] - axis[:, None]
    scale = np.maximum(np.abs(offset).max(axis=1), np.finfo(np.float64).tiny)
    powers = (offset / scale[:, None])[:, :, None] ** np.arange(polynomial_order + 1)[None, None, :]
    weights = (
        np.linalg.pinv(powers)[:, derivative, :] * (math.factorial(derivative) / scale**derivative)[:, None]
    )
    matrix = np.zeros((axis.size, axis.size))
    np.put_along_axis(matrix, members, weights, axis=1)
    matrix.setflags(write=False)
    return matrix
