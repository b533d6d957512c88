"""The training loop: the one impure place between the pure step and the files of a run."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from compseg_jax.config import Training, to_json
from compseg_jax.dataset import Feed, Ordering, Samples, draws_of, make_feed, pad_draws
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.report import RunReporter
from compseg_jax.training.step import ShardedStep, TrainState, make_evaluate_step, make_train_step

STEPS_IN_FLIGHT = 2


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and from where it can be continued."""


class Interrupted(RuntimeError):
    """The run was asked to stop (Ctrl-C, SIGTERM); it was saved and can be resumed."""


@dataclass
class Progress:
    """Where a run stands, beside its state; saved with every checkpoint as JSON.

    Attributes:
      history: one record an epoch.
      best_epoch: epoch of the least validation loss so far, 0 before the first.
      best_step: steps done at that epoch's end.
      best_loss: that loss.
      steps: loss and gradient norm of each step of the unfinished epoch.
    """

    history: list[dict[str, Any]]
    best_epoch: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    steps: list[list[float]] = field(default_factory=list)


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

    @classmethod
    def prepare(cls, config: Training, train: Samples, val: Samples, mesh: Mesh) -> Run:
        """Puts the data on the devices, or makes it ready to be read, and wraps the steps for ``mesh``."""
        labels = tuple(sample.label for sample in train.samples)
        multiple = max(rounded_microbatch(config, mesh), mesh.size)
        return cls(
            config=config,
            ordering=Ordering(labels, config.batch_size, config.seed, config.balance),
            train_feed=make_feed(train, mesh, config.feed, config.resident_limit_gib),
            val_feed=make_feed(val, mesh, config.feed, config.resident_limit_gib),
            val_samples=val,
            train_step=make_train_step(mesh),
            evaluate_step=make_evaluate_step(mesh),
            multiple=multiple,
        )

    def validate(self, state: TrainState) -> dict[str, np.ndarray]:
        """Per-sample loss and mean activation of the validation samples, in their order."""
        n = len(self.val_samples.samples)
        order, weights = np.arange(n), np.ones(n, np.float32)
        draws = pad_draws(draws_of(order, weights, min(self.config.batch_size, n)), self.multiple)
        parts: dict[str, list[np.ndarray]] = {"loss": [], "pooled": []}
        keep: list[np.ndarray] = []
        for draw, batch in _with_batches(self.val_feed, list(draws)):
            metrics = jax.device_get(self.evaluate_step(state, batch))
            for name, values in parts.items():
                values.append(metrics[name])
            keep.append(draw.weights > 0)
        kept = np.concatenate(keep)
        return {name: np.concatenate(values)[kept] for name, values in parts.items()}


def rounded_microbatch(config: Training, mesh: Mesh) -> int:
    """The microbatch, rounded up to a multiple of the devices; 0 for none."""
    return config.microbatch + -config.microbatch % mesh.size


def _with_batches(feed: Feed, draws: list[Any]) -> Iterator[tuple[Any, Any]]:
    yield from zip(draws, feed.batches(draws), strict=True)


def train_epochs(
    run: Run, state: TrainState, progress: Progress, checkpoints: Checkpoints, folder: Path
) -> Progress:
    """Trains from where ``state`` and ``progress`` stand to the last epoch, saving on the way.

    Raises:
      TrainingError: when a loss or gradient is not finite.
      Interrupted: when the run was asked to stop; it is saved before.
    """
    config = run.config
    reporter = RunReporter(folder, config.epochs, progress.history, tensorboard=config.tensorboard)
    with reporter, _stop_requests() as stop:
        for epoch in range(len(progress.history) + 1, config.epochs + 1):
            started = time.perf_counter()
            done_before = len(progress.steps)
            state = _train_epoch(run, state, progress, epoch, stop, reporter)
            _check_finite(progress.steps, state, checkpoints)
            if stop.requested and len(progress.steps) < run.ordering.n_batches:
                checkpoints.save(state, vars(progress))
                raise Interrupted(_how_to_resume(config, epoch))
            record = _finish_epoch(run, state, progress, epoch, started, done_before)
            if not np.isfinite(record["val_loss"]):
                raise TrainingError(_not_finite(f"the validation loss of epoch {epoch}", checkpoints))
            save = epoch % config.checkpoint_every == 0 or epoch == config.epochs or stop.requested
            if record["is_best"]:
                checkpoints.save(state, vars(progress), best_loss=progress.best_loss)
            elif save:
                checkpoints.save(state, vars(progress))
            reporter.epoch(record)
            if stop.requested and epoch < config.epochs:
                raise Interrupted(_how_to_resume(config, epoch))
    return progress


