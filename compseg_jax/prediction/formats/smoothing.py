"""Outlines with fewer corners, no farther from the pixels than a stated tolerance, that stay valid polygons.

Each ring first runs through the midpoints of its pixel edges, which turns the stairs of a slope into a line and changes
the area of a ring by half a pixel whatever its size; then corners are left out by the algorithm of Douglas and Peucker
(1973, Cartographica 10, doi 10.3138/FM57-6770-U75U-7727) as long as none lies farther than the tolerance from what is
drawn instead. It bounds the distance and leaves vertices where they are, which splines and Chaikin's corner cutting do
not: those make more points of fewer, and people who correct outlines want few.

Up to `LOSSLESS_PX` nothing can go wrong: no centre of a pixel lies nearer than √2/4 to the line through midpoints, no
two parts of it lie nearer than √2/2, so every pixel stays on its side and no two lines meet. With more, regions whose
outlines meet, or whose area changes by more than `AREA_TOLERANCE`, are done again with half the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from compseg_jax.prediction.formats.outlines import Outlines

Ring = Float[np.ndarray, "_ 2"]

LOSSLESS_PX = 0.35
"""Tolerance below √2/4 pixels: every pixel's centre stays inside or outside."""
AREA_TOLERANCE = 0.02
"""Part by which the area of a region may change beyond the half pixel of each of its rings."""
_PAIRS_AT_ONCE = 2_000_000


def smoothed_rings(
    outlines: Outlines, tolerance_px: float = LOSSLESS_PX, *, regions: Sequence[int] | None = None
) -> list[list[Ring]]:
    """The rings of regions, the outer one first, as `Outlines.rings` gives them but smooth.

    Args:
      outlines: of a mask, along the edges of its pixels.
      tolerance_px: farthest that the line through the midpoints of pixel edges may lie from a smooth ring, in pixels;
        at least `LOSSLESS_PX` is used.
      regions: numbers of those that are wanted, from 1; None: all.

    Returns:
      rings (n, 2) as x, y in pixels, by region; no first point is repeated, and no two rings meet.
    """
    wanted = range(1, outlines.count + 1) if regions is None else regions
    through = [[_midpoints(ring) for ring in outlines.rings(number)] for number in wanted]
    tolerances = np.full(len(through), max(tolerance_px, LOSSLESS_PX), np.float64)
    smooth = [[simplified(ring, float(tolerances[0])) for ring in rings] for rings in through]
    while True:
        waiting = tolerances > LOSSLESS_PX
        failed = (
            (_changed_in_area(through, smooth) | _meeting(smooth)) & waiting if waiting.any() else waiting
        )
        if not failed.any():
            return smooth
        tolerances[failed] = np.maximum(tolerances[failed] / 2, LOSSLESS_PX)
        for index in np.flatnonzero(failed):
            smooth[index] = [simplified(ring, float(tolerances[index])) for ring in through[index]]


def _midpoints(ring: Int[np.ndarray, "_ 2"]) -> Ring:
    """Midpoints of the first and last pixel edge between two corners, in order, each once."""
    following = np.roll(ring, -1, axis=0)
    half = np.sign(following - ring) / 2
    ends = np.stack([ring + half, following - half], axis=1).reshape(-1, 2)
    return ends[(ends != np.roll(ends, 1, axis=0)).any(axis=1)]


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Corners of a ring of which the others lie at most a tolerance from the line, at least three.

    >>> simplified(np.array([[0, 0], [2, 0.1], [4, 0], [4, 4], [0, 4]], float), 0.5).tolist()
    [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]
    """
    count = len(ring)
    if count <= 4:
        return ring
    # The two ends that stay: the leftmost corner, which lies on the hull, and the one farthest from it.
    first = int(np.lexsort((ring[:, 1], ring[:, 0]))[0])
    turned = np.roll(ring, -first, axis=0)
    far = int(np.argmax(((turned - turned[0]) ** 2).sum(axis=1)))
    points = [*turned.tolist(), turned[0].tolist()]
    kept = [0, far, count]
    waiting = [(0, far), (far, count)]
    while waiting:
        start, end = waiting.pop()
        if end - start < 2:
            continue
        worst, off = _farthest(points, start, end)
        if off > tolerance**2:
            kept.append(worst)
            waiting += [(start, worst), (worst, end)]
    if len(kept) < 4:  # all on one line within the tolerance: the corner farthest from it stays
        kept.append(
            max(
                (_farthest(points, *ends) for ends in ((0, far), (far, count)) if ends[1] - ends[0] > 1),
                key=lambda found: found[1],
            )[0]
        )
    return turned[sorted(kept)[:-1]]


def _farthest(points: Sequence[Sequence[float]], start: int, end: int) -> tuple[int, float]:
    """Which point between two others lies farthest from the piece of a line between them, and that distance squared.

    In plain Python: most pieces hold a handful of points, for which NumPy would take ten times as long.
    """
    (x0, y0), (x1, y1) = points[start], points[end]
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    worst, most = start + 1, -1.0
    for index in range(start + 1, end):
        px, py = points[index][0] - x0, points[index][1] - y0
        along = px * dx + py * dy
        if length and 0 < along < length:
            cross = px * dy - py * dx
            off = cross * cross / length
        else:
            if along > 0:
                px, py = px - dx, py - dy
            off = px * px + py * py
        if off > most:
            worst, most = index, off
    return worst, most


def ring_area(ring: Ring) -> float:
    """x·dy area: positive of outer rings, negative of holes."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2


