"""What files state is held against one description each: a value that fits none is named, whoever reads it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Network, Objective, Training, from_json, to_json
from compseg_jax.config.training import Optimiser
from compseg_jax.evaluation.evaluate import EvaluateOptions
from compseg_jax.model import ModelError
from compseg_jax.model.model_files import add_evaluation, load_network, save_network
from compseg_jax.model.run_folder import write_run
from compseg_jax.prediction.formats.prediction_tables import (
    Predictions,
    SamplePrediction,
    write_predictions,
    write_sample,
)
from compseg_jax.store import Store
from compseg_jax.store.read import StoreError
from compseg_jax.store.write import StoreWriter
from tests.model_example import write_model
from tests.store_example import write_store


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "data", sizes=((7, 9),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": -1}, "threshold = -1: must be a finite number, at least 0 and at most 1"),
        ({"threshold": 2}, "threshold = 2: must be"),
        ({"threshold": math.inf}, "threshold = Infinity: must be"),
        ({"threshold": math.nan}, "threshold = NaN: must be"),
        ({"threshold": True}, "threshold = true: must be"),
        ({"threshold": [0.5]}, r"threshold = \[0.5\]: must be"),
        ({"scaling": {"mean": [0, 0, 0], "sd": [1, 1]}}, "scaling has 3 means and 2 standard deviations"),
        ({"scaling": {"mean": [0, 0, 0], "sd": [1, 0, 1]}}, r"scaling.sd\[1\] = 0: must be a finite number, above 0"),
        ({"scaling": {"mean": [0, 0, 0]}}, "scaling.sd missing"),
        ({"scaling": [1, 2, 3]}, "scaling = .* must be an object"),
        ({"wavenumbers_cm1": [1700, 1650]}, "2 wavenumbers for 3 channels"),
        ({"wavenumbers_cm1": [1700, 1700, 1700]}, "must be strictly rising or falling"),
        ({"wavenumbers_cm1": [1700, math.nan, 1100]}, r"wavenumbers_cm1\[1\] = NaN"),
        ({"pixel_size_um": "ten"}, 'pixel_size_um = "ten": must be a finite number, above 0'),
        ({"preparation": [{"step": "magic", "settings": {}, "wavenumbers_cm1": [1, 2], "fitted": {}}]},
         "there is no step 'magic'"),
        ({"preparation": [{"step": "vector"}]}, r"preparation\[0\].settings missing"),
        ({"prepared_steps": 3}, "prepared_steps = 3: must be at most the 0 steps"),
        ({"background": "black"}, 'background = "black": must be one of "zero", "none"'),
        ({"maps": 0}, "maps = 0: must be an integer, at least 1"),
        ({"network": {"base": 0}}, "network.base=0: must be at least 1 and at most 1,024"),
        ({"area_cut": -0.1}, "area_cut = -0.1: must be"),
    ],
)  # fmt: skip
def test_a_model_that_states_nonsense_is_refused(model, tmp_path, capsys, change, message):
    values = json.loads((model / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(values | change))
    with pytest.raises(ModelError, match=rf"model\.json: .*{message}"):
        load_model(tmp_path)
    assert main(["check", str(tmp_path)]) == 1
    assert "model.json: found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.2},
        {"scaling": {"mean": [5, 5, 5], "sd": [2, 2, 2.5]}},
        {"network": "gelu"},
        {"recipe": "another"},
    ],
)
def test_an_edited_description_is_refused(model, tmp_path, change):
    values = json.loads((model / "model.json").read_text())
    if change == {"network": "gelu"}:
        change = {"network": values["network"] | {"activation": "gelu"}}
    (tmp_path / "model.json").write_text(json.dumps(values | change))
    with pytest.raises(ModelError, match=r"description_sha256 states .* was edited or damaged"):
        load_model(tmp_path)


def test_a_description_that_was_written_anew_without_a_change_is_read(model, tmp_path):
    """The hash is of the values: blanks, the order of keys and escapes say nothing."""
    loaded = load_network(model)
    description = {**loaded.description, "recipe": "größe", "history": [{"val_auc": np.nan}], 3: 4}
    save_network(
        tmp_path / "model", dataclasses.replace(loaded, description=description), Network(base=2, depth=1)
    )
    path = tmp_path / "model" / "model.json"
    values = json.loads(path.read_text())
    assert values["history"] == [{"val_auc": None}]
    path.write_text(json.dumps(dict(reversed(values.items())), ensure_ascii=True))
    assert load_model(tmp_path / "model").description["recipe"] == "größe"
    add_evaluation(tmp_path / "model", load_network(tmp_path / "model"), {"store": "a", "split": "test", "n_groups": 1,
        "n_diseased": 1, "n_healthy": 1, "n_with_reference": 1, "is_test": True, "seen": "", "verdict": "",
        **dict.fromkeys(("auc_area", "dice_mean", "dice_predict_everything", "false_positive_area_healthy",
                         "sensitivity", "specificity"))})  # fmt: skip
    assert load_model(tmp_path / "model").is_sealed


def test_a_model_without_a_hash_is_read_and_says_so(model, tmp_path, capsys):
    assert main(["check", str(model)]) == 0
    assert "description: as its hash says" in capsys.readouterr().out
    write_model(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    values = json.loads(path.read_text())
    del values["description_sha256"]
    path.write_text(json.dumps(values))
    assert not load_model(tmp_path / "model").is_sealed
    assert main(["check", str(tmp_path / "model")]) == 0
    assert "states no hash of its description" in capsys.readouterr().out


def test_what_cannot_be_read_is_not_written(model, tmp_path):
    loaded = load_network(model)
    for wrong in ({"threshold": 1.5}, {"description": {"pixel_size_um": -1.0}}):
        with pytest.raises(ValueError, match="must be a finite number"):
            save_network(tmp_path / "model", dataclasses.replace(loaded, **wrong), Network(base=2, depth=1))
    axis = np.array([1700.0, 1700.0, 1100.0])
    with (
        pytest.raises(ValueError, match="strictly rising or falling"),
        StoreWriter(
            tmp_path / "store",
            channels=3,
            wavenumbers_cm1=axis,
            pixel_size_um=None,
            background="zero",
            created_by="",
        ),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels = 0: must be an integer, at least 1"),
        ({"wavenumbers_cm1": [1700.25, 1650.0]}, "2 wavenumbers for 3 channels"),
        ({"wavenumbers_cm1": [5.0, 5.0, 5.0]}, "strictly rising or falling"),
        ({"wavenumbers_cm1": [1700.25, math.nan, 1100.5]}, r"wavenumbers_cm1\[1\] = NaN"),
        ({"pixel_size_um": "ten"}, 'pixel_size_um = "ten"'),
        ({"pixel_size_um": 0}, "pixel_size_um = 0: must be a finite number, above 0"),
        ({"background": 0}, "background = 0: must be one of"),
        ({"preparation": [{"step": "magic", "settings": {}, "wavenumbers_cm1": [1], "fitted": {}}]}, "no step 'magic'"),
        ({"preparation": [{"step": "vector", "settings": {}, "wavenumbers_cm1": [1], "fitted": {"a": [math.nan]}}]},
         r"preparation\[0\].fitted.a: must be finite numbers"),
    ],
)  # fmt: skip
def test_a_store_that_states_nonsense_is_refused(store, tmp_path, capsys, change, message):
    values = json.loads((store.path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(values | change))
    (tmp_path / "samples.csv").write_bytes((store.path / "samples.csv").read_bytes())
    with pytest.raises(StoreError, match=rf"dataset\.json: .*{message}"):
        Store.open(tmp_path)
    assert main(["check", str(tmp_path)]) == 1
    assert "dataset.json" in capsys.readouterr().err


def test_rows_that_no_sample_can_have_are_refused(store, tmp_path):
    (tmp_path / "dataset.json").write_bytes((store.path / "dataset.json").read_bytes())
    lines = (store.path / "samples.csv").read_text().splitlines()
    names = lines[0].split(",")
    for name, value, message in (
        ("height", "0", "height=0: must be at least 1"),
        ("pixel_size_um", "nan", "pixel_size_um=nan: must be above 0"),
        ("id", "s1", "id 's1' stands in row 3 already"),
    ):
        row = lines[3].split(",")
        row[names.index(name)] = value
        (tmp_path / "samples.csv").write_text("\n".join([*lines[:3], ",".join(row), *lines[4:]]))
        with pytest.raises(StoreError, match=rf"samples\.csv cannot be read \(row 4: .*{message}"):
            Store.open(tmp_path)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        (Optimiser, "learning_rate", -1.0), (Optimiser, "learning_rate", math.nan), (Optimiser, "clip_norm", math.inf),
        (Optimiser, "decay", math.nan), (Network, "depth", 20), (Network, "base", 0), (Network, "dropout", math.nan),
        (Network, "head_bias", math.nan), (Objective, "alpha", math.nan), (Objective, "healthy_weight", -1.0),
        (Training, "seed", 2**70), (Training, "seed", -1), (Training, "start_share", math.nan),
        (Training, "resident_limit_gib", math.nan), (EvaluateOptions, "threshold", 2.0),
        (EvaluateOptions, "threshold", math.nan),
    ],
)  # fmt: skip
def test_no_option_takes_nonsense(group, name, value):
    with pytest.raises(ValueError, match=rf"{name}={value}: must be "):
        group(**{name: value})


def test_features_of_the_deepest_level_are_bounded():
    assert Network(base=64, depth=8).depth == 8
    with pytest.raises(ValueError, match="base=1024 and depth=8: the deepest level has"):
        Network(base=1024, depth=8)


def test_every_recipe_lies_within_its_ranges_and_survives_json():
    for recipe in RECIPES.values():
        assert from_json(Training, to_json(recipe)) == recipe


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--threshold", "nan"],
        ["train", "--learning-rate", "nan"],
        ["predict", "x", "--memory-gib", "inf"],
        ["train", "--seed", str(2**70)],
    ],
)
def test_the_command_line_refuses_what_is_no_number(words, capsys):
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "finite number is required" in said or "must be at least 0 and at most 4,294,967,295" in said


def test_runs_and_predictions_are_checked_as_well(model, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "run" / "model")
    write_run(tmp_path / "run", Training(out=tmp_path / "run"))
    assert main(["check", str(tmp_path / "run")]) == 0
    assert "config.json: every field in its range" in capsys.readouterr().out
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"epochs": 60', '"epochs": -1'))
    assert main(["check", str(tmp_path / "run")]) == 1
    assert "epochs=-1: must be at least 0 and at most 1,000,000" in capsys.readouterr().err

    sample = SamplePrediction(id="a", source="a.npy", status="done", score=0.25)
    write_predictions(tmp_path, Predictions(model={}, threshold=0.5, samples=(sample,)))
    assert main(["check", str(tmp_path)]) == 1
    assert "samples/a: no sample.json found" in capsys.readouterr().err
    (tmp_path / "samples/a").mkdir(parents=True)
    write_sample(tmp_path / "samples/a/sample.json", sample)
    assert main(["check", str(tmp_path)]) == 0
    assert "1 samples, 0 of them failed, threshold 0.5" in capsys.readouterr().out
    path = tmp_path / "predictions.json"
    for before, after, message in (
        ('"score": 0.25', '"score": 25', "score = 25: must be a finite number, at least 0 and at most 1"),
        ('"threshold": 0.5', '"threshold": true', "threshold = true: must be"),
    ):
        text = path.read_text()
        edited = text.replace(before, after)
        assert edited != text
        path.write_text(edited)
        assert main(["check", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert message in error or "The file was edited or damaged" in error
        # As a file of an earlier release, which states no hash of its values.
        unsealed = json.loads(edited)
        del unsealed["description_sha256"]
        path.write_text(json.dumps(unsealed))
        assert main(["check", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err
        path.write_text(text)
