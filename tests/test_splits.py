from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.store.splits import SplitError, leaking_groups, make_folds, make_splits

SHARES = {"train": 0.65, "val": 0.15, "test": 0.2}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[str]]:
    """Labels and groups: three groups or more of each label alone, and some of both."""
    groups = [[0], [0], [0], [1], [1], [1]]
    groups += draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), max_size=25))
    rows = [(label, f"g{number}") for number, labels in enumerate(groups) for label in labels]
    rows = draw(st.permutations(rows))
    return [label for label, _ in rows], [group for _, group in rows]


@given(table=tables(), seed=st.integers(0, 2**32), val=st.floats(0.05, 0.45), test=st.floats(0.05, 0.45))
def test_no_group_is_split_and_both_labels_are_everywhere(
    table: tuple[list[int], list[str]], seed: int, val: float, test: float
) -> None:
    labels, groups = table
    splits = make_splits(labels, groups, val_fraction=val, test_fraction=test, seed=seed)
    assert len(splits) == len(labels)
    assert leaking_groups(groups, splits) == {}
    assert set(zip(splits, labels, strict=True)) == {(s, label) for s in SHARES for label in (0, 1)}


@given(table=tables(), seed=st.integers(0, 100), shuffle=st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_splits_whatever_the_order_of_rows(
    table: tuple[list[int], list[str]], seed: int, shuffle: object
) -> None:
    labels, groups = table
    splits = make_splits(labels, groups, seed=seed)
    assert splits == make_splits(labels, groups, seed=seed)
    order = list(range(len(labels)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    moved = make_splits([labels[i] for i in order], [groups[i] for i in order], seed=seed)
    assert moved == [splits[i] for i in order]


@given(healthy=st.integers(3, 60), diseased=st.integers(3, 60), seed=st.integers(0, 9))
def test_single_samples_meet_the_shares_to_one_sample(healthy: int, diseased: int, seed: int) -> None:
    labels = [0] * healthy + [1] * diseased
    splits = make_splits(labels, [str(n) for n in range(len(labels))], seed=seed)
    counts = Counter(zip(splits, labels, strict=True))
    for label, n in ((0, healthy), (1, diseased)):
        for split, share in SHARES.items():
            assert counts[split, label] >= 1
            # The smallest sets get one sample in every split, whatever its share.
            assert abs(counts[split, label] - share * n) <= (1.0 if n >= 10 else 1.6)


def test_patients_with_many_slices_meet_the_shares() -> None:
    rng = np.random.default_rng(0)
    labels, groups = [], []
    for patient in range(100):
        for label in (0, 1):
            n = int(rng.integers(1, 7))
            labels += [label] * n
            groups += [f"p{patient}"] * n
    for seed in range(5):
        splits = make_splits(labels, groups, seed=seed)
        assert leaking_groups(groups, splits) == {}
        for label in (0, 1):
            of_label = [split for split, other in zip(splits, labels, strict=True) if other == label]
            for split, share in SHARES.items():
                assert abs(of_label.count(split) / len(of_label) - share) < 0.01


def test_every_group_can_land_everywhere() -> None:
    labels, groups = [n % 2 for n in range(40)], [f"g{n}" for n in range(40)]
    groups[0] = groups[2] = groups[4] = "large"
    landed = defaultdict(set)
    for seed in range(60):
        for group, split in zip(groups, make_splits(labels, groups, seed=seed), strict=True):
            landed[group].add(split)
    assert all(splits == set(SHARES) for splits in landed.values())


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 0, 0, 1, 1], "abcde", "no diseased sample .* 2 of them in 2 group"),
        ([0, 0, 0, 1, 1, 1], "abcddd", "no diseased sample .* 3 of them in 1 group"),
        ([1, 1, 1], "abc", "no healthy sample .* 0 of them in 0 group"),
    ],
)
def test_what_cannot_be_split_is_refused(labels: list[int], groups: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_splits(labels, list(groups))


@pytest.mark.parametrize(
    ("val", "test"), [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.3), (float("nan"), 0.1)]
)
def test_impossible_shares_are_refused(val: float, test: float) -> None:
    with pytest.raises(SplitError, match="--val-fraction or --test-fraction"):
        make_splits([0, 1] * 9, [str(n) for n in range(18)], val_fraction=val, test_fraction=test)


def test_leaking_groups_are_found() -> None:
    assert leaking_groups(["a", "b", "a", "c"], ["train", "val", "test", "val"]) == {"a": {"train", "test"}}


@given(table=tables(), seed=st.integers(0, 2**32), folds=st.integers(2, 3))
def test_folds_keep_groups_whole_and_hold_both_labels(
    table: tuple[list[int], list[str]], seed: int, folds: int
) -> None:
    labels, groups = table
    dealt = make_folds(labels, groups, folds=folds, seed=seed)
    assert not leaking_groups(groups, [str(fold) for fold in dealt])
    assert {(fold, label) for fold, label in zip(dealt.tolist(), labels, strict=True)} == {
        (fold, label) for fold in range(folds) for label in (0, 1)
    }
    backwards = make_folds(labels[::-1], groups[::-1], folds=folds, seed=seed)
    np.testing.assert_array_equal(backwards[::-1], dealt)


@pytest.mark.parametrize(("n_groups", "folds"), [(30, 5), (31, 5), (9, 3)])
def test_folds_of_single_samples_are_even_for_each_label(n_groups: int, folds: int) -> None:
    labels = [number % 3 == 0 for number in range(n_groups)]
    dealt = make_folds(labels, [str(n) for n in range(n_groups)], folds=folds, seed=3)
    for label in (0, 1):
        counts = np.bincount(dealt[np.asarray(labels) == label], minlength=folds)
        assert counts.max() - counts.min() <= 1


def test_folds_that_cannot_be_are_refused() -> None:
    with pytest.raises(SplitError, match=r"no diseased .* fold \d.* Choose fewer --folds"):
        make_folds([0, 0, 0, 1, 1], list("abcde"), folds=3)
    with pytest.raises(SplitError, match="at least 2"):
        make_folds([0, 1], list("ab"), folds=1)
