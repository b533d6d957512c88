"""How figures look, and figures as SVG text; by matplotlib without its global state."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

DISEASED, HEALTHY, NEUTRAL, SECOND = "#b5460f", "#1f6fb2", "#5b6670", "#7a4fa3"
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NEUTRAL,
    "axes.labelcolor": "#1d2733",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "compseg_jax",
}


def svg_text(figure: Figure) -> str:
    """A figure as SVG without date or program, so that equal figures are equal files."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
