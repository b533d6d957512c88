"""From the start of `compseg train` to the end of its first step: reading, preparing, compiling.

python -m benchmarks.first_step --folder FOLDER [--before CHECKOUT] [--rounds 1]
                                [--train 300 --val 20 --size 128 --channels 234 --base 16 --recipe default]

Simulates a store in FOLDER where there is none, then begins to train on it, in a process of its own that ends with the
first step; with --before in turns with another checkout of this project. Prints a JSON line for each: seconds until the
data are ready, seconds and processor time until the first step is done, reads of each cube, and peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.paper_training import simulate
from benchmarks.record import Record, cpu_name

PROCESS = """
import time; started = time.perf_counter()
import dataclasses, json, os, resource, sys
from collections import Counter
from pathlib import Path
from compseg_jax.runtime import cache_compilations, keep_freed_memory
keep_freed_memory(); cache_compilations()
from compseg_jax.config import recipe
from compseg_jax.runtime.versions import versions
from compseg_jax.store import Store
from compseg_jax.training import loop, run
store, out, name, base = sys.argv[1:]
reads, found = Counter(), {}
train_epochs, cube = run.train_epochs, Store._cube
def counted(store, sample_id):
    reads[sample_id] += 1
    return cube(store, sample_id)
def ready(*given):
    found["data_ready_s"] = round(time.perf_counter() - started, 2)
    return train_epochs(*given)
def first(reporter, share, epoch):
    found["first_step_s"] = round(time.perf_counter() - started, 2)
    found["processor_s"] = round(time.process_time(), 2)
    found["reads_of_a_cube"] = max(reads.values())
    found["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)
    print(json.dumps({**found, "versions": versions()}), flush=True)
    os._exit(0)
Store._cube, run.train_epochs, loop.RunReporter.within_epoch = counted, ready, first
config = recipe(name)
network = dataclasses.replace(config.network, base=int(base))
run.train(dataclasses.replace(config, data=Path(store), out=Path(out), network=network))
"""


def measured(checkout: Path, options: argparse.Namespace) -> Record:
    """One process of a revision."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            PROCESS,
            str(options.folder / "data"),
            f"{folder}/run",
            options.recipe,
        ]
        run = subprocess.run(
            [*command, str(options.base)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": folder},
        )
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Measures the revisions in turns."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the store is written")
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("--recipe", default="default")
    sizes = {"train": 300, "val": 20, "size": 128, "channels": 234, "base": 16, "rounds": 1}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    if not (options.folder / "data").exists():
        simulate(options.folder / "data", options)
    here = Path(__file__).parents[1]
    revisions = (
        {"now": here} if options.before is None else {"before": options.before.absolute(), "now": here}
    )
    runs: dict[str, list[Record]] = {revision: [] for revision in revisions}
    for _ in range(options.rounds):
        for revision, checkout in revisions.items():
            runs[revision].append(measured(checkout, options))
    sizes_in_words = f"n{options.train}_s{options.size}_c{options.channels}_base{options.base}"
    for revision, found in runs.items():
        numbers = [name for name in found[0] if name != "versions"]
        print(
            json.dumps(
                {
                    "name": f"first_step/{options.recipe}_{sizes_in_words}",
                    "revision": revision,
                    "device": cpu_name(),
                    "versions": found[0]["versions"],
                    "n": len(found),
                    **{name: statistics.median(each[name] for each in found) for name in numbers},
                }
            )
        )


if __name__ == "__main__":
    main()
