"""The second phase: when it is due, which network is kept, and that it goes on like any run."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from compseg_jax import load_model
from compseg_jax.config import RECIPES, Ensemble, Network, Objective, Training
from compseg_jax.evaluation.run_records.found_runs import find_runs
from compseg_jax.evaluation.scores import SampleResult
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.run_folder import is_trained
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.store.read import Sample
from compseg_jax.training import loop
from compseg_jax.training import run as run_module
from compseg_jax.training.ensemble import member_runs, train_ensemble
from compseg_jax.training.grafting import (
    Grafted,
    described,
    grafting,
    inner_part,
    is_due,
    marked_part,
    marks_of,
)
from compseg_jax.training.programs import Programs
from compseg_jax.training.run import RunError, train


def test_what_it_goes_on_from():
    with pytest.raises(ValueError, match="grafting=True with target='reference'"):
        Training(objective=Objective(target="reference"), grafting=True)
    with pytest.raises(ValueError, match=r"target='label' and 2 map\(s\)"):
        Training(objective=Objective(pair=True), grafting=True)


def test_no_run_begins_with_marks(store, tmp_path):
    own = small(store, tmp_path / "run", grafting=False)
    with pytest.raises(RunError, match="needs the network of a first one"):
        train(dataclasses.replace(own, objective=dataclasses.replace(own.objective, target="marks")))
    assert not (tmp_path / "run").exists()


def test_it_takes_as_many_steps_of_as_many_images():
    own = dataclasses.replace(RECIPES["default"], epochs=20, batch_size=7)
    second = grafting(own)
    assert (second.epochs, second.batch_size, second.balance) == (40, 14, "sampling")
    assert (second.objective.target, second.grafting, second.out) == ("marks", False, own.out / "grafting")


def of(part: float | None, implied_dice: float | None = 0.9, loss: float = 0.3, **changes: object) -> dict:
    choice = {"supported": part is not None, "diseased_fraction": part, "implied_dice": implied_dice}
    return {"best_epoch": {"val_loss": loss}, "threshold_choice": choice, "epochs_trained": 40, **changes}


def test_it_is_due_where_labels_say_something_of_the_map():
    assert is_due(of(0.3))
    assert not is_due(of(None))
    assert not is_due(of(0.0))


FIGURES = "implied Dice 0.920 before, 0.970 after; diseased part 0.300, 0.320"


@pytest.mark.parametrize(
    ("first", "second", "kept", "why"),
    [
        (of(0.30, 0.92), of(0.32, 0.97), True, FIGURES),
        (of(0.30, 0.92), of(0.32, 0.90), True, "implied Dice 0.920 before"),
        (of(0.05, 0.965), of(0.297, 0.649), False, "its map explains the labels worse: implied Dice 0.965"),
        (of(0.30, 0.92), of(None, None), False, "its map tells no labels"),
    ],
)
def test_which_network_is_kept(first, second, kept, why):
    grafted = Grafted.compare(first, second, 0.2)
    assert (grafted.begun, grafted.kept, grafted.epochs, grafted.grafted_fraction) == (True, kept, 40, 0.2)
    assert grafted.why.startswith(why)


def test_the_inner_part_of_what_is_marked_is_grafted():
    y, x = np.mgrid[:40, :40]
    distance = np.hypot(y - 20, x - 12)
    tissue = x < 36
    activation = np.where(distance < 8, 0.6, 0.2)
    maps = [SampleResult(f"{label}", label, "", activation, tissue, None, activation) for label in (0, 1)]
    marks = marks_of(maps, 0.5)
    assert not marks["0"].any(), "healthy samples give nothing"
    assert marks["1"].sum() == pytest.approx(0.7 * (distance < 8).sum(), rel=0.05)
    assert distance[marks["1"]].max() < 7 <= distance[(distance < 8) & ~marks["1"]].max()
    samples = [Sample(name, int(name), "train", name, 40, 40, has_reference=False) for name in ("0", "1")]
    assert marked_part(marks, samples) == marks["1"].mean()


def test_marks_at_the_edge_of_the_tissue_and_small_ones_keep_their_middle():
    tissue = np.zeros((30, 30), bool)
    tissue[:, :15] = True
    marks = np.zeros_like(tissue)
    marks[10:20, 8:15] = True  # where the tissue ends nothing is doubtful
    inner = inner_part(marks, tissue)
    assert inner[15, 14]
    assert not inner[15, 8]
    dot = np.zeros_like(tissue)
    dot[4:9, 4:9] = True
    kept = inner_part(dot, tissue)
    assert 17 <= kept.sum() < 25
    assert kept[5:8, 5:8].all()
    assert not inner_part(np.zeros_like(tissue), tissue).any()


@pytest.mark.parametrize("kept", [True, False])
def test_how_it_was_made_is_said_of_the_first_phase(kept):
    first = of(0.3, config="first", history="first", starts_given_up=1, seen="first")
    second = of(0.4, loss=1.2, config="second", history="second", starts_given_up=0, seen="")
    own = described(first, second, Grafted(begun=True, kept=kept, why=""))
    assert (own["config"], own["history"], own["starts_given_up"], own["seen"]) == (
        "first",
        "first",
        1,
        "first",
    )
    assert own["best_epoch"]["val_loss"] == (1.2 if kept else 0.3)
    assert own["grafting"]["kept"] == kept


def test_a_run_is_trained_after_its_second_phase():
    config = dataclasses.replace(RECIPES["default"], epochs=3)
    assert not is_trained(config, {"epochs_trained": 3})
    assert is_trained(config, {"epochs_trained": 3, "grafting": {"begun": False}})
    assert is_trained(dataclasses.replace(config, grafting=False), {"epochs_trained": 3})
    assert not is_trained(config, {"epochs_trained": 2, "grafting": {"begun": False}})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=24, channels=8, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=10, val=6, test=2, phantom=config))
    return path


def small(store: Path, out: Path, **changes) -> Training:
    values = {
        "epochs": 2,
        "starts": 1,
        "self_check": False,
        "second_view": False,
        "augment": "none",
        "network": Network(base=2, depth=0, head_bias=-1.0),
        **changes,
    }
    return dataclasses.replace(RECIPES["default"], data=store, out=out, **values)


@pytest.fixture
def due(monkeypatch):
    """Every run has a second phase, whatever it has learnt, and its network is kept."""
    monkeypatch.setattr(run_module, "is_due", lambda said: True)
    kept = Grafted(begun=True, kept=True, why="as the test says", epochs=2)
    monkeypatch.setattr(run_module.Grafted, "compare", lambda *of: kept)


def said_of(run: Path) -> dict:
    return json.loads((run / "model" / "model.json").read_text())


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(small(store, out, grafting=False))
    return out


def test_what_is_not_due_changes_nothing_but_says_why(store, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "is_due", lambda said: False)
    train(small(store, tmp_path / "run"))
    said = said_of(tmp_path / "run")
    assert said["grafting"]["begun"] is False
    assert said["grafting"]["why"]
    assert not (tmp_path / "run" / "grafting").exists()
    assert said["weights_sha256"] == said_of(plain)["weights_sha256"]
    assert said["threshold_choice"] == said_of(plain)["threshold_choice"]
    assert load_model(tmp_path / "run").networks[0].distribution is not None


def test_it_goes_on_from_the_first_network__and_for_as_long(store, plain, tmp_path, due, capsys):
    out = tmp_path / "run"
    train(small(store, out))
    said = said_of(out)
    assert said["grafting"] | {"begun": True, "kept": True, "epochs": 2} == said["grafting"]
    assert "second phase: kept, as the test says" in capsys.readouterr().out
    second = said_of(out / "grafting")
    assert said["weights_sha256"] == second["weights_sha256"] != said_of(plain)["weights_sha256"]
    assert said["threshold"] == second["threshold"]
    assert (said["epochs_trained"], second["epochs_trained"]) == (2, 4)
    assert said["config"]["grafting"] is True
    assert second["config"]["objective"]["target"] == "marks"
    assert grafting(small(store, out)).resume, "what is there goes on where it stands"


def test_a_run_stopped_in_its_second_phase_goes_on(store, tmp_path, due, monkeypatch):
    train(small(store, tmp_path / "whole"))
    out, entered = tmp_path / "run", []

    @contextmanager
    def stopping():
        entered.append(True)
        stop = StopRequest()
        stop.requested = len(entered) == 2
        yield stop

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", stopping)
        with pytest.raises(Interrupted, match=f"stopped in the second phase.*--resume --out {out}$"):
            train(small(store, out))
    assert "grafting" not in said_of(out)
    train(small(store, out, resume=True))
    assert said_of(out)["weights_sha256"] == said_of(tmp_path / "whole")["weights_sha256"]


def test_a_run_with_all_its_parts_goes_on_from_a_network_that_learnt_from_grafts(
    store, tmp_path, due, capsys
):
    with_front = Network(base=2, depth=0, head_bias=-1.0, front=2, front_start="principal_components")
    train(small(store, tmp_path / "run", network=with_front))
    (before,) = load_model(tmp_path / "run").networks
    assert (before.network.front, said_of(tmp_path / "run")["config"]["network"]["front"]) == (0, 2)
    more = small(store, tmp_path / "more", network=with_front, second_view=True)
    train(dataclasses.replace(more, init_from=tmp_path / "run" / "model"))
    assert "has none, as it learnt from grafts" in capsys.readouterr().out
    (after,) = load_model(tmp_path / "more").networks
    assert after.network.front == 0
    assert said_of(tmp_path / "more")["second_view"]["depth"] == 1
    assert load_model(tmp_path / "more").seen.samples == load_model(tmp_path / "run").seen.samples


def test_a_network_of_the_users_own_learns_from_grafts_too(store, tmp_path, due):
    own = "tests.test_networks:TinyNet"
    train(small(store, tmp_path / "run", epochs=1, network=Network(network=own)))
    assert said_of(tmp_path / "run")["grafting"]["begun"]
    (network,) = load_model(tmp_path / "run", network=own).networks
    assert type(network.network).__name__ == "TinyNet"


@pytest.mark.parametrize("way", ["on the device", "stream"])
def test_however_samples_are_fed_it_is_the_same(store, tmp_path, due, monkeypatch, way):
    train(small(store, tmp_path / "run"))
    of = Programs.of.__func__
    loop_too = classmethod(lambda cls, *a, **k: of(cls, *a, on_device=way == "on the device"))
    monkeypatch.setattr(Programs, "of", loop_too)
    train(small(store, tmp_path / "other", feed="stream" if way == "stream" else "resident"))
    one, other = (load_model(tmp_path / name).networks[0].variables for name in ("run", "other"))
    for mine, own in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(own, mine, rtol=1e-4, atol=1e-6)


def test_the_networks_of_an_ensemble_have_one_each(store, tmp_path, due):
    config = small(store, tmp_path / "run", epochs=1, ensemble=Ensemble(seeds=2))
    train_ensemble(config)
    for member in member_runs(config):
        assert member.is_finished()
        assert (member.config.out / "grafting" / "model" / "model.json").is_file()


def test_a_list_of_runs_shows_both_phases_as_one(store, tmp_path, due):
    train(small(store, tmp_path / "run"))
    (found,) = find_runs(tmp_path).runs
    assert (found.folder, found.state) == (tmp_path / "run", "2 epochs")
    described_now = said_of(tmp_path / "run")
    for key in ("grafting", "description_sha256"):
        del described_now[key]
    (tmp_path / "run" / "model" / "model.json").write_text(json.dumps(described_now))
    (found,) = find_runs(tmp_path).runs
    assert (found.is_finished, found.state) == (False, "2 epochs, second phase unfinished")
