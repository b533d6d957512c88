"""`compseg start`: what lies there, and command lines that can be typed as they are; every command names the next."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from store_example import write_store

from compseg_jax.cli.main import COMMANDS, main
from compseg_jax.cli.next_steps import predict_with, print_next, quoted, view
from compseg_jax.cli.start import StartError, look
from compseg_jax.store.read import Store


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng([*path.as_posix().encode()]).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def options_of(name: str) -> set[str]:
    page = import_module(f"compseg_jax.cli.{name}").PAGE
    fields = {field for group in page.groups.values() for field in group}
    return {"--" + field.rpartition(".")[2].replace("_", "-") for field in fields}


def check_steps(steps: tuple[str, ...]) -> list[list[str]]:
    """The lines as a shell takes them; each names a command and options that it has."""
    found = [shlex.split(step) for step in steps]
    for words in found:
        assert words[0] == "compseg"
        assert words[1] in COMMANDS
        assert {word for word in words if word.startswith("--")} <= options_of(words[1]), words
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_folders_of_pictures_are_a_store_by_the_line_that_is_printed(here, capsys):
    for label in ("tumour", "no tumour"):
        for at in range(16):
            picture(Path("my pictures") / label / f"patient{at // 2}_{label[0]}{at}.png")
    advice = look(Path("my pictures"))
    assert "no tumour/ 16, tumour/ 16" in advice.found
    lines = check_steps(advice.steps)
    assert [words[1] for words in lines] == ["ingest", "ingest", "train", "evaluate", "view"]
    assert [words[words.index("--positive") + 1] for words in lines[:2]] == ["no tumour", "tumour"]
    assert all(words[words.index("--group-pattern") + 1] == r"(patient\d+)" for words in lines[:2])
    assert main(lines[1][1:]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"next: {shlex.join(lines[2])}"
    store = Store.open(Path(lines[1][lines[1].index("--out") + 1]))
    assert {sample.label for sample in store.samples if sample.id.endswith("t3")} == {1}
    assert main(["start", "my pictures"]) == 0
    assert capsys.readouterr().out == advice.text() + "\n"


def test_a_table_with_other_titles_is_said_to_need_them(here):
    rows = [
        "Probe;Datei;Diagnose;Alter",
        *(f"p{at};bilder\\b{at}.hdr;{'gesund' if at % 2 else 'krank'};6{at},5" for at in range(6)),
    ]
    picture(here / "bilder" / "b0.png")
    Path("Proben.csv").write_text("\n".join(rows), encoding="cp1252")
    for place in (Path("Proben.csv"), here):
        advice = look(place)
        assert "Proben.csv: a table of 6 rows" in advice.found
        assert "Each row has its own 'Probe': rename it to id" in advice.remark
        assert "'Datei' names files: rename it to path" in advice.remark
        assert "Rename 'Diagnose' (gesund, krank) to label" in advice.remark
        assert "'Alter'" not in advice.remark
        check_steps(advice.steps)
    Path("Proben.csv").write_text("\n".join(["id;path;label;Alter", *rows[1:]]), encoding="cp1252")
    assert "a table of 6 samples with the labels" in look(here).found


@pytest.mark.parametrize(
    "text", ["Wellenzahl;Extinktion\n1000,5;0,1\n1002,5;0,2\n", "name,1000.5,1002,1004\na,1,2,3\nb,1,2,3\n"]
)
def test_a_table_of_spectra_is_no_table_of_samples(here, text):
    Path("spectrum.csv").write_text(text, encoding="utf-8")
    assert "rows, of which" not in look(Path("spectrum.csv")).found


def test_a_table_is_ingested_by_the_line_that_is_printed(here):
    rows = ["id,label,patient"]
    for at in range(12):
        picture(here / "images" / f"s{at}.png")
        Image.fromarray(np.full((6, 8), 255 * (at % 2), np.uint8)).save(here / f"s{at}.png")
        rows.append(f"s{at},{'TN'[at % 2]},p{at // 2}")
    (here / "spots.csv").write_text("\n".join(rows), encoding="utf-8")
    advice = look(here)
    assert "spots.csv: a table of 12 samples with the labels T 6, N 6" in advice.found
    lines = check_steps(advice.steps)
    assert lines[0][2:] == [
        str(here / "spots.csv"), "--images", str(here / "images"), "--group", "patient", "--out", "spots_store",
        "--positive", "T", "--negative", "N",
    ]  # fmt: skip
    assert lines[1][-4:] == ["--positive", "N", "--negative", "T"]
    assert look(here / "spots.csv") == advice
    assert main(lines[0][1:]) == 0
    assert {sample.group for sample in Store.open(here / "spots_store").samples} == {
        f"p{at}" for at in range(6)
    }


def test_what_the_commands_wrote_is_known(here):
    write_store(here / "store")
    lines = check_steps(look(Path("store")).steps)
    assert [words[1] for words in lines] == ["check", "train", "evaluate", "view"]
    assert lines[1] == ["compseg", "train", "--data", "store", "--out", "runs/store"]
    run = here / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.json").write_text('{"data": "a store"}', encoding="utf-8")
    lines = check_steps(look(run).steps)
    assert lines[0][1:] == ["train", "--out", str(run), "--resume"]
    assert lines[1][lines[1].index("--data") + 1] == "a store"
    (run / "model").mkdir()
    (run / "model" / "model.json").write_text("{}", encoding="utf-8")
    advice = look(run)
    assert "a trained network" in advice.found
    assert [words[1] for words in check_steps(advice.steps)] == ["evaluate", "view", "predict"]
    assert look(run / "model") == advice
    (run / "report").mkdir()
    (run / "report" / "metrics.json").write_text("{}", encoding="utf-8")
    assert [words[1] for words in check_steps(look(run).steps)] == ["view", "predict"]
    assert [words[1] for words in check_steps(look(run / "report").steps)] == ["view"]
    assert check_steps(look(here).steps) == [["compseg", "start", str(here / "store")]]


def test_scans_of_arrays_are_dearrayed_first(here, monkeypatch):
    monkeypatch.setattr("compseg_jax.readers.info.inspection.LARGE_SCAN_PIXELS", 100)
    axis = np.linspace(1800, 1000, 9)
    np.savez(here / "array 1.npz", absorbance=np.ones((12, 10, 9), np.float32), wavenumbers_cm1=axis)
    advice = look(here / "array 1.npz")
    lines = check_steps(advice.steps)
    assert lines[0] == ["compseg", "dearray", str(here / "array 1.npz")]
    assert lines[1][lines[1].index("--cores") + 1] == "array 1_cores.csv"
    np.savez(here / "one.npz", absorbance=np.ones((3, 4, 9), np.float32), wavenumbers_cm1=axis)
    assert [words[1] for words in check_steps(look(here / "one.npz").steps)] == ["info", "predict"]


def test_a_file_that_needs_a_word_is_asked_of_info(here):
    np.savez(here / "two.npz", a=np.ones((3, 4, 9)), b=np.ones((3, 4, 9)))
    advice = look(here / "two.npz")
    assert "--variable" in advice.found
    assert check_steps(advice.steps) == [["compseg", "info", str(here / "two.npz")]]


def test_what_no_command_takes_is_explained(here):
    with pytest.raises(StartError, match="there is no such file or folder"):
        look(here / "gone")
    picture(here / "flat" / "a.png")
    with pytest.raises(StartError, match="Put the images of each label into a folder of its own"):
        look(here / "flat")


def test_print_nexts_are_quoted(capsys):
    assert view(Path("a b")) == "compseg view 'a b'"
    assert quoted("--data", Path("a b")) == "--data 'a b'"
    assert predict_with(Path("my run"), Path("out")) == "compseg predict FILES --model 'my run' --out out"
    print_next("one", "two")
    assert capsys.readouterr().out == "next: one\n      two\n"


def test_training_names_evaluation_and_check_names_training(here, monkeypatch, capsys):
    monkeypatch.setattr("compseg_jax.training.run.train", lambda config: "RUN")
    assert main(["train", "--data", "a store", "--out", "runs/a"]) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last == [
        "next: compseg evaluate --model runs/a --data 'a store' --out runs/a/report",
        "      compseg view runs/a",
    ]
    write_store(here / "store")
    main(["check", "store"])
    assert capsys.readouterr().out.splitlines()[-1] == "next: compseg train --data store --out runs/store"
