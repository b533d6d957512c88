"""What a training run tells: the terminal, log.jsonl and, when asked, TensorBoard and MLflow."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from compseg_jax.runtime.extras import install_line
from compseg_jax.runtime.files import write_text
from compseg_jax.runtime.interrupts import Interrupted
from compseg_jax.runtime.together import is_first
from compseg_jax.runtime.tracking import Tracking

LINES_WITHOUT_A_TERMINAL = 20
TRACKED_NUMBERS = ("loss", "val_loss", "val_auc", "gradient_norm", "samples_per_s", "seconds")


class RunReporter:
    """Progress of a run, one record per epoch; use as a context manager.

    In a terminal a bar shows the epoch, loss, validation loss, samples per second and the time left; elsewhere
    some twenty lines are printed; nothing where it is ``quiet``. ``log.jsonl`` is always written, by
    the first of several processes.
    """

    def __init__(
        self,
        folder: Path,
        n_epochs: int,
        history: list[dict[str, Any]],
        *,
        tensorboard: bool,
        tracking: Tracking | None = None,
        quiet: bool = False,
    ) -> None:
        self._console = Console(quiet=quiet)
        self._tracking = tracking
        self._n_epochs = n_epochs
        self._writes = is_first()
        self._log = folder / "log.jsonl"
        if self._writes:
            # A resumed run continues its log exactly where the checkpoint stands.
            write_text(self._log, "".join(json.dumps(record) + "\n" for record in history))
        self._bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=n_epochs, numbers="")
        self._n_recorded = len(history)
        self._events = _tensorboard_writer(folder / "tensorboard") if tensorboard and self._writes else None

    def __enter__(self) -> RunReporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._events is not None:
            self._events.close()
        if self._tracking is not None:
            self._tracking.end("FINISHED" if kind is None else "KILLED" if kind is Interrupted else "FAILED")

    def begin(self, epochs_done: int) -> None:
        """Moves the bar to where a start of the run stands."""
        self._bar.update(self._task, completed=epochs_done)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def within_epoch(self, share: float, epoch: int) -> None:
        """Moves the bar within an epoch; ``share`` is the part of its steps done."""
        self._bar.update(self._task, completed=epoch - 1 + share)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Records an epoch: its number, losses, rate and whether it is the best so far."""
        self._n_recorded += 1
        if self._writes:
            with self._log.open("a") as file:
                file.write(json.dumps(record) + "\n")
        best = " *" if record["is_best"] else ""
        losses = f"loss {record['loss']:.4f}  val {record['val_loss']:.4f}{best}"
        numbers = f"{losses}  {record['samples_per_s']:.0f} samples/s"
        self._bar.update(self._task, completed=record["epoch"], numbers=numbers)
        every = max(1, math.ceil(self._n_epochs / LINES_WITHOUT_A_TERMINAL))
        if not self._console.is_terminal and (
            record["epoch"] % every == 0 or record["epoch"] == self._n_epochs
        ):
            self.say(f"epoch {record['epoch']:>4}/{self._n_epochs}  {numbers}")
        if self._tracking is not None:
            self._tracking.metrics({name: record[name] for name in TRACKED_NUMBERS}, self._n_recorded)
        if self._events is not None:
            for name in ("loss", "val_loss", "gradient_norm", "samples_per_s"):
                self._events.add_scalar(name, record[name], self._n_recorded)


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs tensorboardX, which is not installed. Leave it out (log.jsonl has the same numbers), "
            f"or install it with: {install_line('tensorboard')}"
        ) from error
    return SummaryWriter(str(folder))
