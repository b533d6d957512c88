"""Training, validation and test: group-wise, stratified by label, with a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

TRIALS = 10


class SplitError(ValueError):
    """Samples cannot be split as asked; the message says what stands in the way."""


def make_splits(
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> list[str]:
    """Assigns 'train', 'val' or 'test' to each sample; no group ends up in two of them.

    Groups are dealt out one by one in a random order, each to the split that its samples bring closest to
    its share of either label (for single samples this is the apportionment of Webster and Sainte-Laguë); a
    split that has none of a label yet comes first. Of ten such deals the most even one is kept. It depends
    on the groups and the seed, not on the order of the samples.

    Args:
      labels: 1 diseased, 0 healthy, of each sample.
      groups: name of each sample's group.
      val_fraction: share of the samples of either label for validation.
      test_fraction: share of the samples of either label for the test.
      seed: of the random orders.

    Raises:
      SplitError: when a label is missing in a split, or the shares are not possible.
    """
    shares = np.array([1.0 - val_fraction - test_fraction, val_fraction, test_fraction])
    if not np.all(shares > 0):
        raise SplitError(
            f"the share for validation is {val_fraction:g} and for the test {test_fraction:g}; both must be above "
            "0 and leave something for training. Change --val-fraction or --test-fraction."
        )
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    samples = np.zeros((len(names), 2))
    np.add.at(samples, (member, np.asarray(labels, np.int64)), 1.0)
    wanted = shares[:, None] * np.maximum(samples.sum(axis=0), 1.0)
    rng = np.random.default_rng(seed)
    deals = [_deal(samples, wanted, rng.permutation(len(names))) for _ in range(TRIALS)]
    best = min(deals, key=lambda deal: _unevenness(samples, wanted, deal))
    held = _held(samples, best)
    for split, name in enumerate(("train", "val", "test")):
        for label, word in ((0, "healthy"), (1, "diseased")):
            if not held[split, label]:
                n_groups = int(np.count_nonzero(samples[:, label]))
                raise SplitError(
                    f"no {word} sample (label {label}) is left for the {name} split: there are "
                    f"{int(samples[:, label].sum())} of them in {n_groups} group(s), and each split needs one. "
                    "Add samples, or a 'split' column."
                )
    return [("train", "val", "test")[best[group]] for group in member]


def _deal(
    samples: Float[np.ndarray, "g 2"], wanted: Float[np.ndarray, "3 2"], order: Int[np.ndarray, " g"]
) -> Int[np.ndarray, " g"]:
    """Split of each group: 0, 1 or 2."""
    split = np.zeros(len(samples), np.int64)
    held = np.zeros_like(wanted)
    for group in order:
        brings = samples[group]
        missing = ((held == 0) & (brings > 0)).sum(axis=1)
        # Rise of Σ (held − wanted)² / wanted, without the part that is the same for every split.
        rise = (brings * (2.0 * held + brings) / wanted).sum(axis=1)
        split[group] = np.lexsort((rise, -missing))[0]
        held[split[group]] += brings
    return split


def _held(samples: Float[np.ndarray, "g 2"], split: Int[np.ndarray, " g"]) -> Float[np.ndarray, "3 2"]:
    return np.stack([samples[split == which].sum(axis=0) for which in range(3)])


def _unevenness(
    samples: Float[np.ndarray, "g 2"], wanted: Float[np.ndarray, "3 2"], split: Int[np.ndarray, " g"]
) -> tuple[int, float]:
    held = _held(samples, split)
    return int(np.count_nonzero(held == 0)), float(((held - wanted) ** 2 / wanted).sum())


def leaking_groups(groups: Sequence[str], splits: Sequence[str]) -> Mapping[str, set[str]]:
    """The groups that occur in more than one split, and in which."""
    found: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        found.setdefault(group, set()).add(split)
    return {group: names for group, names in found.items() if len(names) > 1}
