"""Images of another array, day or instrument: maps brought to the level of the training's before any is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from compseg_jax.model import Model, ModelError
from compseg_jax.model.level import FEWEST_GROUPS, UNSEEN, Match, evenly, level_of, levels_by_group
from compseg_jax.prediction.inputs import Task, sighting_of
from compseg_jax.readers.reading_options import Instructions

LARGEST_PX = 512 * 512
"""Images of more pixels are slides, predicted by tiles: they are not looked at twice."""


def match_for(
    model: Model,
    tasks: Sequence[Task],
    given: Instructions,
    trained: Instructions,
    *,
    to_training_scale: bool = False,
) -> Match:
    """Whether the maps of these images are brought to the model's level; `evaluation.matching` in words.

    Args:
      model: what predicts them.
      tasks: all images of the command.
      given: what is said of the files.
      trained: what was said of the files that the model was trained on.
      to_training_scale: as of `Model.predict_specimen`.
    """
    unseen = [task for task in tasks if not _is_known(model, task)]
    if (n := len(unseen)) < FEWEST_GROUPS:
        return Match.none(f"{n} images that the model has not seen, {FEWEST_GROUPS} are needed", n)
    levels = levels_by_group(_levels(model, evenly(unseen), given, trained, to_training_scale))
    return model.at_level_of(levels)[1]


def _is_known(model: Model, task: Task) -> bool:
    """Whether a model saw an image, where its store says so without reading it."""
    sample = task.sample
    if sample is None or not sample.content:
        return False
    return model.seen.how(sample.content, sample.id, sample.group) not in UNSEEN


def _levels(
    model: Model, tasks: Sequence[Task], given: Instructions, trained: Instructions, to_training_scale: bool
) -> Iterator[tuple[str, float]]:
    for task in tasks:
        try:
            specimen = task.opened(model.networks[0].background, given, trained).specimen
            if math.prod(specimen.shape_px) > LARGEST_PX:
                continue
            if sighting_of(model.seen, task, specimen.scan) not in UNSEEN:
                continue
            found = model.predict_specimen(specimen, to_training_scale=to_training_scale)
        except (ModelError, ValueError, OSError):
            continue  # said of this image when its turn comes
        is_outside = found.departure is not None and found.departure.is_outside
        if found.tissue.any() and not is_outside:
            group = task.id if task.sample is None else task.sample.group
            yield group, level_of(found.activations, found.tissue, model.threshold)
