"""`compseg evaluate`."""

from __future__ import annotations

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.cli.processes import by_the_first
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.runtime import cache_compilations

PAGE = HelpPage(
    "evaluate",
    text="Evaluate an extracted network, or an ensemble, on a split of a store and write a report.",
    example="compseg evaluate --model runs/mine/model --data store --out report",
    groups={
        "options": ("model", "data", "out", "split"),
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
    page, numbers = evaluate(options)
    print(f"{numbers}\nreport: {page}")
