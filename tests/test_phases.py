"""The comb is found where one was made, at its size and period, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from compseg_jax.evaluation.scores import evaluate_samples
from compseg_jax.evaluation.scores.map_measures import MapFacts
from compseg_jax.evaluation.scores.phases import PhaseSums
from tests.test_metrics import result

SEEN = np.array([[0.85, 0.12], [0.94, 0.09]])
"""Mean activations of the four phases of maps that a transposed convolution left after training."""


def smooth(seed: int, size: tuple[int, int] = (64, 48), width: float = 3.0) -> np.ndarray:
    """A map of lesions as wide as this, sharp at their edges, between 0 and 1."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=size), width)
    return 1 / (1 + np.exp(-8 * (field / field.std() - 0.8)))


def combed(seed: int, period: int, phases: np.ndarray = SEEN, size=(64, 48)) -> np.ndarray:
    cell = np.kron(phases, np.ones((period // 2, period // 2)))
    comb = np.tile(cell, (size[0] // period + 1, size[1] // period + 1))[: size[0], : size[1]]
    return np.where(smooth(seed, size, width=6.0) > 0.4, comb, 0.02)


def sums(maps, *, period: int = 2, threshold: float = 0.06) -> PhaseSums:
    total = PhaseSums.empty()
    for each in maps:
        total = total.merge(PhaseSums.from_map(each, np.ones(each.shape, np.bool_), threshold, period=period))
    return total


def test_the_comb_of_the_transposed_way_up_has_its_size():
    whole = np.tile(SEEN, (16, 20))
    spread = sums([whole]).compute()
    assert spread.spread == pytest.approx(0.85)
    assert spread.phases == pytest.approx(SEEN.ravel())
    assert spread.cells == (16 - 2) * (20 - 2)
    # In lesions, whose edge cells hold half of it:
    assert sums(combed(seed, 2) for seed in range(4)).compute().spread == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_comb_is_found_at_its_own_period_alone(period):
    maps = [combed(seed, period, size=(96, 96)) for seed in range(4)]
    found = {each: sums(maps, period=each).compute() for each in (2, 4, 8)}
    assert found.pop(period).spread > 0.3
    assert all(other.spread < 0.05 for other in found.values())


@pytest.mark.parametrize("height", [0.02, 0.1, 0.4])
def test_a_slight_comb_is_measured_and_not_swallowed(height):
    """A map of lesions times one more in every second column; half the cells of a lesion lie at its edge."""
    maps = [smooth(seed) * (0.6 + height * (np.arange(48) % 2)) for seed in range(6)]
    spread = sums(maps, threshold=0.3).compute()
    assert 0.6 * height < spread.spread < 1.1 * height


@given(seed=st.integers(0, 10_000), width=st.sampled_from([1.0, 2.0, 4.0]), n=st.integers(1, 4))
def test_a_map_without_a_comb_has_none_however_few_its_cells(seed, width, n):
    maps = [smooth(seed + i, (32, 32), width) for i in range(n)]
    for sharp in (maps, [(each > 0.5).astype(np.float64) for each in maps]):
        for period in (2, 4):
            spread = sums(sharp, period=period, threshold=0.35).compute()
            assert spread is None or spread.spread < 0.05


@given(st.lists(st.integers(0, 99), min_size=3, max_size=3))
def test_states_merge_in_any_order(seeds):
    x, y, z = (sums([combed(seed, 2)]) for seed in seeds)
    for left, right in (
        (x.merge(PhaseSums.empty()), x),
        (x.merge(y), y.merge(x)),
        (x.merge(y).merge(z), x.merge(y.merge(z))),
    ):
        assert (left.cells, left.tiles) == (right.cells, right.tiles)
        np.testing.assert_allclose(left.total, right.total)
        np.testing.assert_allclose(left.squares, right.squares)
        np.testing.assert_allclose(left.tile_products, right.tile_products)


def test_cells_lie_wholly_in_segmented_tissue():
    whole = np.tile(SEEN, (16, 16))
    tissue = np.zeros(whole.shape, np.bool_)
    assert PhaseSums.from_map(whole, tissue, 0.35).compute() is None
    tissue[3:20, 4:21] = True  # cells from 2 to 9, of which the outermost have pixels around them outside
    assert PhaseSums.from_map(whole, tissue, 0.35).cells == 7 * 7
    outside = np.where(tissue, whole, 1 - whole)
    assert PhaseSums.from_map(outside, tissue, 0.35).compute().spread == pytest.approx(0.85)
    assert PhaseSums.from_map(whole, np.ones(whole.shape, np.bool_), 0.95).compute() is None
    assert PhaseSums.from_map(np.ones((5, 5)), np.ones((5, 5), np.bool_), 0.5).compute() is None


def test_metrics_hold_the_worst_period_that_the_network_can_have():
    results = [result(f"s{i}", i % 2, np.clip(combed(i, 4, size=(96, 96)), 0, 1)) for i in range(4)]
    deep = evaluate_samples(results, threshold=0.06, n_bootstrap=5, facts=MapFacts.of(3, None)).metrics
    assert deep["phase_period"] == 4
    assert deep["phase_spread"] == deep["phases"]["4"]["spread"] > 0.3
    assert deep["phase_spread_relative"] == pytest.approx(
        deep["phase_spread"] / max(deep["phases"]["4"]["phases"])
    )
    assert list(deep["phases"]) == ["2", "4", "8"]
    flat = evaluate_samples(results, threshold=0.06, n_bootstrap=5, facts=MapFacts.of(0, None)).metrics
    assert list(flat["phases"]) == ["2"]
    assert flat["phase_spread"] < 0.05
    nothing = evaluate_samples([result("x", 1, np.zeros((2, 3)))], threshold=0.5, n_bootstrap=5).metrics
    assert (nothing["phase_spread"], nothing["phase_period"], nothing["phases"]) == (None, None, {})
