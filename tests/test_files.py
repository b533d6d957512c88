"""Files that are whole or absent, what killed processes leave, and JSON that states its format and version."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.config import Training
from compseg_jax.evaluation.report import report_folder
from compseg_jax.evaluation.report.report_folder import write_report
from compseg_jax.evaluation.scores import SampleResult, evaluate_samples
from compseg_jax.prediction.formats import ActivationMapWriter, OverviewWriter
from compseg_jax.readers.info.quicklook import write_png
from compseg_jax.runtime.files import (
    ABANDONED_S,
    JsonFormat,
    atomic_file,
    atomic_folder,
    json_text,
    remove_leftovers,
    write_text,
)
from compseg_jax.runtime.processes import has_ended
from compseg_jax.spectra.preparation.kept import KeptChunks
from compseg_jax.training.loop import write_config
from tests.model_example import write_model
from tests.store_example import write_store

WRITER = """
import sys, time
from compseg_jax.runtime.files import atomic_file, atomic_folder
with atomic_file("file.txt") as file, atomic_folder("folder") as folder:
    file.write_text("new")
    (folder / "part").write_text("new")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_both(folder: Path, text: str) -> None:
    with atomic_file(folder / "file.txt") as file, atomic_folder(folder / "folder") as place:
        file.write_text(text)
        (place / "part").write_text(text)


def read_both(folder: Path) -> tuple[str, str]:
    return (folder / "file.txt").read_text(), (folder / "folder" / "part").read_text()


