"""What was measured of a model, as a report or the out-of-fold predictions of an ensemble say it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.config.locations import Location
from compseg_jax.evaluation.report.report_source import SOURCE_FILE, ReportSource, read_source
from compseg_jax.runtime.csv_tables import csv_rows

METRICS, SAMPLES = "metrics.json", "samples.csv"
OUT_OF_FOLD = "out of fold"

Row = Mapping[str, str]


@dataclass(frozen=True)
class Scores:
    """The figures of one set of samples.

    Attributes:
      folder: the report, or the run of an ensemble.
      split: whose samples were evaluated, or 'out of fold'; '' where an older report does not say.
      metrics: as in metrics.json; for 'out of fold' the entry ``cross_validation`` of ensemble.json.
      rows: the table of samples, as text.
      source: where model and store are; None for 'out of fold' and for older reports.
    """

    folder: Path
    split: str
    metrics: Mapping[str, Any] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)
    source: ReportSource | None

    @property
    def data(self) -> Location | None:
        """The store whose samples were evaluated, where it is known."""
        place = None if self.source is None else self.source.data
        return Path(os.path.abspath(place)) if isinstance(place, Path) else place

    @property
    def is_test(self) -> bool | None:
        """Whether the model saw none of the samples before; None where nobody knows."""
        if self.split == OUT_OF_FOLD:
            return True
        seen = self.metrics.get("seen")
        return seen["is_test"] if isinstance(seen, Mapping) else None

    @property
    def verdict(self) -> str:
        """The report's first line; '' for older reports, and for 'out of fold'."""
        found = self.metrics.get("verdict")
        return str(found["sentence"]) if isinstance(found, Mapping) else ""

    @property
    def labels_learnt(self) -> bool | None:
        """Whether the labels were learnt; None where nobody knows."""
        return self._of_verdict("labels_learnt")

    @property
    def map_usable(self) -> bool | None:
        """Whether masks or a second network speak for the map; None where it was not checked."""
        return self._of_verdict("map_usable")

    @property
    def areas(self) -> dict[str, float | None]:
        """Segmented part of the tissue, mean over the diseased and over the healthy samples."""
        means: dict[str, float | None] = {}
        for name, label in (("diseased", "1"), ("healthy", "0")):
            areas = [float(row["area_fraction"]) for row in self.rows if row["label"] == label]
            means[name] = float(np.mean(areas)) if areas else None
        return means

    def to_json(self) -> dict[str, Any]:
        """What `compseg runs --json` says of it."""
        names = ("n_diseased", "n_healthy", "auc_area", "auc_area_ci95", "dice_mean", "dice_mean_ci95")
        return {
            "report": self.folder,
            "split": self.split or None,
            "data": self.data,
            "is_test": self.is_test,
            "verdict": self.verdict or None,
            "labels_learnt": self.labels_learnt,
            "map_usable": self.map_usable,
            **{name: self.metrics.get(name) for name in names},
            **{f"area_{name}": area for name, area in self.areas.items()},
        }

    def _of_verdict(self, name: str) -> bool | None:
        found = self.metrics.get("verdict")
        return found[name] if isinstance(found, Mapping) else None


def read_report(folder: Path) -> Scores:
    """What a report says.

    Raises:
      ValueError: where the folder holds no report, or a damaged one; names the file.
    """
    path = folder / METRICS
    try:
        metrics = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder}: no {METRICS} found. Give the folder that `compseg evaluate` wrote."
        ) from error
    except ValueError as error:
        raise damaged_scores(path, error) from error
    if not isinstance(metrics, dict) or "auc_area" not in metrics:
        raise damaged_scores(path, "no auc_area in it")
    source = read_source(folder) if (folder / SOURCE_FILE).is_file() else None
    return Scores(
        folder, "" if source is None else source.split, metrics, read_rows(folder / SAMPLES), source
    )


def read_rows(path: Path) -> list[Row]:
    """A table of evaluated samples; raises ValueError where it is missing or lacks a column that each has."""
    try:
        rows: list[Row] = list(csv_rows(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise damaged_scores(path, error) from error
    for number, row in enumerate(rows, start=2):
        try:
            float(row["area_fraction"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged_scores(path, f"no area_fraction in line {number}") from error
    return rows


def damaged_scores(path: Path, what: object) -> ValueError:
    """The error for a file of a report that cannot be read."""
    return ValueError(f"{path} cannot be read ({what}). Evaluate again with `compseg evaluate`.")
