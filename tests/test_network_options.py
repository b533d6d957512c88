"""Normalisation, dropout, gated heads and spectral fronts of the networks."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax import Batch, Objective, SegNet, UNet, init_train_state, make_train_step
from compseg_jax.config import Network
from compseg_jax.networks import build
from compseg_jax.networks.build import NetworkError, build_network, init_variables
from compseg_jax.networks.front import fold_front, front_from_principal_components
from compseg_jax.networks.layers import ConvBlock, Head
from compseg_jax.networks.normalisation import BATCH_MOMENTUM, EPSILON, Normalisation
from compseg_jax.runtime import data_mesh

CHANNELS = 11
apply_network = jax.jit(build.apply_network, static_argnums=0)
apply_network_training = jax.jit(build.apply_network_training, static_argnums=0)


def cubes(n=3, size=(8, 6), channels=CHANNELS, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(1.0, 2.0, (n, *size, channels)), jnp.float32)


def started(layer, x, *arguments, **more):
    """A layer's first variables and what it makes of an image with them, by one program."""

    @jax.jit
    def both(key, x):
        variables = layer.init(key, x)
        return variables, layer.apply(variables, x, *arguments, **more)

    return both(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("kind", "axes", "groups"), [("batch", (0, 1, 2), 12), ("group", (1, 2, 4), 4), ("layer", (4,), 1)]
)
def test_normalisation_against_numpy(kind, axes, groups):
    x = cubes(channels=12)
    layer = Normalisation(kind)
    found, _ = started(layer, x, True, mutable=["batch_stats"])[1]
    grouped = np.asarray(x, np.float64).reshape(*x.shape[:3], groups, -1)
    mean, variance = (f(grouped, axis=axes, keepdims=True) for f in (np.mean, np.var))
    expected = ((grouped - mean) / np.sqrt(variance + EPSILON)).reshape(x.shape)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_predictions_use_the_running_statistics_of_training():
    network = UNet(base=4, depth=1, normalisation="batch", activation="relu")
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    x = cubes()
    _, others = apply_network_training(network, variables, x, jax.random.key(1))
    first = others["batch_stats"]["down_0"]["Normalisation_0"]["batch_norm"]
    convolved = jax.jit(ConvBlock(4, 1).apply)(
        {"params": {"Conv_0": variables["params"]["down_0"]["Conv_0"]}}, x
    )
    # SoftPlus undone: the block without normalisation is what the statistics are of.
    before = np.log(np.expm1(np.asarray(convolved, np.float64)))
    np.testing.assert_allclose(first["mean"], (1 - BATCH_MOMENTUM) * before.mean(axis=(0, 1, 2)), atol=2e-4)
    alone = apply_network(network, {**variables, **others}, x[:1])
    together = apply_network(network, {**variables, **others}, x)
    np.testing.assert_allclose(alone, np.asarray(together)[:1], atol=1e-5)


def batch_of(n):
    cube = cubes(n)
    label = jnp.asarray(np.arange(n) % 2, jnp.int32)
    return Batch(cube=cube, tissue=jnp.ones(cube.shape[:3], bool), label=label, weight=jnp.ones(n))


def test_statistics_are_those_of_the_whole_batch_on_any_number_of_devices():
    network = UNet(base=4, depth=0, normalisation="batch", head_norm=True, activation="relu")
    results = []
    for n_devices in (1, 4):
        state = init_train_state(jax.random.key(0), network, CHANNELS, objective=Objective(error="one_sided"))
        step = make_train_step(data_mesh(n_devices))
        for _ in range(2):
            state, metrics = step(state, batch_of(8))
        results.append(jax.device_get((state.variables["batch_stats"], metrics["loss"])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), *results)


@pytest.mark.parametrize(("cls", "acts"), [(UNet, True), (SegNet, False)])
def test_dropout_acts_in_training_from_the_second_level_on(cls, acts):
    """At depth 1 the second level of a U-Net is its bottleneck; a SegNet has none."""
    network, x = cls(base=4, depth=1, dropout=0.5), cubes()
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    keys = (jax.random.key(1), jax.random.key(2))
    first, second = (apply_network_training(network, variables, x, key)[0] for key in keys)
    assert np.array_equal(first, second) != acts
    plain = network.clone(dropout=0.0)
    np.testing.assert_array_equal(apply_network(network, variables, x), apply_network(plain, variables, x))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [UNet, SegNet])
