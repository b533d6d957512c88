"""What the page says in words, laid out by drawing/templates/viewer_texts.html.j2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compseg_jax.drawing import document
from compseg_jax.model import Sightings
from compseg_jax.model.seen import Sighting
from compseg_jax.viewer.source import ListedSample, SampleView
from compseg_jax.viewer.threshold_counts import SpectraByThreshold, ThresholdCounts
from compseg_jax.viewer.widgets import LABELS, UNKNOWN, decimal


@dataclass(frozen=True)
class Pixel:
    """The chosen pixel.

    Attributes:
      place: row and column.
      activation: None in the background.
      factor: of the image that its spectrum is from.
      values: of its first channels, as stored.
    """

    place: tuple[int, int]
    activation: float | None
    factor: float
    values: tuple[float, ...] = ()


SAME_THRESHOLD = 5e-7
SEEN_IN_WORDS: dict[Sighting | None, str] = {
    "training": "the model was TRAINED ON it",
    "choice": "it CHOSE epoch and threshold of the model",
    "training group": "the model was TRAINED ON others of its group",
    "choice group": "others of its group CHOSE epoch and threshold of the model",
}


def is_own(threshold: float, own: float) -> bool:
    """Whether the slider stands at the chosen threshold."""
    return abs(threshold - own) < SAME_THRESHOLD


def heading_text(view: SampleView) -> str:
    """Name, label and extent of a sample."""
    height, width = view.shape_px
    extent = [f"{width} × {height} px"]
    if view.pixel_size_um is not None:
        size = view.pixel_size_um
        extent.append(_extent(width * size, height * size))
    if view.channels:
        extent.append(f"{view.channels} channels")
    label = "" if view.row.label is None else f", labelled {LABELS[view.row.label]}"
    score = "" if view.row.score is None else f", score {view.row.score:.3f}"
    outside = "; OUTSIDE of what the model was trained on: undecided" if view.row.outside else ""
    seen = f"; {SEEN_IN_WORDS[view.row.seen]}: no test" if view.row.seen in SEEN_IN_WORDS else ""
    return _part("sample", view.row.id, label + score + outside + seen, ", ".join(extent))


def waiting_text(sample_id: str) -> str:
    """While a sample is read or predicted."""
    return _part("sample", sample_id, "", "reading …")


def failure_text(sample_id: str, failure: str) -> str:
    """Why there is nothing to show."""
    return _part("failure", sample_id, failure)


def opacity_text(opacity: float) -> str:
    """How much of the overlay is seen."""
    return _part("note", f"Opacity {100 * opacity:.0f} %")


def threshold_text(threshold: float, own: float) -> str:
    """The threshold as it stands."""
    said = "the chosen one" if is_own(threshold, own) else f"moved; the chosen one is {own:.3f}"
    return _part("label", "Threshold on the activation", f"{threshold:.3f}", said)


def story_text(story: str, own: float) -> str:
    """Where the model's threshold comes from."""
    return _part("note", f"Chosen threshold {own:.3f}: {story.removesuffix('.')}.")


def seen_text(samples: Sequence[ListedSample]) -> str:
    """How many of the samples the model saw before."""
    return _part("note", f"Seen before: {Sightings(tuple(each.seen for each in samples)).in_words()}.")


def area_text(view: SampleView, counts: ThresholdCounts, threshold: float, own: float) -> str:
    """Segmented area and the interval of the diseased part."""
    area = counts.area_fraction(threshold)
    if area is None:
        return _part("card", "Segmented area", UNKNOWN, "", "no tissue in this sample")
    said = "has an activation above the threshold."
    row = view.row
    if counts.factor > 1.01:
        said += (
            f" Counted on means of {counts.factor:.0f}×{counts.factor:.0f} pixels; the exact number follows."
        )
    elif row.area_low is not None and row.area_high is not None and is_own(threshold, own):
        low, high = 100 * row.area_low, 100 * row.area_high
        said += f" Diseased part, with misses and false pixels allowed for: {low:.0f}–{high:.0f} %."
    elif view.pixel_size_um is not None:
        said += f" {_area(area * counts.tissue_px * view.pixel_size_um**2)}."
    return _part("card", "Segmented area", f"{100 * area:.1f} %", "of tissue", said)


