"""Random starts: those that learn nothing are given up, the run goes on exactly as if the next had been the first."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.config import RECIPES, Network, Objective, Training
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.networks.normalised_start import feature_statistics
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.training import starts
from compseg_jax.training.order import Ordering
from compseg_jax.training.progress import Progress
from compseg_jax.training.run import set_up, train
from compseg_jax.training.samples import drawn_spectra


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(
        PhantomOptions(out=path, train=6, val=4, test=4, phantom=PhantomConfig(size=16, channels=8))
    )
    return path


def run(store: Path, out: Path, **changes) -> Training:
    return dataclasses.replace(
        RECIPES["default"], data=store, out=out, self_check=False, second_view=False,
        **{"network": Network(base=2, depth=0), "epochs": 4, "starts": 3, "start_share": 0.5, "prepare": (), **changes},
    )  # fmt: skip


@pytest.fixture
def never_learns(monkeypatch):
    monkeypatch.setattr(starts, "LEAST_STEPS", 1)
    monkeypatch.setattr(starts, "LEARNT_BELOW", 0.0)


def described(out: Path) -> dict:
    return json.loads((out / "model" / "model.json").read_text())


@pytest.mark.parametrize("labels", [(0, 1) * 5, (0,) * 9 + (1,)])
@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_guess_is_the_best_constant_output(labels, balance, smoothing):
    objective = dataclasses.replace(
        RECIPES["default"].objective, diseased_weight=0.3, label_smoothing=smoothing
    )
    config = dataclasses.replace(RECIPES["default"], objective=objective)
    ordering = Ordering(labels, 4, 0, balance)
    truth, outputs = np.array(labels), np.linspace(0.001, 0.999, 999)[:, None]
    target = np.where(truth == 1, 1 - smoothing, smoothing)
    losses = -target * np.log(outputs) - (1 - target) * np.log(1 - outputs)
    losses *= np.where(truth == 1, 0.3, 1.0)
    if balance == "weights":
        losses *= (len(labels) / (2 * np.bincount(truth)))[truth]
    assert starts.guess_loss(config, ordering) == pytest.approx(losses.mean(axis=1).min(), rel=1e-3)


@pytest.mark.parametrize("labels", [(0, 1) * 5, (0,) * 9 + (1,), (1,) * 7 + (0,) * 3])
@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize(
    "changes", [{}, {"transfer": "trapezoid", "alpha": 0.05, "beta": 0.8}, {"alpha": 0.3}]
)
def test_a_guess_by_the_printed_loss_is_its_best_constant_output(labels, balance, changes):
    objective = Objective(healthy_weight=0.4, **changes)
    config = dataclasses.replace(RECIPES["paper2019"], objective=objective)
    ordering = Ordering(labels, 4, 0, balance)
    truth, level = np.array(labels), objective.alpha if objective.transfer == "sigmoid" else 1.0
    losses = np.abs(np.linspace(0, level, 101)[:, None] - level * truth) * np.where(truth == 1, 1.0, 0.4)
    if balance == "weights":
        losses *= (len(labels) / (2 * np.bincount(truth)))[truth]
    assert starts.guess_loss(config, ordering) == pytest.approx(losses.mean(axis=1).min(), rel=1e-6)


def test_a_dead_start_is_given_up_at_once():
    config = dataclasses.replace(RECIPES["paper2019"], starts=2, epochs=400)
    ordering = Ordering((0, 1) * 30, 6, 0)
    learnt = [{"loss": 0.02, "trouble": None}] * 3
    dead = {"loss": 0.06, "trouble": starts.DEAD}
    assert not starts.has_failed(config, ordering, Progress(history=learnt))
    assert starts.has_failed(config, ordering, Progress(history=[*learnt, dead]))
    assert not starts.has_failed(config, ordering, Progress(history=[*learnt, dead], start=1)), (
        "the last goes on"
    )
    said = starts.given_up(config, ordering, Progress(history=[*learnt, dead]))
    assert said == "start 1 of 2 is dead after 4 epochs (every gradient is 0): another random start"


def test_a_start_is_judged_once_and_not_too_early():
    ordering = Ordering((0, 1) * 30, 6, 0)
    config = dataclasses.replace(RECIPES["default"], epochs=20, starts=2)
    guess = [{"loss": math.log(2)}]

    def failed(epochs: int, start: int = 0, config: Training = config) -> bool:
        return starts.has_failed(config, ordering, Progress(history=guess * epochs, start=start))

    assert [epochs for epochs in range(21) if failed(epochs)] == [8]
    assert not failed(8, start=1), "the last start goes on"
    learnt = Progress(history=[*guess * 7, {"loss": 0.6}])
    assert not starts.has_failed(config, ordering, learnt)
    short = dataclasses.replace(config, epochs=4)
    assert not any(failed(epochs, config=short) for epochs in range(5)), "40 steps tell nothing"
    assert not failed(8, config=dataclasses.replace(config, init_from=Path("model")))


def test_a_failed_start_is_followed_by_another_and_everything_is_told(store, tmp_path, capsys, never_learns):
    train(run(store, tmp_path / "run"))
    said = capsys.readouterr().out
    assert "start 1 of 3 has learnt nothing in 2 epochs" in said
    assert "start 2 of 3 has learnt nothing in 2 epochs" in said
    description = described(tmp_path / "run")
    assert description["starts_given_up"] == 2
    assert description["epochs_trained"] == 4
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["start"] for record in log] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [record["epoch"] for record in log] == [1, 2, 1, 2, 1, 2, 3, 4]
    assert len({record["loss"] for record in log}) == 8, "every start is another one"


@pytest.mark.slow
def test_a_run_that_is_stopped_in_a_later_start_goes_on_exactly(store, tmp_path, monkeypatch, never_learns):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(run(store, whole))
    setup = set_up(run(store, stopped))
    from compseg_jax.training import loop
    from compseg_jax.training.checkpoint import Checkpoints

    stop = StopRequest()

    def finish(own_run, state, progress, *rest):
        stop.requested = progress.start == 1
        return finish_epoch(own_run, state, progress, *rest)

    finish_epoch = loop.finish_epoch
    with monkeypatch.context() as patched, Checkpoints(stopped / "checkpoints") as checkpoints:
        patched.setattr(loop, "finish_epoch", finish)
        patched.setattr(loop, "stop_requests", _Stop(stop))
        with pytest.raises(Interrupted, match="everything is saved"):
            loop.train_epochs(setup.run, *setup.begun(checkpoints), checkpoints, stopped)
    train(run(store, stopped, resume=True))
    for name in ("weights_sha256", "starts_given_up"):
        assert described(stopped)[name] == described(whole)[name]


class _Stop:
    """A context manager of requests that the test itself makes."""

    def __init__(self, request):
        self._request = request

    def __call__(self):
        return self

    def __enter__(self):
        return self._request

    def __exit__(self, *_):
        return None


def test_a_front_starts_at_the_principal_components_of_training_tissue(store, tmp_path, capsys):
    network = Network(base=2, depth=1, front=2, front_start="principal_components")
    config = dataclasses.replace(run(store, tmp_path / "run"), network=network)
    setup = set_up(config)
    spectra = drawn_spectra(setup.training, 0)
    for state in (setup.state, setup.run.fresh_state(number=1)):
        features = spectra @ np.asarray(state.variables["params"]["front"]["kernel"])[0, 0]
        np.testing.assert_allclose(np.cov(features.T), np.eye(2), atol=0.02)
    first, second = setup.state, setup.run.fresh_state(number=1)
    assert not np.array_equal(
        first.variables["params"]["head"]["Conv_0"]["kernel"],
        second.variables["params"]["head"]["Conv_0"]["kernel"],
    )
    assert setup.config.network.front == 2
    wide = dataclasses.replace(run(store, tmp_path / "wide"), network=dataclasses.replace(network, front=3))
    assert set_up(wide).config.network.front == 0, "8 channels are too few for 3 features"
    assert "no front: 8 channels" in capsys.readouterr().out


@pytest.mark.slow
def test_starts_after_the_plain_ones_begin_with_normalised_features(store, tmp_path):
    config = run(store, tmp_path / "run", plain_starts=2, network=Network(base=2, depth=1))
    setup = set_up(config)
    cube = setup.run.train_feed.samples.cube
    network = setup.state.plan.network

    def variances(number: int) -> np.ndarray:
        state = setup.run.fresh_state(number=number)
        found = feature_statistics(network, state.variables, cube)
        return np.concatenate([variance for _, variance in found.values()])

    assert np.median(variances(1)) < 0.5
    np.testing.assert_allclose(variances(2), 1, rtol=0.4)  # some of the six samples fill the batch up
    np.testing.assert_array_equal(variances(2), variances(2))


def test_only_plain_networks_of_this_package_can_begin_normalised():
    config = dataclasses.replace(RECIPES["default"], plain_starts=2)
    assert [starts.begins_normalised(config, number) for number in range(4)] == [False, False, True, True]
    for changes in ({"normalisation": "batch"}, {"network": "some.where:Else"}):
        other = dataclasses.replace(config, network=dataclasses.replace(config.network, **changes))
        assert not starts.begins_normalised(other, 3)


@pytest.mark.slow
def test_the_next_start_is_named(store, tmp_path, capsys, never_learns):
    train(run(store, tmp_path / "run", plain_starts=2))
    said = capsys.readouterr().out
    assert "start 1 of 3 has learnt nothing in 2 epochs" in said
    assert said.count("another random start, with normalised features") == 1


def test_starts_without_a_known_guess_are_refused():
    with pytest.raises(ValueError, match=r"starts=2.*or starts=1"):
        Training(objective=Objective(error="one_sided"), starts=2)
    assert Training(objective=Objective(), starts=2).objective.has_a_guess
    with pytest.raises(ValueError, match="start_share=0"):
        Training(start_share=0.0)
