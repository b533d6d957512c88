"""The paper's whole training, timed: 400 epochs × 100 cubes of 256×256×450, validated every epoch, best kept.

python -m benchmarks.paper_training --folder FOLDER [--size 256 --channels 450 --base 64 --train 100 …]

The store is simulated first, which is not timed: broad bands times smooth maps plus noise, and in diseased samples
a disc whose spectrum is shifted. Then a fresh process does what `train.py --recipe paper2019 --compute-dtype
bfloat16` does; its wall time holds everything: imports, reading and scaling the cubes, compilation, the loop,
checkpoints and the extracted network. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, flop_per_step
from benchmarks.reading import smooth_cube
from benchmarks.record import Record

PAPER_SECONDS = 259_200.0  # "about three days" on four GTX 1080 Ti
ARITHMETIC_LIMIT_S = 18.0  # all convolutions at the 790 TFLOP/s an H200 reaches in bfloat16


def simulate(path: Path, options: argparse.Namespace) -> None:
    """Writes the store, several cubes at a time."""
    from compseg_jax.store.read import Sample
    from compseg_jax.store.write import StoreWriter

    splits = ["train"] * options.train + ["val"] * options.val
    y, x = np.mgrid[: options.size, : options.size] / options.size
    disc = (y - 0.4) ** 2 + (x - 0.55) ** 2 < 0.04
    shift = np.zeros(options.channels, np.float32)
    shift[options.channels // 3 : options.channels // 2] = 0.3

    def add(index: int) -> None:
        label = index % 2
        cube = smooth_cube(np.random.default_rng(index), options.size, options.channels)
        if label:
            cube[disc] += shift
        sample = Sample(f"s{index}", label, splits[index], f"p{index}", options.size, options.size, False)
        writer.add(sample, cube, np.ones(cube.shape[:2], bool), None)

    writer = StoreWriter(
        path,
        channels=options.channels,
        wavenumbers_cm1=np.linspace(1800, 948, options.channels),
        pixel_size_um=None,
        background="none",
        created_by="benchmarks.paper_training",
    )
    with writer, ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        list(threads.map(add, range(len(splits))))


def train(options: argparse.Namespace) -> None:
    """What the timed process does."""
    from compseg_jax.runtime import cache_compilations, keep_freed_memory

    keep_freed_memory()
    cache_compilations()
    from compseg_jax.config import RECIPES
    from compseg_jax.training.run import train as run

    recipe = RECIPES["paper2019"]
    network = dataclasses.replace(recipe.network, base=options.base, compute_dtype=options.dtype)
    run(
        dataclasses.replace(
            recipe,
            data=options.folder / "data",
            out=options.folder / "run",
            network=network,
            epochs=options.epochs,
            batch_size=options.batch,
            checkpoint_every=max(1, options.epochs // 4),
        )
    )


def measure(options: argparse.Namespace) -> Record:
    """Simulates, trains in a process of its own and reads off what it logged."""
    if not (options.folder / "data").exists():
        simulate(options.folder / "data", options)
    command = [sys.executable, "-m", "benchmarks.paper_training", *sys.argv[1:], "--timed-process"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    total_s = time.perf_counter() - started
    lines = (options.folder / "run" / "log.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    model = json.loads((options.folder / "run" / "model" / "model.json").read_text())
    loop_s = sum(epoch["seconds"] for epoch in epochs)
    # The first epoch compiles; its time without that is that of the median epoch.
    median_epoch_s = float(np.median([epoch["seconds"] for epoch in epochs[1:] or epochs]))
    steps_an_epoch = -(-options.train // options.batch)
    case = Case("train_step", options.base, options.channels, options.size, options.train)
    validation = Case("forward", options.base, options.channels, options.size, options.val)
    flop = options.epochs * (flop_per_step(case) + flop_per_step(validation))
    return {
        "name": f"paper_training/base{options.base}_c{options.channels}_s{options.size}_b{options.batch}",
        "device": model["device"],
        "versions": model["versions"],
        "median_s": round(total_s, 2),
        "loop_s": round(loop_s, 2),
        "loop_without_compilation_s": round(options.epochs * median_epoch_s, 2),
        "first_epoch_s": epochs[0]["seconds"],
        "median_step_s": round(median_epoch_s / steps_an_epoch, 5),
        "epochs": options.epochs,
        "samples": options.train,
        "dtype": options.dtype,
        "best_epoch": model["best_epoch"]["epoch"],
        "first_loss": epochs[0]["loss"],
        "last_loss": epochs[-1]["loss"],
        "tflops": round(flop / (options.epochs * median_epoch_s) / 1e12, 1),
        "arithmetic_limit_s": ARITHMETIC_LIMIT_S,
        "peer": "the paper, four GTX 1080 Ti",
        "peer_median_s": PAPER_SECONDS,
        "ratio": round(total_s / PAPER_SECONDS, 6),
    }


def main() -> None:
    """Measures, or does the timed part."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="where store and run are written")
    sizes = {"size": 256, "channels": 450, "base": 64, "train": 100, "val": 7, "epochs": 400, "batch": 7}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--timed-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.timed_process:
        train(options)
    else:
        print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
