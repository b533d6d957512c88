from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_example import CHANNELS, SIZES, sample_arrays, write_store

from compseg_jax.runtime import data_mesh
from compseg_jax.spectra.scaling import Scaling
from compseg_jax.store.prepared import CubeMemory, PreparedStore, fit_scaling
from compseg_jax.store.read import Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.batch import Batch, augment_batch, pad_batch
from compseg_jax.training.feed import ResidentFeed, StreamFeed, make_feed
from compseg_jax.training.order import Ordering, draws_of, pad_draws
from compseg_jax.training.samples import Samples

BALANCES = ("none", "weights", "sampling")
labels_of_both = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda n: (0,) * n[0] + (1,) * n[1])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("mixed") / "s")


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("uniform") / "s", sizes=[(7, 9)] * 4, splits=["train"])


def samples_of(store: Store, *, with_reference: bool = False) -> Samples:
    cubes, chosen = PreparedStore(store), store.split("train")
    return Samples(cubes, chosen, fit_scaling(cubes, chosen), with_reference)


@given(
    labels=labels_of_both,
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 500),
    balance=st.sampled_from(BALANCES),
)
def test_the_order_depends_on_seed_and_epoch_alone(
    labels: tuple[int, ...], batch_size: int, seed: int, epoch: int, balance: str
) -> None:
    ordering = Ordering(labels, batch_size, seed, balance)  # type: ignore[arg-type]
    draws = ordering.epoch(epoch)
    ordering.epoch(epoch + 1)
    for draw, again in zip(draws, Ordering(labels, batch_size, seed, balance).epoch(epoch), strict=True):  # type: ignore[arg-type]
        np.testing.assert_array_equal(draw.indices, again.indices)
        np.testing.assert_array_equal(draw.weights, again.weights)
    assert len(draws) == ordering.n_batches
    assert all(draw.indices.shape == draw.weights.shape == (batch_size,) for draw in draws)
    weights = np.concatenate([draw.weights for draw in draws])
    drawn = np.concatenate([draw.indices for draw in draws])[weights > 0]
    assert len(drawn) == len(labels)
    if balance != "sampling":
        np.testing.assert_array_equal(np.sort(drawn), np.arange(len(labels)))
    # Only the end of the last batch is padded.
    assert np.all(np.diff((weights > 0).astype(int)) <= 0)


