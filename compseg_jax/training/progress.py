"""Where a run stands, and what ends it early."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compseg_jax.config import Training
from compseg_jax.networks.build import Variables
from compseg_jax.runtime.typed import typed
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.step import TrainState


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and from where it can be continued."""


@dataclass
class Progress:
    """Where a run stands, beside its state; saved with every checkpoint.

    Attributes:
      history: one record per epoch.
      best_epoch: epoch of the least validation loss so far, 0 before the first.
      best_loss: that loss.
      steps: loss and gradient norm of each step of the unfinished epoch.
      best: the network's variables at the end of that epoch, on the devices; before the first, those of the start.
      start: which random start this is, from 0.
      given_up: the epochs of the starts before, which had learnt nothing.
      steps_given_up: steps that were taken in them.
    """

    history: list[dict[str, Any]]
    best_epoch: int = 0
    best_loss: float = float("inf")
    steps: list[list[float]] = field(default_factory=list)
    best: Variables = field(default_factory=dict)
    start: int = 0
    given_up: list[dict[str, Any]] = field(default_factory=list)
    steps_given_up: int = 0

    def numbers(self) -> dict[str, Any]:
        """All but the variables, as JSON values."""
        return {name: value for name, value in vars(self).items() if name != "best"}


copied = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))


def check_finite(steps: list[list[float]], state: TrainState, checkpoints: Checkpoints) -> None:
    """Raises TrainingError at the first of an epoch's steps whose loss or gradient is not finite."""
    for index, (loss, norm) in enumerate(steps):
        if not (np.isfinite(loss) and np.isfinite(norm)):
            quantity = "the gradient" if np.isfinite(loss) else "the loss"
            step = int(state.step) - len(steps) + index + 1
            raise TrainingError(_not_finite(f"{quantity} at step {step}", checkpoints))


def check_finite_validation(record: dict[str, Any], checkpoints: Checkpoints) -> None:
    """Raises TrainingError where the validation loss of an epoch is not finite."""
    if not np.isfinite(record["val_loss"]):
        raise TrainingError(_not_finite(f"the validation loss of epoch {record['epoch']}", checkpoints))


def _not_finite(quantity: str, checkpoints: Checkpoints) -> str:
    latest = checkpoints.latest_step
    where = (
        "No checkpoint was written before."
        if latest is None
        else f"The last good checkpoint is that of step {latest} in {checkpoints.folder}."
    )
    advice = "Lower --learning-rate, or set clip_norm = 1 in a recipe file, and train again."
    return f"{quantity} is not finite. {where} {advice}"


def how_to_resume(config: Training, epoch: int) -> str:
    """What to say when a run was stopped."""
    return f"stopped in epoch {epoch} of {config.epochs}; everything is saved. Go on with: {resuming(config)}"


def resuming(config: Training) -> str:
    """The command that goes on with a run; code of the user's own is named anew, as it is never run unasked."""
    own = ("--network", config.network.network) if config.network.is_foreign else ()
    return typed("train", "--resume", "--out", config.out, *own)
