"""A start with normalised features: what it promises, for which networks, and when a run takes it."""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.config import Network
from compseg_jax.networks import build, normalised_start
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.networks.layers import ConvBlock, UpConvolution
from compseg_jax.networks.normalised_start import with_normalised_features

apply_network = jax.jit(build.apply_network, static_argnums=0)
feature_statistics = jax.jit(normalised_start.feature_statistics, static_argnums=0)

NETWORKS = {
    "depth 1": Network(base=4, depth=1),
    "depth 0": Network(base=4, depth=0),
    "depth 2, relu": Network(base=4, depth=2, activation="relu"),
    "segnet": Network(network="segnet", base=4, depth=2),
    "recomputed": Network(base=4, depth=1, remat=True),
    "bilinear way up": Network(base=4, depth=2, way_up="bilinear"),
    "behind a front": Network(base=4, depth=1, front=2),
}
LIKE_OTHERS = ("behind a front", "depth 1", "depth 2, relu", "recomputed", "segnet")
"""Made of the blocks of the others."""
CHANNELS = 6


def cubes(seed: int, size: int = 20) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0.5, 1.0, (5, size, size, CHANNELS)), jnp.float32)


def start(config: Network):
    network = build_network(config)
    return network, init_variables(network, jax.random.key(3), CHANNELS)


def block_outputs(network: nn.Module, variables, cube):
    """What every block of hidden layers hands on, by flax's own bookkeeping."""

    def kept(module: nn.Module, method: str) -> bool:
        return method == "__call__" and isinstance(module, ConvBlock | UpConvolution)

    apply = jax.jit(partial(network.apply, capture_intermediates=kept, mutable=["intermediates"]))
    _, state = apply(variables, cube)
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in NETWORKS],
)
def test_every_hidden_convolution_has_mean_0_and_variance_1_over_the_batch(name):
    network, variables = start(NETWORKS[name])
    cube = cubes(0)
    found = with_normalised_features(variables, [feature_statistics(network, variables, cube)])
    again = feature_statistics(network, found, cube)
    kernels = [path for path, _ in jax.tree.leaves_with_path(found["params"]) if "kernel" in str(path[-1])]
    untouched = 1 + bool(NETWORKS[name].front)
    assert len(again) == len(kernels) - untouched, "all but the head, and the front"
    for path, (mean, variance) in again.items():
        np.testing.assert_allclose(mean, 0, atol=2e-4, err_msg=str(path))
        np.testing.assert_allclose(variance, 1, atol=2e-3, err_msg=str(path))


def test_the_network_itself_is_what_was_measured():
    """Up-convolutions have no activation behind them: their output must be normal without any interceptor."""
    network, variables = start(NETWORKS["depth 2, relu"])
    cube = cubes(1)
    found = with_normalised_features(variables, [feature_statistics(network, variables, cube)])
    outputs = block_outputs(network, found, cube)
    ups = [value for name, value in outputs.items() if "up_" in name]
    assert len(ups) == 2
    for value in ups:
        np.testing.assert_allclose(np.mean(value, axis=(0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(np.var(value, axis=(0, 1, 2)), 1, atol=5e-3)


@pytest.mark.slow
def test_softplus_lets_a_signal_through_to_the_head():
    network, variables = start(Network(base=8, depth=2))
    one, other = cubes(0), cubes(1)

    def difference(variables) -> float:
        logits = [apply_network(network, variables, cube) for cube in (one, other)]
        return float(np.std(np.subtract(*logits)))

    found = with_normalised_features(variables, [feature_statistics(network, variables, one)])
    assert difference(found) > 5 * difference(variables)


def test_several_batches_are_averaged():
    network, variables = start(NETWORKS["depth 1"])
    parts = [feature_statistics(network, variables, cubes(seed)) for seed in (2, 3)]
    found = with_normalised_features(variables, parts)
    first = ("down_0", "Conv_0")
    both = feature_statistics(network, found, np.concatenate([cubes(2), cubes(3)]))
    np.testing.assert_allclose(both[first][0], 0, atol=1e-4)
    np.testing.assert_allclose(both[first][1], 1, atol=2e-3)


def test_features_that_never_change_stay_finite():
    network, variables = start(NETWORKS["depth 1"])
    nothing = jnp.zeros((2, 8, 8, CHANNELS))
    found = with_normalised_features(variables, [feature_statistics(network, variables, nothing)])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
def test_it_compiles_and_computes_in_bfloat16_with_float32_parameters():
    config = dataclasses.replace(NETWORKS["depth 1"], compute_dtype="bfloat16")
    network, variables = start(config)
    statistics = jax.jit(lambda v, x: feature_statistics(network, v, x))(
        variables, cubes(0).astype(jnp.bfloat16)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(statistics)} == {jnp.dtype("float32")}
    found = with_normalised_features(variables, [statistics])
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}


class Other(nn.Module):
    """A network of somebody's own."""

    @nn.compact
    def __call__(self, x):
        return nn.Conv(1, (3, 3))(nn.relu(nn.Conv(4, (3, 3))(x)))


def test_other_layers_are_left_alone():
    network = Other()
    variables = network.init(jax.random.key(0), cubes(0))
    assert feature_statistics(network, variables, cubes(0)) == {}
    found = with_normalised_features(variables, [{}])
    jax.tree.map(np.testing.assert_array_equal, found, variables)
