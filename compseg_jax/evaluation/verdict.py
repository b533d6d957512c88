"""The first line of a report: were the labels learnt, and can the map be used?

Two questions, as labels say nothing of the place: a network can tell every sample right by a map that is wrong. With
reference masks the map is held against marking everything; without them against what can be seen without: a comb, a
threshold that the labels do not determine, and a second network of another view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compseg_jax.drawing.numbers import interval, number
from compseg_jax.evaluation.scores.phases import TOLERATED
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.training_trouble import PAINTS_BACKGROUND, TROUBLE

LEAST_AGREEMENT = 0.5
"""Part of what two masks could share beyond chance from which on two networks count as agreeing on where."""
GUESSING = 0.5
GOOD_AUC = 0.8
"""An interval that reaches from guessing to here says neither that labels were learnt nor that they were not."""
GOOD_GAIN = 0.1
"""An interval of what Dice gains on marking everything that reaches from nothing to here says neither."""
NO_INTERVAL = "their AUC has no interval"
GUESSED_AT_MOST = 0.05
"""Chance by which guessing may rank all units perfectly where an AUC is to say anything."""

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a report says first.

    Attributes:
      labels_learnt: whether the interval of the AUC lies above guessing; None where one label only was evaluated, or
        too few samples or groups to tell.
      map_usable: False: something speaks against it; True: masks, or a second network, speak for it; None: unchecked,
        or too few masks to tell.
      sentence: both in words.
      warnings: what speaks against a map whose masks speak for it, in whole sentences.
    """

    labels_learnt: bool | None
    map_usable: bool | None
    sentence: str
    warnings: tuple[str, ...]


def with_verdict(evaluation: Evaluation, *, threshold_supported: bool | None) -> Evaluation:
    """The evaluation with its verdict, in front of the other metrics.

    Args:
      evaluation: all measures of it.
      threshold_supported: whether the labels of validation samples determine the threshold; None where it was given.
    """
    found = verdict(evaluation.metrics, threshold_supported=threshold_supported)
    said = vars(found) | {"warnings": list(found.warnings)}
    return replace(evaluation, metrics={"verdict": said, **evaluation.metrics})


def unchecked(metrics: Metrics) -> list[str]:
    """Why no second network says anything of the map, as a note; empty where one does."""
    second = metrics.get("second_view")
    if "ensemble" in metrics or (second and second["labels_learnt"]):
        return []
    if second:
        return ["The second network did not learn the labels, so it does not check the map."]
    return ["No second network checked the map: train with --second-view, or an ensemble (--seeds)."]


def verdict(metrics: Metrics, *, threshold_supported: bool | None) -> Verdict:
    """The verdict on metrics; arguments as of `with_verdict`."""
    learnt, labels = _labels(metrics)
    against = _against(metrics, threshold_supported)
    usable: bool | None
    if metrics.get("n_with_reference"):
        usable, said = _by_masks(metrics)
        warnings = against
    else:
        usable, said = _without_masks(metrics, learnt, against)
        warnings = against[1:]
    sentence = f"{labels}; {said}." + "".join(f" Also, {each}." for each in warnings)
    return Verdict(learnt, usable, sentence, tuple(f"{each[0].upper()}{each[1:]}." for each in warnings))


def _labels(metrics: Metrics) -> tuple[bool | None, str]:
    known = [
        (metrics[name], metrics[f"{name}_ci95"])
        for name in ("auc_area", "auc_mean_activation")
        if metrics.get(name) is not None
    ]
    if not known:
        return None, "Labels: one alone was evaluated, so nobody knows whether they were learnt"
    auc, ci = max(known, key=lambda each: each[1][0] if each[1] else each[0])
    few = _too_few(metrics) or ("" if ci else NO_INTERVAL)
    if few or ci[0] <= GUESSING <= GOOD_AUC <= ci[1]:
        said = few or f"the 95 % interval, {interval(ci)}, holds both guessing and a good result"
        return (
            None,
            f"Labels: too few {_units(metrics)[0]}: {said}; use --folds (AUC {number(auc, 2)}{_of_seen(metrics)})",
        )
    if ci[0] > GUESSING:
        return True, f"Labels: learnt (AUC {number(auc, 2)}{_of_seen(metrics)})"
    return False, f"Labels: not learnt (AUC {number(auc, 2)}, 95 % {interval(ci)}, 0.5 is guessing)"


