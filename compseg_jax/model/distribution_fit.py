"""The training distribution fitted: components from sums over the samples, limits from samples that were held out.

Limits of samples that the components were fitted on would be too narrow, the more so the fewer they are. So the groups
of the training samples are parted into folds; the samples of each are looked at through components of the others, and
validation samples through those of all. The mean T² and Q of a sample are positive and skewed: their logarithms are
taken as normal, and a limit is that of the next value of a normal sample of unknown mean and variance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats
from jaxtyping import Bool, Float

from compseg_jax.model.training_distribution import (
    FEWEST_PIXELS,
    MOST_OF_A_PIXEL,
    TINY,
    Components,
    DepartureSums,
    Range,
    Texture,
    TrainingDistribution,
    described_texture,
    neighbourhoods,
    tissue_with_neighbourhood,
)

FOLDS = 5
FEWEST_SAMPLES = 4
PIXELS_A_SAMPLE = 512
FEW_CHANNELS = 16
"""Images with fewer and without wavenumbers are judged with the neighbourhood of each pixel."""
NEIGHBOURHOOD_PX = 7
SAMPLE_RATE = 1e-3
"""Of samples of the same kind that lie beyond each of the two limits of T² and Q."""
TEXTURE_RATE = 5e-3
OTHER_ARRAY = 1.1
"""Factor by which limits are wider than the samples ask for: arrays and days differ more than samples of one."""
PIXEL_RATE = 0.01


class Extent(NamedTuple):
    """How many components are kept: the fewest that explain a share of the variance, up to so many."""

    share: float
    most: int


OF_SPECTRA, OF_IMAGES = Extent(0.95, 16), Extent(0.99, 32)


class TrainingImage(NamedTuple):
    """A sample as the network sees it: standardised spectra (y, x, c), tissue (y, x), and the group it belongs to."""

    scaled: Float[np.ndarray, "y x c"]
    tissue: Bool[np.ndarray, "y x"]
    group: str


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, sum (d,) and products (d, d) of pixels; those of several sets are added and taken away."""

    n: int
    total: Float[np.ndarray, " d"]
    products: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "n d"]) -> Moments:
        """Those of pixels."""
        wide = vectors.astype(np.float64)
        return cls(len(wide), wide.sum(axis=0), wide.T @ wide)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.n - other.n, self.total - other.total, self.products - other.products)

    def components(self, edge_px: int, extent: Extent) -> Components:
        """The leading principal components."""
        mean = self.total / self.n
        covariance = self.products / self.n - np.outer(mean, mean)
        d = len(mean)
        most = max(1, min(extent.most, d - 1))
        variances, directions = scipy.linalg.eigh(covariance, subset_by_index=[d - most, d - 1])
        variances, directions = variances[::-1], directions[:, ::-1]
        total = max(float(np.trace(covariance)), TINY)
        kept = min(most, int(np.searchsorted(np.cumsum(variances) / total, extent.share)) + 1)
        least = 1e-6 * total
        return Components(
            edge_px,
            mean.astype(np.float32),
            np.ascontiguousarray(directions[:, :kept], np.float32),
            np.maximum(variances[:kept], least).astype(np.float32),
            least,
        )


class DrawnPixels(NamedTuple):
    """Some pixels of a sample with their neighbourhoods of an edge (n, d), and the group it belongs to."""

    vectors: Float[np.ndarray, "n d"]
    edge_px: int
    group: str


class _HeldOut(NamedTuple):
    """What a sample shows through components that it had no part in."""

    t2: np.ndarray
    q: np.ndarray
    sums: DepartureSums

    @classmethod
    def of(cls, components: Components, vectors: np.ndarray) -> _HeldOut:
        scores, t2, q = components.scores(vectors)
        squares = np.einsum("nk,nk->k", scores, scores, dtype=np.float64)
        totals = float(t2.sum(dtype=np.float64)), float(q.sum(dtype=np.float64))
        return cls(t2, q, DepartureSums(len(vectors), 0, *totals, squares))


