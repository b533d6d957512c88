"""U-Net, SegNet and a user's own network behind the same signature."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax import SegNet, UNet
from compseg_jax.config import Network
from compseg_jax.networks import build
from compseg_jax.networks.build import (
    NetworkError,
    build_network,
    count_parameters,
    init_variables,
)
from compseg_jax.networks.layers import BilinearUpConvolution, UpConvolution, max_pool, softplus
from compseg_jax.networks.segnet import max_pool_with_indices, unpool

apply_network = jax.jit(build.apply_network, static_argnums=0)
apply_network_training = jax.jit(build.apply_network_training, static_argnums=0)


def noise(seed: int, *shape: int) -> jax.Array:
    """Drawn by numpy: jax compiles a program for each shape."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


class TinyNet(nn.Module):
    """A user's network: batch normalisation and dropout, its own width, nothing of this package."""

    maps: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Conv(self.maps, (1, 1))(nn.relu(x))


class WrongNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(3, (1, 1))(x)


@pytest.mark.parametrize(("maps", "parameters"), [(1, 31_289_217), (2, 31_289_282)])
def test_parameters_of_the_paper_network(maps, parameters):
    network = UNet(maps=maps)
    variables = jax.eval_shape(lambda key: network.init(key, jnp.zeros((1, 16, 16, 450))), jax.random.key(0))
    assert count_parameters(variables) == parameters


@pytest.mark.parametrize("network", [UNet(base=3, depth=2), SegNet(base=3, depth=2)])
@pytest.mark.parametrize(
    "size", [(13, 22), (1, 5), *(pytest.param(size, marks=pytest.mark.slow) for size in ((16, 24), (7, 9)))]
)
def test_any_height_and_width(network, size):
    variables = init_variables(network, jax.random.key(0), 5)
    cube = noise(1, 2, *size, 5)
    logits = apply_network(network, variables, cube)
    assert logits.shape == (2, *size, 1)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    "network",
    [
        UNet(base=3, depth=2),
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in (UNet(base=3, depth=2, way_up="bilinear"), SegNet(base=3, depth=2))
        ),
    ],
)
def test_far_pixels_see_nothing_of_the_border(network):
    """Inside the receptive field's margin a crop gives the same logits as the whole: nothing is padded in."""
    variables = init_variables(network, jax.random.key(0), 4)
    cube = noise(1, 1, 96, 88, 4)
    whole, part = (
        np.asarray(apply_network(network, variables, each))
        for each in (cube, np.asarray(cube)[:, 8:96, 4:88])
    )
    margin = 32
    np.testing.assert_allclose(
        whole[:, 8 + margin : 96 - margin, 4 + margin : 88 - margin],
        part[:, margin : 88 - margin, margin : 84 - margin],
        atol=2e-6,
    )


def test_odd_sizes_are_pooled_with_cells_of_their_own():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(np.squeeze(jax.jit(max_pool)(x)), [[6, 8, 9], [11, 13, 14]])
    pooled, indices = jax.jit(max_pool_with_indices)(x)
    np.testing.assert_array_equal(np.squeeze(pooled), [[6, 8, 9], [11, 13, 14]])
    back = jax.jit(unpool, static_argnums=(2, 3))(pooled, indices, 3, 5)
    np.testing.assert_array_equal(back, np.where(np.isin(x, pooled), x, 0))


