"""What networks make of the samples they did not see: threshold, cut-off of the area, and scores, out of fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from compseg_jax.evaluation.scores.sample_scores import SampleResult, SampleRow, sample_row
from compseg_jax.evaluation.scores.summary import pooled_precision, summarise_rows
from compseg_jax.evaluation.scores.threshold import ThresholdChoice, threshold_by_rule
from compseg_jax.model import Prediction
from compseg_jax.model.call_chance import validation_areas
from compseg_jax.model.level import level_of, levels_by_group
from compseg_jax.store.read import Sample, Store

NESTED_NOTE = (
    "Each sample is predicted by networks that never trained on its group; their epoch was chosen by the validation "
    "loss on its fold. A fold's threshold is chosen on the other folds."
)
N_BOOTSTRAP = 1000


@dataclass(frozen=True)
class CrossValidation:
    """Outcome of predicting every sample by the networks that held it out.

    Attributes:
      choice: the threshold, chosen on all out-of-fold maps together.
      area_cut: part of the tissue above it from which on a sample is called diseased.
      validation_areas: the areas of all samples at that threshold by label, out of fold.
      validation_levels: the levels of all groups at that threshold (`model.level`), out of fold.
      metrics: scores at thresholds chosen on the other folds; None with one fold.
      rows: one row per sample, with its fold and the threshold of its scores.
    """

    choice: ThresholdChoice
    area_cut: float
    validation_areas: dict[str, list[float]]
    validation_levels: tuple[float, ...]
    metrics: dict[str, object] | None
    rows: list[SampleRow]


@dataclass(frozen=True)
class HeldOut:
    """A sample, the fold that held it out, the mean map of that fold's networks, and their maps (m, y, x)."""

    fold: int
    result: SampleResult
    activations: Float[np.ndarray, "m y x"]

    @classmethod
    def of(
        cls,
        fold: int,
        sample: Sample,
        prediction: Prediction,
        store: Store,
        *,
        unsmoothed: np.ndarray | None = None,
    ) -> HeldOut:
        """What is needed of a prediction, and of its map before it was smoothed."""
        result = result_of(sample, prediction, store, unsmoothed=unsmoothed)
        return cls(fold, result, prediction.activations)


def result_of(
    sample: Sample, prediction: Prediction, store: Store, *, unsmoothed: np.ndarray | None = None
) -> SampleResult:
    """What can be scored of a prediction, with the store's reference mask where it holds one."""
    return SampleResult(
        id=sample.id,
        label=sample.label,
        group=sample.group,
        activation=prediction.activation,
        tissue=prediction.tissue,
        reference=store.reference(sample.id) if sample.has_reference else None,
        preview=prediction.tissue,
        unsmoothed=unsmoothed,
    )


def cross_validate(
    held_out: Sequence[HeldOut],
    *,
    rule: Literal["validation", "paper", "reference"] = "validation",
    halfway: bool = False,
    seed: int = 0,
) -> CrossValidation:
    """Chooses threshold and cut-off of the area from out-of-fold maps, and scores them.

    Args:
      held_out: every sample once.
      rule: where the threshold comes from, as in a training run.
      halfway: whether it is taken halfway to .5, as for `choose_threshold`.
      seed: of all resampling.
    """
    folds = sorted({each.fold for each in held_out})

    def chosen(some: Iterable[HeldOut]) -> ThresholdChoice:
        return threshold_by_rule(rule, [each.result for each in some], halfway=halfway, seed=seed)

    choice = chosen(held_out)
    nested = dict.fromkeys(folds, choice.threshold)
    if len(folds) > 1:
        for fold in folds:
            nested[fold] = chosen(each for each in held_out if each.fold != fold).threshold
    rows: list[SampleRow] = []
    for each in held_out:
        threshold = nested[each.fold]
        rows.append({**sample_row(each.result, threshold), "fold": each.fold, "threshold": threshold})
    areas = np.array([_area(each.result, choice.threshold) for each in held_out])
    labels = np.array([each.result.label for each in held_out])
    cut, kept = choose_area_cut(areas, labels), validation_areas(areas, labels)
    levels = _levels_by_fold(held_out, choice.threshold)
    if len(folds) == 1:
        return CrossValidation(choice, cut, kept, levels, None, rows)
    metrics = {
        "folds": len(folds),
        "threshold_by_fold": [nested[fold] for fold in folds],
        **summarise_rows(rows, seed=seed, n_bootstrap=N_BOOTSTRAP),
        "n_groups": len({row["group"] for row in rows}),
        "n_bootstrap": N_BOOTSTRAP,
        "seed": seed,
        "notes": [NESTED_NOTE],
    }
    any_reference = any(row["dice"] is not None for row in rows)
    metrics["pxap"] = pooled_precision([each.result for each in held_out])[0] if any_reference else None
    return CrossValidation(choice, cut, kept, levels, metrics, rows)


def levels_of(results: Iterable[SampleResult], threshold: float) -> tuple[float, ...]:
    """The level of each group of samples (`model.level`), of maps of one network."""
    return levels_by_group(
        (each.group, level_of(each.activation[None], each.tissue, threshold)) for each in results
    )


def _levels_by_fold(held_out: Sequence[HeldOut], threshold: float) -> tuple[float, ...]:
    """The same of all folds, about the mean of all: what networks differ by is no spread of samples.

    Another image is seen by all of the networks, and by each at its own level.
    """
    by_fold: dict[int, list[tuple[str, float]]] = {}
    for each in held_out:
        level = level_of(each.activations, each.result.tissue, threshold)
        by_fold.setdefault(each.fold, []).append((each.result.group, level))
    folds = [levels_by_group(levels) for levels in by_fold.values()]
    overall = float(np.mean([level for levels in folds for level in levels]))
    return tuple(level - float(np.mean(levels)) + overall for levels in folds for level in levels)


def _area(result: SampleResult, threshold: float) -> float:
    return float(result.predicted_mask(threshold).sum() / result.tissue.sum())


def choose_area_cut(areas: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """The area above which a sample is called diseased: greatest sum of sensitivity and specificity.

    It lies halfway between neighbouring areas; of equally good places it takes the widest gap, and the lowest of
    those. Youden 1950, 'Index for rating diagnostic tests'.

    Raises:
      ValueError: when a label is missing.
    """
    if not 0 < labels.sum() < len(labels):
        raise ValueError(f"areas of both labels are needed, found the labels {sorted(set(labels.tolist()))}.")
    levels = np.unique(areas)
    if len(levels) == 1:
        return float(levels[0])
    cuts = (levels[:-1] + levels[1:]) / 2
    called = areas[None] > cuts[:, None]
    sensitivity = np.mean(called[:, labels == 1], axis=1)
    specificity = np.mean(~called[:, labels == 0], axis=1)
    youden, gap = sensitivity + specificity, np.diff(levels)
    best = youden >= youden.max() - 1e-12
    return float(cuts[np.argmax(np.where(best, gap, -1.0))])


def choice_as_json(choice: ThresholdChoice) -> dict[str, Any]:
    """How a threshold was chosen, without the threshold."""
    return {name: value for name, value in vars(choice).items() if name != "threshold"}
