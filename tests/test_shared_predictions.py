"""Several processes predict into one folder: claims on samples, and what happens between two looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from compseg_jax.model import load_model
from compseg_jax.prediction import claims
from compseg_jax.prediction import prediction_folder as folder
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import FolderError, PredictionFolder
from compseg_jax.runtime.processes import has_ended, machine
from tests.model_example import write_model
from tests.store_example import write_store


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "data")


def test_processes_share_the_samples(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",))
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(predict(options))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [sample.id for report in reports for sample in report.done]
    assert len(done) == len(set(done)) == len(store.samples)
    assert not any(report.failed for report in reports)
    index = json.loads((options.out / "predictions.json").read_text(encoding="utf-8"))
    assert len(index["samples"]) == len(store.samples)


def test_claims(tmp_path):
    with claims.take(tmp_path, "s") as claim:
        assert claims.take(tmp_path, "s") is None
        assert claims.take(tmp_path, "s.claim") is not None
        assert not claim.is_lost()
    assert not list(tmp_path.glob(".s.claim.[0-9]"))

    def left_behind(**owner):
        path = tmp_path / ".s.claim.0"
        path.write_text(json.dumps({"machine": machine(), "pid": os.getpid(), "started": None, **owner}))
        return path

    left_behind()
    assert claims.take(tmp_path, "s") is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left_behind(pid=ended.pid)
    with claims.take(tmp_path, "s") as claim:
        assert claim.number == 1
        assert claims.take(tmp_path, "s") is None
    assert not list(tmp_path.glob(".s.claim.[0-9]"))
    left_behind(started="1")  # the number of a process that ended was given to another one
    with claims.take(tmp_path, "s"):
        pass
    path = left_behind(machine="another container of the same host name", pid=ended.pid)
    assert claims.take(tmp_path, "s") is None
    old = path.stat().st_mtime - claims.STALE_S - 1
    os.utime(path, (old, old))
    first = claims.take(tmp_path, "s")
    assert first is not None
    assert claims.take(tmp_path, "s") is None
    (tmp_path / ".s.claim.2").write_text("{}")
    assert first.is_lost()


def test_a_process_that_hangs_loses_its_sample_and_finds_out(tmp_path, monkeypatch):
    """Its number says that it lives; that it touches nothing says that it does not work."""
    monkeypatch.setattr(claims, "BEAT_S", 1000.0)
    with claims.take(tmp_path, "s") as hung:
        old = hung.path.stat().st_mtime - claims.STALE_S - 1
        os.utime(hung.path, (old, old))
        with claims.take(tmp_path, "s") as other:
            assert (hung.is_lost(), other.is_lost()) == (True, False)


def test_windows_is_never_asked_by_a_signal(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signal 0 is Ctrl-C there"))
    assert not has_ended(os.getpid(), None)


def test_a_sample_that_is_finished_while_it_is_looked_for_is_not_damaged(model, store, tmp_path, monkeypatch):
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",), split="test")
    predict(options)
    place = PredictionFolder(options, load_model(model))
    entry = options.out / "samples" / store.split("test")[0].id / "sample.json"
    text, look = entry.read_text(), folder.read_sample
    entry.unlink()

    def finished_behind_the_look(path):
        try:
            return look(path)
        finally:
            path.write_text(text)

    monkeypatch.setattr(folder, "read_sample", finished_behind_the_look)
    assert place.sample(entry.parent.name) is None
    assert place.sample(entry.parent.name).status == "done"
    text = "{"
    assert place.sample(entry.parent.name).status == "done"
    with pytest.raises(ValueError, match="damaged"):
        place.sample(entry.parent.name)


def test_a_failure_that_another_process_forgets_is_none(model, store, tmp_path, monkeypatch):
    options = PredictOptions((store.path,), model, tmp_path / "out")
    place = PredictionFolder(options, load_model(model))
    place.begin()
    failed = folder.SamplePrediction(id="s0", source="there", status="failed", error="torn")
    place.put_failure(failed)
    assert place.failure("s0")[0] == failed
    look = folder.read_sample

    def forgotten_behind_the_look(path):
        found = look(path)
        path.unlink()
        return found

    monkeypatch.setattr(folder, "read_sample", forgotten_behind_the_look)
    assert place.failure("s0") is None


def test_a_folder_that_another_process_begins_is_joined(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "out")
    place = PredictionFolder(options, load_model(model))
    place.samples.mkdir(parents=True)
    (place.path / ".run.json.0123").write_text("{")
    place.begin()
    assert (place.path / "run.json").exists()
    (place.path / "run.json").unlink()
    (place.samples / "mine.txt").touch()
    with pytest.raises(FolderError, match="holds no predictions"):
        place.begin()
