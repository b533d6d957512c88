"""Names that no text can hold, names that begin alike, and places that are no files: one sample fails, not a folder."""

from __future__ import annotations

import csv
import os
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from compseg_jax.config.recipe_file import recipe
from compseg_jax.config.regular_files import NotRegularError
from compseg_jax.ingest.spreadsheet import read_spreadsheet
from compseg_jax.model import load_model
from compseg_jax.prediction.inputs import find_tasks
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.readers import read, recognise
from compseg_jax.readers.text_lines import read_lines
from tests.model_example import write_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="such names and places are of Linux")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model", axis=None)


def picture(path):
    values = np.random.default_rng(0).integers(1, 255, (12, 13, 3)).astype(np.uint8)
    with open(path, "wb") as file:
        Image.fromarray(values).save(file, "png")


LONG = "tumour of patient 4711, " * 7
NAMES = [
    b"caf\xe9.png",
    b"caf\xe8.png",
    f"{LONG}left.png".encode(),
    f"{LONG}right.png".encode(),
    b"plain.png",
]


def test_a_folder_of_names_that_no_table_holds_is_predicted_whole(model, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        picture(os.fsencode(folder) + b"/" + name)
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    options = PredictOptions((folder,), model, tmp_path / "out", outputs=("png",))
    report = predict(options)
    assert (len(report.done), report.failed) == (5, [])
    rows = list(
        csv.DictReader((tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines())
    )
    assert len({row["id"] for row in rows}) == 5
    assert {row["source"].rpartition("/")[2] for row in rows} == {
        name.decode("utf-8", "backslashreplace") for name in NAMES
    }
    assert sorted(path.name for path in report.left_out) == ["endless.png", "pipe.png"]
    again = predict(options)
    assert (again.before, again.done) == (5, [])


def test_names_that_begin_alike_get_the_same_hashes_each_time(tmp_path):
    for name in NAMES:
        picture(os.fsencode(tmp_path) + b"/" + name)
    first, second = ([task.id for task in find_tasks([tmp_path]).tasks] for _ in range(2))
    assert first == second
    assert len(set(first)) == 5
    assert "plain" in first
    assert all(len(each.encode()) <= 200 for each in first)


@pytest.fixture
def special(tmp_path):
    """Places that are no files, by what they are called."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "linked.csv").symlink_to(tmp_path / "pipe.csv")
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.csv"))
    yield {
        "a named pipe": tmp_path / "pipe.csv",
        "a link to a named pipe": tmp_path / "linked.csv",
        "a link to a device": tmp_path / "endless.csv",
        "a socket": tmp_path / "s.csv",
    }
    listening.close()


def test_only_regular_files_are_opened(special, model, tmp_path):
    for words, path in special.items():
        for opening in (recognise, read, read_lines, lambda path: read_spreadsheet(path, "", ())):
            with pytest.raises(NotRegularError, match=f"is {words}.*; only regular files are read"):
                opening(path)
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(NotRegularError, match="named pipe"):
        load_model(tmp_path)
    options = PredictOptions((special["a named pipe"],), model, tmp_path / "out")
    assert "only regular files are read" in predict(options).failed[0].error


def test_a_recipe_that_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "my.toml")
    with pytest.raises(NotRegularError, match=r"my\.toml: is a named pipe .* only regular files are read"):
        recipe(str(tmp_path / "my.toml"))
