"""From evaluated samples to the numbers of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from sklearn.metrics import roc_auc_score, roc_curve

from compseg_jax.evaluation.scores.auc_interval import auc_interval, too_few_groups
from compseg_jax.evaluation.scores.bootstrap import group_multiplicities, interval_95, weighted_mean
from compseg_jax.evaluation.scores.map_measures import MapFacts, map_measures
from compseg_jax.evaluation.scores.metrics import MeanAndSpread, PixelHistogram
from compseg_jax.evaluation.scores.sample_scores import (
    AGREEMENT,
    SampleResult,
    SampleRow,
    check_results,
    sample_row,
)
from compseg_jax.model.diseased_area import AreaRule

Metrics = dict[str, object]

SCORES = {"auc_area": "area_fraction", "auc_mean_activation": "mean_activation"}
"""Metric and the sample score it ranks by: the paper's relative area, and the mean activation."""


@dataclass(frozen=True)
class RocCurve:
    """One receiver operating characteristic, from (0, 0) to (1, 1)."""

    false_positive_rate: Float[np.ndarray, " n"]
    true_positive_rate: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one evaluated split."""

    metrics: Metrics
    """What metrics.json holds; a number that cannot be told is None, and `notes` says why."""
    samples: list[SampleRow]
    """Rows of samples.csv, in the order of the results."""
    groups: list[SampleRow]
    """The same by (group, label), means over the samples of each; empty where no group repeats."""
    roc: dict[str, RocCurve]
    """By metric name; empty where only one label occurs."""

    def with_notes(self, notes: Sequence[str]) -> Evaluation:
        """The same with more to say beside the numbers."""
        known = self.metrics["notes"]
        return replace(
            self, metrics={**self.metrics, "notes": [*(known if isinstance(known, list) else []), *notes]}
        )


def evaluate_samples(
    results: Sequence[SampleResult],
    *,
    threshold: float,
    seed: int = 0,
    n_bootstrap: int = 1000,
    area_rule: AreaRule | None = None,
    facts: MapFacts = MapFacts(),  # noqa: B008
) -> Evaluation:
    """Score every sample, and the set, at a threshold chosen beforehand.

    Intervals of AUCs are score intervals that count groups (`auc_interval`); those of Dice are 95 % percentile
    bootstrap intervals, stratified by label, that resample whole groups.
    `by_group` counts each (group, label) once, as the mean over its samples, since a patient may have
    diseased and healthy samples; its `pxap` is the mean of the pooled PxAP inside each group. With an
    `area_rule`, every sample's diseased part has an interval, or a note says why there is none. `facts` are what the
    model says about its maps (`map_measures`).

    Raises:
      ValueError: no samples, a duplicate id, or arrays that cannot be evaluated; names the sample.
    """
    check_results(results)
    if not 0 <= threshold < 1:
        raise ValueError(
            f"threshold is {threshold}, required 0 <= threshold < 1, on the scale of the activation."
        )
    rows = [sample_row(result, threshold, area_rule) for result in results]
    any_reference = any(row["dice"] is not None for row in rows)
    pooled, pxap_of_groups = pooled_precision(results)

    metrics = {"threshold": float(threshold), **summarise_rows(rows, seed=seed, n_bootstrap=n_bootstrap)}
    metrics["pxap"] = pooled if any_reference else None
    metrics |= map_measures(results, threshold, facts)
    n_groups = len({result.group for result in results})
    groups: list[SampleRow] = []
    if n_groups < len(results):
        groups = _group_rows(rows)
        metrics["by_group"] = {
            "n_groups": n_groups,
            **summarise_rows(groups, seed=seed, n_bootstrap=n_bootstrap),
            "pxap": MeanAndSpread.from_values(pxap_of_groups).compute()[0] if any_reference else None,
        }
    else:
        metrics["by_group"] = None
    metrics["n_bootstrap"], metrics["seed"] = n_bootstrap, seed
    said = notes(rows, metrics, n_groups=n_groups)
    told = _within_interval(results, rows)
    metrics["area_interval_coverage"] = float(np.mean(told)) if told else None
    if told:
        where = f"in {sum(told)} of {len(told)} diseased samples"
        said.append(f"The diseased part lies between area_low and area_high {where}.")
    elif area_rule is not None and area_rule.replicates is None:
        said.append(f"The diseased part of a sample has no interval: {area_rule.reason}.")
    metrics["notes"] = said
    return Evaluation(metrics, rows, groups, _roc(rows))


def _within_interval(results: Sequence[SampleResult], rows: Sequence[SampleRow]) -> list[bool]:
    """Whether the reference's part of the tissue lies in the interval, of each diseased sample that has both."""
    within = []
    for result, row in zip(results, rows, strict=True):
        low, high, reference = _number(row["area_low"]), _number(row["area_high"]), result.reference
        if (
            result.label == 1
            and reference is not None
            and reference.any()
            and low is not None
            and high is not None
        ):
            within.append(bool(low <= reference[result.tissue].mean() <= high))
    return within


