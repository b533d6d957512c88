"""Runs and reports as their commands write them, without any training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from compseg_jax.config import Training, recipe
from compseg_jax.evaluation.report import report_folder
from compseg_jax.evaluation.report.report_source import ReportSource
from compseg_jax.evaluation.scores import SampleResult, evaluate_samples
from compseg_jax.evaluation.verdict import with_verdict
from compseg_jax.model import Sightings
from compseg_jax.model.model_files import load_network, save_network
from compseg_jax.model.run_folder import write_run
from tests.model_example import write_model

EPOCHS = 3


def write_a_run(
    out: Path, data: Path, *, seed: int = 0, epochs: int = EPOCHS, model: bool = True, **changes
) -> Training:
    """A run of the default recipe that has done three epochs; without ``model`` its folder model is left alone."""
    config = replace(recipe("default"), data=data, out=out, epochs=epochs, seed=seed, **changes)
    write_run(out, config)
    log = [
        {
            "start": 0,
            "epoch": n,
            "loss": 1 / n,
            "val_loss": 0.5 / n,
            "val_auc": 0.75,
            "seconds": 2.0,
            "is_best": True,
        }
        for n in range(1, EPOCHS + 1)
    ]
    (out / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log))
    if not model:
        return config
    network = load_network(write_model(out / "model", seed=seed))
    description = {
        name: value
        for name, value in network.description.items()
        if name not in ("format", "version", "files")
    } | {
        "best_epoch": log[-1],
        "epochs_trained": EPOCHS,
        "grafting": {"begun": False},
        "history": log,
        "recipe": "default",
    }
    save_network(out / "model", replace(network, description=description), config.network)
    return config


def results(shift: float = 0.0, *, ids: str = "s", references: bool = True) -> list[SampleResult]:
    """Six samples whose activations rise by ``shift``."""
    rng, made = np.random.default_rng(1), []
    for index in range(6):
        label = index % 2
        truth = np.zeros((6, 9), np.bool_)
        truth[1 : 1 + 4 * label, 2:6] = True
        activation = np.clip(rng.normal(0.2 + 0.4 * truth, 0.15) + shift, 0, 1).astype(np.float32)
        made.append(
            SampleResult(
                id=f"{ids}{index}",
                label=label,
                group=f"{ids}{index}",
                activation=activation,
                tissue=np.ones((6, 9), np.bool_),
                reference=truth if references else None,
                preview=rng.random((6, 9)),
            )
        )
    return made


def write_a_report(
    out: Path,
    model: Path,
    data: Path,
    *,
    split: str = "test",
    sha: str | None = None,
    judged: bool = True,
    **kinds,
) -> Path:
    """A report of six samples; without ``judged`` one of an earlier release, which has no verdict."""
    made = results(**kinds)
    evaluation = evaluate_samples(made, threshold=0.35, n_bootstrap=50)
    if judged:
        evaluation = with_verdict(evaluation, threshold_supported=True)
        seen = {**Sightings(("no",) * len(made)).counts(), "is_test": True, "sentence": "None was seen."}
        evaluation = replace(evaluation, metrics={"seen": seen, **evaluation.metrics})
    report_folder.write_report(
        out,
        made,
        evaluation,
        model={"threshold": 0.35},
        history=[],
        wavenumbers_cm1=None,
        title="six",
        source=ReportSource(model, data, split, sha, "the paper's", "six"),
    )
    return out