def test_max_pool_and_its_gradient_against_the_reference_primitive():
    x = noise(0, 2, 6, 8, 3)

    def reference(x):
        return nn.max_pool(x, (2, 2), (2, 2))

    np.testing.assert_array_equal(max_pool(x), reference(x))
    weights = noise(1, 2, 3, 4, 3)
    gradients = [jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x) * weights)))(x) for f in (max_pool, reference)]
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_up_convolution_is_the_transposed_convolution():
    layer = UpConvolution(5)
    x = noise(0, 2, 3, 4, 6)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]

    @jax.jit
    def transposed(x, kernel):
        return jax.lax.conv_transpose(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    expected = transposed(x, kernel)
    found = jax.jit(layer.apply)(variables, x)
    assert found.shape == expected.shape
    # lax.conv_transpose does not flip the kernel, and with stride 2 every output sees one input pixel.
    flipped = transposed(x, kernel[::-1, ::-1])
    error = min(np.abs(found - expected).max(), np.abs(found - flipped).max())
    assert error < 1e-5


def test_the_bilinear_way_up_is_a_pointwise_convolution_of_the_enlarged_image():
    layer = BilinearUpConvolution(5)
    x = noise(0, 2, 3, 4, 6)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    bias = jnp.arange(5, dtype=jnp.float32)
    params = {**variables["params"], "bias": bias}
    enlarged = jax.image.resize(x, (2, 6, 8, 6), "bilinear", antialias=False)
    expected = jnp.einsum("byxc,ck->byxk", enlarged, params["kernel"][0, 0]) + bias.reshape(1, 1, 1, -1)
    found = jax.jit(layer.apply)({"params": params}, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("depth", [1, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (2, 3))])
def test_the_bilinear_way_up_cannot_comb_an_even_image(depth):
    """A cell's pixels differ with random weights of up-convolutions, and cannot with those of bilinear doubling."""
    cube = jnp.ones((1, 136, 136, 2))
    middle = slice(60, 76)
    for way_up, combed in (("transposed", True), ("bilinear", False)):
        network = UNet(base=2, depth=depth, way_up=way_up)
        logits = np.asarray(apply_network(network, init_variables(network, jax.random.key(0), 2), cube))
        spread = float(np.ptp(logits[:, middle, middle]))
        assert (spread > 1e-3) == combed, (way_up, spread)


@pytest.mark.parametrize(
    "kernel_init",
    [
        "glorot_uniform",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("glorot_normal", "he_normal", "lecun_normal")
        ),
    ],
)
def test_random_start_has_the_distributions_of_flax(kernel_init):
    network = UNet(base=8, depth=1, head_bias=-3.0, kernel_init=kernel_init)
    ours = init_variables(network, jax.random.key(0), 20)
    # This generator compiles several times faster than the default one; the distributions are the same.
    flax = jax.jit(network.init)(jax.random.key(1, impl="unsafe_rbg"), jnp.zeros((1, 16, 16, 20)))
    assert jax.tree.structure(ours) == jax.tree.structure(flax)

    def compare(path, a, b):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if path[-1].key == "kernel" and a.size > 500:
            a, b = np.asarray(a), np.asarray(b)
            np.testing.assert_allclose(np.std(a), np.std(b), rtol=0.1)
            np.testing.assert_allclose(np.abs(a).max(), np.abs(b).max(), rtol=0.05)
            assert not np.array_equal(a, b)
        elif path[-1].key != "kernel":
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))

    jax.tree_util.tree_map_with_path(compare, ours, flax)
    again = init_variables(network, jax.random.key(0), 20)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), ours, again)


@pytest.mark.parametrize(
    ("platform", "dtype", "is_kept"),
    [
        ("cuda", jnp.bfloat16, True),
        ("cuda", jnp.float32, False),
        ("cpu", jnp.bfloat16, True),
        ("cpu", jnp.float32, True),
    ],
)
def test_softplus_keeps_its_output_alone(platform, dtype, is_kept):
    """Behind a barrier: XLA would else keep for the backward pass the float32 that half precision was rounded from,
    and on CPUs what the output was computed from."""
    x = jnp.linspace(-9, 9, 37, dtype=dtype)
    program = jax.jit(jax.grad(lambda x: softplus(x).sum())).trace(x).lower(lowering_platforms=(platform,))
    assert ("optimization_barrier" in program.as_text()) == is_kept


