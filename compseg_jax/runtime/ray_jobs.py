"""Jobs as tasks of a Ray cluster: for machines without a scheduler.

A task is a command in a process of its own on whichever node has room. Ray gives a task whose worker or node is lost to
another one; what the command had finished by then is on the folder that all nodes share.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compseg_jax.runtime.jobs import PROGRAM, Job, JobEnd, error_in

RETRIES = 3
"""Of a task whose worker, node or process is lost."""
WATCHED_EVERY_S = 1.0
STOPPING_S = 120.0
"""Longest wait for tasks that were asked to stop: enough for a checkpoint or a tile."""
ROUNDS, PAUSE_S = 12, 15.0
"""How often, and how long after, a job with work left is run again: longer than a claim of a lost process holds."""
SEEN_WITHIN_S = 30.0
"""A network file system shows new files to other machines after some seconds."""
INSTALL = "pip install 'compseg-jax[ray]'"
REACHED_WITHIN_S = 10.0
ADDRESSES = "local (this machine), auto (a cluster that runs here), HOST:PORT, or ray://HOST:PORT"


class RayError(RuntimeError):
    """Ray is not there, or no cluster at the address."""


@dataclass(frozen=True)
class RayCluster:
    """A cluster that this process is joined to.

    Attributes:
      slots: tasks that run at once: one for each GPU; without any one for each node, whose processors it takes all.
      needs: what Ray sets aside for each of them.
    """

    slots: int
    needs: Mapping[str, float]

    def run(
        self,
        jobs: Sequence[Job],
        shared: Path | None,
        *,
        is_done: Callable[[Job], bool],
        ended: Callable[[Job, JobEnd], None],
        watch: Callable[[], bool],
    ) -> bool:
        """Runs jobs, as many at once as fit; False where they were asked to stop.

        A lost worker may leave a process behind that has its work still in hand, or only claims to it, so a job that
        ended well with work left is run again.

        Args:
          jobs: what to run; places in their words are seen from the working folder of this process.
          shared: a file that every node must see; None where what is written goes to a URL.
          is_done: whether nothing of a job is left.
          ended: told of each job that ended for good.
          watch: called meanwhile; True asks all jobs to stop, which they do after saving what they have.
        """
        left = list(jobs)
        for number in range(ROUNDS):
            last = number == ROUNDS - 1
            again: list[Job] = []
            for job, end in self._round(left, shared, watch):
                if end.code == 0 and not last and not is_done(job):
                    again.append(job)
                else:
                    ended(job, end)
            if watch():
                return False
            if not again:
                return True
            left = again
            pause = time.monotonic() + PAUSE_S
            while time.monotonic() < pause and not watch():
                time.sleep(WATCHED_EVERY_S)
        return True

    def _round(
        self, jobs: Sequence[Job], shared: Path | None, watch: Callable[[], bool]
    ) -> Iterator[tuple[Job, JobEnd]]:
        """Each job as it ends; those that were asked to stop are waited for and not told of."""
        import ray

        start = ray.remote(_task()).options(
            **self.needs, max_retries=RETRIES, retry_exceptions=True, scheduling_strategy="SPREAD"
        )
        here, seen = os.getcwd(), None if shared is None else os.path.abspath(shared)
        waiting = {
            start.remote([*PROGRAM, *job.words], here, os.path.abspath(job.log), seen): job for job in jobs
        }
        while waiting and not watch():
            done, _ = ray.wait(list(waiting), timeout=WATCHED_EVERY_S)
            for reference in done:
                yield waiting.pop(reference), _end_of(reference)
        for reference in waiting:
            ray.cancel(reference, force=False)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=STOPPING_S)


def _end_of(reference: Any) -> JobEnd:
    import ray

    try:
        code, said = ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return JobEnd(-15, "stopped")
    except ray.exceptions.RayTaskError as error:
        return JobEnd(1, str(error.cause if error.cause is not None else error).strip().splitlines()[-1])
    except ray.exceptions.RayError as error:
        return JobEnd(1, f"lost {RETRIES + 1} times: {str(error).strip().splitlines()[0]}")
    return JobEnd(code, error_in(said, code))


def _task() -> Callable[..., tuple[int, str]]:
    """What a node runs. A function in a function goes there as a value: only the command needs the package."""
    seen_within_s, stopping_s = SEEN_WITHIN_S, STOPPING_S

    def run(words: list[str], folder: str, log: str, shared: str | None) -> tuple[int, str]:
        import os
        import socket
        import subprocess
        import sys
        import time

        patience = time.monotonic() + seen_within_s
        while missing := [
            each
            for each, is_there in ((folder, os.path.isdir), (shared, os.path.isfile))
            if each is not None and not is_there(each)
        ]:
            if time.monotonic() > patience:
                return 1, (
                    f"error: the node {socket.gethostname()} does not see {missing[0]}. With --ray the working folder, "
                    "the folder of --out and all files must lie on a file system that every node shares, at the same "
                    "path; stores and models may be URLs instead."
                )
            time.sleep(1)
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "wb") as file:
            process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=file, stderr=file)
            try:
                # Ray cancels by a flag that Python looks at between instructions: a call that blocks would not end.
                while (code := process.poll()) is None:
                    time.sleep(0.2)
            except BaseException:  # cancelled, or this worker is ended
                process.terminate()
                try:
                    process.wait(stopping_s)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()[-20_000:]
        if code < 0 or code > 128:
            raise RuntimeError(
                f"ended by signal {-code if code < 0 else code - 128} on {socket.gethostname()}"
            )
        return code, said

    return run


@contextmanager
def ray_cluster(address: str) -> Iterator[RayCluster]:
    """Joins a cluster until the end of the block.

    Args:
      address: 'local' starts one of this machine alone, 'auto' finds one that runs here; else HOST:PORT or
        ray://HOST:PORT.

    Raises:
      RayError: when Ray is not installed, or there is no cluster.
    """
    ray = _ray()
    # What is computed here is nobody else's business: Ray reports the use of clusters that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # GPUs are hidden from tasks that ask for none, which Ray says it will do otherwise some day.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False, **options
        )
    except (ConnectionError, ValueError, RuntimeError, OSError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RayError(
            f"--ray {address}: no Ray cluster was reached ({reason}). Required is one of {ADDRESSES}; "
            "`ray start --head` starts one, `ray status` shows it."
        ) from error
    try:
        yield _room(ray)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nothing listens, which Ray itself finds out after minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        if not (host and port.isdecimal()):
            raise ValueError(f"{address!r} is no address")
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_WITHIN_S).close()


def _room(ray: Any) -> RayCluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        return RayCluster(gpus, {"num_gpus": 1})
    processors = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not processors:
        raise RayError("the Ray cluster has neither processors nor GPUs to give; start nodes that have.")
    least = min(processors)
    return RayCluster(sum(count // least for count in processors), {"num_cpus": least})


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RayError(f"--ray needs Ray, which is not installed. Install it with: {INSTALL}") from error
    return ray
