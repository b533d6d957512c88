"""Runs in MLflow: sent where its environment says so, to files here; nothing imported and nothing ended otherwise."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from store_example import write_store

from compseg_jax.config import recipe
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.model.run_folder import write_run
from compseg_jax.runtime.extras import install_line
from compseg_jax.runtime.interrupts import Interrupted
from compseg_jax.runtime.tracking import EXPERIMENT, FILES_ALLOWED, TRACKED, URI, Tracking, track
from compseg_jax.training.run_reporter import RunReporter
from tests.model_example import write_model

RECORD = {
    "epoch": 1, "loss": 0.5, "val_loss": 0.25, "val_auc": None, "gradient_norm": 1.0, "samples_per_s": 3.0,
    "seconds": 0.1, "is_best": True,
}  # fmt: skip


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A client of a store of files that the environment names."""
    library = pytest.importorskip("mlflow", reason="tracking needs mlflow: pip install 'compseg-jax[mlflow]'")
    monkeypatch.setenv(URI, (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv(EXPERIMENT, "arrays")
    monkeypatch.setenv(FILES_ALLOWED, "true")
    return library.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def epochs(folder, numbers, tracking, history=()):
    with RunReporter(folder, 3, list(history), tensorboard=False, tracking=tracking, quiet=True) as reporter:
        for number in numbers:
            reporter.epoch({**RECORD, "epoch": number, "loss": 1 / number})


@pytest.mark.filterwarnings("ignore::Warning:mlflow")
def test_epochs_and_figures_stand_in_one_run_of_mlflow(mlflow, tmp_path):
    write_store(tmp_path / "store", sizes=((7, 9),))
    run = tmp_path / "runs" / "mine"
    write_run(run, replace(recipe("default"), data=tmp_path / "store", out=run))
    write_model(run / "model")
    epochs(run, [1, 2], track(run, {"objective.alpha": 0.1, "prepare": ["auto"], "recipe": "default"}))
    epochs(run, [3], track(run, {"objective.alpha": 0.1}), history=[RECORD, RECORD])
    page, said = evaluate(
        EvaluateOptions(model=run, data=None, out=run / "report", bootstrap=10, importance="no")
    )
    run_id = json.loads((run / TRACKED).read_text())["run_id"]
    assert f"MLflow: run {run_id}" in said
    experiment = mlflow.get_experiment_by_name("arrays")
    (found,) = mlflow.search_runs([experiment.experiment_id])
    assert found.info.run_id == run_id
    assert (found.info.run_name, found.info.status) == ("runs/mine", "FINISHED")
    assert found.data.params == {"objective.alpha": "0.1", "prepare": '["auto"]', "recipe": "default"}
    losses = mlflow.get_metric_history(run_id, "loss")
    assert [(each.step, each.value) for each in losses] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert "val_auc" not in found.data.metrics
    metrics = json.loads((page.parent / "metrics.json").read_text())
    assert found.data.metrics["test/auc_area"] == metrics["auc_area"]
    assert found.data.metrics["test/auc_area_ci95_low"] == metrics["auc_area_ci95"][0]
    assert found.data.tags["test/verdict"] == metrics["verdict"]["sentence"]
    paths = {each.path for each in mlflow.list_artifacts(run_id, "report_test")}
    assert {"report_test/metrics.json", "report_test/report.html", "report_test/samples.csv"} <= paths


@pytest.mark.filterwarnings("ignore::Warning:mlflow")
def test_a_run_says_how_it_ended(mlflow, tmp_path):
    for error, status in ((Interrupted("stopped"), "KILLED"), (ValueError("broken"), "FAILED")):
        folder = tmp_path / status
        folder.mkdir()
        tracking = track(folder, {})
        with (
            pytest.raises(type(error)),
            RunReporter(folder, 3, [], tensorboard=False, tracking=tracking, quiet=True),
        ):
            raise error
        assert mlflow.get_run(tracking.run_id).info.status == status


def test_nothing_is_imported_where_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.delenv(URI, raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it would fail
    said = []
    assert track(tmp_path, {}, say=said.append) is None
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv(URI, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = []
    assert track(tmp_path, {}, say=said.append) is None
    (line,) = said
    assert install_line("mlflow") in line
    assert "\n" not in line


def test_a_server_that_fails_ends_no_run(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("gone\nwith details")

    said = []
    client = SimpleNamespace(set_tag=refuse, log_artifact=refuse, set_terminated=refuse)
    tracking = Tracking("r", client, said.append)
    tracking.tags({"a": "b"})
    tracking.artifacts([tmp_path])
    tracking.end("FINISHED")
    assert said == [
        "MLflow: nothing more is sent, as it failed (ConnectionError: gone); log.jsonl holds the same."
    ]
    monkeypatch.setenv(URI, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=refuse))
    assert track(tmp_path, {}, say=said.append) is None
    assert "http://127.0.0.1:9 failed (ConnectionError: gone)" in said[-1]
