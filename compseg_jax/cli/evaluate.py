"""`compseg evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

from compseg_jax.cli.next_steps import predict_with, print_next, view
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.cli.processes import HELP, together
from compseg_jax.cli.quiet import tell
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.runtime import cache_compilations
from compseg_jax.runtime.together import is_first

PAGE = HelpPage(
    "evaluate",
    text="Evaluate an extracted network, or an ensemble, on a split of a store and write a report.\n\n"
    + HELP,
    example="compseg evaluate --model runs/mine/model --data store --out report",
    groups={
        "options": ("model", "data", "out", "split", "match", "network", "to_training_scale"),
        "measure": ("threshold", "bootstrap", "seed"),
        "page": ("importance", "title"),
    },
)


def run(arguments: list[str]) -> None:
    """Evaluates an extracted network and writes a report, as one of several processes if there are others."""
    together(_evaluate, arguments)


def _evaluate(arguments: list[str]) -> None:
    options = parse(EvaluateOptions, arguments, PAGE)
    cache_compilations()
    with progress_bar("samples") as progress:
        page, numbers = evaluate(options, progress=progress)
    if not is_first():
        return
    tell(report=page, metrics=json.loads((options.out / "metrics.json").read_text(encoding="utf-8")))
    print(f"{numbers}\nreport: {page}")
    print_next(view(options.out), predict_with(options.model, Path("runs/predictions")))
