"""Pixels of another size than in training: said, marked, and brought to the training's and back when told."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.config import Network, from_json
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.to_store import ingest
from compseg_jax.model import load_model
from compseg_jax.model.level import FEWEST_GROUPS, VALIDATION_LEVELS, level_of
from compseg_jax.model.model_files import save_network
from compseg_jax.model.scale import ScaledScan, rescaled, scale_of
from compseg_jax.prediction import open_maps, read_predictions
from compseg_jax.readers import read
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import CubeScan
from compseg_jax.store.read import Store
from tests.model_example import write_model
from tests.store_example import CHANNELS, WAVENUMBERS_CM1, write_store

SIDES = st.integers(1, 9)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Trained on pixels of 2 µm."""
    folder = write_model(tmp_path_factory.mktemp("model") / "model")
    (network,) = load_model(folder).networks
    config = from_json(Network, network.description["network"])
    save_network(
        folder,
        dataclasses.replace(network, description={**network.description, "pixel_size_um": 2.0}),
        config,
    )
    return folder


def cube_of(seed: int = 0) -> np.ndarray:
    cube = np.random.default_rng(seed).normal(5.0, 2.0, (14, 20, CHANNELS)).astype(np.float32)
    cube[:5, :6] = 0
    return cube


def write_file(path, cube, pixel_size_um):
    np.savez(path, absorbance=cube, wavenumbers_cm1=WAVENUMBERS_CM1, pixel_size_um=pixel_size_um)
    return path


# --- the arithmetic


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 5))
def test_a_rescaled_constant_is_that_constant_wherever_it_was_measured(height, width, rows, columns, seed):
    valid = np.random.default_rng(seed).random((height, width)) < 0.7
    found, kept = rescaled(np.full((height, width, 2), 3.0, np.float32), valid, (rows, columns))
    assert (found.shape, kept.shape) == ((rows, columns, 2), (rows, columns))
    np.testing.assert_allclose(found[kept], 3.0, rtol=1e-6)
    assert (found[~kept] == 0).all()
    assert kept.all() or not valid.all()


@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 5))
def test_larger_pixels_are_means_and_the_same_pixels_are_the_same(height, width, factor, seed):
    values = np.random.default_rng(seed).random((height * factor, width * factor)).astype(np.float32)
    found, _ = rescaled(values, np.ones(values.shape, bool), (height, width))
    blocks = values.reshape(height, factor, width, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(found, blocks, rtol=1e-5)


@given(SIDES, SIDES, SIDES, SIDES, st.data())
def test_a_window_of_a_rescaled_scan_is_that_of_the_whole(height, width, rows, columns, data):
    values = np.random.default_rng(1).random((height, width, 2)).astype(np.float32)
    values[0, 0] = np.nan
    scan = ScaledScan(CubeScan(Cube(values)), (rows, columns), 1.0, "none")
    parts = [
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in (rows, columns)
    ]
    whole = scan.window(slice(None), slice(None))
    np.testing.assert_allclose(scan.window(*parts), whole[tuple(parts)], rtol=1e-6)


def test_background_does_not_bleed_into_tissue():
    values = np.zeros((4, 4, 2), np.float32)
    values[:, 1:] = 4.0
    scan = ScaledScan(CubeScan(Cube(values)), (2, 2), 2.0, "zero")
    np.testing.assert_array_equal(scan.window(slice(None), slice(None)), np.full((2, 2, 2), 4.0))


def test_the_scale_is_that_of_the_nearest_training_image():
    assert scale_of({"pixel_size_um": None, "pixel_sizes_um": [0.25, 0.5]}, 1.0) == 2.0
    assert scale_of({"pixel_size_um": 0.5}, None) is scale_of({}, 0.5) is None


# --- what files state


@pytest.mark.parametrize(
    ("how", "size_um"),
    [
        ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (236.22, 236.22), "resolutionunit": "CENTIMETER"}, None),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}, 0.25),
        ({"imagej": True, "resolution": (72, 72), "metadata": {"unit": "pixel"}}, None),
        ({"description": "Aperio Image Library v11.2\r\n30x20 |AppMag = 20|MPP = 0.4990", "metadata": None}, 0.499),
    ],
)  # fmt: skip
def test_pixel_sizes_of_microscopes_are_read_and_those_of_screens_are_not(tmp_path, how, size_um):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 30, 3), np.uint8), photometric="rgb", **how)
    cube = read(path)
    assert cube.pixel_size_um == (None if size_um is None else pytest.approx(size_um))


def test_a_store_keeps_the_pixel_size_of_every_sample(tmp_path):
    lines = ["id,path,label,split"]
    for number, (side, resolution) in enumerate(((40, 20000), (20, 20000), (40, 10000), (40, 0))):
        how = {"resolution": (resolution,) * 2, "resolutionunit": "CENTIMETER"} if resolution else {}
        values = np.full((side, side, 3), 50 + number, np.uint8)
        tifffile.imwrite(tmp_path / f"{number}.tif", values, photometric="rgb", **how)
        lines.append(f"s{number},{number}.tif,{number % 2},train")
    table = tmp_path / "spots.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    ingest(table, tmp_path / "store", IngestOptions(resize=20))
    store = Store.open(tmp_path / "store")
    sizes = [store.pixel_size_of(sample.id) for sample in store.samples]
    assert sizes[:3] == [pytest.approx(1.0), pytest.approx(0.5), pytest.approx(2.0)]
    assert sizes[3] is store.pixel_size_um is None
    assert store.cube("s2").pixel_size_um == pytest.approx(2.0)
    table.write_text("\n".join([*lines[:2], "s9,1b.tif,1,train"]), encoding="utf-8")
    Image.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(
        tmp_path / "1b.tif", resolution_unit=3, x_resolution=20000, y_resolution=20000
    )
    ingest(table, tmp_path / "same", IngestOptions())
    assert Store.open(tmp_path / "same").pixel_size_um == pytest.approx(0.5)


