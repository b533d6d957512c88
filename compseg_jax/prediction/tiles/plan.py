"""Tiles of an image: which pixels each reads, and which of the map each writes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from compseg_jax.model.canvas import canvas_px
from compseg_jax.networks.build import Module
from compseg_jax.networks.receptive_field import ReceptiveField

MOST_TILES_A_SIDE = 4096
FINER = 1.12
"""From one number of tiles along an axis to the next that is tried, where there are many."""
FREE_OVERLAP = 1.06
"""Pixels computed for each pixel written that are always accepted: small tiles lose little when killed."""
NEARLY_BEST = 1.02
"""Where overlap costs more than that, tiles may be smaller as long as they cost at most this much more."""
SMALLEST_TILE_PX = 512 * 512
"""Smaller tiles are not sought: each costs a call and a line of the journal."""


class Turn(NamedTuple):
    """A flip or quarter turn of an image: rows reversed, then columns reversed, then both axes exchanged."""

    upside_down: bool
    left_right: bool
    transposed: bool

    def apply(self, image: Shaped[np.ndarray, "y x *c"]) -> Shaped[np.ndarray, "v u *c"]:
        """The turned image (a view)."""
        image = image[:: -1 if self.upside_down else 1, :: -1 if self.left_right else 1]
        return image.swapaxes(0, 1) if self.transposed else image

    def undo(self, image: Shaped[np.ndarray, "v u *c"]) -> Shaped[np.ndarray, "y x *c"]:
        """The image that was turned (a view)."""
        image = image.swapaxes(0, 1) if self.transposed else image
        return image[:: -1 if self.upside_down else 1, :: -1 if self.left_right else 1]


_ALL_TURNS = tuple(Turn(y, x, t) for t in (False, True) for y in (False, True) for x in (False, True))
TURNS: dict[str, tuple[Turn, ...]] = {"none": _ALL_TURNS[:1], "flips": _ALL_TURNS[:4], "dihedral": _ALL_TURNS}
"""What ``average_over`` stands for."""


class View(NamedTuple):
    """What of a tile is shown in one turn, and where the tile's core is in it (both before it is turned).

    It is as the tile was read where nothing is turned and all of it is shown.
    """

    turn: Turn
    y: slice
    x: slice
    inner_y: slice
    inner_x: slice
    is_as_read: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that the network is shown, as they lie after the turn."""
        height, width = self.y.stop - self.y.start, self.x.stop - self.x.start
        return (width, height) if self.turn.transposed else (height, width)


