"""Noise reduction by keeping leading components: principal components (PCA) or minimum noise fraction (MNF).

Both are fitted on the host in float64 from moments that merge, so that any number of images is seen one at a
time, and applied by one pure function, `project`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Bool, Float

from compseg_jax.spectra.resampling import AnyArray, as_floats

ROWS_AT_ONCE = 4096  # of spectra in double precision
# Added to the diagonal of the noise covariance, as a share of its mean: noise known from few pixels, or
# smoothed by an earlier step, has directions without variance.
NOISE_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class SpectralMoments:
    """Count, mean and scatter of spectra, float64.

    Attributes:
      count: number of spectra.
      mean: shape (c,).
      scatter: Σ (x − mean)(x − mean)ᵀ, shape (c, c).
    """

    count: int
    mean: Float[np.ndarray, " c"]
    scatter: Float[np.ndarray, "c c"]

    @classmethod
    def empty(cls, channels: int) -> SpectralMoments:
        """Moments of no spectra, where merging begins."""
        return cls(0, np.zeros(channels), np.zeros((channels, channels)))

    @classmethod
    def of(cls, spectra: Float[AnyArray, "... c"]) -> SpectralMoments:
        """Moments of spectra of shape (…, c); spectra with a channel that is not finite are left out."""
        rows = np.asarray(spectra).reshape(-1, np.shape(spectra)[-1])
        moments = cls.empty(rows.shape[1])
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
            block = block[np.isfinite(block).all(axis=1)]
            if len(block):
                mean = block.mean(axis=0)
                deviation = block - mean
                moments = moments.merge(cls(len(block), mean, deviation.T @ deviation))
        return moments

    def merge(self, other: SpectralMoments) -> SpectralMoments:
        """Moments of both sets of spectra together (Chan, Golub and LeVeque 1983).

        Raises:
          ValueError: if the numbers of channels differ.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"SpectralMoments: found {self.mean.size} and {other.mean.size} channels; only spectra of one "
                "axis merge. Resample them to one axis."
            )
        count = self.count + other.count
        if not count:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.count * other.count / count)
        return SpectralMoments(count, mean, scatter)

    @property
    def covariance(self) -> Float[np.ndarray, "c c"]:
        """Scatter over count − 1.

        Raises:
          ValueError: if there are fewer than two spectra.
        """
        if self.count < 2:
            raise ValueError(
                f"SpectralMoments: found {self.count} spectra; a covariance needs 2 or more. Give more tissue."
            )
        return self.scatter / (self.count - 1)


class Projection(NamedTuple):
    """A mean and k leading components; float64 on the host.

    Attributes:
      mean: shape (c,).
      analysis: scores = (spectrum − mean) @ analysis, shape (c, k).
      synthesis: spectrum ≈ mean + scores @ synthesis, shape (k, c).
      strength: of each component, falling, shape (k,): its share of the variance (PCA), or its
        signal-to-noise ratio of variances (MNF).
    """

    mean: Float[np.ndarray, " c"]
    analysis: Float[np.ndarray, "c k"]
    synthesis: Float[np.ndarray, "k c"]
    strength: Float[np.ndarray, " k"]


def noise_moments(absorbance: Float[np.ndarray, "y x c"], tissue: Bool[np.ndarray, "y x"]) -> SpectralMoments:
    """Moments of the noise of an image, from differences of horizontal and vertical neighbours in tissue.

    Neighbours share their signal, so the difference holds the noise of both: it is divided by √2, which
    halves the covariance. Where tissue changes from pixel to pixel the noise comes out too large.

    Args:
      absorbance: image, shape (y, x, c).
      tissue: pixels that count, shape (y, x).

    Raises:
      ValueError: if the shapes disagree.

    Source: Green et al. 1988, doi:10.1109/36.3001.
    """
    if absorbance.ndim != 3 or tissue.shape != absorbance.shape[:2]:
        raise ValueError(
            f"noise_moments: found an image of shape {absorbance.shape} and tissue of {tissue.shape}; required "
            "(y, x, c) and (y, x). Give the mask of this image."
        )
    # Unsigned integers have no negative differences.
    image = np.asarray(absorbance, np.result_type(absorbance.dtype, np.float32))
    mask = np.asarray(tissue, bool)
    pairs = (
        (image[:, 1:], image[:, :-1], mask[:, 1:] & mask[:, :-1]),
        (image[1:], image[:-1], mask[1:] & mask[:-1]),
    )
    horizontal, vertical = (SpectralMoments.of(one[both] - other[both]) for one, other, both in pairs)
    merged = horizontal.merge(vertical)
    return SpectralMoments(merged.count, merged.mean / np.sqrt(2), merged.scatter / 2)


