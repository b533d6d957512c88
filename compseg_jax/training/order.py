"""The order of samples in an epoch, and the batches it is cut into.

The order depends on (seed, epoch) alone, so resuming needs no iterator state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Draw:
    """The samples of one batch: their indices (b,) and weights (b,); padding repeats with weight 0."""

    indices: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Ordering:
    """How an epoch goes through the samples.

    Attributes:
      labels: label of each sample.
      batch_size: samples per step.
      seed: with the epoch it determines the order.
      balance: make both labels count evenly, by weight or by drawing the rarer one more often.
    """

    labels: tuple[int, ...]
    batch_size: int
    seed: int
    balance: Literal["none", "weights", "sampling"] = "none"

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> list[Draw]:
        """The batches of an epoch; the last, smaller one is padded with weight 0."""
        rng = np.random.default_rng([self.seed, epoch])
        n, labels = len(self.labels), np.asarray(self.labels)
        order = rng.permutation(n)
        if self.balance == "sampling":
            by_label = [order[labels[order] == label] for label in (0, 1)]
            drawn = [part for part in by_label if len(part)]
            order = np.stack([np.resize(part, -(-n // len(drawn))) for part in drawn], axis=1).ravel()[:n]
        weights = np.ones(n, np.float32)
        if self.balance == "weights":
            counts = np.bincount(labels, minlength=2)
            weights = (n / (2.0 * np.maximum(counts, 1)))[labels].astype(np.float32)
        return list(draws_of(order, weights, self.batch_size))


def draws_of(order: np.ndarray, weights: np.ndarray, batch_size: int) -> Iterator[Draw]:
    """Cuts an order of samples into batches of equal size; ``weights`` (n,) are those of the samples."""
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        indices = np.resize(part, batch_size)
        yield Draw(
            indices, np.where(np.arange(batch_size) < len(part), weights[indices], 0.0).astype(np.float32)
        )


def pad_draws(draws: Iterable[Draw], multiple: int) -> Iterator[Draw]:
    """The same draws, each padded with weight 0 to a multiple of ``multiple``."""
    for draw in draws:
        size = len(draw.indices)
        padded = size + -size % multiple
        yield Draw(np.resize(draw.indices, padded), np.pad(draw.weights, (0, padded - size)))
