"""Bootstrap intervals that respect labels and groups.

Samples of one patient are not independent: whole groups are drawn, with replacement, within strata of
groups that hold the same labels (only healthy, only diseased, both). Where every sample is its own
group this is the ordinary bootstrap stratified by label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def group_multiplicities(
    labels: Sequence[int], groups: Sequence[str], *, n_bootstrap: int, seed: int
) -> Int[np.ndarray, "b n"]:
    """How often each of n samples occurs in each of b resamples."""
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    label = np.asarray(labels)
    has_diseased = np.bincount(group_of, weights=label == 1, minlength=len(names)) > 0
    has_healthy = np.bincount(group_of, weights=label == 0, minlength=len(names)) > 0
    stratum = has_diseased.astype(int) + 2 * has_healthy.astype(int)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((n_bootstrap, len(names)), np.int64)
    for kind in np.unique(stratum):
        members = np.flatnonzero(stratum == kind)
        drawn[:, members] = rng.multinomial(
            len(members), np.full(len(members), 1 / len(members)), n_bootstrap
        )
    return drawn[:, group_of]


def weighted_auc(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], weights: Int[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """AUC of each of b weightings, P(diseased is higher) + P(equal)/2; NaN where a label has no weight."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    counts = weights[:, order].astype(np.float64)
    diseased = np.add.reduceat(counts * (labels[order] == 1), starts, axis=1)
    healthy = np.add.reduceat(counts * (labels[order] == 0), starts, axis=1)
    below = np.cumsum(healthy, axis=1) - healthy / 2
    pairs = diseased.sum(axis=1) * healthy.sum(axis=1)
    return np.asarray(np.sum(diseased * below, axis=1) / np.where(pairs > 0, pairs, np.nan))


def weighted_mean(
    values: Float[np.ndarray, " n"], weights: Int[np.ndarray, "b n"]
) -> Float[np.ndarray, " b"]:
    """Mean of each of b weightings; NaN where nothing has weight."""
    total = weights.sum(axis=1)
    return np.asarray(weights @ values / np.where(total > 0, total, np.nan))


def interval_95(replicates: Float[np.ndarray, " b"]) -> list[float] | None:
    """Percentile interval [2.5 %, 97.5 %] of the replicates that are defined; None where none is."""
    defined = replicates[np.isfinite(replicates)]
    if defined.size == 0:
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return [float(low), float(high)]
