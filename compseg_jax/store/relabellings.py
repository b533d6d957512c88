"""In how many ways the labels of samples could be dealt: of a few, nothing tells learnt labels from chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

FEWEST_RELABELLINGS = 20
"""Of single samples: 3 of each label."""
FEWEST_OF_GROUPS = 10
"""Of groups: with fewer, no result is rarer by chance than once in ten times."""


def relabellings(labels: Sequence[int], groups: Sequence[str]) -> int:
    """Ways to deal labels as a permutation test of groups does: among groups of one label, and inside mixed ones.

    >>> relabellings([0, 0, 0, 1, 1, 1], ["a", "b", "c", "d", "e", "f"])
    20
    >>> relabellings([0, 0, 0, 1, 1, 1], ["a", "a", "a", "b", "b", "b"])
    2
    """
    sizes = Counter(groups)
    diseased = Counter(group for label, group in zip(labels, groups, strict=True) if label == 1)
    pure = [group for group in sizes if diseased[group] in (0, sizes[group])]
    among = math.comb(len(pure), sum(diseased[group] > 0 for group in pure))
    return among * math.prod(
        math.comb(sizes[group], diseased[group]) for group in sizes if group not in set(pure)
    )


def too_few_to_choose(labels: Sequence[int], groups: Sequence[str]) -> str:
    """Why labels of these validation samples cannot determine a threshold, in words; empty where they may.

    Args:
      labels: 1 diseased, 0 healthy.
      groups: what samples share, such as a patient.
    """
    n_diseased = sum(label == 1 for label in labels)
    n_healthy = len(labels) - n_diseased
    counted = f"{n_healthy} healthy and {n_diseased} diseased validation samples"
    if math.comb(len(labels), n_diseased) < FEWEST_RELABELLINGS:
        return f"{counted} are too few: 3 of each suffice"
    n_groups = len({*groups})
    if n_groups < len(labels) and (ways := relabellings(labels, groups)) < FEWEST_OF_GROUPS:
        return (
            f"{counted} of {n_groups} group(s) are too few: their labels can be dealt in {ways} ways that keep groups "
            f"together, and below {FEWEST_OF_GROUPS} chance explains any result"
        )
    return ""
