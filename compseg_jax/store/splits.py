"""Training, validation and test, and folds: group-wise, stratified by label, with a seed."""

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
    samples, member = _samples_by_group(labels, groups)
    deal = _most_even_deal(samples, shares, seed)
    names = ("train", "val", "test")
    _refuse_missing_labels(
        samples,
        deal,
        [f"{name} split" for name in names],
        "each split needs one. Add samples, or a 'split' column.",
    )
    return [names[deal[group]] for group in member]


def make_folds(
    labels: Sequence[int], groups: Sequence[str], *, folds: int, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """Deals samples into folds of equal shares of either label, as :func:`make_splits` does; 0 … folds − 1 each.

    No group ends up in two folds. It depends on the groups and the seed, not on the order of the samples.

    Args:
      labels: 1 diseased, 0 healthy, of each sample.
      groups: name of each sample's group.
      folds: number of folds, at least 2.
      seed: of the random orders.

    Raises:
      SplitError: when there are fewer than 2 folds, or a fold would lack a label.
    """
    if folds < 2:
        raise SplitError(f"{folds} fold(s) asked for; cross-validation needs at least 2. Change --folds.")
    samples, member = _samples_by_group(labels, groups)
    deal = _most_even_deal(samples, np.full(folds, 1.0 / folds), seed)
    names = [f"fold {number}" for number in range(folds)]
    _refuse_missing_labels(samples, deal, names, "each fold needs one. Choose fewer --folds.")
    return deal[member]


def _samples_by_group(
    labels: Sequence[int], groups: Sequence[str]
) -> tuple[Float[np.ndarray, "g 2"], Int[np.ndarray, " n"]]:
    """Samples of either label in each group, and the group of each sample."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    samples = np.zeros((len(names), 2))
    np.add.at(samples, (member, np.asarray(labels, np.int64)), 1.0)
    return samples, member


def _most_even_deal(
    samples: Float[np.ndarray, "g 2"], shares: Float[np.ndarray, " parts"], seed: int
) -> Int[np.ndarray, " g"]:
    wanted = shares[:, None] * np.maximum(samples.sum(axis=0), 1.0)
    rng = np.random.default_rng(seed)
    deals = [_deal(samples, wanted, rng.permutation(len(samples))) for _ in range(TRIALS)]
    return min(deals, key=lambda deal: _unevenness(samples, wanted, deal))


def _refuse_missing_labels(
    samples: Float[np.ndarray, "g 2"], deal: Int[np.ndarray, " g"], parts: Sequence[str], what_to_do: str
) -> None:
    held = _held(samples, deal, len(parts))
    for part, name in enumerate(parts):
        for label, word in ((0, "healthy"), (1, "diseased")):
            if not held[part, label]:
                n_groups = int(np.count_nonzero(samples[:, label]))
                raise SplitError(
                    f"no {word} sample (label {label}) is left for the {name}: there are "
                    f"{int(samples[:, label].sum())} of them in {n_groups} group(s), and {what_to_do}"
                )


def _deal(
    samples: Float[np.ndarray, "g 2"], wanted: Float[np.ndarray, "parts 2"], order: Int[np.ndarray, " g"]
) -> Int[np.ndarray, " g"]:
    """Part of each group, from 0 on."""
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


def _held(
    samples: Float[np.ndarray, "g 2"], split: Int[np.ndarray, " g"], n_parts: int
) -> Float[np.ndarray, "parts 2"]:
    return np.stack([samples[split == which].sum(axis=0) for which in range(n_parts)])


def _unevenness(
    samples: Float[np.ndarray, "g 2"], wanted: Float[np.ndarray, "parts 2"], split: Int[np.ndarray, " g"]
) -> tuple[int, float]:
    held = _held(samples, split, len(wanted))
    return int(np.count_nonzero(held == 0)), float(((held - wanted) ** 2 / wanted).sum())


def leaking_groups(groups: Sequence[str], splits: Sequence[str]) -> Mapping[str, set[str]]:
    """The groups that occur in more than one split, and in which."""
    found: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        found.setdefault(group, set()).add(split)
    return {group: names for group, names in found.items() if len(names) > 1}
