"""Numbers as text: samples.csv, the cells of the page's tables and the lines printed at the end of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import NamedTuple

import numpy as np

from compseg_jax.drawing.numbers import UNKNOWN, interval, number, percent
from compseg_jax.runtime.csv_tables import csv_text

SampleRow = Mapping[str, str | int | float | None]
SAW_ITSELF = ("training", "choice")
"""Counts of samples that a model saw themselves, not others of their groups."""


TOO_FEW = "  (no 95 % interval: too few)"


class Measure(NamedTuple):
    """A line of the table of measures: its name, the metrics that hold it and its interval, and what it means."""

    title: str
    key: str
    interval: str | None
    meaning: str


MEASURES = tuple(Measure(*each) for each in (
    ("AUC, area above threshold", "auc_area", "auc_area_ci95",
     "chance that a diseased sample has the larger segmented area; 0.5 is guessing"),
    ("AUC, mean activation", "auc_mean_activation", "auc_mean_activation_ci95",
     "the same for the mean of the activation map, no threshold involved"),
    ("Dice", "dice_mean", "dice_mean_ci95",
     "overlap of segmentation and reference in diseased samples; 1 is identity"),
    ("Dice, predict everything", "dice_predict_everything", None,
     "what calling all tissue diseased scores: the row to beat"),
    ("IoU", "iou_mean", None, "intersection over union, a stricter form of Dice"),
    ("Precision", "precision_mean", None, "part of the segmentation that the reference confirms"),
    ("Recall", "recall_mean", None, "part of the reference that is segmented"),
    ("Pixel AP", "pixel_ap", None,
     "average precision of the pixels of a diseased sample, mean over samples"),
    ("Pixel AUC", "pixel_auc", None,
     "chance that a diseased pixel is more active than another of its sample"),
    ("PxAP", "pxap", None, "average precision of all pixels of all samples together"),
    ("Pixel AUC, pooled", "pixel_auc_pooled", None,
     "the same for the pixels of all samples that hold both kinds, together"),
    ("Dice, best threshold", "dice_best_threshold", None,
     "at the one threshold that suits these masks best: an upper bound that no label can reach on purpose"),
    ("Calibration error", "calibration_error", None,
     "mean difference of the activation and the part of such pixels that is diseased"),
    ("Phase spread", "phase_spread", None,
     "how far the pixels of a cell of the poolings differ in the mean; above 0.05 the map is combed"),
    ("Shift difference", "shift_equivariance", None,
     "change of the map when the image is shifted by one pixel, as a part of the map"),
    ("False-positive area", "false_positive_area_healthy", None,
     "part of healthy tissue that is segmented though nothing should be"),
))  # fmt: skip


def mean_sd(metrics: Mapping[str, object], key: str) -> str:
    """Mean ± SD where the metric has a spread, else the mean."""
    sd = metrics.get(f"{key.removesuffix('_mean')}_sd") if key.endswith("_mean") else None
    text = percent(metrics.get(key)) if key == "false_positive_area_healthy" else number(metrics.get(key))
    return text if sd is None else f"{text} ± {number(sd)}"


def threshold_story(model: Mapping[str, object], threshold: float) -> str:
    """How the threshold came about: the model's entry `threshold` (ThresholdChoice, mapping or number)."""
    own = model.get("threshold")
    if is_dataclass(own) and not isinstance(own, type):
        own = asdict(own)
    if isinstance(own, int | float) and abs(own - threshold) < 1e-6:
        return "the threshold stored with the model"
    if not isinstance(own, Mapping):
        return "given for this evaluation"
    if abs(float(own.get("threshold", threshold)) - threshold) >= 1e-6:
        return f"given for this evaluation; the model's own is {number(own.get('threshold'))}"
    story = f"{own.get('rule', 'rule not recorded')}"
    if own.get("interval") is not None:
        story += f"; 95 % interval {interval(own['interval'])}"
    if own.get("diseased_fraction") is not None:
        story += f". By its mixture, {percent(own['diseased_fraction'])} of the tissue of diseased validation samples"
        ci = own.get("diseased_fraction_ci95")
        story += " is diseased" + (f" (95 % interval {percent(ci[0])} to {percent(ci[1])})" if ci else "")
    if own.get("supported") is False:
        story += f". Not chosen from data: {own.get('reason', 'no reason recorded')}"
    return story


