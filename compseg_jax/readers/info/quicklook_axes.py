"""What `compseg info` draws: an image with its scale, spectra, and values of channels, each on given axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from compseg_jax.drawing.plots import HEALTHY, NEUTRAL

INK, NOTHING = "#1d2733", "#dce2e8"
THIN_LINE = "#9aa7b3"
_SCALE_BAR_SHARE = 0.3  # longest scale bar, as share of the image's width
_LONGEST_TRUE_ASPECT = 6.0  # a strip longer than this is stretched to be seen
_GAP_STEPS = 5.0  # a step so many times the usual one is a gap, over which no line is drawn


@dataclass(frozen=True)
class Picture:
    """An image to draw.

    Attributes:
      values: (y, x) in the unit of `label`, NaN where there is nothing; or (y, x, 3), colours from 0 to 1.
      extent_px: height and width of the whole image in pixels; `values` may be a regular subset of them.
      title: what is shown, in words.
      label: name and unit beside the colour bar.
      pixel_size_um: edge length of a pixel of the whole image in µm; None draws no scale bar.
    """

    values: Float[np.ndarray, "y x *rgb"]
    extent_px: tuple[int, int]
    title: str
    label: str
    pixel_size_um: float | None = None


@dataclass(frozen=True)
class Curves:
    """Spectra to draw.

    Attributes:
      where: (c,) wavenumbers in cm⁻¹, or numbers of channels.
      mean: (c,) the mean; its name for the legend is `name`.
      sd: (c,) standard deviation, drawn as a band.
      title: what is shown, in words.
      labels: of the horizontal and the vertical axis.
      others: (c,) spectra drawn beside the mean, by name.
      thin: (k, c) single spectra, drawn thin.
      falls: whether the horizontal axis falls from left to right, as infrared spectra are drawn.
      marked: positions on the horizontal axis of what the image shows.
    """

    where: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " c"]
    sd: Float[np.ndarray, " c"]
    name: str
    title: str
    labels: tuple[str, str]
    others: dict[str, Float[np.ndarray, " c"]] = field(default_factory=dict)
    thin: Float[np.ndarray, "k c"] | None = None
    falls: bool = True
    marked: tuple[float, ...] = ()


@dataclass(frozen=True)
class ChannelValues:
    """How often each value occurs in each channel of an ordinary image.

    Attributes:
      spectra: (n, c) the values.
      names: c names of the channels.
    """

    spectra: Shaped[np.ndarray, "n c"]
    names: tuple[str, ...]


def nice_length(longest: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no longer than `longest` (> 0)."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(
        max(factor * power for factor in (0.5, 1.0, 2.0, 5.0) if factor * power <= longest * (1 + 1e-9))
    )


def draw_picture(figure: Figure, axes: Axes, picture: Picture) -> None:
    """Draws an image with its colour bar and scale bar."""
    height, width = picture.extent_px
    place = (-0.5, width - 0.5, height - 0.5, -0.5)
    values = np.asarray(picture.values)
    axes.grid(visible=False)
    if values.ndim == 3:
        axes.imshow(np.clip(np.nan_to_num(values), 0, 1), extent=place)
    else:
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        colours = matplotlib.colormaps["viridis"].with_extremes(bad=NOTHING)
        shown = np.ma.masked_invalid(values)
        image = axes.imshow(shown, cmap=colours, vmin=float(low), vmax=float(high), extent=place)
        clipped = finite.size and (finite.min() < low or finite.max() > high)
        bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, extend="both" if clipped else "neither")
        bar.set_label(picture.label, parse_math=False)
        bar.outline.set_visible(False)
        if finite.size < values.size:
            patch = Rectangle((0, 0), 1, 1, facecolor=NOTHING, edgecolor=NEUTRAL)
            axes.legend([patch], ["all-zero or NaN"], loc="upper right", fontsize=8, frameon=True)
    stretched = max(height, width) > _LONGEST_TRUE_ASPECT * min(height, width)
    axes.set_aspect("auto" if stretched else "equal")
    axes.set_title(picture.title + ", not to scale" * stretched, fontsize=10, color=INK)
    axes.set(xlabel="x / pixel", ylabel="y / pixel")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if picture.pixel_size_um and not stretched:
        _draw_scale_bar(axes, picture.pixel_size_um, picture.extent_px)


def _draw_scale_bar(axes: Axes, pixel_size_um: float, extent_px: tuple[int, int]) -> None:
    """A bar on a dark plate in the lower left corner, to be seen on any image."""
    height, width = extent_px
    length_um = nice_length(_SCALE_BAR_SHARE * width * pixel_size_um)
    share = length_um / (width * pixel_size_um)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    # Heights in shares of the axes, stretched where the image is flat or tall.
    tall = min(max(width / height, 0.5), 3.0)
    plate: dict[str, Any] = {"transform": axes.transAxes, "zorder": 5, "linewidth": 0}
    plate_width = max(share, 0.17 / min(tall, 1.0)) + 0.04
    axes.add_patch(Rectangle((0.02, 0.02), plate_width, 0.085 * tall, facecolor=INK, alpha=0.75, **plate))
    middle = 0.02 + plate_width / 2
    bar = Rectangle(
        (middle - share / 2, 0.02 + 0.014 * tall), share, 0.014 * tall, facecolor="white", **plate
    )
    axes.add_patch(bar)
    axes.text(
        middle, 0.02 + 0.036 * tall, text, transform=axes.transAxes, zorder=6, color="white", fontsize=9,
        horizontalalignment="center", verticalalignment="bottom",
    )  # fmt: skip


def draw_curves(axes: Axes, curves: Curves) -> None:
    """Draws mean and standard deviation, and the single spectra given."""
    marker = "o" if curves.where.size <= 12 else None
    common: dict[str, Any] = {"marker": marker, "markersize": 4}
    where, mean, sd = _with_gaps(curves.where, curves.mean, curves.sd)
    if curves.thin is not None:
        thin_where, *thin = _with_gaps(curves.where, *curves.thin)
        for number, line in enumerate(thin):
            name = f"{len(thin)} single spectra" if len(thin) > 1 else "the spectrum"
            colour, thickness = (THIN_LINE, 0.7) if len(thin) > 1 else (HEALTHY, 1.6)
            axes.plot(thin_where, line, color=colour, linewidth=thickness, label=None if number else name)
    if curves.thin is None or len(curves.thin) > 1:
        if np.any(curves.sd > 0):
            axes.fill_between(where, mean - sd, mean + sd, color=HEALTHY, alpha=0.2, linewidth=0)
        axes.plot(where, mean, color=HEALTHY, linewidth=1.8, label=curves.name, **common)
    for name, values in curves.others.items():
        other_where, other = _with_gaps(curves.where, values)
        axes.plot(other_where, other, "--", color=NEUTRAL, linewidth=1.5, label=name, **common)
    for number, position in enumerate(curves.marked):
        meaning = None if number else "what the image shows"
        axes.axvline(position, color=NEUTRAL, linestyle=":", linewidth=1, zorder=0, label=meaning)
    axes.set_title(curves.title, fontsize=10, color=INK)
    axes.set_xlabel(curves.labels[0])
    axes.set_ylabel(curves.labels[1], parse_math=False)
    low, high = float(curves.where.min()), float(curves.where.max())
    if low < high:
        axes.set_xlim((high, low) if curves.falls else (low, high))
    else:
        axes.set_xlim(low - 0.5, high + 0.5)
    axes.legend(loc="best", fontsize=9)


def _with_gaps(where: np.ndarray, *lines: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same curves with NaN put into the gaps of the axis, so that no line crosses a gap."""
    steps = np.abs(np.diff(where))
    if steps.size < 3:
        return (where, *lines)
    gaps = np.flatnonzero(steps > _GAP_STEPS * np.median(steps)) + 1
    middles = (where[gaps - 1] + where[gaps]) / 2
    return (np.insert(where, gaps, middles), *(np.insert(line, gaps, np.nan) for line in lines))


def draw_histogram(axes: Axes, shown: ChannelValues) -> None:
    """Draws the histogram of every channel."""
    colours = ("#c0392b", "#2e8b57", HEALTHY) if shown.names == ("red", "green", "blue") else (HEALTHY,)
    finite = shown.spectra[np.isfinite(shown.spectra)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    for at, name in enumerate(shown.names):
        values = shown.spectra[:, at]
        counts, edges = np.histogram(values[np.isfinite(values)].astype(np.float64), 64, (low, high))
        share = 100 * counts / max(values.size, 1)
        axes.stairs(share, edges, color=colours[at % len(colours)], linewidth=1.6, label=name)
    axes.set_title("How often each value occurs", fontsize=10, color=INK)
    axes.set(xlabel="pixel value as stored", ylabel="share of the pixels / %")
    axes.legend(loc="best", fontsize=9)
