"""Chunks that are whole and lie where others should: read as nothing but refused, without reading all."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from compseg_jax.cli.main import main
from compseg_jax.prediction.formats import ActivationMapWriter, OverviewWriter, open_maps, open_overview
from compseg_jax.prediction.formats.prediction_tables import read_predictions
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.store import ome
from compseg_jax.store.read import StoreError
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.source import ViewError
from tests.model_example import write_model

SHAPE = (9, 14)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(ome, "LEVEL_CHUNK", 4)
    monkeypatch.setattr(ome, "BANDS_IN_FILE", 2)


def swap(one, other):
    aside = one.with_name("aside")
    os.replace(one, aside)
    os.replace(other, one)
    os.replace(aside, other)


def written(path, seed=0):
    rng = np.random.default_rng(seed)
    tissue, activation = rng.random(SHAPE) < 0.8, rng.random(SHAPE, np.float32)
    writer = ActivationMapWriter(path, SHAPE)
    writer.write(0, 0, activation, tissue & (activation > 0.5), tissue)
    writer.finish()
    return path


@pytest.mark.parametrize(
    ("one", "other", "read"),
    [
        ("labels/segmentation/0/c/0/0", "labels/tissue/0/c/0/0", "segmentation"),
        ("labels/segmentation/0/c/0/0", "labels/tissue/0/c/0/0", "tissue"),
        ("0/c/0/0", "0/c/1/2", "activation"),
        ("0/c/0/0", "../b.ome.zarr/0/c/0/0", "activation"),
        ("labels/tissue", "labels/segmentation", "tissue"),
        ("zarr.json", "../b.ome.zarr/zarr.json", "activation"),
    ],
)
def test_a_chunk_of_another_place_is_refused_where_it_is_read(tmp_path, one, other, read):
    image, _ = (written(tmp_path / f"{name}.ome.zarr", seed) for seed, name in enumerate("ab"))
    before = open_maps(image)
    swap(image / one, image / other)
    if one != "zarr.json":  # opened before or after
        with pytest.raises(StoreError, match="Files were exchanged: predict again"):
            _ = getattr(before, read)[0][:]
    level = getattr(open_maps(image), read)[0]
    with pytest.raises(StoreError, match=r"its chunk \(0, 0\) is whole, and not the one that was written"):
        _ = level[2:3, 1:2]
    if "c/1/2" in other:
        assert level[0:4, 4:8].shape == (4, 4), "chunks that were not touched are read"
        with pytest.raises(StoreError, match=r"its chunk \(1, 2\)"):
            _ = level[:, 9:]
    assert level[4:4].shape == (0, SHAPE[1])


def test_bands_of_another_thumbnail_or_place_are_refused(tmp_path):
    images = []
    for seed, name in enumerate("ab"):
        cube = np.random.default_rng(seed).integers(0, 2**31, (3, 4, 5)).astype(np.int32).view(np.float32)
        writer = OverviewWriter(tmp_path / f"{name}.ome.zarr", cube.shape)
        writer.write(0, 0, np.nan_to_num(cube))
        writer.finish()
        images.append(tmp_path / f"{name}.ome.zarr")
    first = images[0] / "0" / "c"
    for other in (first / "1" / "0" / "0", images[1] / "0" / "c" / "0" / "0" / "0"):
        swap(first / "0" / "0" / "0", other)
        for band in range(4):
            with pytest.raises(StoreError, match=rf"its chunk \({band}, 0, 0\)" if band < 2 else "exchanged"):
                _ = open_overview(images[0]).bands[band : band + 1]
            if other.is_relative_to(images[1]) and band == 1:
                break
        assert open_overview(images[0]).bands[4:5].shape == (1, 3, 4)
        swap(first / "0" / "0" / "0", other)
    assert open_overview(images[0]).bands[:].shape == (5, 3, 4)


def test_what_is_stated_of_another_number_of_chunks_is_refused(tmp_path):
    image = written(tmp_path / "a.ome.zarr")
    values = json.loads((image / "zarr.json").read_text())
    stated = values["attributes"]["compseg"]["chunks_crc32c"]
    assert len(stated["0"]) == 3 * 4 * 8
    for changed, message in (
        (stated | {"0": stated["0"][:-8]}, "11 checksums of chunks are stated, required 12"),
        (stated | {"0": "xy"}, "no readable OME-Zarr"),
        ({"1": ""}, "no readable OME-Zarr"),
        ([1], "no readable OME-Zarr"),
    ):
        values["attributes"]["compseg"]["chunks_crc32c"] = changed
        (image / "zarr.json").write_text(json.dumps(values))
        with pytest.raises(StoreError, match=message):
            _ = open_maps(image).activation[0][:]


def test_an_image_of_another_sample_is_refused_by_who_knows_the_sample(tmp_path, capsys):
    model = write_model(tmp_path / "model", axis=None)
    rng = np.random.default_rng(0)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rng.normal(5.0, 2.0, (*SHAPE, 3)).astype(np.float32))
    out = tmp_path / "out"
    predict(PredictOptions((tmp_path / "a.npy", tmp_path / "b.npy"), model, out, outputs=("zarr",)))
    first = read_predictions(out).samples[0]
    assert set(first.images_sha256) == {"activation_zarr", "overview_zarr"}
    assert open_source(out).open("a").shape_px == SHAPE
    for name in ("activation.ome.zarr", "overview.ome.zarr"):
        swap(out / "samples" / "a" / name, out / "samples" / "b" / name)
        with pytest.raises(
            (StoreError, ViewError), match="another sample's: remove the folder a and predict"
        ):
            open_source(out).open("a")
        swap(out / "samples" / "a" / name, out / "samples" / "b" / name)
    assert main(["check", str(out)]) == 0
    assert "checksums of their chunks" not in capsys.readouterr().out


def test_predictions_of_earlier_releases_are_read_and_check_says_what_they_lack(tmp_path, capsys):
    model = write_model(tmp_path / "model", axis=None)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(5.0, 2.0, (*SHAPE, 3)).astype(np.float32))
    out = tmp_path / "out"
    predict(PredictOptions((tmp_path / "a.npy",), model, out, outputs=("zarr",)))
    expected = open_maps(out / "samples" / "a" / "activation.ome.zarr").activation[0][:]
    for image in (out / "samples" / "a").glob("*.ome.zarr"):
        values = json.loads((image / "zarr.json").read_text())
        del values["attributes"]["compseg"]["chunks_crc32c"]
        (image / "zarr.json").write_text(json.dumps(values))
    for path in (out / "predictions.json", out / "samples" / "a" / "sample.json"):
        values = json.loads(path.read_text())
        for entry in values.get("samples", [values]):
            del entry["images_sha256"]
        values.pop("description_sha256")
        path.write_text(json.dumps(values))
    shutil.rmtree(tmp_path / "model")
    view = open_source(out).open("a")
    assert view.shape_px == SHAPE
    np.testing.assert_array_equal(
        open_maps(out / "samples" / "a" / "activation.ome.zarr").activation[0][:], expected
    )
    assert main(["check", str(out)]) == 0
    assert (
        "note: the maps of 1 samples, of an earlier release, do not state the checksums"
        in capsys.readouterr().out
    )
