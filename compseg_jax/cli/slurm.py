"""`compseg slurm`: the batch file of a training, a prediction or a sweep on a cluster, to read, edit and submit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compseg_jax.cli import predict as predict_command
from compseg_jax.cli import sweep as sweep_command
from compseg_jax.cli import train as train_command
from compseg_jax.cli.main import INTERRUPTED_EXIT_CODE
from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.training.sweep.plan import planned

STOPPED_S = 120
"""Seconds before the end of its time at which a job is asked to stop: enough for a checkpoint or a tile."""
TIMES = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")


@dataclass(frozen=True)
class SlurmOptions:
    """Where a command runs on a cluster."""

    command: Literal["train", "predict", "sweep"]
    """What runs: its own options follow after --."""
    nodes: int = 1
    """Machines that train together; predictions and sweeps have --shards instead."""
    gpus: int = 1
    """GPUs of each machine, or of each shard; 0: on processors."""
    shards: int = 8
    """Tasks of the job array that share the samples of a prediction, or the trainings of a sweep."""
    cpus: int = 8
    """Processors for each process."""
    memory_gib: int = 32
    """Memory of each machine, or of each shard, in GiB."""
    time: str = "04:00:00"
    """Longest duration, as SLURM writes it: D-HH:MM:SS, HH:MM:SS or minutes."""
    partition: str = ""
    """Partition (queue); the cluster's own when not given."""
    account: str = ""
    """Account that is charged; your own when not given."""
    container: Path | None = None
    """Image of Apptainer (Singularity) that holds the package; the environment of the job when not given."""

    def __post_init__(self) -> None:
        least = {"nodes": 1, "gpus": 0, "shards": 1, "cpus": 1, "memory_gib": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}: at least {smallest} is required."
                )
        if self.command != "train" and self.nodes != 1:
            what = "prediction" if self.command == "predict" else "sweep"
            raise ValueError(f"--nodes {self.nodes}: a {what} is spread by --shards; leave out --nodes.")
        if not TIMES.fullmatch(self.time):
            raise ValueError(f"--time {self.time!r}: D-HH:MM:SS, HH:MM:SS or minutes are required.")
        for name in ("partition", "account"):
            if not re.fullmatch(r"[\w.,:@+-]*", getattr(self, name)):
                raise ValueError(
                    f"--{name} {getattr(self, name)!r}: letters, digits and . , : @ + - _ are required."
                )


PAGE = HelpPage(
    "slurm",
    text="Print the batch file of a training, a prediction or a sweep for a cluster under SLURM, with what each line "
    "does.\n\n"
    "What follows after -- is the command as it would be typed without a cluster; it is checked now, not after the "
    "queue. Nothing is submitted: keep it with `> FILE`, and submit it with `sbatch FILE`.",
    example="compseg slurm train --nodes 2 --gpus 4 -- --data store --out runs/mine",
    groups={
        "options": ("command", "nodes", "gpus", "shards"),
        "each job": ("cpus", "memory_gib", "time", "partition", "account", "container"),
    },
    positional=("command", "train|predict|sweep"),
)


def run(arguments: list[str]) -> None:
    """Prints the batch file."""
    own, given = (
        (arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :])
        if "--" in arguments
        else (arguments, None)
    )
    options = parse(SlurmOptions, own, PAGE)
    if given is None:
        raise ValueError(
            f"what is to run is missing: `compseg slurm {options.command} … -- ` and then the options of "
            f"`compseg {options.command}`."
        )
    print(
        {"train": _training, "predict": _prediction, "sweep": _sweep}[options.command](options, given), end=""
    )


def _training(options: SlurmOptions, given: Sequence[str]) -> str:
    out = shlex.quote(str(train_command.configuration([*given]).out))
    command = _command(options, [word for word in given if word != "--resume"])
    gpus = [f"--gpus-per-node={options.gpus}"] if options.gpus else []
    tasks = [f"--nodes={options.nodes}", f"--ntasks-per-node={options.gpus or 1}", *gpus, "--requeue"]
    return f"""#!/bin/bash
{_head(options, "compseg-train", "%j", tasks)}

# One process for each GPU (of each machine without any). They find each other by SLURM's variables, read only their
# own samples, and take every step together; the first one writes. All machines must see the folder of the run.
# SLURM sends TERM {STOPPED_S} s before the end: the run saves itself, is queued again, and goes on.
set -u
resume=
[ -e {out}/config.json ] && resume=--resume
srun {command} $resume
code=$?
[ $code -eq {INTERRUPTED_EXIT_CODE} ] && scontrol requeue "$SLURM_JOB_ID"
exit $code
"""


def _prediction(options: SlurmOptions, given: Sequence[str]) -> str:
    asked = parse(predict_command.PredictOptions, [*given], predict_command.PAGE)
    if asked.shard or asked.merge or asked.ray:
        raise ValueError("--shard and --merge are set by the batch file: leave them out after --, and --ray.")
    n, gpus = options.shards, [f"--gpus={options.gpus}"] if options.gpus else []
    return f"""#!/bin/bash
{_head(options, "compseg-predict", "%A-%a", [f"--array=1-{n}", "--ntasks=1", *gpus])}

# The tasks of the array share the samples; the one that finishes last writes the tables.
# Tasks that failed or ran out of time are given again, `sbatch --array=3,5 FILE`: finished samples are not done twice.
# The same command with --merge instead of --shard tells what is missing, and writes the tables without it.
srun {_command(options, given)} --shard "$SLURM_ARRAY_TASK_ID/{n}"
"""


def _sweep(options: SlurmOptions, given: Sequence[str]) -> str:
    asked = sweep_command.options_of([*given])
    if asked.shard or asked.cell or asked.ray:
        raise ValueError("--shard is set by the batch file: leave it out after --, and --cell and --ray.")
    n = min(options.shards, len(planned(asked).cells))
    gpus = [f"--gpus={options.gpus}"] if options.gpus else []
    return f"""#!/bin/bash
{_head(options, "compseg-sweep", "%A-%a", [f"--array=1-{n}", "--ntasks=1", *gpus, "--requeue"])}

# {len(planned(asked).cells)} trainings, shared by the tasks of the array; each of a task's own follows the one before.
# SLURM sends TERM {STOPPED_S} s before the end: the training in hand is saved, the task is queued again and goes on.
# Each task writes the comparison of what is finished then, so the last one that of all.
srun {_command(options, given)} --shard "$SLURM_ARRAY_TASK_ID/{n}"
code=$?
[ $code -eq {INTERRUPTED_EXIT_CODE} ] && scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit $code
"""


def _head(options: SlurmOptions, name: str, log: str, own: Sequence[str]) -> str:
    lines = [
        f"--job-name={name}",
        *own,
        f"--cpus-per-task={options.cpus}",
        f"--mem={options.memory_gib}G",
        f"--time={options.time}",
        f"--signal=TERM@{STOPPED_S}",
        f"--output=%x-{log}.log",
    ]
    lines += [f"--{key}={value}" for key in ("partition", "account") if (value := getattr(options, key))]
    return "\n".join(f"#SBATCH {line}" for line in lines)


def _command(options: SlurmOptions, given: Sequence[str]) -> str:
    around: list[str] = []
    if options.container is not None:
        around = ["apptainer", "exec", *(["--nv"] if options.gpus else []), str(options.container)]
    return shlex.join([*around, "compseg", options.command, *given])
