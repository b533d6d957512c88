"""The second network: of another view, on the same labels, resumed like a run, told of in model.json and reports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from compseg_jax import load_model
from compseg_jax.config import RECIPES, Ensemble, Network, Training
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.training import loop
from compseg_jax.training.ensemble import member_runs
from compseg_jax.training.run import train
from compseg_jax.training.second_view import has_second_view, second_view


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=24, channels=8, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=10, val=6, test=6, phantom=config))
    return path


def small(store: Path, out: Path, **changes) -> Training:
    network = Network(base=2, depth=1, head_bias=-1.0, way_up="bilinear")
    values = {
        "epochs": 3,
        "starts": 1,
        "self_check": False,
        "second_view": True,
        "augment": "none",
        "network": network,
        **changes,
    }
    return dataclasses.replace(RECIPES["default"], data=store, out=out, **values)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "train"
    train(small(store, out))
    return out


def report(model: Path, store: Path, out: Path) -> dict:
    evaluate(EvaluateOptions(model=model, data=store, out=out, bootstrap=20, importance="no"))
    return json.loads((out / "metrics.json").read_text())


def test_the_model_says_how_far_both_agree(run):
    said = load_model(run).description["second_view"]
    assert (said["depth"], said["epochs"], said["samples"]) == (0, 3, 3)
    assert set(said) == {
        "depth", "epochs", "val_auc", "threshold", "labels_learnt", "samples",
        "mask_dice", "mask_dice_by_chance", "where", "rank_correlation",
    }  # fmt: skip
    assert -1 <= said["rank_correlation"] <= 1
    second = load_model(run / "second_view")
    assert second.threshold == said["threshold"]
    assert getattr(second.networks[0].network, "depth", None) == 0


def test_the_first_network_is_the_one_trained_without_a_second(run, store, tmp_path):
    train(small(store, tmp_path / "alone", second_view=False))
    alone, first = load_model(tmp_path / "alone"), load_model(run)
    assert alone.weights_sha256 == first.weights_sha256
    assert alone.threshold_choice == first.threshold_choice
    assert first.networks[0].distribution is not None, "what else a model knows is kept"
    assert "second_view" not in alone.description
    assert not (tmp_path / "alone" / "second_view").exists()


@pytest.mark.slow
def test_the_report_tells_of_it_or_that_there_was_none(run, store, tmp_path):
    metrics = report(run, store, tmp_path / "with")
    assert metrics["second_view"] == load_model(run).description["second_view"]
    without = tmp_path / "model"
    shutil.copytree(run / "model", without)
    described = json.loads((without / "model.json").read_text())
    del described["second_view"], described["description_sha256"]
    (without / "model.json").write_text(json.dumps(described))
    metrics = report(without, store, tmp_path / "without")
    assert metrics["second_view"] is None
    assert sum("No second network checked the map" in note for note in metrics["notes"]) == 1
    page = (tmp_path / "without" / "report.html").read_text()
    assert metrics["verdict"]["sentence"].split(";")[0] in page


@pytest.mark.parametrize("network", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_stopped_in_either_network_goes_on(network, run, store, tmp_path, monkeypatch):
    """Stopped after the first epoch of the first or of the second network; both end as without a stop."""
    out = tmp_path / "run"
    entered = []

    @contextmanager
    def stopping():
        entered.append(True)
        stop = StopRequest()
        stop.requested = len(entered) == network
        yield stop

    monkeypatch.setattr(loop, "stop_requests", stopping)
    with pytest.raises(Interrupted, match=f"--resume --out {out}$"):
        train(small(store, out))
    assert (out / "second_view").exists() == (network == 2)
    train(small(store, out, resume=True))
    for folder in ("model", "second_view/model"):
        assert load_model(out / folder).weights_sha256 == load_model(run / folder).weights_sha256
    assert load_model(out).description["second_view"] == load_model(run).description["second_view"]


def test_its_view_differs_and_its_epochs_do_not(store, tmp_path):
    deep, flat = small(store, tmp_path), small(store, tmp_path, network=Network(depth=0))
    assert (second_view(deep).network.depth, second_view(flat).network.depth) == (0, 1)
    assert second_view(small(store, tmp_path, epochs=61)).epochs == 61
    for config in (deep, flat):
        own = second_view(config)
        assert not own.second_view
        assert not own.grafting, "what nothing follows is finished after its epochs"
        assert own.objective == config.objective
        assert own.out.parent == config.out


def test_who_has_one(store, tmp_path):
    assert has_second_view(RECIPES["default"])
    assert not has_second_view(RECIPES["supervised"])
    own = small(store, tmp_path, network=Network(network="my.module:Class"))
    assert not has_second_view(own), "nobody knows the view of a network of the user's own"
    ensemble = small(store, tmp_path, ensemble=Ensemble(folds=2))
    assert not any(member.config.second_view for member in member_runs(ensemble))
