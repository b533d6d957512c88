"""Programs compiled while cubes are read are those that training runs; devices go on while the host looks back."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from small_run import configured, on_one_device  # noqa: F401  (every training here takes one device)
from store_example import write_store

from compseg_jax.config import RECIPES
from compseg_jax.model.model_files import load_network
from compseg_jax.runtime.compilation import compiled_beside, is_compiling
from compseg_jax.runtime.devices import placed
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.training import loop, programs
from compseg_jax.training.device_loop import DeviceLoop
from compseg_jax.training.programs import Programs
from compseg_jax.training.run import set_up, train


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of two sizes, and so padded ones."""
    return Path(str(write_store(tmp_path_factory.mktemp("mixed") / "data", sizes=[(8, 6), (6, 8)]).path))


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(write_store(tmp_path_factory.mktemp("uniform") / "data", sizes=[(8, 6)] * 2).path))


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training as on accelerators; loops of several runs share their programs."""
    of = Programs.of.__func__
    monkeypatch.setattr(Programs, "of", lambda *given: of(Programs, *given, on_device=True))
    monkeypatch.setattr(programs, "DeviceLoop", functools.cache(DeviceLoop))


@pytest.mark.parametrize(
    ("kind", "feed", "target"),
    [
        ("mixed", "stream", "reference"),
        pytest.param("uniform", "resident", "label", marks=pytest.mark.slow),
    ],
)
def test_what_is_compiled_before_is_what_steps_run(
    kind: str, feed: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    objective = dataclasses.replace(RECIPES["default"].objective, target=target)
    config = configured(request.getfixturevalue(kind), tmp_path, feed=feed, objective=objective)
    setup = set_up(config, compile_beside=True)
    assert setup.run.compiling is not None
    assert setup.run.compiling.result() > 0
    own, draws = setup.run.programs, setup.run.draws(1)
    for step, samples in ((own.train_step, setup.run.train_feed), (own.evaluate_step, setup.run.val_feed)):
        batch, compiled = next(iter(samples.batches(draws[:1]))), step.jitted._cache_size()
        found = step(jax.tree.map(lambda leaf: leaf.copy(), setup.state), batch)
        assert step.jitted._cache_size() == compiled, "jax had nothing to compile"
        expected = step.jitted(jax.tree.map(lambda leaf: leaf.copy(), setup.state), batch)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_other_shapes_than_those_compiled_for_are_compiled_by_jax(uniform: Path, tmp_path: Path) -> None:
    setup = set_up(configured(uniform, tmp_path))
    step, state = (
        setup.run.programs.evaluate_step,
        placed(setup.state, setup.run.programs.evaluate_step.replicated),
    )
    batches = [setup.run.programs.val.blank(n, np.float32) for n in (2, 3)]
    step.compiled(state, batches[0])
    compiled = step.jitted._cache_size()
    assert [len(step(state, batch)["loss"]) for batch in batches] == [2, 3]
    assert step.jitted._cache_size() == compiled + 1


def test_a_loop_on_the_device_runs_what_was_compiled_before(
    uniform: Path, tmp_path: Path, on_device: None
) -> None:
    setup = set_up(configured(uniform, tmp_path), compile_beside=True)
    assert setup.run.compiling is not None
    assert setup.run.compiling.result() > 0
    own = setup.run.programs.device_loop
    assert own is not None
    sizes = own._train._cache_size(), own._evaluate._cache_size()
    own.evaluate(setup.state, setup.run.val_feed.samples, setup.run.programs.validation_draws)
    own.train(setup.state, setup.run.train_feed.samples, setup.run.draws(1), 0, 1)
    assert (own._train._cache_size(), own._evaluate._cache_size()) == sizes


def test_what_fails_beside_fails_where_it_is_waited_for() -> None:
    def fails() -> None:
        raise ValueError("no such program")

    with pytest.raises(ValueError, match="no such program"):
        compiled_beside(fails).result()
    go = threading.Event()
    done = compiled_beside(lambda: bool(go.wait()) and None)
    assert is_compiling()
    go.set()
    assert done.result() >= 0


def test_autotuning_is_kept_beside_compiled_programs() -> None:
    """By jax itself, in the folder of `cache_compilations`: were that to change, it would have to be asked for."""
    assert "xla_gpu_per_fusion_autotune_cache_dir" in jax.config.jax_persistent_cache_enable_xla_caches  # type: ignore[attr-defined]


def history(run: Path) -> list[dict[str, object]]:
    names = ("epoch", "step", "loss", "val_loss", "val_auc", "gradient_norm", "is_best")
    lines = (run / "log.jsonl").read_text().splitlines()
    return [{name: json.loads(line)[name] for name in names} for line in lines]


def assert_equal_runs(first: Path, second: Path) -> None:
    assert history(first) == history(second)
    one, other = (load_network(run / "model") for run in (first, second))
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)


def test_looking_ahead_changes_nothing_and_a_stopped_run_goes_on(
    uniform: Path, tmp_path: Path, on_device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    look_ahead = loop.Run.look_ahead

    def counted(*given: object) -> loop.LookAhead | None:
        made.append(look_ahead(*given))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "look_ahead", counted)
        train(configured(uniform, tmp_path / "ahead", epochs=3))
    assert [each.following is None for each in made] == [False, False, True]
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "look_ahead", lambda *_: None)
        train(configured(uniform, tmp_path / "plain", epochs=3))
    assert_equal_runs(tmp_path / "plain", tmp_path / "ahead")
    # The dispatch that was begun for the second epoch is thrown away with the process.
    stopped = configured(uniform, tmp_path / "stopped", epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", stopping_after(3))
        with pytest.raises(Interrupted, match="stopped in epoch 1 of 3"):
            train(stopped)
    train(dataclasses.replace(stopped, resume=True))
    assert_equal_runs(tmp_path / "plain", tmp_path / "stopped")


def stopping_after(looks: int):
    """Requests that are there after so many looks at them."""

    class Counting(StopRequest):
        left = looks

        @property
        def requested(self) -> bool:
            self.left -= 1
            return self.left < 0

        @requested.setter
        def requested(self, value: bool) -> None:
            pass

    @contextmanager
    def requests() -> Iterator[StopRequest]:
        yield Counting()

    return requests
