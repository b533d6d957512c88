"""Spectra: of the chosen pixel, and means inside and outside the segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.events import DoubleTap
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    DataRange1d,
    NumeralTickFormatter,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure

from compseg_jax.drawing import style

LINE, SOFT = style.colour("line"), style.colour("soft")
CURVES = {
    "outside": (style.colour("healthy"), 2.0),
    "inside": (style.colour("diseased"), 2.0),
    "pixel": (style.colour("ink"), 1.5),
}


class SpectraFigure:
    """The figure and its three curves; wavenumbers descend to the right, as is the custom in infrared spectroscopy."""

    def __init__(self) -> None:
        self._axis: np.ndarray = np.zeros(0)
        self._sources = {name: ColumnDataSource({"x": [], "y": []}) for name in CURVES}
        self.figure: Any = figure(
            name="spectra",
            x_range=DataRange1d(range_padding=0.0),
            y_range=DataRange1d(range_padding=0.06),
            tools="xpan",
            toolbar_location=None,
            sizing_mode="stretch_both",
            min_height=160,
            border_fill_color=None,
            outline_line_color=None,
            min_border=0,
        )
        wheel = WheelZoomTool(dimensions="width")
        self.figure.add_tools(wheel)
        self.figure.toolbar.active_scroll = wheel
        self.figure.js_on_event(DoubleTap, CustomJS(args={"figure": self.figure}, code="figure.reset.emit()"))
        self.figure.grid.grid_line_color = style.colour("head")
        for axis in self.figure.axis:
            axis.axis_line_color = axis.major_tick_line_color = LINE
            axis.minor_tick_line_color = None
            axis.axis_label_text_font = axis.major_label_text_font = style.FONT
            axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
            axis.axis_label_text_font_style = "normal"
            axis.axis_label_text_color = axis.major_label_text_color = SOFT
            axis.axis_label_standoff = 2
        self.figure.xaxis.formatter = NumeralTickFormatter(format="0")
        for name, (colour, width) in CURVES.items():
            self.figure.line("x", "y", source=self._sources[name], line_color=colour, line_width=width)
        self.cursor = Span(location=0, dimension="height", line_color=SOFT, line_dash="dotted", visible=False)
        self.figure.add_layout(self.cursor)

    def frame(self, wavenumbers_cm1: np.ndarray | None, channels: int) -> None:
        """Takes the axis of another sample."""
        spectral = wavenumbers_cm1 is not None
        self._axis = np.arange(1, channels + 1) if wavenumbers_cm1 is None else wavenumbers_cm1
        self.figure.x_range.flipped = spectral
        self.figure.xaxis.axis_label = "wavenumber (cm⁻¹)" if spectral else "channel"
        self.figure.yaxis.axis_label = (
            "absorbance or intensity, as stored" if spectral else "value, as stored"
        )
        for name in CURVES:
            self.show(name, None)

    def show(self, name: str, spectrum: np.ndarray | None) -> None:
        """Draws one of `CURVES`; None takes it away."""
        if spectrum is None:
            self._sources[name].data = {"x": [], "y": []}
        else:
            self._sources[name].data = {"x": self._axis, "y": np.asarray(spectrum, np.float32)}

    def point(self, channel: int) -> None:
        """Marks the channel that the picture shows."""
        self.cursor.update(location=float(self._axis[channel]), visible=True)

    def nearest_channel(self, x: float) -> int | None:
        """Channel at a place of the figure; None without an axis."""
        return int(np.argmin(np.abs(self._axis - x))) if self._axis.size else None
