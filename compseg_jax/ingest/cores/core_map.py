"""A picture of a tissue array with its cores drawn in: the check before cores are cut out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from compseg_jax.ingest.cores.grid import Core, CoreGrid, Status

LONGEST_SIDE_PX = 2000
LARGEST_ZOOM = 6.0
BRIGHTEST = 190  # grey of the thickest tissue, so that white names stand out
NAME_PX = (11, 34)  # smallest and largest letters
INK, NAME, GRID, NOT_KEPT = (0, 0, 0), (255, 255, 255), (120, 120, 120), (255, 255, 255)


class _Style(NamedTuple):
    """Colour (of Okabe and Ito, distinguishable with every kind of colour vision) and how much of a circle is drawn."""

    colour: tuple[int, int, int]
    dashes: int
    drawn: float


STYLES: Mapping[Status, _Style] = MappingProxyType(
    {
        "present": _Style((86, 180, 233), 1, 1.0),
        "broken": _Style((240, 228, 66), 12, 0.65),
        "missing": _Style((213, 94, 0), 24, 0.35),
    }
)


def core_map_png(picture: Float[np.ndarray, "y x"], grid: CoreGrid) -> bytes:
    """PNG of the tissue with every core's circle, name and state, and the grid through them.

    Whole circles are present, dashed ones broken, dotted ones missing; a stroke through a circle says that
    the core is not kept. A legend with the numbers of each stands below.

    Args:
      picture: as given to `find_cores`, shape (y, x); NaN is drawn black.
      grid: the cores found in it.

    Returns:
      a PNG of at most 2000 pixels per side.

    Raises:
      ValueError: if the picture is not that of the grid.
    """
    if picture.shape != grid.shape_px:
        raise ValueError(
            f"picture: found shape {picture.shape}, but the cores were found in {grid.shape_px}; give their picture."
        )
    zoom = min(LARGEST_ZOOM, LONGEST_SIDE_PX / max(picture.shape))
    size = max(1, round(picture.shape[1] * zoom)), max(1, round(picture.shape[0] * zoom))
    name_px = int(np.clip(0.26 * zoom * min(grid.pitch_px), *NAME_PX))
    entries = _legend(grid)
    legend_px = int(np.clip(size[0] / 45, *NAME_PX))
    # The legend's lines are part of the height that may not exceed the longest side.
    columns = max(1, min(len(entries), int(size[0] / (13 * legend_px))))
    strip = round(legend_px * (0.8 + 1.6 * -(-len(entries) // columns)))
    if size[1] + strip > LONGEST_SIDE_PX:
        zoom *= (LONGEST_SIDE_PX - strip) / size[1]
        size = max(1, round(picture.shape[1] * zoom)), LONGEST_SIDE_PX - strip
    canvas = Image.new("RGB", (max(size[0], 13 * legend_px), size[1] + strip), INK)
    canvas.paste(_grey(picture).resize(size, Image.Resampling.BICUBIC if zoom > 1 else Image.Resampling.BOX))
    draw = ImageDraw.Draw(canvas)
    _draw_grid(draw, grid, zoom)
    width = max(2, round(zoom * grid.core_diameter_px / 30))
    for core in grid.cores:
        _draw_circle(draw, core, zoom, width)
    font = ImageFont.load_default(name_px)
    for core in grid.cores:
        _draw_name(draw, core, zoom, font)
    font = ImageFont.load_default(legend_px)
    for k, entry in enumerate(entries):
        left = 0.6 * legend_px + (k % columns) * canvas.width / columns
        _draw_entry(draw, entry, (left, size[1] + legend_px * (1.2 + 1.6 * (k // columns))), font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


class _Entry(NamedTuple):
    """One line of the legend."""

    status: Status | None
    text: str


def _legend(grid: CoreGrid) -> list[_Entry]:
    entries = [
        _Entry(status, f"{status} {sum(core.status == status for core in grid.cores)}") for status in STYLES
    ]
    unkept = sum(not core.keep for core in grid.cores if core.status != "missing")
    return [*entries, _Entry(None, f"not kept {unkept}")] if unkept else entries


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


def _draw_circle(draw: ImageDraw.ImageDraw, core: Core, zoom: float, width: int) -> None:
    ((x, y),) = _on_canvas(np.array([[core.y_px, core.x_px]]), zoom)
    radius = core.radius_px * zoom + width
    _ring(draw, (x, y), radius, width, STYLES[core.status])
    if not core.keep and core.status != "missing":
        reach = 0.75 * radius
        draw.line((x - reach, y + reach, x + reach, y - reach), INK, width + 2)
        draw.line((x - reach, y + reach, x + reach, y - reach), NOT_KEPT, width)


def _ring(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, width: int, style: _Style
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
    if entry.status is None:
        draw.line((x, y + radius, x + 2 * radius, y - radius), NOT_KEPT, width)
    else:
        style = STYLES[entry.status]
        # A small circle shows fewer, equally long dashes.
        style = style._replace(dashes=max(1, style.dashes // 2))
        _ring(draw, (x + radius, y), radius, width, style)
    draw.text((x + 2.6 * radius, y), entry.text, NAME, font, anchor="lm")
