"""How well every recipe segments from sample labels: recipes × data sets × seeds, cached and resumable.

    python -m benchmarks.quality --out runs/quality [--small] [--recipes …] [--datasets …] [--seeds N] [--epochs N]
                                 [--own-rate]

All recipes get the same network size, epochs and input preparation ('auto', as `default` ships);
activation, normalisation, head and loss are their own, and so is the view of `texture`. On phantom_hard each has the
preparation it ships with, which is none for paper2019. `default` and `compsegnet` run at their own learning rate; of
the others the best of three by validation AUC counts, found with the first seed of each data set (`supervised`: its
own; with --own-rate each its own, a third of the time). A recipe whose AUC on its training samples stays under .8 has
failed to train. Selection sees validation labels alone, and the test masks only score; `supervised` alone chooses its
threshold on the validation masks. Finished cells are not repeated; `--out`/quality.json is written after each.
lgg_mri and busi_ultrasound are real images, array_… semi-real arrays (`benchmarks.semi_real`: array_tune_… for
choosing, array_report_… for reporting alone); COMPSEG_SHARED_DATA says where their data is, without it they are left
out. So are glands (`benchmarks.glands`) without COMPSEG_GLANDS.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.glands import ENVIRONMENT, folder_of_glands, write_glands
from benchmarks.semi_real import write_array
from benchmarks.semi_real_recipes import ARRAYS
from compseg_jax.config import RECIPES, Training
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.ingest.to_store import ingest
from compseg_jax.model import load_model
from compseg_jax.runtime.files import write_text
from compseg_jax.spectra.preparation import Image, fit_preparation, parse_steps
from compseg_jax.store.read import Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.progress import TrainingError
from compseg_jax.training.run import train

Row = dict[str, Any]

LEARNING_RATES = (1e-3, 3e-4, 3e-3)
OWN_RATE = ("default", "compsegnet", "supervised")
FAILED_BELOW_AUC = 0.8
EVERYTHING = "predict everything"
SMALL: dict[str, Any] = {
    "recipes": ("default", "paper2019", "cam", "lse", "supervised"),
    "datasets": ("phantom_hard", "phantom_5_percent", "lgg_mri"),
    "seeds": 2,
}
SIZE: dict[str, Any] = {"base": 8, "depth": 1}
COPIED = (
    "auc_area_ci95", "pixel_auc", "pixel_auc_pooled", "dice_sd", "recall_pooled", "precision_pooled",
    "dice_best_threshold", "dice_predict_everything", "phase_spread", "shift_equivariance",
    "diseased_fraction_error", "threshold",
)  # fmt: skip


def phantom(**changes: Any) -> Callable[[Path], None]:
    """Writes simulated spots; test spots always come from another array."""

    def write(folder: Path) -> None:
        config = PhantomConfig(**({"size": 64, "channels": 32} | changes))
        write_phantom(PhantomOptions(folder, train=80, val=20, test=40, seed=11, phantom=config))

    return write


def corrected_phantom(folder: Path) -> None:
    """The hard phantom after scatter correction fitted on its training spots."""
    raw_folder = folder.with_name(f"{folder.name}.raw")
    shutil.rmtree(raw_folder, ignore_errors=True)
    phantom(difficulty=1.5)(raw_folder)
    raw = Store.open(raw_folder)
    axis = raw.wavenumbers_cm1
    assert axis is not None

    def images(samples: Iterable[Any]) -> Iterable[Image]:
        return (Image.of(raw.read(each.id), axis, raw.tissue(each.id)) for each in samples)

    preparation = fit_preparation(parse_steps(["emsc"]), axis, lambda: images(raw.split("train")))
    writer = StoreWriter(
        folder, channels=raw.channels, wavenumbers_cm1=axis, pixel_size_um=raw.pixel_size_um,
        background="zero", created_by="benchmarks.quality", preparation=preparation.to_json(),
    )  # fmt: skip
    with writer:
        for sample, image in zip(raw.samples, images(raw.samples), strict=True):
            done = preparation(image)
            writer.add(sample, done.absorbance, done.mask, raw.reference(sample.id))
    shutil.rmtree(raw_folder)


def semi_real(name: str) -> Callable[[Path], None]:
    """Writes one of the semi-real arrays."""
    return lambda folder: write_array(folder, name)


def real_images(name: str, *steps: str) -> Callable[[Path], None]:
    """Ingests a set of labelled images, 64×64; patients stay in one split."""

    def write(folder: Path) -> None:
        source = Path(os.environ["COMPSEG_SHARED_DATA"]) / name
        options = IngestOptions(
            images=source / "images", references=source / "masks", group="patient", resize=64, prepare=steps
        )
        ingest(source / "labels.csv", folder, options)

    return write


def colon_glands(folder: Path) -> None:
    """The glands to report on, at half of their 224 pixels, which costs a quarter (`benchmarks.glands`)."""
    source = folder_of_glands()
    if source is None:
        raise ValueError(f"{ENVIRONMENT}: found nothing; required is the folder of EBHI-Seg's classes.")
    write_glands(folder, source, "reporting", resize=112)


DATASETS: dict[str, Callable[[Path], None]] = {
    "phantom_easy": phantom(difficulty=0.5),
    "phantom_hard": phantom(difficulty=1.5),
    "phantom_hard_corrected": corrected_phantom,
    "phantom_5_percent": phantom(difficulty=1.0, tumour_fraction=(0.03, 0.07)),
    "phantom_96": phantom(difficulty=1.0, channels=96),
    "phantom_450": phantom(difficulty=1.0, channels=450),
    "phantom_128_pixels": phantom(difficulty=1.0, size=128),
    **{name: semi_real(name) for name in ARRAYS},
    "lgg_mri": real_images("lgg_mri", "foreground"),
    "busi_ultrasound": real_images("busi_ultrasound"),
    "glands": colon_glands,
}
REAL = ("lgg_mri", "busi_ultrasound", *ARRAYS)


def configuration(
    recipe: str, dataset: str, seed: int, rate: float | None, options: argparse.Namespace
) -> Training:
    """A recipe at the size and with the preparation that all share; its own learning rate where None is given."""
    config = RECIPES[recipe]
    rate = config.optimiser.learning_rate if rate is None else rate
    return dataclasses.replace(
        config,
        prepare=config.prepare if dataset == "phantom_hard" else ("auto",),
        network=config.network if recipe == "texture" else dataclasses.replace(config.network, **SIZE),
        optimiser=dataclasses.replace(config.optimiser, learning_rate=rate),
        epochs=epochs_of(recipe, options),
        seed=seed,
        augment="dihedral",
        threshold="reference" if recipe == "supervised" else "validation",
        checkpoint_every=1000,
        second_view=False,
        self_check=False,
    )


def epochs_of(recipe: str, options: argparse.Namespace) -> int:
    """As asked for, or the recipe's own; the paper's 400 of base 64 are another benchmark (`benchmarks.seeds`)."""
    if options.epochs is not None:
        return options.epochs
    return 60 if recipe == "paper2019" else RECIPES[recipe].epochs


def rates_to_try(
    recipe: str, dataset: str, rows: list[Row], *, own_rate: bool = False
) -> tuple[float | None, ...]:
    """The learning rates of a cell: the recipe's own (None), all, or the one that was best with the first seed."""
    if own_rate or recipe in OWN_RATE:
        return (None,)
    first = [row for row in rows if (row["recipe"], row["dataset"], row["seed"]) == (recipe, dataset, 0)]
    found = first[0].get("learning_rate") if first else None
    return LEARNING_RATES if found is None else (found,)