def test_slope_of_softplus_in_half_precision():
    x = jnp.linspace(-9, 9, 37, dtype=jnp.bfloat16)
    slope = jax.vmap(jax.grad(softplus))(x)
    np.testing.assert_allclose(slope.astype(jnp.float32), jax.nn.sigmoid(x.astype(jnp.float32)), atol=4e-3)


def test_softplus_to_the_last_digits():
    x = np.linspace(-80, 80, 40_001).astype(np.float32)
    exact = np.logaddexp(0, x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(softplus)(x), exact, rtol=5e-7)


def test_softplus_and_its_gradient():
    x = np.array([-1e30, -100.0, -3.0, -1e-4, 0.0, 2.0, 60.0, 1e30], np.float32)
    np.testing.assert_allclose(jax.jit(softplus)(x), jax.nn.softplus(x), rtol=1e-6)
    slope = jax.jit(jax.vmap(jax.grad(softplus)))(x)
    np.testing.assert_allclose(slope, jax.nn.sigmoid(x), rtol=1e-5, atol=1e-30)


def test_two_maps_start_at_opposite_biases():
    network = UNet(base=2, depth=1, maps=2, head_bias=-3.0)
    bias = init_variables(network, jax.random.key(0), 3, maps=2)["params"]["head"]["Conv_0"]["bias"]
    np.testing.assert_array_equal(bias, [-3.0, 3.0])


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    network = build_network(Network(base=4, depth=1, compute_dtype="bfloat16"))
    plain = build_network(Network(base=4, depth=1))
    variables = init_variables(network, jax.random.key(0), 5)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    cube = noise(1, 1, 12, 12, 5)
    half, full = apply_network(network, variables, cube), apply_network(plain, variables, cube)
    assert half.dtype == jnp.float32
    assert not np.array_equal(half, full)
    np.testing.assert_allclose(half, full, atol=0.05)


def test_remat_changes_nothing_but_memory():
    plain, remat = (build_network(Network(base=4, depth=1, remat=flag)) for flag in (False, True))
    variables = init_variables(plain, jax.random.key(0), 5)
    cube = noise(1, 1, 12, 12, 5)

    def loss(params, network):
        return jnp.sum(apply_network(network, {"params": params}, cube) ** 2)

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    gradients = [gradient(variables["params"], network) for network in (plain, remat)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *gradients)


def test_a_users_own_network_with_batch_norm_and_dropout():
    network = build_network(Network(network="tests.test_networks:TinyNet"), maps=2)
    variables = init_variables(network, jax.random.key(0), 3, maps=2)
    cube = noise(1, 2, 8, 8, 3)
    logits, updated = apply_network_training(network, variables, cube, jax.random.key(2))
    assert logits.shape == (2, 8, 8, 2)
    before, after = (tree["batch_stats"]["BatchNorm_0"]["mean"] for tree in (variables, updated))
    assert not np.array_equal(before, after)


def test_cubes_are_rounded_only_for_networks_that_would_do_it_themselves():
    half = {"compute_dtype": "bfloat16"}
    assert build.input_dtype(Network(**half)) == jnp.bfloat16
    assert build.input_dtype(Network()) == jnp.float32
    assert build.input_dtype(Network(network="tests.test_networks:TinyNet", **half)) == jnp.float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vnet", "expected one of unet, segnet"),
        ("no_such_package:Net", "cannot be imported"),
        ("tests.test_networks:Missing", "cannot be imported"),
        ("math:sqrt", "a class derived from flax.linen.Module is needed"),
    ],
)
def test_networks_that_do_not_exist(name, message):
    with pytest.raises(NetworkError, match=message):
        build_network(Network(network=name))


def test_a_network_with_the_wrong_output_is_refused():
    network = build_network(Network(network="tests.test_networks:WrongNet"))
    with pytest.raises(NetworkError, match=r"logits of shape \(1, 16, 16, 1\) are required"):
        init_variables(network, jax.random.key(0), 3)
