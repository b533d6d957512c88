"""Predictions that are written to an object store, read back from it, and shared by processes that are killed."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from object_store import bucket_of_its_own

from compseg_jax.cli.main import main
from compseg_jax.config.locations import location
from compseg_jax.prediction import claims
from compseg_jax.prediction import predict as predicting
from compseg_jax.prediction.formats import open_maps, open_overview, read_predictions
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import FolderError
from compseg_jax.runtime.interrupts import Interrupted
from compseg_jax.store.kvstore import LocationError, joined, names_below, read_bytes, write_bytes
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.source import ViewError
from tests.model_example import write_model
from tests.store_example import CHANNELS, WAVENUMBERS_CM1, write_store

ROOT = Path(__file__).parents[1]
TABLES = ("predictions.csv", "predictions.json", "run.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def bucket():
    with bucket_of_its_own() as url:
        yield url


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A store, a file with spectra, and one that is torn."""
    folder = tmp_path_factory.mktemp("inputs")
    write_store(folder / "store", sizes=((12, 20),), splits=("test",))
    (folder / "files").mkdir()
    cube = np.random.default_rng(0).uniform(0.1, 1, (31, 18, CHANNELS)).astype(np.float32)
    np.savez(folder / "files" / "one.npz", absorbance=cube, wavenumbers_cm1=WAVENUMBERS_CM1)
    (folder / "files" / "torn.npz").write_bytes(b"PK\x03\x04 no archive")
    return folder / "store", folder / "files"


def options_of(model, inputs, out) -> PredictOptions:
    return PredictOptions(inputs, model, out, outputs=("zarr", "png", "geojson", "tiff"))


def contents(place) -> dict[str, bytes | None]:
    return {name: read_bytes(joined(place, name)) for name in names_below(place)}


def without_seconds(text: bytes | None) -> dict:
    """Also without the hash, which holds them."""
    values = json.loads(text or b"")
    return {key: values[key] for key in values if key not in ("seconds", "description_sha256")}


@pytest.mark.slow
def test_all_files_are_those_of_a_folder_bit_for_bit(model, inputs, bucket, tmp_path, capsys):
    there, here = location(f"{bucket}/all"), tmp_path / "all"
    places = [str(each) for each in inputs]
    for out in (there, here):
        words = ["predict", *places, "--model", str(model), "--out", str(out)]
        assert main([*words, "--outputs", "zarr", "png", "geojson", "tiff"]) == 1  # the torn one
        printed = capsys.readouterr().out
        assert f"predictions: {out}/predictions.json" in printed
        assert f"view {out}" in printed
    written, wanted = contents(there), contents(here)
    assert written.keys() == wanted.keys()
    assert {name.rpartition("/")[2] for name in written} > {
        "activation.png", "segmentation.geojson", "activation.ome.tif", "zarr.json", "sample.json",
    }  # fmt: skip
    for name in written:
        if name.endswith(("sample.json", "failed.json")):
            assert without_seconds(written[name]) == without_seconds(wanted[name])
        elif name.endswith(".ome.tif"):  # each has an identifier of its own
            np.testing.assert_array_equal(
                *(tifffile.imread(io.BytesIO(each[name] or b"")) for each in (written, wanted))
            )
        elif name not in TABLES:
            assert written[name] == wanted[name], name
    rows = [without_seconds(json.dumps(row).encode()) for row in csv.DictReader(_text(written).splitlines())]
    assert [row["status"] for row in rows] == ["done", "done", "done", "failed"]
    assert rows == [
        without_seconds(json.dumps(row).encode()) for row in csv.DictReader(_text(wanted).splitlines())
    ]
    assert _same(read_predictions(there)) == _same(read_predictions(str(here)))


def _text(files: dict[str, bytes | None]) -> str:
    return (files["predictions.csv"] or b"").decode()


def _same(predictions):
    return [replace(sample, seconds=None) for sample in predictions.samples]


def test_what_is_finished_is_not_done_again_and_other_options_are_refused(model, inputs, bucket, monkeypatch):
    options = options_of(model, inputs[:1], location(f"{bucket}/again"))
    first = predicting.predict(options)
    before = contents(options.out)
    assert not any("claim" in name for name in before)
    second = predicting.predict(options)
    assert (len(first.done), len(second.done), second.before) == (2, 0, 2)
    after = contents(options.out)
    assert {name: text for name, text in after.items() if name not in TABLES} == {
        name: text for name, text in before.items() if name not in TABLES
    }
    with pytest.raises(FolderError, match=r"s3://lab/again was begun with .*threshold"):
        predicting.predict(replace(options, threshold=0.9))
    write_bytes(location(f"{bucket}/other/notes.txt"), b"mine")
    with pytest.raises(FolderError, match="s3://lab/other is there and holds no predictions"):
        predicting.predict(replace(options, out=location(f"{bucket}/other")))
    with pytest.raises(LocationError, match="read only"):
        predicting.predict(replace(options, out=location("https://127.0.0.1:9/p")))


