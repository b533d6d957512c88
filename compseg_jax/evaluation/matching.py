"""Samples of another array, day or instrument: maps brought to the level of the training's (`model.level`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.evaluation.sightings import sighting_of
from compseg_jax.model import Model, Prediction
from compseg_jax.model.level import UNSEEN, Match, at_odds, evenly, level_of, levels_by_group
from compseg_jax.runtime.together import spread
from compseg_jax.store.read import Sample, Store


def matched(
    model: Model, store: Store, samples: Sequence[Sample], *, to_training_scale: bool = False
) -> tuple[Model, Match]:
    """The model for these samples, and whether that changes their maps and why.

    Samples that the model saw say nothing of another array, and those that lie outside of its training nothing of the
    level of what it knows; neither counts. Of many samples some are looked at, evenly spaced.

    Args:
      model: with the threshold in use.
      store: of the samples.
      samples: those that are to be predicted.
      to_training_scale: as of `Model.predict_specimen`.
    """

    def of_some(some: Sequence[Sample]) -> Iterator[tuple[str, float] | None]:
        for sample, cube, found in model.predict_store(store, some, to_training_scale=to_training_scale):
            departure = found.departure
            is_known = sighting_of(model, sample, cube) not in UNSEEN
            is_outside = departure is not None and departure.is_outside
            if not found.tissue.any() or is_outside or is_known:
                yield None
            else:
                yield sample.group, level_of(found.activations, found.tissue, model.threshold)

    levels = [each for each in spread(of_some, evenly(samples)) if each is not None]
    return model.at_level_of(levels_by_group(levels))


def dice_without(result: SampleResult, prediction: Prediction, model: Model) -> float | None:
    """Dice of a diseased sample with the maps that the model's networks gave, before they were moved.

    None of a sample without reference.
    """
    if result.label != 1 or result.reference is None or not result.reference.any():
        return None
    as_they_were = at_odds(prediction.activations, 1.0 / model.odds).mean(axis=0)
    mask = result.tissue & (as_they_were > model.threshold)
    return 2 * float((mask & result.reference).sum()) / float(mask.sum() + result.reference.sum())


def with_match(evaluation: Evaluation, match: Match, without: Sequence[float | None]) -> Evaluation:
    """The evaluation with the metric ``match``, and a note where maps were changed.

    ``match`` holds what :class:`Match` does, and ``dice_without``: mean Dice of the maps as they were.

    Args:
      evaluation: of the maps in use.
      match: whether they were changed.
      without: of each sample, `dice_without`.
    """
    known = [each for each in without if each is not None]
    dice = float(np.mean(known)) if known else None
    said: dict[str, Any] = {**asdict(match), "is_applied": match.is_applied, "dice_without": dice}
    evaluation = replace(evaluation, metrics={**evaluation.metrics, "match": said})
    if not match.is_applied:
        return evaluation
    effect = "" if dice is None else f" Without it, mean Dice is {dice:.3f}."
    return evaluation.with_notes([match.sentence + effect])
