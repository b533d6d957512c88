"""sample.json, predictions.json and predictions.csv: what is written is read back, and damage is told."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.prediction.formats import (
    Predictions,
    SamplePrediction,
    read_predictions,
    read_sample,
    write_predictions,
    write_sample,
)
from compseg_jax.runtime.files import sha256_of

DONE = SamplePrediction(
    id="a1", source="slides/a1.dmt", status="done", height_px=4096, width_px=4000, pixel_size_um=5.5, channels=64,
    score=0.25, area_fraction=0.125, area_low=0.1, area_high=0.2, tissue_px=1000, label=1, seconds=3.5,
    files={"geojson": "samples/a1/segmentation.geojson", "mask_png": "samples/a1/mask.png"},
)  # fmt: skip
FAILED = SamplePrediction(
    id='b, "2"', source="store", store_id="b2", status="failed", error="too few\nchannels"
)
ALL = Predictions(
    model={"path": "runs/m/model", "weights_sha256": "ab", "recipe": None},
    threshold=0.35,
    samples=(DONE, FAILED),
    options={"tile": 512, "flips": True},
    versions={"jax": "0.11.2"},
)
fractions = st.none() | st.floats(0, 1)


def test_many_samples_are_a_typed_parquet_table_too(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    samples = tuple(dataclasses.replace(DONE, id=f"s{number:05d}", label=None) for number in range(1000))
    write_predictions(tmp_path, dataclasses.replace(ALL, samples=(*samples, FAILED)))
    table = parquet.read_table(tmp_path / "predictions.parquet")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    types = {
        name: str(table.schema.field(name).type) for name in ("score", "label", "outside", "error", "geojson")
    }
    assert types == {
        "score": "double", "label": "int64", "outside": "bool", "error": "string", "geojson": "string"
    }  # fmt: skip
    for row, kept in zip(rows, table.to_pylist(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in kept.items()} == row
    write_predictions(tmp_path, ALL)
    assert not (tmp_path / "predictions.parquet").exists()


@given(st.text(max_size=5), fractions, fractions, st.none() | st.sampled_from([0, 1]), st.integers(0, 10**9))
def test_a_sample_comes_back(tmp_path_factory, source, score, area, label, tissue_px):
    sample = dataclasses.replace(
        DONE, source=source, score=score, area_fraction=area, label=label, tissue_px=tissue_px
    )
    path = tmp_path_factory.mktemp("sample") / "sample.json"
    write_sample(path, sample)
    assert read_sample(path) == sample


def test_a_folder_comes_back(tmp_path):
    write_predictions(tmp_path, ALL)
    assert read_predictions(tmp_path) == ALL
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.csv", "predictions.json"]
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first["id"] == "a1"
    assert (float(first["score"]), int(first["tissue_px"]), first["dice"]) == (0.25, 1000, "")
    assert first["geojson"] == "samples/a1/segmentation.geojson"
    assert (second["id"], second["error"], second["geojson"]) == ('b, "2"', "too few\nchannels", "")


def test_an_entry_is_that_of_the_sample_file(tmp_path):
    write_predictions(tmp_path, ALL)
    write_sample(tmp_path / "sample.json", DONE)
    alone = json.loads((tmp_path / "sample.json").read_text())
    listed = json.loads((tmp_path / "predictions.json").read_text())["samples"][0]
    assert alone.pop("description_sha256")
    assert alone == {"format": "compseg-prediction", "version": 1, **listed}


@pytest.mark.wrong_types
def test_numpy_numbers_are_numbers(tmp_path):
    write_sample(tmp_path / "s.json", dataclasses.replace(DONE, score=np.float32(0.5), tissue_px=np.int64(7)))
    assert (read_sample(tmp_path / "s.json").score, read_sample(tmp_path / "s.json").tissue_px) == (0.5, 7)


def test_keys_of_later_releases_are_ignored(tmp_path):
    write_predictions(tmp_path, ALL)
    path = tmp_path / "predictions.json"
    values = json.loads(path.read_text())
    values["more"] = values["samples"][0]["more"] = 1
    values["description_sha256"] = sha256_of(values, "description_sha256")
    path.write_text(json.dumps(values))
    assert read_predictions(tmp_path) == ALL


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "score = NaN: must be a finite number, at least 0 and at most 1"),
        ({"seconds": float("inf")}, "seconds = Infinity: must be a finite number"),
        ({"area_fraction": 1.5}, "area_fraction = 1.5: must be a finite number, at least 0 and at most 1"),
        ({"label": 2}, "label = 2: must be an integer, at least 0 and at most 1"),
        ({"status": "waiting"}, 'status = "waiting": must be one of "done", "failed"'),
        ({"error": "but done"}, "'done' without an error"),
        ({"status": "failed"}, "'failed' with one"),
    ],
)
def test_what_is_no_result_is_refused_and_the_old_file_stays(tmp_path, change, message):
    write_sample(tmp_path / "sample.json", DONE)
    write_predictions(tmp_path, ALL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    wrong = dataclasses.replace(DONE, **change)
    with pytest.raises(ValueError, match=f"sample 'a1': .*{message}"):
        write_sample(tmp_path / "sample.json", wrong)
    with pytest.raises(ValueError, match=message):
        write_predictions(tmp_path, dataclasses.replace(ALL, samples=(wrong,)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_json_cannot_hold_is_refused(tmp_path):
    for options in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(ValueError, match=r"predictions\.json: a value cannot be written as JSON"):
            write_predictions(tmp_path, dataclasses.replace(ALL, options=options))
    with pytest.raises(ValueError, match="the id 'a1' occurs twice"):
        write_predictions(tmp_path, dataclasses.replace(ALL, samples=(DONE, DONE)))
    assert not list(tmp_path.iterdir())


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": 2},
            "found format 'compseg-predictions' version 2; this release reads .* 1 to 1. Update",
        ),
        ({"version": True}, "version True"),
        ({"format": "compseg-store"}, "found format 'compseg-store'"),
        ({"samples": None}, "damaged file .*Predict again"),
        ({"samples": [{"id": "a"}]}, "damaged"),
        ({"samples": [{"id": "a", "source": "", "status": "done", "score": "high"}]}, "damaged"),
        ({"threshold": None}, "damaged"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, change, message):
    write_predictions(tmp_path, ALL)
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path)


def test_missing_and_torn_files_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"no predictions\.json found"):
        read_predictions(tmp_path)
    (tmp_path / "sample.json").write_text('{"format": "compseg-pr')
    with pytest.raises(ValueError, match=r"sample\.json: found a damaged file .*Predict again"):
        read_sample(tmp_path / "sample.json")
    (tmp_path / "sample.json").write_text("[]")
    with pytest.raises(ValueError, match=r"sample\.json: found a damaged file"):
        read_sample(tmp_path / "sample.json")
