"""What came of a sweep, cell by cell and over the seeds of each variant: sweep.json, sweep.csv, sweep.html."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from compseg_jax.drawing.document import page
from compseg_jax.drawing.numbers import UNKNOWN, number, percent
from compseg_jax.evaluation.run_records.run_record import read_run_record
from compseg_jax.evaluation.run_records.scores_record import read_report
from compseg_jax.model.run_folder import CONFIG
from compseg_jax.runtime import csv_tables
from compseg_jax.runtime.files import JsonFormat, json_text, write_text
from compseg_jax.training.sweep.plan import REPORT, Cell, Plan, SweepError

MEASURES = ("auc", "dice", "area", "seconds")
SWEEP = JsonFormat(
    "compseg-sweep",
    version=1,
    absent="Run `compseg sweep` to its end.",
    again="run `compseg sweep` again",
    error=SweepError,
)


@dataclass(frozen=True)
class Row:
    """What came of a cell.

    Attributes:
      data: the store.
      recipe: variant, that is recipe and varied fields.
      seed: of the training.
      fold: which was held out, from 0; None without folds.
      status: 'finished', 'begun', 'waiting', or why it failed.
      labels_learnt: as the report's verdict says; None where it cannot, or there is no report.
      map_usable: the same of the map.
      verdict: the same in words; empty without a report.
      auc: of the area above the threshold, over the samples compared on.
      dice: mean over the diseased samples with reference masks; None without masks.
      area: mean segmented part of the tissue of diseased samples.
      seconds: that the epochs took, of all starts and networks, compilation included, evaluation not.
      run: folder of the run, relative to that of the sweep.
    """

    data: str
    recipe: str
    seed: int
    fold: int | None
    status: str
    labels_learnt: bool | None = None
    map_usable: bool | None = None
    verdict: str = ""
    auc: float | None = None
    dice: float | None = None
    area: float | None = None
    seconds: float | None = None
    run: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether there is a report."""
        return self.status == "finished"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; None of none, no spread of one."""

    mean: float | None
    sd: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Of the values that are known."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        return cls(fmean(known) if known else None, stdev(known) if len(known) > 1 else None)

    def text(self, digits: int) -> str:
        """As '0.812 ± 0.020'."""
        return number(self.mean, digits) + ("" if self.sd is None else f" ± {number(self.sd, digits)}")


@dataclass(frozen=True)
class Summary:
    """The finished cells of a variant together.

    Attributes:
      recipe: the variant.
      finished: cells with a report.
      cells: all of its cells.
      usable: finished cells whose map the verdict calls usable.
      auc, dice, area, seconds: over seeds and folds.
    """

    recipe: str
    finished: int
    cells: int
    usable: int
    auc: Spread
    dice: Spread
    area: Spread
    seconds: Spread


@dataclass(frozen=True)
class Comparison:
    """A sweep as far as it has come.

    Attributes:
      data: the store.
      split: whose samples all are compared on.
      rows: a row a cell.
    """

    data: str
    split: str
    rows: tuple[Row, ...]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """A summary a variant, in the order in which they were asked for."""
        found = []
        for name in dict.fromkeys(row.recipe for row in self.rows):
            own = [row for row in self.rows if row.recipe == name]
            done = [row for row in own if row.is_finished]
            spreads = {measure: Spread.of(getattr(row, measure) for row in done) for measure in MEASURES}
            usable = sum(row.map_usable is True for row in done)
            found.append(Summary(name, len(done), len(own), usable, **spreads))
        return tuple(found)


def compared(plan: Plan) -> Comparison:
    """What the runs of a sweep say, as far as they are finished."""
    return Comparison(plan.data, plan.split, tuple(_row(plan, cell) for cell in plan.cells))


def _row(plan: Plan, cell: Cell) -> Row:
    folder = plan.folder(cell)
    status = "begun" if folder.exists() else "waiting"
    if failure := plan.failure(cell):
        status = f"failed: {failure}"
    seconds = read_run_record(folder, ()).seconds if (folder / CONFIG).is_file() else None
    own: dict[str, Any] = {"run": folder.relative_to(plan.out).as_posix(), "seconds": seconds}
    if plan.is_finished(cell):
        scores = read_report(folder / REPORT)
        own |= {
            "labels_learnt": scores.labels_learnt,
            "map_usable": scores.map_usable,
            "verdict": scores.verdict,
            "auc": scores.metrics["auc_area"],
            "dice": scores.metrics.get("dice_mean"),
            "area": scores.areas["diseased"],
        }
        status = "finished"
    return Row(plan.data, cell.variant, cell.seed, cell.fold, status, **own)


def write_comparison(plan: Plan) -> Comparison:
    """Writes sweep.json, sweep.csv and sweep.html beside the runs.

    Another process may finish a cell meanwhile, so it is looked again after the last write.
    """
    written: Comparison | None = None
    while (found := compared(plan)) != written:
        write_text(plan.out / "sweep.json", json_text(SWEEP.stamped(_as_json(found))))
        write_text(plan.out / "sweep.csv", csv_text(found))
        write_text(plan.out / "sweep.html", html_text(found, plan.out))
        written = found
    return found


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "data": comparison.data,
        "split": comparison.split,
        "cells": [asdict(row) for row in comparison.rows],
        "recipes": [asdict(summary) for summary in comparison.summaries],
    }


def csv_text(comparison: Comparison) -> str:
    """A line a cell; the summaries are in sweep.json."""
    return csv_tables.csv_text(list(Row.__dataclass_fields__), map(asdict, comparison.rows))


def html_text(comparison: Comparison, out: Path) -> str:
    """The page, which links to the reports of the cells."""
    return page(
        "sweep",
        title=f"Sweep on {os.path.basename(comparison.data.rstrip('/'))}",
        comparison=comparison,
        summaries=[(summary, summary_cells(summary)) for summary in comparison.summaries],
        heads=SUMMARY_HEADS,
        reports={row.run: f"{row.run}/{REPORT}/report.html" for row in comparison.rows if row.is_finished},
        has_folds=any(row.fold is not None for row in comparison.rows),
        short=short_verdict,
    )


SUMMARY_HEADS = ("recipe", "finished", "usable maps", "AUC", "Dice", "area", "seconds")


def summary_cells(summary: Summary) -> tuple[str, ...]:
    """A line of the table, below `SUMMARY_HEADS`."""
    return (
        summary.recipe,
        f"{summary.finished} of {summary.cells}",
        str(summary.usable) if summary.finished else UNKNOWN,
        summary.auc.text(3),
        summary.dice.text(3),
        summary.area.text(3),
        summary.seconds.text(0),
    )


def short_verdict(row: Row) -> str:
    """The verdict in few words, or what became of a cell without one."""
    if not row.is_finished:
        return row.status
    labels = {True: "learnt", False: "not learnt", None: "labels unknown"}[row.labels_learnt]
    return f"{labels}, {_MAPS[row.map_usable]}"


_MAPS = {True: "map usable", False: "map not usable", None: "map unchecked"}


def terminal_text(comparison: Comparison) -> str:
    """Both tables as text, the summaries last, where they are read."""
    with_folds = any(row.fold is not None for row in comparison.rows)
    cells = [
        (
            row.recipe,
            str(row.seed),
            *((number(row.fold),) if with_folds else ()),
            number(row.auc),
            number(row.dice),
            percent(row.area),
            number(row.seconds, 0),
            short_verdict(row),
        )
        for row in comparison.rows
    ]
    heads = (
        "recipe",
        "seed",
        *(("fold",) if with_folds else ()),
        "AUC",
        "Dice",
        "area",
        "seconds",
        "verdict",
    )
    tables = [_aligned(heads, cells)]
    tables.append(_aligned(SUMMARY_HEADS, [summary_cells(each) for each in comparison.summaries]))
    return "\n\n".join(tables)


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