def _too_few(metrics: Metrics) -> str:
    """Why no result could show that labels were learnt: so few units are ranked perfectly by guessing, too.

    The chance of it is 1/C(n, k) of n units, k of them diseased: the least p of the exact rank test (Wilcoxon 1945).
    """
    name, diseased, healthy = _units(metrics)
    orders = math.comb(diseased + healthy, diseased)
    if not (diseased and healthy) or orders * GUESSED_AT_MOST >= 1:
        return ""
    return f"guessing ranks {diseased} diseased and {healthy} healthy {name} perfectly once in {orders} times"


def _units(metrics: Metrics) -> tuple[str, int, int]:
    """What counts once: groups where they repeat, else samples; and how many are diseased and healthy."""
    by_group = metrics.get("by_group")
    found = by_group or metrics
    return "groups" if by_group else "samples", found.get("n_diseased", 0), found.get("n_healthy", 0)


def _of_seen(metrics: Metrics) -> str:
    """What must be said beside an AUC of samples that the model saw."""
    n = metrics.get("seen", {}).get("training", 0)
    return f", {n} of these samples were trained on" if n else ""


def _by_masks(metrics: Metrics) -> tuple[bool | None, str]:
    dice, everything, gain = (
        metrics[name] for name in ("dice_mean", "dice_predict_everything", "dice_gain_ci95")
    )
    scores = f"its Dice is {number(dice, 2)}, marking everything scores {number(everything, 2)}"
    is_better = gain[0] > 0 if gain else dice > everything  # evaluated without resampling
    if is_better:
        return True, f"map: usable, {scores}"
    if dice < everything or not gain:
        return False, f"map: not usable, {scores}"
    said = f"{scores}, and the difference may be chance (95 % interval {interval(gain)})"
    if gain[1] >= GOOD_GAIN:
        return None, f"map: too few masks to tell, {said}"
    return False, f"map: not usable, {said}"


def _without_masks(metrics: Metrics, learnt: bool | None, against: list[str]) -> tuple[bool | None, str]:
    if learnt is False:
        return False, "map: not usable"
    if against:
        return False, f"map: not usable, {against[0]}"
    where = _where(metrics)
    if where is None:
        return None, "map: not checked, there are no reference masks and no second network"
    return True, f"map: nothing speaks against it, {_who(metrics)} it (agreement {number(where, 2)})"


def _against(metrics: Metrics, threshold_supported: bool | None) -> list[str]:
    found = []
    where = _where(metrics)
    if where is not None and where < LEAST_AGREEMENT:
        who = "networks of the ensemble mark" if "ensemble" in metrics else "a second network marks"
        found.append(
            f"{who} other tissue (agreement {number(where, 2)}, where 1 is the same and 0 is chance)"
        )
    if (metrics.get("phase_spread_relative") or 0) > TOLERATED:
        found.append(
            f"it is combed: activations differ by {number(metrics['phase_spread'], 2)} with the place in a cell of "
            f"{metrics['phase_period']}×{metrics['phase_period']} pixels, which no tissue does"
        )
    if any(each["kept"] and each["word"] == PAINTS_BACKGROUND for each in metrics.get(TROUBLE) or []):
        found.append("most of its activation lies outside of the tissue, by which labels can be told, too")
    if threshold_supported is False:
        found.append("its threshold is not supported by the labels of the validation samples")
    return found


def _where(metrics: Metrics) -> float | None:
    """Agreement on where, of an ensemble's networks or with a second one that learnt the labels, too."""
    if "ensemble" in metrics:
        found: float | None = metrics["ensemble"].get("where")
        return found
    second = metrics.get("second_view")
    return second["where"] if second and second["labels_learnt"] else None


def _who(metrics: Metrics) -> str:
    return "the networks of the ensemble agree on" if "ensemble" in metrics else "a second network confirms"