# --- predictions


def test_another_scale_is_said_marked_and_changed_when_told(model, tmp_path, capsys):
    cube = cube_of()
    doubled = np.repeat(np.repeat(cube, 2, axis=0), 2, axis=1)
    files = [write_file(tmp_path / "same.npz", cube, 2.0), write_file(tmp_path / "fine.npz", doubled, 1.0)]
    words = ["predict", *map(str, files), "--model", str(model), "--outputs", "zarr", "geojson"]
    assert main([*words, "--out", str(tmp_path / "as_it_is")]) == 0
    said = capsys.readouterr().out
    assert "a pixel measures 1 µm, 0.5 times one of the training images: structures look 2 times" in said
    assert "1 of another scale than the training, as it is (fine)" in said
    as_it_is = {sample.id: sample for sample in read_predictions(tmp_path / "as_it_is").samples}
    assert [(as_it_is[name].scale, as_it_is[name].rescaled) for name in ("same", "fine")] == [
        (1, False),
        (0.5, False),
    ]
    assert main([*words, "--out", str(tmp_path / "told"), "--to-training-scale"]) == 0
    said = capsys.readouterr().out
    assert "brought from pixels of 1 to the 2 µm of the training images" in said
    assert "brought to it (fine)" in said
    told = {sample.id: sample for sample in read_predictions(tmp_path / "told").samples}
    assert (told["fine"].scale, told["fine"].rescaled, told["fine"].height_px) == (0.5, True, 28)
    maps = {name: open_maps(tmp_path / "told" / told[name].files["activation_zarr"]) for name in told}
    assert maps["fine"].pixel_size_um == 1.0
    values, tissue = maps["same"].activation[0][:], maps["same"].tissue[0][:].astype(bool)
    expected, kept = rescaled(values, tissue, doubled.shape[:2])
    np.testing.assert_array_equal(maps["fine"].tissue[0][:].astype(bool), kept)
    np.testing.assert_allclose(maps["fine"].activation[0][:], expected, atol=1e-5)
    assert told["fine"].score == pytest.approx(as_it_is["same"].score, abs=0.01)
    assert not list((tmp_path / "told/samples").glob(".*"))
    again = load_model(model)
    found = again.predict_specimen(
        again.specimen(Cube(doubled, WAVENUMBERS_CM1, 1.0)), to_training_scale=True
    )
    np.testing.assert_allclose(found.activation, expected, atol=1e-5)
    assert (found.activation.shape, found.absorbance.shape) == (doubled.shape[:2], doubled.shape)


def test_a_report_marks_samples_of_another_scale(model, tmp_path):
    store = write_store(tmp_path / "data")  # pixels of 5.5 µm
    options = EvaluateOptions(
        model=model, data=store.path, out=tmp_path / "report", importance="no", bootstrap=10
    )
    page, _ = evaluate(options)
    with (tmp_path / "report/samples.csv").open() as file:
        assert {row["scale"] for row in csv.DictReader(file)} == {"2.75"}
    said = page.read_text(encoding="utf-8")
    assert "6 of 6 samples have pixels of 2.75 times the training" in said
    assert "pixel by training" in said
    page, _ = evaluate(dataclasses.replace(options, to_training_scale=True))
    assert "they were brought to it before" in page.read_text(encoding="utf-8")


def test_levels_are_compared_at_the_scale_of_the_predictions(model, tmp_path, capsys):
    """Files of half the pixel size are brought to the training's before their levels are held against its own."""
    loaded = load_model(model)
    (network,) = loaded.networks
    cubes = [cube_of(seed) for seed in range(FEWEST_GROUPS)]
    found = [loaded.predict(Cube(cube, WAVENUMBERS_CM1, 2.0)) for cube in cubes]
    levels = [level_of(each.activations, each.tissue, loaded.threshold) + 2.0 for each in found]
    config = from_json(Network, network.description["network"])
    description = {**network.description, VALIDATION_LEVELS: levels}
    save_network(tmp_path / "model", dataclasses.replace(network, description=description), config)
    (tmp_path / "files").mkdir()
    for number, cube in enumerate(cubes):
        write_file(tmp_path / "files" / f"{number}.npz", cube.repeat(2, 0).repeat(2, 1), 1.0)
    words = ["predict", str(tmp_path / "files"), "--model", str(tmp_path / "model")]
    assert main([*words, "--out", str(tmp_path / "told"), "--to-training-scale"]) == 0
    matched = json.loads((tmp_path / "told" / "predictions.json").read_text())["model"]["maps_matched"]
    assert matched["n"] == FEWEST_GROUPS

    def difference(**scale):
        fine = [read(file) for file in sorted((tmp_path / "files").iterdir())]
        found = [loaded.predict_specimen(loaded.specimen(each), **scale) for each in fine]
        own = [level_of(each.activations, each.tissue, loaded.threshold) for each in found]
        return np.mean(own) - np.mean(levels)

    assert matched["difference"] == pytest.approx(difference(to_training_scale=True), abs=1e-6)
    assert matched["difference"] != pytest.approx(difference(), abs=1e-3)
    line, *_ = [line for line in capsys.readouterr().out.splitlines() if "Maps were moved" in line]
    assert line.startswith("Maps were moved by +1.")
