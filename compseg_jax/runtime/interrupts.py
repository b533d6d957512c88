"""Ctrl-C and SIGTERM as a request that the training loop obeys between steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compseg_jax.runtime.together import any_of, process_count


class Interrupted(RuntimeError):
    """The run was asked to stop (Ctrl-C, SIGTERM); it was saved and can be resumed."""


@dataclass
class StopRequest:
    """Whether the run was asked to stop.

    Attributes:
      asked: a signal reached this process.
      requested: the run is to stop: one of its processes was asked, and all of them have agreed.
    """

    asked: bool = False
    requested: bool = False

    def agree(self) -> None:
        """Lets all processes stop where one was asked to; each calls it after the same step."""
        if process_count() > 1:
            self.requested = any_of(self.asked)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request that the loop obeys after the step in hand.

    Within another such block it is the same request, so that none is lost between the networks of an ensemble.
    """
    outer = getattr(signal.getsignal(signal.SIGINT), "request", None)
    if isinstance(outer, StopRequest):
        yield outer
        return
    request, alone = StopRequest(), process_count() == 1

    def ask(_signal: int, _frame: Any) -> None:
        request.asked = True
        if alone:
            request.requested = True

    ask.request = request  # type: ignore[attr-defined]
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