@pytest.fixture(scope="module")
def of_the_dead() -> str:
    """What the hidden names of a process that was killed end with."""
    program = "from compseg_jax.runtime.files import begin_staging; print(begin_staging('x').name[3:])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_new_ones_replace_old_ones_and_errors_leave_them(tmp_path):
    write_both(tmp_path, "first")
    write_both(tmp_path, "second")
    with pytest.raises(TypeError), atomic_file(tmp_path / "file.txt") as file:
        file.write_text(b"no text")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "folder") as place:
        (place / "missing" / "half").touch()
    assert read_both(tmp_path) == ("second", "second")
    assert names(tmp_path) == ["file.txt", "folder"]


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path, monkeypatch):
    write_both(tmp_path, "old")
    rename = Path.rename

    def refused(self, target):
        if self.name.endswith(".partial"):
            raise OSError("the disk says no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="says no"):
        write_both(tmp_path, "new")
    assert read_both(tmp_path)[1] == "old"
    assert names(tmp_path) == ["file.txt", "folder"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    theirs = names(tmp_path)
    assert len(theirs) == 2
    write_both(tmp_path, "old")
    assert names(tmp_path) == sorted([*theirs, "file.txt", "folder"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_text(tmp_path / "other.txt", "")
    assert set(theirs) < set(names(tmp_path)), "a place belongs to the writers of that place"
    write_both(tmp_path, "new")
    assert names(tmp_path) == ["file.txt", "folder", "other.txt"]
    assert read_both(tmp_path) == ("new", "new")


def test_a_process_killed_between_two_renames_has_lost_nothing(tmp_path, of_the_dead):
    write_both(tmp_path, "old")
    aside = tmp_path / f".folder.{of_the_dead.removesuffix('partial')}replaced"
    (tmp_path / "folder").rename(aside)
    remove_leftovers(tmp_path, "folder")
    assert read_both(tmp_path)[1] == "old"
    (tmp_path / "folder").rename(aside)
    (tmp_path / "folder").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["file.txt", "folder"]


def test_the_number_of_an_ended_process_may_be_anothers(tmp_path, of_the_dead):
    machine, _, start, number = of_the_dead.split("-")
    again = tmp_path / f".file.txt.{machine}-{os.getpid()}-{start}1-{number}"
    again.touch()
    write_text(tmp_path / "file.txt", "")
    assert names(tmp_path) == ["file.txt"]


def test_what_another_machine_writes_is_left_alone_for_a_week(tmp_path, of_the_dead):
    theirs = tmp_path / f".folder.00000000-{of_the_dead.partition('-')[2]}"
    theirs.mkdir()
    (theirs / "part").touch()
    long_ago = theirs.stat().st_mtime - ABANDONED_S - 60
    os.utime(theirs, (long_ago, long_ago))
    write_both(tmp_path, "new")
    assert theirs.exists()
    os.utime(theirs / "part", (long_ago, long_ago))
    write_both(tmp_path, "new")
    assert not theirs.exists()


def kept_chunk(folder: Path) -> None:
    KeptChunks(folder / "chunks").put("ab", spectra=np.ones((2, 3), np.float32))


def map_of(folder: Path) -> None:
    writer = ActivationMapWriter(folder / "map.ome.zarr", (2, 3))
    writer.write(0, 0, *(np.ones((2, 3), kind) for kind in (np.float32, bool, bool)))
    writer.finish()


def report_of(folder: Path) -> None:
    shape = (2, 3)
    results = [
        SampleResult(
            id=f"s{label}", label=label, group=f"s{label}", activation=np.full(shape, label / 2, np.float32),
            tissue=np.ones(shape, bool), reference=None, preview=np.zeros(shape), spectrum_inside=None,
            spectrum_outside=np.ones(2),
        )
        for label in (0, 1)
    ]  # fmt: skip
    evaluation = evaluate_samples(results, threshold=0.4, n_bootstrap=2)
    write_report(folder / "report", results, evaluation, model={}, history=[], wavenumbers_cm1=None, title="")


@pytest.mark.parametrize(
    ("place", "write"),
    [
        ("run/config.json", lambda folder: write_config(folder / "run", Training())),
        ("report", report_of),
        ("store", lambda folder: write_store(folder / "store", sizes=[(3, 4)], splits=["train"])),
        ("model", lambda folder: write_model(folder / "model")),
        ("chunks/ab.npz", kept_chunk),
        ("map.ome.zarr", map_of),
        (
            "overview.ome.zarr",
            lambda folder: OverviewWriter(folder / "overview.ome.zarr", (2, 3, 1)).finish(),
        ),
        ("picture.png", lambda folder: write_png(folder / "picture.png", b"")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_writer_removes_what_killed_ones_left(tmp_path, of_the_dead, monkeypatch, place, write):
    monkeypatch.setattr(report_folder, "report_page", lambda *_: "")
    place = tmp_path / place
    left = place.with_name(f".{place.name}.{of_the_dead}")
    (left / "cubes").mkdir(parents=True)
    write(tmp_path)
    assert names(place.parent) == [place.name]


def test_windows_is_never_asked_by_a_signal(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signal 0 is Ctrl-C there"))
    assert not has_ended(os.getpid(), None)


class MapError(ValueError):
    """Of the format below."""


FORMAT = JsonFormat(
    "compseg-map",
    version=2,
    required=("pixels", "unit"),
    absent="Draw one.",
    again="draw the map again",
    error=MapError,
)


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_written_is_read(tmp_path, version):
    values = {**FORMAT.stamped({"pixels": 3, "unit": "µm"}), "version": version}
    write_text(tmp_path / "map.json", json_text(values))
    assert FORMAT.read(tmp_path / "map.json") == values
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"pixels": float("nan")})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"format": "compseg-map", "version": 3}', "format 'compseg-map' version 3"),
        ('{"format": "compseg-map", "version": true}', "format 'compseg-map' version True"),
        ('{"format": "compseg-map", "version": 0}', "format 'compseg-map' version 0"),
        ('{"format": "other", "version": 1}', "format 'other' version 1"),
        ("{}", "format None version None"),
        ('{"format": "compseg-map", "version": 1, "unit": "m"}', "a damaged file (pixels missing)"),
        ("[]", "a damaged file (a list instead of keys and values)"),
        ("{", "a damaged file (Expecting property name"),
        ("\xff", "a damaged file ('utf-8' codec can't decode"),
    ],
)
def test_what_is_not_read_is_told_in_one_sentence(tmp_path, text, found):
    path = tmp_path / "map.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(MapError) as told:
        FORMAT.read(path)
    step = (
        "Draw the map again" if found.startswith("a damaged") else "Update compseg_jax or draw the map again"
    )
    sentence = (
        f"{re.escape(str(path))}: found {re.escape(found)}.*; this release reads 'compseg-map' version 1 to 2"
    )
    assert re.fullmatch(rf"{sentence}\. {step}\.", str(told.value))


def test_a_missing_file_is_told_with_what_to_do(tmp_path):
    with pytest.raises(MapError, match=r"no map\.json found\. Draw one\.") as told:
        FORMAT.read(tmp_path / "map.json")
    assert isinstance(told.value.__cause__, FileNotFoundError)
    assert json.loads(json_text(FORMAT.stamped({}))) == {"format": "compseg-map", "version": 2}
