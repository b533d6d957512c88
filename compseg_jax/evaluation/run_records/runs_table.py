"""A list of runs as a table: one line for each report, one for a run without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.drawing.numbers import UNKNOWN, number, percent
from compseg_jax.evaluation.run_records.found_runs import FoundRuns
from compseg_jax.evaluation.run_records.run_record import RunRecord
from compseg_jax.evaluation.run_records.scores_record import Scores

TITLES = (
    "run", "data", "recipe", "seed", "trained", "val AUC", "split", "labels", "map", "AUC (95 %)", "Dice",
    "area diseased", "healthy", "time",
)  # fmt: skip
_LABELS = {True: "learnt", False: "not learnt", None: "–"}
_MAP = {True: "usable", False: "not usable", None: "not checked"}


def runs_table(found: FoundRuns, below: Path) -> str:
    """The table as text, and below it what cannot be read.

    Args:
      found: the runs.
      below: the folder that they were looked for in; places are shown as seen from there.
    """
    lines = [row for run in found.runs for row in _rows(run, below)]
    told = [
        place
        for place, name in enumerate(TITLES)
        if name == "run" or any(r[place] not in ("", UNKNOWN) for r in lines)
    ]
    shown = [[row[place] for place in told] for row in (TITLES, *lines)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(told))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    if any(run.is_of_other_weights(each) for run in found.runs for each in run.scores):
        text.append("* of a network that was replaced since: evaluate again.")
    if any(not _is_test(each) for run in found.runs for each in run.scores):
        text.append("† the model saw these samples before, or does not say whether it did: no test.")
    damaged = [f"not read: {each.folder}: {each.reason}" for each in found.damaged]
    return "\n".join([*(text if lines else []), *damaged])


def _rows(run: RunRecord, below: Path) -> list[Sequence[str]]:
    config = run.config
    own = [
        shown_place(run.folder, below),
        UNKNOWN if run.data is None else shown_place(run.data, below),
        UNKNOWN if config is None else config.recipe,
        UNKNOWN if config is None else str(config.seed),
        run.state,
        number(run.best.get("val_auc"), 2),
    ]
    time = UNKNOWN if run.seconds is None else duration(run.seconds)
    if not run.scores:
        return [(*own, *([UNKNOWN] * 7), time)]
    return [
        (*(own if place == 0 else [""] * len(own)), *_score_cells(run, each), time if place == 0 else "")
        for place, each in enumerate(run.scores)
    ]


def _score_cells(run: RunRecord, scores: Scores) -> tuple[str, ...]:
    metrics, areas = scores.metrics, scores.areas
    interval = metrics.get("auc_area_ci95")
    auc = number(metrics["auc_area"], 2) + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")
    marks = ("*" if run.is_of_other_weights(scores) else "") + ("" if _is_test(scores) else "†")
    judged = bool(scores.verdict)
    return (
        (scores.split or UNKNOWN) + marks,
        _LABELS[scores.labels_learnt] if judged else UNKNOWN,
        _MAP[scores.map_usable] if judged else UNKNOWN,
        auc,
        number(metrics.get("dice_mean"), 2),
        percent(areas["diseased"]),
        percent(areas["healthy"]),
    )


def _is_test(scores: Scores) -> bool:
    return scores.is_test is True


def shown_place(place: Location, below: Path) -> str:
    """A place as seen from a folder where it lies in it, else whole."""
    if not isinstance(place, Path):
        return str(place)
    absolute, top = Path(os.path.abspath(place)), Path(os.path.abspath(below))
    if absolute.is_relative_to(top):
        return absolute.relative_to(top).as_posix() if absolute != top else top.name
    return str(place)


def duration(seconds: float) -> str:
    """A time in the two units that tell it.

    >>> duration(62.4), duration(3.2), duration(7300)
    ('1 min 02 s', '3 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
