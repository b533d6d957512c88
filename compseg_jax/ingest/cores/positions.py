"""What lies at each position of a fitted grid: tissue's area, centre and extent, and which lines are real."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Bool, Float, Int

from compseg_jax.ingest.cores.grid import DearrayOptions
from compseg_jax.ingest.cores.lattice import Lattice

REACH = 1.25  # of a core's radius: tissue further from its centre is not its own
FAINT_REACH = 0.8  # the same where there is no solid core
EXTENT_QUANTILE = 0.98
MOST_POSITIONS = 10_000
_ROUNDS = 4
_SHORT_LINE = 3  # lines of up to so many positions may end in a single broken core


class Positions(NamedTuple):
    """Every position between the outermost cores, row by row, and the tissue found there.

    Attributes:
      numbers: (n, 2) row and column, from (0, 0) at the top left.
      centres: (n, 2) (y, x) of the tissue, of the position where there is none.
      areas: (n,) tissue pixels.
      radii: (n,) radius about the centre that holds 98 % of the tissue, 0 where there is none.
      diameter: of a full core.
    """

    numbers: Int[np.ndarray, "n 2"]
    centres: Float[np.ndarray, "n 2"]
    areas: Float[np.ndarray, " n"]
    radii: Float[np.ndarray, " n"]
    diameter: float

    @property
    def fractions(self) -> Float[np.ndarray, " n"]:
        """Tissue over the area of a full core."""
        return self.areas / (math.pi * self.diameter**2 / 4)


class Points(NamedTuple):
    """Places that may be cores.

    Attributes:
      centres: (n, 2) (y, x).
      fill: (n,) how full of tissue each is.
      solid_fill: the least that is a core by itself; fainter ones may be what is left of one.
    """

    centres: Float[np.ndarray, "n 2"]
    fill: Float[np.ndarray, " n"]
    solid_fill: float


def cleaned(mask: Bool[np.ndarray, "y x"], diameter: float) -> Bool[np.ndarray, "y x"]:
    """The mask without gaps narrower than an eighth of a core and specks below half a percent of one."""
    radius = max(1, round(diameter / 16))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = y * y + x * x <= radius * radius + 0.5
    padded = np.pad(mask, radius)
    closed = scipy.ndimage.binary_closing(padded, disc)[radius:-radius, radius:-radius]
    labels, count = scipy.ndimage.label(closed)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= 0.005 * math.pi * diameter**2 / 4
    large[0] = False
    return large[labels]


def measure_positions(
    mask: Bool[np.ndarray, "y x"],
    lattice: Lattice,
    points: Points,
    diameter: float,
    options: DearrayOptions,
) -> Positions:
    """Shares the tissue out among the positions and drops outer lines that debris alone would make.

    A tissue pixel belongs to the nearest core if it lies within 1.25 radii; centres follow their tissue. An
    outer row or column counts where it holds a core that is not broken, or two broken ones (one, where the
    line has at most three positions).

    Raises:
      ValueError: if no position holds enough tissue, or the grid is impossibly large.
    """
    number, fits = lattice.number(points.centres)
    solid = fits & (points.fill >= points.solid_fill)
    if not solid.any():
        raise ValueError(
            "no patch of tissue fits a grid of cores; choose another band or state the diameter."
        )
    index = _all_positions(number[solid])
    fits &= ((number >= index[0]) & (number <= index[-1])).all(axis=1)
    # Where a full blob and a faint one share a position, the full one is the core.
    weight = np.where(solid, points.fill, 1e-3 * points.fill)[fits]
    slots = (number[fits] - index[0]) @ np.array([int(index[-1, 1] - index[0, 1]) + 1, 1])
    total = np.bincount(slots, weight, minlength=len(index))
    starts = lattice.places(index)
    for axis in (0, 1):
        summed = np.bincount(slots, weight * points.centres[fits, axis], minlength=len(index))
        starts[:, axis] = np.where(total > 0, summed / np.maximum(total, 1e-9), starts[:, axis])
    # Debris must not take the rim of a neighbour, and a position without any blob takes nothing.
    has_solid = np.bincount(slots, solid[fits], minlength=len(index)) > 0
    reach = np.where(has_solid, REACH, np.where(total > 0, FAINT_REACH, 0.0)) * diameter / 2
    shares = _shared_out(mask, starts, reach)
    # A fragment that leans against a core makes no blob of its own.
    least = options.missing_below * math.pi * diameter**2 / 4
    leaning, centres = _left_over(shares, lattice.places(index), diameter / 2, least)
    leaning &= total == 0
    if leaning.any():
        starts = np.where(leaning[:, None], centres, starts)
        shares = _shared_out(mask, starts, np.where(leaning, FAINT_REACH * diameter / 2, reach))
    positions = Positions(index, shares.centres, shares.areas, shares.radii(), diameter)
    if not options.core_diameter_um:
        positions = positions._replace(diameter=_typical_diameter(positions))
    return _trimmed(positions, options)


def _all_positions(index: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "m 2"]:
    first, last = index.min(axis=0), index.max(axis=0)
    count = int(np.prod(last - first + 1))
    if count > MOST_POSITIONS:
        raise ValueError(
            f"the grid found has {count} positions; at most {MOST_POSITIONS} are measured. State the core "
            "diameter, or choose another band."
        )
    grid = np.mgrid[first[0] : last[0] + 1, first[1] : last[1] + 1]
    return grid.reshape(2, -1).T


class _Shares(NamedTuple):
    """Tissue pixels (p, 2), the position each belongs to (−1: none), and what that makes of the positions."""

    pixels: Float[np.ndarray, "p 2"]
    owner: Int[np.ndarray, " p"]
    centres: Float[np.ndarray, "n 2"]
    areas: Float[np.ndarray, " n"]

    def radii(self) -> Float[np.ndarray, " n"]:
        """About each centre, holds 98 % of the tissue; 0 where there is none."""
        mine = self.owner >= 0
        owner = self.owner[mine]
        away = np.linalg.norm(self.pixels[mine] - self.centres[owner], axis=1)
        groups = np.split(away[np.argsort(owner, kind="stable")], np.cumsum(self.areas.astype(int))[:-1])
        return np.array([float(np.quantile(one, EXTENT_QUANTILE)) if one.size else 0.0 for one in groups])


def _shared_out(
    mask: Bool[np.ndarray, "y x"], starts: Float[np.ndarray, "n 2"], reach: Float[np.ndarray, " n"]
) -> _Shares:
    """Every pixel to the nearest centre within its reach, centres to the mean of their pixels, and again.

    A core's circle is as large as its tissue: nearest is meant by the power of the circles, so that a
    fragment takes nothing from the whole core beside it.
    """
    pixels = np.argwhere(mask).astype(float)
    centres, areas = starts, np.pi * (reach / REACH) ** 2
    flat = np.zeros((len(pixels), 1))
    for _ in range(_ROUNDS):
        # Lifting each centre turns power into distance: d² + (r_max² − r²).
        squared = areas / np.pi
        lifted = np.column_stack([centres, np.sqrt(squared.max() - squared)])
        bound = float(np.hypot(reach.max(), lifted[:, 2].max())) + 1e-6
        _, owner = scipy.spatial.KDTree(lifted).query(
            np.column_stack([pixels, flat]), distance_upper_bound=bound
        )
        within = owner < len(starts)
        away = np.linalg.norm(pixels[within] - centres[owner[within]], axis=1)
        within[within] = away <= reach[owner[within]]
        owner = np.where(within, owner, -1)
        areas = np.bincount(owner[within], minlength=len(starts)).astype(float)
        summed = [np.bincount(owner[within], pixels[within, axis], minlength=len(starts)) for axis in (0, 1)]
        mean = np.stack(summed, axis=1) / np.maximum(areas, 1)[:, None]
        centres = np.where(areas[:, None] > 0, mean, starts)
    return _Shares(pixels, owner, centres, areas)


def _left_over(
    shares: _Shares, places: Float[np.ndarray, "n 2"], radius: float, least: float
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Positions within whose radius lies enough tissue of no other, and the centres of that tissue."""
    pixels = shares.pixels[shares.owner < 0]
    _, nearest = scipy.spatial.KDTree(places).query(pixels, distance_upper_bound=radius)
    near = nearest < len(places)
    count = np.bincount(nearest[near], minlength=len(places))
    summed = [np.bincount(nearest[near], pixels[near, axis], minlength=len(places)) for axis in (0, 1)]
    return count >= least, np.stack(summed, axis=1) / np.maximum(count, 1)[:, None]


