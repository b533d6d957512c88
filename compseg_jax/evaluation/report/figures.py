"""Figures of the report as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compseg_jax.drawing.plots import (
    DISEASED,
    HEALTHY,
    INK,
    NEUTRAL,
    SECOND,
    Axes,
    label_channels,
    new_figure,
    plot_mean,
    show_percentages,
    show_whole_numbers,
    svg_text,
)
from compseg_jax.evaluation.scores.sample_scores import SampleResult, SampleRow
from compseg_jax.evaluation.scores.summary import Evaluation


def roc_figure(evaluation: Evaluation) -> str | None:
    """ROC curves of both sample scores; None where only one label occurs."""
    if not evaluation.roc:
        return None
    names = {"auc_area": "area above threshold", "auc_mean_activation": "mean activation"}
    with new_figure(4.4, 3.9) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":", linewidth=1, label="chance (AUC 0.5)")
        for (metric, curve), colour, dash in zip(
            evaluation.roc.items(), (DISEASED, SECOND), ("-", "--"), strict=True
        ):
            axes.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                dash,
                color=colour,
                linewidth=2,
                label=f"{names[metric]} (AUC {evaluation.metrics[metric]:.3f})",
            )
        axes.set(
            xlabel="healthy samples called diseased",
            ylabel="diseased samples found",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        for axis in (axes.xaxis, axes.yaxis):
            show_percentages(axis)
        axes.legend(loc="lower right", fontsize=9)
        return svg_text(figure)


def learning_figure(history: Sequence[Mapping[str, object]]) -> str | None:
    """Training and validation loss by epoch, the best epoch marked; None without a history."""
    curves = {name: _curve(history, name) for name in ("loss", "val_loss")}
    if not any(len(epochs) for epochs, _ in curves.values()):
        return None
    with new_figure(4.4, 3.9) as figure:
        axes = figure.add_subplot()
        looks = (("loss", "training", HEALTHY, "-"), ("val_loss", "validation", DISEASED, "--"))
        for name, label, colour, dash in looks:
            epochs, values = curves[name]
            if len(epochs):
                marker = "o" if len(epochs) < 3 else None
                axes.plot(epochs, values, dash, color=colour, linewidth=1.8, label=label, marker=marker)
        epochs, values = curves["val_loss"]
        if len(epochs):
            best = int(np.argmin(values))
            axes.axvline(epochs[best], color=NEUTRAL, linestyle=":", linewidth=1)
            label = f"best validation: epoch {epochs[best]:g}"
            axes.plot(epochs[best], values[best], "o", color=DISEASED, markersize=8, label=label)
        everything = np.concatenate([values for _, values in curves.values()])
        if everything.min() > 0 and everything.max() > 30 * everything.min():
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel="loss")
        show_whole_numbers(axes.xaxis, nbins=7, steps=[1, 2, 5, 10])
        axes.legend(loc="upper right", fontsize=9)
        return svg_text(figure)


def _curve(history: Sequence[Mapping[str, object]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of one column, rows without a finite number left out."""
    pairs = [
        (float(str(row.get("epoch", index))), float(str(row[name])))
        for index, row in enumerate(history)
        if row.get(name) is not None and np.isfinite(float(str(row[name])))
    ]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def score_figure(rows: Sequence[SampleRow]) -> str:
    """Both sample scores of every sample, by label, with quartile boxes."""
    with new_figure(4.4, 3.9) as figure:
        left, right = figure.subplots(1, 2)
        _strips(left, rows, "area_fraction", "area above threshold")
        show_percentages(left.yaxis)
        _strips(right, rows, "mean_activation", "mean activation")
        return svg_text(figure)


