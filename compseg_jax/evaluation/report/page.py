"""The HTML page of a report: one file, every picture inside, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from compseg_jax.drawing.document import card, document, section, svg_image
from compseg_jax.drawing.pictures import LARGEST_OPACITY, SEGMENTATION, activation_colour
from compseg_jax.evaluation.report import (
    ensemble_section as ensemble,
)
from compseg_jax.evaluation.report import (
    figures,
    importance_figure,
)
from compseg_jax.evaluation.report import (
    report_tables as tables,
)
from compseg_jax.evaluation.report.tiles import Tile, contact_sheet
from compseg_jax.evaluation.scores.sample_scores import SampleResult, SampleRow
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.importance import BandImportance

Panel = tuple[str, str | None, str, str, str, str]
"""Title, SVG, CSS class, description, caption, and what is said where there is no SVG."""


@dataclass(frozen=True)
class PageContent:
    """What a page shows besides the evaluated samples."""

    title: str
    model: Mapping[str, object]
    history: Sequence[Mapping[str, object]]
    wavenumbers_cm1: np.ndarray | None
    importance: BandImportance | str | None = None
    """Of the bands; why it was not computed; or None where the question makes no sense."""


def report_page(results: Sequence[SampleResult], evaluation: Evaluation, content: PageContent) -> str:
    """The whole page as text."""
    metrics, threshold = evaluation.metrics, float(str(evaluation.metrics["threshold"]))
    anchors = {str(row["id"]): f"s{index}" for index, row in enumerate(evaluation.samples)}
    sections = [
        _cards(metrics, tables.threshold_origin(content.model, threshold)),
        _threshold(content.model, threshold),
        _notes(metrics),
        section("figures", "Curves and spectra", "", _figures(results, evaluation, content)),
        section("measures", "All measures", _measures_text(metrics), tables.measures_table(metrics)),
        section("pictures", "Every sample", "", _sheet(results, evaluation, threshold, anchors)),
    ]
    sections += ensemble.sections(metrics)
    if evaluation.groups:
        text = "Means over the samples of a group, diseased and healthy apart. Click a heading to sort."
        sections.append(section("groups", "By group", text, tables.rows_table(evaluation.groups)))
    text = "Click a heading to sort, a sample to see its picture. The same numbers are in samples.csv."
    if any(row["area_low"] is not None for row in evaluation.samples):
        text += (
            " Area is the part above the threshold. “Diseased, from … to” allows for false positives, for misses and"
            " for what labels leave open about the threshold; disease that the network does not see is not in it."
        )
    sections.append(
        section("samples", "Table of samples", text, tables.rows_table(evaluation.samples, anchors))
    )
    text = "What is needed to repeat this evaluation."
    sections.append(section("settings", "Model and settings", text, tables.settings_table(content.model)))
    links = [("figures", "Curves and spectra"), ("measures", "All measures"), ("pictures", "Every sample")]
    links += ensemble.links(metrics)
    links += [("groups", "By group")] if evaluation.groups else []
    links += [("samples", "Table of samples"), ("settings", "Model and settings")]
    return document(content.title, _subtitle(metrics), links, sections)


def _subtitle(metrics: Mapping[str, object]) -> str:
    by_group = metrics["by_group"]
    groups = f" from {by_group['n_groups']} groups" if isinstance(by_group, Mapping) else ""
    total = int(str(metrics["n_diseased"])) + int(str(metrics["n_healthy"]))
    return f"{total} samples{groups}: {metrics['n_diseased']} diseased, {metrics['n_healthy']} healthy"


def _measures_text(metrics: Mapping[str, object]) -> str:
    said = f"Intervals: 95 % bootstrap over {metrics['n_bootstrap']} resamples, stratified by label. "
    said += f"Dice and the other pixel measures: {metrics['n_with_reference']} diseased samples with a mask. "
    if metrics["by_group"]:
        said += "By group: each group counts once for each label it has, whole groups are resampled,"
        said += " and PxAP is pooled inside each group, then averaged. "
    return said + "± is one standard deviation."


def _cards(metrics: Mapping[str, object], origin: str) -> str:
    ci = metrics["auc_area_ci95"]
    by_group = metrics["by_group"]
    grouped = f"<br>by group {tables.number(by_group['auc_area'])}" if isinstance(by_group, Mapping) else ""
    dice_sd = metrics["dice_sd"]
    spread = "" if dice_sd is None else f" <small>± {tables.number(dice_sd, 2)}</small>"
    everything = f"predicting everything scores {tables.number(metrics['dice_predict_everything'], 2)}"
    known = metrics["dice_mean"] is not None
    cards = (
        ("AUC of the segmented area", tables.number(metrics["auc_area"]),
         (f"95 % interval {tables.interval(ci)}" if ci else "needs samples of both labels") + grouped,
         "Chance that a diseased sample has a larger segmented part than a healthy one; 0.5 is guessing."),
        ("Dice in diseased samples", tables.number(metrics["dice_mean"], 2) + spread,
         everything if known else "no reference masks",
         "Overlap of segmentation and expert's mask, from 0 to 1 (identical); mean ± SD over samples."),
        ("Average precision of pixels", tables.number(metrics["pxap"], 2), "PxAP, all samples pooled",
         "How well the activation ranks diseased pixels above all others, at every threshold at once."),
        ("False-positive area", tables.percent(metrics["false_positive_area_healthy"]),
         "mean over healthy samples",
         "Part of healthy tissue that is segmented although nothing should be."),
        ("Threshold on the activation", tables.number(metrics["threshold"]), origin,
         "Pixels above it count as segmented. These samples had no say in it."),
    )  # fmt: skip
    body = "".join(card(*each) for each in cards)
    return f'<div class="cards">{body}</div>'


def _threshold(model: Mapping[str, object], threshold: float) -> str:
    story = escape(tables.threshold_story(model, threshold))
    return (
        f'<div class="notes plain"><h3>Where the threshold {tables.number(threshold)} comes from</h3>'
        f"<p>{story[0].upper()}{story[1:]}.</p></div>"
    )


def _notes(metrics: Mapping[str, object]) -> str:
    said = metrics["notes"]
    if not isinstance(said, list) or not said:
        return ""
    items = "".join(f"<li>{escape(str(note))}</li>" for note in said)
    return f'<div class="notes"><h3>Read before quoting</h3><ul>{items}</ul></div>'


def _figures(results: Sequence[SampleResult], evaluation: Evaluation, content: PageContent) -> str:
    metrics = evaluation.metrics
    area, mean = tables.number(metrics["auc_area"]), tables.number(metrics["auc_mean_activation"])
    roc_alt = f"ROC curves: AUC {area} for area, {mean} for mean activation."
    panels: tuple[Panel, ...] = (
        ("ROC", figures.roc_figure(evaluation), "", roc_alt,
         "What is found against what is called wrongly, at every cut-off on the sample score.",
         "Undefined: only one label occurs in this split."),
        ("Sample scores", figures.score_figure(evaluation.samples), "",
         "Box and strip plots of area above the threshold and mean activation by label.",
         "One point a sample; boxes show median and quartiles.", ""),
        ("Learning curves", figures.learning_figure(content.history), "",
         "Training and validation loss by epoch with the best epoch marked.",
         "The network evaluated here is the one of the least validation loss.",
         "No training history came with this model."),
        ("Mean spectra", figures.spectra_figure(results, content.wavenumbers_cm1), "wide",
         "Mean spectra of diseased samples inside and outside the segmentation, and their difference.",
         "Means over samples, bands of ± one standard deviation; below, what distinguishes the segmented"
         " region from the rest of its own sample.", "No spectra came with these samples."),
    )  # fmt: skip
    panels += _importance_panel(content.importance)
    body = "".join(
        f'<figure class="panel {css}"><h3>{title}</h3><figcaption>{caption if svg else absent}</figcaption>'
        f"{svg_image(svg, alt) if svg else ''}</figure>"
        for title, svg, css, alt, caption, absent in panels
    )
    return f'<div class="panels">{body}</div>'


def _importance_panel(importance: BandImportance | str | None) -> tuple[Panel, ...]:
    if importance is None:
        return ()
    title = "What the network segments by"
    if isinstance(importance, str):
        return ((title, None, "wide", "", "", escape(importance)),)
    said = importance_figure.strongest_text(importance)
    svg = importance_figure.importance_figure(importance)
    return (
        (title, svg, "wide", f"Importance of every band. {said}", f"{importance_figure.CAPTION} {said}", ""),
    )


def _sheet(
    results: Sequence[SampleResult], evaluation: Evaluation, threshold: float, anchors: Mapping[str, str]
) -> str:
    tiles = contact_sheet(results, threshold)
    entries = sorted(zip(evaluation.samples, tiles, strict=True), key=lambda entry: _rank(entry[0]))
    body = "".join(_tile(row, tile, anchors[str(row["id"])]) for row, tile in entries)
    with_spread = any(tile.spread for tile in tiles)
    return f'{_controls(threshold, with_spread=with_spread)}<div class="sheet">{body}</div>'


def _rank(row: SampleRow) -> tuple[float, float, float]:
    """Diseased first, then by area and by mean activation, greatest first."""
    label, area, mean = (float(row[name] or 0) for name in ("label", "area_fraction", "mean_activation"))
    return -label, -area, -mean


def _controls(threshold: float, *, with_spread: bool) -> str:
    """The switch between views, which is also the legend."""
    stops = []
    for step in range(9):
        red, green, blue, alpha = activation_colour(step / 8)
        stops.append(f"rgba({red},{green},{blue},{alpha / 255:.2f}) {step / 8:.1%}")
    ramp = f"background:linear-gradient(90deg,{','.join(stops)}),#8a8f94"
    fill = f"background:rgb({','.join(map(str, SEGMENTATION))});opacity:{LARGEST_OPACITY}"
    return (
        '<div class="controls"><fieldset><legend>Show</legend>'
        '<label><input type="radio" name="view" id="view-activation" checked> activation map</label>'
        '<label><input type="radio" name="view" id="view-segmentation"> segmentation'
        f'<span class="swatch" style="{fill}"></span></label>'
        f"{ensemble.SPREAD_CONTROL if with_spread else ''}"
        '<label><input type="radio" name="view" id="view-input"> sample only</label></fieldset>'
        '<label><input type="checkbox" id="show-reference" checked> reference outline'
        '<span class="line"></span></label>'
        f'<span class="key">activation 0 <span class="ramp" style="{ramp}"></span> 1</span>'
        f'<span class="key">area: part of the tissue above {threshold:.3f}</span></div>'
    )


def _tile(row: SampleRow, tile: Tile, anchor: str) -> str:
    name = escape(str(row["id"]))
    label = "diseased" if row["label"] == 1 else "healthy"
    numbers = [("area", tables.percent(row["area_fraction"]))]
    if row["dice"] is not None:
        numbers.append(("Dice", tables.number(row["dice"], 2)))
    numbers += ensemble.tile_numbers(row)
    alt = f"Sample {name}, {label}: " + ", ".join(f"{key} {value}" for key, value in numbers)
    layers = f'<img src="{tile.preview}" alt="{alt}">'
    layers += (
        f'<img class="act" src="{tile.activation}" alt=""><img class="seg" src="{tile.segmentation}" alt="">'
    )
    layers += f'<img class="spr" src="{tile.spread}" alt="">' if tile.spread else ""
    layers += f'<img class="ref" src="{tile.outline}" alt="">' if tile.outline else ""
    group = f'<span class="group">{escape(str(row["group"]))}</span>' if row["group"] != row["id"] else ""
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in numbers)
    return (
        f'<figure class="tile {label}" id="{anchor}">'
        f'<div class="layers" style="aspect-ratio:{tile.aspect:.4f}">{layers}</div><figcaption>'
        f'<span class="id">{name}</span>{group}{tables.label_chip(row["label"])}'
        f"<dl>{listed}</dl></figcaption></figure>"
    )
