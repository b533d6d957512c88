"""Numbers as text: samples.csv, the tables of the page and the lines printed at the end of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from html import escape

import numpy as np

from compseg_jax.drawing.numbers import UNKNOWN, interval, label_chip, number, percent

SampleRow = Mapping[str, str | int | float | None]

MEASURES: tuple[tuple[str, str, str | None, str], ...] = (
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
    ("False-positive area", "false_positive_area_healthy", None,
     "part of healthy tissue that is segmented though nothing should be"),
)  # fmt: skip


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


def headline(metrics: Mapping[str, object]) -> str:
    """The numbers to print at the end of a run: a few aligned lines."""
    auc_ci, dice_n = metrics.get("auc_area_ci95"), metrics.get("n_with_reference")
    lines = [
        ("samples", f"{metrics['n_diseased']} diseased, {metrics['n_healthy']} healthy"),
        ("threshold", number(metrics["threshold"])),
        ("AUC (area)", number(metrics["auc_area"]) + (f"  (95 % {interval(auc_ci)})" if auc_ci else "")),
        ("AUC (mean activation)", number(metrics["auc_mean_activation"])),
    ]
    by_group = metrics.get("by_group")
    if isinstance(by_group, Mapping):
        lines.append(
            ("AUC (area) by group", f"{number(by_group['auc_area'])}  ({by_group['n_groups']} groups)")
        )
    if dice_n:
        everything = number(metrics["dice_predict_everything"])
        lines.append(("Dice", f"{mean_sd(metrics, 'dice_mean')}  (predicting everything: {everything})"))
        lines.append(("PxAP", number(metrics["pxap"])))
    else:
        lines.append(("Dice", f"{UNKNOWN}  (no reference masks)"))
    lines.append(
        ("false-positive area", f"{percent(metrics['false_positive_area_healthy'])} of healthy tissue")
    )
    lines += _out_of_fold(metrics.get("cross_validation"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


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
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def measures_table(metrics: Mapping[str, object]) -> str:
    """All measures with meaning and interval; a second pair of columns where groups repeat."""
    by_group = metrics.get("by_group")
    grouped = isinstance(by_group, Mapping)
    pair = '<th class="n">by {}</th><th class="n">95 % interval</th>'
    head = pair.format("sample") + (pair.format("group") if grouped else "")
    body = []
    for title, key, ci, meaning in MEASURES:
        cells = ""
        for source in (metrics, by_group) if isinstance(by_group, Mapping) else (metrics,):
            cells += f'<td class="n">{mean_sd(source, key)}</td>'
            cells += f'<td class="n">{interval(source.get(ci)) if ci else UNKNOWN}</td>'
        body.append(f'<tr><th scope="row" class="measure">{title}<span>{meaning}</span></th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th>measure</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


COLUMNS = {
    "id": "sample", "group": "group", "label": "label", "n_samples": "samples", "area_fraction": "area",
    "area_low": "diseased, from", "area_high": "diseased, to",
    "mean_activation": "mean activation", "dice": "Dice", "iou": "IoU", "precision": "precision",
    "recall": "recall", "pixel_ap": "pixel AP", "pixel_auc": "pixel AUC",
    "area_spread": "± area", "label_agreement": "networks agree",
}  # fmt: skip
PERCENTAGES = frozenset({"area_fraction", "area_low", "area_high", "area_spread", "label_agreement"})
ANCHORS = Mapping[str, str]


def rows_table(rows: Sequence[SampleRow], anchors: ANCHORS | None = None) -> str:
    """A sortable table of samples or groups; `anchors` links sample ids to their pictures."""
    shown = [name for name in COLUMNS if name in rows[0]]
    same = all(row.get("group") == row.get("id") for row in rows)
    untold = all(row.get("area_low") is None for row in rows)
    left_out = (*(("group",) if same else ()), *(("area_low", "area_high") if untold else ()))
    shown = [name for name in shown if name not in left_out]
    text = {"id", "group", "label"}
    head = "".join(
        f'<th{"" if name in text else " class=n"}><button type="button">{COLUMNS[name]}</button></th>'
        for name in shown
    )
    body = "".join(f"<tr>{''.join(_cell(row, name, anchors or {}) for name in shown)}</tr>" for row in rows)
    return (
        f'<div class="scroll tall"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(row: SampleRow, name: str, anchors: ANCHORS) -> str:
    value = row[name]
    if name == "label":
        return f'<td data-v="{value}">{label_chip(value)}</td>'
    if name in ("id", "group"):
        shown = escape(str(value))
        link = anchors.get(str(value)) if name == "id" else None
        return f'<td><a href="#{link}">{shown}</a></td>' if link else f"<td>{shown}</td>"
    shown = percent(value) if name in PERCENTAGES else number(value)
    return f'<td class="n" data-v="{"" if value is None else value}">{shown}</td>'


def settings_table(model: Mapping[str, object]) -> str:
    """Every entry of a nested mapping as `outer.inner` and its value."""
    body = "".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>'
        for key, value in _flat(model, "")
    )
    return f'<div class="scroll"><table class="settings"><tbody>{body}</tbody></table></div>'


def _flat(value: object, path: str) -> list[tuple[str, str]]:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(inner, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list | tuple) and len(value) > 12:
        return [(path, f"{len(value)} values, {value[0]} … {value[-1]}")]
    if value is None or value == "" or isinstance(value, Mapping):
        return [(path, UNKNOWN)]
    return [(path, f"{value:.6g}" if isinstance(value, float) else str(value))]
