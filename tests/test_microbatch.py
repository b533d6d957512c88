"""``--microbatch auto``: as many samples at once as the memory allows, by what compiled programs say, and said once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest
from small_run import configured, on_one_device  # noqa: F401  (every training here takes one device)
from store_example import write_store

from compseg_jax.cli.train import configuration
from compseg_jax.config import RECIPES, Network, Training, from_json
from compseg_jax.model.run_folder import read_run
from compseg_jax.runtime.memory import max_memory
from compseg_jax.training.microbatch import (
    GIB,
    Allowed,
    bytes_of_training,
    expected,
    with_microbatch_that_fits,
)
from compseg_jax.training.run import Setup, set_up, train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(str(write_store(tmp_path_factory.mktemp("store") / "data", sizes=[(24, 20)] * 4).path))


def at(setup: Setup, microbatch: int):
    """Programs and state with so many samples at once."""
    own, state = setup.run.programs, setup.state
    config = dataclasses.replace(own.config, microbatch=microbatch)
    plan = dataclasses.replace(state.plan, microbatch=microbatch)
    return dataclasses.replace(own, config=config), dataclasses.replace(state, plan=plan)


@pytest.fixture(scope="module")
def setup(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return set_up(
        configured(store, tmp_path_factory.mktemp("run") / "run", network=Network(base=4, depth=0, front=0))
    )


@pytest.fixture(scope="module")
def taken(setup: Setup) -> dict[int, float]:
    return {size: bytes_of_training(*at(setup, size)) for size in (0, 2, 1)}


takes_less_in_parts = pytest.mark.skipif(
    jaxlib.__version__.startswith("0.10."),
    reason="jaxlib 0.10 takes more memory for parts of a batch of so small images than for all of it",
)


@takes_less_in_parts
def test_fewer_samples_at_once_take_less_and_data_are_counted(setup: Setup, taken: dict[int, float]) -> None:
    assert taken[0] > taken[2] > taken[1]
    own = setup.run.programs
    assert taken[1] > own.train.scaled_bytes + own.val.scaled_bytes


@takes_less_in_parts
def test_as_many_are_chosen_as_fit(
    setup: Setup, taken: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for allowed, chosen, said in (
        (taken[0], 0, "microbatch: all 3 samples at once; training takes"),
        (taken[0] - 1, 2, "microbatch: 2 of 3 samples at once; training takes"),
        (1, 1, "microbatch: 1 of 3 samples at once; training takes"),
    ):
        monkeypatch.setattr(Allowed, "on", lambda *_, allowed=allowed: Allowed(allowed, "so much is allowed"))
        programs, state, words = with_microbatch_that_fits(setup.run.programs, setup.state)
        assert programs.config.microbatch == state.plan.microbatch == chosen
        assert words.startswith(said)
        assert words.endswith(", so much is allowed")
        assert ("GiB with all of them" in words) == bool(chosen)


def test_the_gradient_is_that_of_the_whole_batch(setup: Setup) -> None:
    norms = []
    for microbatch in (0, 2):
        programs, state = at(setup, microbatch)
        run = dataclasses.replace(setup.run, programs=programs)
        batch = next(iter(run.train_feed.batches(run.draws(1))))
        _, metrics = programs.train_step(jax.tree.map(lambda leaf: leaf.copy(), state), batch)
        norms.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)


def test_memory_is_that_of_max_memory_and_of_the_device() -> None:
    with max_memory(3):
        allowed = Allowed.on("cpu", {})
        card = Allowed.on("gpu", {"bytes_limit": 100 * GIB, "bytes_in_use": 20 * GIB})
    assert (allowed.n_bytes, allowed.words) == (3 * GIB, "3 GiB are allowed (by --max-memory)")
    assert (card.n_bytes, card.words) == (60 * GIB, "60 GiB are allowed (of the device's memory)")
    assert Allowed.on("gpu", {}).n_bytes == float("inf")


def test_sizes_are_expected_on_a_line() -> None:
    assert expected(2, {8: 80.0}) == 20.0
    assert expected(2, {8: 80.0, 4: 60.0}) == 50.0


@pytest.mark.parametrize("network", [{"dropout": 0.2}, {"normalisation": "batch"}])
def test_networks_that_look_at_the_whole_batch_keep_it(
    store: Path, tmp_path: Path, network: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    own = Network(base=2, depth=0, front=0, **network)  # type: ignore[arg-type]
    with max_memory(1e-9):
        setup = set_up(configured(store, tmp_path, network=own, microbatch="auto"))
    assert setup.config.microbatch == 0
    assert (
        "microbatch: all 3 samples at once, as the network may look at all of them" in capsys.readouterr().out
    )


def test_a_run_says_what_was_chosen_and_repeats_it(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(store), "--out", str(tmp_path), "--microbatch", "auto", "--batch-size", "3"]
    assert configuration(arguments).microbatch == "auto"
    constant = dataclasses.replace(RECIPES["default"].optimiser, schedule="constant")
    config = configured(store, tmp_path, microbatch="auto", optimiser=constant)
    with max_memory(1e-9):
        train(config)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("microbatch: ")]
    assert len(said) == 1
    assert said[0].startswith("microbatch: 1 of 3 samples at once; training takes ")
    assert read_run(tmp_path).microbatch == 1
    for again in (config, configuration([*arguments, "--resume"])):
        resumed = set_up(dataclasses.replace(again, epochs=2, resume=True))
        assert resumed.config.microbatch == resumed.state.plan.microbatch == 1
    assert "microbatch" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [-1, "some", 2.5])
def test_other_words_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="microbatch"):
        from_json(Training, {"microbatch": value})
