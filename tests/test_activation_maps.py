"""Activation maps on disk: any pieces in any order, levels, and what other readers see."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from compseg_jax.prediction.formats import ActivationMapWriter, open_maps
from compseg_jax.store.pyramid import halved_mask, halved_mean, steps
from compseg_jax.store.read import StoreError

PIECES = ((0, 0, 8, 5), (0, 5, 8, 4), (8, 0, 3, 9))
SHAPE = (11, 9)


def example(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    tissue = rng.random(shape) < 0.8
    activation = np.where(tissue, rng.random(shape, np.float32), np.float32(0))
    return activation, activation > 0.5, tissue


def write(writer, pieces, arrays):
    for y0, x0, height, width in pieces:
        writer.write(y0, x0, *(a[y0 : y0 + height, x0 : x0 + width] for a in arrays))


def written(path, shape=SHAPE, **options):
    writer = ActivationMapWriter(path, shape, **options)
    write(writer, [(0, 0, *shape)], example(shape))
    return writer.finish()


@st.composite
def tilings(draw):
    """A shape and pieces that cover it, in any order."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    cuts = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=4))}) for size in shape]
    pieces = [(y0, x0, y1 - y0, x1 - x0) for y0, y1 in pairwise(cuts[0]) for x0, x1 in pairwise(cuts[1])]
    return shape, draw(st.permutations(pieces))


