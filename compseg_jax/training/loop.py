"""The training loop: the one impure place between the pure step and the files of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from compseg_jax.config import Training, to_json
from compseg_jax.config.serialisation import flat
from compseg_jax.model.run_folder import write_run
from compseg_jax.networks.build import input_dtype
from compseg_jax.runtime import compile_clock
from compseg_jax.runtime.interrupts import Interrupted, StopRequest, stop_requests
from compseg_jax.runtime.together import is_first
from compseg_jax.runtime.tracking import track
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.device_loop import DeviceLoop
from compseg_jax.training.feed import Feed, ResidentFeed, make_feed
from compseg_jax.training.order import Draw, Ordering, draws_of, pad_draws
from compseg_jax.training.progress import (
    Progress,
    check_finite,
    check_finite_validation,
    copied,
    how_to_resume,
)
from compseg_jax.training.run_reporter import RunReporter
from compseg_jax.training.samples import Samples
from compseg_jax.training.starts import given_up, has_failed, recorded
from compseg_jax.training.step import ShardedStep, TrainState, make_evaluate_step, make_train_step
from compseg_jax.training.trouble import begins, in_words, trouble_of_epoch

STEPS_IN_FLIGHT = 2
STEPS_A_DISPATCH = 32
STEPS_BETWEEN_AGREEMENTS = 16
"""Of several processes on whether one of them was asked to stop; a divisor of the steps of a dispatch."""
COMPILATION_WORTH_SAYING_S = 0.5


# Steps taken, the state after them, and a function that waits for their losses and gradient norms.
Dispatch = tuple[int, TrainState, Callable[[], list[list[float]]]]


@dataclass(frozen=True)
class Run:
    """The fixed parts of a run: its configuration, data and compiled steps."""

    config: Training
    ordering: Ordering
    train_feed: Feed
    val_feed: Feed
    val_samples: Samples
    train_step: ShardedStep
    evaluate_step: ShardedStep
    multiple: int
    device_loop: DeviceLoop | None
    fresh_state: Callable[..., TrainState] | None = None
    """The state before the first step of another random start, by its ``number``."""

    @classmethod
    def prepare(
        cls, config: Training, train: Samples, val: Samples, mesh: Mesh, *, on_device: bool | None = None
    ) -> Run:
        """Puts the data on the devices, or makes it ready to be read, and wraps the steps for ``mesh``.

        Args:
          config: the run.
          train: training samples.
          val: validation samples.
          mesh: devices.
          on_device: run many steps in one dispatch (:class:`DeviceLoop`); None for: on accelerators, where all
            data is resident.
        """
        dtype = input_dtype(config.network)
        feeds = [
            make_feed(part, mesh, config.feed, config.resident_limit_gib, dtype) for part in (train, val)
        ]
        if on_device is None:
            on_device = mesh.devices.flat[0].platform != "cpu"
        on_device = on_device and all(isinstance(feed, ResidentFeed) for feed in feeds)
        labels = tuple(sample.label for sample in train.samples)
        multiple = max(rounded_microbatch(config, mesh), mesh.size)
        return cls(
            config=config,
            ordering=Ordering(labels, config.batch_size, config.seed, config.balance),
            train_feed=feeds[0],
            val_feed=feeds[1],
            val_samples=val,
            train_step=make_train_step(mesh),
            evaluate_step=make_evaluate_step(mesh),
            multiple=multiple,
            device_loop=DeviceLoop(mesh) if on_device else None,
        )

    def validate(self, state: TrainState) -> dict[str, np.ndarray]:
        """What `evaluate_step` says of the validation samples, in their order."""
        n = len(self.val_samples.samples)
        order, weights = np.arange(n), np.ones(n, np.float32)
        draws = list(pad_draws(draws_of(order, weights, min(self.config.batch_size, n)), self.multiple))
        if self.device_loop is not None:
            assert isinstance(self.val_feed, ResidentFeed)
            metrics = jax.device_get(self.device_loop.evaluate(state, self.val_feed.samples, draws))
        else:
            parts = [
                jax.device_get(self.evaluate_step(state, batch)) for batch in self.val_feed.batches(draws)
            ]
            metrics = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        kept = np.stack([draw.weights > 0 for draw in draws])
        return {name: values[kept] for name, values in metrics.items()}


def rounded_microbatch(config: Training, mesh: Mesh) -> int:
    """The microbatch, rounded up to a multiple of the devices; 0 for none."""
    return config.microbatch + -config.microbatch % mesh.size


def train_epochs(
    run: Run, state: TrainState, progress: Progress, checkpoints: Checkpoints, folder: Path
) -> Progress:
    """Trains from where ``state`` and ``progress`` stand to the last epoch, saving on the way.

    Raises:
      TrainingError: when a loss or gradient is not finite.
      Interrupted: when the run was asked to stop; it is saved before.
    """
    config = run.config
    progress.best = progress.best or copied(state.variables)
    clock = compile_clock()
    reporter = RunReporter(
        folder,
        config.epochs,
        recorded(progress),
        tensorboard=config.tensorboard,
        tracking=track(folder, flat(to_json(config))),
    )
    reporter.begin(len(progress.history))
    with reporter, stop_requests() as stop:
        while (epoch := len(progress.history) + 1) <= config.epochs:
            started, compiled_s = time.perf_counter(), clock.seconds
            done_before = len(progress.steps)
            state = _train_epoch(run, state, progress, epoch, stop, reporter)
            stop.agree()
            check_finite(progress.steps, state, checkpoints)
            if stop.requested and len(progress.steps) < run.ordering.n_batches:
                save(checkpoints, state, progress)
                raise Interrupted(how_to_resume(config, epoch))
            record = finish_epoch(run, state, progress, epoch, started, done_before)
            check_finite_validation(record, checkpoints)
            record["compile_s"] = round(clock.seconds - compiled_s, 3)
            failed = has_failed(config, run.ordering, progress)
            verdict = given_up(config, run.ordering, progress) if failed else ""
            if failed:
                state = begin_again(run, state, progress)
            if epoch % config.checkpoint_every == 0 or epoch == config.epochs or stop.requested or failed:
                save(checkpoints, state, progress)
            if record["compile_s"] >= COMPILATION_WORTH_SAYING_S:
                reporter.say(f"compiled in {record['compile_s']:.1f} s")
            reporter.epoch(record)
            if not failed and begins(progress.history):
                reporter.say(in_words(config, run.ordering, record))
            if failed:
                reporter.say(verdict)
                reporter.begin(0)
            if stop.requested and epoch < config.epochs:
                raise Interrupted(how_to_resume(config, epoch))
    return progress


def save(checkpoints: Checkpoints, state: TrainState, progress: Progress) -> None:
    """Saves where a run stands; checkpoints are numbered by the steps of all its starts."""
    number = progress.steps_given_up + int(state.step)
    checkpoints.save(state, progress.best, progress.numbers(), number=number)


def begin_again(run: Run, state: TrainState, progress: Progress) -> TrainState:
    """Gives a start up for the next: ``progress`` stands before its first epoch, the state of that is returned."""
    assert run.fresh_state is not None
    progress.start += 1
    progress.steps_given_up += int(state.step)
    progress.given_up += progress.history
    progress.history, progress.best_epoch, progress.best_loss = [], 0, float("inf")
    fresh = run.fresh_state(number=progress.start)
    progress.best = copied(fresh.variables)
    return fresh


def _train_epoch(
    run: Run, state: TrainState, progress: Progress, epoch: int, stop: StopRequest, reporter: RunReporter
) -> TrainState:
    """Goes through the (rest of the) epoch, leaving loss and gradient norm of its steps in ``progress``."""
    steps = progress.steps
    draws = list(pad_draws(run.ordering.epoch(epoch), run.multiple))
    in_flight: list[Callable[[], list[list[float]]]] = []
    done = len(steps)
    for n_steps, following, numbers in _dispatches(run, state, draws, done):
        state = following
        done += n_steps
        in_flight.append(numbers)
        # The device is kept a few dispatches ahead and no further, so that progress and stopping stay true.
        if len(in_flight) > STEPS_IN_FLIGHT:
            steps += in_flight.pop(0)()
        reporter.within_epoch(done / len(draws), epoch)
        if done % STEPS_BETWEEN_AGREEMENTS == 0:
            stop.agree()
        if stop.requested:
            break
    for numbers in in_flight:
        steps += numbers()
    return state


def _dispatches(run: Run, state: TrainState, draws: list[Draw], done: int) -> Iterator[Dispatch]:
    """The rest of an epoch in pieces: one step each, or many where the loop runs on the device."""
    if run.device_loop is not None:
        assert isinstance(run.train_feed, ResidentFeed)
        for first in range(done, len(draws), STEPS_A_DISPATCH):
            last = min(first + STEPS_A_DISPATCH, len(draws))
            state, metrics = run.device_loop.train(state, run.train_feed.samples, draws, first, last)
            yield last - first, state, partial(_numbers, metrics, slice(first, last))
    else:
        for batch in run.train_feed.batches(draws[done:]):
            state, metrics = run.train_step(state, batch)
            yield 1, state, partial(_numbers, metrics, None)


def _numbers(metrics: dict[str, Any], steps: slice | None) -> list[list[float]]:
    """Loss and gradient norm of each step; waits for them."""
    values = jax.device_get([metrics["loss"], metrics["gradient_norm"]])
    chosen = np.reshape(values, (2, 1)) if steps is None else np.asarray(values)[:, steps]
    return chosen.T.tolist()


def finish_epoch(
    run: Run, state: TrainState, progress: Progress, epoch: int, started: float, skipped: int
) -> dict[str, Any]:
    """Validates, and closes the epoch in ``progress``; ``skipped`` of its steps were taken before ``started``."""
    n_train = len(run.ordering.labels)
    losses, norms = np.asarray(progress.steps).T
    trained = time.perf_counter()
    validation = run.validate(state)
    val_loss = float(np.mean(validation["loss"]))
    is_best = val_loss < progress.best_loss
    record: dict[str, Any] = {
        "start": progress.start,
        "epoch": epoch,
        "step": int(state.step),
        "loss": float(np.sum(losses)) / n_train,
        "val_loss": val_loss,
        "val_auc": _auc([s.label for s in run.val_samples.samples], validation["pooled"]),
        "gradient_norm": float(np.mean(norms)),
        "largest_gradient_norm": float(np.max(norms)),
        "background": _mean_of_diseased(run, validation["background"]),
        "samples_per_s": round((len(losses) - skipped) / len(losses) * n_train / (trained - started), 1),
        "seconds": round(time.perf_counter() - started, 3),
        "is_best": is_best,
    }
    progress.history.append(record)
    record["trouble"] = trouble_of_epoch(run.config, run.ordering, progress, validation["pooled"])
    progress.steps = []
    if is_best:
        progress.best_epoch, progress.best_loss = epoch, val_loss
        progress.best = copied(state.variables)
    return record


def _mean_of_diseased(run: Run, values: np.ndarray) -> float | None:
    """Mean over the diseased validation samples; None where there is none."""
    own = [value for sample, value in zip(run.val_samples.samples, values, strict=True) if sample.label == 1]
    return float(np.mean(own)) if own else None


def _auc(labels: list[int], scores: np.ndarray) -> float | None:
    """Area under the ROC curve as the share of rightly ordered pairs; None where one label is missing."""
    values, truth = np.asarray(scores), np.asarray(labels, bool)
    if truth.all() or not truth.any():
        return None
    difference = values[truth][:, None] - values[~truth][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def write_config(folder: Path, config: Training, fingerprint: Mapping[str, str] | None = None) -> None:
    """Keeps the configuration beside the run, where its store is, and what tells that from any other."""
    if is_first():
        write_run(folder, config, fingerprint)
