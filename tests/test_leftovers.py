"""What killed commands leave is removed by the next run, and two predictions of one input are the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import compseg_jax
from compseg_jax.prediction import sample
from compseg_jax.prediction.formats.ome_tiff import write_activation_tiff
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.runtime.files import temporary_folder
from compseg_jax.store.read import StoreError
from compseg_jax.store.write import refuse_existing
from tests.model_example import write_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
LEAVES = """
import sys, tempfile, time
from pathlib import Path
from compseg_jax.runtime.files import atomic_folder, temporary_folder
tempfile.tempdir = sys.argv[2]
with atomic_folder(sys.argv[1]) as folder, temporary_folder("predict") as temporary:
    (folder / "part").write_text("half")
    (temporary / "part").write_text("half")
    print("now", flush=True)
    time.sleep(60)
"""


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    place = tmp_path / "work" / "ref"

    def begin():
        words = [sys.executable, "-c", LEAVES, str(place), str(tmp_path / "temporary")]
        root = Path(compseg_jax.__file__).parents[1]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=root)
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        return process

    def hidden():
        return [len(os.listdir(tmp_path / name)) for name in ("work", "temporary")]

    with begin() as living, begin() as dead:
        try:
            assert hidden() == [2, 2]
            dead.kill()
            dead.wait()
            place.mkdir()  # the next run refuses to write, and cleans up all the same
            with pytest.raises(StoreError, match="exists already"):
                refuse_existing(place)
            with temporary_folder("predict"):
                assert hidden() == [2, 2]
            assert hidden() == [2, 1]
        finally:
            living.kill()
            dead.kill()
    place.rmdir()
    refuse_existing(place)
    with temporary_folder("predict"):
        pass
    assert hidden() == [0, 0]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a prediction; the time that samples took and where they lie are no part of what was predicted."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.name == "sample.json":
            content = json.dumps(json.loads(content) | {"seconds": None, "description_sha256": ""}).encode()
        if path.name == "predictions.json":
            known = json.loads(content)
            known["options"]["out"] = known["description_sha256"] = ""
            known["samples"] = [each | {"seconds": None} for each in known["samples"]]
            content = json.dumps(known).encode()
        if path.name != "predictions.csv":  # the same rows as predictions.json
            found[path.relative_to(folder).as_posix()] = content
    return found


def test_two_predictions_are_equal_file_by_file_and_nothing_else_is_left(tmp_path, monkeypatch):
    model = write_model(tmp_path / "model", axis=None)
    np.save(tmp_path / "cube.npy", np.random.default_rng(0).normal(5.0, 2.0, (40, 30, 3)).astype(np.float32))
    np.save(tmp_path / "wide.npy", np.ones((8, 9, 4), np.float32))
    inputs = (tmp_path / "cube.npy", tmp_path / "wide.npy")
    outs = tmp_path / "first", tmp_path / "second"
    for out in outs:
        options = PredictOptions(inputs, model, out, outputs=("zarr", "png", "geojson", "tiff"))
        # Killed between putting the sample in its place and removing the working maps.
        with monkeypatch.context() as patched:
            patched.setattr(sample, "remove", lambda path: None)
            predict(options)
        assert (out / "samples" / ".cube.partial").exists()
        predict(options)
        assert sorted(path.name for path in (out / "samples").iterdir()) == [".wide.failed.json", "cube"]
    first, second = (files(out) for out in outs)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert any(name.endswith("mask.ome.tif") for name in first)


def test_the_name_within_an_ome_tiff_tells_maps_apart(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    names = set()
    for value in (0.0, 0.5):
        path = tmp_path / f"{value}.ome.tif"
        write_activation_tiff(path, [np.full((20, 30), value, np.float32)])
        with tifffile.TiffFile(path) as file:
            names.add(file.ome_metadata.partition('UUID="')[2].partition('"')[0])
    assert len(names) == 2
