"""How figures look and what they share, by matplotlib without its global state."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from compseg_jax.drawing import style

__all__ = [
    "DISEASED", "HEALTHY", "INK", "NEUTRAL", "SECOND", "Axes", "Figure", "Rectangle", "colours_of_values",
    "label_channels", "new_figure", "plot_mean", "png_bytes", "show_percentages", "show_whole_numbers", "svg_text",
]  # fmt: skip

INK, NEUTRAL = style.colour("ink"), style.colour("neutral")
DISEASED, HEALTHY, SECOND = style.colour("diseased"), style.colour("healthy"), style.colour("second")
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NEUTRAL,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": style.colour("grid"),
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "compseg_jax",
}


@contextmanager
def new_figure(
    width_in: float,
    height_in: float,
    *,
    pads_in: tuple[float | None, float | None] = (None, None),
    dpi: float = 100,
) -> Iterator[Figure]:
    """An empty figure in the style of the house, which holds until the end of the ``with``: save it before.

    Args:
      width_in: width in inches.
      height_in: height in inches.
      pads_in: space around axes, horizontally and vertically, in inches; None: matplotlib's own.
      dpi: pixels per inch where it is saved as PNG.
    """
    with matplotlib.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=pads_in[0], h_pad=pads_in[1])
        yield Figure(figsize=(width_in, height_in), layout=layout, dpi=dpi)


def svg_text(figure: Figure) -> str:
    """A figure as SVG without date or program, so that equal figures are equal files."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "compseg_jax"})
    return buffer.getvalue()


def plot_mean(
    axes: Axes,
    where: Real[np.ndarray, " c"],
    mean: Float[np.ndarray, " c"],
    sd: Float[np.ndarray, " c"],
    line: str = "-",
    *,
    colour: str,
    opacity: float | None = 0.15,
    **options: Any,
) -> None:
    """A curve with a band of ± one standard deviation.

    Args:
      axes: where it is drawn.
      where: (c,) wavenumbers in cm⁻¹, or numbers of channels.
      mean: (c,) the curve.
      sd: (c,) half the height of the band.
      line: of matplotlib's styles.
      colour: of both.
      opacity: of the band; None draws none.
      options: of the curve, as matplotlib takes them.
    """
    axes.plot(where, mean, line, color=colour, **{"linewidth": 1.8, **options})
    if opacity is not None:
        axes.fill_between(where, mean - sd, mean + sd, color=colour, alpha=opacity, linewidth=0)


def label_channels(axes: Axes, wavenumbers_cm1: Real[np.ndarray, " c"] | None) -> None:
    """Name and direction of a horizontal axis: wavenumbers fall, as infrared spectra are drawn, channels rise."""
    if wavenumbers_cm1 is None:
        axes.set_xlabel("channel")
        show_whole_numbers(axes.xaxis)
    else:
        axes.set_xlabel("wavenumber / cm⁻¹")
        axes.set_xlim(float(wavenumbers_cm1.max()), float(wavenumbers_cm1.min()))


def show_whole_numbers(axis: Axis, **options: Any) -> None:
    """Ticks at whole numbers only; ``options`` are those of matplotlib's MaxNLocator."""
    axis.set_major_locator(MaxNLocator(integer=True, **options))


def show_percentages(axis: Axis) -> None:
    """Ticks of fractions as percentages."""
    axis.set_major_formatter(PercentFormatter(1))


def colours_of_values(missing: str) -> Colormap:
    """From dark blue over green to yellow, in equal steps to the eye; NaN in the colour given."""
    return matplotlib.colormaps["viridis"].with_extremes(bad=missing)