def pca_projection(
    moments: SpectralMoments, n_components: int | None = None, *, explained_variance: float = 0.99
) -> Projection:
    """Leading principal components.

    Args:
      moments: of the spectra.
      n_components: how many to keep; None for the fewest that explain ``explained_variance``.
      explained_variance: share of the total variance, above 0 and at most 1.

    Raises:
      ValueError: if the number or share is out of bounds, or the moments hold fewer than two spectra.
    """
    covariance = moments.covariance
    _check_count("pca_projection", n_components, moments.mean.size)
    if not 0 < explained_variance <= 1:
        raise ValueError(
            f"pca_projection explained_variance: found {explained_variance}; required above 0 and at most 1."
        )
    variances, directions = scipy.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    total = variances.sum()
    share = variances / total if total > 0 else np.zeros_like(variances)
    if n_components is None:
        # Rounding must not ask for components beyond the last that holds variance.
        reached = np.cumsum(share) >= explained_variance - 1e-12
        n_components = int(reached.argmax()) + 1 if reached.any() else 1
    kept = directions[:, :n_components]
    return Projection(moments.mean, kept, kept.T.copy(), share[:n_components])


def mnf_projection(
    moments: SpectralMoments,
    noise: SpectralMoments,
    n_components: int | None = None,
    *,
    snr_threshold: float = 1.0,
) -> Projection:
    """Components of largest signal-to-noise ratio.

    Solves Σ·a = (snr + 1)·Σ_noise·a; components are uncorrelated and have noise of variance 1. A small
    multiple of the identity, ``NOISE_RIDGE`` of the mean noise variance, keeps Σ_noise invertible.

    Args:
      moments: of the spectra.
      noise: of their noise, as of `noise_moments`.
      n_components: how many to keep; None for all above ``snr_threshold`` (at least one).
      snr_threshold: variance of the signal over variance of the noise.

    Raises:
      ValueError: if channels differ, the number is out of bounds, or the noise has no variance.

    Source: Green et al. 1988, doi:10.1109/36.3001.
    """
    channels = moments.mean.size
    if noise.mean.size != channels:
        raise ValueError(
            f"mnf_projection: found {channels} channels in the spectra and {noise.mean.size} in the noise; they "
            "must be as many. Take both from the same images."
        )
    _check_count("mnf_projection", n_components, channels)
    covariance, noise_covariance = moments.covariance, noise.covariance
    mean_variance = float(np.trace(noise_covariance)) / channels
    if not mean_variance > 0:
        raise ValueError(
            f"mnf_projection: the noise of {noise.count} pairs of pixels has no variance; neighbouring pixels "
            "are equal. Use pca_projection."
        )
    noise_covariance = noise_covariance + NOISE_RIDGE * mean_variance * np.eye(channels)
    ratios, analysis = scipy.linalg.eigh(covariance, noise_covariance)
    snr, analysis = ratios[::-1] - 1, analysis[:, ::-1]
    if n_components is None:
        n_components = max(1, int(np.count_nonzero(snr > snr_threshold)))
    kept = analysis[:, :n_components]
    # aᵀ Σ_noise a = 1, so the inverse of the analysis needs no solving.
    return Projection(moments.mean, kept, kept.T @ noise_covariance, snr[:n_components])


def project(absorbance: Float[AnyArray, "... c"], projection: Projection) -> Float[Array, "... c"]:
    """Rebuilds each spectrum from the components of a projection; pure and differentiable.

    Args:
      absorbance: spectra, shape (…, c).
      projection: of `pca_projection` or `mnf_projection`.

    Returns:
      Shape (…, c), in the dtype of ``absorbance``.

    Raises:
      ValueError: if the projection was fitted on another number of channels.
    """
    spectra = as_floats(absorbance)
    channels = projection.mean.shape[0]
    if spectra.shape[-1] != channels:
        raise ValueError(
            f"project: found {spectra.shape[-1]} channels, the projection has {channels}; they must be as many. "
            "Resample the spectra to the axis of the projection."
        )
    mean, analysis, synthesis = (jnp.asarray(part, spectra.dtype) for part in projection[:3])
    rows = spectra.reshape(-1, channels)
    with jax.default_matmul_precision("highest"):
        rebuilt = mean[None, :] + ((rows - mean[None, :]) @ analysis) @ synthesis
    return rebuilt.reshape(spectra.shape)


def _check_count(name: str, n_components: int | None, channels: int) -> None:
    if n_components is not None and not 1 <= n_components <= channels:
        raise ValueError(
            f"{name} n_components: found {n_components}; required 1 to {channels}, the number of channels, or "
            "None."
        )