@given(labels=labels_of_both, batch_size=st.integers(1, 9), epoch=st.integers(0, 50))
def test_balanced_labels_count_evenly(labels: tuple[int, ...], batch_size: int, epoch: int) -> None:
    totals = {}
    for balance in BALANCES:
        draws = Ordering(labels, batch_size, 3, balance).epoch(epoch)  # type: ignore[arg-type]
        of = np.asarray(labels)[np.concatenate([draw.indices for draw in draws])]
        weights = np.concatenate([draw.weights for draw in draws])
        totals[balance] = np.array([weights[of == label].sum() for label in (0, 1)])
    n = len(labels)
    np.testing.assert_array_equal(totals["none"], [labels.count(0), labels.count(1)])
    np.testing.assert_allclose(totals["weights"], [n / 2, n / 2], rtol=1e-5)
    np.testing.assert_array_equal(totals["sampling"], [-(-n // 2), n // 2])


@pytest.mark.parametrize("balance", BALANCES)
def test_samples_of_one_label_are_all_drawn(balance: str) -> None:
    draws = Ordering((1,) * 7, 3, 0, balance).epoch(1)  # type: ignore[arg-type]
    assert [draw.weights.tolist().count(0.0) for draw in draws] == [0, 0, 2]
    assert set(np.concatenate([draw.indices for draw in draws])) == set(range(7))


def test_the_rarer_label_is_drawn_more_often_and_every_sample_in_time() -> None:
    ordering = Ordering((0,) * 9 + (1,) * 2, 4, 0, "sampling")
    seen: Counter[int] = Counter()
    for epoch in range(12):
        for draw in ordering.epoch(epoch):
            seen.update(draw.indices[draw.weights > 0].tolist())
    assert set(seen) == set(range(11))
    assert min(seen[9], seen[10]) > 2 * max(seen[n] for n in range(9))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(np.concatenate([draw.indices for draw in Ordering((0, 1) * 8, 16, seed).epoch(epoch)]))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_draws_are_padded_to_the_devices_with_weight_0() -> None:
    draws = list(pad_draws(draws_of(np.array([4, 2, 0, 1, 3]), np.arange(1.0, 6.0), 3), 8))
    assert [draw.indices.tolist() for draw in draws] == [[4, 2, 0, 4, 2, 0, 4, 2], [1, 3, 1, 1, 3, 1, 1, 3]]
    assert [draw.weights.tolist() for draw in draws] == [[5, 3, 1, 0, 0, 0, 0, 0], [2, 4, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("n_devices", [1, 8])
@pytest.mark.parametrize("kind", ["mixed", "uniform"])
def test_both_feeds_give_the_same_batches_to_the_bit(
    kind: str, n_devices: int, with_reference: bool, request: pytest.FixtureRequest
) -> None:
    samples = samples_of(request.getfixturevalue(kind), with_reference=with_reference)
    mesh = data_mesh(n_devices)
    labels = tuple(sample.label for sample in samples.samples)
    draws = list(pad_draws(Ordering(labels, 4, 0, "weights").epoch(0), n_devices))
    resident = list(ResidentFeed(samples, mesh).batches(draws))
    stream = list(StreamFeed(samples, mesh).batches(draws))
    assert len(resident) == len(stream) == len(draws)
    for one, other, draw in zip(resident, stream, draws, strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert left.dtype == right.dtype
            assert left.sharding.is_equivalent_to(right.sharding, left.ndim)
            assert len(left.sharding.device_set) == n_devices
            assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
        np.testing.assert_array_equal(one.weight, draw.weights)
        assert (one.image is not None) == (kind == "mixed")
        assert (one.reference is not None) == with_reference


@pytest.mark.parametrize("feed", [ResidentFeed, StreamFeed])
def test_a_batch_holds_scaled_padded_cubes(mixed: Store, feed: type[ResidentFeed] | type[StreamFeed]) -> None:
    samples = samples_of(mixed, with_reference=True)
    assert samples.shapes.size == (16, 20)
    assert samples.shapes.scaled_bytes == 6 * 16 * 20 * CHANNELS * 4
    draws = draws_of(np.array([5, 0, 2]), np.ones(6), 3)
    (batch,) = feed(samples, data_mesh(1)).batches(draws)
    assert batch.cube.dtype == np.float32
    np.testing.assert_array_equal(batch.label, [1, 0, 0])
    assert batch.label.dtype == np.int32
    for row, number in enumerate((5, 0, 2)):
        height, width = SIZES[number // 2]
        absorbance, tissue, reference = sample_arrays((height, width), number)
        inside = (absorbance[tissue] - samples.scaling.mean) / samples.scaling.sd
        np.testing.assert_allclose(np.asarray(batch.cube[row])[:height, :width][tissue], inside, rtol=1e-6)
        assert np.count_nonzero(batch.cube[row]) == np.count_nonzero(inside)
        image = np.zeros((16, 20), bool)
        image[:height, :width] = True
        np.testing.assert_array_equal(batch.image[row], image)
        np.testing.assert_array_equal(batch.tissue[row][:height, :width], tissue)
        assert np.asarray(batch.tissue[row]).sum() == tissue.sum()
        # Healthy samples hold no reference mask; theirs is empty.
        expected = reference if number % 2 else np.zeros_like(reference)
        np.testing.assert_array_equal(batch.reference[row][:height, :width], expected)


def test_scaling_is_fitted_on_the_given_samples_only(mixed: Store) -> None:
    chosen = mixed.split("train")
    own = [sample_arrays(SIZES[number // 2], number)[:2] for number in range(len(chosen))]
    expected, found = Scaling.fit(own), fit_scaling(PreparedStore(mixed), chosen)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.sd, expected.sd)
    assert not np.array_equal(fit_scaling(PreparedStore(mixed), mixed.split("test")).mean, found.mean)


def test_nan_in_a_store_stops_the_scaling(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"])
    broken = store.read("s1").copy()
    broken[0, 0, 0] = np.nan
    with StoreWriter(
        tmp_path / "nan",
        channels=CHANNELS,
        wavenumbers_cm1=None,
        pixel_size_um=None,
        background="none",
        created_by="",
    ) as writer:
        writer.add(store.samples[1], broken, store.tissue("s1"), store.reference("s1"))
    opened = Store.open(tmp_path / "nan")
    with pytest.raises(ValueError, match="sample 's1' holds NaN or infinite values"):
        fit_scaling(PreparedStore(opened), opened.samples)


def test_a_damaged_cube_stops_the_stream_with_its_name(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)] * 6, splits=["train"])
    without_memory = PreparedStore(store, memory=CubeMemory(most_bytes=0))
    samples = replace(samples_of(store), cubes=without_memory)
    chunk = next(
        path for path in (tmp_path / "s" / "cubes" / "s9.zarr" / "0" / "c").rglob("*") if path.is_file()
    )
    chunk.write_bytes(b"")
    batches = StreamFeed(samples, data_mesh(1)).batches(draws_of(np.arange(12), np.ones(12), 2))
    with pytest.raises(ValueError, match=r"s9\.zarr/0 cannot be read"):
        list(batches)


def test_a_stream_can_be_left_early_and_reads_few_batches_ahead(uniform: Store) -> None:
    taken = []

    def draws() -> object:
        for draw in draws_of(np.arange(8), np.ones(8), 1):
            taken.append(draw)
            yield draw

    batches = StreamFeed(samples_of(uniform), data_mesh(1)).batches(draws())  # type: ignore[arg-type]
    next(iter(batches))
    assert len(taken) == 3
    batches.close()  # type: ignore[attr-defined]


def test_the_feed_fits_the_limit(uniform: Store) -> None:
    samples, mesh = samples_of(uniform), data_mesh(1)
    limit_gib = samples.shapes.scaled_bytes / 2**30
    assert isinstance(make_feed(samples, mesh, "auto", limit_gib), ResidentFeed)
    assert isinstance(make_feed(samples, mesh, "auto", limit_gib * 0.99), StreamFeed)
    assert isinstance(make_feed(samples, mesh, "resident", 0.0), ResidentFeed)
    assert isinstance(make_feed(samples, mesh, "stream", 99.0), StreamFeed)


def some_batch(mixed: Store) -> Batch:
    draws = draws_of(np.arange(6), np.arange(1.0, 7.0), 6)
    return next(iter(StreamFeed(samples_of(mixed, with_reference=True), data_mesh(1)).batches(draws)))


def test_a_batch_is_padded_with_its_own_samples_at_weight_0(mixed: Store) -> None:
    batch = some_batch(mixed)
    padded = pad_batch(batch, 4)
    np.testing.assert_array_equal(padded.weight, [1, 2, 3, 4, 5, 6, 0, 0])
    np.testing.assert_array_equal(padded.cube[6:], batch.cube[:2])
    np.testing.assert_array_equal(padded.label, [0, 1, 0, 1, 0, 1, 0, 1])
    assert pad_batch(batch, 3) is batch


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("augmentation", ["none", "flips", "dihedral"])
def test_augmentation_turns_cube_and_masks_together(mixed: Store, augmentation: str, square: bool) -> None:
    batch = some_batch(mixed)
    if square:
        batch = jax.tree.map(lambda leaf: leaf[:, :16, :16] if leaf.ndim > 2 else leaf, batch)
    shapes = set()
    for seed in range(12):
        turned = augment_batch(batch, jax.random.key(seed), augmentation)  # type: ignore[arg-type]
        np.testing.assert_array_equal(turned.label, batch.label)
        np.testing.assert_array_equal(turned.weight, batch.weight)
        for row in range(6):
            matches = [
                (flip_y, flip_x, swap)
                for flip_y in (1, -1)
                for flip_x in (1, -1)
                for swap in ((False, True) if square else (False,))
                if all(
                    np.array_equal(
                        getattr(turned, name)[row],
                        np.asarray(getattr(batch, name)[row])[::flip_y, ::flip_x].swapaxes(0, 1)
                        if swap
                        else np.asarray(getattr(batch, name)[row])[::flip_y, ::flip_x],
                    )
                    for name in ("cube", "tissue", "reference", "image")
                )
            ]
            assert matches
            shapes.update(matches if len(matches) == 1 else [])
    assert len(shapes) == {"none": 1, "flips": 4, "dihedral": 8 if square else 4}[augmentation]
