"""The Kramers–Kronig relation as one matrix.

The real part of a refractive index follows from its imaginary part by a Hilbert transform. On a fixed axis
that transform, the extension of the spectrum beyond both ends and the scaling between absorbance and
refractive index are all linear, so together they are one matrix, built once per axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PADDING_CHANNELS = 200


def dispersion_matrix(
    wavenumbers_cm1: NDArray[np.float64], padding: int = PADDING_CHANNELS
) -> NDArray[np.float64]:
    """Matrix from an absorbance spectrum to the dispersive part that belongs to it.

    With absorbance g the imaginary part of the refractive index is g/ν up to a factor, and this matrix gives
    ν·n′ up to the same factor, n′ the real part's deviation from its constant. The spectrum is continued by
    its end values over ``padding`` channels at both sides, on an axis continued with its end steps. The
    transform runs over the channel index, so steps are taken as equal, as in the reference
    implementations (they differ by rounding in measured axes).

    Args:
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling.
      padding: channels added at each end.

    Returns:
      Matrix of shape (c, c), float64; ``matrix @ absorbance`` is ν·n′.

    Raises:
      ValueError: if the continued axis reaches zero.

    Source: Konevskikh et al. 2016, doi:10.1039/C5FD00171D; Solheim et al. 2019,
    doi:10.1002/jbio.201900044.
    """
    axis = np.asarray(wavenumbers_cm1, np.float64)
    outside = np.arange(1, padding + 1)
    before = axis[0] - (axis[1] - axis[0]) * outside[::-1]
    after = axis[-1] + (axis[-1] - axis[-2]) * outside
    extended = np.concatenate([before, axis, after])
    if extended.min() <= 0:
        raise ValueError(
            f"wavenumbers_cm1: {padding} channels beyond the ends ({axis[0]:g} … {axis[-1]:g} cm⁻¹) reach "
            f"{extended.min():g} cm⁻¹, and must stay above 0. Use a finer axis or a smaller padding."
        )
    size = extended.size
    kernel = _hilbert_kernel(size)
    rows = np.arange(padding, padding + axis.size)
    transform = kernel[(rows[:, None] - np.arange(size)[None, :]) % size] / extended
    matrix = transform[:, padding : padding + axis.size].copy()
    matrix[:, 0] += transform[:, :padding].sum(axis=1)
    matrix[:, -1] += transform[:, padding + axis.size :].sum(axis=1)
    sign = -1.0 if axis[0] < axis[-1] else 1.0
    return sign * axis[:, None] * matrix


def _hilbert_kernel(size: int) -> NDArray[np.float64]:
    """Periodic Hilbert transform of a unit impulse: −i·sign(frequency), zero at the mean and at Nyquist."""
    frequency = np.fft.fftfreq(size)
    multiplier = -1j * np.sign(frequency)
    if size % 2 == 0:
        multiplier[size // 2] = 0
    return np.fft.ifft(multiplier).real
