"""Measures as mergeable states: `empty()`, `merge`, `compute`, so that no run holds every pixel at once.

`merge` is associative and commutative with `empty()` as its identity, so shards, batches and hosts may
be merged in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

HISTOGRAM_BINS = 65536
LOGIT_RANGE = 17.0  # float32 holds no value between 1 - 6e-8 (logit 16.6) and 1


@dataclass(frozen=True)
class PixelHistogram:
    """Counts of diseased and other pixels by activation, for the pooled average precision (PxAP).

    Bins are .0005 wide in the logit of the activation, so the ranking is kept where a network
    saturates (1e-6 and 1e-5 stay apart); 0 and 1 share a bin only with values beyond logit ±17.
    Counts are whole numbers: merging is exact.
    """

    positives: Int[np.ndarray, " bins"]
    negatives: Int[np.ndarray, " bins"]

    @classmethod
    def empty(cls) -> PixelHistogram:
        """The state of no pixel."""
        return cls(np.zeros(HISTOGRAM_BINS, np.int64), np.zeros(HISTOGRAM_BINS, np.int64))

    @classmethod
    def from_pixels(
        cls, activation: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]
    ) -> PixelHistogram:
        """The state of n pixels: activation in [0, 1], truth = diseased."""
        value = activation.astype(np.float64)
        with np.errstate(divide="ignore"):  # 0 and 1 have infinite logits, clipped below
            logit = np.log(value) - np.log1p(-value)
        unit = (np.clip(logit, -LOGIT_RANGE, LOGIT_RANGE) + LOGIT_RANGE) / (2 * LOGIT_RANGE)
        bins = np.minimum((unit * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
        positives = np.bincount(bins[truth], minlength=HISTOGRAM_BINS)
        return cls(positives, np.bincount(bins, minlength=HISTOGRAM_BINS) - positives)

    def merge(self, other: PixelHistogram) -> PixelHistogram:
        """The state of the pixels of both."""
        return type(self)(self.positives + other.positives, self.negatives + other.negatives)

    def compute(self) -> float | None:
        """Average precision Σ (Rₙ − Rₙ₋₁)·Pₙ from the highest bin down, as scikit-learn defines it.

        None where there is no diseased pixel or nothing else. PxAP: Choe et al., CVPR 2020,
        'Evaluating weakly supervised object localization methods right', section 3.3.
        """
        found, false = np.cumsum(self.positives[::-1]), np.cumsum(self.negatives[::-1])
        if found[-1] == 0 or false[-1] == 0:
            return None
        precision = found / np.maximum(found + false, 1)
        return float(np.sum(self.positives[::-1] * precision) / found[-1])

    def auc(self) -> float | None:
        """Chance that a diseased pixel is more active than another, half of it where they share a bin.

        None where there is no diseased pixel or nothing else.
        """
        positives, negatives = int(self.positives.sum()), int(self.negatives.sum())
        if positives == 0 or negatives == 0:
            return None
        below = np.cumsum(self.negatives) - self.negatives / 2
        return float(np.sum(self.positives * below) / (positives * negatives))


@dataclass(frozen=True)
class MeanAndSpread:
    """Count, mean and sum of squared deviations of a number (merged as in Chan, Golub, LeVeque 1979)."""

    count: int
    mean: float
    squared_deviations: float

    @classmethod
    def empty(cls) -> MeanAndSpread:
        """The state of no value."""
        return cls(0, 0.0, 0.0)

    @classmethod
    def from_values(cls, values: Iterable[float | None]) -> MeanAndSpread:
        """The state of the values that exist; None is left out."""
        present = np.array([value for value in values if value is not None], np.float64)
        if present.size == 0:
            return cls.empty()
        return cls(int(present.size), float(present.mean()), float(np.square(present - present.mean()).sum()))

    def merge(self, other: MeanAndSpread) -> MeanAndSpread:
        """The state of the values of both."""
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        share = other.count / count
        squares = self.squared_deviations + other.squared_deviations + shift**2 * self.count * share
        return type(self)(count, self.mean + shift * share, squares)

    def compute(self) -> tuple[float | None, float | None]:
        """(mean, sample standard deviation), None for the mean of nothing, the spread of fewer than two."""
        mean = self.mean if self.count else None
        sd = float(np.sqrt(self.squared_deviations / (self.count - 1))) if self.count > 1 else None
        return mean, sd
