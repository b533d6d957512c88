"""`compseg runs [FOLDER]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.cli.quiet import tell
from compseg_jax.evaluation.run_records.found_runs import find_runs
from compseg_jax.evaluation.run_records.runs_table import runs_table

PAGE = HelpPage(
    "runs",
    text="List all trainings and reports in a folder and below it: data, recipe, verdict, AUC, Dice, area, time. "
    "Nothing is written. docs/runs.md explains the columns.",
    example="compseg runs runs/",
    groups={"options": ("folder",)},
    positional=("folder", "[FOLDER]"),
)


@dataclass(frozen=True)
class RunsOptions:
    """Where to look."""

    folder: Path = Path("runs")
    """Folder to look in."""


def run(arguments: list[str]) -> None:
    """Lists what lies there."""
    folder = parse(RunsOptions, arguments, PAGE).folder
    found = find_runs(folder)
    tell(
        runs=[each.to_json() for each in found.runs],
        damaged=[{"folder": each.folder, "reason": each.reason} for each in found.damaged],
    )
    if not found.runs and not found.damaged:
        raise ValueError(
            f"{folder} holds no run and no report. Train one: compseg train --data STORE --out {folder}/NAME"
        )
    print(runs_table(found, folder))
