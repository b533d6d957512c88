"""Images of any size on canvases of few: the same map as of the image alone, from a handful of programs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh
from test_tiling import CHANNELS, model_of, tiled

from compseg_jax import SegNet, UNet
from compseg_jax.config import Objective
from compseg_jax.model import Model
from compseg_jax.model.canvas import canvas_px, extent_of, on_canvas
from compseg_jax.model.extracted import masked_activation
from compseg_jax.model.importance import band_importance
from compseg_jax.networks import build
from compseg_jax.networks.extent import Extent, takes_extent
from compseg_jax.networks.layers import bilinear_doubled, max_pool
from compseg_jax.networks.receptive_field import receptive_field
from compseg_jax.networks.segnet import max_pool_with_indices
from compseg_jax.objective.pooling import POOLINGS
from compseg_jax.prediction.tiles import forward
from compseg_jax.prediction.tiles.plan import TURNS, TilePlan
from compseg_jax.readers.cube import Cube

apply_network = jax.jit(build.apply_network, static_argnums=0)
SMOOTH = partial(UNet, base=3, way_up="bilinear")
NETWORKS = {
    "pixel-wise": SMOOTH(depth=0),
    "default": SMOOTH(depth=1, front=2),
    "paper": UNet(base=3, depth=4),
    "group, gelu": SMOOTH(depth=2, normalisation="group", activation="gelu"),
    "batch, relu": UNet(base=3, depth=3, normalisation="batch", activation="relu", head_norm=True),
    "layer, elu": SMOOTH(depth=2, normalisation="layer", activation="elu", remat=True),
    "segnet": SegNet(base=3, depth=3),
    "attention": SMOOTH(depth=2, maps=2, attention_features=3, activation_map="attention"),
    "saliency": SMOOTH(depth=2, activation_map="saliency"),
}
LIKE_OTHERS = ("batch, relu", "layer, elu", "attention", "saliency", "paper", "group, gelu")
SIZES = ((13, 22), (26, 1))
CANVAS = (32, 48)
SPOTS = [(y, x) for y, x in zip(range(40, 120, 4), [*range(117, 77, -4), *range(45, 85, 4)], strict=True)]
"""Twenty sizes of images."""


class Foreign(nn.Module):
    """A user's network, which knows nothing of canvases."""

    maps: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.maps, (3, 3))(x)


def shaken(network, channels=CHANNELS):
    """A model none of whose biases, scales or running statistics are what they start at."""
    model = model_of(network, channels=channels)
    rng = np.random.default_rng(1)
    moved = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.1 * rng.normal(size=leaf.shape), jnp.float32), model.variables
    )
    return replace(model, variables=moved)


def image_of(size, channels=CHANNELS):
    """Noise with an empty corner, and its tissue."""
    cube = np.random.default_rng(size[0]).normal(2.0, 1.0, (*size, channels)).astype(np.float32)
    cube[: size[0] // 3, : size[1] // 4] = 0
    return cube, cube.any(axis=-1)


# --- layers and networks


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in NETWORKS]
)
def test_padding_changes_no_map(name):
    """Whatever a network is made of, and however its logits are read: rows and columns, odd and even, to one pixel."""
    model = shaken(NETWORKS[name])
    for size in SIZES:
        cube, tissue = image_of(size)
        alone = np.asarray(masked_activation(model.network, model.variables, cube[None], tissue[None]))[0]
        padded, mask = on_canvas(cube, CANVAS), on_canvas(tissue, CANVAS)
        extent = extent_of(size, CANVAS)
        on = np.asarray(masked_activation(model.network, model.variables, padded[None], mask[None], extent))[
            0
        ]
        assert on.shape == CANVAS
        np.testing.assert_allclose(on[: size[0], : size[1]], alone, atol=1e-5)
        assert not np.any(on[size[0] :])
        assert not np.any(on[:, size[1] :])
        assert np.ptp(alone) > 1e-3


@pytest.mark.slow
def test_images_of_a_batch_have_their_own_extents():
    model = shaken(NETWORKS["group, gelu"])
    images = [image_of(size)[0] for size in SIZES[:2]]
    batch = np.stack([on_canvas(image, CANVAS) for image in images])
    extent = Extent(*(jnp.array(lengths) for lengths in np.transpose(SIZES[:2]).astype(np.int32)))
    together = apply_network(model.network, model.variables, batch, extent)
    for found, image in zip(np.asarray(together), images, strict=True):
        alone = np.asarray(apply_network(model.network, model.variables, image[None]))[0]
        np.testing.assert_allclose(found[: image.shape[0], : image.shape[1]], alone, atol=1e-5)


def test_without_an_extent_the_padding_is_seen():
    """What the masks are for: the same canvas taken for the image gives another map, at the border of all networks."""
    for name in ("default", "segnet"):
        model = shaken(NETWORKS[name])
        cube, _ = image_of((13, 22))
        alone = np.asarray(apply_network(model.network, model.variables, cube[None]))[0]
        on = np.asarray(apply_network(model.network, model.variables, on_canvas(cube, CANVAS)[None]))
        seen = on[0, :13, :22]
        assert np.abs(seen - alone).max() > 1e-3


