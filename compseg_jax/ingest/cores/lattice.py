"""The grid of a tissue array through the centres of its cores, which are jittered and in part missing or wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Bool, Float, Int

LARGEST_OFFSET = 0.42  # of a core from its position, in pitches; jitter and half a core together stay below
MOST_POINTS = 2000
NEAREST = 0.8  # diameters between cores at least; what lies nearer is fragments of one
FEW_POINTS = 20  # so few cannot show by how much rows and columns differ from a right angle
FEW_VECTORS = 6
_CONES = (math.tan(math.radians(25.0)), math.tan(math.radians(38.0)))
_ROUNDS = 15
_HUBER = 0.1  # in pitches: offsets beyond it count linearly


@dataclass(frozen=True)
class Lattice:
    """Position (i, j) lies at ``origin + i·steps[0] + j·steps[1]``; i counts rows, j columns.

    Attributes:
      origin: (y, x) of position (0, 0).
      steps: (2, 2), (y, x) from a row to the next and from a column to the next.
    """

    origin: Float[np.ndarray, " 2"]
    steps: Float[np.ndarray, "2 2"]

    def number(
        self, centres: Float[np.ndarray, "m 2"]
    ) -> tuple[Int[np.ndarray, "m 2"], Bool[np.ndarray, " m"]]:
        """The nearest position of each point (y, x), and whether the point lies near it."""
        exact = (centres - self.origin[None]) @ np.linalg.inv(self.steps)
        nearest = np.rint(exact).astype(int)
        return nearest, np.abs(exact - nearest).max(axis=1) <= LARGEST_OFFSET

    def places(self, index: Int[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
        """(y, x) of positions."""
        return self.origin[None] + index @ self.steps

    @property
    def pitch_px(self) -> tuple[float, float]:
        """Distance of rows and of columns."""
        row, column = np.linalg.norm(self.steps, axis=1)
        return float(row), float(column)

    @property
    def angle_deg(self) -> float:
        """By how much the rows are turned against the x axis, positive clockwise on the screen."""
        (row_y, row_x), (column_y, column_x) = self.steps
        return math.degrees(math.atan2(column_y - row_x, column_x + row_y))


def fit_lattice(
    centres: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, " n"], diameter_px: float
) -> Lattice:
    """Fits rows and columns through points.

    The steps are the most frequent vectors between neighbours; the points are numbered along the links
    that fit these best (a minimum spanning tree) and an affine grid is fitted by reweighted least squares
    (Huber), after which the points are numbered anew, until nothing changes.

    Args:
      centres: (y, x) of the cores, shape (n, 2), n at least 1.
      weights: how much each counts, shape (n,).
      diameter_px: of a core; neighbours are at least about as far apart.

    Raises:
      ValueError: if there are more points than an array has cores.
    """
    if len(centres) > MOST_POINTS:
        raise ValueError(
            f"found {len(centres)} places that may be cores; at most {MOST_POINTS} are tried. State the core "
            "diameter, or choose another band."
        )
    centres, weights = _merged(centres, weights, NEAREST * diameter_px)
    steps, is_line = _first_steps(centres, diameter_px)
    index = _numbered(centres, weights, steps)
    # Along a single row or column an error of its first direction must not add up to another one.
    index[:, is_line] = 0
    lattice = Lattice(_centre(centres, weights, index @ steps), steps)
    fits = np.ones(len(centres), bool)
    for _ in range(_ROUNDS):
        lattice = _least_squares(centres, np.where(fits, weights, 0.0), index, lattice)
        nearest, fits = lattice.number(centres)
        if np.array_equal(nearest, index):
            break
        index = nearest
    return lattice


def _merged(
    centres: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, " n"], distance_px: float
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
    """Points nearer to a weightier one are added to it."""
    apart = np.linalg.norm(centres[None, :, :] - centres[:, None, :], axis=2)
    free = np.ones(len(centres), bool)
    places, sums = [], []
    for point in np.argsort(-weights, kind="stable"):
        if free[point]:
            group = free & (apart[point] < distance_px)
            free &= ~group
            places.append(weights[group] @ centres[group] / weights[group].sum())
            sums.append(weights[group].max())
    return np.array(places), np.array(sums)


def _first_steps(
    centres: Float[np.ndarray, "n 2"], diameter_px: float
) -> tuple[Float[np.ndarray, "2 2"], Bool[np.ndarray, " 2"]]:
    """Row and column step, and which of them nothing shows: there is one row, or one column.

    A second look turns the axes to where the first found them.
    """
    turn = 0.0
    for _ in range(2):
        down, right = np.array([math.cos(turn), -math.sin(turn)]), np.array([math.sin(turn), math.cos(turn)])
        row = _frequent_step(centres, down, right, diameter_px)
        column = _frequent_step(centres, right, down, diameter_px)
        turns = [] if row is None else [math.atan2(-row[1], row[0])]
        turns += [] if column is None else [math.atan2(column[0], column[1])]
        turn = float(np.mean(turns)) if turns else 0.0
    is_line = np.zeros(2, bool)
    if row is None:
        row, is_line[0] = _perpendicular_step(centres, column, down, diameter_px)
    if column is None:
        column, is_line[1] = _perpendicular_step(centres, row, right, diameter_px)
    return np.stack([row, column]), is_line


def _frequent_step(
    centres: Float[np.ndarray, "n 2"],
    along: Float[np.ndarray, " 2"],
    across: Float[np.ndarray, " 2"],
    diameter_px: float,
) -> Float[np.ndarray, " 2"] | None:
    """The most frequent vector from a point to its nearest neighbour in a cone; None if there are none."""
    apart = centres[None, :, :] - centres[:, None, :]
    forward, sideways = apart @ along, np.abs(apart @ across)
    for cone in _CONES:
        near = (forward > 0.75 * diameter_px) & (sideways < cone * forward)
        if near.any():
            break
    # What lies aside counts as further away, or narrow columns would pass for the next row.
    first = np.argmin(np.where(near, forward + 1.5 * sideways, np.inf), axis=1)
    has = near.any(axis=1)
    vectors = apart[np.arange(len(centres)), first][has]
    if not len(vectors):
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    if len(vectors) <= FEW_VECTORS and lengths.max() < 1.7 * lengths.min():
        return np.asarray(np.median(vectors, axis=0))  # too alike for one to be twice another
    width = 0.18 * float(np.median(lengths))

    def kernel(vectors: Float[np.ndarray, "m 2"], centre: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " m"]:
        return np.exp(-0.5 * ((vectors - centre[None]) ** 2).sum(axis=1) / width**2)

    # A vector across a missing core speaks for its half as well, but less: debris halfway must not win.
    votes = np.array([kernel(vectors, v).sum() + 0.5 * kernel(vectors / 2, v).sum() for v in vectors])
    mode = vectors[np.argmax(votes * (1.0 - 1e-3 * lengths / lengths.max()))]
    for _ in range(20):
        weight = kernel(vectors, mode)
        mode = (weight @ vectors) / weight.sum()
    return mode


def _perpendicular_step(
    centres: Float[np.ndarray, "n 2"],
    other: Float[np.ndarray, " 2"] | None,
    along: Float[np.ndarray, " 2"],
    diameter_px: float,
) -> tuple[Float[np.ndarray, " 2"], bool]:
    """A step where no neighbour shows it, and whether no gap between lines does.

    It is as long as the least gap, else as the other step.
    """
    length = diameter_px if other is None else float(np.linalg.norm(other))
    if other is not None:
        normal = np.array([other[1], -other[0]]) / length
        along = normal if normal @ along > 0 else -normal
    gaps = np.diff(np.sort(centres @ along))
    gaps = gaps[gaps > 0.9 * diameter_px]
    return along * (float(gaps.min()) if gaps.size else length), not gaps.size


def _numbered(
    centres: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, " n"], steps: Float[np.ndarray, "2 2"]
) -> Int[np.ndarray, "n 2"]:
    """Numbers of the points, counted along the links of least misfit; far groups by the steps alone."""
    exact = (centres[None, :, :] - centres[:, None, :]) @ np.linalg.inv(steps)
    whole = np.rint(exact).astype(int)
    reach = np.abs(whole).sum(axis=2)
    misfit = np.hypot(*np.moveaxis(exact - whole, 2, 0)) + 0.2 * np.maximum(reach - 1, 0) + 1e-6
    linked = (np.abs(whole).max(axis=2) <= 2) & (np.hypot(*np.moveaxis(exact, 2, 0)) > 0)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(scipy.sparse.csr_matrix(np.where(linked, misfit, 0)))
    _, group = scipy.sparse.csgraph.connected_components(tree, directed=False)
    start = int(np.argmax(np.bincount(group, weights)[group]))
    order, parents = scipy.sparse.csgraph.breadth_first_order(tree, start, directed=False)
    index = whole[start].copy()
    for point in order[1:]:
        index[point] = index[parents[point]] + whole[parents[point], point]
    return index


def _centre(
    centres: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, " n"], places: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " 2"]:
    return np.asarray(weights @ (centres - places) / weights.sum())


def _least_squares(
    centres: Float[np.ndarray, "n 2"],
    weights: Float[np.ndarray, " n"],
    index: Int[np.ndarray, "n 2"],
    start: Lattice,
) -> Lattice:
    """Origin and steps; a step that only one row or column could show stays across the other."""
    origin, steps = start.origin, start.steps
    seen = [np.unique(index[weights > 0, axis]).size > 1 for axis in (0, 1)]
    design = np.column_stack([np.ones(len(index)), index[:, seen]]).astype(float)
    if np.linalg.matrix_rank(design[weights > 0]) < design.shape[1]:
        return Lattice(_centre(centres, weights, index @ steps), steps)
    fixed = index[:, np.logical_not(seen)] @ steps[np.logical_not(seen)]
    for _ in range(5):
        misfit = np.linalg.norm((centres - origin[None] - index @ steps) @ np.linalg.inv(steps), axis=1)
        root = np.sqrt(weights * np.minimum(1.0, _HUBER / np.maximum(misfit, 1e-9)))[:, None]
        solved = np.linalg.lstsq(design * root, (centres - fixed) * root, rcond=None)[0]
        origin, steps = solved[0], steps.copy()
        steps[seen] = solved[1:]
        if all(seen) and len(centres) < FEW_POINTS:
            steps = _at_right_angles(steps)
            origin = _centre(centres, weights, index @ steps)
    across = np.array([[steps[1, 1], -steps[1, 0]], [-steps[0, 1], steps[0, 0]]])
    if any(seen) and not all(seen):
        turned = np.where(np.array(seen)[:, None], steps, across)
        # The number on the unseen axis is the same for all; on the other axis the steps do not differ.
        return Lattice(origin + index[0] @ (steps - turned), turned)
    return Lattice(origin, steps)


def _at_right_angles(steps: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    (row_y, row_x), (column_y, column_x) = steps
    turn = math.atan2(column_y - row_x, column_x + row_y)
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return turned * np.linalg.norm(steps, axis=1)[:, None]
