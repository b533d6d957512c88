"""What a linear projection of the spectra before the U-Net does to time and quality.

    python -m benchmarks.front --out runs/front [--channels 450] [--seeds 2] [--epochs 20]

Trains `default` on one simulated array (test spots from another one) without a front, and with 16 features that start
at random or at the principal components; prints one JSON line per run: median seconds of an epoch, scores of the test.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import SIZE
from compseg_jax.config import RECIPES
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import load_model
from compseg_jax.training.run import train

FRONTS: tuple[tuple[int, Any], ...] = ((0, "random"), (16, "principal_components"), (16, "random"))


def main() -> None:
    """Trains and prints what is missing in ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/front"))
    parser.add_argument("--channels", type=int, default=450)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    data = options.out / "data"
    if not data.exists():
        phantom = PhantomConfig(size=64, channels=options.channels, difficulty=1.5)
        write_phantom(PhantomOptions(data, train=80, val=20, test=40, seed=11, phantom=phantom))
    for seed, (front, start) in itertools.product(range(options.seeds), FRONTS):
        config = RECIPES["default"]
        network = dataclasses.replace(config.network, **SIZE, front=front, front_start=start)
        out = options.out / f"front{front}-{start}-seed{seed}"
        model = train(
            dataclasses.replace(config, data=data, out=out, network=network, epochs=options.epochs, seed=seed,
                                checkpoint_every=options.epochs, self_check=False, second_view=False)
        )  # fmt: skip
        evaluate(EvaluateOptions(model=model, data=data, out=out / "report"))
        metrics = json.loads((out / "report" / "metrics.json").read_text())
        history = load_model(model).description["history"]
        row = {
            "name": "front",
            "front": front,
            "start": start,
            "seed": seed,
            "channels": options.channels,
            "epoch_median_s": round(float(np.median([record["seconds"] for record in history[1:]])), 3),
            **{name: metrics[name] for name in ("auc_area", "dice_mean", "pxap")},
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