class Span(NamedTuple):
    """One tile along one axis: it reads ``start`` to ``stop`` and writes ``first`` to ``last`` (ends not included)."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        """What is read."""
        return slice(self.start, self.stop)

    @property
    def core(self) -> slice:
        """What is written."""
        return slice(self.first, self.last)

    @property
    def inner(self) -> slice:
        """The core, counted from the start of the window."""
        return slice(self.first - self.start, self.last - self.start)


class Tile(NamedTuple):
    """A tile: its spans along y and x, and its place in the order of tiles."""

    number: int
    y: Span
    x: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are read."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    @property
    def core_px(self) -> int:
        """Pixels that are written."""
        return (self.y.last - self.y.first) * (self.x.last - self.x.first)


def spans(length: int, size: int, field: ReceptiveField) -> list[Span]:
    """Tiles of ``size`` pixels along an axis of ``length`` pixels whose cores are disjoint and cover it.

    Every tile starts at a multiple of ``field.multiple`` and ends at one or at the end of the axis; every pixel
    that reaches its core lies in it. All have the same size, except the last where the length is no multiple.

    Args:
      length: pixels of the axis.
      size: pixels of a tile, a multiple of ``field.multiple`` that leaves a core between two margins.
      field: reach of the network.

    Raises:
      ValueError: when the size is no such multiple.
    """
    multiple = field.multiple
    margin = _up(field.margin, multiple)
    if size >= length:
        return [Span(0, length, 0, length)]
    if size % multiple or size <= 2 * margin:
        raise ValueError(
            f"tiles of {size} pixels: a multiple of {multiple} above {2 * margin} is required, twice the margin of "
            f"{margin} pixels that the network needs around what a tile writes."
        )
    found = [Span(0, size, 0, size - margin)]
    while found[-1].last < length:
        first = found[-1].last
        start = first - margin
        if start + size < length:
            found.append(Span(start, start + size, first, start + size - margin))
        else:
            found.append(Span(_up(length - size, multiple), length, first, length))
    return found


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one image.

    Attributes:
      shape_px: rows and columns of the image.
      size_px: rows and columns of a tile.
      field: reach of the network; None where the image is one tile.
      turns: how each tile is shown to the network; the map is the mean over them.
    """

    shape_px: tuple[int, int]
    size_px: tuple[int, int]
    field: ReceptiveField | None = None
    turns: tuple[Turn, ...] = TURNS["none"]

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        rows, columns = (self._spans(axis) for axis in (0, 1))
        pairs = [(y, x) for y in rows for x in columns]
        return tuple(Tile(number, y, x) for number, (y, x) in enumerate(pairs))

    @property
    def is_whole(self) -> bool:
        """Whether one tile holds the image."""
        return len(self.tiles) == 1

    @cached_property
    def shown_px(self) -> tuple[int, int]:
        """Rows and columns of the largest part of a tile that the network is shown at once, before it is turned."""
        most = []
        for axis in (0, 1):
            directions = {turn[axis] for turn in self.turns}
            seen = [self._seen(span, axis, flipped=way) for span in self._spans(axis) for way in directions]
            most.append(max(stop - start for start, stop in seen))
        return most[0], most[1]

    @cached_property
    def part_px(self) -> tuple[int, int] | None:
        """Rows and columns of the part of a tile that counts (`networks.part`), before it is turned.

        It holds what the last levels of a way up take in; None where there is one tile, or no way up.
        """
        if self.field is None or not self.field.decoder or self.is_whole:
            return None
        views = [view for tile in self.tiles for view in self.views(tile)]
        found = []
        for axis, length in enumerate(self.shown_px):
            multiple = self.field.part_multiple
            stretches = [self._stretch(view, axis) for view in views]
            needed = max(_up(stop, multiple) - start for start, stop in stretches)
            # An axis without margins is taken whole, whatever its length.
            found.append(length if length % multiple else min(needed, length))
        return found[0], found[1]

    def part_start(self, view: View) -> tuple[int, int]:
        """Where that part begins in what a view shows, rows and columns as they lie after the turn.

        Raises:
          ValueError: where there are no parts.
        """
        if self.field is None or self.part_px is None:
            raise ValueError("the tiles of this plan are computed whole")
        starts = []
        for axis, (length, part) in enumerate(zip(self.shown_px, self.part_px, strict=True)):
            start, _ = self._stretch(view, axis)
            starts.append(min(start, length - part))
        return (starts[1], starts[0]) if view.turn.transposed else (starts[0], starts[1])

    def _stretch(self, view: View, axis: int) -> tuple[int, int]:
        """Along an axis what must be computed of a view after it is flipped: its start, a multiple, and its stop."""
        assert self.field is not None
        seen, inner = (view.y, view.inner_y) if axis == 0 else (view.x, view.inner_x)
        length, first, last = seen.stop - seen.start, inner.start, inner.stop
        if view.turn[axis]:
            first, last = length - last, length - first
        beside, multiple = self.field.blurred, self.field.part_multiple
        return max(0, first - beside) // multiple * multiple, min(length, last + beside)

    def canvas_px(self, network: Module) -> tuple[int, int]:
        """What a network is shown tiles on, so that those at the end of an image share the program of the others."""
        return canvas_px(self.shape_px, network) if self.is_whole else self.shown_px

    @property
    def overlap(self) -> float:
        """Pixels computed for each pixel of the image."""
        computed = sum(height * width for height, width in (tile.shape for tile in self.tiles))
        return computed / (self.shape_px[0] * self.shape_px[1])

    def batches(self, n: int, done: Collection[int] = ()) -> Iterator[list[Tile]]:
        """Tiles that are not done, up to ``n`` with the same views at a time, otherwise in order."""
        waiting: dict[object, list[Tile]] = {}
        for tile in self.tiles:
            if tile.number in done:
                continue
            likeness = tile.shape, *((view.y, view.x) for view in self.views(tile))
            alike = waiting.setdefault(str(likeness), [])
            alike.append(tile)
            if len(alike) == n:
                yield waiting.pop(str(likeness))
        yield from waiting.values()

    def views(self, tile: Tile) -> tuple[View, ...]:
        """What of a tile the network is shown in each turn."""
        found = []
        for turn in self.turns:
            parts = []
            for axis, span in enumerate((tile.y, tile.x)):
                start, stop = self._seen(span, axis, flipped=turn[axis])
                seen = slice(start - span.start, stop - span.start)
                parts.append((seen, slice(span.first - start, span.last - start)))
            (y, inner_y), (x, inner_x) = parts
            is_as_read = not any(turn) and (y, x) == tuple(slice(0, length) for length in tile.shape)
            found.append(View(turn, y, x, inner_y, inner_x, is_as_read))
        return tuple(found)

    def _spans(self, axis: int) -> list[Span]:
        length, size = self.shape_px[axis], self.size_px[axis]
        if self.field is None or size >= length:
            return [Span(0, length, 0, length)]
        found = spans(length, size, self.field)
        if not self._is_flipped(axis):
            return found
        seen = [self._seen(span, axis, flipped=True) for span in found]
        return [
            span._replace(start=min(span.start, start), stop=max(span.stop, stop))
            for span, (start, stop) in zip(found, seen, strict=True)
        ]

    def _is_flipped(self, axis: int) -> bool:
        return any(turn[axis] for turn in self.turns)

    def _seen(self, span: Span, axis: int, *, flipped: bool) -> tuple[int, int]:
        """The stretch of an axis that the network is shown for a span, so that poolings fall as in the whole image.

        A flipped image has its cells counted from its other end.
        """
        length, field = self.shape_px[axis], self.field
        if field is None or (span.start, span.stop) == (0, length) or not self._is_flipped(axis):
            return span.start, span.stop
        if not flipped:
            return field.window(span.first, span.last, length)
        start, stop = field.window(length - span.last, length - span.first, length)
        return length - stop, length - start


