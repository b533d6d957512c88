"""Several processes that work as one: how they find each other, how they speak, how they end together.

jax's own runtime joins them (``jax.distributed``); here is what a command needs beside it.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compseg_jax.runtime.interrupts import Interrupted
from compseg_jax.runtime.together import wait_for_all

HEARTBEAT_TIMEOUT_S = 30
"""After which a process that says nothing counts as lost; the others end within twice that."""
START_TIMEOUT_S = 300

_OF_THE_NETWORK = re.compile("gloo|nccl|connection|coordination|barrier", re.IGNORECASE)


class ProcessesError(ValueError):
    """Several processes are asked for in a way that cannot work; the message says what to give."""


@dataclass(frozen=True)
class Cluster:
    """Where a process stands among those it works with.

    Attributes:
      found_by: who says so, for people.
      processes: how many there are.
      process: which one this is, from 0.
      coordinator: HOST:PORT at which process 0 listens; None where jax finds it.
      devices: local numbers of the devices that are its own; None for what jax finds.
    """

    found_by: str
    processes: int
    process: int
    coordinator: str | None = None
    devices: tuple[int, ...] | None = None


def cluster_of(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str] = os.environ,
) -> Cluster | None:
    """The cluster that was asked for, or the one that the environment tells of; None for a process of its own.

    SLURM, Open MPI and Kubernetes (indexed jobs) are looked at; that they started several processes is what counts, not
    that they are there. ``processes=1`` is a process of its own whatever the environment says.

    Raises:
      ProcessesError: when the three that are given do not fit together.
    """
    if processes == 1 and coordinator is None and process in (None, 0):
        return None
    if (coordinator, processes, process) == (None, None, None):
        return _slurm(environment) or _open_mpi(environment) or _kubernetes(environment)
    if coordinator is None or processes is None or process is None:
        raise ProcessesError(
            f"--coordinator {coordinator}, --processes {processes}, --process {process}: give all three, as in "
            "--coordinator node1:29500 --processes 2 --process 0 (and --process 1 for the other one), or none under "
            "SLURM, Open MPI and Kubernetes."
        )
    if not 0 <= process < processes:
        raise ProcessesError(
            f"--process {process}: with --processes {processes} it must lie in 0 … {processes - 1}."
        )
    if not re.fullmatch(r"[^\s]+:\d{1,5}", coordinator):
        raise ProcessesError(f"--coordinator {coordinator}: must be HOST:PORT, such as node1:29500.")
    return Cluster("--coordinator", processes, process, coordinator)


def _slurm(environment: Mapping[str, str]) -> Cluster | None:
    """Of `srun`; in a batch script outside of it there is one process, whatever the job was given."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if any(name not in environment for name in names):
        return None
    processes = int(environment.get("SLURM_STEP_NUM_TASKS", environment["SLURM_NTASKS"]))
    if processes < 2:
        return None
    on_node = _tasks_on_node(
        environment.get("SLURM_STEP_TASKS_PER_NODE", ""), int(environment.get("SLURM_NODEID", "0"))
    )
    devices = own_devices(environment, int(environment["SLURM_LOCALID"]), on_node)
    return Cluster("SLURM", processes, int(environment["SLURM_PROCID"]), devices=devices)


def _tasks_on_node(tasks: str, node: int) -> int | None:
    """Processes on a node by SLURM's list, as in ``4(x2),3``: four on each of two nodes, three on the third."""
    on_nodes: list[int] = []
    for part in re.finditer(r"(\d+)(?:\(x(\d+)\))?", tasks):
        on_nodes += [int(part[1])] * int(part[2] or 1)
    return on_nodes[node] if node < len(on_nodes) else None


def _open_mpi(environment: Mapping[str, str]) -> Cluster | None:
    """Of `mpirun`."""
    names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    if any(name not in environment for name in names) or int(environment[names[0]]) < 2:
        return None
    on_node = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    devices = own_devices(environment, int(environment[names[2]]), None if on_node is None else int(on_node))
    return Cluster("Open MPI", int(environment[names[0]]), int(environment[names[1]]), devices=devices)


def _kubernetes(environment: Mapping[str, str]) -> Cluster | None:
    """Of an indexed job, as jax asks the cluster for it."""
    if "KUBERNETES_SERVICE_HOST" not in environment or "JOB_COMPLETION_INDEX" not in environment:
        return None
    import importlib.util

    if importlib.util.find_spec("kubernetes") is None:
        return None
    from jax._src.clusters.k8s_cluster import K8sCluster

    if not K8sCluster.is_env_present() or (processes := K8sCluster.get_process_count()) < 2:
        return None
    return Cluster("Kubernetes", processes, K8sCluster.get_process_id())