def test_layers_see_an_image_end_as_they_see_a_canvas_end():
    image = np.array([[1.0, -2.0, -3.0], [-4.0, -5.0, 6.0], [-7.0, -8.0, -9.0]], np.float32)[None, :, :, None]
    extent = Extent(jnp.array([3], jnp.int32), jnp.array([3], jnp.int32))
    canvas = np.full((1, 6, 5, 1), 9.0, np.float32)
    canvas[:, :3, :3] = image
    for pool in (jax.jit(max_pool), jax.jit(lambda *of: max_pool_with_indices(*of)[0])):
        pooled = np.asarray(pool(canvas, extent))
        np.testing.assert_array_equal(pooled[:, :2, :2], pool(image))
        assert np.abs(pooled[:, 2:]).max() == 0
    doubled = jax.jit(bilinear_doubled, static_argnums=1)
    np.testing.assert_array_equal(np.asarray(doubled(canvas, 1, extent.rows))[:, :6, :3], doubled(image, 1))


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_pools_to_the_same(name):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(2, 13, 22, 2)).astype(np.float32)
    tissue = rng.uniform(size=(2, 13, 22)) < 0.7
    padded = np.full((2, *CANVAS, 2), 50.0, np.float32)
    padded[:, :13, :22] = logits
    mask = np.zeros((2, *CANVAS), bool)
    mask[:, :13, :22] = tissue
    pool = jax.jit(lambda logits, mask: POOLINGS[name](logits, mask, Objective()))
    np.testing.assert_allclose(pool(logits, tissue), pool(padded, mask), rtol=1e-5)


# --- the few sizes


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_canvases_hold_images_and_waste_little(height, width):
    canvas = canvas_px((height, width), UNet())
    assert canvas == canvas_px(canvas, UNet())
    assert canvas == canvas_px((width, height), UNet())[::-1]
    assert canvas[0] >= height
    assert canvas[1] >= width
    pixels, longer = canvas[0] * canvas[1], max(height, width)
    assert canvas == (height, width) or pixels <= 512 * 512
    assert max(canvas) < longer + 32 or max(canvas) < 1.25 * longer
    assert min(canvas) <= max(2 * min(height, width), 255)


def test_there_are_few_canvases():
    small = {canvas_px((y, x), UNet()) for y in range(1, 257, 3) for x in range(1, 257, 3)}
    assert len(small) == 10
    assert {(64, 64), (128, 128), (256, 256)} < small
    assert len({canvas_px((y, x), UNet()) for y in range(1, 513, 7) for x in range(1, 513, 7)}) <= 24


def test_a_network_of_the_users_own_sees_images_as_they_are():
    assert not takes_extent(Foreign())
    model = model_of(Foreign())
    cube, tissue = image_of((13, 22))
    found = Model.of(model)(cube, prepared=True)
    scaled = np.where(tissue[..., None], (cube - model.scaling.mean) / model.scaling.sd, 0)
    logits = model.network.apply(model.variables, scaled[None].astype(np.float32))[0, ..., 0]
    np.testing.assert_allclose(found, np.where(tissue, jax.nn.sigmoid(logits), 0), atol=1e-6)
    np.testing.assert_array_equal(found, tiled([model], cube, TilePlan((13, 22), (13, 22))).activation)


# --- programs


def test_twenty_sizes_take_a_handful_of_programs():
    """Two networks, each with its own programs; maps are those of each image alone, tissue and spectra untouched."""
    networks = model_of(SMOOTH(depth=1), seed=1), model_of(SMOOTH(depth=1), seed=2)
    model = Model.of(*networks)
    before = masked_activation._cache_size()
    found = {size: model.predict(image_of(size)[0], prepared=True) for size in SPOTS}
    programs = masked_activation._cache_size() - before
    assert programs <= 4
    assert programs == len({canvas_px(size, networks[0].network) for size in SPOTS})
    for size in SPOTS[:: len(SPOTS) - 1]:
        cube, tissue = image_of(size)
        alone = [each.activation_of_prepared(jnp.asarray(cube), jnp.asarray(tissue)) for each in networks]
        np.testing.assert_allclose(found[size].activations, alone, atol=1e-5)
        np.testing.assert_array_equal(found[size].tissue, tissue)
        np.testing.assert_array_equal(found[size].absorbance, cube)


def test_tiles_take_the_same_few_programs():
    """Whole images as tiles, as `compseg predict` has them, equal the model's maps bit for bit; turned ones share."""
    model = model_of(SMOOTH(depth=1), seed=3)
    field = receptive_field(model.network)
    before = forward.program_of.cache_info().currsize
    for size in SPOTS[::3]:
        cube, _ = image_of(size)
        np.testing.assert_array_equal(
            tiled([model], cube, TilePlan(size, size, field)).activation, Model.of(model)(cube, prepared=True)
        )
        tiled([model], cube, TilePlan(size, size, field, TURNS["dihedral"]))
    assert forward.program_of.cache_info().currsize - before <= 4


def test_several_devices_share_the_canvas():
    model = model_of(SMOOTH(depth=1), seed=4)
    cube, _ = image_of((45, 70))
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    found = tiled([model], cube, TilePlan((45, 70), (45, 70)), mesh).activation
    np.testing.assert_allclose(found, Model.of(model)(cube, prepared=True), atol=1e-6)


@pytest.mark.slow
def test_importance_of_bands_is_that_of_the_image_alone():
    model = Model.of(shaken(SMOOTH(depth=1))).with_threshold(0.0)
    own, (cube, tissue) = model.networks[0], image_of((20, 30))
    found = band_importance(model, [Cube(cube, None)])

    def mean_logit(x):
        logits = apply_network(own.network, own.variables, x[None])[0, ..., 0]
        return jnp.mean(logits, where=jnp.asarray(tissue))

    scaled = np.where(tissue[..., None], (cube - own.scaling.mean) / own.scaling.sd, 0).astype(np.float32)
    expected = (jax.jit(jax.grad(mean_logit))(scaled) * scaled).sum(axis=(0, 1))
    np.testing.assert_allclose(found.gradient, expected, atol=1e-5)
