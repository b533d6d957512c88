"""What scripts and terminals ask of commands: silence, broken pipes, no colours, one style of errors, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store_example import write_store

from compseg_jax.cli.completion import options_of, script
from compseg_jax.cli.main import BROKEN_PIPE_EXIT_CODE, COMMANDS, main

ROOT = Path(__file__).parents[1]


def test_quiet_prints_errors_alone(tmp_path, capsys):
    write_store(tmp_path / "store")
    assert main(["start", str(tmp_path / "store"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["start", "--quiet", str(tmp_path / "gone")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert main(["start", str(tmp_path / "store")]) == 0
    assert "compseg train" in capsys.readouterr().out


def object_of(arguments: list[str], capsys) -> tuple[int, dict]:
    code = main(arguments)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    return code, json.loads(said.out)


def test_json_is_one_object_for_scripts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "a store")
    code, found = object_of(["start", "a store", "--json"], capsys)
    assert (code, found["exit_code"], found["errors"]) == (0, 0, [])
    assert found["next"][0] == "compseg check 'a store'"
    assert found["said"][0] == found["found"]
    code, found = object_of(["check", "--json", "a store"], capsys)
    assert found["counts"]["val"] == {"diseased": 3, "healthy": 3}
    assert found["next"] == ["compseg train --data 'a store' --out 'runs/a store'"]
    code, found = object_of(["check", "--json", "gone"], capsys)
    assert (code, found["exit_code"]) == (1, 1)
    assert found["errors"][0].startswith("error: gone")
    code, found = object_of(["check", "--json", "--gone"], capsys)
    assert code == 2
    assert found["errors"][0].startswith("error: Unrecognized options: --gone")
    monkeypatch.setattr("compseg_jax.training.run.train", lambda config: "RUN")
    code, found = object_of(["train", "--json", "--out", "runs/a"], capsys)
    assert (code, found["run"]) == (0, "runs/a")


@pytest.mark.parametrize("arguments", ["--help", "start --help", "start ."])
def test_a_reader_that_went_is_no_error(arguments, tmp_path):
    """As `compseg … | head -0`: standard output is a pipe that nobody reads."""
    write_store(tmp_path / "store")
    read_end, write_end = os.pipe()
    os.close(read_end)
    run = subprocess.run(
        [sys.executable, "-m", "compseg_jax.cli", *arguments.split()],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
    )
    os.close(write_end)
    assert run.stderr == ""
    assert run.returncode == BROKEN_PIPE_EXIT_CODE


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_followed(no_color, coloured, capsys, monkeypatch):
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "__stdout__", Terminal)
    with pytest.raises(SystemExit):
        main(["start", "--help"])
    assert ("\x1b[" in capsys.readouterr().out) is coloured


def test_unknown_options_are_refused_in_the_style_of_every_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["phantom", "--trian", "3"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Unrecognized options: --trian")
    assert "--train" in error
    assert "compseg phantom --help" in error
    assert not set("│╭─") & set(error)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tr"], "train"),
        (["ingest", "--positi"], "--positive"),
        (["train", "--learn"], "--learning-rate"),
        (["predict", "--qui"], "--quiet"),
        (["start", "my"], ""),
    ],
)
def test_bash_completes_commands_and_options(words, found):
    line = " ".join(["compseg", *words])
    program = (
        f'{script("bash")}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _compseg; echo "${{COMPREPLY[*]}}"'
    )
    run = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == found
    assert run.stderr == ""


def test_completion_knows_every_option_of_every_command(capsys):
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("autoload -U +X bashcompinit && bashcompinit\n")
    assert all(f'{name}) options="{" ".join(options_of(name))}"' in text for name in COMMANDS)
    assert "--transmittance" in options_of("info")
    assert "--file" not in options_of("info")
