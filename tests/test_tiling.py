"""Tiles of an image: every pixel once, the same map as of the whole image, wherever the tiles lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh

from compseg_jax.model import ExtractedNetwork, Model, ModelError
from compseg_jax.model.adaptation import adapted
from compseg_jax.model.specimen import Specimen
from compseg_jax.networks.build import init_variables
from compseg_jax.networks.part import Part
from compseg_jax.networks.receptive_field import ReceptiveField, receptive_field, why_not_local
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.unet import UNet
from compseg_jax.prediction.tiles.plan import TURNS, TilePlan, plan_tiles
from compseg_jax.prediction.tiles.slide import Slide
from compseg_jax.prediction.tiles.tile_memory import BUFFERS, buffers_for, plan_for
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import CubeScan
from compseg_jax.runtime import data_mesh
from compseg_jax.spectra.preparation import Image as SpectralImage
from compseg_jax.spectra.preparation import Preparation, axis_of_steps, fit_preparation, parse_steps
from compseg_jax.spectra.scaling import Scaling

CHANNELS = 3
GIB = 2**30


@dataclass
class MemorySink:
    """Maps in memory, and how often each pixel was written."""

    shape: tuple[int, int]
    activation: np.ndarray = field(init=False)
    tissue: np.ndarray = field(init=False)
    written: np.ndarray = field(init=False)

    def __post_init__(self):
        self.activation = np.full(self.shape, np.nan, np.float32)
        self.tissue = np.zeros(self.shape, bool)
        self.written = np.zeros(self.shape, int)

    def write(self, tile, activation, tissue):
        at = tile.y.core, tile.x.core
        self.activation[at], self.tissue[at] = activation, tissue
        self.written[at] += 1


def one_device() -> Mesh:
    return data_mesh(1)


def model_of(network, *, channels=CHANNELS, axis=None, seed=0, **description) -> ExtractedNetwork:
    rng = np.random.default_rng(seed)
    scaling = Scaling(rng.normal(size=channels).astype(np.float32), np.full(channels, 1.5, np.float32))
    variables = init_variables(network, jax.random.key(seed), channels, network.maps)
    return ExtractedNetwork(network, variables, scaling, axis, 0.5, "zero", description)


def after(model, preparation: Preparation | None) -> ExtractedNetwork:
    """A network whose training images went through a preparation."""
    return (
        model if preparation is None else replace(model, description={"preparation": preparation.to_json()})
    )


def whole_map(model, cube, tissue=None):
    """The map of a prepared cube in one piece."""
    return Model.of(model)(cube, tissue=tissue, prepared=True)


def cube_of(height, width, *, channels=CHANNELS, seed=0) -> np.ndarray:
    """Noise with an empty corner and an empty stripe."""
    cube = np.random.default_rng(seed).normal(2.0, 1.0, (height, width, channels)).astype(np.float32)
    cube[: height // 3, : width // 4] = 0
    cube[:, width // 2] = 0
    return cube


def tiled(models, cube, plan, mesh=None, axis=None, steps=None) -> MemorySink:
    specimen = Specimen(CubeScan(Cube(cube, axis)), "zero")
    members = adapted([*map(after, models, steps or [None] * len(models))], specimen)
    sink = MemorySink(cube.shape[:2])
    slide = Slide.of(members, specimen, plan, mesh or one_device(), memory_bytes=GIB)
    assert slide.predict(sink)
    assert (sink.written == 1).all()
    return sink


# --- the reach of a network


def positive(network, channels=1):
    """Variables that let every change through: positive kernels."""
    variables = init_variables(network, jax.random.key(0), channels)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.2) if leaf.ndim > 1 else leaf, variables)


SMOOTH = partial(UNet, way_up="bilinear")


@pytest.mark.parametrize("cls", [UNet, SMOOTH, SegNet])
@pytest.mark.parametrize("depth", [0, 1, *(pytest.param(each, marks=pytest.mark.slow) for each in (2, 3))])
def test_the_reach_is_exact(cls, depth):
    """Nothing outside it moves an output; the pixels at its ends do, in every place among the poolings' cells."""
    network = cls(base=1, depth=depth, activation="relu", convolution="plain")
    variables = positive(network)
    reach = receptive_field(network)
    assert reach is not None
    length, multiple = 16 * reach.multiple * (1 + depth), reach.multiple

    @jax.jit
    def influence(image):
        """Outputs of a row that a change of each pixel alone moves: (pixel, output)."""
        plain = network.apply(variables, image[None, None, :, None])[0, 0, :, 0]
        bumps = image[None] + 300.0 * jnp.eye(length)  # far pixels count little: 3.0 is lost in rounding
        return jnp.abs(network.apply(variables, bumps[:, None, :, None])[:, 0, :, 0] - plain[None]) > 0

    # A pixel takes part in a maximum only where no neighbour is larger, so different images show different reach.
    rng = np.random.default_rng(0)
    images = [np.ones(length), *rng.uniform(0.5, 1.5, (6, length))]
    moved = np.any([np.asarray(influence(jnp.asarray(image, jnp.float32))) for image in images], axis=0)
    middle = length // 2 // multiple * multiple
    for output in range(middle, middle + multiple):
        first, last = reach.needed(output, output)
        found = np.flatnonzero(moved[:, output])
        assert first <= found.min()
        assert found.max() <= last
        # A SegNet's value comes back only at the place of its maximum: few images show its whole reach.
        slack = multiple // 2 if cls is SegNet else 0
        assert found.min() - first <= slack
        assert last - found.max() <= slack