def _changed_in_area(through: Sequence[Sequence[Ring]], smooth: Sequence[Sequence[Ring]]) -> np.ndarray:
    """Regions of which the whole or a hole has another area, or a hole is gone."""
    changed = np.zeros(len(smooth), bool)
    for region, (before, after) in enumerate(zip(through, smooth, strict=True)):
        old = np.array([ring_area(ring) for ring in before])
        new = np.array([ring_area(ring) for ring in after])
        whole = abs(new.sum() - old.sum()) > AREA_TOLERANCE * old.sum()
        changed[region] = whole or bool((np.abs(new - old) > np.maximum(0.5, 0.1 * np.abs(old))).any())
        changed[region] |= bool((np.sign(new) != np.sign(old)).any())
    return changed


def _meeting(regions: Sequence[Sequence[Ring]]) -> Bool[np.ndarray, " regions"]:
    """Regions of which a line meets another one of theirs, or one of another region."""
    meets = np.zeros(len(regions), bool)
    rings = [(region, ring) for region, all_of_it in enumerate(regions) for ring in all_of_it]
    if not rings:
        return meets
    # Midpoints are halves: doubled, everything below is exact in integers.
    start = np.rint(2 * np.concatenate([ring for _, ring in rings])).astype(np.int64)
    end = np.rint(2 * np.concatenate([np.roll(ring, -1, axis=0) for _, ring in rings])).astype(np.int64)
    region = np.repeat([number for number, _ in rings], [len(ring) for _, ring in rings])
    for one, other in _near(start, end):
        a, b, c, d = start[one], end[one], start[other], end[other]
        sides = [np.sign(_turn(*three)) for three in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))]
        crosses = (sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0)
        follow, precede = (b == c).all(axis=1), (a == d).all(axis=1)
        # Neighbours share an end; they meet elsewhere only where one runs back along the other.
        back = ((b - a) * (d - c)).sum(axis=1) < 0
        neighbours = follow | precede
        found = crosses & np.where(neighbours, (sides[0] == 0) & (sides[1] == 0) & back, True)
        meets[region[one[found]]] = True
        meets[region[other[found]]] = True
    return meets


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    return ux * vy - uy * vx


def _near(start: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of pieces whose boxes touch, each once, some at a time."""
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.argsort(low[:, 0], kind="stable")
    low, high = low[order], high[order]
    # Of those sorted by their left end, the ones that begin before this one ends.
    counts = np.searchsorted(low[:, 0], high[:, 0], side="right") - np.arange(len(order)) - 1
    ends = np.cumsum(counts)
    first = 0
    while first < len(order):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        one = np.repeat(np.arange(first, last), counts[first:last])
        begins = np.repeat(ends[first:last] - counts[first:last], counts[first:last])
        other = one + 1 + np.arange(len(one)) + done - begins
        touching = (low[one, 1] <= high[other, 1]) & (low[other, 1] <= high[one, 1])
        yield order[one[touching]], order[other[touching]]
        first = last
