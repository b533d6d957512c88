"""A run goes on as the run that was started, or not at all: same options, same store, any devices."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import zarr
from store_example import as_written_before_hashes, write_store

from compseg_jax.cli.train import configuration
from compseg_jax.config import RECIPES, Network, Training
from compseg_jax.config.recipe_file import recipe
from compseg_jax.model import ModelError
from compseg_jax.model.run_folder import read_fingerprint, read_run
from compseg_jax.runtime import data_mesh
from compseg_jax.runtime.devices import placed
from compseg_jax.store.checksums import seal
from compseg_jax.store.prepared import CubeMemory, PreparedStore
from compseg_jax.store.read import Store, StoreError
from compseg_jax.training import run as run_module
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.loop import save
from compseg_jax.training.run import RunError, set_up


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(write_store(tmp_path_factory.mktemp("store") / "data", sizes=[(8, 6), (6, 8)]).path))


def configured(store: Path, out: Path, **changes: object) -> Training:
    config = RECIPES["default"]
    changes = {
        "optimiser": dataclasses.replace(config.optimiser, schedule="constant"),
        "network": Network(base=2, depth=0, front=0),
        "prepare": (),
        "self_check": False,
        "second_view": False,
        "starts": 1,
        "epochs": 2,
        **changes,
    }
    return dataclasses.replace(config, data=store, out=out, **changes)  # type: ignore[arg-type]


def begin(config: Training) -> None:
    """A run that was stopped after its set-up: its configuration and one checkpoint."""
    setup = set_up(config)
    with Checkpoints(config.out / "checkpoints") as checkpoints:
        state, progress = setup.begun(checkpoints)
        progress.best = state.variables
        save(checkpoints, placed(state, setup.run.programs.train_step.replicated), progress)


@pytest.fixture(scope="module")
def begun(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    begin(configured(store, out))
    return out


@pytest.fixture
def stopped(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "run"))


def resume(config: Training) -> None:
    """Goes on up to the first step."""
    setup = set_up(dataclasses.replace(config, resume=True))
    with Checkpoints(config.out / "checkpoints") as checkpoints:
        setup.begun(checkpoints)


def refused(config: Training, error: type[Exception] = RunError) -> str:
    """What resuming says; nothing in the folder has changed by then."""
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    with pytest.raises(error) as caught:
        resume(config)
    assert {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()} == before
    return str(caught.value)


OBJECTIVE, OPTIMISER = RECIPES["default"].objective, RECIPES["default"].optimiser


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objective": dataclasses.replace(OBJECTIVE, alpha=0.31)}, r"objective.alpha .* → 0.31"),
        ({"batch_size": 3}, "batch_size 7 → 3"),
        ({"seed": 5}, "seed 0 → 5"),
        ({"network": Network(base=2, depth=1, front=0)}, "network.depth 0 → 1"),
        ({"prepare": ("vector",)}, r"prepare \[\] → \['vector'\]"),
        (
            {"optimiser": dataclasses.replace(OPTIMISER, schedule="constant", learning_rate=0.5)},
            "learning_rate",
        ),
        ({"augment": "flips", "balance": "weights"}, "augment .*; balance"),
        ({"optimiser": dataclasses.replace(OPTIMISER, schedule="cosine"), "epochs": 3}, "epochs 2 → 3; "),
    ],
)
def test_other_options_are_refused_by_name(
    stopped: Path, store: Path, changes: dict[str, object], named: str
) -> None:
    said = refused(configured(store, stopped, **{"augment": "none", **changes}))
    assert said.startswith(f"{stopped} was started with other options (")
    assert re.search(named, said)


def test_what_changes_no_loss_may_change(stopped: Path, store: Path) -> None:
    config = configured(
        store, stopped, epochs=9, checkpoint_every=3, feed="stream", microbatch=1, licence="MIT"
    )
    resume(dataclasses.replace(config, threshold="paper"))
    assert (read_run(stopped).epochs, read_run(stopped).checkpoint_every) == (9, 3)


def test_another_store_is_refused_whatever_its_ids(stopped: Path, store: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(store, tmp_path / "other"))
    resume(configured(other, stopped))  # a copy, elsewhere
    table = (other / "samples.csv").read_bytes()
    (other / "samples.csv").write_bytes(table.replace(b"s0,0,train", b"s0,1,train"))
    seal(other)
    said = refused(configured(other, stopped))
    assert said.startswith(
        f"{other} is not the store that {stopped} was started with: other samples, labels,"
    )
    (other / "samples.csv").write_bytes(table)
    seal(other)
    values = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**values, "wavenumbers_cm1": [1700.25, 1650.0, 1100.0]}))
    seal(other)
    assert "other axis, background or preparation" in refused(configured(other, stopped))
    (other / "dataset.json").write_text(json.dumps(values))
    # Another image in one cube, and another reference mask, of a store that states no hashes of them.
    as_written_before_hashes(other)
    resume(configured(other, stopped))
    mask = zarr.open_array(str(other / "cubes" / "s3.zarr" / "labels" / "reference" / "0"), mode="r+")
    mask[2, 3] = not mask[2, 3]
    assert "other reference masks" in refused(configured(other, stopped))
    mask[2, 3] = not mask[2, 3]
    zarr.open_array(str(other / "cubes" / "s1.zarr" / "0"), mode="r+")[0, 2, 3] = 9.0
    assert "other values of the training images" in refused(configured(other, stopped))


def test_runs_of_earlier_releases_keep_no_fingerprint_and_go_on(stopped: Path, store: Path) -> None:
    values = json.loads((stopped / "config.json").read_text())
    assert set(values.pop("store_fingerprint")) == {"description", "samples", "references", "values"}
    (stopped / "config.json").write_text(json.dumps(values))
    resume(configured(store, stopped))
    assert set(read_fingerprint(stopped)) == {"description", "samples", "references", "values"}
    assert recipe(str(stopped / "config.json")).batch_size == 7


@pytest.mark.parametrize("text", ["", "{", "[]", '{"epochs": "two"}', "\xff", '{"store_fingerprint": 3}'])
def test_a_damaged_configuration_is_one_sentence(stopped: Path, store: Path, text: str) -> None:
    (stopped / "config.json").write_text(text, encoding="latin-1")
    said = refused(configured(store, stopped), ModelError)
    assert said.startswith(f"{stopped / 'config.json'} cannot be read: ")
    assert said.endswith("take it from a copy of the run, or start a new one.")
    assert "\n" not in said


def test_a_checkpoint_of_two_devices_is_resumed_on_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(store, tmp_path / "run")
    monkeypatch.setattr(run_module, "data_mesh", lambda: data_mesh(2))
    begin(config)
    monkeypatch.setattr(run_module, "data_mesh", lambda: data_mesh(1))
    setup = set_up(dataclasses.replace(config, resume=True))
    with Checkpoints(config.out / "checkpoints") as checkpoints:
        state, _ = setup.begun(checkpoints)
    jax.tree.map(np.testing.assert_array_equal, state.variables, setup.state.variables)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state.variables)} == {1}


def test_flags_and_recipes_given_again_are_those_of_the_run(stopped: Path, store: Path) -> None:
    again = ["--resume", "--out", str(stopped), "--data", str(store)]
    assert configuration(again).batch_size == 7
    for flag, expected in (("--no-second-view", False), ("--second-view", True)):
        assert configuration([*again, flag]).second_view is expected
    values = json.loads((stopped / "config.json").read_text())
    (stopped / "config.json").write_text(json.dumps({**values, "tensorboard": True, "second_view": True}))
    assert configuration([*again, "--tensorboard", "--second-view"]).tensorboard
    other = configuration([*again, "--recipe", "cam"])
    assert other.data == store
    said = refused(other)
    assert "objective." in said


def test_a_store_that_changes_while_it_is_read_ends_with_one_sentence(store: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(store, tmp_path / "data"))
    cubes = PreparedStore(Store.open(path), memory=CubeMemory(most_bytes=0))
    before, _ = cubes.read("s1")
    np.testing.assert_array_equal(cubes.read("s1")[0], before)
    zarr.open_array(str(path / "cubes" / "s1.zarr" / "0"), mode="r+")[0, 2, 3] += 1e-6
    with pytest.raises(
        StoreError, match=r"sample 's1' is not what it was when it was first read: the store was"
    ):
        cubes.read("s1")
    shutil.rmtree(path)
    with pytest.raises(StoreError, match="cannot be read"):
        cubes.read("s2")