def threshold_origin(model: Mapping[str, object], threshold: float) -> str:
    """The same in three words."""
    story = threshold_story(model, threshold)
    if story.startswith("given"):
        return "given for this evaluation"
    own = model.get("threshold")
    supported = own.get("supported") if isinstance(own, Mapping) else getattr(own, "supported", None)
    if supported is None:
        return "stored with the model"
    return "chosen on validation labels" if supported else "the paper's value"


def threshold_say(metrics: Mapping[str, object], model: Mapping[str, object], threshold: float) -> str:
    """What say the evaluated samples had in the threshold, as a further sentence; '' where nobody knows."""
    seen = metrics.get("seen")
    given = threshold_story(model, threshold).startswith("given")
    if not isinstance(seen, Mapping) or given or (seen["unknown"] and not seen["choice"]):
        return ""
    if seen["is_test"]:
        return " These samples had no say in it."
    had = sum(seen[role] for role in SAW_ITSELF)
    return f" {had} of these samples had a say in it, or in the network." if had else ""


def headline(metrics: Mapping[str, object]) -> str:
    """The numbers to print at the end of a run: a few aligned lines."""
    verdict, seen = metrics.get("verdict"), metrics.get("seen")
    auc_ci, dice_n = metrics.get("auc_area_ci95"), metrics.get("n_with_reference")
    auc_said = (
        f"  (95 % {interval(auc_ci)})" if auc_ci else TOO_FEW if metrics["auc_area"] is not None else ""
    )
    lines = [
        *([("seen before", seen["sentence"])] if isinstance(seen, Mapping) else []),
        *([("verdict", verdict["sentence"])] if isinstance(verdict, Mapping) else []),
        ("samples", f"{metrics['n_diseased']} diseased, {metrics['n_healthy']} healthy"),
        ("threshold", number(metrics["threshold"])),
        *_match(metrics.get("match")),
        ("AUC (area)", number(metrics["auc_area"]) + auc_said),
        ("AUC (mean activation)", number(metrics["auc_mean_activation"])),
        *_calls(metrics.get("calls")),
    ]
    by_group = metrics.get("by_group")
    if isinstance(by_group, Mapping):
        lines.append(
            ("AUC (area) by group", f"{number(by_group['auc_area'])}  ({by_group['n_groups']} groups)")
        )
    if dice_n:
        everything = number(metrics["dice_predict_everything"])
        lines.append(("Dice", f"{mean_sd(metrics, 'dice_mean')}  (predicting everything: {everything})"))
        lines.append(
            ("recall, precision", f"{number(metrics['recall_mean'])}, {number(metrics['precision_mean'])}")
        )
        lines.append(("PxAP", number(metrics["pxap"])))
    else:
        lines.append(("Dice", f"{UNKNOWN}  (no reference masks)"))
    lines.append(
        ("false-positive area", f"{percent(metrics['false_positive_area_healthy'])} of healthy tissue")
    )
    lines += _outside_training(metrics.get("outside_training"))
    lines += _out_of_fold(metrics.get("cross_validation"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def _match(match: object) -> list[tuple[str, str]]:
    """How far maps were moved; nothing where they were not."""
    if not isinstance(match, Mapping) or not match["is_applied"]:
        return []
    without = "" if match["dice_without"] is None else f"; without, Dice {number(match['dice_without'])}"
    return [("maps moved by", f"{math.log(match['odds']):+.1f}: {match['why']}{without}")]


def _calls(calls: object) -> list[tuple[str, str]]:
    """How often samples are called right; nothing of models that have no cut-off."""
    if not isinstance(calls, Mapping):
        return []
    rates = [
        f"{number(calls[name])} ({interval(calls[f'{name}_ci95'])})" if calls[name] is not None else UNKNOWN
        for name in ("sensitivity", "specificity")
    ]
    cut = percent(calls["area_cut"])
    return [("sensitivity, specificity", f"{', '.join(rates)}  (diseased: area above {cut})")]


def _outside_training(found: object) -> list[tuple[str, str]]:
    """How many samples the model was not made for; nothing of models that cannot say."""
    if not isinstance(found, Mapping):
        return []
    return [("outside of training", f"{found['n_outside']} of {found['n_judged']} samples")]


def _out_of_fold(scores: object) -> list[tuple[str, str]]:
    """What an ensemble scores on samples of its training, each predicted by networks that did not see it."""
    if not isinstance(scores, Mapping):
        return []
    known = [("AUC (area)", "auc_area", "auc_area_ci95"), ("Dice", "dice_mean", "dice_mean_ci95")]
    return [
        (f"out of fold: {title}", f"{mean_sd(scores, key)}  (95 % {interval(scores.get(ci))})")
        for title, key, ci in known
        if scores.get(key) is not None
    ]


def samples_csv(rows: Sequence[SampleRow]) -> str:
    """The rows as CSV; a value that cannot be told is an empty field."""
    return csv_text(list(rows[0]), rows)


COLUMNS = {
    "id": "sample", "group": "group", "label": "label", "n_samples": "samples", "area_fraction": "area",
    "area_low": "diseased, from", "area_high": "diseased, to",
    "mean_activation": "mean activation", "dice": "Dice", "iou": "IoU", "precision": "precision",
    "recall": "recall", "pixel_ap": "pixel AP", "pixel_auc": "pixel AUC",
    "seen": "seen by the model", "area_spread": "± area", "label_agreement": "networks agree",
    "outside": "outside of training", "t2": "T² by limit", "q": "Q by limit", "texture": "texture by limit",
    "outside_fraction": "pixels outside", "scale": "pixel by training's", "call": "called",
    "left_out_px": "pixels left out",
}  # fmt: skip
OF_MASKS = ("dice", "iou", "precision", "recall", "pixel_ap", "pixel_auc")
"""Columns that need reference masks."""
PERCENTAGES = frozenset(
    {"area_fraction", "area_low", "area_high", "area_spread", "label_agreement", "outside_fraction"}
)
NUMBER_COLUMNS = COLUMNS.keys() - {"id", "group", "label", "outside", "seen", "call"}


def columns(rows: Sequence[SampleRow]) -> list[str]:
    """The columns that a table of samples or groups shows; those that would tell nothing are left out."""
    told = {
        "group": any(row.get("group") != row.get("id") for row in rows),
        **dict.fromkeys(("area_low", "area_high"), any(row.get("area_low") is not None for row in rows)),
        "seen": any(row.get("seen") != "no" for row in rows),
        "left_out_px": any(row.get("left_out_px") for row in rows),
        **{name: any(row.get(name) is not None for row in rows) for name in ("texture", *OF_MASKS)},
    }
    return [name for name in COLUMNS if name in rows[0] and told.get(name, True)]


def cell(row: SampleRow, name: str) -> str:
    """A number of a row as text."""
    return percent(row[name]) if name in PERCENTAGES else number(row[name])


def flat_settings(value: object, path: str = "") -> list[tuple[str, str]]:
    """Every entry of a nested mapping as `outer.inner` and its value."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in flat_settings(inner, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list | tuple) and len(value) > 12:
        return [(path, f"{len(value)} values, {value[0]} … {value[-1]}")]
    if value is None or value == "" or isinstance(value, Mapping):
        return [(path, UNKNOWN)]
    return [(path, f"{value:.6g}" if isinstance(value, float) else str(value))]
