"""Outlines of the regions of a mask, exactly along the edges of its pixels, as valid polygons with holes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

# The four pixels around a grid point: which of them are in the mask.
_NORTH_WEST, _NORTH_EAST, _SOUTH_WEST, _SOUTH_EAST = 1, 2, 4, 8
_FALLING = _NORTH_WEST | _SOUTH_EAST  # two pixels that touch in a corner only, like a backslash
_RISING = _NORTH_EAST | _SOUTH_WEST
_CORNERS_AT = np.array(
    [2 if around in (_FALLING, _RISING) else around.bit_count() % 2 for around in range(16)], np.uint8
)
"""How often outlines turn at a grid point, by the pixels around it."""


@dataclass(frozen=True)
class Outlines:
    """The regions of a mask and the closed outlines of each.

    A region is a set of pixels connected by edges; pixels that touch in a corner only are two regions. The
    outlines of one region are an outer ring and its holes, and make a valid polygon in the sense of OGC simple
    features: no ring visits a point twice (one that would is split there), rings meet in single points at most.
    """

    labels: Int[np.ndarray, "y x"]
    """Number of the region of every pixel, from 1 in reading order; 0 outside."""
    count: int
    """Number of regions."""
    points: Int[np.ndarray, "n 2"]
    """(x, y) of the corners of all rings, in pixel edges from the top left corner; a ring does not repeat its
    first point. x·dy encloses a positive area in outer rings and a negative one in holes."""
    ring_starts: Int[np.ndarray, " ringstarts"]
    """Where each ring begins in `points`, and the end of the last; rings by region, the outer one first."""
    region_starts: Int[np.ndarray, " regionstarts"]
    """Where the rings of each region begin, and the end of the last one's."""

    def rings(self, region: int) -> Iterator[Int[np.ndarray, "n 2"]]:
        """Corners of the rings of a region (1 to `count`), the outer ring first."""
        first, last = self.region_starts[region - 1], self.region_starts[region]
        for ring in range(int(first), int(last)):
            yield self.points[self.ring_starts[ring] : self.ring_starts[ring + 1]]


def trace(mask: Bool[np.ndarray, "y x"]) -> Outlines:
    """Traces the outlines of every region.

    Outlines turn at certain grid points only, which are found for the whole mask at once. On a horizontal grid
    line the first and second such point are joined by an outline, the third and fourth, and so on; likewise on
    vertical lines. Following one kind of join after the other walks around a ring, corner by corner.

    Args:
      mask: True inside.

    Raises:
      ValueError: if the mask has other than two axes.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"the mask has the shape {mask.shape}, required (y, x); give one image at a time.")
    mask = mask.astype(np.bool_, copy=False)
    labels, count = ndimage.label(mask)
    width = mask.shape[1] + 1
    around = _pixels_around(mask).ravel()
    turns = np.flatnonzero(_CORNERS_AT[around])
    turns = np.repeat(turns, _CORNERS_AT[around[turns]])  # twice where two outlines touch
    around = around[turns]
    points = np.stack([turns % width, turns // width], axis=1).astype(np.int32)
    del turns
    order, lengths = _walk(around, _joined_vertically(points, around))
    return _sorted_by_region(labels, count, points[order], lengths)


def _pixels_around(mask: np.ndarray) -> np.ndarray:
    """(y + 1, x + 1) uint8: bits of the pixels in the mask around every grid point."""
    padded = np.pad(mask, 1).view(np.uint8)
    around = padded[:-1, :-1] * np.uint8(_NORTH_WEST)
    around |= padded[:-1, 1:] << np.uint8(1)
    around |= padded[1:, :-1] << np.uint8(2)
    around |= padded[1:, 1:] << np.uint8(3)
    return around


def _joined_vertically(points: np.ndarray, around: np.ndarray) -> np.ndarray:
    """For every turn the one that an outline joins it to on its vertical grid line.

    Where two outlines touch, the first turn ends the horizontal join on the left. Pixels that touch in a corner
    are apart, so it goes on upwards for a falling pair, downwards for a rising one.
    """
    in_column = np.arange(len(points))
    rising = np.flatnonzero(around == _RISING)  # pairs of neighbours
    in_column[rising] = rising.reshape(-1, 2)[:, ::-1].ravel()
    in_column = in_column[np.argsort(points[in_column, 0], kind="stable")]
    joined = np.empty(len(points), np.int64)
    joined[in_column[0::2]] = in_column[1::2]
    joined[in_column[1::2]] = in_column[0::2]
    return joined


def _walk(around: np.ndarray, joined_vertically: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns in the order of the rings, and the number of turns of each ring.

    A ring that comes back to a point where two outlines touch is split there into two.
    """
    n_joins = len(around) // 2
    left = 2 * np.arange(n_joins)
    # With the mask below it, a horizontal join runs to the right.
    begins = np.where(around[left] & _SOUTH_EAST, left, left + 1).data
    joined = joined_vertically.data
    touching = np.flatnonzero((around == _FALLING) | (around == _RISING))
    touch = np.full(len(around), -1, np.int64)
    touch[touching] = np.repeat(touching[::2], 2)  # one name for both turns of a point
    touch_of = touch.data
    walked = bytearray(n_joins)
    order, lengths = array("q"), array("q")
    for join in range(n_joins):
        if walked[join]:
            continue
        first = turn = begins[join]
        ring: list[int] = []
        place: dict[int, int] = {}  # where in the ring a point lies at which outlines touch
        while True:
            walked[turn >> 1] = 1
            for corner in (turn, turn ^ 1):
                point = touch_of[corner]
                if point < 0:
                    ring.append(corner)
                elif point not in place:
                    place[point] = len(ring)
                    ring.append(corner)
                else:
                    # What a ring touches itself across lies outside of the region, always on the same side of the
                    # ring, so loops nest and never interleave: no other point of this one is met again.
                    loop = ring[place[point] :]
                    del ring[place[point] + 1 :]
                    order.extend(loop)
                    lengths.append(len(loop))
            turn = joined[turn ^ 1]
            if turn == first:
                break
        order.extend(ring)
        lengths.append(len(ring))
    return np.array(order, np.int64), np.array(lengths, np.int64)


def _sorted_by_region(labels: np.ndarray, count: int, points: np.ndarray, lengths: np.ndarray) -> Outlines:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if not count:
        return Outlines(labels, 0, points, starts, np.zeros(1, np.int64))
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    x, y = points.T.astype(np.int64)
    twice_area = np.add.reduceat(x * y[following] - x[following] * y, starts[:-1])
    begin = points[starts[:-1]]
    step = points[starts[:-1] + 1] - begin
    # The mask lies on the right hand of every step, in a picture whose rows run downwards.
    row = begin[:, 1] - ((step < 0).any(axis=1))
    column = begin[:, 0] - ((step[:, 0] < 0) | (step[:, 1] > 0))
    region = labels[row, column]
    rank = np.lexsort((twice_area < 0, region))
    lengths = lengths[rank]
    sorted_starts = np.concatenate([[0], np.cumsum(lengths)])
    source = np.repeat(starts[:-1][rank] - sorted_starts[:-1], lengths) + np.arange(len(points))
    region_starts = np.searchsorted(region[rank], np.arange(1, count + 2))
    return Outlines(labels, count, points[source], sorted_starts, region_starts)