def pooled_precision(results: Sequence[SampleResult]) -> tuple[float | None, list[float | None]]:
    """PxAP of all samples whose truth is known, and of each group; two states are alive at a time."""
    groups: dict[str, list[SampleResult]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    pooled, of_groups = PixelHistogram.empty(), []
    for members in groups.values():
        own = PixelHistogram.empty()
        for result in members:
            truth = result.truth()
            if truth is not None:
                pixels = PixelHistogram.from_pixels(result.predicted_activation().ravel(), truth.ravel())
                own = own.merge(pixels)
        of_groups.append(own.compute())
        pooled = pooled.merge(own)
    return pooled.compute(), of_groups


def summarise_rows(rows: Sequence[SampleRow], *, seed: int, n_bootstrap: int) -> Metrics:
    """Measures over rows, each row counted once, with 95 % intervals that know of groups (`evaluate_samples`)."""
    labels = np.array([row["label"] for row in rows], np.int64)
    groups = [str(row["group"]) for row in rows]
    weights = group_multiplicities(labels.tolist(), groups, n_bootstrap=n_bootstrap, seed=seed)
    both = 0 < labels.sum() < len(labels)
    summary: Metrics = {"n_diseased": int((labels == 1).sum()), "n_healthy": int((labels == 0).sum())}
    for metric, column in SCORES.items():
        scores = np.array([row[column] for row in rows], np.float64)
        summary[metric] = float(roc_auc_score(labels, scores)) if both else None
        summary[f"{metric}_ci95"] = auc_interval(scores, labels, groups) if both else None
    for name in AGREEMENT:
        mean, sd = MeanAndSpread.from_values(_number(row[name]) for row in rows).compute()
        if name.startswith("pixel") or name == "dice_predict_everything":
            summary[name] = mean
        else:
            summary[f"{name}_mean"], summary[f"{name}_sd"] = mean, sd
    scored = np.array([row["dice"] is not None for row in rows])
    dice = np.array([_number(row["dice"]) or 0.0 for row in rows], np.float64)
    summary["dice_mean_ci95"] = interval_95(weighted_mean(dice, weights * scored)) if scored.any() else None
    everything = np.array([_number(row["dice_predict_everything"]) or 0.0 for row in rows], np.float64)
    gain = weighted_mean(dice - everything, weights * scored)
    summary["dice_gain_ci95"] = interval_95(gain) if scored.any() else None
    summary["n_with_reference"] = int(scored.sum())
    summary["n_pixel_ranked"] = sum(row["pixel_auc"] is not None for row in rows)
    healthy = [_number(row["area_fraction"]) for row in rows if row["label"] == 0]
    summary["false_positive_area_healthy"] = MeanAndSpread.from_values(healthy).compute()[0]
    return summary


def _number(value: str | float | None) -> float | None:
    return None if value is None else float(value)


def _group_rows(rows: Sequence[SampleRow]) -> list[SampleRow]:
    members: dict[tuple[str, int], list[SampleRow]] = {}
    for row in rows:
        members.setdefault((str(row["group"]), int(row["label"] or 0)), []).append(row)
    grouped: list[SampleRow] = []
    for (group, label), own in sorted(members.items()):
        unit: SampleRow = {"group": group, "label": label, "n_samples": len(own)}
        for name in ("area_fraction", "mean_activation", *AGREEMENT):
            unit[name] = MeanAndSpread.from_values(_number(row[name]) for row in own).compute()[0]
        grouped.append(unit)
    return grouped


def _roc(rows: Sequence[SampleRow]) -> dict[str, RocCurve]:
    labels = np.array([row["label"] for row in rows], np.int64)
    if not 0 < labels.sum() < len(labels):
        return {}
    curves = {}
    for metric, column in SCORES.items():
        fpr, tpr, _ = roc_curve(labels, np.array([row[column] for row in rows], np.float64))
        curves[metric] = RocCurve(fpr, tpr)
    return curves


def notes(rows: Sequence[SampleRow], metrics: Metrics, *, n_groups: int) -> list[str]:
    """What a reader must know before quoting the numbers, in whole sentences."""
    n_diseased, n_healthy = int(str(metrics["n_diseased"])), int(str(metrics["n_healthy"]))
    said = []
    if metrics["auc_area"] is None:
        missing = "healthy" if n_healthy == 0 else "diseased"
        said.append(f"AUC is undefined: no {missing} sample in this split.")
    elif min(n_diseased, n_healthy) < 20:
        said.append(
            f"Only {n_diseased} diseased and {n_healthy} healthy samples: read the intervals, not the digits."
        )
    few = too_few_groups(
        np.array([row["label"] for row in rows], np.int64), [str(row["group"]) for row in rows]
    )
    if few and metrics["auc_area"] is not None:
        said.append(f"The AUC has no interval: {few}.")
    if n_groups < len(rows):
        said.append(f"{len(rows)} samples come from {n_groups} groups; intervals count groups.")
    diseased = [row for row in rows if row["label"] == 1]
    unmarked = sum(row["reference_pixels"] is None for row in diseased)
    empty = sum(row["reference_pixels"] == 0 for row in diseased)
    if diseased and unmarked == len(diseased):
        said.append(
            "No diseased sample has a reference mask: Dice and the other pixel measures cannot be told."
        )
    elif unmarked:
        said.append(
            f"{unmarked} of {len(diseased)} diseased samples lack a reference and enter no pixel measure."
        )
    if empty:
        said.append(
            f"{empty} diseased samples have an empty reference mask; Dice, pixel AP and AUC leave them out."
        )
    whole = sum(row["dice"] is not None and row["pixel_auc"] is None for row in diseased)
    if whole:
        said.append(
            f"In {whole} diseased samples the reference covers all tissue; pixel AP and AUC leave them out."
        )
    marked = sum(row["label"] == 0 and bool(row["reference_pixels"]) for row in rows)
    if marked:
        said.append(
            f"{marked} samples are labelled healthy although their reference marks disease: check the labels."
        )
    return said
