"""Stores and models behind URLs, on an S3 server and a web server that the tests start."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from object_store import SECRET, s3_client, s3_server, web_server
from store_example import sample_arrays, write_store

from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Ensemble, Network, Training, from_json, to_json
from compseg_jax.config.locations import Url, location
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ModelError, load_model
from compseg_jax.store import kvstore
from compseg_jax.store.kvstore import LocationError, joined, names_below, read_bytes, write_new
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import WRITER_AT_WORK, StoreWriter
from compseg_jax.training.ensemble import train_ensemble
from compseg_jax.training.run import train
from compseg_jax.viewer.opening import open_source


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


@pytest.mark.slow
def test_a_table_is_ingested_into_a_bucket(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["id,label,path,split"]
    for number, split in enumerate(("train", "train", "val", "val", "test", "test")):
        np.save(tmp_path / f"s{number}.npy", rng.uniform(1, 2, (6, 9, 3)).astype(np.float32))
        lines.append(f"s{number},{number % 2},s{number}.npy,{split}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    before = sorted(tmp_path.iterdir())
    for out in (f"{bucket}/ingested", "here"):
        assert main(["ingest", "t.csv", "--out", out]) == 0
    assert f"summary: {bucket}/ingested/summary.html" in capsys.readouterr().out
    there, here = keys_of(f"{bucket}/ingested"), files_of(tmp_path / "here")
    assert there.keys() == here.keys()
    assert {name for name in here if there[name] != here[name]} <= {"summary.html"}  # it names its store
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "here"])


def test_without_credentials_public_files_are_read_and_others_refused(bucket, monkeypatch):
    here = write_store(f"{bucket}/public", sizes=((7, 9),), splits=("test",))
    wanted = here.read("s0")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    with pytest.raises(LocationError, match=r"s3://lab/public/dataset\.json: access is refused"):
        Store.open(f"{bucket}/public")
    client = s3_client(os.environ["AWS_ENDPOINT_URL"])
    for name in ("dataset.json", "samples.csv", "cubes/s0.zarr/0/zarr.json", "cubes/s0.zarr/0/c/0/0/0"):
        client.put_object_acl(Bucket="lab", Key=f"public/{name}", ACL="public-read")
    client.close()
    np.testing.assert_array_equal(Store.open(f"{bucket}/public").read("s0"), wanted)


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
        (["predict", "s", "--out", "https://lab/p"], "https://lab/p: https:// is read only"),
        (["evaluate", "--out", "s3://lab/p"], "reports are written to a folder"),
        (["ingest", "s3://lab/t.csv"], "--table takes no URL"),
        (["export", "--model", "m", "--out", "s3://lab/m.onnx"], "--out takes no URL"),
        (["phantom", "--out", "ftp://lab/t"], "ftp:// is not read or written"),
        (["check", "https://u:p@lab/t"], "credentials belong"),
    ],
)
def test_commands_refuse_urls_where_they_take_none(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert re.search(message, " ".join(said.split()))
    assert list(tmp_path.iterdir()) == []


FEW = {"epochs": 2, "batch_size": 2, "self_check": False}


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
    config = replace(RECIPES["paper2019"], network=Network(base=2, depth=0), **FEW)
    for name, data in (("here", phantom), ("there", location(f"{bucket}/phantom"))):
        train(replace(config, data=data, out=folder / name))
    return folder


@pytest.mark.slow
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
    del values["files"], values["description_sha256"]
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
    del values["description_sha256"]
    kvstore.write_bytes(place / "model.json", json.dumps(values | {"weights_sha256": "0" * 64}).encode())
    with pytest.raises(ModelError, match="s3://lab/models/damaged: the weights have the hash"):
        load_model(str(place))


@pytest.mark.slow
def test_predicted_checked_and_looked_at_by_urls(runs, bucket, phantom, tmp_path, capsys):
    model, data = f"{bucket}/models/predicts", f"{bucket}/phantom"
    main(["copy", str(runs / "here"), "--out", model])
    for name, places in (("there", (data, "--model", model)), ("here", (phantom, "--model", runs / "here"))):
        words = ["predict", *places, "--out", tmp_path / name, "--split", "test", "--outputs", "zarr", "png"]
        assert main([str(word) for word in words]) == 0
    pictures = [sorted((tmp_path / name / "samples").rglob("*.png")) for name in ("there", "here")]
    assert len(pictures[0]) >= 2
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
    written = json.loads((tmp_path / "there/predictions.json").read_text())
    assert written["model"]["path"] == model
    assert {sample["source"] for sample in written["samples"]} == {data}
    shown = open_source(tmp_path / "there")
    assert "no longer in its place" not in shown.threshold_story
    first = shown.samples()[0].id
    spectra = shown.open(first).spectra
    assert spectra is not None
    np.testing.assert_array_equal(
        spectra.window(slice(0, 3), slice(0, 4)), Store.open(phantom).read(first)[:3, :4]
    )
    run = open_source(runs / "there")
    assert [sample.id for sample in run.samples()] == [
        sample.id for split in ("test", "val") for sample in Store.open(phantom).split(split)
    ]
    capsys.readouterr()
    assert main(["check", data]) == 0
    assert "8 samples, 8 channels" in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_is_the_same_by_urls_and_is_looked_at(runs, bucket, phantom, tmp_path):
    main(["copy", str(runs / "here"), "--out", f"{bucket}/models/evaluates"])
    model, data = location(f"{bucket}/models/evaluates"), location(f"{bucket}/phantom")
    for name, places in (("there", (model, data)), ("here", (runs / "here", phantom))):
        evaluate(EvaluateOptions(*places, out=tmp_path / name, bootstrap=10, importance="no"))
    assert scores(tmp_path / "here") == scores(tmp_path / "there")
    source = json.loads((tmp_path / "there/source.json").read_text())
    assert (source["model"]["path"], source["data"]["path"]) == (str(model), str(data))
    shown = open_source(tmp_path / "there")
    assert shown.open(shown.samples()[0].id).spectra is not None


@pytest.mark.slow
def test_an_ensemble_is_copied_and_predicts_from_its_url(bucket, phantom, tmp_path):
    config = replace(RECIPES["paper2019"], network=Network(base=2, depth=0), **FEW)
    ensemble = Ensemble(seeds=2)
    train_ensemble(
        replace(config, ensemble=ensemble, data=location(f"{bucket}/phantom"), out=tmp_path / "run")
    )
    assert main(["copy", str(tmp_path / "run"), "--out", f"{bucket}/models/both"]) == 0
    names = set(names_below(location(f"{bucket}/models/both")))
    assert "ensemble.json" in names
    assert not any("checkpoints" in name for name in names)
    with web_server(tmp_path) as (root, _):
        for url in (f"{bucket}/models/both", f"{root}/run"):
            assert load_model(url).digest() == load_model(tmp_path / "run").digest()


KILLED = """
import sys
import numpy as np
from store_example import sample_arrays
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter
axis = np.array([1700.25, 1650.0, 1100.5])
with StoreWriter(sys.argv[1], channels=3, wavenumbers_cm1=axis, pixel_size_um=None, background="zero",
                 created_by="test") as writer:
    writer.add(Sample("a", 0, "test", "a", 12, 20, True), *sample_arrays((12, 20), 0))
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_what_a_killed_writer_left_is_no_store(bucket):
    url = f"{bucket}/killed"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.kill()
    with pytest.raises(StoreError, match=r"no dataset\.json found"):
        Store.open(url)
    with pytest.raises(StoreError, match="or was killed while it did"), begun(url):
        pass


def scores(report: Path) -> list[dict[str, str]]:
    with (report / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))
