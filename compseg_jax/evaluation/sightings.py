"""Which evaluated samples the model saw before: said before every number, as none of them is a test there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Model, Sightings
from compseg_jax.model.seen import Sighting
from compseg_jax.readers.cube import Cube
from compseg_jax.store.fingerprint import content_of
from compseg_jax.store.read import Sample

OUT_OF_FOLD_NOTE = (
    "Networks of the ensemble may have trained on what others held out; scores of samples that they did not see are "
    "those of the cross-validation."
)


def sighting_of(model: Model, sample: Sample, cube: Cube) -> Sighting | None:
    """What a model saw of a sample of a store; ``cube`` is hashed where the store does not state its content."""
    content = sample.content or content_of(cube.absorbance, cube.wavenumbers_cm1)
    return model.seen.how(content, sample.id, sample.group)


def with_sightings(evaluation: Evaluation, model: Model, each: Sequence[Sighting | None]) -> Evaluation:
    """The evaluation with the column ``seen``, and the metric of that name in front of the others.

    Args:
      evaluation: of the samples.
      model: what predicted them.
      each: what the model saw of ``evaluation.samples``, in their order.
    """
    found = Sightings(tuple(each))
    rows = [{**row, "seen": seen} for row, seen in zip(evaluation.samples, found.each, strict=True)]
    said: dict[str, Any] = {**found.counts(), "is_test": found.is_test, "sentence": f"{found.in_words()}."}
    evaluation = replace(evaluation, metrics={"seen": said, **evaluation.metrics}, samples=rows)
    apart = len(model.networks) > 1 and found.n_seen and (model.description.get("folds") or 1) > 1
    return evaluation.with_notes([OUT_OF_FOLD_NOTE] if apart else [])


def title_of(store: str, split: str, each: Sequence[Sighting | None]) -> str:
    """Heading of a report: 'test samples' only where nothing of them was seen."""
    is_test = split == "test" and Sightings(tuple(each)).is_test
    return f"{store}: {'test samples' if is_test else f'samples of the split {split}'}"