def fit_distribution(
    training: Callable[[], Iterable[DrawnPixels]], validation: Callable[[], Iterable[DrawnPixels]]
) -> TrainingDistribution | None:
    """Fits components and limits to some pixels of each sample (:func:`drawn`).

    Args:
      training: gives the training samples, twice, in the same order; they need not be in memory together.
      validation: gives samples that the network was not fitted on; there may be none.

    Returns:
      None where fewer than four samples are large enough.
    """
    edge_px = 1
    moments: list[Moments | None] = [None] * FOLDS
    folds: dict[str, int] = {}
    for image in training():
        edge_px = image.edge_px
        fold = folds.setdefault(image.group, len(folds) % FOLDS)
        if len(image.vectors):
            own = Moments.of(image.vectors)
            held = moments[fold]
            moments[fold] = own if held is None else held + own
    parts = [each for each in moments if each is not None]
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    components = whole.components(edge_px, OF_SPECTRA if edge_px == 1 else OF_IMAGES)
    kept = Extent(1.0, components.variances.size)
    # With one group nothing is held out but the validation samples.
    of_fold = {
        fold: components if len(parts) == 1 else (whole - own).components(edge_px, kept)
        for fold, own in enumerate(moments)
        if own is not None
    }
    held_out, textures = [], []
    for image in training():
        if len(image.vectors):
            held_out.append(_HeldOut.of(of_fold[folds[image.group]], image.vectors))
            textures.append(described_texture(components, _HeldOut.of(components, image.vectors).sums))
    fitted = len(held_out)
    for image in validation():
        if len(image.vectors):
            held_out.append(_HeldOut.of(components, image.vectors))
            textures.append(described_texture(components, held_out[-1].sums))
    if fitted < FEWEST_SAMPLES:
        return None
    t2_pixel, t2 = _limits([each.t2 for each in held_out])
    q_pixel, q = _limits([each.q for each in held_out])
    return TrainingDistribution(
        components,
        t2_pixel,
        q_pixel,
        t2,
        q,
        _texture(textures[:fitted], textures[fitted:]) if edge_px > 1 else None,
        len(held_out),
    )


def _limits(of_samples: Sequence[Float[np.ndarray, " _"]]) -> tuple[float, Range]:
    """The limit of single pixels and the usual range of the means of samples."""
    limit = float(np.quantile(np.concatenate(of_samples), 1 - PIXEL_RATE))
    means = [np.minimum(own, MOST_OF_A_PIXEL * limit).mean(dtype=np.float64) for own in of_samples]
    return limit, usual_range(np.array(means))


def drawn(image: TrainingImage, *, is_spectral: bool) -> DrawnPixels:
    """A few hundred pixels of a sample, evenly spaced in their order; none where it has too few.

    Args:
      image: the sample.
      is_spectral: whether its channels are wavenumbers.
    """
    alone = is_spectral or image.scaled.shape[-1] >= FEW_CHANNELS
    edge_px = 1 if alone else NEIGHBOURHOOD_PX
    rows, columns = np.nonzero(tissue_with_neighbourhood(image.tissue, edge_px))
    if len(rows) < FEWEST_PIXELS:
        none = np.empty((0, image.scaled.shape[-1] * edge_px**2), np.float32)
        return DrawnPixels(none, edge_px, image.group)
    chosen = np.linspace(0, len(rows) - 1, min(PIXELS_A_SAMPLE, len(rows))).round().astype(int)
    vectors = neighbourhoods(image.scaled, rows[chosen], columns[chosen], edge_px)
    return DrawnPixels(vectors, edge_px, image.group)


def usual_range(means: Float[np.ndarray, " n"]) -> Range:
    """Where the next of such positive means lies, log-normal, but for `SAMPLE_RATE` on either side.

    The prediction interval of a normal variable: mean ± t·sd·√(1 + 1/n) (Hahn and Meeker 1991, section 4.7), of the
    logarithms.
    """
    logs = np.log(means)
    width = scipy.stats.t.isf(SAMPLE_RATE, logs.size - 1) * _sd_of_next(logs) + np.log(OTHER_ARRAY)
    return Range(float(np.exp(logs.mean() - width)), float(np.exp(logs.mean() + width)))


def _sd_of_next(values: np.ndarray) -> float:
    return float(values.std(ddof=1) * np.sqrt(1 + 1 / values.size))


def _texture(
    training: Sequence[Float[np.ndarray, " m"]], validation: Sequence[Float[np.ndarray, " m"]]
) -> Texture:
    """Mean and shrunk covariance (Ledoit and Wolf 2004) over training samples; the limit from those left out of it."""

    found = []
    for fold in range(min(FOLDS, len(training))):
        others = _shrunk([each for number, each in enumerate(training) if number % FOLDS != fold])
        found += [others.distance(each) for each in training[fold::FOLDS]]
    whole = _shrunk(training)
    found += [whole.distance(each) for each in validation]
    logs = np.log(found)
    width = scipy.stats.t.isf(TEXTURE_RATE, logs.size - 1) * _sd_of_next(logs)
    return Texture(whole.mean, whole.precision, float(np.exp(logs.mean() + width)))


def _shrunk(described: Sequence[Float[np.ndarray, " m"]]) -> Texture:
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(np.array(described))
    return Texture(fitted.location_, fitted.precision_, 1.0)