@settings(max_examples=settings().max_examples // 2)
@given(tilings())
def test_pieces_in_any_order_make_the_whole(tmp_path_factory, tiling):
    shape, pieces = tiling
    writer = ActivationMapWriter(tmp_path_factory.mktemp("maps") / "activation.ome.zarr", shape)
    arrays = example(shape)
    write(writer, pieces, arrays)
    maps = writer.finish()
    assert maps.shape == shape
    for level, whole in zip((maps.activation, maps.segmentation, maps.tissue), arrays, strict=True):
        np.testing.assert_array_equal(level[0][:], whole)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_halves_are_of_the_pixels_that_are_there(height, width, seed):
    values, mask, _ = example((height, width), seed)
    quads = [[(slice(y, y + 2), slice(x, x + 2)) for x in range(0, width, 2)] for y in range(0, height, 2)]
    np.testing.assert_allclose(
        halved_mean(values), [[values[quad].mean() for quad in row] for row in quads], rtol=1e-6
    )
    expected = [[int(mask[quad].mean() >= 0.5) for quad in row] for row in quads]
    np.testing.assert_array_equal(halved_mask(mask.astype(np.uint8)), expected)


def test_levels_end_at_512_pixels():
    assert steps((512, 7)) == [1]
    assert steps((7, 513)) == [1, 2]
    assert steps((4096, 4096)) == [1, 2, 4, 8]
    assert steps((4097, 1)) == [1, 2, 4, 8, 16]


def test_levels_are_built_across_strips(tmp_path):
    shape = (2049, 3)
    maps = written(tmp_path / "activation.ome.zarr", shape)
    activation, mask, _ = example(shape)
    assert [level.shape for level in maps.activation] == [(2049, 3), (1025, 2), (513, 1), (257, 1)]
    for number in range(1, 4):
        activation, mask = halved_mean(activation), halved_mask(mask.astype(np.uint8))
        np.testing.assert_array_equal(maps.activation[number][:], activation)
        np.testing.assert_array_equal(maps.segmentation[number][:], mask)


def test_other_readers_see_the_same(tmp_path):
    path = tmp_path / "activation.ome.zarr"
    maps = written(path, (600, 30), pixel_size_um=5.5)
    yaozarrs.validate_zarr_store(str(path))
    for label in ("segmentation", "tissue"):
        yaozarrs.validate_zarr_store(str(path / "labels" / label))
    group = zarr.open_group(path, mode="r")
    activation, mask, tissue = example((600, 30))
    np.testing.assert_array_equal(group["0"][:], activation)
    np.testing.assert_array_equal(group["1"][:], maps.activation[1][:])
    np.testing.assert_array_equal(group["labels/segmentation/0"][:], mask)
    np.testing.assert_array_equal(group["labels/tissue/0"][:], tissue)
    assert group["labels/tissue/0"].dtype == np.uint8
    assert group["0"].metadata.dimension_names == ("y", "x")
    assert sorted(group["labels"].attrs["ome"]["labels"]) == ["segmentation", "tissue"]
    about = group["labels/segmentation"].attrs["ome"]
    assert about["image-label"]["source"] == {"image": "../../"}
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert datasets[0]["coordinateTransformations"] == [{"type": "scale", "scale": [5.5, 5.5]}]
    # The centre of the first pixel of level 1 lies between those of the first two pixels of level 0.
    assert datasets[1]["coordinateTransformations"] == [
        {"type": "scale", "scale": [11.0, 11.0]},
        {"type": "translation", "translation": [2.75, 2.75]},
    ]
    assert about["multiscales"][0]["datasets"] == datasets


def test_the_reader_of_ome_zarr_finds_image_and_labels(tmp_path):
    """ome-zarr is no requirement of the tests, for what it pulls in; run where it is installed."""
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    maps = written(tmp_path / "activation.ome.zarr", (600, 30), pixel_size_um=5.5)
    nodes = {node.zarr.basename(): node for node in reader.Reader(parse_url(str(maps.path)))()}
    for name, levels in (
        ("activation.ome.zarr", maps.activation),
        ("segmentation", maps.segmentation),
        ("tissue", maps.tissue),
    ):
        assert len(nodes[name].data) == len(levels) == 2
        for found, level in zip(nodes[name].data, levels, strict=True):
            np.testing.assert_array_equal(np.asarray(found), level[:])
    assert nodes["activation.ome.zarr"].metadata["contrast_limits"] == [[0.0, 1.0]]
    assert list(nodes["segmentation"].metadata["color"]) == [1]


@pytest.mark.parametrize("size", [None, 1.0, 0.25])
def test_the_pixel_size_comes_back(tmp_path, size):
    assert written(tmp_path / "a.ome.zarr", pixel_size_um=size).pixel_size_um == size


def test_parts_are_read_as_those_of_an_array(tmp_path):
    level = written(tmp_path / "a.ome.zarr").activation[0]
    whole = example()[0]
    np.testing.assert_array_equal(level[2:4], whole[2:4])
    np.testing.assert_array_equal(level[-3:, 1:99], whole[-3:, 1:99])
    assert (level.shape, level.dtype) == (SHAPE, np.float32)


def test_nothing_is_in_its_place_before_it_is_finished(tmp_path):
    path = tmp_path / "activation.ome.zarr"
    writer = ActivationMapWriter(path, SHAPE)
    write(writer, PIECES[:2], example())
    assert not path.exists()
    with pytest.raises(StoreError, match=r"pixel \(row 8, column 0\) was never written"):
        writer.finish()
    write(writer, PIECES[2:], example())
    writer.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["activation.ome.zarr"]
    assert not list(path.glob("*.jsonl"))
    with pytest.raises(StoreError, match="exists already"):
        ActivationMapWriter(path, SHAPE)


def test_pieces_of_an_earlier_writer_are_not_kept(tmp_path):
    path = tmp_path / "activation.ome.zarr"
    left = ActivationMapWriter(path, SHAPE)
    write(left, PIECES, example())
    with pytest.raises(StoreError, match="never written"):
        ActivationMapWriter(path, SHAPE).finish()
    left.finish()
    np.testing.assert_array_equal(open_maps(path).activation[0][:], example()[0])


def test_what_is_discarded_leaves_nothing(tmp_path):
    writer = ActivationMapWriter(tmp_path / "activation.ome.zarr", SHAPE)
    write(writer, PIECES, example())
    writer.discard()
    assert not list(tmp_path.iterdir())


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ((8, 0, np.zeros((4, 2), np.float32)), r"reaches out of the image \(11, 9\)"),
        ((-1, 0, np.zeros((4, 2), np.float32)), "row -1, column 0"),
        ((0, 0, np.full((4, 2), 1.01, np.float32)), "not from 0 to 1"),
        ((0, 0, np.full((4, 2), np.nan, np.float32)), "not from 0 to 1"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(tmp_path, piece, message):
    y0, x0, activation = piece
    writer = ActivationMapWriter(tmp_path / "a.ome.zarr", SHAPE)
    with pytest.raises(StoreError, match=message):
        writer.write(y0, x0, activation, activation > 0.5, activation > 0.5)
    for shapes in ((2, 3), (2, 2)), ((2, 2), (2, 3)):
        with pytest.raises(StoreError, match="one and the same"):
            writer.write(0, 0, np.zeros((2, 2), np.float32), *(np.zeros(shape, bool) for shape in shapes))
    with pytest.raises(StoreError, match=r"pixel \(row 0, column 0\) was never written"):
        writer.finish()


def test_damage_is_told(tmp_path):
    path = tmp_path / "a.ome.zarr"
    with pytest.raises(StoreError, match=r"no readable OME-Zarr 0\.5 image") as caught:
        open_maps(path)
    assert str(caught.value).count("no readable") == 1
    written(path)
    next((path / "0" / "c").rglob("0/0")).unlink()
    with pytest.raises(StoreError, match="damaged or not finished"):
        _ = open_maps(path).activation[0][:]
    (path / "zarr.json").write_text(json.dumps({"attributes": {}}))
    with pytest.raises(StoreError, match="no readable"):
        open_maps(path)
