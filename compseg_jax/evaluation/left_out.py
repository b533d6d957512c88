"""What was left out of evaluated samples, and samples of which nothing is left, which cannot be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.left_out import LeftOut, in_words, total

NAMES_SHOWN = 5


@dataclass(frozen=True)
class NotScored:
    """A sample of which no pixel is left.

    Attributes:
      id: of the sample.
      why: a sentence.
    """

    id: str
    why: str


def nothing_to_score(samples: Sequence[NotScored]) -> ValueError:
    """The error for samples that are all there is."""
    return ValueError(
        f"none of the {len(samples)} samples can be scored. {samples[0].id}: {samples[0].why} Check the store with "
        "`compseg check`, or evaluate another one."
    )


def with_left_out(
    evaluation: Evaluation, each: Sequence[LeftOut], not_scored: Sequence[NotScored]
) -> Evaluation:
    """The evaluation with the columns ``left_out_px`` and ``left_out_why``, the entry ``not_scored``, and notes.

    Args:
      evaluation: of the samples that are scored.
      each: pixels left out of ``evaluation.samples`` by reason, in their order.
      not_scored: the others; ``not_scored`` lists their ids and reasons.
    """
    rows = [
        {**row, "left_out_px": total(own), "left_out_why": in_words(own) or None}
        for row, own in zip(evaluation.samples, each, strict=True)
    ]
    metrics = {**evaluation.metrics, "not_scored": [vars(sample) for sample in not_scored]}
    notes = []
    if partly := [str(row["id"]) for row in rows if row["left_out_px"]]:
        notes.append(
            f"Pixels were left out of {len(partly)} samples, which are scored by the others ({_named(partly)}): "
            "columns left_out_px and left_out_why of samples.csv."
        )
    if not_scored:
        first = not_scored[0]
        notes.append(
            f"{len(not_scored)} samples are not scored, for nothing of them is left "
            f"({_named([sample.id for sample in not_scored])}). {first.id}: {first.why}"
        )
    return replace(evaluation, metrics=metrics, samples=rows).with_notes(notes)


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMES_SHOWN]) + (" …" if len(ids) > NAMES_SHOWN else "")
