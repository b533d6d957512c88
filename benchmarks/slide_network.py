"""The network of the slide's picture: trained on nothing but labels of cores of other simulated arrays.

    python -m benchmarks.slide_network --out FOLDER [--epochs 20] [--channels 64]

Writes FOLDER/data, whose samples are 96×96 windows around the cores of three arrays (the third one for testing, every
pixel counted as tissue, as in the slide), trains the recipe `default` on them into FOLDER/run, without its preparation
and its projection of the bands, and evaluates it there.
The network is FOLDER/run/model, for `python -m benchmarks.slide --model`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from compseg_jax.config import RECIPES, Network
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.cores.layout import ArrayPhantom
from compseg_jax.ingest.phantom.array_scan import ArrayScan, simulate_array_scan
from compseg_jax.ingest.phantom.spots import wavenumber_axis
from compseg_jax.runtime import keep_freed_memory
from compseg_jax.store.read import Sample
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.run import train

WINDOW_PX = 96
# The slide is array 0.
ARRAYS = {1: ("train", "train", "train", "val"), 2: ("train", "train", "train", "val"), 3: ("test",)}
CONFIG = ArrayPhantom(
    rows=8, columns=8, pitch_px=(104.0, 104.0), core_diameter_px=72.0, noise=0.01, pixel_size_um=25.0
)


def write_cores(folder: Path, channels: int) -> None:
    """Writes the cores of all arrays as a store; every array deals its cores of each label over its splits."""
    writer = StoreWriter(
        folder, channels=channels, wavenumbers_cm1=wavenumber_axis(channels),
        pixel_size_um=CONFIG.pixel_size_um, background="zero", created_by="benchmarks.slide_network",
    )  # fmt: skip
    with writer:
        for array, splits in ARRAYS.items():
            scan = simulate_array_scan(CONFIG, array, channels)
            dealt = [0, 0]
            for name, label in scan.labels.items():
                sample_id, split = f"array{array}-{name}", splits[dealt[label] % len(splits)]
                dealt[label] += 1
                rows, columns = window(scan, name)
                sample = Sample(
                    sample_id, label, split, sample_id, WINDOW_PX, WINDOW_PX, True, f"phantom array {array}"
                )
                tissue = np.ones((WINDOW_PX, WINDOW_PX), bool)
                writer.add(sample, scan.window(rows, columns), tissue, scan.tumour(rows, columns))


def window(scan: ArrayScan, name: str) -> tuple[slice, slice]:
    """Rows and columns around a core, moved into the scan where they would leave it."""
    core = scan.truth.core(name)
    centres = zip((core.y_px, core.x_px), scan.shape[:2], strict=True)
    starts = [min(max(0, round(at) - WINDOW_PX // 2), length - WINDOW_PX) for at, length in centres]
    return slice(starts[0], starts[0] + WINDOW_PX), slice(starts[1], starts[1] + WINDOW_PX)


def main() -> None:
    """Simulates, trains, evaluates; prints the scores of the test array."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--channels", type=int, default=64)
    options = parser.parse_args()
    keep_freed_memory()
    write_cores(options.out / "data", options.channels)
    config = dataclasses.replace(
        RECIPES["default"], data=options.out / "data", out=options.out / "run", epochs=options.epochs,
        network=Network(base=8, depth=1), prepare=(), checkpoint_every=options.epochs, second_view=False,
    )  # fmt: skip
    model = train(config)
    evaluate(EvaluateOptions(model=model, data=config.data, out=config.out / "report"))
    metrics = json.loads((config.out / "report" / "metrics.json").read_text())
    print(json.dumps({name: metrics[name] for name in ("auc_area", "dice_mean", "pxap", "threshold")}))


if __name__ == "__main__":
    main()
