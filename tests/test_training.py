"""Runs as a user makes them: trained, killed, resumed, extracted, evaluated."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Network, Training, from_json, to_json
from compseg_jax.evaluation.scores.smoothing import smoothed
from compseg_jax.ingest.ingest_options import split_commas
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import Model, ModelError
from compseg_jax.store.check import check_table
from compseg_jax.store.read import Store
from compseg_jax.training import loop, map_and_calls
from compseg_jax.training.checkpoint import numbers_in
from compseg_jax.training.progress import TrainingError
from compseg_jax.training.run import RunError, train

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=16, channels=6, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=8, val=4, test=8, phantom=config))
    return path


def small(store: Path, out: Path, **changes) -> Training:
    config = RECIPES["default"]
    network = Network(base=2, depth=0, head_bias=-3.0)
    return dataclasses.replace(
        config,
        data=store,
        out=out,
        **{
            "network": network,
            "epochs": 2,
            "starts": 1,
            "self_check": False,
            "second_view": False,
            "augment": "none",
            **changes,
        },
    )


def parameters(run: Path) -> dict[str, np.ndarray]:
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore((run / "model" / "params").resolve())
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_the_best_network_can_be_restored_alone_from_a_checkpoint(trained):
    step = trained / "checkpoints" / str(numbers_in(trained / "checkpoints")[-1])
    with ocp.StandardCheckpointer() as checkpointer:
        best = checkpointer.restore((step / "best").resolve())
    values = parameters(trained)
    for path, leaf in jax.tree_util.tree_leaves_with_path(best["params"]):
        np.testing.assert_array_equal(leaf, values[jax.tree_util.keystr(path)])


def test_another_network_is_refused_by_its_options(trained, store, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    config = small(store, copy, resume=True)
    with pytest.raises(
        RunError, match=r"started with other options \(network.base 2 → 3; network.depth 0 → 1"
    ):
        train(dataclasses.replace(config, network=Network(base=3, depth=1)))


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "train"
    train(small(store, out))
    return out


def test_the_extracted_model_restores_with_plain_orbax(trained):
    values = parameters(trained)
    model = load_model(trained / "model")
    assert sum(v.size for v in values.values()) == model.description["parameters"]
    assert {"network", "scaling", "threshold", "weights_sha256", "versions", "config", "history"} <= set(
        model.description
    )


def test_the_loaded_model_is_jit_vmap_and_grad_safe_and_checks_its_channels(trained, store):
    loaded = load_model(trained / "model")
    model = partial(loaded, prepared=True)
    opened = Store.open(store)
    cube = jnp.asarray(opened.read(opened.samples[1].id))
    activation = model(cube)
    assert activation.shape == cube.shape[:2]
    assert 0 <= float(activation.min()) <= float(activation.max()) <= 1
    np.testing.assert_array_equal(activation == 0, jnp.all(cube == 0, axis=-1))
    np.testing.assert_allclose(jax.jit(model)(cube), activation, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(model)(cube[None])[0], activation, atol=1e-6)
    assert jnp.all(jnp.isfinite(jax.grad(lambda c: jnp.sum(model(c)))(cube)))
    with pytest.raises(ModelError, match=r"required is \(y, x, 6\)"):
        model(cube[..., :5])
    with pytest.raises(ModelError, match="its axis is not the model's"):
        model(cube, wavenumbers_cm1=np.linspace(1700, 1000, 6))
    with pytest.raises(ModelError, match="inside jax transformations"):
        jax.jit(loaded)(cube)


def test_damaged_weights_are_refused(trained, tmp_path):
    description = json.loads((trained / "model" / "model.json").read_text())
    folder = tmp_path / "model"
    folder.mkdir()
    os.symlink(trained / "model" / "params", folder / "params")
    del description["description_sha256"], description["files_sha256"]
    (folder / "model.json").write_text(json.dumps({**description, "weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="changed or damaged"):
        load_model(folder)
    with pytest.raises(ModelError, match=r"no model\.json"):
        load_model(tmp_path / "elsewhere")


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(store, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(small(store, whole, epochs=4, augment="dihedral"))
    config = small(store, halves, epochs=4, augment="dihedral")
    # The schedule depends on the epochs asked for, so the first half is a run of four epochs that stops.
    process = start_training(config)
    wait_for(halves, epochs=2)
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130, messages
    assert "--resume" in messages
    train(dataclasses.replace(config, resume=True))
    assert_same_runs(whole, halves)


def test_a_killed_run_resumes_bit_for_bit(store, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = {
        "epochs": 6,
        "optimiser": dataclasses.replace(RECIPES["default"].optimiser, schedule="constant"),
    }
    train(small(store, whole, **options))
    process = start_training(small(store, killed, **options))
    wait_for(killed, epochs=3)
    time.sleep(float(np.random.default_rng(os.getpid()).uniform(0, 0.5)))
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    train(dataclasses.replace(small(store, killed, **options), resume=True))
    assert_same_runs(whole, killed)


def start_training(config: Training) -> subprocess.Popen:
    program = (
        "import json, sys, jax; import compseg_jax; jax.config.update('jax_num_cpu_devices', 8);"
        "from compseg_jax.config import Training, from_json; from compseg_jax.cli.main import run_command;"
        "from compseg_jax.training.run import train;"
        "config = from_json(Training, json.loads(sys.argv[1]));"
        "sys.exit(run_command(lambda _: train(config) and None, []))"
    )
    arguments = [sys.executable, "-c", program, json.dumps(to_json(config))]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(run: Path, epochs: int) -> None:
    """Waits until the log holds so many epochs and a checkpoint is there."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        log = run / "log.jsonl"
        steps = [p for p in (run / "checkpoints").glob("[0-9]*") if p.name.isdigit()]
        if log.exists() and len(log.read_text().splitlines()) >= epochs and steps:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{run} did not get to epoch {epochs}")


