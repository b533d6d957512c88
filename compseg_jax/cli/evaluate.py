"""`compseg evaluate`."""

from __future__ import annotations

from pathlib import Path

from compseg_jax.cli.next_steps import next_line, predict_with, view
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.cli.processes import by_the_first
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.runtime import cache_compilations

PAGE = HelpPage(
    "evaluate",
    text="Evaluate an extracted network, or an ensemble, on a split of a store and write a report.",
    example="compseg evaluate --model runs/mine/model --data store --out report",
    groups={
        "options": ("model", "data", "out", "split", "network"),
        "measure": ("threshold", "bootstrap", "seed"),
        "page": ("importance", "title"),
    },
)


def run(arguments: list[str]) -> None:
    """Evaluates an extracted network and writes a report; of several processes the first does."""
    by_the_first(_evaluate, arguments)


def _evaluate(arguments: list[str]) -> None:
    options = parse(EvaluateOptions, arguments, PAGE)
    cache_compilations()
    with progress_bar("samples") as progress:
        page, numbers = evaluate(options, progress=progress)
    print(f"{numbers}\nreport: {page}")
    print(next_line(view(options.out), predict_with(options.model, Path("runs/predictions"))))
