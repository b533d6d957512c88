"""Pixels that no network saw are counted with their reasons, and a sample of which nothing is left has failed."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from compseg_jax.cli.main import main
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.model import load_model
from compseg_jax.model.specimen import PreparedSpecimen, Specimen
from compseg_jax.prediction.predict import Listener, predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import CubeScan
from compseg_jax.spectra.preparation import Image, fit_preparation
from compseg_jax.spectra.preparation.spectral_steps import StandardNormalVariate
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter
from tests.model_example import write_model
from tests.store_example import CHANNELS, WAVENUMBERS_CM1, sample_arrays

NOT_MEASURED = np.finfo(np.float32).max


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model", axis=None)


@pytest.fixture(scope="module")
def cube():
    """Background above, tissue below with eleven broken pixels; and the same with these as background."""
    values = np.random.default_rng(0).normal(5.0, 2.0, (40, 61, 3)).astype(np.float32)
    values[:7] = 0
    bare = values.copy()
    for row, column, value in [(8, 3, np.inf), (20, 31, NOT_MEASURED), *((39, x, np.nan) for x in range(9))]:
        values[row, column, 1], bare[row, column] = value, 0
    return values, bare


class Remarks(Listener):
    def __init__(self):
        self.said = {}

    def remarked(self, sample_id, remark):
        self.said.setdefault(sample_id, []).append(remark)


WHY = "NaN or infinite values: 10; values beyond ±1e15: 1"


@pytest.mark.parametrize("tile_px", [None, pytest.param(24, marks=pytest.mark.slow)])
def test_each_row_says_what_was_left_out_whatever_the_tiles(model, cube, tmp_path, tile_px):
    values, bare = cube
    inputs = []
    for name, each in {"some": values, "none": bare}.items():
        inputs.append(tmp_path / f"{name}.npy")
        np.save(inputs[-1], each)
    listener = Remarks()
    options = PredictOptions(tuple(inputs), model, tmp_path / "out", outputs=("png",), tile_px=tile_px)
    some, none = predict(options, listener).done
    assert (some.left_out_px, some.left_out_why) == (11, WHY)
    assert (none.left_out_px, none.left_out_why) == (0, None)
    assert (some.score, some.tissue_px) == (none.score, none.tissue_px)
    assert listener.said == {"some": [f"11 pixels left out ({WHY})"]}
    rows = list(
        csv.DictReader((tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines())
    )
    assert {row["id"]: row["left_out_px"] for row in rows} == {"some": "11", "none": "0"}
    found = load_model(model).predict(values, prepared=False)
    assert found.left_out == {"NaN or infinite values": 10, "values beyond ±1e15": 1}


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -3e38, 1e-37, 1e-40, 0.0])
def test_a_sample_of_which_nothing_is_left_has_failed_with_its_reason(model, tmp_path, value):
    np.save(tmp_path / "cube.npy", np.full((12, 13, 3), value, np.float32))
    options = PredictOptions((tmp_path / "cube.npy",), model, tmp_path / "out")
    report = predict(options)
    (failed,) = report.failed
    assert not report.done
    reason = "values beyond ±1e15" if abs(value) == 3e38 else "NaN or infinite values"
    reason = "no value beyond ±1e-30" if 0 < value < 1 else reason
    expected = f"156 were left out ({reason}: 156)." if value else "all 156 lie outside the tissue"
    assert expected in failed.error
    assert failed.left_out_px == (156 if value else 0)
    (row,) = csv.DictReader((tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines())
    assert (row["status"], row["score"]) == ("failed", "")
    assert not (tmp_path / "out" / "samples" / "cube").exists()


def test_where_nothing_was_predicted_there_is_nothing_to_view(model, tmp_path, capsys):
    np.save(tmp_path / "cube.npy", np.full((12, 13, 3), np.nan, np.float32))
    words = ["predict", str(tmp_path / "cube.npy"), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "next:" not in said.out
    assert "failed: cube" in said.err


def test_at_the_scale_of_the_training_broken_pixels_are_those_of_the_image(model, cube, tmp_path):
    described = json.loads((model / "model.json").read_text(encoding="utf-8"))
    sized = tmp_path / "sized"
    sized.mkdir()
    for path in model.iterdir():
        (sized / path.name).symlink_to(path)
    (sized / "model.json").unlink()
    described["pixel_size_um"] = 2.0
    del described["description_sha256"]  # of what it was before
    (sized / "model.json").write_text(json.dumps(described), encoding="utf-8")
    np.save(tmp_path / "some.npy", cube[0])
    options = PredictOptions(
        (tmp_path / "some.npy",),
        sized,
        tmp_path / "out",
        outputs=("png",),
        pixel_size=1.0,
        to_training_scale=True,
    )
    (sample,) = predict(options).done
    assert sample.rescaled
    assert (sample.left_out_px, sample.left_out_why) == (11, WHY)


def test_what_a_step_cannot_use_is_left_out_and_counted_where_it_is_asked_for():
    axis = np.linspace(1000.0, 1800.0, 12)
    values = np.random.default_rng(0).normal(5.0, 1.0, (6, 7, 12)).astype(np.float32)
    everything = np.ones((6, 7), bool)
    preparation = fit_preparation(
        [StandardNormalVariate()], axis, lambda: [Image.of(values, axis, everything)]
    )
    values[2:4] = 3.0
    values[4, 1:3] *= np.float32(1e-38)
    prepared = PreparedSpecimen.of(Specimen(CubeScan(Cube(values, axis)), "zero"), preparation)
    place, tissue = np.zeros_like(values), np.zeros((6, 7), bool)
    left_out = prepared.read_into(slice(0, 6), slice(0, 7), place, tissue, counted=(slice(3, 6), slice(2, 7)))
    assert left_out == {"snv: no finite result": 5, "no value beyond ±1e-30": 1}
    assert tissue.sum() == 6 * 7 - 14 - 2


def test_evaluation_scores_the_others_and_says_what_it_left_out(tmp_path):
    writer = StoreWriter(
        tmp_path / "data",
        channels=CHANNELS,
        wavenumbers_cm1=WAVENUMBERS_CM1,
        pixel_size_um=5.5,
        background="zero",
        created_by="a test",
    )
    with writer:
        for number in range(5):
            absorbance, tissue, _ = sample_arrays((12, 20), number)
            if number == 3:
                absorbance[1, 2] = np.nan
            if number == 4:
                absorbance[:] = np.nan
            label = number % 2
            writer.add(
                Sample(f"s{number}", label, "test", f"p{number}", 12, 20, False, "made"),
                absorbance,
                tissue,
                None,
            )
    model = write_model(tmp_path / "model")
    options = EvaluateOptions(
        model=model, data=tmp_path / "data", out=tmp_path / "report", bootstrap=10, importance="no"
    )
    _, said = evaluate(options)
    assert (
        "not scored: s4: no pixel is left to predict: of 240, 8 were left out (NaN or infinite values: 8)"
        in said
    )
    rows = list(
        csv.DictReader((tmp_path / "report" / "samples.csv").read_text(encoding="utf-8").splitlines())
    )
    assert [(row["id"], row["left_out_px"], row["left_out_why"]) for row in rows] == [
        *((f"s{number}", "0", "") for number in range(3)),
        ("s3", "1", "NaN or infinite values: 1"),
    ]
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert [sample["id"] for sample in metrics["not_scored"]] == ["s4"]
    assert any("Pixels were left out of 1 samples" in note for note in metrics["notes"])