def test_margins_of_the_usual_networks():
    assert [receptive_field(UNet(depth=depth, smoothing_px=2.0)).margin for depth in range(3)] == [8, 14, 26]
    assert [receptive_field(UNet(depth=depth)).margin for depth in range(5)] == [2, 8, 22, 46, 94]
    assert [receptive_field(SMOOTH(depth=depth)).margin for depth in range(5)] == [2, 10, 26, 54, 110]
    assert [receptive_field(SegNet(depth=depth)).margin for depth in range(5)] == [0, 4, 14, 42, 90]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (UNet(normalisation="group"), "group normalisation"),
        (UNet(activation_map="saliency"), "gradient"),
        (SegNet(activation_map="attention"), "attention"),
    ],
)
def test_networks_that_see_the_whole_are_known(network, reason):
    assert receptive_field(network) is None
    assert reason in why_not_local(network)
    specimen = Specimen(CubeScan(Cube(np.ones((600, 600, CHANNELS), np.float32))), "zero")
    members = adapted([model_of(network.clone(base=2, depth=0, maps=2))], specimen)
    with pytest.raises(ModelError, match=f"must see an image whole .*{reason}.*Raise --memory-gib"):
        plan_for(members, specimen, one_device(), TURNS["none"], memory_bytes=2**20)
    assert plan_for(members, specimen, one_device(), TURNS["none"], memory_bytes=GIB).is_whole


# --- plans

fields = st.sampled_from(
    [receptive_field(cls(depth=depth)) for cls in (UNet, SMOOTH, SegNet) for depth in range(5)]
)