def plan_tiles(
    shape_px: tuple[int, int],
    field: ReceptiveField | None,
    most_px: float,
    *,
    turns: tuple[Turn, ...] = TURNS["none"],
    at_once: int = 1,
) -> TilePlan | None:
    """The plan that computes little twice and keeps tiles small; None where no tile is small enough.

    Args:
      shape_px: rows and columns of the image.
      field: reach of the network; None: the image must stay whole.
      most_px: pixels that a tile may have.
      turns: how tiles are shown to the network.
      at_once: tiles that are computed together.
    """
    area = shape_px[0] * shape_px[1]
    whole = TilePlan(shape_px, shape_px, field, turns)
    if field is None:
        return whole if area <= most_px else None
    if area <= min(most_px, SMALLEST_TILE_PX):
        return whole
    rows, columns = (
        {size: len(spans(length, size, field)) for size in _sizes(length, field)} for length in shape_px
    )
    cost = {
        (height, width): math.ceil(n * m / at_once) * at_once * height * width / area
        for height, n in rows.items()
        for width, m in columns.items()
        if height * width <= most_px
    }
    if not cost:
        return None
    most = max(FREE_OVERLAP, NEARLY_BEST * min(cost.values()))

    def smallness(size: tuple[int, int]) -> tuple[bool, int, float]:
        px = size[0] * size[1]
        return px < SMALLEST_TILE_PX, px, abs(math.log(size[0] / size[1]))

    return TilePlan(shape_px, min((size for size in cost if cost[size] <= most), key=smallness), field, turns)


def _sizes(length: int, field: ReceptiveField) -> list[int]:
    """Sizes of tiles that part an axis evenly, the whole axis first."""
    multiple, margin = field.multiple, _up(field.margin, field.multiple)
    found, number = {length: None}, 2
    while number <= MOST_TILES_A_SIDE:
        size = _up(-(-(length + 2 * margin * (number - 1)) // number), multiple)
        if size >= length or size <= 2 * margin:
            break
        found[size] = None
        number = max(number + 1, int(number * FINER))
    return [*found]


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
