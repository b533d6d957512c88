"""Stores and models behind URLs, on an S3 server and a web server that the tests start."""

from __future__ import annotations

import csv
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from object_store import SECRET, s3_server, web_server
from store_example import sample_arrays, write_store

from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Network, Training, from_json, to_json
from compseg_jax.config.location import Url, location
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ModelError, load_model
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.store import kvstore
from compseg_jax.store.kvstore import LocationError, joined, names_below, read_bytes, write_new
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import WRITER_AT_WORK, StoreWriter
from compseg_jax.training.run import train


@pytest.fixture(scope="module", autouse=True)
def credentials():
    """Keys that no file may hold, and no settings of the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield patch


@pytest.fixture(scope="module")
def bucket(credentials):
    """A bucket of an S3 server, as a URL."""
    with s3_server("lab") as endpoint:
        credentials.setenv("AWS_ENDPOINT_URL", endpoint)
        yield "s3://lab"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def keys_of(url: str) -> dict[str, bytes | None]:
    place = location(url)
    return {name: read_bytes(joined(place, name)) for name in names_below(place)}


# What a place is called


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("s3://lab/a//b/", "s3://lab/a/b"),
        ("S3://lab", "s3://lab"),
        ("gs://lab/a", "gs://lab/a"),
        ("https://host:8080/a%20b/ä", "https://host:8080/a b/ä"),
    ],
)
def test_a_url_keeps_its_slashes(text, written):
    place = location(text)
    assert isinstance(place, Url)
    assert str(place) == written
    assert location(place) == place == location(str(place))
    assert (place / "x" / "y").name == "y"
    assert (place / "x").parent == place
    assert (place / "x").parents[0] == place


@pytest.mark.parametrize(
    ("text", "path"),
    [("runs/a", "runs/a"), ("file:///data/a%20b", "/data/a b"), ("file://localhost/d", "/d")],
)
def test_paths_and_file_urls_are_paths(text, path):
    assert location(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/a", "ftp:// is not read or written"),
        ("s3://", "required is s3://BUCKET/NAME"),
        ("http:///a", "required is http://HOST/NAME"),
        ("s3://lab/../other", r"without \. and \.\."),
        ("file://elsewhere/a", "of this machine"),
        (f"https://user:{SECRET}@host/a", "credentials belong"),
        (f"https://host/a?X-Amz-Signature={SECRET}", "credentials belong"),
        (f"s3://lab/a#{SECRET}", "credentials belong"),
    ],
)
def test_what_is_no_place_is_refused_and_no_secret_repeated(text, message):
    with pytest.raises(ValueError, match=message) as refused:
        location(text)
    assert SECRET not in str(refused.value)


def test_a_path_that_was_a_url_is_refused():
    with pytest.raises(ValueError, match=r"s3://lab/a: .*give the URL as text"):
        Store.open(Path("s3://lab/a"))


def test_a_configuration_keeps_urls_as_text():
    config = Training(data=location("s3://lab/a"), init_from=location("http://host/m"))
    values = to_json(config)
    assert values["data"] == "s3://lab/a"
    assert from_json(Training, values) == config


# Stores


def test_a_store_is_the_same_in_a_bucket_in_a_folder_and_on_a_web_server(bucket, tmp_path):
    few = {"sizes": ((12, 20), (7, 9)), "splits": ("train", "test")}
    here = write_store(tmp_path / "store", **few)
    there = write_store(f"{bucket}/trials/one", **few)
    assert keys_of(f"{bucket}/trials/one") == files_of(tmp_path / "store")
    with web_server(tmp_path) as (root, asked):
        stores = [there, Store.open(f"{root}/store")]
        for store in stores:
            assert store.samples == here.samples
            assert store.name in ("one", "store")
            for sample in here.samples:
                np.testing.assert_array_equal(store.read(sample.id), here.read(sample.id))
                np.testing.assert_array_equal(store.tissue(sample.id), here.tissue(sample.id))
                if sample.has_reference:
                    np.testing.assert_array_equal(store.reference(sample.id), here.reference(sample.id))
        with pytest.raises(StoreError, match="holds no reference mask"):
            there.reference("s0")
    assert sum(path == "/store/samples.csv" for path, _ in asked) == 1


def test_a_crop_asks_for_the_tiles_it_touches(tmp_path):
    shape = (96, 64, 3)
    cube = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    writer = StoreWriter(
        tmp_path / "s",
        channels=3,
        wavenumbers_cm1=None,
        pixel_size_um=None,
        background="none",
        created_by="test",
    )
    with writer:
        writer.add(Sample("a", 0, "test", "a", 96, 64, False), cube, np.ones(shape[:2], bool), None)
    size = (tmp_path / "s/cubes/a.zarr/0/c/0/0/0").stat().st_size
    with web_server(tmp_path) as (root, asked):
        store = Store.open(f"{root}/s")
        np.testing.assert_array_equal(store.read_crop("a", slice(32, 64), slice(0, 32)), cube[32:64, :32])
        spans = [span for path, span in asked if path.endswith("/c/0/0/0")]
    assert spans
    assert all(spans), "the whole file was asked for"
    assert sum(_bytes(span, size) for span in spans) < size / 3


def _bytes(span: str, size: int) -> int:
    first, _, last = span.removeprefix("bytes=").partition("-")
    return int(last) + 1 - int(first) if first and last else int(last or size - int(first))


def test_a_store_that_fails_leaves_nothing_and_one_that_is_there_is_kept(bucket):
    url = f"{bucket}/fails"

    def stopped() -> None:
        with begun(url) as writer:
            add_one(writer)
            assert WRITER_AT_WORK in keys_of(url)
            assert "samples.csv" not in keys_of(url)
            with pytest.raises(StoreError, match=r"no dataset\.json"):
                Store.open(url)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert keys_of(url) == {}
    with begun(url) as writer:
        add_one(writer)
        with pytest.raises(StoreError, match="another process is writing"), begun(url):
            pass
    kept = keys_of(url)
    with pytest.raises(StoreError, match="exists already"):
        begun(url)
    assert keys_of(url) == kept
    assert [sample.id for sample in Store.open(url).samples] == ["a"]


def begun(url: str) -> StoreWriter:
    axis = np.array([1700.25, 1650.0, 1100.5])
    return StoreWriter(
        url, channels=3, wavenumbers_cm1=axis, pixel_size_um=None, background="zero", created_by="test"
    )


def add_one(writer: StoreWriter) -> None:
    writer.add(Sample("a", 0, "test", "a", 12, 20, True), *sample_arrays((12, 20), 0))
    writer.add_file("summary.html", "all")


def test_of_writers_at_once_one_is_first(bucket, tmp_path):
    for place in (location(f"{bucket}/claims"), tmp_path):
        begin = threading.Barrier(6)

        def claim(number: int, place=place, begin=begin) -> list[bool]:
            begin.wait()
            return [write_new(place / f"c{n}", str(number).encode()) for n in range(5)]

        with ThreadPoolExecutor(6) as threads:
            won = np.array(list(threads.map(claim, range(6))))
        assert (won.sum(axis=0) == 1).all()
        for n, winner in enumerate(won.argmax(axis=0)):
            assert read_bytes(place / f"c{n}") == str(winner).encode()


def test_what_does_not_answer_or_refuses_is_one_sentence_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(kvstore, "PATIENCE_S", 0.5)
    with web_server(tmp_path) as (root, _):
        for place, message in (
            ("refused", "access is refused.*credentials"),
            ("silent", r"no answer within 0\.5 s"),
            ("gone", "no dataset.json found"),
        ):
            begin = time.monotonic()
            with pytest.raises((LocationError, StoreError), match=message) as stopped:
                Store.open(f"{root}/{place}")
            text = str(stopped.value)
            assert f"{root}/{place}" in text
            assert SECRET not in text
            assert "\n" not in text
            assert time.monotonic() - begin < 5


def test_a_host_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(kvstore, "RETRIES", {"max_retries": 2, "initial_delay": "10ms", "max_delay": "20ms"})
    kvstore._context.cache_clear()
    kvstore._root.cache_clear()
    try:
        with pytest.raises(LocationError, match=r"http://127\.0\.0\.1:9/s/\S+: cannot be reached"):
            Store.open("http://127.0.0.1:9/s")
    finally:
        kvstore._context.cache_clear()
        kvstore._root.cache_clear()


def test_a_missing_bucket_is_told(bucket):
    with pytest.raises(StoreError, match=r"s3://nowhere/s: no dataset\.json found"):
        Store.open("s3://nowhere/s")
    with (
        pytest.raises(LocationError, match=r"s3://nowhere/s: .* Make the bucket first"),
        begun("s3://nowhere/s"),
    ):
        pass


def test_web_servers_are_not_written_to(tmp_path):
    with web_server(tmp_path) as (root, asked), pytest.raises(LocationError, match="read only"):
        begun(f"{root}/s")
    assert not asked


# Commands


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--out", "s3://lab/r"], "checkpoints need a file system.*compseg copy RUN --out URL"),
        (["predict", "s3://lab/s", "--out", "s3://lab/p"], "predictions are written to a folder"),
        (["evaluate", "--out", "s3://lab/p"], "reports are written to a folder"),
        (["ingest", "s3://lab/t.csv"], "--table takes no URL"),
        (["phantom", "--out", "ftp://lab/t"], "ftp:// is not read or written"),
        (["check", "https://u:p@lab/t"], "credentials belong"),
    ],
)
def test_commands_refuse_urls_where_they_take_none(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert re_search(message, said)
    assert list(tmp_path.iterdir()) == []


def re_search(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, " ".join(text.split())) is not None


FEW = {"epochs": 2, "starts": 1, "batch_size": 2, "self_check": False, "second_view": False}


@pytest.fixture(scope="module")
def phantom(bucket, tmp_path_factory):
    """The same phantom in a folder and in the bucket."""
    folder = tmp_path_factory.mktemp("phantom") / "store"
    spots = PhantomConfig(size=16, channels=8)
    for out in (folder, location(f"{bucket}/phantom")):
        write_phantom(PhantomOptions(out=out, train=4, val=2, test=2, phantom=spots))
    return folder


@pytest.fixture(scope="module")
def runs(bucket, phantom, tmp_path_factory):
    """A network trained from the folder, and one from the bucket."""
    folder = tmp_path_factory.mktemp("runs")
    config = replace(RECIPES["default"], network=Network(base=2, depth=1), prepare=(), **FEW)
    for name, data in (("here", phantom), ("there", location(f"{bucket}/phantom"))):
        train(replace(config, data=data, out=folder / name))
    return folder


def test_trained_from_a_bucket_it_is_the_same_network(runs, bucket, phantom):
    assert keys_of(f"{bucket}/phantom") == files_of(phantom)
    here, there = (json.loads((runs / name / "model/model.json").read_text()) for name in ("here", "there"))
    assert here["weights_sha256"] == there["weights_sha256"]
    assert here["threshold"] == there["threshold"]
    assert json.loads((runs / "there/config.json").read_text())["data"] == f"{bucket}/phantom"
    written = b"".join(files_of(runs / "there").values())
    assert SECRET.encode() not in written


def test_a_model_is_copied_up_and_loaded_from_there(runs, bucket, tmp_path, capsys):
    assert main(["copy", str(runs / "here"), "--out", f"{bucket}/models/here"]) == 0
    assert keys_of(f"{bucket}/models/here") == files_of(runs / "here/model")
    assert main(["copy", str(runs / "here"), "--out", f"{bucket}/models/here"]) == 1
    assert "exists already" in capsys.readouterr().err
    with web_server(runs) as (root, _):
        wanted = load_model(runs / "here").weights_sha256
        for url in (f"{bucket}/models/here", f"{root}/here", f"{root}/here/model"):
            assert load_model(url).weights_sha256 == wanted
        with pytest.raises(ModelError, match=rf"{root}/nothing: no model.json found"):
            load_model(f"{root}/nothing")
    assert main(["copy", f"{bucket}/models/here", "--out", str(tmp_path / "back")]) == 0
    assert files_of(tmp_path / "back") == files_of(runs / "here/model")


def test_a_model_of_before_is_loaded_where_files_are_listed(runs, bucket, tmp_path):
    main(["copy", str(runs / "here/model"), "--out", str(tmp_path / "old")])
    path = tmp_path / "old/model.json"
    values = json.loads(path.read_text())
    del values["files"]
    path.write_text(json.dumps(values))
    main(["copy", str(tmp_path / "old"), "--out", f"{bucket}/models/old"])
    assert load_model(f"{bucket}/models/old").weights_sha256 == values["weights_sha256"]
    message = r"web servers do not list.*Copy it to a folder first"
    with web_server(tmp_path) as (root, _), pytest.raises(LocationError, match=message):
        load_model(f"{root}/old")


def test_a_damaged_copy_names_the_url(runs, bucket):
    main(["copy", str(runs / "here"), "--out", f"{bucket}/models/damaged"])
    place = location(f"{bucket}/models/damaged")
    values = json.loads(read_bytes(place / "model.json") or b"")
    kvstore.write_bytes(place / "model.json", json.dumps(values | {"weights_sha256": "0" * 64}).encode())
    with pytest.raises(ModelError, match="s3://lab/models/damaged: the weights have the hash"):
        load_model(str(place))


def test_evaluated_predicted_and_checked_by_urls(runs, bucket, phantom, tmp_path, capsys):
    main(["copy", str(runs / "here"), "--out", f"{bucket}/models/used"])
    model, data = location(f"{bucket}/models/used"), location(f"{bucket}/phantom")
    for name, places in (("there", (model, data)), ("here", (runs / "here", phantom))):
        evaluate(EvaluateOptions(*places, out=tmp_path / name, bootstrap=10, importance="no"))
        predict(
            PredictOptions((places[1],), places[0], tmp_path / f"p-{name}", outputs=("png",), split="test")
        )
    assert scores(tmp_path / "here") == scores(tmp_path / "there")
    maps = [files_of(tmp_path / f"p-{name}" / "samples") for name in ("here", "there")]
    pictures = [{name: found for name, found in each.items() if name.endswith(".png")} for each in maps]
    assert pictures[0]
    assert pictures[0] == pictures[1]
    source = json.loads((tmp_path / "there/source.json").read_text())
    assert source["data"]["path"] == str(data)
    assert source["model"]["path"] == str(model)
    assert main(["check", str(data)]) == 0
    assert "8 samples, 8 channels" in capsys.readouterr().out


def scores(report: Path) -> list[dict[str, str]]:
    with (report / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))
