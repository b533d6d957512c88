"""What an extracted network makes of the validation samples: smoothing of its maps, its threshold, its calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compseg_jax.config import Training
from compseg_jax.evaluation.cross_validation import choose_area_cut, levels_of, result_of
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.smoothing import choose_smoothing
from compseg_jax.evaluation.scores.threshold import ThresholdChoice, threshold_by_rule
from compseg_jax.model import ExtractedNetwork, Model
from compseg_jax.model.call_chance import VALIDATION_AREAS, validation_areas
from compseg_jax.model.level import VALIDATION_LEVELS
from compseg_jax.runtime.together import spread
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample


def map_and_calls(
    config: Training, extracted: ExtractedNetwork, cubes: PreparedStore
) -> tuple[ExtractedNetwork, ThresholdChoice, dict[str, Any]]:
    """Smoothing and threshold by the rules of the run, from maps of the validation samples where these look at them.

    With it what samples are called by: the segmented part of the tissue from which on one is called diseased, and the
    areas of these samples, and their levels; no cut-off where they support no threshold, or were not looked at.
    """
    looked_at = cubes.store.split("val") if config.threshold != "paper" else ()
    maps = results(extracted, looked_at, cubes)
    if config.smooth_maps == "validation" and maps and hasattr(extracted.network, "smoothing_px"):
        extracted = extracted.smoothed_by(_smoothing_for(maps, seed=config.seed))
        if extracted.smoothing_px:
            maps = [
                replace(after, unsmoothed=before.activation)
                for after, before in zip(results(extracted, looked_at, cubes), maps, strict=True)
            ]
    from_grafts = config.objective.target == "marks"
    choice = threshold_by_rule(config.threshold, maps, halfway=from_grafts, seed=config.seed)
    if not choice.supported or len({each.label for each in maps}) < 2:
        return extracted, choice, {"area_cut": None}
    areas = np.array([each.predicted_mask(choice.threshold).sum() / each.tissue.sum() for each in maps])
    labels = np.array([each.label for each in maps])
    return (
        extracted,
        choice,
        {
            "area_cut": choose_area_cut(areas, labels),
            VALIDATION_AREAS: validation_areas(areas, labels),
            VALIDATION_LEVELS: levels_of(maps, choice.threshold),
        },
    )


def results(
    extracted: ExtractedNetwork, samples: Iterable[Sample], cubes: PreparedStore
) -> list[SampleResult]:
    """What a network makes of samples; each process looks at its share, and all have what all found."""
    model = Model.of(extracted)

    def of_some(some: Iterable[Sample]) -> Iterator[SampleResult]:
        for sample in some:
            cube, tissue = cubes.read(sample.id)
            prediction = model.predict(cube, tissue=tissue, prepared=True)
            yield result_of(sample, prediction, cubes.store)

    return list(spread(of_some, list(samples)))


def _smoothing_for(maps: Sequence[SampleResult], *, seed: int) -> float:
    return choose_smoothing(
        [each.activation for each in maps],
        [each.tissue for each in maps],
        [each.label for each in maps],
        groups=[each.group for each in maps],
        seed=seed,
    )