def _strips(axes: Axes, rows: Sequence[SampleRow], column: str, title: str) -> None:
    rng = np.random.default_rng(0)  # horizontal scatter only, so that points do not hide one another
    names = []
    for position, (label, name, colour) in enumerate(((0, "healthy", HEALTHY), (1, "diseased", DISEASED))):
        values = np.array([row[column] for row in rows if row["label"] == label], np.float64)
        names.append(f"{name}\n(n = {len(values)})")
        if not len(values):
            continue
        axes.boxplot(
            values,
            positions=[position],
            widths=0.62,
            showfliers=False,
            boxprops={"color": NEUTRAL},
            whiskerprops={"color": NEUTRAL},
            capprops={"color": NEUTRAL},
            medianprops={"color": INK, "linewidth": 2},
        )
        scatter = position + rng.uniform(-0.2, 0.2, len(values))
        marker = "o" if label else "D"
        axes.plot(scatter, values, marker, color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
    axes.set_xticks([0, 1], names)
    axes.set_xlim(-0.6, 1.6)
    axes.grid(visible=False, axis="x")
    axes.set_title(title, fontsize=10)


def reliability_figure(curve: object) -> str | None:
    """Part of the pixels that is diseased by their activation, the points as large as their pixels are many."""
    if not isinstance(curve, Mapping) or not curve["pixels"]:
        return None
    pixels = np.asarray(curve["pixels"], np.float64)
    with new_figure(4.4, 3.9) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":", linewidth=1, label="calibrated")
        axes.plot(curve["activation"], curve["diseased"], color=DISEASED, linewidth=1.5)
        sizes = 12 + 90 * np.sqrt(pixels / pixels.max())
        axes.scatter(curve["activation"], curve["diseased"], s=sizes, color=DISEASED, label="pixels")
        axes.set(xlabel="activation", ylabel="diseased", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        show_percentages(axes.yaxis)
        axes.legend(loc="upper left", fontsize=9)
        return svg_text(figure)


def spectra_figure(results: Sequence[SampleResult], wavenumbers_cm1: np.ndarray | None) -> str | None:
    """Mean spectra of diseased samples inside and outside the segmentation, and their difference.

    Bands are ± one standard deviation over samples. None where no diseased sample has spectra.

    Raises:
      ValueError: where a spectrum and the wavenumbers differ in length.
    """
    diseased = [result for result in results if result.label == 1]
    inside = [result.spectrum_inside for result in diseased if result.spectrum_inside is not None]
    outside = [result.spectrum_outside for result in diseased if result.spectrum_outside is not None]
    healthy = [r.spectrum_outside for r in results if r.label == 0 and r.spectrum_outside is not None]
    if not inside and not outside:
        return None
    channels = len((inside or outside)[0])
    where = np.arange(channels) if wavenumbers_cm1 is None else np.asarray(wavenumbers_cm1)
    lengths = {len(spectrum) for spectrum in (*inside, *outside, *healthy)} | {len(where)}
    if lengths != {channels}:
        raise ValueError(
            f"spectra and wavenumbers have lengths {sorted(lengths)}, required one length for all."
        )
    paired = [
        r.spectrum_inside - r.spectrum_outside
        for r in diseased
        if r.spectrum_inside is not None and r.spectrum_outside is not None
    ]
    marker = "o" if channels <= 12 else None
    with new_figure(9.6, 4.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        for spectra, label, colour, dash in (
            (inside, "diseased, inside the segmentation", DISEASED, "-"),
            (outside, "diseased, outside", NEUTRAL, "--"),
            (healthy, "healthy, outside", HEALTHY, ":"),
        ):
            if spectra:
                mean, sd = np.mean(spectra, axis=0), np.std(spectra, axis=0)
                text = f"{label} (n = {len(spectra)})"
                opacity = None if colour == HEALTHY else 0.15  # bands of three would hide one another
                plot_mean(
                    upper, where, mean, sd, dash, colour=colour, opacity=opacity, label=text, marker=marker
                )
        if paired:
            mean, sd = np.mean(paired, axis=0), np.std(paired, axis=0)
            plot_mean(lower, where, mean, sd, colour=DISEASED, marker=marker)
        lower.axhline(0, color=NEUTRAL, linewidth=1)
        upper.set_ylabel("absorbance" if wavenumbers_cm1 is not None else "value")
        lower.set_ylabel("inside −\noutside")
        upper.legend(loc="best", fontsize=9)
        label_channels(lower, wavenumbers_cm1)
        return svg_text(figure)
