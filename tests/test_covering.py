"""The second phase: when it is due, which network is kept, and that it goes on like any run."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax import load_model
from compseg_jax.config import RECIPES, Ensemble, Network, Objective, Training
from compseg_jax.evaluation.run_records.found_runs import find_runs
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.run_folder import is_trained
from compseg_jax.objective import comparative_error, coverage_error
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.training import loop
from compseg_jax.training import run as run_module
from compseg_jax.training.covering import Covered, covering, described, is_due, touching_share
from compseg_jax.training.ensemble import member_runs, train_ensemble
from compseg_jax.training.run import train


def test_the_coverage_error_counts_pixels_that_contradict_their_label():
    logits = jnp.array([[[40.0, -40.0], [40.0, 40.0]], [[40.0, -40.0], [-40.0, -40.0]]])
    assert coverage_error(logits, jnp.array([1, 0]), None).tolist() == [0.25, 0.25]
    tissue = jnp.array([[[True, False], [True, True]], [[False, True], [True, True]]])
    assert coverage_error(logits, jnp.array([1, 0]), tissue).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_it_is_least_where_spectra_are_more_frequent_in_tumour():
    """Two kinds of pixels: one in all tissue, one in tumour alone, which is a fifth of diseased samples."""
    kinds = np.zeros((2, 1, 10), int)
    kinds[1, 0, :2] = 1

    def error(of_kind):
        return jnp.sum(coverage_error(of_kind[jnp.asarray(kinds)], jnp.array([0, 1]), None))

    falls = -jax.grad(error)(jnp.zeros(2))
    assert falls[1] > 0 > falls[0], "also where most pixels of a diseased sample are healthy"


def test_the_objective_adds_it_by_its_weight():
    logits = jax.random.normal(jax.random.key(0), (4, 5, 5, 1))
    labels = jnp.array([0, 1, 0, 1])
    own = RECIPES["default"].objective
    plain, both = (
        comparative_error(logits, labels, None, dataclasses.replace(own, coverage_weight=weight))
        for weight in (0.0, 2.0)
    )
    np.testing.assert_allclose(both - plain, 2 * coverage_error(logits[..., 0], labels, None), rtol=1e-5)


def test_what_it_goes_on_from_has_a_guess():
    with pytest.raises(ValueError, match=r"covering=1\.0: goes on from what error='cross_entropy'"):
        Training(objective=Objective(), covering=1.0)
    assert not dataclasses.replace(RECIPES["default"].objective, coverage_weight=1.0).has_a_guess


def of(part: float | None, implied_dice: float | None = 0.9, loss: float = 0.3, **changes: object) -> dict:
    choice = {"supported": part is not None, "diseased_fraction": part, "implied_dice": implied_dice}
    return {"best_epoch": {"val_loss": loss}, "threshold_choice": choice, "epochs_trained": 40, **changes}


def test_it_is_due_where_labels_say_something_of_the_map():
    assert is_due(of(0.3))
    assert not is_due(of(None))
    assert not is_due(of(0.0))


FIGURES = "implied Dice 0.920 before, 0.970 after; diseased part 0.300, 0.320"


@pytest.mark.parametrize(
    ("first", "second", "touching", "kept", "why"),
    [
        (of(0.30, 0.92), of(0.32, 0.97), 0.6, True, FIGURES),
        (of(0.30, 0.92), of(0.24, 0.97), None, True, "implied Dice 0.920 before"),
        (of(0.10, 0.92), of(0.20, 0.98), 0.3, True, "implied Dice 0.920 before"),
        (of(0.37, 0.973), of(0.27, 0.981), 0.4, True, "implied Dice 0.973 before"),
        (of(0.30, 0.973), of(0.40, 0.981), 0.4, False, "it marks a halo"),
        (of(0.30, 0.973), of(0.40, 0.981), 0.6, True, "implied Dice 0.973 before"),
        (of(0.30, 0.975), of(0.34, 0.970), 0.6, True, "implied Dice 0.975 before"),
        (of(0.28, 0.994), of(0.34, 0.993), 0.6, True, "implied Dice 0.994 before"),
        (of(0.29, 0.988), of(0.297, 0.983), 0.9, False, "the labels were explained, and it finds no more"),
        (
            of(0.315, 0.995),
            of(0.462, 0.993),
            0.2,
            False,
            "it marks a halo: 20% of what is new nearby touches",
        ),
        (of(0.05, 0.965), of(0.297, 0.749), 0.6, False, "its map explains the labels worse"),
        (of(0.30, 0.92), of(None, None), 0.6, False, "its map tells no labels"),
    ],
)
def test_which_network_is_kept(first, second, touching, kept, why):
    covered = Covered.compare(first, second, touching)
    assert (covered.begun, covered.kept, covered.epochs, covered.touching) == (True, kept, 40, touching)
    assert covered.why.startswith(why)


def test_a_band_around_a_lesion_touches_it_less_than_a_gap_that_is_filled():
    y, x = np.mgrid[:40, :40]
    distance = np.hypot(y - 20, x - 20)
    lesion, gap = distance < 9, np.abs(x - 20.5) < 1
    assert touching_share([lesion & ~gap], [lesion]) == 1.0
    halo = touching_share([lesion], [distance < 13])
    assert halo is not None
    assert 0.15 < halo < 0.35
    assert touching_share([lesion], [lesion]) is None, "nothing is new"
    assert touching_share([np.zeros_like(lesion)], [lesion]) is None, "nothing was marked before"


@pytest.mark.parametrize("kept", [True, False])
def test_how_it_was_made_is_said_of_the_first_phase(kept):
    first = of(0.3, config="first", history="first", starts_given_up=1)
    second = of(0.4, loss=1.2, config="second", history="second", starts_given_up=0)
    own = described(first, second, Covered(begun=True, kept=kept, why=""))
    assert (own["config"], own["history"], own["starts_given_up"]) == ("first", "first", 1)
    assert own["best_epoch"]["val_loss"] == (1.2 if kept else 0.3)
    assert own["covering"]["kept"] == kept


def test_a_run_is_trained_after_its_second_phase():
    config = dataclasses.replace(RECIPES["default"], epochs=3)
    assert not is_trained(config, {"epochs_trained": 3})
    assert is_trained(config, {"epochs_trained": 3, "covering": {"begun": False}})
    assert is_trained(dataclasses.replace(config, covering=0.0), {"epochs_trained": 3})
    assert not is_trained(config, {"epochs_trained": 2, "covering": {"begun": False}})


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
    kept = Covered(begun=True, kept=True, why="as the test says", epochs=2)
    monkeypatch.setattr(run_module.Covered, "compare", lambda *of: kept)


def said_of(run: Path) -> dict:
    return json.loads((run / "model" / "model.json").read_text())


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(small(store, out, covering=0.0))
    return out


def test_what_is_not_due_changes_nothing_but_says_why(store, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "is_due", lambda said: False)
    train(small(store, tmp_path / "run"))
    said = said_of(tmp_path / "run")
    assert said["covering"]["begun"] is False
    assert said["covering"]["why"]
    assert not (tmp_path / "run" / "covering").exists()
    assert said["weights_sha256"] == said_of(plain)["weights_sha256"]
    assert said["threshold_choice"] == said_of(plain)["threshold_choice"]
    assert load_model(tmp_path / "run").networks[0].distribution is not None


def test_it_goes_on_from_the_first_network__and_for_as_long(store, plain, tmp_path, due, capsys):
    out = tmp_path / "run"
    train(small(store, out))
    said = said_of(out)
    assert said["covering"] | {"begun": True, "kept": True, "epochs": 2} == said["covering"]
    assert "second phase: kept, as the test says" in capsys.readouterr().out
    second = said_of(out / "covering")
    assert said["weights_sha256"] == second["weights_sha256"] != said_of(plain)["weights_sha256"]
    assert said["threshold"] == second["threshold"]
    assert (said["epochs_trained"], second["epochs_trained"]) == (2, 2)
    assert said["config"]["covering"] == 3.0
    assert second["config"]["objective"]["coverage_weight"] == 3.0
    assert covering(small(store, out)).resume, "what is there goes on where it stands"


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
    assert "covering" not in said_of(out)
    train(small(store, out, resume=True))
    assert said_of(out)["weights_sha256"] == said_of(tmp_path / "whole")["weights_sha256"]


def test_the_networks_of_an_ensemble_have_one_each(store, tmp_path, due):
    config = small(store, tmp_path / "run", epochs=1, ensemble=Ensemble(seeds=2))
    train_ensemble(config)
    for member in member_runs(config):
        assert member.is_finished()
        assert (member.config.out / "covering" / "model" / "model.json").is_file()


def test_a_list_of_runs_shows_both_phases_as_one(store, tmp_path, due):
    train(small(store, tmp_path / "run"))
    (found,) = find_runs(tmp_path).runs
    assert (found.folder, found.state) == (tmp_path / "run", "2 epochs")
    described_now = said_of(tmp_path / "run")
    for key in ("covering", "description_sha256"):
        del described_now[key]
    (tmp_path / "run" / "model" / "model.json").write_text(json.dumps(described_now))
    (found,) = find_runs(tmp_path).runs
    assert (found.is_finished, found.state) == (False, "2 epochs, second phase unfinished")