def run_cell(
    recipe: str, dataset: str, seed: int, rates: tuple[float | None, ...], options: argparse.Namespace
) -> Row:
    """Trains with each learning rate, keeps the best by validation AUC, and scores it on the test split."""
    data = options.out / "data" / dataset
    tried: list[tuple[float, float, Path, float]] = []
    for given in rates:
        config = configuration(recipe, dataset, seed, given, options)
        rate = config.optimiser.learning_rate
        out = options.out / "runs" / dataset / recipe / f"seed{seed}-rate{rate:g}"
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        config = dataclasses.replace(config, data=data, out=out)
        try:
            model = train(config)
        except TrainingError as error:  # a loss that is not finite is a failed rate, not a failed benchmark
            print(f"{dataset} {recipe} seed {seed} rate {rate:g}: {error}", flush=True)
            continue
        seconds = time.perf_counter() - started
        best = json.loads((model / "model.json").read_text())["best_epoch"]
        tried.append((best["val_auc"], rate, model, seconds))
    row: Row = {"recipe": recipe, "dataset": dataset, "seed": seed, "epochs": epochs_of(recipe, options)}
    if not tried:
        return row | {"auc": None, "dice": None, "pxap": None, "failed": True, "seconds": None}
    validation_auc, rate, model, seconds = max(tried, key=lambda each: each[0])
    evaluate(EvaluateOptions(model=model, data=data, out=model.parent / "report"))
    metrics = json.loads((model.parent / "report" / "metrics.json").read_text())
    training_auc = auc_on_training_samples(model, data)
    return row | {
        "auc": metrics["auc_area"],
        "auc_mean_activation": metrics["auc_mean_activation"],
        "dice": metrics["dice_mean"],
        "pxap": metrics["pxap"],
        "false_positive_area": metrics["false_positive_area_healthy"],
        **{name: metrics[name] for name in COPIED},
        "validation_auc": validation_auc,
        "training_auc": training_auc,
        "learning_rate": rate,
        "failed": training_auc < FAILED_BELOW_AUC,
        "seconds": round(seconds, 1),
    }


