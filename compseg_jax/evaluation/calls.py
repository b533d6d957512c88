"""What each sample is called, and how often that is right: sensitivity, specificity and the confusion matrix.

The cut-off of the segmented area was chosen on validation samples (``cross_validation.choose_area_cut``) and is kept in
the model; an AUC tells how well samples can be told apart, this what somebody who uses the model gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scipy.stats import binomtest

from compseg_jax.evaluation.scores.sample_scores import SampleRow
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Model

ABSENT = "No sample is called diseased or healthy: {why}."


def with_calls(evaluation: Evaluation, model: Model) -> Evaluation:
    """The evaluation with the column ``call`` and the entry ``calls``, after ``with_departures``.

    ``calls`` holds ``area_cut``, ``sensitivity`` and ``specificity`` with their intervals, over the samples that are
    called, and ``confusion``, where those that lie outside of the training are 'undecided'. It is None where the model
    has no cut-off at the threshold in use; a note says why.

    Args:
      evaluation: of the samples.
      model: with the threshold that was used.
    """
    cut = model.area_cut_in_use
    if cut is None:
        return replace(evaluation, metrics={**evaluation.metrics, "calls": None}).with_notes(
            [ABSENT.format(why=model.without_calls)]
        )
    rows = [
        {**row, "call": model.call(float(row["area_fraction"] or 0), is_outside=bool(row.get("outside")))}
        for row in evaluation.samples
    ]
    calls = {"area_cut": cut, **_rates(rows)}
    return replace(evaluation, metrics={**evaluation.metrics, "calls": calls}, samples=rows)


def _rates(rows: Sequence[SampleRow]) -> dict[str, Any]:
    confusion = {
        name: {
            call: sum(row["label"] == label and row["call"] == call for row in rows)
            for call in ("diseased", "healthy", "undecided")
        }
        for label, name in ((1, "diseased"), (0, "healthy"))
    }
    found: dict[str, Any] = {"confusion": confusion}
    for label, (name, measure) in {
        1: ("diseased", "sensitivity"),
        0: ("healthy", "specificity"),
    }.items():
        called = [row for row in rows if row["label"] == label and row["call"] != "undecided"]
        right = sum(row["call"] == name for row in called)
        groups = len({row["group"] for row in called})
        found[measure] = right / len(called) if called else None
        found[f"{measure}_ci95"] = _interval(right / len(called), groups) if called else None
    return found


def _interval(rate: float, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927), with as many trials as there are groups."""
    found = binomtest(round(rate * trials), trials).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)