def test_every_option_together_trains_under_remat_as_without(cls):
    options = {"normalisation": "batch", "dropout": 0.3, "head_norm": True, "front": 5, "maps": 2}
    network = cls(base=4, depth=1, attention_features=3, **options)
    variables = init_variables(network, jax.random.key(0), CHANNELS, maps=2)

    def loss(params, network):
        others = {"batch_stats": variables["batch_stats"]}
        logits, updated = apply_network_training(
            network, {"params": params, **others}, cubes(), jax.random.key(1)
        )
        return jnp.mean(logits**2), updated

    results = []
    for module in (network, network.clone(remat=True)):
        value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
        results.append(value_and_grad(variables["params"], module))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *results)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(results[0][1]["front"]))


def test_normalised_logits_start_at_the_bias_with_standard_deviation_one():
    head = Head(maps=2, bias=-3.0, norm=True)
    x = cubes(channels=9)
    logits, _ = started(head, x, True, mutable=["batch_stats"])[1]
    np.testing.assert_allclose(np.mean(logits, axis=(0, 1, 2)), [-3.0, 3.0], atol=1e-4)
    np.testing.assert_allclose(np.std(logits, axis=(0, 1, 2)), [1.0, 1.0], atol=1e-3)


def test_gated_attention_against_its_equation():
    head = Head(maps=2, attention_features=4)
    x = cubes(channels=9)
    variables, found = started(head, x)
    weights = {
        name: np.asarray(leaf["kernel"], np.float64)[0, 0] for name, leaf in variables["params"].items()
    }
    h = np.asarray(x, np.float64)
    gate = 1 / (1 + np.exp(-h @ weights["attention_gate"]))
    attention = (np.tanh(h @ weights["attention_content"]) * gate) @ weights["attention"]
    expected = np.concatenate([h @ weights["Conv_0"], attention], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        UNet(base=4, depth=0, front=3),
        pytest.param(
            UNet(base=4, depth=1, front=3), marks=pytest.mark.slow
        ),  # its first layer is that of depth 0
        SegNet(base=4, depth=1, front=6, normalisation="batch"),
    ],
)
def test_a_folded_front_gives_the_same_logits(network):
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    x = cubes(size=(7, 9))
    folded = fold_front(variables)
    plain = network.clone(front=0)
    shapes = jax.tree.map(jnp.shape, init_variables(plain, jax.random.key(0), CHANNELS))
    assert jax.tree.map(jnp.shape, folded) == shapes
    np.testing.assert_allclose(
        apply_network(plain, folded, x), apply_network(network, variables, x), atol=1e-5
    )
    with pytest.raises(NetworkError, match="no 'front'"):
        fold_front(folded)


def test_padded_channels_change_nothing_with_a_front():
    network = UNet(base=4, depth=0, front=3, channels=CHANNELS)
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    x = cubes()
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 5)))
    np.testing.assert_allclose(
        apply_network(network, variables, padded), apply_network(network, variables, x), atol=1e-6
    )


def test_a_front_from_principal_components_gives_uncorrelated_features_of_variance_one():
    rng = np.random.default_rng(0)
    spectra = rng.normal(size=(400, 3)) @ rng.normal(size=(3, CHANNELS)) + 0.01 * rng.normal(
        size=(400, CHANNELS)
    )
    network = UNet(base=4, depth=0, front=3)
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    started = front_from_principal_components(variables, jnp.asarray(spectra, jnp.float32))
    kernel = np.asarray(started["params"]["front"]["kernel"])[0, 0]
    np.testing.assert_allclose(np.cov((spectra @ kernel).T, bias=True), np.eye(3), atol=2e-3)
    _, values, directions = np.linalg.svd(spectra - spectra.mean(axis=0), full_matrices=False)
    expected = np.abs(directions[:3].T / (values[:3] / np.sqrt(400)))
    np.testing.assert_allclose(np.abs(kernel), expected, rtol=0.02, atol=2e-3)
    with pytest.raises(NetworkError, match="one of 4 channels is needed"):
        front_from_principal_components(variables, jnp.ones((9, 4)))


def test_options_reach_the_network_and_nonsense_is_refused():
    config = Network(base=4, depth=1, normalisation="group", dropout=0.1, head_norm=True, front=6)
    network = build_network(replace(config, attention_features=8, activation_map="attention"), maps=2)
    assert (network.normalisation, network.dropout, network.head_norm, network.front) == (
        "group",
        0.1,
        True,
        6,
    )
    assert (network.attention_features, network.activation_map) == (8, "attention")
    for values in ({"dropout": 1.0}, {"front": -1}):
        with pytest.raises(ValueError, match=next(iter(values))):
            Network(**values)
