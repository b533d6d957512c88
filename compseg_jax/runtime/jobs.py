"""Commands of this program as processes of their own: started one after another here, or by others elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WATCHED_EVERY_S = 0.5
PROGRAM = ("-m", "compseg_jax.cli")
"""What Python is started with to be `compseg`."""


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
      name: for people.
      words: of the command, after `compseg`.
      log: file that takes what it says; written anew.
    """

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
      code: exit code; negative: the signal that ended it.
      error: what it said was wrong; empty where nothing was.
    """

    code: int
    error: str = ""


def run_here(job: Job, *, watch: Callable[[], bool]) -> JobEnd:
    """Runs a job in a process of its own and waits for its end.

    Args:
      job: what to run.
      watch: called while it runs; True asks the job to stop, which it does after saving what it has.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        process = subprocess.Popen([sys.executable, *PROGRAM, *job.words], stdout=log, stderr=log)
        asked = False
        try:
            while True:
                try:
                    code = process.wait(WATCHED_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    if watch() and not asked:
                        asked = True
                        process.send_signal(signal.SIGTERM)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return JobEnd(code, error_in(job.log.read_text(encoding="utf-8", errors="replace"), code))


def error_in(said: str, code: int) -> str:
    """Why a job did not end well, from what it said: its last error, else its last line; empty for the exit code 0."""
    if code == 0:
        return ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return (errors or [f"{how}: {lines[-1]}" if lines else how])[-1]
