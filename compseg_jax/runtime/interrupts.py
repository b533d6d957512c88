"""Ctrl-C and SIGTERM: a request that a run obeys between steps, and at every other moment the end of the program.

An exception alone does not end a program: what is raised within an import, a destructor or a callback of foreign code
may be caught there, and none is raised before foreign code returns. So while a command starts, when nothing is to be
undone, the program ends at once; later it is unwound, and ends all the same where that takes longer than `GRACE_S`.
What is being written then is what a killed process leaves: the next run removes it (`runtime.files`).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from compseg_jax.runtime.together import any_of, process_count

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED_EXIT_CODE = 130
"""128 and the number of SIGINT."""
GRACE_S = 5.0
"""For what is opened to be closed, and what is half-written to be removed."""


@dataclass
class _Program:
    """What runs as a command.

    Attributes:
      has_begun: whether the command works; before, its modules are imported.
      seen: gets the number of each signal that comes, whoever handles it. Does not block.
      asked: a signal has come that is no request.
      has_ended: the command is over.
    """

    seen: socket.socket
    has_begun: bool = False
    asked: threading.Event = field(default_factory=threading.Event)
    has_ended: threading.Event = field(default_factory=threading.Event)
    _deciding: threading.RLock = field(default_factory=threading.RLock)

    def end(self, _signal: int, _frame: Any) -> None:
        """Handles a signal that nobody else handles."""
        self.asked.set()
        if not self.has_begun:
            _leave()
        raise KeyboardInterrupt

    def obeyed(self) -> None:
        """Says that all signals so far were requests, though they be looked at when nobody takes requests anymore."""
        with self._deciding, suppress(BlockingIOError):
            while self.seen.recv(64):
                pass

    def watch(self) -> None:
        """Ends the program where a signal does not, be it that foreign code runs or that it caught the exception."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.seen, selectors.EVENT_READ)
            while selector.select():
                with self._deciding:
                    try:
                        numbers = self.seen.recv(1)
                    except BlockingIOError:
                        continue
                    if not numbers:
                        return
                    is_ours = numbers[0] in SIGNALS and signal.getsignal(numbers[0]) == self.end
                if is_ours and not self.has_ended.wait(GRACE_S if self.has_begun else GRACE_S / 10):
                    _leave()


_programs: list[_Program] = []


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the program with exit code 130 whatever it does, outside of `stop_requests`.

    From `begun` on KeyboardInterrupt is raised first. Only the main thread can catch signals; in another one, and
    within another such block, nothing is changed.
    """
    if _programs or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, told = socket.socketpair()
    for end in (seen, told):
        end.setblocking(False)
    program = _Program(seen)
    watcher = threading.Thread(target=program.watch, name="compseg-signals", daemon=True)
    # What a shell lets its background jobs ignore stays ignored.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, program.end) for number in heard}
    told_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    _programs.append(program)
    watcher.start()
    try:
        yield
    finally:
        program.has_ended.set()
        _programs.clear()
        signal.set_wakeup_fd(told_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()
        watcher.join()
        seen.close()


def begun() -> None:
    """From here on what is begun is undone before the program ends."""
    for program in _programs:
        program.has_begun = True


def all_is_done(code: int) -> None:
    """From here on a signal ends the program at once with the exit code of its command, while Python shuts down."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, lambda _signal, _frame: os._exit(code))


def _leave() -> NoReturn:
    with suppress(OSError):
        os.write(2, b"\nstopped.\n")
    os._exit(INTERRUPTED_EXIT_CODE)


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

    Raises:
      KeyboardInterrupt: where a signal came before, and what it raised was caught by foreign code.
    """
    outer = getattr(signal.getsignal(signal.SIGINT), "request", None)
    if isinstance(outer, StopRequest):
        yield outer
        return
    request, alone = StopRequest(), process_count() == 1

    def ask(_signal: int, _frame: Any) -> None:
        request.asked = True
        for program in _programs:
            program.obeyed()
        if alone:
            request.requested = True

    ask.request = request  # type: ignore[attr-defined]
    try:
        previous = {kind: signal.signal(kind, ask) for kind in SIGNALS}
    except ValueError:
        # Signals can be caught in the main thread alone; in another one the run is simply not stoppable.
        yield request
        return
    try:
        if any(program.asked.is_set() for program in _programs):
            raise KeyboardInterrupt
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