def assert_same_runs(first: Path, second: Path) -> None:
    a, b = parameters(first), parameters(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    histories = []
    for run in (first, second):
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        histories.append([{k: r[k] for k in ("epoch", "step", "loss", "val_loss")} for r in records])
    assert histories[0] == histories[1]


def test_resident_and_streamed_data_train_alike(store, tmp_path):
    losses = []
    for feed in ("resident", "stream"):
        train(small(store, tmp_path / feed, feed=feed))
        records = [json.loads(line) for line in (tmp_path / feed / "log.jsonl").read_text().splitlines()]
        losses.append([record["loss"] for record in records])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(store, tmp_path):
    optimiser = dataclasses.replace(RECIPES["default"].optimiser, learning_rate=1000.0, schedule="constant")
    network = Network(base=2, depth=1, head_bias=-3.0)
    with pytest.raises(TrainingError, match=r"(loss|gradient) at step \d+ is not finite.*learning-rate"):
        train(small(store, tmp_path / "run", optimiser=optimiser, epochs=3, network=network))


def test_what_was_learnt_before_a_loss_that_is_not_finite_is_kept(store, tmp_path, monkeypatch):
    finish = loop.finish_epoch

    def finish_badly(*arguments):
        record = finish(*arguments)
        return {**record, "val_loss": float("nan")} if record["epoch"] == 3 else record

    monkeypatch.setattr(loop, "finish_epoch", finish_badly)
    with pytest.raises(TrainingError, match="validation loss of epoch 3 is not finite"):
        train(small(store, tmp_path / "run", epochs=4, checkpoint_every=20))
    assert load_model(tmp_path / "run" / "model").description["best_epoch"]["epoch"] in (1, 2, 3)


@pytest.mark.slow
def test_starting_from_an_extracted_network(trained, store, tmp_path):
    config = small(store, tmp_path / "more", init_from=trained / "model", epochs=1)
    optimiser = dataclasses.replace(config.optimiser, learning_rate=1e-12)
    train(dataclasses.replace(config, optimiser=optimiser))
    before, after = parameters(trained), parameters(tmp_path / "more")
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=1e-6)
    with pytest.raises(RunError, match="holds another network"):
        train(dataclasses.replace(config, network=Network(base=3, depth=1), out=tmp_path / "other"))


def test_a_run_is_never_overwritten_and_never_resumed_from_nothing(trained, store, tmp_path):
    with pytest.raises(RunError, match="holds a run already"):
        train(small(store, trained))
    with pytest.raises(RunError, match="no run to resume"):
        train(small(store, tmp_path / "none", resume=True))


def test_problems_of_the_store_are_told_before_any_work(store, tmp_path):
    opened = Store.open(store)
    leaking = dataclasses.replace(
        opened, samples=tuple(dataclasses.replace(sample, group="one") for sample in opened.samples)
    )
    assert any("move all of it to one split" in problem for problem in check_table(leaking).problems)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_recipes_survive_json(recipe):
    config = RECIPES[recipe]
    assert from_json(Training, to_json(config)) == config
    assert config.recipe == recipe


