"""Agreement on where: 1 of equal masks, 0 of masks thrown at random, whatever their sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from compseg_jax.evaluation.agreement import WhereAgreement


def of(*maps: np.ndarray, thresholds=None) -> WhereAgreement:
    stacked = np.stack([np.asarray(each, np.float64) for each in maps])
    return WhereAgreement.of(stacked, thresholds or [0.5] * len(maps))


def test_two_masks_by_hand():
    first = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.0, 0.05])
    second = np.array([0.6, 0.1, 0.7, 0.9, 0.2, 0.3, 0.0, 0.05])
    found = of(first, second).compute()
    assert found["mask_dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["mask_dice_by_chance"] == pytest.approx(2 * 3 * 3 / 8 / 6)
    assert found["where"] == pytest.approx((2 / 3 - 3 / 8) / (1 - 3 / 8))
    assert found["rank_correlation"] == pytest.approx(spearmanr(first, second).statistic)
    # Masks of one size: the kappa of Cohen.
    assert found["where"] == pytest.approx(cohen_kappa_score(first > 0.5, second > 0.5))


@given(seed=st.integers(0, 999), sizes=st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
def test_chance_agrees_on_nothing_and_a_network_with_itself_on_everything(seed, sizes):
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, 40_000))
    thresholds = [float(np.quantile(each, 1 - size)) for each, size in zip((one, other), sizes, strict=True)]
    by_chance = of(one, other, thresholds=thresholds).compute()
    assert by_chance["where"] == pytest.approx(0, abs=0.1)
    assert by_chance["rank_correlation"] == pytest.approx(0, abs=0.03)
    # Its own map on another scale, at a threshold of its own.
    same = of(one, one**3, thresholds=[thresholds[0], thresholds[0] ** 3]).compute()
    assert same["where"] == same["mask_dice"] == 1
    assert same["rank_correlation"] == pytest.approx(1)


def test_several_networks_are_compared_in_pairs():
    rng = np.random.default_rng(1)
    maps = rng.random((4, 200))
    pairs = WhereAgreement.empty()
    for i in range(4):
        for j in range(i + 1, 4):
            pairs = pairs.merge(of(maps[i], maps[j]))
    found, expected = of(*maps).compute(), pairs.compute()
    for name in found:
        assert found[name] == pytest.approx(expected[name])


def test_what_cannot_be_told_is_none():
    nothing, everything = np.zeros(9), np.ones(9)
    assert set(WhereAgreement.empty().compute().values()) == {None}
    assert set(of(nothing, nothing).compute().values()) == {None}
    assert of(everything, everything).compute()["where"] is None
    one = of(nothing, np.linspace(0, 1, 9)).compute()
    assert (one["mask_dice"], one["where"], one["rank_correlation"]) == (0, 0, None)


@given(st.lists(st.integers(0, 99), min_size=3, max_size=3))
def test_states_merge_in_any_order(seeds):
    x, y, z = (of(*np.random.default_rng(seed).random((2, 30))) for seed in seeds)
    assert x.merge(WhereAgreement.empty()).compute() == x.compute()
    for left, right in ((x.merge(y), y.merge(x)), (x.merge(y).merge(z), x.merge(y.merge(z)))):
        assert left.compute() == pytest.approx(right.compute())
