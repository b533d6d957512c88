"""How far a sample lies outside of what a network was trained on: Hotelling's T² and the residual Q.

A network gives a map of whatever it is shown. Chemometrics asks first whether a spectrum is one of those that a model
was made of: it is projected onto the principal components of the training spectra, T² says how far it lies from their
centre inside of that space, Q how far outside of it. Both are computed of every pixel of tissue, as the network sees it
(prepared and scaled); their means over a sample are held against those of training and validation samples that the
components were not fitted on (`distribution_fit`).

Images of few channels say little pixel by pixel: a section at half the scale has the same colours. There a pixel stands
with its neighbourhood, whose components are textures, and the sample's variances along them are a third measure.

Sources: Jackson and Mudholkar 1979, 'Control procedures for residuals associated with principal component analysis',
Technometrics 21:341 (Q); Hotelling 1947 (T²); Qin 2003, 'Statistical process monitoring: basics and beyond', J.
Chemometrics 17:480 (both); Nomikos and MacGregor 1995, 'Multivariate SPC charts for monitoring batch processes',
Technometrics 37:41 (limits of batches from batches); Bharati and MacGregor 1998, Ind. Eng. Chem. Res. 37:4715, and
Prats-Montalbán and Ferrer 2007, J. Chemometrics 21:10 (images, with neighbourhoods as variables).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

TINY = float(np.finfo(np.float32).tiny)
STRIP_BYTES = 16 * 2**20
"""Of neighbourhoods that are laid out at once."""
FEWEST_PIXELS = 16
"""Of a sample that must be judged: means of fewer scatter more than limits allow for."""
MOST_OF_A_PIXEL = 10.0
"""Times its limit that a pixel counts at most in the mean of a sample: single broken spectra do not decide."""
UNKNOWN_DISTRIBUTION = (
    "this model keeps no training distribution: it cannot say whether a sample is outside it"
)


class Range(NamedTuple):
    """From where to where a mean over a sample is usual."""

    low: float
    high: float

    def excess(self, value: float) -> float:
        """Above 1 outside: how many times the value exceeds the upper limit or falls short of the lower one."""
        return max(value / self.high, self.low / max(value, TINY))


@dataclass(frozen=True)
class Departure:
    """How far a sample departs from what a network was trained on; ratios to a limit are above 1 outside of it.

    Attributes:
      t2: mean of Hotelling's T² over the tissue: spectra of the known kind, but of unusual strength or mixture.
      q: mean residual: spectra of a kind that the training samples did not show.
      texture: of images of few channels, how unusual the sample's variances of texture are; None for spectra.
      outside_fraction: part of the judged pixels beyond the limit of single pixels; about .01 to .02 is usual.
      is_outside: whether the sample is outside.
    """

    t2: float
    q: float
    texture: float | None
    outside_fraction: float
    is_outside: bool

    @classmethod
    def of_members(cls, found: Sequence[Departure | None]) -> Departure | None:
        """That of an ensemble: medians, and outside where most of the networks that can tell say so.

        Each has its own preparation, scaling and training samples, so there is no common space to pool them in.
        """
        told = [each for each in found if each is not None]
        if not told:
            return None
        textures = [each.texture for each in told if each.texture is not None]
        return cls(
            float(np.median([each.t2 for each in told])),
            float(np.median([each.q for each in told])),
            float(np.median(textures)) if textures else None,
            float(np.mean([each.outside_fraction for each in told])),
            2 * sum(each.is_outside for each in told) > len(told),
        )


@dataclass(frozen=True, eq=False)
class DepartureSums:
    """What a departure is made of, summed over pixels; sums of the tiles of an image are added.

    Attributes:
      pixels: judged ones.
      outside: of them, those beyond the limit of single pixels.
      t2: sum of T².
      q: sum of Q.
      squares: sums of the squared scores along each component (k,).
    """

    pixels: int
    outside: int
    t2: float
    q: float
    squares: Float[np.ndarray, " k"]

    def __add__(self, other: DepartureSums) -> DepartureSums:
        return DepartureSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def to_json(self) -> list[Any]:
        """As JSON values."""
        return [self.pixels, self.outside, self.t2, self.q, self.squares.tolist()]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> DepartureSums:
        """Reads them back."""
        pixels, outside, t2, q, squares = values
        return cls(int(pixels), int(outside), float(t2), float(q), np.asarray(squares, np.float64))


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of training pixels with their neighbourhoods.

    Attributes:
      edge_px: edge of the neighbourhood, odd; 1 where a pixel stands alone.
      mean: of the training pixels (d,), d being channels × edge².
      directions: the leading components (d, k), each of length 1.
      variances: of the scores along them (k,).
      least_residual: floor of Q, against division by nothing where k is nearly d.
    """

    edge_px: int
    mean: Float[np.ndarray, " d"]
    directions: Float[np.ndarray, "d k"]
    variances: Float[np.ndarray, " k"]
    least_residual: float

    def scores(self, vectors: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores (n, k), T² (n,) and Q (n,) of pixels."""
        centred = vectors - self.mean
        scores = centred @ self.directions
        squares = scores * scores
        t2 = squares @ (1 / self.variances)
        residual = np.einsum("nd,nd->n", centred, centred) - squares.sum(axis=1)
        return scores, t2, np.maximum(residual, self.least_residual)


@dataclass(frozen=True, eq=False)
class Texture:
    """Which variances along the components are usual for a sample.

    Attributes:
      mean: of their logarithms and of that of the mean residual over the training samples (k + 1,).
      precision: inverse of their covariance (k + 1, k + 1).
      limit: of the squared Mahalanobis distance of a sample, divided by k + 1.
    """

    mean: Float[np.ndarray, " m"]
    precision: Float[np.ndarray, "m m"]
    limit: float

    def distance(self, described: Float[np.ndarray, " m"]) -> float:
        """Squared Mahalanobis distance by the number of variables."""
        away = described - self.mean
        return float(away @ self.precision @ away) / away.size


@dataclass(frozen=True, eq=False)
class TrainingDistribution:
    """What a network was trained on, and the limits beyond which a pixel or a sample is outside of it.

    Attributes:
      components: of the pixels.
      t2_pixel: T² that one in a hundred pixels of held-out samples exceeds.
      q_pixel: the same of Q.
      t2: the mean T² of a sample that is usual.
      q: the same of Q.
      texture: of images of few channels; None for spectra.
      samples: held-out samples that the limits are from.
    """

    components: Components
    t2_pixel: float
    q_pixel: float
    t2: Range
    q: Range
    texture: Texture | None
    samples: int

    @property
    def reach_px(self) -> int:
        """Pixels around a pixel that it is judged with."""
        return self.components.edge_px // 2

    def look(
        self,
        scaled: Float[np.ndarray, "y x c"],
        tissue: Bool[np.ndarray, "y x"],
        core: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> tuple[DepartureSums, Float[np.ndarray, "v u"]]:
        """Judges the pixels of an image, or of the core of a tile.

        Args:
          scaled: standardised spectra.
          tissue: pixels that count; those whose neighbourhood leaves them, or the array, are not judged.
          core: what of it is judged.

        Returns:
          the sums over the core, and the larger of T² and Q by their limits for each of its pixels: above 1 outside,
          0 where it was not judged.
        """
        parts, own = self.components, tissue_with_neighbourhood(tissue, self.components.edge_px)
        judged = np.zeros_like(own)
        judged[core] = own[core]
        ratio = np.zeros(tissue.shape, np.float32)
        total = DepartureSums(0, 0, 0.0, 0.0, np.zeros(parts.variances.size))
        for rows, columns in _in_strips(judged, parts.mean.size):
            scores, t2, q = parts.scores(neighbourhoods(scaled, rows, columns, parts.edge_px))
            found = np.maximum(t2 / self.t2_pixel, q / self.q_pixel)
            t2 = np.minimum(t2, MOST_OF_A_PIXEL * self.t2_pixel)
            q = np.minimum(q, MOST_OF_A_PIXEL * self.q_pixel)
            ratio[rows, columns] = found
            total += DepartureSums(
                len(found),
                int((found > 1).sum()),
                float(t2.sum(dtype=np.float64)),
                float(q.sum(dtype=np.float64)),
                np.einsum("nk,nk->k", scores, scores, dtype=np.float64),
            )
        return total, ratio[core]

    def departure(self, sums: DepartureSums) -> Departure | None:
        """How far a sample departs; None where too few pixels of it could be judged."""
        if sums.pixels < FEWEST_PIXELS:
            return None
        t2, q = self.t2.excess(sums.t2 / sums.pixels), self.q.excess(sums.q / sums.pixels)
        texture = None
        if self.texture is not None:
            described = described_texture(self.components, sums)
            texture = self.texture.distance(described) / self.texture.limit
        return Departure(
            t2, q, texture, sums.outside / sums.pixels, max(t2, q, 0.0 if texture is None else texture) > 1
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name (docs/format.md)."""
        parts, texture = self.components, self.texture
        arrays = {
            "edge_px": parts.edge_px,
            "mean": parts.mean,
            "directions": parts.directions,
            "variances": parts.variances,
            "least_residual": parts.least_residual,
            "t2_pixel": self.t2_pixel,
            "q_pixel": self.q_pixel,
            "t2": self.t2,
            "q": self.q,
            "samples": self.samples,
        }
        if texture is not None:
            arrays |= {
                "texture_mean": texture.mean,
                "texture_precision": texture.precision,
                "texture_limit": texture.limit,
            }
        return {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TrainingDistribution:
        """Reads it back; raises KeyError where an array is missing."""
        texture = None
        if "texture_mean" in arrays:
            texture = Texture(
                arrays["texture_mean"], arrays["texture_precision"], float(arrays["texture_limit"])
            )
        components = Components(
            int(arrays["edge_px"]),
            arrays["mean"],
            arrays["directions"],
            arrays["variances"],
            float(arrays["least_residual"]),
        )
        t2, q = (Range(*arrays[name].tolist()) for name in ("t2", "q"))
        limits = float(arrays["t2_pixel"]), float(arrays["q_pixel"])
        return cls(components, *limits, t2, q, texture, int(arrays["samples"]))

    def sha256(self) -> str:
        """Hash of all arrays: names, shapes, dtypes and bytes, as of weights."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def described_texture(components: Components, sums: DepartureSums) -> Float[np.ndarray, " m"]:
    """Logarithms of a sample's variances along the components, by those of training, and of its mean residual."""
    squares = sums.squares / sums.pixels / components.variances
    described = np.append(squares, sums.q / sums.pixels)
    return np.log(np.maximum(described, 1e-6))


def tissue_with_neighbourhood(tissue: Bool[np.ndarray, "y x"], edge_px: int) -> Bool[np.ndarray, "y x"]:
    """Pixels whose neighbourhood of that edge is tissue, all of it."""
    if edge_px == 1:
        return tissue
    return scipy.ndimage.binary_erosion(tissue, np.ones((edge_px, edge_px), bool))


def neighbourhoods(
    scaled: Float[np.ndarray, "y x c"], rows: np.ndarray, columns: np.ndarray, edge_px: int
) -> Float[np.ndarray, "n d"]:
    """Pixels with their neighbourhoods, which must lie in the array, as vectors."""
    if edge_px == 1:
        return np.asarray(scaled[rows, columns])
    reach = edge_px // 2
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (edge_px, edge_px), axis=(0, 1))
    return windows[rows - reach, columns - reach].reshape(len(rows), -1)


def _in_strips(judged: np.ndarray, variables: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the judged pixels, some at a time."""
    rows, columns = np.nonzero(judged)
    at_once = max(1, STRIP_BYTES // (4 * variables))
    for start in range(0, len(rows), at_once):
        yield rows[start : start + at_once], columns[start : start + at_once]
