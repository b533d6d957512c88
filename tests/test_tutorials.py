"""The tutorials run as they stand, command by command, in an empty folder; a short form of them in every test run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from compseg_jax.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks that are run, in order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Words of every command of a tutorial but the one that makes its data."""
    lines = (
        "".join(text for language, text in blocks(page) if language == "sh").replace("\\\n", " ").splitlines()
    )
    return [words for line in lines if (words := shlex.split(line)) and words[0] == "compseg"]


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_says_how_many_commands_it_takes_and_how_long(page):
    said = re.search(
        r"\*\*(\w+) commands?, (?:about )?[\w ]*minutes? on two", page.read_text(encoding="utf-8")
    )
    assert said is not None
    assert len(commands(page)) == WORDS[said[1].lower()]


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_commands_of_a_tutorial_have_the_options_that_it_gives(page, capsys):
    assert len(TUTORIALS) == 3
    for _, name, *words in commands(page):
        assert name in COMMANDS
        with pytest.raises(SystemExit):
            main([name, "--help"])
        known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
        assert {word for word in words if word.startswith("--")} <= known


def run_commands(page: Path, place: Path, names: set[str], monkeypatch) -> None:
    """The commands of these names, in a folder."""
    monkeypatch.chdir(place)
    for words in commands(page):
        if words[1] in names:
            assert main(words[1:]) == 0, shlex.join(words)


def test_two_folders_of_pictures_become_a_store(tmp_path, monkeypatch, capsys):
    from examples import two_folders

    monkeypatch.setattr(two_folders, "PATIENTS", 8)
    two_folders.main(tmp_path)
    run_commands(ROOT / "docs/tutorials/pathologist.md", tmp_path, {"start", "ingest"}, monkeypatch)
    assert "--positive" in capsys.readouterr().out
    rows = (tmp_path / "store/samples.csv").read_text(encoding="utf-8")
    assert rows.count("patient07") >= 4


@pytest.mark.slow
def test_three_scans_and_a_workbook_become_a_store(tmp_path, monkeypatch):
    from compseg_jax.store import Store
    from examples import three_scans

    monkeypatch.setattr(three_scans, "ROWS", 2)
    three_scans.main(tmp_path)
    run_commands(ROOT / "docs/tutorials/spectroscopist.md", tmp_path, {"dearray", "ingest"}, monkeypatch)
    samples = Store.open(tmp_path / "store").samples
    assert len(samples) == 36
    assert sum(sample.label for sample in samples) == 18
    assert (tmp_path / "array1_cores.csv").is_file()


@pytest.mark.slow
def test_a_loss_of_ones_own_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "phantom",
        "--out",
        "store",
        "--train",
        "16",
        "--val",
        "2",
        "--test",
        "4",
        "--size",
        "16",
        "--channels",
        "6",
    ]
    assert main(words) == 0
    page = ROOT / "docs/tutorials/researcher.md"
    program = "".join(text for language, text in blocks(page) if language == "python")
    assert "steps = 200\n" in program
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as it is for a reader
        exec(compile(program.replace("steps = 200\n", "steps = 2\n"), page.name, "exec"), {})
    assert re.search(r"AUC [01]\.\d\d, Dice 0\.\d\d", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page, tmp_path):
    """In a shell, as a reader would type it; the outcome is what the page promises."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "compseg").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m compseg_jax.cli "$@"\n')
    (binaries / "compseg").chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{binaries}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    }  # fmt: skip
    place = tmp_path / "work"
    place.mkdir()
    (place / "examples").symlink_to(ROOT / "examples")
    program = "".join(text for language, text in blocks(page) if language == "python")
    (place / "own.py").write_text(program)
    texts = [text for language, text in blocks(page) if language == "sh"]
    if program:
        texts.insert(1, f"{shlex.quote(sys.executable)} own.py\n")
    said = ""
    for text in texts:
        run = subprocess.run(
            ["sh", "-e", "-c", text], cwd=place, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, f"{text}{run.stdout[-1500:]}{run.stderr[-1500:]}"
        said += run.stdout
    if program:
        auc, dice = (float(number) for number in re.findall(r"AUC (\S+), Dice (\S+)\n", said)[0])
        assert auc > 0.8
        assert dice > 0.4
        return
    metrics = json.loads((place / "runs/mine/report/metrics.json").read_text())
    assert metrics["auc_area"] > 0.9
    model = json.loads((place / "runs/mine/model/model.json").read_text())
    assert model["second_view"]["where"] > 0.5  # what the pages print, and what tells maps from mere labels
    if (place / "calls").exists():
        called = (place / "calls/arrays/array4/calls.csv").read_text(encoding="utf-8").splitlines()
        assert len(called) == 1 + 24
        return
    (outlines,) = (place / "predictions").rglob("segmentation.geojson")
    assert json.loads(outlines.read_text())["features"]
