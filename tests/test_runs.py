"""`compseg runs`: what a run folder says, and all runs below a folder, damaged ones named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs_example import EPOCHS, write_a_report, write_a_run

from compseg_jax.cli.main import main
from compseg_jax.config import Ensemble
from compseg_jax.evaluation.report import report_folder
from compseg_jax.evaluation.run_records import RunFolderError, find_runs, read_run_record
from compseg_jax.model import ModelError

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True, scope="module")
def short_pages():
    """Pages are one line, quickly written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_folder, "report_page", lambda *_: f"<html>{report_folder.GENERATOR}</html>")
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Two finished runs, one with two reports and one whose report lies elsewhere, and one that goes on."""
    top = tmp_path_factory.mktemp("written")
    data, folder = top / "store", top / "runs"
    data.mkdir()
    write_a_run(folder / "a", data)
    write_a_report(folder / "a" / "report", folder / "a" / "model", data)
    write_a_report(folder / "a" / "val", folder / "a" / "model", data, split="val", judged=False)
    shutil.copytree(folder / "a" / "model", folder / "b" / "model")
    write_a_run(folder / "b", data, seed=7, model=False)
    write_a_report(folder / "of_b", folder / "b", data, sha="0" * 64)
    shutil.copytree(folder / "a" / "model", folder / "c" / "model")
    write_a_run(folder / "c", data, epochs=EPOCHS + 5, model=False)
    return top


@pytest.fixture
def runs(written: Path, tmp_path: Path) -> Path:
    """The same in another place, to change."""
    return shutil.copytree(written, tmp_path / "moved") / "runs"


def test_a_run_says_what_its_files_hold(runs):
    record = read_run_record(runs / "a")
    metrics = json.loads((runs / "a" / "report" / "metrics.json").read_text())
    assert (record.kind, record.state, record.is_finished) == ("network", "3 epochs", True)
    assert record.config is not None
    assert (record.data, record.config.seed) == (runs.parent / "store", 0)
    assert record.seconds == 6.0
    assert record.best["val_auc"] == 0.75
    report, val = record.scores
    assert (report.split, val.split) == ("test", "val")
    assert report.metrics["auc_area"] == metrics["auc_area"]
    assert report.verdict == metrics["verdict"]["sentence"]
    assert (report.is_test, val.is_test) == (True, None)
    rows = [(row["label"], float(row["area_fraction"])) for row in report.rows]
    assert report.areas["diseased"] == pytest.approx(np.mean([area for label, area in rows if label == "1"]))
    assert record.settings()["objective.alpha"] == record.config.objective.alpha
    assert replace(read_run_record(runs / "a" / "model"), scores=()) == replace(record, scores=())


def test_all_runs_are_listed_with_their_reports(runs, capsys):
    found = find_runs(runs)
    assert [run.folder.name for run in found.runs] == ["a", "b", "c"]
    assert [len(run.scores) for run in found.runs] == [2, 1, 0]
    assert found.runs[2].state == f"epoch 3 of {EPOCHS + 5}"
    assert main(["runs", str(runs)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["run", "data", "recipe", "seed"]
    assert "labels" in head
    auc = found.runs[0].scores[0].metrics["auc_area"]
    assert lines[0].startswith("a ")
    assert f"{auc:.2f} (" in lines[0]
    assert "6 s" in lines[0]
    assert "val†" in lines[1]
    assert "test*" in lines[2]  # the report names other weights
    assert lines[-2].startswith("* of a network that was replaced")
    assert lines[-1].startswith("† the model saw")
    assert main(["runs", str(runs), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["seconds"] for run in told["runs"]] == [6.0, 6.0, 6.0]
    assert [each["is_of_other_weights"] for each in told["runs"][1]["scores"]] == [True]


def test_damaged_runs_are_named_and_hide_no_other(runs, capsys):
    (runs / "b" / "model" / "model.json").write_text('{"format": "compseg-mo')
    (runs / "a" / "val" / "metrics.json").write_text("[")
    (runs / "c" / "config.json").write_text('{"epohcs": 3}')
    with (runs / "a" / "log.jsonl").open("a") as log:
        log.write('{"epoch": 4, "se')  # a process was killed while it wrote
    found = find_runs(runs)
    assert [(run.folder.name, run.seconds, len(run.scores)) for run in found.runs] == [("a", 6.0, 1)]
    assert [each.folder.relative_to(runs).as_posix() for each in found.damaged] == ["a/val", "b", "c"]
    assert main(["runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "model.json" in said
    assert "epohcs" in said
    with pytest.raises(ValueError, match=r"metrics\.json"):
        read_run_record(runs / "a" / "val")
    (runs / "a" / "log.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(RunFolderError, match=r"log\.jsonl: line 1"):
        read_run_record(runs / "a", reports=[])
    with pytest.raises(ModelError):
        read_run_record(runs / "b")


def test_a_report_stands_with_its_run_elsewhere_or_alone(runs, written):
    shutil.rmtree(runs / "b")
    elsewhere = [run.folder for run in find_runs(runs).runs if run.folder.name == "b"]
    assert elsewhere == [written / "runs" / "b"]
    source = runs / "of_b" / "source.json"
    values = json.loads(source.read_text())
    values["model"] |= {"path": str(runs / "gone"), "relative": "gone"}
    source.write_text(json.dumps(values))
    (alone,) = [run for run in find_runs(runs).runs if run.kind == "report"]
    assert alone.folder == runs / "of_b"
    assert alone.config is None
    assert alone.data == runs.parent / "store"
    assert alone.settings() == {}


def test_an_ensemble_is_one_run_and_networks_side_by_side_share_their_time(tmp_path):
    out = tmp_path / "runs" / "e"
    config = write_a_run(out, tmp_path / "store", model=False, ensemble=Ensemble(folds=2))
    for name in ("fold0-seed0", "fold1-seed0"):
        write_a_run(out / "members" / name, tmp_path / "store", model=False)
        log = out / "members" / name / "log.jsonl"
        records = [json.loads(line) | {"networks_at_once": 2} for line in log.read_text().splitlines()]
        log.write_text("".join(json.dumps(record) + "\n" for record in records))
    (record,) = find_runs(tmp_path).runs
    assert (record.kind, record.networks, record.is_finished) == (
        "ensemble",
        config.ensemble.n_members,
        False,
    )
    assert record.seconds == 6.0


def test_runs_of_earlier_releases_are_read():
    found = find_runs(DATA)
    assert not found.damaged
    kinds = {run.folder.name: run.kind for run in found.runs}
    assert kinds == {"ensemble_v1": "ensemble", "model_v1": "network"}
    (ensemble, model) = found.runs
    assert ensemble.networks == 2
    assert [scores.split for scores in model.scores] == ["val"]


def test_a_folder_without_runs_is_no_list(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert main(["runs", str(tmp_path / "none")]) == 1
    with pytest.raises(RunFolderError, match="holds no run, model or report"):
        read_run_record(tmp_path)
