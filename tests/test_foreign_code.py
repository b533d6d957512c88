"""Files that name code run none of it: recipes, runs, sweeps and models in every form."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.cli.train import configuration
from compseg_jax.config import Network, Training
from compseg_jax.model import ModelError
from compseg_jax.model.model_files import load_network, save_network
from compseg_jax.model.portable.safetensors_file import load_safetensors, write
from compseg_jax.model.run_folder import write_run
from compseg_jax.networks.build import build_network
from compseg_jax.training.sweep.options import SweepOptions
from compseg_jax.training.sweep.plan import SweepError, planned
from tests.model_example import write_model

NAME = "evil_network_of_tests:Net"
CODE = "import pathlib\npathlib.Path(__file__).with_name('was_run').touch()\nfrom compseg_jax import UNet as Net\n"


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder on PYTHONPATH, and the working one, whose module leaves a trace when it is imported."""
    (tmp_path / "evil_network_of_tests.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    ran = (tmp_path / "was_run").exists()
    sys.modules.pop("evil_network_of_tests", None)
    assert not ran, "the module was imported"


def recipe_file(folder):
    path = folder / "theirs.toml"
    path.write_text(f'[network]\nnetwork = "{NAME}"\n')
    return path


def test_a_recipe_file_runs_no_code(evil, capsys):
    path = recipe_file(evil)
    assert main(["train", "--recipe", str(path), "--data", str(evil / "none")]) == 1
    said = capsys.readouterr().err
    assert str(path) in said
    assert f"--network {NAME}" in said
    allowed = configuration(["--recipe", str(path), "--network", NAME])
    assert allowed.network.network == NAME


def test_a_run_that_is_resumed_runs_no_code(evil, capsys):
    write_run(evil / "run", Training(out=evil / "run", network=Network(network=NAME)))
    for other in ([], ["--network", "another:Net"]):
        assert main(["train", "--resume", "--out", str(evil / "run"), *other]) == 1
        assert f"--network {NAME}" in capsys.readouterr().err


def test_a_sweep_runs_no_code(evil):
    options = SweepOptions(data=evil, out=evil / "sweep", recipes=str(recipe_file(evil)), seeds="0")
    with pytest.raises(SweepError, match=f"--network {NAME}"):
        planned(options)
    # Nor does a plan that somebody changed.
    allowed = SweepOptions(
        data=evil, out=evil / "sweep", recipes=str(recipe_file(evil)), seeds="0", network=NAME
    )
    plan = planned(allowed)
    with pytest.raises(SweepError, match="sweep_plan"):
        plan.config(plan.cells[0], options)
    assert plan.config(plan.cells[0], allowed).network.network == NAME


def renamed(folder):
    """A model folder whose description asks for other code, its hashes as they have to be."""
    write_model(folder)
    model = load_network(folder)
    save_network(folder, model, Network(network=NAME, base=2, depth=1))
    return folder


def test_a_model_is_loaded_by_nothing_without_its_name(evil, capsys):
    folder = renamed(evil / "model")
    ensemble = {
        "format": "compseg-ensemble", "version": 1, "threshold": 0.3, "area_cut": 0.1, "prepared_steps": 0,
        "members": [
            {"model": "model", "weights_sha256": json.loads((folder / "model.json").read_text())["weights_sha256"]}
        ],
    }  # fmt: skip
    (evil / "ensemble.json").write_text(json.dumps(ensemble))
    for path in (folder, evil):
        with pytest.raises(ModelError, match=f"allow it by its name: --network {NAME}"):
            load_model(path)
        with pytest.raises(ModelError, match="would run code"):
            load_model(path, network="evil_network_of_tests:Other")
    np.save(evil / "cube.npy", np.zeros((4, 4, 3), np.float32))
    for command in (
        ["predict", "cube.npy", "--model", "model", "--out", "out"],
        ["export", "--model", "model", "--out", "a.onnx"],
    ):
        assert main(command) == 1
        assert f"--network {NAME}" in capsys.readouterr().err


def test_an_exported_model_runs_no_code(evil, tmp_path):
    pytest.importorskip("safetensors")
    write_model(tmp_path / "model")
    model = load_network(tmp_path / "model")
    model.description["network"]["network"] = NAME
    write(tmp_path / "model.safetensors", model, {})
    with pytest.raises(ModelError, match="would run code"):
        load_safetensors(tmp_path / "model.safetensors")


def test_code_that_the_program_has_imported_is_named_too(tmp_path, monkeypatch):
    module = type(sys)("imported_network_of_tests")
    module.Net = type(build_network(Network()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    write_model(tmp_path / "model")
    name = f"{module.__name__}:Net"
    save_network(tmp_path / "model", load_network(tmp_path / "model"), Network(network=name, base=2, depth=1))
    with pytest.raises(ModelError, match="would run code"):
        load_model(tmp_path / "model")
    assert load_model(tmp_path / "model", network=name).networks[0].network.base == 2
