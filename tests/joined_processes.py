"""Real processes that work as one: started on this machine with devices of their own, joined by gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRAIN, EVALUATE = ROOT / "train.py", ROOT / "evaluate.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def start(
    command: Sequence[str | Path], *, devices: int, folder: Path, name: str, **environment: str
) -> subprocess.Popen:
    """A process that sees so many CPU devices; what it says goes to ``name.out`` and ``name.err``."""
    with (folder / f"{name}.out").open("w") as out, (folder / f"{name}.err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=out,
            stderr=err,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "JAX_NUM_CPU_DEVICES": str(devices),
                "JAX_PLATFORMS": "cpu",
                **environment,
            },
        )


def start_joined(
    command: Sequence[str | Path], processes: int, *, devices: int, folder: Path
) -> list[subprocess.Popen]:
    """So many processes told of one another by options."""
    place = f"localhost:{free_port()}"
    return [
        start(
            [*command, "--coordinator", place, "--processes", str(processes), "--process", str(number)],
            devices=devices,
            folder=folder,
            name=str(number),
        )
        for number in range(processes)
    ]


def slurm(processes: int, process: int, port: int) -> Mapping[str, str]:
    """What srun tells a process of a step on this machine."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(processes),
        "SLURM_STEP_NUM_TASKS": str(processes),
        "SLURM_STEP_TASKS_PER_NODE": str(processes),
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
        "SLURM_NODEID": "0",
        "JAX_COORDINATOR_PORT": str(port),
    }


def said(folder: Path, name: str) -> str:
    return (folder / f"{name}.out").read_text() + (folder / f"{name}.err").read_text()
