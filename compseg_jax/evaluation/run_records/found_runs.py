"""All runs and reports below a folder; one that is damaged is named and hides no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from compseg_jax.evaluation.run_records.run_record import (
    SECOND_VIEW,
    RunRecord,
    read_run_record,
    run_named_by,
)
from compseg_jax.evaluation.run_records.scores_record import METRICS, Scores, read_report
from compseg_jax.model.model_copies import DESCRIPTION, ENSEMBLE
from compseg_jax.model.model_files import MEMBERS
from compseg_jax.model.run_folder import CONFIG, GRAFTING

PARTS_OF_A_RUN = frozenset({MEMBERS, GRAFTING, SECOND_VIEW, "model", "checkpoints"})
STORE = "dataset.json"


class Damaged(NamedTuple):
    """A folder that cannot be read, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class FoundRuns:
    """What lies below a folder.

    Attributes:
      runs: in the order of their folders; a report whose run is not there is one of its own.
      damaged: those that cannot be read.
    """

    runs: tuple[RunRecord, ...]
    damaged: tuple[Damaged, ...]


def find_runs(folder: Path) -> FoundRuns:
    """Reads all runs and reports in a folder and below it.

    Reports belong to the run that they name, wherever both lie below the folder; one whose run lies elsewhere stands
    with that run, and one whose run is gone alone. Networks of an ensemble, second phases and second networks are
    parts of their run.

    Raises:
      FileNotFoundError: when there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder. Correct the path.")
    damaged: list[Damaged] = []
    of_run: dict[Path, list[Scores]] = {}
    alone: list[Path] = []
    for path in _folders(folder):
        if not (path / METRICS).is_file():
            of_run.setdefault(path, [])
            continue
        try:
            scores = read_report(path)
        except ValueError as error:
            damaged.append(Damaged(path, str(error)))
            continue
        run = _run_of(scores, folder)
        if run is None:
            alone.append(path)
        else:
            of_run.setdefault(run, []).append(scores)
    runs = []
    for path, reports in [*of_run.items(), *((path, []) for path in alone)]:
        try:
            runs.append(read_run_record(path, reports))
        except (ValueError, OSError) as error:
            damaged.append(Damaged(path, str(error)))
    return FoundRuns(tuple(sorted(runs, key=lambda run: run.folder)), tuple(sorted(damaged)))


def _folders(top: Path) -> Iterator[Path]:
    """Folders that are runs, models or reports; not what lies inside of stores, models and hidden folders."""
    for place, folders, files in os.walk(top):
        path = Path(place)
        if STORE in files:
            folders.clear()
            continue
        is_run = CONFIG in files or ENSEMBLE in files or MEMBERS in folders
        if is_run or METRICS in files or DESCRIPTION in files:
            yield path
        skipped = PARTS_OF_A_RUN if is_run else frozenset({"params"} if DESCRIPTION in files else ())
        folders[:] = sorted(name for name in folders if name not in skipped and not name.startswith("."))


def _run_of(scores: Scores, top: Path) -> Path | None:
    """The run that a report names, written as other folders below ``top`` are."""
    run, absolute = run_named_by(scores), Path(os.path.abspath(top))
    if run is None:
        return None
    place = Path(os.path.abspath(run))
    return top / place.relative_to(absolute) if place.is_relative_to(absolute) else run
