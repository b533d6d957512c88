"""What the page says in words, as HTML; every text from outside is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from compseg_jax.viewer.appearance import INK, INSIDE, OUTSIDE
from compseg_jax.viewer.source import SampleView
from compseg_jax.viewer.threshold_counts import SpectraByThreshold, ThresholdCounts
from compseg_jax.viewer.widgets import LABELS


@dataclass(frozen=True)
class Pixel:
    """The chosen pixel.

    Attributes:
      place: row and column.
      activation: None in the background.
      factor: of the image that its spectrum is from.
    """

    place: tuple[int, int]
    activation: float | None
    factor: float


SAME_THRESHOLD = 5e-7


def is_own(threshold: float, own: float) -> bool:
    """Whether the slider stands at the chosen threshold."""
    return abs(threshold - own) < SAME_THRESHOLD


def card(name: str, value: str, why: str) -> str:
    """A number, its name and what it means."""
    return (
        f'<div class="card"><div class="name">{name}</div><div class="value">{value}</div>'
        f'<div class="why">{why}</div></div>'
    )


def heading_text(view: SampleView) -> str:
    """Name, label and extent of a sample."""
    height, width = view.shape_px
    said = [f"{width} × {height} px"]
    if view.pixel_size_um is not None:
        size = view.pixel_size_um
        said.append(_extent(width * size, height * size))
    if view.channels:
        said.append(f"{view.channels} channels")
    label = "" if view.row.label is None else f", labelled {LABELS[view.row.label]}"
    score = "" if view.row.score is None else f", score {view.row.score:.3f}"
    return (
        f'<div class="label"><span><b>{escape(view.row.id)}</b>{label}{score}</span>'
        f'<span class="why">{", ".join(said)}</span></div>'
    )


def waiting_text(sample_id: str) -> str:
    """While a sample is read or predicted."""
    return f'<div class="label"><b>{escape(sample_id)}</b><span class="why">reading …</span></div>'


def failure_text(sample_id: str, failure: str) -> str:
    """Why there is nothing to show."""
    return f'<div class="failure"><b>{escape(sample_id)}</b> {escape(failure)}</div>'


def threshold_text(threshold: float, own: float) -> str:
    """The threshold as it stands."""
    said = "the chosen one" if is_own(threshold, own) else f"moved; the chosen one is {own:.3f}"
    return (
        f'<div class="label"><span>Threshold on the activation <b>{threshold:.3f}</b></span>'
        f'<span class="why">{said}</span></div>'
    )


def story_text(story: str, own: float) -> str:
    """Where the model's threshold comes from; the whole of it on hovering."""
    first = story.split(". ")[0].split("; ")[0]
    return f'<div class="why" title="{escape(story)}">Chosen threshold {own:.3f}: {escape(first)}.</div>'


def area_text(view: SampleView, counts: ThresholdCounts, threshold: float, own: float) -> str:
    """Segmented area and the interval of the diseased part."""
    area = counts.area_fraction(threshold)
    if area is None:
        return card("Segmented area", "–", "no tissue in this sample")
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
    return card("Segmented area", f"{100 * area:.1f} % <small>of tissue</small>", said)


def dice_text(view: SampleView, counts: ThresholdCounts, threshold: float) -> str:
    """Overlap with the reference mask."""
    dice = counts.dice(threshold)
    if dice is not None:
        return card("Dice", f"{dice:.3f}", "overlap with the reference outline: 0 none, 1 identical.")
    why = "no reference mask to compare with." if view.reference is None else "the reference marks nothing."
    return card("Dice", "–", why)


def band_text(view: SampleView, channel: int) -> str:
    """Which channel the picture shows."""
    if not view.channels:
        return '<div class="why">No band to show: the cube cannot be read any more and has no overview.</div>'
    which = f"channel {channel + 1} of {view.channels}"
    if view.wavenumbers_cm1 is None:
        return f'<div class="label"><span>Picture: <b>{which}</b></span></div>'
    wavenumber = view.wavenumbers_cm1[channel]
    return (
        f'<div class="label"><span>Band <b>{wavenumber:.0f} cm⁻¹</b></span>'
        f'<span class="why">{which}</span></div>'
    )


def spectra_text(
    view: SampleView,
    means: SpectraByThreshold | None,
    threshold: float,
    pixel: Pixel | None,
) -> str:
    """The key of the three curves, and what they are averaged over."""
    if not view.channels:
        return f'<div class="why">No spectra: {escape(view.spectra_note)}, and there is no overview.</div>'
    keys = []
    if means is not None:
        inside, outside = means.n_inside(threshold), means.n_outside(threshold)
        keys = [_key(INSIDE, f"mean inside ({inside:,} px)"), _key(OUTSIDE, f"mean outside ({outside:,} px)")]
    if pixel is not None:
        where = f"row {pixel.place[0]}, column {pixel.place[1]}"
        value = "background" if pixel.activation is None else f"activation {pixel.activation:.3f}"
        keys.append(_key(INK, f"{where}: {value}"))
    said = f"Spectra {view.spectra_note}."
    if view.spectra is None:
        said = f"Spectra of the overview: {view.spectra_note}."
    if means is not None and means.factor > 1.01:
        said += f" Means over the overview, blocks of {means.factor:.0f}×{means.factor:.0f} pixels."
    if pixel is not None and pixel.factor > 1.01:
        said += f" The chosen one is the mean of {pixel.factor:.0f}×{pixel.factor:.0f} pixels."
    if pixel is None:
        said += " Click the picture for the spectrum of a pixel, the curves for another band."
    return f'<div>{"".join(keys)}</div><div class="why">{escape(said)}</div>'


def position_text(index: int, n: int, own: float) -> str:
    """Where in the list."""
    return f'<div class="why" style="padding-top:6px">{index + 1} of {n} · areas at {own:.3f}</div>'


def _key(colour: str, text: str) -> str:
    return f'<span class="key"><span class="line" style="border-color:{colour}"></span>{escape(text)}</span>'


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
