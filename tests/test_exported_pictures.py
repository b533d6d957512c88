"""OME-TIFF pyramids, PNG, thumbnails, and all files of one sample."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.prediction.formats import (
    ActivationMapWriter,
    Annotation,
    OverviewWriter,
    activation_levels,
    geojson_to_mask,
    open_maps,
    open_overview,
    overview_step,
    write_activation_png,
    write_activation_tiff,
    write_mask_png,
    write_mask_tiff,
    write_sample_files,
)
from compseg_jax.store.pyramid import halved_mask
from compseg_jax.store.read import StoreError

OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}


def activation_of(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (40, 511), (512, 512), (513, 30), (1100, 1025)])
def test_tiff_holds_every_level(tmp_path, shape):
    levels = activation_levels(activation_of(shape))
    write_activation_tiff(tmp_path / "a.ome.tif", levels, pixel_size_um=5.5, name="spot ä")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        assert len(file.pages) == 1, "the levels are SubIFDs, not pages"
        (series,) = file.series
        assert [level.shape for level in series.levels] == [level.shape for level in levels]
        for found, level in zip(series.levels, levels, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found.asarray(), level)
            page = found.pages[0]
            assert page.is_tiled
            assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert page.is_reduced == (level is not levels[0])
        image = ET.fromstring(file.ome_metadata).find("ome:Image", OME)
        assert image.get("Name") == "spot ä"
        pixels = image.find("ome:Pixels", OME)
        assert (pixels.get("SizeY"), pixels.get("SizeX"), pixels.get("Type")) == (*map(str, shape), "float")
        for axis in "XY":
            assert float(pixels.get(f"PhysicalSize{axis}")) == 5.5
            assert pixels.get(f"PhysicalSize{axis}Unit") == "µm"
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / 5.5)
        assert file.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


def test_masks_are_0_and_255_and_sizes_may_be_unknown(tmp_path):
    mask = activation_of((700, 20)) > 0.5
    full = mask.astype(np.uint8)
    write_mask_tiff(tmp_path / "m.ome.tif", [full, halved_mask(full)])
    with tifffile.TiffFile(tmp_path / "m.ome.tif") as file:
        np.testing.assert_array_equal(file.asarray(), mask * np.uint8(255))
        assert file.series[0].levels[1].shape == (350, 10)
        assert "PhysicalSize" not in file.ome_metadata
        assert file.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.NONE


def test_levels_that_are_no_halves_are_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    with pytest.raises(ValueError, match=r"\[\(6, 6\), \(2, 2\)\], required each half"):
        write_activation_tiff(path, [activation_of((6, 6)), activation_of((2, 2))])
    with pytest.raises(ValueError, match=r"shapes \[\]"):
        write_mask_tiff(path, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "write", [write_activation_tiff, lambda path, levels: write_activation_png(path, levels[0])]
)
def test_a_picture_that_breaks_off_leaves_the_old_file(tmp_path, write):
    class Broken:
        shape = (1500, 8)

        def __getitem__(self, rows):
            if rows.start:
                raise OSError("disk gone")
            return activation_of((rows.stop, 8))

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk gone"):
        write(path, [Broken(), *activation_levels(activation_of((1500, 8)))[1:]])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_png_is_that_of_the_paper(tmp_path):
    activation = np.array([[0, 0.35, 1], [0.5 / 255, 1.6 / 255, 254.6 / 255]], np.float32)
    write_activation_png(tmp_path / "a.png", activation)
    write_mask_png(tmp_path / "m.png", activation > 0.35)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 89, 255], [0, 2, 255]]
    with Image.open(tmp_path / "m.png") as image:
        assert np.asarray(image).tolist() == (255 * (activation > 0.35)).tolist()
    with pytest.raises(ValueError, match="not from 0 to 1"):
        write_activation_png(tmp_path / "b.png", activation + 1)
    assert not (tmp_path / "b.png").exists()


@settings(max_examples=settings().max_examples // 2)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([8, 16, 24]), st.randoms())
def test_a_thumbnail_is_the_mean_of_blocks(tmp_path_factory, height, width, tile, random):
    path = tmp_path_factory.mktemp("overview") / "overview.ome.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compseg_jax.store.pyramid.LONGEST_SIDE_OF_LAST_LEVEL_PX", 12)
        writer = OverviewWriter(path, (height, width, 3), pixel_size_um=2.0)
    cube = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    random.shuffle(places)
    for y, x in places:
        writer.write(y, x, cube[y : y + tile, x : x + tile])
    overview = writer.finish()
    step = overview.step
    assert max(height, width) <= 12 * step < 2 * max(height, width, 12)
    blocks = [
        [cube[y : y + step, x : x + step].mean((0, 1)) for x in range(0, width, step)]
        for y in range(0, height, step)
    ]
    np.testing.assert_allclose(overview.bands[:], np.transpose(blocks, (2, 0, 1)), rtol=1e-5, atol=1e-6)


def test_a_thumbnail_is_a_valid_image_in_the_frame_of_the_slide(tmp_path):
    path = tmp_path / "overview.ome.zarr"
    axis = np.linspace(1800, 950, 40)
    cube = activation_of((1030, 20, 40))
    assert overview_step((1030, 20)) == 4
    writer = OverviewWriter(path, cube.shape, pixel_size_um=2.0, wavenumbers_cm1=axis)
    writer.write(0, 0, cube)
    assert not path.exists()
    writer.finish()
    assert list(tmp_path.iterdir()) == [path]
    yaozarrs.validate_zarr_store(str(path))
    overview = open_overview(path)
    np.testing.assert_array_equal(overview.wavenumbers_cm1, axis)
    assert overview.bands.shape == (40, 258, 5)
    np.testing.assert_allclose(overview.bands[35:36, 2:3, 1:2], cube[8:12, 4:8, 35].mean(), rtol=1e-6)
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(group["0"][35], overview.bands[35:36][0])
    assert group["0"].chunks == (1, 258, 5), "a band is read alone"
    (dataset,) = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert dataset["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 8.0, 8.0]},
        {"type": "translation", "translation": [0.0, 3.0, 3.0]},
    ]


def test_a_thumbnail_is_gathered_tile_by_tile(tmp_path):
    path = tmp_path / "overview.ome.zarr"
    cube = activation_of((600, 600, 2))
    writer = OverviewWriter(path, cube.shape)
    writer.write(0, 0, cube[:300])
    assert not path.exists()
    writer.write(300, 0, cube[300:])
    np.testing.assert_allclose(
        writer.finish().bands[:, 0:1, 0:1].ravel(), cube[:2, :2].mean((0, 1)), rtol=1e-6
    )
    with pytest.raises(StoreError, match="exists already"):
        OverviewWriter(path, cube.shape)
    OverviewWriter(tmp_path / "other.ome.zarr", cube.shape).discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["overview.ome.zarr"]


@pytest.mark.parametrize(
    ("y0", "x0", "shape"), [(1, 0, (2, 2, 2)), (0, 0, (3, 600, 2)), (0, 598, (2, 4, 2)), (0, 0, (2, 2, 3))]
)
def test_tiles_that_do_not_fit_a_thumbnail_are_refused(tmp_path, y0, x0, shape):
    writer = OverviewWriter(tmp_path / "overview.ome.zarr", (600, 600, 2))
    with pytest.raises(StoreError, match="edges at multiples of 2 or at the border"):
        writer.write(y0, x0, np.zeros(shape, np.float32))


def test_a_row_stands_for_those_of_its_blocks(tmp_path):
    cube = activation_of((5, 1030, 3))
    cube[:] = cube[1]
    whole, sampled = (OverviewWriter(tmp_path / f"{name}.ome.zarr", cube.shape) for name in "ab")
    whole.write(0, 0, cube)
    for top in range(0, 5, sampled.step):
        sampled.write_row(top, cube[top])
    assert sampled.step == 4
    with pytest.raises(StoreError, match="whole width and a multiple of 4"):
        sampled.write_row(2, cube[2])
    with pytest.raises(StoreError, match="whole width and a multiple of 4"):
        sampled.write_row(4, cube[4, 1:])
    np.testing.assert_allclose(sampled.finish().bands[:], whole.finish().bands[:], rtol=1e-6)


def test_all_files_of_a_sample(tmp_path):
    shape = (530, 40)
    activation = activation_of(shape)
    tissue = activation > 0.1
    activation = np.where(tissue, activation, np.float32(0))
    mask = activation > 0.6
    writer = ActivationMapWriter(tmp_path / "activation.ome.zarr", shape, pixel_size_um=2.0)
    writer.write(0, 0, activation, mask, tissue)
    writer.finish()
    maps = open_maps(tmp_path / "activation.ome.zarr")
    files = write_sample_files(tmp_path, maps, ["png", "geojson", "tiff"], annotation=Annotation("Lesion"))
    assert set(files) == {"activation_png", "mask_png", "geojson", "activation_tiff", "mask_tiff"}
    assert {p.name for p in tmp_path.iterdir()} == {*files.values(), "activation.ome.zarr"}
    with Image.open(tmp_path / files["mask_png"]) as image:
        np.testing.assert_array_equal(np.asarray(image) > 0, mask)
    with Image.open(tmp_path / files["activation_png"]) as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(activation * np.float32(255)))
    geojson = json.loads((tmp_path / files["geojson"]).read_text(encoding="utf-8"))
    np.testing.assert_array_equal(geojson_to_mask(geojson, shape, classification="Lesion"), mask)
    areas = [feature["properties"]["measurements"]["Area µm^2"] for feature in geojson["features"]]
    assert sum(areas) == 4 * mask.sum()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / files["activation_tiff"]), activation)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / files["mask_tiff"]), mask * np.uint8(255))
    assert write_sample_files(tmp_path, maps, []) == {}
