"""One framework and one case per process; the parent says when to run, so that peers take turns.

Lines on stdin and stdout: the worker is started with the name of a case, warms up and answers with a JSON
description; for each number n it reads it runs n steps and answers with the seconds per step. When its input
ends it answers with its peak memory and stops. ``Worker`` is the parent's side, ``serve`` the other one; it
needs only the standard library, so that peers can run under another Python.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import Case

WARM_UP_STEPS = 3
GIB = 2**30


class WorkerError(RuntimeError):
    """A worker ended before it answered; the message holds the end of what it said."""


@dataclass(frozen=True)
class Prepared:
    """A case ready to run in one framework.

    Attributes:
      run: runs n steps or forward passes, waits for them and returns the last loss.
      description: 'framework' with its version, and 'device'.
      device_peak_bytes: largest memory in use on an accelerator so far; None on CPUs, where the process counts.
    """

    run: Callable[[int], float]
    description: dict[str, Any]
    device_peak_bytes: Callable[[], int] | None = None


def serve(prepare: Callable[[Case], Prepared]) -> None:
    """Answers the parent until its input ends."""
    # What libraries print must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    started = time.perf_counter()
    prepared = prepare(Case.of_name(sys.argv[1]))
    prepared.run(1)
    first_s = time.perf_counter() - started
    prepared.run(WARM_UP_STEPS)
    answer({**prepared.description, "start_and_first_step_s": round(first_s, 3)})
    for line in sys.stdin:
        n = int(line)
        started = time.perf_counter()
        loss = prepared.run(n)
        seconds = (time.perf_counter() - started) / n
        if not math.isfinite(loss):
            raise SystemExit(f"{sys.argv}: the loss is {loss}; a time without a result counts for nothing.")
        answer({"seconds": seconds})
    if prepared.device_peak_bytes is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        peak = prepared.device_peak_bytes()
    answer({"peak_memory_gib": round(peak / GIB, 3)})


class Worker:
    """A worker process: started and warmed up when made."""

    def __init__(self, command: Sequence[str], case: Case, log: Path) -> None:
        root = Path(__file__).resolve().parents[1]
        self._log = log
        self._command = [*command, case.name]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            cwd=root,
            # jax would take three quarters of a GPU's memory at once, and the peer lives on the same card.
            env={**os.environ, "PYTHONPATH": str(root), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        self.description = self._answer()

    def seconds_a_step(self, n: int) -> float:
        """Runs n steps; their mean time."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def finish(self) -> float:
        """Ends the process; its peak memory in GiB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        peak = float(self._answer()["peak_memory_gib"])
        self._process.wait()
        return peak

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            said = self._log.read_text()[-1500:]
            raise WorkerError(f"{' '.join(self._command)} ended with code {code}:\n{said}")
        return json.loads(line)