def test_shards_write_the_tables_last_and_merging_says_what_is_missing(model, inputs, bucket):
    options = options_of(model, inputs[:1], location(f"{bucket}/shards"))
    assert predicting.predict(replace(options, shard="1/2")).missing == 1
    assert read_bytes(options.out / "predictions.json") is None
    assert predicting.predict(replace(options, merge=True)).missing == 1
    assert len(read_predictions(options.out).samples) == 1
    assert predicting.predict(replace(options, shard="2/2")).missing == 0
    assert [sample.id for sample in read_predictions(options.out).samples] == ["s0", "s1"]


def test_a_stopped_run_leaves_no_half_of_a_sample(model, inputs, bucket, monkeypatch):
    """Killed while a sample is carried up: no sample.json, so it is done anew over what is there."""
    options = options_of(model, inputs[:1], location(f"{bucket}/stopped"))

    with pytest.raises(Interrupted):
        predicting.predict(options, _Stopping())
    write_bytes(options.out / "samples" / "s1" / "mask.png", b"half of it")
    report = predicting.predict(options)
    assert len(report.done) + report.before == 2
    assert (read_bytes(options.out / "samples" / "s1" / "mask.png") or b"").startswith(b"\x89PNG")


class _Stopping(predicting.Listener):
    """Ctrl-C after the first sample."""

    def ended(self, sample):
        raise Interrupted("stopped")


@pytest.mark.slow
def test_it_is_looked_at_and_copied_from_its_url(model, inputs, bucket, tmp_path, capsys):
    options = options_of(model, inputs, location(f"{bucket}/shown"))
    predicting.predict(options)
    shown = open_source(options.out)
    assert shown.title == "shown: 4 predicted samples"
    view = shown.open("one")
    maps = open_maps(f"{bucket}/shown/samples/one/activation.ome.zarr")
    assert maps.shape == view.activation.shape_px == (31, 18)
    rows = slice(0, 31), slice(0, 18)
    np.testing.assert_array_equal(view.activation.levels[0].read(*rows), maps.activation[0][rows])
    assert open_overview(f"{bucket}/shown/samples/one/overview.ome.zarr").step == 1
    assert view.spectra is not None
    assert shown.open("s0").spectra is not None
    with pytest.raises(ViewError, match=r"s3://lab/nothing cannot be shown: no predictions\.json found"):
        open_source(location(f"{bucket}/nothing"))
    assert main(["copy", f"{bucket}/shown", "--out", str(tmp_path / "back")]) == 0
    assert contents(tmp_path / "back") == contents(options.out)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_of_four_workers_one_is_killed_and_nothing_is_lost_or_done_twice(
    kind, model, bucket, tmp_path, monkeypatch
):
    n = 40
    write_store(tmp_path / "store", sizes=((24, 20),) * (n // 2), splits=("test",))
    out = location(f"{bucket}/killed") if kind == "bucket" else tmp_path / "out"
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys\n"
        "from compseg_jax.prediction import claims\n"
        "claims.BEAT_S, claims.STALE_S = 0.5, 5.0\n"
        "from compseg_jax.cli.main import main\n"
        "sys.exit(main(['predict', *sys.argv[1:]]))\n"
    )
    words = [tmp_path / "store", "--model", model, "--out", out, "--outputs", "png"]
    workers = []
    for number in range(4):
        with (tmp_path / f"{number}.out").open("w") as said:
            workers.append(
                subprocess.Popen(
                    [sys.executable, worker, *map(str, words)],
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
                )
            )
    while not (begun := [each for each in range(4) if _lines(tmp_path / f"{each}.out")]):
        assert all(each.poll() is None for each in workers)
        time.sleep(0.005)
    workers[begun[0]].kill()  # it has finished a sample, and goes on with others
    assert sorted(each.wait() for each in workers) == [-9, 0, 0, 0]
    monkeypatch.setattr(claims, "STALE_S", 1.0)
    report = predicting.predict(PredictOptions((tmp_path / "store",), model, out, outputs=("png",)))
    done = [line.partition(":")[0] for each in range(4) for line in _lines(tmp_path / f"{each}.out")]
    assert len(done) == len(set(done)), "a sample was done twice"
    assert not report.done, "the survivors left a sample"
    predictions = read_predictions(out)
    assert sorted(sample.id for sample in predictions.samples) == sorted(f"s{i}" for i in range(n))
    assert all(sample.status == "done" for sample in predictions.samples)
    names = names_below(out)
    assert sum(name.endswith("sample.json") for name in names) == n
    assert not any("claim" in name for name in names)


def _lines(path: Path) -> list[str]:
    """Of finished samples: 's7: 24×20, …'."""
    return [line for line in path.read_text().splitlines() if "×" in line]
