"""What a set of maps is worth beyond overlap and rank: comb, ranking inside samples, best threshold, π, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compseg_jax.evaluation.scores.metrics import MeanAndSpread, PixelHistogram
from compseg_jax.evaluation.scores.phases import PERIODS, phase_spreads
from compseg_jax.evaluation.scores.reliability import Reliability
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.threshold import best_with_references


@dataclass(frozen=True)
class MapFacts:
    """What a model says about its own maps, and an evaluation holds against them.

    Attributes:
      periods: of the cells of its poolings, in pixels.
      diseased_fraction: π, the diseased part of diseased tissue by the labels of the validation samples.
    """

    periods: tuple[int, ...] = PERIODS
    diseased_fraction: float | None = None

    @classmethod
    def of(cls, depth: int | None, diseased_fraction: float | None) -> MapFacts:
        """Facts of a network of so many poolings; a network without any is looked at as one with one."""
        if depth is None:
            return cls(diseased_fraction=diseased_fraction)
        return cls(tuple(2**level for level in range(1, max(depth, 1) + 1)), diseased_fraction)


def map_measures(results: Sequence[SampleResult], threshold: float, facts: MapFacts) -> dict[str, object]:
    """Measures of all maps together; None where there is nothing to measure them by."""
    marked = [r for r in results if r.label == 1 and r.reference is not None and r.reference.any()]
    return {
        **_comb(results, threshold, facts.periods),
        **_pooled_agreement(marked, threshold),
        "pixel_auc_pooled": _auc_inside(marked),
        **_best_threshold(marked),
        **_diseased_fraction(marked, facts.diseased_fraction),
        **_calibration(results, any_reference=bool(marked)),
    }


def _comb(results: Sequence[SampleResult], threshold: float, periods: Sequence[int]) -> dict[str, object]:
    spreads = phase_spreads(results, threshold, periods)
    if not spreads:
        return {**dict.fromkeys(("phase_spread", "phase_spread_relative", "phase_period")), "phases": {}}
    period, worst = max(spreads.items(), key=lambda each: each[1].spread)
    return {
        "phase_spread": worst.spread,
        "phase_spread_relative": max(each.relative for each in spreads.values()),
        "phase_period": period,
        "phases": {str(each): vars(spread) for each, spread in spreads.items()},
    }


def _pooled_agreement(marked: Sequence[SampleResult], threshold: float) -> dict[str, object]:
    found = predicted = actual = 0
    for result in marked:
        mask = result.predicted_mask(threshold)
        assert result.reference is not None
        found += int((mask & result.reference).sum())
        predicted += int(mask.sum())
        actual += int(result.reference.sum())
    if not marked:
        return dict.fromkeys(("precision_pooled", "recall_pooled", "dice_pooled"))
    return {
        "precision_pooled": found / predicted if predicted else 0.0,
        "recall_pooled": found / actual,
        "dice_pooled": 2 * found / (predicted + actual),
    }


def _auc_inside(marked: Sequence[SampleResult]) -> float | None:
    """AUC of the pixels of all samples that hold both kinds, together: one scale for all, unlike `pixel_auc`."""
    pixels = PixelHistogram.empty()
    for result in marked:
        assert result.reference is not None
        ranked = result.tissue | result.reference
        truth = result.reference[ranked]
        if not truth.all():
            pixels = pixels.merge(PixelHistogram.from_pixels(result.predicted_activation()[ranked], truth))
    return pixels.auc()


def _best_threshold(marked: Sequence[SampleResult]) -> dict[str, object]:
    best = best_with_references(marked)
    if best is None:
        return dict.fromkeys(("dice_best_threshold", "best_threshold"))
    threshold, dice, _ = best
    return {"dice_best_threshold": dice, "best_threshold": threshold}


def _diseased_fraction(marked: Sequence[SampleResult], estimated: float | None) -> dict[str, object]:
    parts = (float(np.mean(r.reference[r.tissue])) for r in marked if r.reference is not None)
    true = MeanAndSpread.from_values(parts).compute()[0]
    error = None if true is None or estimated is None else estimated - true
    return {
        "diseased_fraction_true": true,
        "diseased_fraction_estimated": estimated,
        "diseased_fraction_error": error,
    }


def _calibration(results: Sequence[SampleResult], *, any_reference: bool) -> dict[str, object]:
    state = Reliability.empty()
    for result in results if any_reference else ():
        truth = result.truth()
        if truth is not None:
            state = state.merge(
                Reliability.from_pixels(result.activation[result.tissue], truth[result.tissue])
            )
    return {"calibration_error": state.compute(), "reliability": state.curve()}
