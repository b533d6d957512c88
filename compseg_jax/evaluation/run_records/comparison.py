"""Runs or reports held against one another: settings, figures, and differences of the same samples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from compseg_jax.evaluation.run_records.run_record import (
    RunFolderError,
    RunRecord,
    read_run_record,
    run_named_by,
)
from compseg_jax.evaluation.run_records.same_samples import SameSamples, same_samples
from compseg_jax.evaluation.run_records.scores_record import Row, Scores
from compseg_jax.evaluation.scores.bootstrap import (
    group_multiplicities,
    interval_95,
    weighted_auc,
    weighted_mean,
)

PLACES = frozenset({"out", "resume"})
"""Fields of a run that say where it lies, and nothing of what it is."""


@dataclass(frozen=True)
class Side:
    """One of those that are compared.

    Attributes:
      letter: A, B, C … as they were given.
      name: what tells its folder from those of the others.
      record: its run.
      scores: the report that is compared; None where the run has none of the split.
    """

    letter: str
    name: str
    record: RunRecord
    scores: Scores | None


@dataclass(frozen=True)
class Difference:
    """Of one measure, of the same samples: another side minus the first.

    Attributes:
      measure: its name.
      side: letter of the other one.
      first: value of the first.
      other: value of the other.
      ci95: 95 % interval of ``other − first``; None where it cannot be told.
      n: samples that it is of.
      higher: samples of which the other's value is the greater; None where the measure is one of the set.
      lower: likewise, the smaller.
    """

    measure: str
    side: str
    first: float
    other: float
    ci95: list[float] | None
    n: int
    higher: int | None = None
    lower: int | None = None

    @property
    def value(self) -> float:
        """Other − first."""
        return self.other - self.first

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"difference": self.value, **vars(self)}


@dataclass(frozen=True)
class Comparison:
    """What is shown of several runs.

    Attributes:
      sides: in the order given; the first is what others are held against.
      settings: fields that differ, with the value of each side; None where a side has no run.
      same: samples that all share; None where fewer than two sides have a report.
      differences: paired, of the shared samples.
      warnings: what must be known before any figure is read, in whole sentences.
    """

    sides: tuple[Side, ...]
    settings: dict[str, tuple[Any, ...]]
    same: SameSamples | None
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    @property
    def scored(self) -> tuple[Side, ...]:
        """The sides that have a report."""
        return tuple(side for side in self.sides if side.scores is not None)

    def to_json(self) -> dict[str, Any]:
        """What `compseg compare --json` says."""
        return {
            "warnings": self.warnings,
            "sides": [
                {
                    "letter": side.letter,
                    "name": side.name,
                    "run": side.record.folder,
                    "scores": None if side.scores is None else side.scores.to_json(),
                }
                for side in self.sides
            ],
            "settings": self.settings,
            "shared_samples": None if self.same is None else self.same.n,
            "is_one_set": None if self.same is None else self.same.is_one_set,
            "differences": [each.to_json() for each in self.differences],
        }


def compare(
    folders: Sequence[Path], *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> Comparison:
    """Holds runs or reports against the first of them.

    Differences are paired: a sample's value of one side minus its value of the other; AUCs are those of both on the
    same resamples. Intervals are 95 % percentile bootstrap intervals that resample whole groups.

    Args:
      folders: runs of `compseg train` or reports of `compseg evaluate`.
      split: of a run's reports the one that is compared; 'out of fold' for the folds of ensembles.
      n_bootstrap: resamples of an interval.
      seed: of the resampling.

    Raises:
      RunFolderError, ModelError, ValueError: where a folder cannot be read, two are the same one, or a run has several
        reports of the split.
    """
    _check(folders)
    sides = tuple(
        _side(chr(ord("A") + place), name, folder, split)
        for place, (name, folder) in enumerate(zip(_names(folders), folders, strict=True))
    )
    scored = [side for side in sides if side.scores is not None]
    same = same_samples([side.scores for side in scored if side.scores]) if len(scored) > 1 else None
    differences = [] if same is None or not same.n else _differences(scored, same, n_bootstrap, seed)
    return Comparison(
        sides, _settings(sides), same, tuple(differences), tuple(_warnings(sides, scored, same, split))
    )


def _check(folders: Sequence[Path]) -> None:
    if len(folders) < 2:
        raise RunFolderError(
            f"{len(folders)} folder is given, required two or more. Name the runs or reports."
        )
    places = [os.path.realpath(folder) for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise RunFolderError(f"{folder} is given twice. Name each run or report once.")


def _names(folders: Sequence[Path]) -> list[str]:
    """The least that tells the folders apart: what is common to all is left out in front."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    common = Path(os.path.commonpath(paths))
    if common in paths:  # one lies in another
        common = common.parent
    return [path.relative_to(common).as_posix() for path in paths]