@given(fields, st.integers(1, 900), st.integers(1, 700), st.integers(1, 40), st.integers(1, 40), st.data())
@settings(max_examples=3 * settings().max_examples)
def test_stitching_is_the_identity(reach, height, width, rows, columns, data):
    """Each pixel is written by one tile, from where it lies in the image, whatever the sizes and turns."""
    up = -(-reach.margin // reach.multiple) * reach.multiple
    size = tuple(2 * up + n * reach.multiple for n in (rows, columns))
    turns = TURNS[data.draw(st.sampled_from(sorted(TURNS)))]
    plan = TilePlan((height, width), size, reach, turns)
    assume(len(plan.tiles) < 400)
    image = np.arange(height * width).reshape(height, width)
    stitched = np.full(image.shape, -1)
    written = np.zeros(image.shape, int)
    for tile in plan.tiles:
        window = image[tile.y.window, tile.x.window]
        stitched[tile.y.core, tile.x.core] = window[tile.y.inner, tile.x.inner]
        written[tile.y.core, tile.x.core] += 1
        for span, length in ((tile.y, height), (tile.x, width)):
            assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        for view in plan.views(tile):
            shown = view.turn.apply(window[view.y, view.x])
            core = view.turn.undo(shown)[view.inner_y, view.inner_x]
            np.testing.assert_array_equal(core, image[tile.y.core, tile.x.core])
    np.testing.assert_array_equal(stitched, image)
    assert (written == 1).all()


@given(fields, st.integers(1, 500), st.integers(1, 20), st.booleans())
def test_every_pixel_that_reaches_a_core_lies_in_its_tile(reach, length, n, flipped):
    up = -(-reach.margin // reach.multiple) * reach.multiple
    turns = TURNS["flips"] if flipped else TURNS["none"]
    plan = TilePlan((length, 1), (2 * up + n * reach.multiple, 1), reach, turns)
    for tile in plan.tiles:
        for view in plan.views(tile):
            start, stop = view.y.start + tile.y.start, view.y.stop + tile.y.start
            first, last = tile.y.core.start, tile.y.core.stop
            if view.turn.upside_down:
                start, stop, first, last = length - stop, length - start, length - last, length - first
            low, high = reach.needed(first, last - 1)
            assert start <= max(low, 0)
            assert stop >= min(high + 1, length)
            assert start % reach.multiple == 0
            assert stop % reach.multiple == 0 or stop == length


@pytest.mark.slow
@given(fields, st.integers(1, 6000), st.integers(1, 6000), st.floats(2e5, 4e6), st.sampled_from([1, 2, 8]))
@settings(max_examples=settings().max_examples // 2)
def test_a_plan_keeps_within_its_pixels(reach, height, width, most_px, at_once):
    plan = plan_tiles((height, width), reach, most_px, at_once=at_once)
    if plan is None:
        assert min(height, 2 * reach.margin) * min(width, 2 * reach.margin) > 0.5 * most_px
        return
    assert max(a * b for a, b in (tile.shape for tile in plan.tiles)) <= most_px
    assert plan.overlap >= 1


def test_a_size_without_a_core_is_refused():
    with pytest.raises(ValueError, match="a multiple of 4 above 48"):
        _ = TilePlan((100, 100), (48, 48), receptive_field(UNet(depth=2))).tiles


# --- tiled = whole

SIZES = [
    (1, (37, 50), (22, 18)),
    (2, (101, 83), (60, 52)),
    (3, (130, 141), (104, 112)),
    (4, (223, 250), (208, 224)),
]


@pytest.mark.parametrize(
    ("cls", "depth", "shape", "size"),
    [
        (UNet, 2, (101, 50), (60, 52)),  # a column of tiles: few shapes to compile
        (SegNet, *SIZES[0]),
        (partial(UNet, smoothing_px=2.0), 0, (40, 50), (31, 33)),
        *(
            pytest.param(cls, *each, marks=pytest.mark.slow)
            for cls, sizes in ((UNet, SIZES), (SegNet, SIZES[1:]))
            for each in sizes
        ),
    ],
)
def test_tiled_is_whole(cls, depth, shape, size):
    model = model_of(cls(base=2, depth=depth, normalisation="batch"))
    cube = cube_of(*shape)
    plan = TilePlan(shape, size, receptive_field(model.network))
    assert len(plan.tiles) >= 4
    sink = tiled([model], cube, plan)
    np.testing.assert_array_equal(sink.tissue, cube.any(axis=-1))
    assert np.ptp(sink.activation[sink.tissue]) > 0.01
    # A SegNet puts values where maxima were, and rounding may choose another of two pixels that are nearly equal.
    tolerance = 3e-5 if cls is SegNet else 1e-5
    np.testing.assert_allclose(sink.activation, whole_map(model, cube), atol=tolerance, rtol=0)


@pytest.mark.slow
@given(st.integers(20, 70), st.integers(20, 70), st.integers(9, 20), st.integers(9, 20))
@settings(max_examples=settings().max_examples // 10)
def test_tiled_is_whole_at_any_size(height, width, rows, columns):
    model = model_of(UNet(base=2, depth=1))
    cube = cube_of(height, width)
    plan = TilePlan((height, width), (2 * rows, 2 * columns), receptive_field(model.network))
    sink = tiled([model], cube, plan)
    np.testing.assert_allclose(sink.activation, whole_map(model, cube), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("average_over", "shape", "size"),
    [
        ("flips", (21, 41), (26, 26)),  # a row of tiles; two directions of them make many shapes to compile
        pytest.param("dihedral", (21, 41), (26, 26), marks=pytest.mark.slow),
        pytest.param("dihedral", (35, 41), (24, 24), marks=pytest.mark.slow),
        pytest.param("flips", (35, 41), (24, 24), marks=pytest.mark.slow),
    ],
)
def test_averages_over_turns_are_those_of_the_whole_image(average_over, shape, size):
    """Of odd sizes, where the cells of the poolings of a flipped image lie elsewhere."""
    model = model_of(UNet(base=2, depth=1))
    cube = cube_of(*shape)
    turns = TURNS[average_over]
    sink = tiled([model], cube, TilePlan(shape, size, receptive_field(model.network), turns))
    wanted = np.mean([turn.undo(whole_map(model, turn.apply(cube))) for turn in turns], axis=0)
    np.testing.assert_allclose(sink.activation, wanted, atol=1e-5, rtol=0)
    assert np.abs(wanted - whole_map(model, cube)).max() > 1e-3


@pytest.mark.parametrize("n_devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_buffer_filled_by_all_processors_gives_the_same(monkeypatch, n_devices):
    monkeypatch.setattr("compseg_jax.model.specimen.CACHE_BYTES", 4096)
    model = model_of(UNet(base=2, depth=1))
    cube = cube_of(95, 40)
    plan = TilePlan(cube.shape[:2], (64, 24), receptive_field(model.network))
    specimen = Specimen(CubeScan(Cube(cube)), "zero")
    mesh = data_mesh(n_devices)
    slide = Slide.of(adapted([model], specimen), specimen, plan, mesh, memory_bytes=GIB)
    sink = MemorySink(cube.shape[:2])
    assert replace(slide, buffers=1).predict(sink)
    np.testing.assert_allclose(sink.activation, whole_map(model, cube), atol=1e-5, rtol=0)


def test_memory_decides_on_size_and_number_of_buffers(monkeypatch):
    """Margins of 94 pixels: where memory is scarce, one larger tile saves more than reading ahead."""
    taken = 260.0  # bytes a pixel of the U-Net of base 16
    for name in ("bytes_per_px", "expected_bytes_per_px"):
        monkeypatch.setattr(f"compseg_jax.prediction.tiles.tile_memory.{name}", lambda *_: taken)
    specimen = Specimen(CubeScan(Cube(np.broadcast_to(np.float32(1), (4096, 4096, 64)))), "zero")
    members = adapted([model_of(UNet(base=2, depth=4), channels=64)], specimen)
    mesh = one_device()

    def planned(gib):
        plan = plan_for(members, specimen, mesh, TURNS["none"], memory_bytes=gib * GIB)
        buffers = buffers_for(members, mesh, plan, gib * GIB)
        largest = max(height * width for height, width in (tile.shape for tile in plan.tiles))
        assert largest * (buffers * (4 * 64 + 1) + taken) <= gib * GIB
        return len(plan.tiles), buffers

    assert planned(2.3) == (4, 1)
    assert planned(4.0) == (4, BUFFERS)
    assert planned(16.0) == (2, BUFFERS)  # an overlap below 6 % is accepted for smaller tiles
    assert planned(0.3)[0] > 30
    with pytest.raises(
        ModelError, match=r"margin of 94 pixels, so a tile takes at least .* Raise --memory-gib"
    ):
        planned(0.01)


def test_all_devices_take_part():
    mesh = data_mesh()
    assert mesh.size == 8
    model = model_of(UNet(base=2, depth=1))
    cube = cube_of(61, 70)
    sink = tiled([model], cube, TilePlan(cube.shape[:2], (24, 24), receptive_field(model.network)), mesh)
    np.testing.assert_allclose(sink.activation, whole_map(model, cube), atol=1e-5, rtol=0)


def test_an_ensemble_is_the_mean_of_its_networks():
    models = [model_of(UNet(base=2, depth=1), seed=seed) for seed in range(3)]
    cube = cube_of(40, 45)
    sink = tiled(models, cube, TilePlan(cube.shape[:2], (24, 24), receptive_field(models[0].network)))
    np.testing.assert_allclose(
        sink.activation, np.mean([whole_map(m, cube) for m in models], axis=0), atol=1e-5, rtol=0
    )


def test_broken_spectra_are_no_tissue():
    model = model_of(UNet(base=2, depth=1))
    cube = cube_of(30, 31)
    broken = cube.copy()
    broken[20, 20, 1], broken[22, 3, 0], broken[9, 30, 2] = np.nan, np.inf, -np.inf
    tissue = cube.any(axis=-1) & np.isfinite(broken).all(axis=-1)
    sink = tiled([model], broken, TilePlan(cube.shape[:2], (30, 31)))
    np.testing.assert_array_equal(sink.tissue, tissue)
    np.testing.assert_allclose(sink.activation, whole_map(model, cube, tissue=tissue), atol=1e-6, rtol=0)


# --- preparation, tile by tile

AXIS_CM1 = np.linspace(1900.0, 900.0, 60)


def spectra_of(height, width, seed=0) -> np.ndarray:
    """Tissue with an amide I band in half of the image, background of noise elsewhere."""
    rng = np.random.default_rng(seed)
    band = np.exp(-(((AXIS_CM1 - 1655) / 25) ** 2)) + 0.5 * np.exp(-(((AXIS_CM1 - 1240) / 40) ** 2))
    thickness = np.where(rng.uniform(size=(height, width)) < 0.9, rng.uniform(0.2, 0.8, (height, width)), 0)
    thickness[:, : width // 2] = 0
    noise = rng.normal(0, 0.004, (height, width, AXIS_CM1.size))
    return (thickness[..., None] * band + noise + 0.02).astype(np.float32)


@pytest.mark.parametrize(
    "words",
    [("tissue", "quality:max_vapour=none,min_snr=none", "derivative", "zscore"),
     ("foreground", "vector"),
     # Each spectrum alone, as `derivative` and `vector` above.
     pytest.param(("tissue", "emsc"), marks=pytest.mark.slow),
     pytest.param(("cut:first=1850,last=1000", "emsc", "vector", "pca:components=8"), marks=pytest.mark.slow)],
)  # fmt: skip
def test_preparation_is_repeated_tile_by_tile(words):
    """The same spectra and the same tissue as on the whole image, through steps that see all of it, too."""
    cube = spectra_of(60, 52)
    everything = np.ones(cube.shape[:2], bool)
    image = SpectralImage.of(cube, AXIS_CM1, everything)
    preparation = fit_preparation(parse_steps(words), AXIS_CM1, lambda: [image])
    whole = preparation(image)
    axis = preparation.wavenumbers_cm1
    model = model_of(UNet(base=2, depth=1), channels=axis.size, axis=axis)
    plan = TilePlan(cube.shape[:2], (24, 28), receptive_field(model.network))
    sink = tiled([model], cube, plan, axis=AXIS_CM1, steps=[preparation])
    np.testing.assert_array_equal(sink.tissue, whole.mask)
    wanted = whole_map(model, whole.absorbance, tissue=whole.mask)
    np.testing.assert_allclose(sink.activation, np.asarray(wanted), atol=2e-5, rtol=0)


def test_other_axes_are_resampled_where_they_cover_the_models():
    model = model_of(UNet(base=2, depth=1), channels=AXIS_CM1.size, axis=AXIS_CM1)
    finer = np.linspace(950.0 - 60, 1910.0, 301)
    smooth = np.cos(finer / 150)[None, None] + np.random.default_rng(0).uniform(size=(20, 22, 1))
    wanted = np.cos(AXIS_CM1 / 150)[None, None] + np.random.default_rng(0).uniform(size=(20, 22, 1))
    sink = tiled([model], smooth.astype(np.float32), TilePlan((20, 22), (20, 22)), axis=finer)
    np.testing.assert_allclose(
        sink.activation, whole_map(model, wanted.astype(np.float32)), atol=1e-4, rtol=0
    )
    with pytest.raises(ModelError, match=r"cover 1000 … 1800 .*trained on 1900 … 900"):
        tiled(
            [model],
            smooth.astype(np.float32),
            TilePlan((20, 22), (20, 22)),
            axis=np.linspace(1000, 1800, 301),
        )
    with pytest.raises(ModelError, match="only the model states wavenumbers"):
        tiled([model], smooth.astype(np.float32), TilePlan((20, 22), (20, 22)))


def test_what_a_cut_takes_away_need_not_be_measured():
    cube = spectra_of(20, 24)
    image = SpectralImage.of(cube, AXIS_CM1, np.ones((20, 24), bool))
    preparation = fit_preparation(
        parse_steps(["cut:first=1800,last=1000", "emsc"]), AXIS_CM1, lambda: [image]
    )
    model = model_of(
        UNet(base=2, depth=1), channels=preparation.wavenumbers_cm1.size, axis=preparation.wavenumbers_cm1
    )
    inside = slice(*np.flatnonzero((AXIS_CM1 < 1830) & (AXIS_CM1 > 950))[[0, -1]])
    plan = TilePlan((20, 24), (20, 24))
    part = tiled([model], cube[..., inside], plan, axis=AXIS_CM1[inside], steps=[preparation])
    whole = tiled([model], cube, plan, axis=AXIS_CM1, steps=[preparation])
    np.testing.assert_allclose(part.activation, whole.activation, atol=1e-5, rtol=0)


def test_a_step_that_needs_the_whole_image_is_checked_against_the_memory(monkeypatch):
    from compseg_jax.spectra.preparation.image_steps import ZScore

    monkeypatch.setattr(ZScore, "survey", lambda self, shape_px: None)
    monkeypatch.setattr(ZScore, "applied", lambda self, image: image)
    cube = cube_of(20, 21)
    preparation = fit_preparation(parse_steps(["zscore"]), axis_of_steps(None, CHANNELS), list)
    model = model_of(UNet(base=2, depth=1))
    specimen = Specimen(CubeScan(Cube(cube)), "zero")
    members = adapted([after(model, preparation)], specimen)
    with pytest.raises(ModelError, match=r"step 'zscore' .* needs the whole image at once"):
        Slide.of(members, specimen, TilePlan((20, 21), (20, 21)), one_device(), memory_bytes=1000)
    sink = tiled([model], cube, TilePlan((20, 21), (20, 21)), steps=[preparation])
    np.testing.assert_allclose(sink.activation, whole_map(model, cube), atol=1e-6, rtol=0)


def test_preparations_are_kept_apart(monkeypatch):
    """Networks of an ensemble behind different preparations: tissue is what any of them keeps."""
    cube = spectra_of(26, 30)
    image = SpectralImage.of(cube, AXIS_CM1, np.ones((26, 30), bool))
    steps: list[Preparation] = [
        fit_preparation(parse_steps(words), AXIS_CM1, lambda: [image]) for words in (["tissue"], ["vector"])
    ]
    models = [model_of(UNet(base=2, depth=1), channels=60, axis=AXIS_CM1, seed=seed) for seed in range(2)]
    sink = tiled(
        models,
        cube,
        TilePlan((26, 30), (24, 24), ReceptiveField((2,), (2,), 2, True)),
        axis=AXIS_CM1,
        steps=steps,
    )
    maps = []
    for model, each in zip(models, steps, strict=True):
        found = each(image)
        maps.append(whole_map(model, found.absorbance, tissue=found.mask))
    assert sink.tissue.all()
    np.testing.assert_allclose(sink.activation, np.mean(maps, axis=0), atol=1e-5, rtol=0)


# --- the part of a tile that counts


@pytest.mark.parametrize("way_up", ["transposed", "bilinear"])
def test_the_way_up_is_computed_on_little_more_than_the_core(way_up):
    network = UNet(base=2, depth=3, way_up=way_up)
    reach = receptive_field(network)
    plan = TilePlan((200, 160), (136, 160), reach)
    height, width = plan.part_px
    assert (reach.blurred, width) == ({"transposed": 6, "bilinear": 9}[way_up], 160)
    assert height < 136 - reach.margin + 16
    for tile in plan.tiles:
        [view] = plan.views(tile)
        top, left = plan.part_start(view)
        assert (left, top % 4) == (0, 0)
        assert top <= max(0, view.inner_y.start - reach.blurred)
        assert top + height >= min(view.inner_y.stop + reach.blurred, 136)


def test_a_part_is_that_of_the_whole_map():
    """Right but for as many pixels along its inner edges as is said, and 0 beside it."""
    network = UNet(base=2, depth=3, way_up="bilinear")
    variables = init_variables(network, jax.random.key(0), CHANNELS)
    cube = jnp.stack([jnp.asarray(cube_of(64, 72, seed=seed)) for seed in range(2)])
    whole = np.asarray(network.apply(variables, cube))
    starts = jnp.array([8, 16]), jnp.array([0, 12])
    part = Part(*starts, (40, 60))
    found = np.array(jax.jit(network.apply)(variables, cube, part=part))
    blurred = receptive_field(network).blurred
    for image, full, top, left in zip(found, whole, *map(np.asarray, starts), strict=True):
        rows = slice(top + blurred, top + 40 - blurred)
        columns = slice(left + blurred * bool(left), left + 60 - blurred * (left + 60 < 72))
        np.testing.assert_allclose(image[rows, columns], full[rows, columns], atol=1e-5)
        assert np.abs(image - full)[top : top + 40, left : left + 60].max() > 1e-4
        image[top : top + 40, left : left + 60] = 0
        assert not image.any()