def own_devices(
    environment: Mapping[str, str], local_process: int, on_node: int | None
) -> tuple[int, ...] | None:
    """The GPUs of one of the processes of a node: an even share of those it sees; None where their number is unknown.

    jax gives each process the GPU of its local number, which is wrong where a node has one process for all of its GPUs,
    and where the scheduler has shown each process its own GPU alone.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([each for each in visible.split(",") if each.strip()])
    else:
        count = int(environment.get("SLURM_GPUS_ON_NODE", "0") or 0)
    if not count or on_node is None:
        return None
    if count < on_node:  # shown to this process alone
        return tuple(range(count))
    share = count // on_node
    return tuple(range(local_process * share, (local_process + 1) * share))


@contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Joins this process to a cluster, before jax starts; at the end of the block it leaves together with all others.

    What processes other than 0 say begins with their number, and what all of them would say alike process 0 says alone.
    After an error this process ends without waiting, with exit code 1, and the others, which wait for it, end too.
    """
    if cluster is None:
        yield
        return
    _speak_as(cluster)
    import jax  # noqa: F401  (its own hook would wait for the others, who may wait for this one; the last runs first)

    atexit.register(_end_at_once)
    try:
        _start(cluster)
        yield
    except Interrupted:
        _leave()  # all of them stopped after the same step
        raise
    except Exception as error:
        if type(error).__module__.startswith("jax") and _OF_THE_NETWORK.search(str(error)):
            _wait_for_the_verdict()
        raise
    _leave()


def _leave() -> None:
    import jax

    wait_for_all()
    jax.distributed.shutdown()
    atexit.unregister(_end_at_once)


def _end_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _wait_for_the_verdict() -> None:
    """A collective fails as soon as a peer is gone; the heartbeats say so a little later, and end this process then."""
    time.sleep(1.5 * HEARTBEAT_TIMEOUT_S)


def _start(cluster: Cluster) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # SIGTERM is the training loop's (runtime.interrupts), which stops all of them after the same step.
    jax.config.update("jax_enable_preemption_service", False)
    given: dict[str, Any] = {}
    if cluster.coordinator is not None:
        given = {
            "coordinator_address": cluster.coordinator,
            "num_processes": cluster.processes,
            "process_id": cluster.process,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **given,
            local_device_ids=cluster.devices,
            initialization_timeout=START_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            shutdown_timeout_seconds=HEARTBEAT_TIMEOUT_S,
        )
    except RuntimeError as error:
        raise ProcessesError(
            f"the {cluster.processes} processes ({cluster.found_by}) did not find each other: {error}. Check that all "
            "were started, and that the port of process 0 can be reached from the other hosts; "
            "--processes 1 works alone."
        ) from error
    print(_topology(cluster), flush=True)


def _topology(cluster: Cluster) -> str:
    import jax

    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    each = sorted(
        {
            len([d for d in jax.devices() if d.process_index == process])
            for process in range(cluster.processes)
        }
    )
    return (
        f"{cluster.processes} processes ({cluster.found_by}) with {' or '.join(map(str, each))} device(s) each, "
        f"{len(jax.devices())} in all: {kinds}"
    )


RELAY = r"""
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
process, processes = int(sys.argv[1]), int(sys.argv[2])
before = f"[process {process}] " if process else ""
lost, gone = False, set()
for line in sys.stdin:
    if re.match(r"[EF]\d{4} .*(coordination_service|distributed service|client\.h)", line):
        lost = True
    if not lost and not line.startswith("[Gloo] "):
        print(before + line, end="", file=sys.stderr, flush=True)
    if lost and (found := re.fullmatch(r"\s*(\d+)\s*", line)):
        gone.add(int(found[1]))
    if lost and "to coordination service" in line:
        gone.add(0)
if lost:
    who = " and ".join(map(str, sorted(gone - {process})))
    names = f"process {who}" if who else "another process"
    print(
        f"{before}error: {names} of {processes} has ended or cannot be reached, so this one ends as well. What was "
        "saved is there: start all of them again, a training with --resume and any number of processes.",
        file=sys.stderr, flush=True,
    )
"""
"""A process that passes on what this one says on stderr: the runtime of jax ends a process whose peer is lost in the
midst of its threads, with a page of its own insides, and nobody but another process can still speak then."""


def _speak_as(cluster: Cluster) -> None:
    sys.stderr.flush()
    words = [sys.executable, "-I", "-S", "-c", RELAY, str(cluster.process), str(cluster.processes)]
    relay = subprocess.Popen(words, stdin=subprocess.PIPE, text=True)
    assert relay.stdin is not None
    os.dup2(relay.stdin.fileno(), 2)
    # At the end of this process the pipe is closed and the relay ends; nobody waits for it.
    relay.returncode = 0
    if cluster.process:
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