def _typical_diameter(positions: Positions) -> float:
    whole = positions.areas[positions.fractions >= 0.5]
    if not whole.size:
        return positions.diameter
    return float(2 * np.sqrt(np.median(whole) / np.pi))


def _trimmed(positions: Positions, options: DearrayOptions) -> Positions:
    """Without the outer rows and columns that hold no core."""
    present = positions.fractions >= options.broken_below
    tissue = positions.fractions >= options.missing_below
    if not tissue.any():
        raise ValueError(
            f"no position holds {options.missing_below:.0%} of a core's area of tissue; lower missing_below, or "
            "state the core diameter."
        )
    index = positions.numbers
    kept = np.ones(len(index), bool)
    while True:
        before = int(kept.sum())
        for axis in (0, 1):
            for end in (index[kept, axis].min(), index[kept, axis].max()):
                line = kept & (index[:, axis] == end)
                enough = 1 if line.sum() <= _SHORT_LINE else 2
                if not (line & present).any() and (line & tissue).sum() < enough and (kept & ~line).any():
                    kept &= ~line
        if int(kept.sum()) == before:
            break
    first = index[kept].min(axis=0)
    return Positions(
        index[kept] - first[None],
        positions.centres[kept],
        positions.areas[kept],
        positions.radii[kept],
        positions.diameter,
    )
