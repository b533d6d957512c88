"""The picture of a sample: band, activation or segmentation on top, outline of the reference, the chosen pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.events import DoubleTap
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJS,
    LinearColorMapper,
    PanTool,
    Range1d,
    Slider,
    WheelZoomTool,
)
from bokeh.models.tickers import FixedTicker
from bokeh.plotting import figure

from compseg_jax.drawing import style
from compseg_jax.drawing.pictures import colours_shown, outline_levels
from compseg_jax.viewer.appearance import (
    START_OUTLINES,
    THRESHOLD,
    TRANSPARENT,
    activation_palette,
    outline_palette,
)
from compseg_jax.viewer.image_layers import Layer, Window

LINE, SOFT, DARK = style.colour("line"), style.colour("soft"), style.colour("dark")
OUTLINE_PX = 1024
"""Pixels along which the outline of the reference is drawn, so that it stays thin on small samples."""
GREYS = [f"#{level:02x}{level:02x}{level:02x}" for level in range(256)]
OVERLAYS = ("Segmentation", "Activation", "None")
MILLIMETRES_FROM_UM = 5000
"""Extent from which on axes are in mm."""
FRAME_PX = 600
"""Edge of the frame that is assumed until the browser has told its own."""


class ImageFigure:
    """The figure and its layers, bottom to top: ``base`` and ``detail`` of the band, overlay, outline, marker.

    Attributes:
      figure: Bokeh's figure; its coordinates are µm or mm where the pixel size is known, else pixels.
      unit: length of a pixel's edge in these coordinates.
    """

    def __init__(self) -> None:
        self.unit = 1.0
        self.shape_px = (1, 1)
        self._sources = {
            name: ColumnDataSource(_nothing())
            for name in ("base", "base_colours", "detail", "detail_colours", "overlay", "outline")
        }
        self._frame_px = dict.fromkeys(("inner_width", "inner_height"), FRAME_PX)
        self._marker = ColumnDataSource({"x": [], "y": []})
        self._sample = ColumnDataSource({name: [] for name in ("id", "unit", "height", "width", "reference")})
        self.figure: Any = figure(
            name="image",
            x_range=Range1d(0, 1),
            y_range=Range1d(1, 0),
            tools=[PanTool()],
            toolbar_location=None,
            sizing_mode="stretch_both",
            background_fill_color=DARK,
            border_fill_color=None,
            outline_line_color=None,
            min_border=0,
        )
        self.figure.tags = [self._sample]  # of no glyph, and yet the browser has to be told of its changes
        wheel = WheelZoomTool(maintain_focus=False)
        self.figure.add_tools(wheel)
        self.figure.toolbar.active_scroll = wheel
        self.figure.js_on_event(DoubleTap, CustomJS(args={"figure": self.figure}, code="figure.reset.emit()"))
        self.figure.grid.visible = False
        for axis in self.figure.axis:
            _quiet(axis)
        for name in self._frame_px:
            self.figure.on_change(name, self._resized)
        grey = LinearColorMapper(palette=GREYS, low=0, high=255)
        self.activation_mapper = LinearColorMapper(
            palette=activation_palette(solid=False), low=0, high=1, nan_color=TRANSPARENT
        )
        self.segmentation_mapper = LinearColorMapper(
            palette=activation_palette(solid=True),
            low=0.5,
            high=1,
            low_color=TRANSPARENT,
            nan_color=TRANSPARENT,
        )
        outline = LinearColorMapper(palette=outline_palette(), low=0, high=2)
        for name in ("base", "detail"):
            self._draw(name, grey)
            self._draw_colours(f"{name}_colours")
        self.segmentation = self._draw("overlay", self.segmentation_mapper)
        self.activation = self._draw("overlay", self.activation_mapper)
        self.activation.visible = False
        self.outline = self._draw("outline", outline)
        for colour, width in (("#000000", 4), ("#ffffff", 2)):
            self.figure.scatter(
                "x", "y", source=self._marker, marker="cross", size=18, line_color=colour, line_width=width
            )
        bar = ColorBar(
            color_mapper=LinearColorMapper(palette=activation_palette(solid=True), low=0, high=1),
            title="activation",
            ticker=FixedTicker(ticks=[0, 0.25, 0.5, 0.75, 1]),
            orientation="horizontal",
            width=200,
            height=8,
            title_text_font=style.FONT,
            title_text_font_size="11px",
            title_text_font_style="normal",
            title_text_color=SOFT,
            major_label_text_font_size="11px",
            major_label_text_color=SOFT,
            background_fill_color=None,
            margin=0,
            padding=6,
        )
        self.figure.add_layout(bar, "below")

    def _draw(self, name: str, mapper: LinearColorMapper) -> Any:
        return self.figure.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._sources[name], color_mapper=mapper
        )

    def _draw_colours(self, name: str) -> None:
        self.figure.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=self._sources[name])

    def follow(self, threshold: Slider, opacity: Slider) -> None:
        """Colours what lies above the threshold, and lets the browser itself recolour while a slider moves."""
        palette = activation_palette(solid=True)
        first = min(len(palette) - 1, round(threshold.value * (len(palette) - 1)))
        above = float(np.nextafter(np.float32(threshold.value), np.float32(2)))
        self.segmentation_mapper.update(palette=palette[first:], low=above)
        code = CustomJS(
            args={"mapper": self.segmentation_mapper, "palette": palette},
            code=THRESHOLD,
        )
        threshold.js_on_change("value", code)
        for renderer in (self.segmentation, self.activation):
            renderer.glyph.global_alpha = opacity.value
            opacity.js_link("value", renderer.glyph, "global_alpha")

    def drawn_on(self, threshold: Slider) -> CustomJS:
        """The script that draws outlines on the figure, for when the page is ready."""
        known = {"figure": self.figure, "sample": self._sample, "threshold": threshold}
        return CustomJS(args=known, code=START_OUTLINES)

    def name(self, sample_id: str, *, has_reference: bool) -> None:
        """Says whose image `frame` has made room for: outlines that are drawn from now on are of this sample."""
        height, width = self.shape_px
        self._sample.data = {
            "id": [sample_id],
            "unit": [self.unit],
            "height": [height],
            "width": [width],
            "reference": [has_reference],
        }

    def choose_overlay(self, index: int) -> None:
        """Shows one of `OVERLAYS`."""
        self.segmentation.visible = OVERLAYS[index] == "Segmentation"
        self.activation.visible = OVERLAYS[index] == "Activation"

    def clear(self) -> None:
        """Empties every layer."""
        for source in self._sources.values():
            source.data = _nothing()
        self.mark(None)

    def frame(self, shape_px: tuple[int, int], pixel_size_um: float | None) -> None:
        """Makes room for another image and shows all of it."""
        self.shape_px = shape_px
        if pixel_size_um is None:
            self.unit, unit = 1.0, "px"
        elif max(shape_px) * pixel_size_um < MILLIMETRES_FROM_UM:
            self.unit, unit = pixel_size_um, "µm"
        else:
            self.unit, unit = pixel_size_um / 1000, "mm"
        self.figure.xaxis.axis_label = f"x ({unit})"
        self.figure.yaxis.axis_label = f"y ({unit})"
        self.fit()

    def fit(self) -> None:
        """Shows the whole image, pixels square, in the middle."""
        height, width = (size * self.unit for size in self.shape_px)
        across, down = self._frame_px["inner_width"], self._frame_px["inner_height"]
        scale = max(width / across, height / down)
        rest_x, rest_y = (scale * across - width) / 2, (scale * down - height) / 2
        x, y = self.figure.x_range, self.figure.y_range
        x.update(start=-rest_x, end=width + rest_x, reset_start=-rest_x, reset_end=width + rest_x)
        y.update(start=height + rest_y, end=-rest_y, reset_start=height + rest_y, reset_end=-rest_y)

    def _resized(self, name: str, old: object, new: int | None) -> None:
        fitted = self.is_fitted
        self._frame_px[name] = new or FRAME_PX
        if fitted:
            self.fit()

    @property
    def is_fitted(self) -> bool:
        """Whether nobody has zoomed or moved since."""
        ranges = (self.figure.x_range, self.figure.y_range)
        return all(r.start == r.reset_start and r.end == r.reset_end for r in ranges)

    @property
    def window(self) -> Window:
        """What is seen of the image, in pixels."""
        x, y = self.figure.x_range, self.figure.y_range
        top, bottom = sorted((y.start / self.unit, y.end / self.unit))
        left, right = sorted((x.start / self.unit, x.end / self.unit))
        return Window(top, bottom, left, right).widened(0.0, self.shape_px)

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column at a place of the figure; None outside the image."""
        row, column = int(np.floor(y / self.unit)), int(np.floor(x / self.unit))
        inside = 0 <= row < self.shape_px[0] and 0 <= column < self.shape_px[1]
        return (row, column) if inside else None

    def mark(self, pixel: tuple[int, int] | None) -> None:
        """Marks a pixel; None: no mark."""
        if pixel is None:
            self._marker.data = {"x": [], "y": []}
        else:
            row, column = ((each + 0.5) * self.unit for each in pixel)
            self._marker.data = {"x": [column], "y": [row]}

    def show_band(self, layer: Layer | None, limits: tuple[float, float], *, detail: bool = False) -> None:
        """Draws a band between two values, black to white; the detail lies above the base."""
        name = "detail" if detail else "base"
        if layer is None:
            self._sources[name].data = _nothing()
            return
        low, high = limits
        grey = np.clip((layer.values - low) / max(high - low, 1e-12), 0, 1) * 255
        self._show(name, np.rint(np.nan_to_num(grey)).astype(np.uint8), layer.window)

    def show_colours(self, layer: Layer | None, full: float, *, detail: bool = False) -> None:
        """Draws a picture (3, y, x) in its own colours, of which ``full`` is the brightest."""
        name = "detail_colours" if detail else "base_colours"
        if layer is None:
            self._sources[name].data = _nothing()
            return
        colours = np.rint(colours_shown(np.moveaxis(layer.values, 0, -1), full) * 255).astype(np.uint8)
        rgba = np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
        self._show(name, np.ascontiguousarray(rgba).view(np.uint32)[..., 0], layer.window)

    def show_activation(self, layer: Layer) -> None:
        """Draws activations; NaN is not drawn."""
        self._show("overlay", layer.values.astype(np.float32, copy=False), layer.window)

    def show_reference(self, layer: Layer | None) -> None:
        """Draws the outline of a mask."""
        if layer is None:
            self._sources["outline"].data = _nothing()
            return
        zoom = max(1, OUTLINE_PX // max(layer.values.shape))
        self._show("outline", outline_levels(layer.values, zoom), layer.window)

    def _show(self, name: str, values: np.ndarray, window: Window) -> None:
        self._sources[name].data = {
            "image": [np.ascontiguousarray(values)],
            "x": [window.left * self.unit],
            "y": [window.top * self.unit],
            "dw": [(window.right - window.left) * self.unit],
            "dh": [(window.bottom - window.top) * self.unit],
        }


def _nothing() -> dict[str, list[Any]]:
    return {"image": [], "x": [], "y": [], "dw": [], "dh": []}


def _quiet(axis: Any) -> None:
    axis.axis_line_color = axis.major_tick_line_color = LINE
    axis.minor_tick_line_color = None
    axis.axis_label_text_font = axis.major_label_text_font = style.FONT
    axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_color = axis.major_label_text_color = SOFT
    axis.axis_label_standoff = 2
    axis.formatter.use_scientific = False