def test_paper_recipe_is_the_paper():
    config = RECIPES["paper2019"]
    assert (config.epochs, config.batch_size, config.threshold, config.augment) == (400, 7, "paper", "none")
    assert (config.objective.alpha, config.objective.beta, config.objective.gamma) == (0.1, 5.0, 0.001)
    assert (config.objective.error, config.objective.pooling, config.objective.pair) == (
        "absolute",
        "image",
        False,
    )
    assert (config.network.network, config.network.base, config.network.depth) == ("unet", 64, 4)
    assert (config.network.activation, config.network.head_bias) == ("softplus", 0.0)
    assert (config.optimiser.learning_rate, config.optimiser.schedule) == (1e-3, "constant")


def test_the_commands_end_to_end(store, tmp_path, capsys):
    run, report = tmp_path / "run", tmp_path / "report"
    arguments = [
        "--data",
        str(store),
        "--out",
        str(run),
        "--base",
        "2",
        "--epochs",
        "2",
        "--network",
        "segnet",
    ]
    assert main(["train", *arguments, "--alpha", "0.3", "--no-second-view"]) == 0
    model = str(run / "model")
    assert main(["evaluate", "--model", model, "--data", str(store), "--out", str(report)]) == 0
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "hint: 4 validation samples are few; --folds 5, with another --out, lets all 12 of both" in said
    metrics = json.loads((report / "metrics.json").read_text())
    needed = {
        "auc_area", "auc_area_ci95", "auc_mean_activation", "dice_mean", "dice_sd", "dice_predict_everything",
        "pixel_ap", "pixel_auc", "pxap", "false_positive_area_healthy", "threshold", "n_diseased", "n_healthy",
    }  # fmt: skip
    assert needed <= metrics.keys()
    assert metrics["n_diseased"] == metrics["n_healthy"] == 4
    assert len(list((report / "activation").glob("*.png"))) == 8
    assert json.loads((run / "config.json").read_text())["objective"]["alpha"] == 0.3


@pytest.mark.slow
def test_users_own_network_by_command(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    run = tmp_path / "run"
    arguments = ["train", "--data", str(store), "--out", str(run), "--epochs", "1"]
    assert main([*arguments, "--network", "tests.test_networks:TinyNet"]) == 0
    assert (run / "model" / "collections").is_dir()
    with pytest.raises(ModelError, match=r"--network tests\.test_networks:TinyNet"):
        load_model(run / "model")
    model = load_model(run / "model", network="tests.test_networks:TinyNet")
    assert model(np.ones((9, 11, 6), np.float32), prepared=True).shape == (9, 11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "no dataset.json"),
        (["train", "--recipe", "paper1919"], "Choose one of default"),
        (["evaluate", "--model", "nowhere"], "no model.json"),
        (["check", "nowhere"], "no dataset.json"),
        (["ingest", "nowhere.csv", "--out", "x"], "no such file"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_1(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_label_names_are_separated_by_commas():
    expected = ["--positive", "T", "TI-III", "M", "--resize", "32"]
    assert split_commas(["--positive", "T,TI-III, M", "--resize", "32"]) == expected
    assert split_commas(["--positive=T,TI-III,M", "--resize", "32"]) == expected


@pytest.mark.slow
def test_the_extracted_network_smooths_its_maps_as_its_validation_samples_ask(store, tmp_path, monkeypatch):
    seen = []

    def chosen(activations, tissues, labels, **options):
        seen.append((len(activations), sorted(labels)))
        return 1.4

    monkeypatch.setattr(map_and_calls, "choose_smoothing", chosen)
    train(small(store, tmp_path / "run", epochs=1))
    assert seen == [(4, [0, 0, 1, 1])]
    (network,) = load_model(tmp_path / "run").networks
    assert network.smoothing_px == 1.4
    assert json.loads((tmp_path / "run" / "config.json").read_text())["network"]["smoothing_px"] == 0
    sample = Store.open(store).split("test")[0]
    cube = Store.open(store).cube(sample.id)
    rough = Model.of(network.smoothed_by(0)).predict(cube)
    found = Model.of(network).predict(cube).activation
    np.testing.assert_allclose(found, smoothed(rough.activation, rough.tissue, 1.4), atol=2e-6)
    assert np.abs(found - rough.activation).max() > 1e-4
