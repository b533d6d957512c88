"""Runs go on, are shown and evaluated from any folder; printed commands can be typed; foreign code is asked for."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import compseg_jax
from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Network, Training
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ExtractedNetwork, ModelError
from compseg_jax.model.model_files import save_network
from compseg_jax.model.run_folder import read_run, store_of, write_run
from compseg_jax.networks.build import build_network
from compseg_jax.runtime.typed import typed
from compseg_jax.spectra.scaling import Scaling
from compseg_jax.training.progress import how_to_resume
from compseg_jax.training.run import train
from compseg_jax.viewer.opening import open_source

NETWORK = """
import pathlib
import flax.linen as nn

pathlib.Path(__file__).with_name("was_run").touch()


class Net(nn.Module):
    maps: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.maps)(x)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a store and a run that were named relative to it."""
    folder = tmp_path_factory.mktemp("a place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        phantom = PhantomConfig(size=16, channels=6, difficulty=0.0)
        write_phantom(PhantomOptions(out=Path("data"), train=8, val=4, test=4, phantom=phantom))
        network = Network(base=2, depth=0, head_bias=-3.0)
        config = dataclasses.replace(
            RECIPES["default"], data=Path("data"), out=Path("runs/mine"), network=network, epochs=1, starts=1,
            self_check=False, second_view=False, augment="none",
            optimiser=dataclasses.replace(RECIPES["default"].optimiser, schedule="constant"),
        )  # fmt: skip
        train(config)
    return folder


@pytest.mark.slow
def test_a_run_goes_on_from_any_folder(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "runs", tmp_path / "runs")
    assert main(["train", "--resume", "--out", "runs/mine", "--epochs", "2"]) == 0
    assert len((tmp_path / "runs/mine/log.jsonl").read_text().splitlines()) == 2
    assert "extracted network: runs/mine/model" in capsys.readouterr().out


def test_a_run_is_shown_and_evaluated_from_any_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(open_source(place / "runs/mine").samples()) == 8
    options = EvaluateOptions(model=place / "runs/mine", out=Path("report"), bootstrap=10, importance="no")
    page, _ = evaluate(options)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(open_source(page.parent).samples()) == 4


def test_a_run_that_was_moved_with_its_store_finds_it(tmp_path):
    for name in ("data", "new/data"):
        (tmp_path / name).mkdir(parents=True)
    write_run(tmp_path / "runs/mine", Training(data=tmp_path / "data", out=tmp_path / "runs/mine"))
    shutil.copytree(tmp_path / "runs", tmp_path / "new/runs")
    shutil.rmtree(tmp_path / "data")
    assert read_run(tmp_path / "new/runs/mine").data.samefile(tmp_path / "new/data")
    assert store_of(tmp_path / "new/runs/mine").samefile(tmp_path / "new/data")
    assert read_run(tmp_path / "new/runs/mine").out == tmp_path / "new/runs/mine"


def test_a_run_of_an_earlier_release_finds_its_store_beside_it(tmp_path):
    """Its places are as they were given; whose folder they were given in nobody knows, but how they lie."""
    (tmp_path / "data").mkdir()
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/config.json").write_text(json.dumps({"data": "data", "out": "runs/mine"}))
    assert read_run(tmp_path / "runs/mine").data == tmp_path / "data"


def test_a_run_whose_store_is_gone_has_it_where_it_says(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": "data", "epochs": 3}))
    assert (read_run(tmp_path).data, read_run(tmp_path).epochs) == (Path("data"), 3)


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("/usr/bin/compseg", ["compseg", "train"]),
        ("train.py", ["python", "train.py"]),
        ("../my code/train.py", ["python", "../my code/train.py"]),
        ("/lib/compseg_jax/cli/__main__.py", ["python", "-m", "compseg_jax.cli", "train"]),
        ("notebook", ["compseg", "train"]),
    ],
)
def test_a_stopped_run_says_what_its_user_can_type(monkeypatch, program, start):
    monkeypatch.setattr(sys, "argv", [program])
    said = how_to_resume(Training(out=Path("my runs/it's mine")), 3)
    assert shlex.split(said.partition("Go on with: ")[2]) == [
        *start,
        "--resume",
        "--out",
        "my runs/it's mine",
    ]


def test_other_commands_have_no_script(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert typed("view", "a report") == "compseg view 'a report'"


def foreign_model(folder):
    """A model of a network of one's own, whose module lies in no place where Python looks."""
    code = folder / "code"
    code.mkdir(parents=True)
    (code / "own_net_of_tests.py").write_text(NETWORK)
    return code


def compseg(*words, cwd):
    program = (
        "import sys; from compseg_jax.cli.main import main; sys.path = [p for p in sys.path if p]; "
        "sys.exit(main(sys.argv[1:]))"
    )
    environment = {"PYTHONPATH": str(Path(compseg_jax.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, cwd=cwd, env=environment, check=False,
    )  # fmt: skip


def test_a_model_runs_no_code_that_was_not_allowed_by_name(tmp_path):
    code = foreign_model(tmp_path)
    name = "own_net_of_tests:Net"
    variables = {
        "params": {"Dense_0": {"kernel": np.zeros((3, 1), np.float32), "bias": np.zeros(1, np.float32)}}
    }
    scaling = Scaling(np.zeros(3, np.float32), np.ones(3, np.float32))
    # Written as if the class were there: only loading is asked here.
    network = build_network(Network(base=2, depth=0))
    extracted = ExtractedNetwork(network, variables, scaling, None, 0.5, "none", {})
    save_network(tmp_path / "model", extracted, Network(network=name))
    with pytest.raises(ModelError, match="allow it by its name: --network own_net_of_tests:Net"):
        load_model(tmp_path / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(code)
        with pytest.raises(ModelError, match="would run code"):
            load_model(tmp_path / "model", network="another:Net")
        assert not (code / "was_run").exists()
        try:
            loaded = load_model(tmp_path / "model", network=name)
            assert (code / "was_run").exists()
            assert type(loaded.networks[0].network).__name__ == "Net"
            # One rule: also what the program has imported is named.
            with pytest.raises(ModelError, match="would run code"):
                load_model(tmp_path / "model")
        finally:
            sys.modules.pop("own_net_of_tests", None)
    assert str(code) not in sys.path


def test_a_run_with_code_of_ones_own_names_it_again_to_go_on(tmp_path, capsys):
    config = Training(out=tmp_path / "run", network=Network(network="mine:Net"))
    write_run(tmp_path / "run", config)
    assert main(["train", "--resume", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert shlex.join(["--resume", "--out", str(tmp_path / "run"), "--network", "mine:Net"]) in said


@pytest.mark.slow
def test_the_command_finds_a_network_in_the_working_folder(place, tmp_path):
    code = foreign_model(tmp_path)
    found = compseg(
        "train", "--data", place / "data", "--out", tmp_path / "run", "--network", "own_net_of_tests:Net",
        "--epochs", "1", "--no-second-view", cwd=code,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    words = ["--split", "test", "--model", tmp_path / "run", "--out", tmp_path / "out"]
    shown = compseg("predict", place / "data", *words, cwd=code)
    assert shown.returncode == 1
    assert "--network own_net_of_tests:Net" in shown.stderr