def _train_epoch(
    run: Run, state: TrainState, progress: Progress, epoch: int, stop: StopRequest, reporter: RunReporter
) -> TrainState:
    """Goes through the (rest of the) epoch, leaving loss and gradient norm of its steps in ``progress``."""
    steps = progress.steps
    draws = run.ordering.epoch(epoch)[len(steps) :]
    in_flight: list[Any] = []
    total = run.ordering.n_batches
    for _, batch in _with_batches(run.train_feed, list(pad_draws(draws, run.multiple))):
        state, metrics = run.train_step(state, batch)
        in_flight.append(metrics)
        # The device is kept a few steps ahead and no further, so that progress and stopping stay true.
        if len(in_flight) > STEPS_IN_FLIGHT:
            steps.append(_numbers(in_flight.pop(0)))
        reporter.within_epoch((len(steps) + len(in_flight)) / total, epoch)
        if stop.requested:
            break
    steps += [_numbers(metrics) for metrics in in_flight]
    return state


def _numbers(metrics: dict[str, Any]) -> list[float]:
    return [float(metrics["loss"]), float(metrics["gradient_norm"])]


def _finish_epoch(
    run: Run, state: TrainState, progress: Progress, epoch: int, started: float, skipped: int
) -> dict[str, Any]:
    n_train = len(run.ordering.labels)
    losses, norms = np.asarray(progress.steps).T
    trained = time.perf_counter()
    validation = run.validate(state)
    val_loss = float(np.mean(validation["loss"]))
    is_best = val_loss < progress.best_loss
    record = {
        "epoch": epoch,
        "step": int(state.step),
        "loss": float(np.sum(losses)) / n_train,
        "val_loss": val_loss,
        "val_auc": _auc([s.label for s in run.val_samples.samples], validation["pooled"]),
        "gradient_norm": float(np.mean(norms)),
        "samples_per_s": round((len(losses) - skipped) / len(losses) * n_train / (trained - started), 1),
        "seconds": round(time.perf_counter() - started, 3),
        "is_best": is_best,
    }
    progress.history.append(record)
    progress.steps = []
    if is_best:
        progress.best_epoch, progress.best_step, progress.best_loss = epoch, int(state.step), val_loss
    return record


def _auc(labels: list[int], scores: np.ndarray) -> float | None:
    """Area under the ROC curve as the share of rightly ordered pairs; None where one label is missing."""
    values, truth = np.asarray(scores), np.asarray(labels, bool)
    if truth.all() or not truth.any():
        return None
    difference = values[truth][:, None] - values[~truth][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def _check_finite(steps: list[list[float]], state: TrainState, checkpoints: Checkpoints) -> None:
    for index, (loss, norm) in enumerate(steps):
        if not (np.isfinite(loss) and np.isfinite(norm)):
            quantity = "the gradient" if np.isfinite(loss) else "the loss"
            step = int(state.step) - len(steps) + index + 1
            raise TrainingError(_not_finite(f"{quantity} at step {step}", checkpoints))


def _not_finite(quantity: str, checkpoints: Checkpoints) -> str:
    latest = checkpoints.latest_step
    where = (
        "No checkpoint was written before."
        if latest is None
        else f"The last good checkpoint is that of step {latest} in {checkpoints.folder}."
    )
    return f"{quantity} is not finite. {where} Lower --learning-rate, or set --clip-norm 1, and train again."


def _how_to_resume(config: Training, epoch: int) -> str:
    return (
        f"stopped in epoch {epoch} of {config.epochs}; everything is saved. Go on with: "
        f"train.py --resume --out {config.out}"
    )


@dataclass
class StopRequest:
    """Whether the run was asked to stop."""

    requested: bool = False


@contextmanager
def _stop_requests() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request that the loop obeys after the step in hand."""
    request = StopRequest()

    def ask(_signal: int, _frame: Any) -> None:
        request.requested = True

    try:
        previous = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        # Signals can be caught in the main thread alone; in another one the run is simply not stoppable.
        yield request
        return
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)


def write_config(folder: Path, config: Training) -> None:
    """Keeps the configuration beside the run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(to_json(replace(config, resume=False)), indent=1) + "\n")