def _side(letter: str, name: str, folder: Path, split: str) -> Side:
    record = read_run_record(folder)
    if record.kind == "report":
        (scores,) = record.scores
        run = run_named_by(scores)
        return Side(letter, name, record if run is None else read_run_record(run, [scores]), scores)
    found = [scores for scores in record.scores if scores.split == split]
    if len(found) > 1:
        reports = ", ".join(str(scores.folder) for scores in found)
        raise RunFolderError(
            f"{folder} has {len(found)} reports of the split {split!r}: {reports}. Name one of them."
        )
    return Side(letter, name, record, found[0] if found else None)


def _settings(sides: Sequence[Side]) -> dict[str, tuple[Any, ...]]:
    """Fields that are not the same on all sides that have a run, in the order of the configuration."""
    each = [side.record.settings() for side in sides]
    fields = dict.fromkeys(name for settings in each for name in settings if name not in PLACES)
    values = {name: tuple(settings.get(name) for settings in each) for name in fields}
    known = [place for place, settings in enumerate(each) if settings]
    return {name: found for name, found in values.items() if len({repr(found[place]) for place in known}) > 1}


def _warnings(
    sides: Sequence[Side], scored: Sequence[Side], same: SameSamples | None, split: str
) -> list[str]:
    """What must be known first; of several sides with the same to say, once."""
    said: dict[str, list[str]] = {}
    for side in sides:
        for warning in _warnings_of(side, split):
            said.setdefault(warning, []).append(side.letter)
    unlike = [same.warning([side.letter for side in scored])] if same and not same.is_one_set else []
    return [*unlike, *(f"{', '.join(letters)}: {warning}" for warning, letters in said.items())]


def _warnings_of(side: Side, split: str) -> Iterator[str]:
    scores = side.scores
    if scores is None:
        yield f"no report of the split {split!r}, so figures are missing. Evaluate the run, or name its report."
        return
    if scores.is_test is not True:
        seen = scores.metrics.get("seen")
        why = (
            seen["sentence"] if seen else "the report does not say whether the model saw the samples before."
        )
        yield f"{'no' if seen else 'perhaps no'} test: {why}"
    if side.record.is_of_other_weights(scores):
        yield "the report is of a network that was replaced since. Evaluate it again."


ROW_MEASURES = (
    ("area, diseased", "area_fraction", "1"),
    ("area, healthy", "area_fraction", "0"),
    ("mean activation, diseased", "mean_activation", "1"),
    ("mean activation, healthy", "mean_activation", "0"),
    ("Dice", "dice", "1"),
    ("recall", "recall", "1"),
    ("precision", "precision", "1"),
    ("pixel AUC", "pixel_auc", "1"),
)
"""Measures of a sample: name, column of samples.csv, label of the samples."""
SET_MEASURES = (("AUC, area", "area_fraction"), ("AUC, mean activation", "mean_activation"))


def _differences(scored: Sequence[Side], same: SameSamples, n_bootstrap: int, seed: int) -> list[Difference]:
    first = same.rows[0]
    labels = np.array([int(row["label"]) for row in first])
    weights = group_multiplicities(
        labels.tolist(), [row["group"] for row in first], n_bootstrap=n_bootstrap, seed=seed
    )
    found: list[Difference] = []
    for side, rows in zip(scored[1:], same.rows[1:], strict=True):
        if len(set(labels.tolist())) == 2:
            found += [
                _of_auc(name, side.letter, (first, rows), column, labels, weights)
                for name, column in SET_MEASURES
            ]
        for name, column, label in ROW_MEASURES:
            pairs = [
                place
                for place, both in enumerate(zip(first, rows, strict=True))
                if all(row["label"] == label and row.get(column) for row in both)
            ]
            if pairs:
                found.append(_of_rows(name, side.letter, (first, rows), column, pairs, weights))
    return found


Pair = tuple[Sequence[Row], Sequence[Row]]


def _of_auc(
    name: str,
    letter: str,
    pair: Pair,
    column: str,
    labels: Int[np.ndarray, " n"],
    weights: Int[np.ndarray, "b n"],
) -> Difference:
    once = np.ones((1, len(labels)), np.int64)
    scores = [np.array([float(row[column]) for row in rows]) for rows in pair]
    first, other = (float(weighted_auc(each, labels, once)[0]) for each in scores)
    replicates = weighted_auc(scores[1], labels, weights) - weighted_auc(scores[0], labels, weights)
    return Difference(name, letter, first, other, interval_95(replicates), len(labels))


def _of_rows(
    name: str, letter: str, pair: Pair, column: str, places: Sequence[int], weights: Int[np.ndarray, "b n"]
) -> Difference:
    first, other = (np.array([float(rows[place][column]) for place in places]) for rows in pair)
    change = other - first
    interval = interval_95(weighted_mean(change, weights[:, places])) if len(places) > 1 else None
    higher, lower = int((change > 0).sum()), int((change < 0).sum())
    return Difference(
        name, letter, float(first.mean()), float(other.mean()), interval, len(places), higher, lower
    )
