"""Several processes predict into one folder: claims on samples, and what happens between two looks."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from object_store import bucket_of_its_own

from compseg_jax.config.locations import location
from compseg_jax.model import load_model
from compseg_jax.model.level import Match
from compseg_jax.prediction import claims
from compseg_jax.prediction import prediction_folder as folder
from compseg_jax.prediction.claims import Claims
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import FolderError, PredictionFolder
from compseg_jax.store import kvstore
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


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def samples(request, tmp_path):
    """Where samples lie: on the disk, and on an S3 server."""
    if request.param == "folder":
        yield tmp_path
    else:
        with bucket_of_its_own() as url:
            yield location(f"{url}/{tmp_path.name}")  # servers of one process share what they hold


def left_behind(samples, number=0, content=b'{"owner": "killed", "beat": 7}'):
    kvstore.write_bytes(samples / f".s.claim.{number}", content)


def claims_at(samples):
    return [name for name in kvstore.names_below(samples) if "claim" in name]


def test_a_sample_has_one_claim(samples):
    mine, others = Claims(samples), Claims(samples)
    with mine.take("s") as claim:
        assert others.take("s") is None
        assert others.take("s.claim") is not None
        assert not claim.is_lost()
    assert claims_at(samples) == [".s.claim.claim.0"]
    with others.take("s"):
        assert mine.take("s") is None


def test_a_claim_that_stays_the_same_is_taken_over_by_one_process(samples, monkeypatch):
    left_behind(samples)
    watching = Claims(samples)
    assert watching.take("s") is None  # seen for the first time
    monkeypatch.setattr(claims, "STALE_S", 0.0)
    with watching.take("s") as claim:
        assert claim.number == 1
        monkeypatch.setattr(claims, "STALE_S", 60.0)
        other = Claims(samples)
        assert other.take("s") is None
        left_behind(samples, 2)
        assert claim.is_lost()
    assert len(claims_at(samples)) == 3, "those of the process that took over stay"


def test_a_claim_with_a_beat_is_left_alone(samples, monkeypatch):
    """Its content changes: the clock of the watching process begins anew."""
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    watching = Claims(samples)
    with Claims(samples).take("s"):
        assert watching.take("s") is None
        begun = watching.seen("s")
        monkeypatch.setattr(claims, "STALE_S", 2.0)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert watching.take("s") is None
            time.sleep(0.1)
        assert watching.seen("s") != begun
    assert claims_at(samples) == []


def test_a_process_that_hangs_loses_its_sample_and_finds_out(samples, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 1000.0)
    with Claims(samples).take("s") as hung:
        watching = Claims(samples)
        assert watching.take("s") is None
        monkeypatch.setattr(claims, "STALE_S", 0.0)
        with watching.take("s") as other:
            assert (hung.is_lost(), other.is_lost()) == (True, False)
        assert hung.is_lost(), "released by the other one"
    assert claims_at(samples) == []


def test_a_claim_whose_answer_was_lost_is_ones_own(tmp_path, monkeypatch):
    """The store wrote it, the connection broke, and the driver's second try finds a key that is there."""
    monkeypatch.setattr(claims, "write_new", lambda place, text: kvstore.write_new(place, text) and False)
    with Claims(tmp_path).take("s") as claim:
        assert (claim.number, claim.is_lost()) == (0, False)


def test_what_others_hold_is_waited_for_until_it_is_known_who_works_on_it(
    model, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "LOOK_S", 0.02)
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    monkeypatch.setattr(claims, "STALE_S", 1.0)
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",))
    dead, worked_on = (sample.id for sample in store.samples[:2])
    PredictionFolder(options, load_model(model)).begin(lambda: Match.none("not asked for"))
    samples = options.out / "samples"
    kvstore.write_bytes(samples / f".{dead}.claim.0", b'{"owner": "killed", "beat": 7}')
    with Claims(samples).take(worked_on):
        report = predict(options)
    assert report.elsewhere == [worked_on]
    assert {sample.id for sample in report.done} == {each.id for each in store.samples} - {worked_on}
    assert sorted(path.name for path in samples.iterdir()) == sorted(sample.id for sample in report.done)


def test_a_sample_that_is_finished_while_it_is_looked_for_is_not_damaged(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",), split="test")
    predict(options)
    place = PredictionFolder(options, load_model(model))
    entry = options.out / "samples" / store.split("test")[0].id / "sample.json"
    text = entry.read_text()
    entry.unlink()
    assert place.sample(entry.parent.name) is None
    entry.write_text(text)
    assert place.sample(entry.parent.name).status == "done"
    entry.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        place.sample(entry.parent.name)


def test_a_failure_of_before_is_tried_again_and_one_of_now_is_not(model, store, tmp_path, monkeypatch):
    options = PredictOptions((store.path,), model, tmp_path / "out")
    place = PredictionFolder(options, load_model(model))
    place.begin(lambda: Match.none("not asked for"))
    failed = folder.SamplePrediction(id="s0", source="there", status="failed", error="torn")
    place.put_failure(failed)
    assert place.failure("s0") == failed
    later = PredictionFolder(options, load_model(model))
    later.begin(lambda: Match.none("not asked for"))
    assert later.failure("s0") is None
    later.put_failure(replace(failed, error="torn again"))
    assert later.failure("s0").error == "torn again"
    later.forget_failure("s0")
    assert later.failure("s0") is None


def test_a_folder_that_another_process_begins_is_joined(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "out")
    place = PredictionFolder(options, load_model(model))
    place.samples.mkdir(parents=True)
    (place.path / "run.json.__lock").write_text("{")
    place.begin(lambda: Match.none("not asked for"))
    assert (place.path / "run.json").exists()
    (place.path / "run.json").unlink()
    (place.samples / "mine.txt").touch()
    with pytest.raises(FolderError, match="holds no predictions"):
        place.begin(lambda: Match.none("not asked for"))


def test_an_entry_of_another_sample_is_refused(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "p", outputs=("png",))
    predict(options)
    one, other = sorted((tmp_path / "p" / "samples").glob("*/sample.json"))[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(FolderError, match=rf"{one.parent.name}.* is that of {other.parent.name!r}"):
        predict(options)
