"""The pure step and its sharded form: equal on any number of devices, split or whole, one compilation."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from compseg_jax import Batch, Objective, Optimiser, UNet, init_train_state, make_train_step, train_step
from compseg_jax.runtime import data_mesh
from compseg_jax.training.batch import augment_batch, pad_batch
from compseg_jax.training.step import SMALL_LEAF, make_evaluate_step, make_optimiser, norm_of_all

# One level: what is tested is the step, whose program for a deeper network takes seconds to compile.
NETWORK = UNet(base=4, depth=0, head_bias=-1.0)
CHANNELS = 5


def make_batch(n=7, seed=0, tissue_share=0.8):
    rng = np.random.default_rng(seed)
    tissue = jnp.asarray(rng.random((n, 20, 12)) < tissue_share)
    cube = jnp.asarray(rng.normal(size=(n, 20, 12, CHANNELS)), jnp.float32)
    return Batch(
        cube=jnp.where(tissue[..., None], cube, 0.0),
        tissue=tissue,
        label=jnp.asarray(np.arange(n) % 2, jnp.int32),
        weight=jnp.ones(n),
    )


def make_state(network=NETWORK, **options):
    options = {"objective": Objective(pooling="tissue"), **options}
    return init_train_state(jax.random.key(3), network, CHANNELS, **options)


def run(n_devices, steps=5, **options):
    state, step = make_state(**options), make_train_step(data_mesh(n_devices))
    losses = []
    for index in range(steps):
        state, metrics = step(state, make_batch(seed=index))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.variables["params"])


@functools.cache
def on_one_device():
    return run(1)


def assert_same(first, second, rtol=1e-5):
    np.testing.assert_allclose(first[0], second[0], rtol=rtol)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), first[1], second[1])


@pytest.mark.parametrize("n_devices", [pytest.param(4, marks=pytest.mark.slow), 8])
def test_four_and_eight_devices_train_as_one(n_devices):
    assert_same(run(n_devices), on_one_device())


@pytest.mark.parametrize("augmentation", ["dihedral", pytest.param("flips", marks=pytest.mark.slow)])
def test_augmentation_is_that_of_one_device(augmentation):
    assert_same(run(8, augmentation=augmentation), run(1, augmentation=augmentation))


@pytest.mark.parametrize(("n_devices", "microbatch"), [pytest.param(1, 2, marks=pytest.mark.slow), (4, 4)])
def test_microbatches_train_alike(n_devices, microbatch):
    assert_same(run(n_devices, microbatch=microbatch), on_one_device())


def test_microbatch_must_fit_the_devices():
    with pytest.raises(ValueError, match="use a multiple of 4"):
        make_train_step(data_mesh(4))(make_state(microbatch=3), make_batch())


def test_gradients_are_summed_by_all_reduce_and_nothing_is_gathered():
    for microbatch, depth in ((0, 1), (8, 0)):  # poolings and up-convolutions must not gather either
        network = NETWORK.clone(depth=depth)
        step, state = make_train_step(data_mesh(8)), make_state(network, microbatch=microbatch)
        batch = step.padded(state.plan, make_batch(n=16))
        program = step.jitted.lower(state, batch).compile().as_text()
        assert "all-reduce" in program
        assert "all-gather" not in program
        assert "all-to-all" not in program


def test_the_second_step_does_not_recompile():
    step, state = make_train_step(data_mesh(8)), make_state()
    state, _ = step(state, make_batch())
    compiled = step.jitted._cache_size()
    for index in range(2):
        state, _ = step(state, make_batch(seed=index))
    assert step.jitted._cache_size() == compiled


def test_the_state_is_donated():
    step = make_train_step(data_mesh(1))
    state, _ = step(make_state(), make_batch())
    following, _ = step(state, make_batch())
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(jax.tree.leaves(state.variables)[0])
    assert int(following.step) == 2


def test_pure_step_is_the_sharded_step():
    state, metrics = jax.jit(train_step)(make_state(), make_batch())
    sharded, sharded_metrics = make_train_step(data_mesh(8))(make_state(), make_batch())
    np.testing.assert_allclose(metrics["loss"], sharded_metrics["loss"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5),
        state.variables,
        sharded.variables,
    )


def test_padding_has_no_weight():
    batch = make_batch(n=5)
    padded = pad_batch(batch, 4)
    assert padded.label.shape == (8,)
    np.testing.assert_array_equal(padded.weight, [1, 1, 1, 1, 1, 0, 0, 0])
    _, plain = jax.jit(train_step)(make_state(), batch)
    _, with_padding = jax.jit(train_step)(make_state(), padded)
    np.testing.assert_allclose(plain["loss"], with_padding["loss"], rtol=1e-6)
    np.testing.assert_allclose(plain["gradient_norm"], with_padding["gradient_norm"], rtol=1e-5)


@pytest.mark.parametrize("error", ["absolute", "one_sided", "cross_entropy"])
@pytest.mark.parametrize("pooling", [pytest.param("image", marks=pytest.mark.slow), "tissue"])
def test_a_batch_of_background_gives_no_nan(error, pooling):
    state = make_state(objective=Objective(error=error, pooling=pooling))
    batch, step = make_batch(tissue_share=0.0), jax.jit(train_step)
    for _ in range(2):
        state, metrics = step(state, batch)
        assert np.isfinite(metrics["loss"])
        assert np.isfinite(metrics["gradient_norm"])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.variables))


@pytest.mark.parametrize(
    "error",
    ["absolute", *(pytest.param(each, marks=pytest.mark.slow) for each in ("one_sided", "cross_entropy"))],
)
def test_training_lowers_the_loss_of_a_separable_batch(error):
    batch = make_batch(n=6)
    lesion = jnp.zeros(batch.tissue.shape, bool).at[:, 4:10, 3:8].set(True) & (batch.label == 1).reshape(
        -1, 1, 1
    )
    batch = replace(batch, cube=batch.cube + 4.0 * lesion[..., None].astype(jnp.float32))
    optimiser = Optimiser(learning_rate=2e-3)
    objective = Objective(error=error, pooling="tissue")
    state = make_state(NETWORK.clone(depth=1), objective=objective, optimiser=optimiser)
    step = make_train_step(data_mesh(1))
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    pooled = make_evaluate_step(data_mesh(1))(state, batch)["pooled"]
    assert np.min(pooled[1::2]) > np.max(pooled[::2])


def test_the_norm_is_over_small_and_large_arrays():
    tree = {"large": jnp.full((2, SMALL_LEAF), 0.5), "small": jnp.ones((3, 2)), "number": jnp.float32(2)}
    np.testing.assert_allclose(norm_of_all(tree), np.sqrt(SMALL_LEAF / 2 + 6 + 4), rtol=1e-6)
    np.testing.assert_allclose(norm_of_all({"small": tree["small"]}), np.sqrt(6), rtol=1e-6)


def test_rmsprop_is_that_of_keras():
    """Two steps by hand: v ← .9v + .1g², x ← x − lr·g / (√v + 1e-7)."""
    gradient, x, v = np.float64(3e-5), np.float64(1.0), 0.0
    transform = make_optimiser(Optimiser(), 0)
    value = jnp.asarray(1.0)
    moments = transform.init(value)
    for _ in range(2):
        v = 0.9 * v + 0.1 * gradient**2
        x -= 1e-3 * gradient / (np.sqrt(v) + 1e-7)
        update, moments = transform.update(jnp.asarray(gradient, jnp.float32), moments)
        value = optax.apply_updates(value, update)
    np.testing.assert_allclose(value, x, rtol=1e-6)
    first, _ = make_optimiser(Optimiser(rmsprop="tf1"), 0).update(
        jnp.asarray(3e-5), make_optimiser(Optimiser(rmsprop="tf1"), 0).init(jnp.asarray(1.0))
    )
    np.testing.assert_allclose(first, -1e-3 * 3e-5 / np.sqrt(0.9 + 0.1 * 9e-10 + 1e-10), rtol=1e-5)


def test_cosine_schedule_needs_its_length():
    with pytest.raises(ValueError, match="n_steps"):
        make_state(optimiser=Optimiser(schedule="cosine"))


def test_augmentation_moves_image_and_masks_together():
    batch = make_batch(n=16)
    marked = replace(batch, reference=batch.cube[..., 0] > 0, image=batch.tissue)
    turned = augment_batch(marked, jax.random.key(0), "flips")
    np.testing.assert_array_equal(turned.reference, turned.cube[..., 0] > 0)
    np.testing.assert_array_equal(turned.image, turned.tissue)
    np.testing.assert_array_equal(turned.tissue, jnp.any(turned.cube != 0, axis=-1))
    changed = np.any(np.asarray(turned.cube != batch.cube), axis=(1, 2, 3))
    assert 0 < changed.sum() < 16
    np.testing.assert_allclose(jnp.sum(turned.cube, axis=(1, 2)), jnp.sum(batch.cube, axis=(1, 2)), atol=1e-4)


@pytest.mark.slow
def test_dihedral_turns_square_images():
    square = jax.tree.map(lambda leaf: leaf[:, :12] if leaf.ndim > 1 else leaf, make_batch(n=64))
    turned = augment_batch(square, jax.random.key(0), "dihedral")
    variants = {
        next(
            i
            for i, variant in enumerate(_dihedral(np.asarray(square.cube[n])))
            if np.array_equal(variant, np.asarray(turned.cube[n]))
        )
        for n in range(64)
    }
    assert len(variants) == 8


def _dihedral(image):
    for transposed in (image, image.swapaxes(0, 1)):
        for flipped in (transposed, transposed[::-1]):
            yield from (flipped, flipped[:, ::-1])


def test_supervised_objective_needs_masks():
    with pytest.raises(ValueError, match="needs masks"):
        train_step(make_state(objective=Objective(target="reference")), make_batch())
