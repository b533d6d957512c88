"""Which evaluated samples lie outside of what the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Departure, Model
from compseg_jax.model.training_distribution import UNKNOWN_DISTRIBUTION

NAMES_SHOWN = 5


def with_departures(
    evaluation: Evaluation, model: Model, departures: Sequence[Departure | None]
) -> Evaluation:
    """The evaluation with the columns ``outside``, ``t2``, ``q``, ``texture`` and ``outside_fraction``, and a note.

    Args:
      evaluation: of the samples.
      model: what predicted them.
      departures: of ``evaluation.samples``, in their order; None where too few pixels could be judged.
    """
    if not model.keeps_distribution:
        said = f"{UNKNOWN_DISTRIBUTION}."
        return replace(evaluation, metrics={**evaluation.metrics, "outside_training": None}).with_notes(
            [said[0].upper() + said[1:]]
        )
    rows = [{**row, **_columns(each)} for row, each in zip(evaluation.samples, departures, strict=True)]
    outside = [str(row["id"]) for row in rows if row["outside"]]
    judged = sum(each is not None for each in departures)
    metrics = {
        **evaluation.metrics,
        "outside_training": {"n_outside": len(outside), "n_judged": judged, "samples": outside},
    }
    notes = []
    if outside:
        named = ", ".join(outside[:NAMES_SHOWN]) + (" …" if len(outside) > NAMES_SHOWN else "")
        notes.append(
            f"{len(outside)} of {judged} samples lie outside of what the model was trained on ({named}): their maps "
            "are extrapolations, and what they are called is undecided."
        )
    if judged < len(rows):
        notes.append(
            f"{len(rows) - judged} samples have too little tissue to be held against the training samples."
        )
    return replace(evaluation, metrics=metrics, samples=rows).with_notes(notes)


def _columns(departure: Departure | None) -> dict[str, float | None]:
    if departure is None:
        return dict.fromkeys(("outside", "t2", "q", "texture", "outside_fraction"))
    return {
        "outside": departure.is_outside,
        "t2": departure.t2,
        "q": departure.q,
        "texture": departure.texture,
        "outside_fraction": departure.outside_fraction,
    }