def dice_text(view: SampleView, counts: ThresholdCounts, threshold: float) -> str:
    """Overlap with the reference mask."""
    dice = counts.dice(threshold)
    said = "overlap with the reference outline: 0 none, 1 identical."
    if dice is None:
        nothing = view.reference is None
        said = "no reference mask to compare with." if nothing else "the reference marks nothing."
    return _part("card", "Dice", decimal(dice, 3), "", said)


def band_text(view: SampleView, channel: int) -> str:
    """Which channel the picture shows."""
    if not view.channels:
        return _part("note", "No band to show: the cube cannot be read any more and has no overview.")
    if view.in_colours:
        return _part("label", "Picture:", "in its own colours", "")
    which = f"channel {channel + 1} of {view.channels}"
    if view.wavenumbers_cm1 is None:
        return _part("label", "Picture:", which, "")
    return _part("label", "Band", f"{view.wavenumbers_cm1[channel]:.0f} cm⁻¹", which)


def spectra_text(
    view: SampleView,
    means: SpectraByThreshold | None,
    threshold: float,
    pixel: Pixel | None,
) -> str:
    """The key of the three curves, and what they are averaged over."""
    if not view.channels:
        return _part("note", f"No spectra: {view.spectra_note}, and there is no overview.")
    keys = {}
    if view.in_colours:
        if pixel is None:
            return _part("note", f"Colours {view.spectra_note}. Click the picture for the values of a pixel.")
        value = "background" if pixel.activation is None else f"activation {pixel.activation:.3f}"
        names = ("red", "green", "blue")
        values = ", ".join(f"{name} {number:g}" for name, number in zip(names, pixel.values, strict=False))
        return _part("note", f"Row {pixel.place[0]}, column {pixel.place[1]}: {value}; {values}.")
    if means is not None:
        keys["inside"] = f"mean inside ({means.n_inside(threshold):,} px)"
        keys["outside"] = f"mean outside ({means.n_outside(threshold):,} px)"
    if pixel is not None:
        value = "background" if pixel.activation is None else f"activation {pixel.activation:.3f}"
        keys["pixel"] = f"row {pixel.place[0]}, column {pixel.place[1]}: {value}"
    said = f"Spectra {view.spectra_note}."
    if view.spectra is None:
        said = f"Spectra of the overview: {view.spectra_note}."
    if means is not None and means.factor > 1.01:
        said += f" Means over the overview, blocks of {means.factor:.0f}×{means.factor:.0f} pixels."
    if pixel is not None and pixel.factor > 1.01:
        said += f" The chosen one is the mean of {pixel.factor:.0f}×{pixel.factor:.0f} pixels."
    if pixel is None:
        said += " Click the picture for the spectrum of a pixel, the curves for another band."
    return _part("curves", keys, said)


def position_text(index: int, n: int, own: float) -> str:
    """Where in the list."""
    return _part("position", f"{index + 1} of {n} · areas at {own:.3f}")


def _part(macro: str, *values: object) -> str:
    return document.part("viewer_texts", macro, *values)


def _extent(width_um: float, height_um: float) -> str:
    if max(width_um, height_um) >= 1000:
        return f"{width_um / 1000:.2f} × {height_um / 1000:.2f} mm"
    return f"{width_um:.0f} × {height_um:.0f} µm"


def _area(area_um2: float) -> str:
    return f"{area_um2 / 1e6:.2f} mm²" if area_um2 >= 1e5 else f"{area_um2:,.0f} µm²"


def band_limits(band: np.ndarray, tissue: np.ndarray | None) -> tuple[float, float]:
    """Values that are drawn black and white: the 1st and 99th percentile of the tissue."""
    values = band[np.isfinite(band)] if tissue is None or not tissue.any() else band[tissue]
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    return float(low), float(high)
