"""A whole array larger than memory, from mosaic to store: peak memory and time of each command.

    python -m benchmarks.mosaic --folder NEW_FOLDER [--size 2000 3000] [--channels 450] [--cores 0] [--keep]
                                [--prepare tissue … vector]

Simulates an Agilent mosaic of 10 × 15 cores tile by tile (10.8 GB at the full size), then runs `compseg info`,
`compseg dearray` and `compseg ingest` on it, each in a process of its own. Prints one JSON line per command.
``--cores N`` labels only the first N cores, for steps that take minutes per core. Without ``--keep`` the folder is
removed at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import Record, cpu_name
from compseg_jax.ingest.cores.layout import ArrayPhantom
from compseg_jax.ingest.phantom.array_scan import ArrayScan, simulate_array_scan
from compseg_jax.runtime.versions import versions
from tests.instrument_files import agilent_parameters, agilent_tile

TILE_PIXELS = 100
FIRST_CM1, LAST_CM1 = 1800.0, 948.0
SPLITS = ("train", "train", "train", "val", "test")


def simulated_mosaic(folder: Path, size: Sequence[int], channels: int) -> ArrayScan:
    """Writes the mosaic; returns the scan it was written from."""
    pitch = (size[0] / 10.7, size[1] / 15.7)
    config = ArrayPhantom(
        pitch_px=pitch, core_diameter_px=0.62 * min(pitch), jitter=0.05, rotation_deg=1.0, pixel_size_um=5.5
    )
    scan = simulate_array_scan(config, 0, channels)
    rows, columns = (length // TILE_PIXELS for length in scan.shape[:2])
    for row in range(rows):
        for column in range(columns):
            top, left = row * TILE_PIXELS, column * TILE_PIXELS
            tile = scan.window(slice(top, top + TILE_PIXELS), slice(left, left + TILE_PIXELS))
            agilent_tile(folder / f"Scan_{column:04d}_{rows - 1 - row:04d}.dmd", tile[..., ::-1])
    separation = (FIRST_CM1 - LAST_CM1) / (channels - 1)
    agilent_parameters(
        folder / "scan.dmt", separation, round(LAST_CM1 / separation), channels, TILE_PIXELS, 1
    )
    return scan


def write_labels(path: Path, scan: ArrayScan, number: int) -> int:
    """A label for each core, half of them diseased, or for the first ``number``; returns how many."""
    labels = dict(list(scan.labels.items())[: number or None])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "split"])
        counts = [0, 0]
        for name, label in labels.items():
            writer.writerow([name, label, SPLITS[counts[label] % len(SPLITS)]])
            counts[label] += 1
    return len(labels)


def run(name: str, words: Sequence[str], folder: Path, **more: object) -> Record:
    """Runs a command of `compseg` in a process of its own; time and peak of its resident memory."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "compseg_jax.cli", *words], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"compseg {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "name": f"mosaic/{name}",
        "device": cpu_name(),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        **more,
    }


def main() -> None:
    """Simulates, runs the three commands, prints their records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(2000, 3000), metavar=("Y", "X"))
    parser.add_argument("--channels", type=int, default=450)
    parser.add_argument("--cores", type=int, default=0, help="label only the first so many cores (0: all)")
    parser.add_argument(
        "--prepare", nargs="+", default=["tissue", "quality:max_vapour=none", "resample", "emsc", "vector"]
    )
    parser.add_argument("--keep", action="store_true", help="leave the mosaic and the store there")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True)
    try:
        scan = simulated_mosaic(folder, arguments.size, arguments.channels)
        cores = write_labels(folder / "labels.csv", scan, arguments.cores)
        size = {
            "shape": list(scan.shape),
            "mosaic_gb": round(4e-9 * scan.shape[0] * scan.shape[1] * scan.shape[2], 1),
        }
        ingest = [
            "ingest",
            "labels.csv",
            "--scans",
            "scan.dmt",
            "--out",
            "store",
            "--prepare",
            *arguments.prepare,
        ]
        for name, words, more in (
            ("info", ["info", "scan.dmt"], {}),
            ("dearray", ["dearray", "scan.dmt"], {}),
            ("ingest", ingest, {"cores": cores, "prepare": arguments.prepare}),
        ):
            print(json.dumps(run(name, words, folder, **size, **more)), flush=True)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
