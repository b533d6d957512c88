"""Per-band standardisation, fitted on training tissue only and kept with the model.

Raw absorbances leave the method at its starting loss (docs/decisions): every band is brought to mean 0 and
standard deviation 1 over the tissue of the training samples, and pixels outside the tissue become 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real

from compseg_jax.spectra.resampling import AnyArray

ROWS_AT_ONCE = 1024  # of pixels in double precision: they stay in a core's cache
SPECTRA_TOGETHER = 8
BandMoments = tuple[int, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each band over training tissue, both (c,) float32."""

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def fit(cls, samples: Iterable[tuple[np.ndarray, np.ndarray]]) -> Scaling:
        """Fits on (absorbance (y, x, c), tissue (y, x)) of the training samples, one at a time.

        A band that never changes is only centred.

        Raises:
          ValueError: when no sample holds tissue.
        """
        return cls.of_moments(band_moments(absorbance, tissue) for absorbance, tissue in samples)

    @classmethod
    def of_moments(cls, samples: Iterable[BandMoments]) -> Scaling:
        """The same from the moments of each sample, merged pairwise (Chan, Golub and LeVeque 1983)."""
        count, mean, squares = merged_moments(samples)
        if not count:
            raise ValueError(
                "the training samples hold no tissue pixel: check the tissue masks with `compseg check`."
            )
        sd = np.sqrt(squares / count)
        # Rounding alone gives a constant band of float32 values this much; below `tiny` XLA divides by zero.
        constant = sd <= np.maximum(1e-7 * np.abs(mean), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, sd).astype(np.float32))


def merged_moments(parts: Iterable[BandMoments]) -> BandMoments:
    """The moments of all parts together (Chan, Golub and LeVeque 1983)."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for n, part_mean, part_squares in parts:
        if not n:
            continue
        shift = part_mean - mean
        squares = squares + part_squares + shift**2 * (count * n / (count + n))
        mean = mean + shift * (n / (count + n))
        count += n
    return count, mean, squares


def band_moments(absorbance: np.ndarray, tissue: np.ndarray) -> BandMoments:
    """Pixels, mean and sum of squared deviations (c,) over the tissue of one sample, in float64."""
    pixels = absorbance[tissue]
    if not len(pixels):
        return 0, np.zeros(1), np.zeros(1)
    mean = pixels.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(pixels), ROWS_AT_ONCE):
        deviation = pixels[start : start + ROWS_AT_ONCE] - mean
        squares += np.einsum("pc,pc->c", deviation, deviation)
    return len(pixels), mean, squares


def standardise(
    absorbance: Real[AnyArray, "*b y x c"],
    tissue: Bool[AnyArray, "*b y x"],
    mean: Float[AnyArray, " c"],
    sd: Float[AnyArray, " c"],
) -> Float[Array, "*b y x c"]:
    """(absorbance − mean) · (1 / sd) inside the tissue, 0 outside it; float32.

    The reciprocal is written out: XLA takes it where it compiles a division by a broadcast array, and so what is
    compiled, what is not, and the host (:func:`put_standardised`) agree to the last bit.
    """
    shape = (1,) * (absorbance.ndim - 1) + (-1,)
    scaled = (absorbance.astype(jnp.float32) - mean.reshape(shape)) * (1 / sd).reshape(shape)
    return jnp.where(tissue[..., None], scaled, 0.0)


def put_standardised(
    absorbance: Float[np.ndarray, "*b c"],
    tissue: Bool[np.ndarray, "*b"],
    scaling: Scaling,
    place: Float[np.ndarray, "*b c"],
) -> None:
    """:func:`standardise` on the host, written into ``place``, which may be ``absorbance``."""
    values, scaled = absorbance, place
    together = 1
    if values.ndim > 1 and all(_lie_side_by_side(each) for each in (values, scaled)):
        # numpy is slow on short rows: a few spectra become one row of the mean and factor as many times.
        together = math.gcd(values.shape[-2], SPECTRA_TOGETHER)
        longer = (*values.shape[:-2], values.shape[-2] // together, together * values.shape[-1])
        values, scaled = values.reshape(longer), scaled.reshape(longer)
    mean, factor = np.tile(scaling.mean, together), np.tile(1 / scaling.sd, together)
    # A row at a time, which is in the processor's cache for the second of both.
    for row, place_of_row in zip(values, scaled, strict=True) if values.ndim > 2 else [(values, scaled)]:
        np.subtract(row, mean, out=place_of_row)
        np.multiply(place_of_row, factor, out=place_of_row)
    if not tissue.all():
        place[~tissue] = 0


def _lie_side_by_side(spectra: Float[np.ndarray, "*b y c"]) -> bool:
    """Whether one spectrum begins in memory where the one before it ends."""
    return (
        spectra.strides[-1] == spectra.itemsize
        and spectra.strides[-2] == spectra.shape[-1] * spectra.itemsize
    )
