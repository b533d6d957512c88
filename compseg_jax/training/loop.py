"""The training loop: the one impure place between the pure step and the files of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compseg_jax.config import Training, to_json
from compseg_jax.config.serialisation import flat
from compseg_jax.model.run_folder import write_run
from compseg_jax.networks.build import Variables, input_dtype
from compseg_jax.runtime import compile_clock
from compseg_jax.runtime.interrupts import Interrupted, StopRequest, stop_requests
from compseg_jax.runtime.together import is_first
from compseg_jax.runtime.tracking import track
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.feed import Feed, ResidentFeed, make_feed
from compseg_jax.training.order import Draw, Ordering, pad_draws
from compseg_jax.training.programs import Programs
from compseg_jax.training.progress import (
    Progress,
    check_finite,
    check_finite_validation,
    copied,
    how_to_resume,
)
from compseg_jax.training.run_reporter import RunReporter
from compseg_jax.training.samples import Marks, Samples
from compseg_jax.training.starts import given_up, has_failed, recorded
from compseg_jax.training.step import Metrics, TrainState
from compseg_jax.training.trouble import begins, in_words, trouble_of_epoch

STEPS_IN_FLIGHT = 2
STEPS_A_DISPATCH = 32
STEPS_BETWEEN_AGREEMENTS = 16
"""Of several processes on whether one of them was asked to stop; a divisor of the steps of a dispatch."""
COMPILATION_WORTH_SAYING_S = 0.5


# Steps taken, the state after them, and a function that waits for their losses and gradient norms.
Dispatch = tuple[int, TrainState, Callable[[], list[list[float]]]]


@dataclass(frozen=True)
class LookAhead:
    """What the devices compute while the host waits for the numbers of an epoch, judges and saves it.

    Attributes:
      validation: of the state at its end.
      variables: a copy of that state's, made before it is known whether it is the best.
      following: the first dispatch of the next epoch; None where there is none. Thrown away where the run stops or
        begins again instead.
    """

    validation: Metrics
    variables: Variables
    following: Dispatch | None


@dataclass(frozen=True)
class Run:
    """The fixed parts of a run: its configuration, data and compiled steps."""

    config: Training
    ordering: Ordering
    train_feed: Feed
    val_feed: Feed
    train_samples: Samples
    val_samples: Samples
    programs: Programs
    fresh_state: Callable[..., TrainState] | None = None
    """The state before the first step of another random start, by its ``number``."""
    compiling: Future[float] | None = None
    """The seconds that compiling took, where that was begun before."""

    @classmethod
    def prepare(cls, config: Training, train: Samples, val: Samples, programs: Programs) -> Run:
        """Puts the data on the devices, or makes it ready to be read.

        Args:
          config: the run.
          train: training samples.
          val: validation samples.
          programs: the steps.
        """
        dtype = input_dtype(config.network)
        feeds = [
            make_feed(part, programs.mesh, config.feed, config.resident_limit_gib, dtype)
            for part in (train, val)
        ]
        labels = tuple(sample.label for sample in train.samples)
        return cls(
            config=config,
            ordering=Ordering(labels, config.batch_size, config.seed, config.balance),
            train_feed=feeds[0],
            val_feed=feeds[1],
            train_samples=train,
            val_samples=val,
            programs=programs,
        )

    def marked(self, marks: Marks) -> Run:
        """The same data with marks in place of reference masks."""
        train, val = (replace(samples, marks=marks) for samples in (self.train_samples, self.val_samples))
        return replace(
            self,
            train_feed=self.train_feed.marked(train),
            val_feed=self.val_feed.marked(val),
            train_samples=train,
            val_samples=val,
            programs=replace(self.programs, train=train.shapes, val=val.shapes),
        )

    def draws(self, epoch: int) -> list[Draw]:
        """The batches of an epoch."""
        return list(pad_draws(self.ordering.epoch(epoch), self.programs.multiple))

    def look_ahead(self, state: TrainState, epoch: int) -> LookAhead | None:
        """Lets the devices go on behind the last step of an epoch, before its numbers are there.

        ``state`` stays as it is: the next epoch begins with a copy of it, which is what it would begin with. None where
        training goes step by step.
        """
        loop = self.programs.device_loop
        if loop is None:
            return None
        assert isinstance(self.val_feed, ResidentFeed)
        validation = loop.evaluate(state, self.val_feed.samples, self.programs.validation_draws)
        variables, following = copied(state.variables), None
        if epoch < self.config.epochs:
            following = next(_dispatches(self, copied(state), self.draws(epoch + 1), 0))
        return LookAhead(validation, variables, following)

    def validate(self, state: TrainState, begun: Metrics | None = None) -> dict[str, np.ndarray]:
        """What `evaluate_step` says of the validation samples, in their order; ``begun`` is that on the devices."""
        draws, loop = self.programs.validation_draws, self.programs.device_loop
        if begun is not None:
            metrics = jax.device_get(begun)
        elif loop is not None:
            assert isinstance(self.val_feed, ResidentFeed)
            metrics = jax.device_get(loop.evaluate(state, self.val_feed.samples, draws))
        else:
            step = self.programs.evaluate_step
            parts = [jax.device_get(step(state, batch)) for batch in self.val_feed.batches(draws)]
            metrics = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        kept = np.stack([draw.weights > 0 for draw in draws])
        return {name: values[kept] for name, values in metrics.items()}


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
        compiled_before_s, following = 0.0, None
        if run.compiling is not None and len(progress.history) < config.epochs:
            compiled_before_s = run.compiling.result()
        while (epoch := len(progress.history) + 1) <= config.epochs:
            started, compiled_s = time.perf_counter(), clock.seconds - compiled_before_s
            compiled_before_s = 0.0
            done_before = len(progress.steps)
            state, ahead = _train_epoch(run, state, progress, epoch, stop, reporter, following)
            stop.agree()
            check_finite(progress.steps, state, checkpoints)
            if stop.requested and len(progress.steps) < run.ordering.n_batches:
                save(checkpoints, state, progress)
                raise Interrupted(how_to_resume(config, epoch))
            record = finish_epoch(run, state, progress, epoch, started, done_before, ahead)
            check_finite_validation(record, checkpoints)
            record["compile_s"] = round(clock.seconds - compiled_s, 3)
            failed = has_failed(config, run.ordering, progress)
            following = None if ahead is None or failed else ahead.following
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
    run: Run,
    state: TrainState,
    progress: Progress,
    epoch: int,
    stop: StopRequest,
    reporter: RunReporter,
    begun: Dispatch | None,
) -> tuple[TrainState, LookAhead | None]:
    """Goes through the (rest of the) epoch, leaving loss and gradient norm of its steps in ``progress``.

    ``begun`` is its first dispatch, where that was made before. What is returned goes on behind the last one, if the
    epoch was not left early.
    """
    steps = progress.steps
    draws = run.draws(epoch)
    in_flight: list[Callable[[], list[list[float]]]] = []
    done = len(steps)
    for n_steps, following, numbers in _dispatches(run, state, draws, done, begun):
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
    ahead = None if stop.requested else run.look_ahead(state, epoch)
    for numbers in in_flight:
        steps += numbers()
    return state, ahead


def _dispatches(
    run: Run, state: TrainState, draws: list[Draw], done: int, begun: Dispatch | None = None
) -> Iterator[Dispatch]:
    """The rest of an epoch in pieces: one step each, or many where the loop runs on the device."""
    loop = run.programs.device_loop
    if begun is not None:
        n_steps, state, _ = begun
        done += n_steps
        yield begun
    if loop is not None:
        assert isinstance(run.train_feed, ResidentFeed)
        for first in range(done, len(draws), STEPS_A_DISPATCH):
            last = min(first + STEPS_A_DISPATCH, len(draws))
            state, metrics = loop.train(state, run.train_feed.samples, draws, first, last)
            yield last - first, state, partial(_numbers, metrics, slice(first, last))
    else:
        for batch in run.train_feed.batches(draws[done:]):
            state, metrics = run.programs.train_step(state, batch)
            yield 1, state, partial(_numbers, metrics, None)


def _numbers(metrics: dict[str, Any], steps: slice | None) -> list[list[float]]:
    """Loss and gradient norm of each step; waits for them."""
    values = jax.device_get([metrics["loss"], metrics["gradient_norm"]])
    chosen = np.reshape(values, (2, 1)) if steps is None else np.asarray(values)[:, steps]
    return chosen.T.tolist()


def finish_epoch(
    run: Run,
    state: TrainState,
    progress: Progress,
    epoch: int,
    started: float,
    skipped: int,
    ahead: LookAhead | None = None,
) -> dict[str, Any]:
    """Validates, and closes the epoch in ``progress``; ``skipped`` of its steps were taken before ``started``."""
    n_train = len(run.ordering.labels)
    n_images = n_train / 2 if run.config.objective.target == "marks" else n_train  # two samples make one
    losses, norms = np.asarray(progress.steps).T
    trained = time.perf_counter()
    validation = run.validate(state, None if ahead is None else ahead.validation)
    val_loss = float(np.mean(validation["loss"]))
    # A rate that falls to 0 makes the last network the best; a loss over what the first network marked does not say so.
    is_best = run.config.objective.target == "marks" or val_loss < progress.best_loss
    record: dict[str, Any] = {
        "start": progress.start,
        "epoch": epoch,
        "step": int(state.step),
        "loss": float(np.sum(losses)) / n_images,
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
        progress.best = copied(state.variables) if ahead is None else ahead.variables
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
