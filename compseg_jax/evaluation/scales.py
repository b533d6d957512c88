"""Which evaluated samples have pixels of another size than the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.scale import is_other_scale

NAMES_SHOWN = 5


def with_scales(
    evaluation: Evaluation, scales: Sequence[float | None], *, to_training_scale: bool
) -> Evaluation:
    """The evaluation with the column ``scale`` and a note, where a sample's scale is not that of the training.

    Args:
      evaluation: of the samples.
      scales: edge of a pixel by that of the training images, of ``evaluation.samples``; None where unknown.
      to_training_scale: whether they were brought to the scale of the training.
    """
    others = [
        (str(row["id"]), scale)
        for row, scale in zip(evaluation.samples, scales, strict=True)
        if scale is not None and is_other_scale(scale)
    ]
    if not others:
        return evaluation
    rows = [{**row, "scale": scale} for row, scale in zip(evaluation.samples, scales, strict=True)]
    ratios = sorted({f"{scale:.3g}" for _, scale in others}, key=float)
    between = ratios[0] if len(ratios) == 1 else f"{ratios[0]} to {ratios[-1]}"
    names = ", ".join(name for name, _ in others[:NAMES_SHOWN]) + (" …" if len(others) > NAMES_SHOWN else "")
    known = sum(scale is not None for scale in scales)
    done = (
        "they were brought to it before, and their maps back to their own pixels."
        if to_training_scale
        else "the network sees structures of another size than it learnt. --to-training-scale brings them to it."
    )
    said = f"{len(others)} of {known} samples have pixels of {between} times the training's size ({names}): {done}"
    return replace(evaluation, samples=rows).with_notes([said])
