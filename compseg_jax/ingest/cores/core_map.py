"""A picture of a tissue array with its cores drawn in: the check before cores are cut out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont

from compseg_jax.drawing.pictures import ACTIVATION_HIGH, png_bytes
from compseg_jax.ingest.cores.grid import Core, CoreGrid

LONGEST_SIDE_PX = 2000
LARGEST_ZOOM = 6.0
OPACITY = 150  # of 255, of what is segmented
BRIGHTEST = 190  # grey of the thickest tissue, so that white names stand out
NAME_PX = (11, 34)  # smallest and largest letters
INK, NAME, GRID, NOT_KEPT = (0, 0, 0), (255, 255, 255), (120, 120, 120), (255, 255, 255)


class RingStyle(NamedTuple):
    """Colour (of Okabe and Ito, distinguishable with every kind of colour vision) and how much of a circle is drawn."""

    colour: tuple[int, int, int]
    dashes: int
    drawn: float


BLUE, YELLOW, VERMILION, PALE = (86, 180, 233), (240, 228, 66), (213, 94, 0), (190, 190, 190)
STYLES: Mapping[str, RingStyle] = MappingProxyType(
    {
        "present": RingStyle(BLUE, 1, 1.0),
        "broken": RingStyle(YELLOW, 12, 0.65),
        "missing": RingStyle(VERMILION, 24, 0.35),
    }
)


@dataclass(frozen=True)
class Marks:
    """What the circles of cores say.

    Attributes:
      styles: kinds of cores and how their circles are drawn, in the order of the legend.
      kinds: of each core, in the order of the grid.
      struck: cores whose circle is struck through, and what the legend says of them.
      segmented: pixels that are drawn in red, (y, x) of the scan; None for none.
    """

    styles: Mapping[str, RingStyle]
    kinds: Sequence[str]
    struck: tuple[Collection[str], str] = ((), "")
    segmented: Bool[np.ndarray, "y x"] | None = None


def states(grid: CoreGrid) -> Marks:
    """Whether cores are present, broken or missing, and which of them are not kept."""
    unkept = {core.name for core in grid.cores if not core.keep and core.status != "missing"}
    return Marks(STYLES, [core.status for core in grid.cores], (unkept, "not kept"))


def core_map_png(
    picture: Float[np.ndarray, "y x"] | Float[np.ndarray, "y x 3"], grid: CoreGrid, marks: Marks | None = None
) -> bytes:
    """PNG of the tissue with every core's circle and name, and the grid through them.

    Unless other marks are given, whole circles are present, dashed ones broken, dotted ones missing; a stroke through
    a circle says that the core is not kept. A legend with the numbers of each stands below.

    Args:
      picture: as given to `find_cores`, shape (y, x), NaN is drawn black; or colours from 0 to 1, of the whole scan at
        any resolution.
      grid: the cores found in it.
      marks: what the circles say; `states` where None.

    Returns:
      a PNG of at most 2000 pixels per side.

    Raises:
      ValueError: if the picture is not that of the grid.
    """
    if picture.ndim == 2 and picture.shape != grid.shape_px:
        raise ValueError(
            f"picture: found shape {picture.shape}, but the cores were found in {grid.shape_px}; give their picture."
        )
    marks = marks or states(grid)
    zoom = min(LARGEST_ZOOM, LONGEST_SIDE_PX / max(grid.shape_px))
    size = max(1, round(grid.shape_px[1] * zoom)), max(1, round(grid.shape_px[0] * zoom))
    name_px = int(np.clip(0.26 * zoom * min(grid.pitch_px), *NAME_PX))
    entries = _legend(marks)
    legend_px = int(np.clip(size[0] / 45, *NAME_PX))
    # The legend's lines are part of the height that may not exceed the longest side.
    columns = max(1, min(len(entries), int(size[0] / (13 * legend_px))))
    strip = round(legend_px * (0.8 + 1.6 * -(-len(entries) // columns)))
    if size[1] + strip > LONGEST_SIDE_PX:
        zoom *= (LONGEST_SIDE_PX - strip) / size[1]
        size = max(1, round(grid.shape_px[1] * zoom)), LONGEST_SIDE_PX - strip
    canvas = Image.new("RGB", (max(size[0], 13 * legend_px), size[1] + strip), INK)
    canvas.paste(_base(picture, marks.segmented, size))
    draw = ImageDraw.Draw(canvas)
    _draw_grid(draw, grid, zoom)
    width = max(2, round(zoom * grid.core_diameter_px / 30))
    for core, kind in zip(grid.cores, marks.kinds, strict=True):
        _draw_circle(draw, core, zoom, width, marks.styles[kind])
        if core.name in marks.struck[0]:
            _strike(draw, core, zoom, width)
    font = ImageFont.load_default(name_px)
    for core in grid.cores:
        _draw_name(draw, core, zoom, font)
    font = ImageFont.load_default(legend_px)
    for k, entry in enumerate(entries):
        left = 0.6 * legend_px + (k % columns) * canvas.width / columns
        _draw_entry(draw, entry, (left, size[1] + legend_px * (1.2 + 1.6 * (k // columns))), font)
    return png_bytes(canvas)


class _Entry(NamedTuple):
    """One line of the legend; a stroke instead of a circle where there is no style."""

    style: RingStyle | None
    text: str


def _legend(marks: Marks) -> list[_Entry]:
    entries = [
        _Entry(style, f"{kind} {sum(each == kind for each in marks.kinds)}")
        for kind, style in marks.styles.items()
    ]
    names, words = marks.struck
    return [*entries, _Entry(None, f"{words} {len(names)}")] if names else entries


def _base(
    picture: np.ndarray, segmented: Bool[np.ndarray, "y x"] | None, size: tuple[int, int]
) -> Image.Image:
    """The picture at the size of the canvas, with segmented pixels in red."""
    in_colour = picture.ndim == 3
    shown = Image.fromarray(np.rint(picture * 255).astype(np.uint8)) if in_colour else _grey(picture)
    enlarged = size[0] > shown.width
    base = shown.resize(size, Image.Resampling.BICUBIC if enlarged else Image.Resampling.BOX)
    if segmented is None:
        return base
    opacity = Image.fromarray(segmented.astype(np.uint8) * OPACITY).resize(size, Image.Resampling.BOX)
    return Image.composite(Image.new("RGB", size, ACTIVATION_HIGH), base, opacity)


def _grey(picture: Float[np.ndarray, "y x"]) -> Image.Image:
    """Stretched between the 1st and the 99.5th percentile of what was measured."""
    measured = picture[np.isfinite(picture) & (picture != 0)]
    low, high = np.percentile(measured, [1, 99.5]) if measured.size else (0.0, 1.0)
    scaled = (np.nan_to_num(picture, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return Image.fromarray(np.rint(np.clip(scaled, 0, 1) * BRIGHTEST).astype(np.uint8)).convert("RGB")


def _draw_grid(draw: ImageDraw.ImageDraw, grid: CoreGrid, zoom: float) -> None:
    """Lines through the rows and columns, fitted to the centres of the cores."""
    index = np.array([(core.row, core.column) for core in grid.cores], float).reshape(-1, 2)
    places = np.array([(core.y_px, core.x_px) for core in grid.cores], float).reshape(-1, 2)
    if len(grid.cores) < 2:
        return
    design = np.column_stack([np.ones(len(index)), index])
    fit = np.linalg.lstsq(design, places, rcond=None)[0]
    low, high = index.min(axis=0), index.max(axis=0)
    for axis in (0, 1):
        across = 1 - axis
        for line in range(int(low[axis]), int(high[axis]) + 1):
            ends = np.ones((2, 3))
            ends[:, 1 + axis] = line
            ends[:, 1 + across] = low[across] - 0.45, high[across] + 0.45
            points = _on_canvas(ends @ fit, zoom)
            draw.line([tuple(point) for point in points], GRID, 1)


def _on_canvas(places: Float[np.ndarray, "n 2"], zoom: float) -> list[tuple[float, float]]:
    """(x, y) on the canvas of places (y, x) in pixels, whose centres are whole numbers."""
    return [((x + 0.5) * zoom - 0.5, (y + 0.5) * zoom - 0.5) for y, x in places.tolist()]


def _draw_circle(draw: ImageDraw.ImageDraw, core: Core, zoom: float, width: int, style: RingStyle) -> None:
    ((x, y),) = _on_canvas(np.array([[core.y_px, core.x_px]]), zoom)
    _ring(draw, (x, y), core.radius_px * zoom + width, width, style)


def _strike(draw: ImageDraw.ImageDraw, core: Core, zoom: float, width: int) -> None:
    ((x, y),) = _on_canvas(np.array([[core.y_px, core.x_px]]), zoom)
    reach = 0.75 * (core.radius_px * zoom + width)
    draw.line((x - reach, y + reach, x + reach, y - reach), INK, width + 2)
    draw.line((x - reach, y + reach, x + reach, y - reach), NOT_KEPT, width)


def _ring(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, width: int, style: RingStyle
) -> None:
    x, y = place
    box = (x - radius, y - radius, x + radius, y + radius)
    dark = (box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1)
    turn = 360 / style.dashes
    for dash in range(style.dashes):
        start, end = dash * turn, (dash + style.drawn) * turn
        draw.arc(dark, start, end, INK, width + 2)
        draw.arc(box, start, end, style.colour, width)


def _draw_name(
    draw: ImageDraw.ImageDraw, core: Core, zoom: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """At the upper left of the circle, where neighbouring circles leave most room; inside the picture."""
    ((x, y),) = _on_canvas(np.array([[core.y_px, core.x_px]]), zoom)
    reach = 0.74 * core.radius_px * zoom
    left, top, right, bottom = draw.textbbox((0, 0), core.name, font, anchor="rb", stroke_width=2)
    at = max(x - reach, right - left + 1), max(y - reach, bottom - top + 1)
    draw.text(at, core.name, NAME, font, anchor="rb", stroke_width=2, stroke_fill=INK)


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    entry: _Entry,
    place: tuple[float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = place
    height = draw.textbbox((0, 0), "Ag", font)[3]
    radius, width = 0.5 * height, max(2, height // 10)
    if entry.style is None:
        draw.line((x, y + radius, x + 2 * radius, y - radius), NOT_KEPT, width)
    else:
        # A small circle shows fewer, equally long dashes.
        style = entry.style._replace(dashes=max(1, entry.style.dashes // 2))
        _ring(draw, (x + radius, y), radius, width, style)
    draw.text((x + 2.6 * radius, y), entry.text, NAME, font, anchor="lm")
