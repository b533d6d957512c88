"""The figure and the table of what a network segments by."""

from __future__ import annotations

import numpy as np

from compseg_jax.drawing.plots import (
    DISEASED,
    HEALTHY,
    NEUTRAL,
    SECOND,
    Axes,
    label_channels,
    new_figure,
    plot_mean,
    svg_text,
)
from compseg_jax.model.importance import BandImportance
from compseg_jax.runtime.csv_tables import csv_text

CAPTION = (
    "Above: segmented tissue and the training mean, which it is compared with. Middle: what each band adds to the mean"
    " logit of the segmented tissue, by gradient × input and by replacing the band with the training mean. Below: how"
    " far the activation falls then. Positive speaks for disease. Shaded: ± one standard deviation between samples."
    " Neighbouring bands share importance: this is what the network uses, not all that disease changes."
)
CURVES = (
    "gradient", "gradient_sd", "gradient_absolute", "gradient_absolute_sd", "occlusion", "occlusion_sd",
    "occlusion_logit", "occlusion_logit_sd", "spectrum", "baseline",
)  # fmt: skip


def importance_figure(importance: BandImportance) -> str:
    """Mean spectra, importance of every band below them, the strongest bands marked, as SVG."""
    axis = _axis(importance)
    with new_figure(9.6, 6.4) as figure:
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1.5, 1))
        top.plot(axis, importance.spectrum, color=DISEASED, linewidth=1.8, label="segmented tissue")
        top.plot(axis, importance.baseline, "--", color=NEUTRAL, linewidth=1.4, label="training mean")
        _curve(middle, importance, "gradient", (SECOND, "--", "gradient × input"))
        _curve(
            middle, importance, "occlusion_logit", (DISEASED, "-", f"occlusion of {width_text(importance)}")
        )
        _curve(bottom, importance, "occlusion", (DISEASED, "-", ""))
        for axes in (middle, bottom):
            axes.axhline(0, color=NEUTRAL, linewidth=1)
        for axes in (top, middle):
            axes.legend(loc="best", fontsize=9, frameon=True, edgecolor="none", framealpha=0.85)
        _mark((top, middle, bottom), importance)
        top.set_ylabel("value" if importance.wavenumbers_cm1 is None else "absorbance")
        middle.set_ylabel("part of the\nmean logit")
        bottom.set_ylabel("fall of the\nactivation")
        label_channels(bottom, importance.wavenumbers_cm1)
        return svg_text(figure)


def _axis(importance: BandImportance) -> np.ndarray:
    own = importance.wavenumbers_cm1
    return np.arange(len(importance.gradient)) if own is None else own


def _curve(axes: Axes, importance: BandImportance, name: str, look: tuple[str, str, str]) -> None:
    colour, dash, label = look
    axis, mean, sd = _axis(importance), getattr(importance, name), getattr(importance, f"{name}_sd")
    marker = "o" if len(axis) <= 40 else None
    plot_mean(
        axes,
        axis,
        mean,
        sd,
        dash,
        colour=colour,
        opacity=0.13,
        linewidth=1.6,
        label=label,
        marker=marker,
        markersize=3,
    )


def _mark(rows: tuple[Axes, ...], importance: BandImportance) -> None:
    """Lines through all rows at the strongest bands, their places written above the first."""
    axis = _axis(importance)
    for channel in importance.strongest():
        colour = DISEASED if importance.occlusion_logit[channel] > 0 else HEALTHY
        for axes in rows:
            axes.axvline(axis[channel], color=colour, linestyle=":", linewidth=1.2)
        rows[0].annotate(
            f"{axis[channel]:.0f}",
            (axis[channel], 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=45,
            fontsize=9,
            color=colour,
        )


def width_text(importance: BandImportance) -> str:
    """The width of an occluded band in words."""
    if importance.wavenumbers_cm1 is not None:
        return f"{importance.width.cm1:g} cm⁻¹"
    n = importance.width.channels
    return f"{n} channels" if n > 1 else "1 channel"


def strongest_text(importance: BandImportance) -> str:
    """The strongest bands in words, strongest first."""
    axis, unit = _axis(importance), "channel" if importance.wavenumbers_cm1 is None else "cm⁻¹"
    signs = {True: "for", False: "against"}
    named = [
        f"{axis[k]:.0f} ({signs[bool(importance.occlusion_logit[k] > 0)]})" for k in importance.strongest()
    ]
    return f"Strongest bands / {unit}: {', '.join(named)}; {importance.samples} diseased samples."


def importance_csv(importance: BandImportance) -> str:
    """One line a channel: wavenumber (empty where there is none) and every curve of the importance."""
    own = importance.wavenumbers_cm1
    rows = [
        [
            channel,
            "" if own is None else f"{own[channel]:.10g}",
            *(f"{float(getattr(importance, name)[channel]):.7g}" for name in CURVES),
        ]
        for channel in range(len(importance.gradient))
    ]
    return csv_text(["channel", "wavenumber_cm1", *CURVES], rows)
