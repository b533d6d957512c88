"""95 % interval of an AUC: of few samples, of an AUC of 1, and of several samples of a patient.

An AUC of few samples is near its end, where intervals of its own resamples are too narrow, and of width 0 where all are
ranked right. A score interval asks the other way round which true θ would make the θ̂ found no surprise:

    |θ̂ − θ| ≤ z₀.₉₇₅ · √V(θ),   V(θ) = θ(1 − θ)·(1 + N·((1 − θ)/(2 − θ) + θ/(1 + θ))) / (m·n),   N = (m + n)/2 − 1

with m diseased and n healthy samples: the variance of exponential scores (Hanley and McNeil 1982, Radiology 143:29),
symmetrical in both labels (Newcombe 2006, Statistics in Medicine 25:559, method 5).

Samples of one patient repeat one another. m and n are then the sizes of as many independent samples of one variance,

    n / (1 + (Σ gᵢ²/n − 1)·ρ)

for groups of gᵢ samples, with ρ the intraclass correlation of their ranks (the AUC is a mean of ranks), from one-way
analysis of variance within the label. Its F is divided by its median under no correlation: of few groups, F itself
lies below its mean more often than above (Donner and Wells 1986, Biometrics 42:401; the design effect is Kish's, 1965).

How often it holds the truth: docs/report.md, `python -m benchmarks.auc_coverage`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.stats import f as f_distribution
from scipy.stats import norm, rankdata

Z = float(norm.ppf(0.975))
FEWEST_GROUPS = 3
"""Of each label: of two, their difference is one number, and no spread of it can be told."""
FEWEST_EVEN_GROUPS = 2.0
"""Equal groups that the groups are worth, (Σ gᵢ)²/Σ gᵢ²: one of 12 beside two of 1 or 2 is hardly more than one."""
_EDGE = 1e-9


def auc_interval(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], groups: Sequence[str]
) -> list[float] | None:
    """The 95 % interval [low, high] of the AUC; None where the groups of a label are too few (`too_few_groups`).

    Args:
      scores: higher for diseased samples; equal ones count half.
      labels: 1 diseased, 0 healthy.
      groups: what samples share (patient).
    """
    if too_few_groups(labels, groups):
        return None
    ranks, group, diseased = rankdata(scores), np.asarray(groups), np.asarray(labels) == 1
    n_diseased, n_healthy = int(diseased.sum()), int((~diseased).sum())
    found = (ranks[diseased].sum() - n_diseased * (n_diseased + 1) / 2) / (n_diseased * n_healthy)
    m, n = (effective_size(ranks[of], group[of]) for of in (diseased, ~diseased))
    return score_interval(float(found), m, n)


def too_few_groups(labels: Int[np.ndarray, " n"], groups: Sequence[str]) -> str:
    """Why the AUC has no interval, as the end of a sentence; empty where it has one."""
    for label, name in ((1, "diseased"), (0, "healthy")):
        own = np.asarray(groups)[np.asarray(labels) == label]
        sizes = np.unique(own, return_counts=True)[1]
        unit = "samples" if len(sizes) == len(own) else "groups"
        if len(sizes) < FEWEST_GROUPS:
            return f"{FEWEST_GROUPS} {name} {unit} are needed, here are {len(sizes)}"
        if len(own) ** 2 / np.sum(sizes**2) < FEWEST_EVEN_GROUPS:
            return f"one {name} group has {sizes.max()} of {len(own)} samples"
    return ""


def score_interval(found: float, m: float, n: float) -> list[float]:
    """Newcombe's interval of an AUC found in m diseased and n healthy independent samples.

    >>> [round(end, 4) for end in score_interval(1.0, 10, 10)]  # all ranked right is no proof of it
    [0.8002, 1.0]
    """

    def beyond(theta: float) -> float:
        return (found - theta) ** 2 - Z**2 * hanley_mcneil_variance(theta, m, n)

    low = 0.0 if found <= _EDGE else brentq(beyond, _EDGE * found, min(found, 1 - _EDGE))
    high = 1.0 if found >= 1 - _EDGE else brentq(beyond, max(found, _EDGE), 1 - _EDGE * (1 - found))
    return [float(low), float(high)]


def hanley_mcneil_variance(theta: float, m: float, n: float) -> float:
    """V(θ) of an AUC of m and n samples; symmetrical in labels and in θ and 1 − θ."""
    more = (m + n) / 2 - 1
    pairs = (1 - theta) / (2 - theta) + theta / (1 + theta)
    return theta * (1 - theta) * (1 + more * pairs) / (m * n)


def effective_size(ranks: Float[np.ndarray, " n"], groups: np.ndarray) -> float:
    """How many independent samples of one label the ranks of its samples are worth, from 1 to n.

    Args:
      ranks: of samples of one label, among those of both.
      groups: what they share; each its own: n.
    """
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, n_groups = len(ranks), len(sizes)
    if n_groups == n:
        return float(n)
    in_size = float(np.sum(sizes**2)) / n
    means = np.bincount(group_of, weights=ranks) / sizes
    within = float(np.sum((ranks - means[group_of]) ** 2)) / (n - n_groups)
    correlation = 1.0
    if n_groups > 1 and within > 0:
        between = float(np.sum(sizes * (means - ranks.mean()) ** 2)) / (n_groups - 1)
        ratio = between / within / f_distribution.ppf(0.5, n_groups - 1, n - n_groups)
        per_group = (n - in_size) / (n_groups - 1)
        correlation = float(np.clip((ratio - 1) / (ratio - 1 + per_group), 0, 1))
    return n / (1 + (in_size - 1) * correlation)