def auc_on_training_samples(model: Path, data: Path) -> float:
    """The better AUC of the two sample scores on the samples the network was trained on."""
    store, network = Store.open(data), load_model(model)
    labels, scores = [], []
    for sample, _, found in network.predict_store(store, store.split("train")):
        inside = found.activation[found.tissue]
        labels.append(sample.label)
        scores.append((float(np.mean(inside > network.threshold)), float(inside.mean())))
    return max(float(roc_auc_score(labels, column)) for column in zip(*scores, strict=True))


def with_everything(rows: list[Row]) -> list[Row]:
    """The rows and, for each data set, what calling all tissue diseased scores."""
    found = {
        row["dataset"]: row["dice_predict_everything"] for row in rows if row.get("dice_predict_everything")
    }
    return rows + [
        {"recipe": EVERYTHING, "dataset": dataset, "seed": 0, "auc": 0.5, "dice": dice, "pxap": None,
         "failed": False, "seconds": 0.0}
        for dataset, dice in found.items()
    ]  # fmt: skip


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes rows as JSON, whole or not at all."""
    write_text(path, json.dumps(with_everything(rows), indent=1) + "\n")


COLUMNS = {
    "AUC": "auc",
    "Dice": "dice",
    "at the best threshold": "dice_best_threshold",
    "PxAP": "pxap",
    "AUC inside spots": "pixel_auc",
    "recall": "recall_pooled",
    "precision": "precision_pooled",
    "phase spread": "phase_spread",
    "π error": "diseased_fraction_error",
    "healthy area marked": "false_positive_area",
}
"""Columns of the table, and where they stand in a row."""


def table(rows: list[Row]) -> str:
    """Means over seeds by data set and recipe, as Markdown."""
    lines = [
        f"| data set | recipe | {' | '.join(COLUMNS)} | failed | training, s |",
        "|" + "---|" * (len(COLUMNS) + 4),
    ]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        for recipe in dict.fromkeys(row["recipe"] for row in rows):
            own = [row for row in rows if (row["dataset"], row["recipe"]) == (dataset, recipe)]
            if own:
                lines.append(_line(dataset, recipe, own))
    return "\n".join(lines)


def _line(dataset: str, recipe: str, own: list[Row]) -> str:
    def mean(name: str, digits: int = 2) -> str:
        values = [row[name] for row in own if row.get(name) is not None]
        if not values:
            return "–"
        spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 and digits else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    failed = f"{sum(row['failed'] for row in own)} of {len(own)}"
    cells = [dataset, recipe, *(mean(name) for name in COLUMNS.values()), failed, mean("seconds", 0)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Runs what is missing, writing rows and table after each cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--small", action="store_true", help="five recipes, three data sets, two seeds")
    parser.add_argument("--recipes", nargs="+", choices=sorted(RECIPES))
    parser.add_argument("--datasets", nargs="+", choices=sorted(DATASETS))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--epochs", type=int, help="the recipe's own where not given, 60 for paper2019")
    parser.add_argument("--own-rate", action="store_true", help="no search of learning rates for rivals")
    options = parser.parse_args()
    recipes = options.recipes or (SMALL["recipes"] if options.small else sorted(RECIPES))
    datasets = options.datasets or (SMALL["datasets"] if options.small else list(DATASETS))
    seeds = options.seeds or (SMALL["seeds"] if options.small else 3)
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "quality.json"
    rows: list[Row] = json.loads(results.read_text()) if results.exists() else []
    rows = [row for row in rows if row["recipe"] != EVERYTHING]
    done = {(row["recipe"], row["dataset"], row["seed"], row["epochs"]) for row in rows}
    if "COMPSEG_SHARED_DATA" not in os.environ:
        for dataset in set(datasets) & set(REAL):
            print(f"{dataset}: left out, COMPSEG_SHARED_DATA does not say where its data is", flush=True)
        datasets = [dataset for dataset in datasets if dataset not in REAL]
    if "glands" in datasets and folder_of_glands() is None:
        print(f"glands: left out, {ENVIRONMENT} does not say where the images are", flush=True)
        datasets = [dataset for dataset in datasets if dataset != "glands"]
    for dataset in datasets:
        if not (options.out / "data" / dataset).exists():
            DATASETS[dataset](options.out / "data" / dataset)
    # Seed by seed, so that a run that is stopped has compared all of them.
    for seed, dataset, recipe in itertools.product(range(seeds), datasets, recipes):
        if (recipe, dataset, seed, epochs_of(recipe, options)) in done:
            continue
        rates = rates_to_try(recipe, dataset, rows, own_rate=options.own_rate)
        rows.append(run_cell(recipe, dataset, seed, rates, options))
        write_rows(results, rows)
        print(json.dumps(rows[-1]), flush=True)
    print(table(with_everything(rows)))


if __name__ == "__main__":
    main()
