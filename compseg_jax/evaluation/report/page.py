"""What the page of a report shows; how it shows it lies in drawing/templates/report.html.j2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from compseg_jax.drawing import document
from compseg_jax.drawing.numbers import number, percent
from compseg_jax.drawing.pictures import activation_ramp
from compseg_jax.evaluation.report import figures, importance_figure
from compseg_jax.evaluation.report import report_tables as tables
from compseg_jax.evaluation.report.tiles import FULL_SPREAD, Tile, contact_sheet
from compseg_jax.evaluation.scores.sample_scores import SampleResult, SampleRow
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model.importance import BandImportance
from compseg_jax.readers.cube import MOST_COLOURS


@dataclass(frozen=True)
class PageContent:
    """What a page shows besides the evaluated samples."""

    title: str
    model: Mapping[str, object]
    history: Sequence[Mapping[str, object]]
    wavenumbers_cm1: np.ndarray | None
    importance: BandImportance | str | None = None
    """Of the bands; why it was not computed; or None where the question makes no sense."""
    notes: Sequence[str] = ()
    """Sentences below the title, as on what was adapted in the store to suit the model."""


class _Panel(NamedTuple):
    """A figure, or the sentence that says why there is none."""

    title: str
    svg: str | None
    alt: str
    caption: str
    absent: str = ""
    wide: bool = False


class _Entry(NamedTuple):
    """A sample of the contact sheet: its row, its picture, and what stands below it."""

    row: SampleRow
    tile: Tile
    numbers: Mapping[str, str]


def report_page(results: Sequence[SampleResult], evaluation: Evaluation, content: PageContent) -> str:
    """The whole page as text."""
    threshold = float(str(evaluation.metrics["threshold"]))
    tiles = contact_sheet(results, threshold)
    sheet = [_Entry(row, tile, _numbers(row)) for row, tile in zip(evaluation.samples, tiles, strict=True)]
    return document.page(
        "report",
        title=content.title,
        notes=content.notes,
        metrics=evaluation.metrics,
        threshold=threshold,
        threshold_origin=tables.threshold_origin(content.model, threshold),
        threshold_story=tables.threshold_story(content.model, threshold),
        threshold_say=tables.threshold_say(evaluation.metrics, content.model, threshold),
        in_colours=_in_colours(results, content),
        panels=_panels(results, evaluation, content),
        measures=tables.MEASURES,
        mean_sd=tables.mean_sd,
        sheet=sorted(sheet, key=_rank),
        anchors={row["id"]: f"s{index}" for index, row in enumerate(evaluation.samples)},
        ramp=activation_ramp(),
        full_spread=FULL_SPREAD,
        samples=evaluation.samples,
        groups=evaluation.groups,
        columns=tables.columns,
        column_titles=tables.COLUMNS,
        number_columns=tables.NUMBER_COLUMNS,
        cell=tables.cell,
        model_settings=tables.flat_settings(content.model),
    )


def _panels(results: Sequence[SampleResult], evaluation: Evaluation, content: PageContent) -> list[_Panel]:
    metrics = evaluation.metrics
    area, mean = number(metrics["auc_area"]), number(metrics["auc_mean_activation"])
    panels = [
        _Panel("ROC", figures.roc_figure(evaluation),
               f"ROC curves: AUC {area} for area, {mean} for mean activation.",
               "What is found against what is called wrongly, at every cut-off on the sample score.",
               "Undefined: only one label occurs in this split."),
        _Panel("Sample scores", figures.score_figure(evaluation.samples),
               "Box and strip plots of area above the threshold and mean activation by label.",
               "One point per sample; boxes show median and quartiles."),
        _Panel("Learning curves", figures.learning_figure(content.history),
               "Training and validation loss by epoch with the best epoch marked.",
               "The network evaluated here is the one of the least validation loss.",
               "No training history came with this model."),
    ]  # fmt: skip
    # What cannot be known is left out: without masks nothing is compared, and colours are no spectrum.
    reliability = figures.reliability_figure(metrics.get("reliability"))
    if reliability is not None:
        panels.append(
            _Panel("Reliability", reliability,
                   "Part of the pixels that is diseased by their activation.",
                   "Calibrated activations lie on the dotted line; a ranking, and the threshold, need none of it.")
        )  # fmt: skip
    if not _in_colours(results, content):
        panels.append(
            _Panel("Mean spectra", figures.spectra_figure(results, content.wavenumbers_cm1),
                   "Mean spectra of diseased samples inside and outside the segmentation, and their difference.",
                   "Means over samples, bands of ± one standard deviation; below, what distinguishes the segmented"
                   " region from the rest of its own sample.", "No spectra came with these samples.", wide=True)
        )  # fmt: skip
    importance, title = content.importance, "What the network segments by"
    if isinstance(importance, str):
        panels.append(_Panel(title, None, "", "", importance, wide=True))
    elif importance is not None:
        said = importance_figure.strongest_text(importance)
        svg = importance_figure.importance_figure(importance)
        alt, caption = f"Importance of every band. {said}", f"{importance_figure.CAPTION} {said}"
        panels.append(_Panel(title, svg, alt, caption, wide=True))
    return panels


def _in_colours(results: Sequence[SampleResult], content: PageContent) -> bool:
    """Whether the samples are ordinary images."""
    spectra = [each for result in results for each in (result.spectrum_inside, result.spectrum_outside)]
    channels = [len(each) for each in spectra if each is not None]
    return content.wavenumbers_cm1 is None and bool(channels) and max(channels) <= MOST_COLOURS


def _rank(entry: _Entry) -> tuple[float, float, float]:
    """Diseased first, then by area and by mean activation, greatest first."""
    label, area, mean = (
        float(entry.row[name] or 0) for name in ("label", "area_fraction", "mean_activation")
    )
    return -label, -area, -mean


def _numbers(row: SampleRow) -> dict[str, str]:
    """What the caption of a picture says: area, overlap, and the networks' agreement where there are several."""
    said = {"area": percent(row["area_fraction"])}
    if row["dice"] is not None:
        said["Dice"] = number(row["dice"], 2)
    if row.get("area_spread") is not None:
        said["± area"] = percent(row["area_spread"])
    if row.get("label_agreement") is not None:
        said["agree"] = percent(row["label_agreement"])
    return said
