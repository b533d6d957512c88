"""Many steps in one dispatch equal the steps one by one; padded channels and bfloat16 change only what they may."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from store_example import write_store

from compseg_jax import Batch, Objective, SegNet, UNet, init_train_state, make_train_step
from compseg_jax.config import RECIPES, Network, Optimiser
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.networks.build import init_variables
from compseg_jax.runtime import data_mesh
from compseg_jax.store.prepared import PreparedStore, fit_scaling
from compseg_jax.training import run as experiment
from compseg_jax.training.device_loop import DeviceLoop
from compseg_jax.training.feed import ResidentFeed, StreamFeed
from compseg_jax.training.order import Ordering, draws_of, pad_draws
from compseg_jax.training.programs import Programs
from compseg_jax.training.samples import Samples
from compseg_jax.training.step import make_evaluate_step, train_step

CHANNELS = 5
OBJECTIVE = Objective(alpha=0.2, error="cross_entropy", pooling="tissue")


def samples(n=7, size=(12, 8), channels=CHANNELS, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    tissue = jnp.asarray(rng.random((n, *size)) < 0.8)
    cube = jnp.asarray(rng.standard_normal((n, *size, channels), np.float32))
    label = jnp.asarray(np.arange(n) % 2, jnp.int32)
    lesion = jnp.zeros((n, *size), bool).at[:, 2:8, 1:6].set(True) & (label == 1).reshape(-1, 1, 1)
    cube = jnp.where(tissue[..., None], cube + 3.0 * lesion[..., None].astype(jnp.float32), 0.0)
    return Batch(cube=cube, tissue=tissue, label=label, weight=jnp.ones(n))


def state_of(network=None, **options):
    network = network or UNet(base=4, depth=0, head_bias=-3.0)
    return init_train_state(jax.random.key(3), network, CHANNELS, objective=OBJECTIVE, **options)


@pytest.mark.parametrize("n_devices", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_loop_on_the_device_is_the_steps_one_by_one(n_devices):
    mesh, whole = data_mesh(n_devices), samples()
    ordering = Ordering(tuple(int(label) for label in whole.label), 3, seed=0)
    draws = list(pad_draws(ordering.epoch(1), n_devices))
    step, expected, state = make_train_step(mesh), [], state_of(augmentation="dihedral")
    for draw in draws:
        chosen = jax.tree.map(lambda leaf, draw=draw: leaf[draw.indices], whole)
        batch = dataclasses.replace(chosen, weight=jnp.asarray(draw.weights))
        state, metrics = step(state, batch)
        expected.append(float(metrics["loss"]))
    loop, looped = DeviceLoop(mesh), state_of(augmentation="dihedral")
    losses = np.zeros(len(draws))
    for first, last in ((0, 1), (1, 3)):
        looped, metrics = loop.train(looped, whole, draws, first, last)
        assert not np.any(np.delete(np.asarray(metrics["loss"]), np.s_[first:last]))
        losses += np.asarray(metrics["loss"])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert int(looped.step) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), looped.variables, state.variables
    )
    assert loop._train._cache_size() == 1, "the number of steps must not be part of the program"


def test_validation_on_the_device_is_that_of_the_batches():
    whole, mesh, state = samples(n=6), data_mesh(2), state_of()
    draws = list(draws_of(np.arange(6), np.ones(6, np.float32), 4))
    metrics = DeviceLoop(mesh).evaluate(state, whole, draws)
    evaluate = make_evaluate_step(mesh)
    for index, draw in enumerate(draws):
        batch = jax.tree.map(lambda leaf, draw=draw: leaf[draw.indices], whole)
        for name, values in evaluate(state, batch).items():
            np.testing.assert_allclose(metrics[name][index], values, rtol=1e-5)


@pytest.mark.slow
def test_a_whole_run_with_the_loop_on_the_device(tmp_path, monkeypatch):
    store = tmp_path / "data"
    phantom = PhantomConfig(size=16, channels=6, difficulty=0.0)
    write_phantom(PhantomOptions(out=store, train=10, val=6, test=2, phantom=phantom))
    config = dataclasses.replace(
        RECIPES["default"],
        data=store,
        epochs=3,
        starts=1,
        self_check=False,
        second_view=False,
        checkpoint_every=2,
        network=Network(base=2, depth=0, head_bias=-3.0),
    )
    histories = []
    of = Programs.of.__func__
    for name in ("host", "device"):
        on_device = name == "device"
        monkeypatch.setattr(
            Programs, "of", lambda *a, on_device=on_device: of(Programs, *a, on_device=on_device)
        )
        experiment.train(dataclasses.replace(config, out=tmp_path / name))
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        histories.append([json.loads(line) for line in lines])
    for host, device in zip(*histories, strict=True):
        assert host["step"] == device["step"]
        np.testing.assert_allclose(host["loss"], device["loss"], rtol=1e-4)
        np.testing.assert_allclose(host["val_loss"], device["val_loss"], rtol=1e-4)


# Channels are padded before the first layer, which is the same at every depth.
@pytest.mark.parametrize(
    "network",
    [
        UNet(base=4, depth=0),
        pytest.param(SegNet(base=4, depth=1), marks=pytest.mark.slow),
        pytest.param(UNet(base=4, depth=1), marks=pytest.mark.slow),
    ],
)
def test_padded_channels_change_nothing(network):
    batch = samples(n=2)
    results = []
    for multiple in (1, 8):
        state = state_of(network, channel_multiple=multiple)
        assert (
            state.variables["params"].keys()
            == init_variables(network, jax.random.key(0), CHANNELS)["params"].keys()
        )
        state, metrics = jax.jit(train_step)(state, batch)
        results.append((metrics, state.variables))
    np.testing.assert_allclose(results[0][0]["loss"], results[1][0]["loss"], rtol=1e-5)
    np.testing.assert_allclose(results[0][0]["gradient_norm"], results[1][0]["gradient_norm"], rtol=1e-4)
    assert jax.tree.map(jnp.shape, results[0][1]) == jax.tree.map(jnp.shape, results[1][1])


@pytest.mark.parametrize("feed", [ResidentFeed, StreamFeed])
def test_bfloat16_data_is_what_the_network_would_round_it_to(feed, tmp_path):
    store = write_store(tmp_path / "s", sizes=[(7, 9)] * 4, splits=["train"])
    chosen = Samples(
        PreparedStore(store), store.split("train"), fit_scaling(PreparedStore(store), store.split("train"))
    )
    draws = list(draws_of(np.arange(4), np.ones(4, np.float32), 2))
    full = list(feed(chosen, data_mesh(1)).batches(draws))
    half = list(feed(chosen, data_mesh(1), jnp.bfloat16).batches(draws))
    for a, b in zip(full, half, strict=True):
        assert b.cube.dtype == jnp.bfloat16
        np.testing.assert_array_equal(a.cube.astype(jnp.bfloat16), b.cube)


BAND = 0.05
STEPS = 200


@pytest.mark.slow
def test_bfloat16_follows_float32_over_two_hundred_steps():
    """Mean loss of every 20 steps: within 5 % of the first one's, while it falls to a tenth of it."""
    whole, curves = samples(n=14, size=(16, 16)), []
    ordering = Ordering(tuple(int(label) for label in whole.label), 7, seed=0)
    for dtype in (jnp.float32, jnp.bfloat16):
        network = UNet(base=4, depth=1, head_bias=-3.0, dtype=dtype)
        state = state_of(network, optimiser=Optimiser(learning_rate=1e-3))
        step, losses = make_train_step(data_mesh(1)), []
        for epoch in range(STEPS // ordering.n_batches):
            for draw in ordering.epoch(epoch):
                batch = jax.tree.map(lambda leaf, draw=draw: leaf[draw.indices], whole)
                state, metrics = step(state, dataclasses.replace(batch, weight=jnp.asarray(draw.weights)))
                losses.append(float(metrics["loss"]))
        curves.append(np.reshape(losses, (-1, 20)).mean(axis=1))
    full, half = curves
    assert full[-1] < 0.1 * full[0]
    np.testing.assert_allclose(half, full, atol=BAND * full[0])
    assert not np.array_equal(half, full)
