"""How many random starts converge: recipes × seeds on one simulated store, a JSON line each and a table.

python -m benchmarks.seeds --out runs/seeds [--recipes default paper2019] [--seeds 10] [--epochs 60] [--base 8]

The store is the demo's (difficulty as shipped, test spots from another array). A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from compseg_jax.config import RECIPES
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.training.run import train

CONVERGED_AUC = 0.9
COLUMNS = ("auc_area", "dice_mean", "false_positive_area_healthy", "threshold", "best_epoch", "train_seconds")


def run_seed(recipe: str, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Trains and evaluates one seed of one recipe; the numbers of its report."""
    folder = options.out / recipe / f"seed{seed}"
    config = RECIPES[recipe]
    config = dataclasses.replace(
        config,
        data=options.out / "data",
        out=folder / "train",
        seed=seed,
        epochs=options.epochs,
        network=dataclasses.replace(config.network, base=options.base),
        checkpoint_every=options.epochs,
    )
    started = time.perf_counter()
    model = train(config)
    seconds = time.perf_counter() - started
    evaluate(EvaluateOptions(model=model, data=config.data, out=folder / "report"))
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    best = json.loads((model / "model.json").read_text())["best_epoch"]["epoch"]
    values = {**metrics, "best_epoch": best, "train_seconds": round(seconds, 1)}
    return {"recipe": recipe, "seed": seed, **{name: values[name] for name in COLUMNS}}


def table(rows: list[dict[str, object]]) -> str:
    """Converged seeds, and the mean and spread of each number, by recipe."""
    lines = [
        "| recipe | converged | AUC (area) | Dice | healthy area marked | training, s |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in dict.fromkeys(str(row["recipe"]) for row in rows):
        own = [row for row in rows if row["recipe"] == recipe]

        def spread(name: str, digits: int = 3, own: list[dict[str, object]] = own) -> str:
            values = np.asarray([float(str(row[name])) for row in own])
            return f"{values.mean():.{digits}f} ({values.min():.{digits}f}–{values.max():.{digits}f})"

        converged = sum(float(str(row["auc_area"])) >= CONVERGED_AUC for row in own)
        lines.append(
            f"| `{recipe}` | {converged} of {len(own)} | {spread('auc_area')} | {spread('dice_mean')} | "
            f"{spread('false_positive_area_healthy')} | {spread('train_seconds', 0)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--recipes", nargs="+", default=["default", "paper2019"], choices=sorted(RECIPES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--base", type=int, default=8)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "data").exists():
        write_phantom(PhantomOptions(out=options.out / "data"))
    results = options.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for recipe in options.recipes:
        for seed in range(options.seeds):
            if any(row["recipe"] == recipe and row["seed"] == seed for row in rows):
                continue
            rows.append(run_seed(recipe, seed, options))
            with results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
