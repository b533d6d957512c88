"""From the positions at which spectra were measured to the pixels of an image.

The order of the spectra in a file says nothing here: instruments measure lines to and fro, by columns, or not to
their end. Column 0 is the smallest x. Row 0, the upper one of the picture, is the smallest y, or the largest where
the instrument's program draws y upwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from compseg_jax.readers import pixel_size
from compseg_jax.readers.cube import CubeError

# Share of a step by which a position may lie beside its pixel: stages are read back with an error.
_BESIDE = 0.25
# Share of the pixels of a grid that must have been measured; below it the points are scattered over the sample.
_FILLED = 0.5


@dataclass(frozen=True)
class Grid:
    """Where each spectrum lies in an image.

    Attributes:
      rows: row of each spectrum, shape (n,), whole numbers.
      columns: column of each spectrum, shape (n,), whole numbers.
      shape: (y, x) of the image.
      steps: distance of two pixels along y and along x, in the unit of the positions.
      is_y_upwards: whether y rises from the last row to the first.
    """

    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    shape: tuple[int, int]
    steps: tuple[float, float]
    is_y_upwards: bool = False

    @property
    def orientation(self) -> str:
        """Words for the provenance."""
        return f"x rises to the right, y {'up' if self.is_y_upwards else 'down'}wards, as the positions state"

    @property
    def unmeasured(self) -> int:
        """Number of pixels without a spectrum."""
        return self.shape[0] * self.shape[1] - self.rows.size

    def image(self, spectra: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "y x c"]:
        """The spectra in their pixels, of their own dtype; pixels that were not measured are zero."""
        if not self.unmeasured and np.array_equal(
            self.rows * self.shape[1] + self.columns, np.arange(self.rows.size)
        ):
            return spectra.reshape(*self.shape, spectra.shape[1])
        image = np.zeros((*self.shape, spectra.shape[1]), spectra.dtype)
        image[self.rows, self.columns] = spectra
        return image

    def pixel_size(self, um_per_unit: float | None, stated: str) -> tuple[float | None, str]:
        """Edge length of a pixel in µm, None where it is not one number, and how it is stated.

        Args:
          um_per_unit: µm of one unit of the positions, None where nothing states the unit.
          stated: how the file states the steps, in words.
        """
        along_y, along_x = self.steps
        if um_per_unit is None:
            return None, f"{stated}, whose unit is not known; give pixel_size_um= where you know it"
        return pixel_size.judged((along_x * um_per_unit, along_y * um_per_unit), stated)

    def provenance(self, pixel_size: str) -> dict[str, str]:
        """The entries of a map's provenance: which corner is first, how its pixel size is stated, what is missing."""
        return {"orientation": self.orientation, "pixel_size": pixel_size, **self.left_out()}

    def left_out(self) -> dict[str, str]:
        """The entry of a provenance that counts the pixels that were not measured, empty where there are none."""
        if not self.unmeasured:
            return {}
        total = self.shape[0] * self.shape[1]
        return {"left_out": f"{self.unmeasured} of {total} pixels were not measured; they are zero"}


def of_positions(
    positions: Float[np.ndarray, "n 2"], path: Path, *, is_y_upwards: bool = False
) -> Grid | None:
    """The grid that positions (x, y) lie on, None for a line and for points that are scattered.

    Raises:
      CubeError: if a position is not finite, or two spectra share one.
    """
    if not np.all(np.isfinite(positions)):
        raise CubeError(
            f"{path}: found positions that are not finite numbers. Damaged; export the map again."
        )
    places, extents, steps = [], [], []
    for values in positions.T:
        along = _along(values)
        if along is None:
            return None
        place, step = along
        places.append(place)
        extents.append(int(place.max()) + 1)
        steps.append(step)
    width, height = extents
    if width < 2 or height < 2 or len(positions) < _FILLED * width * height:
        return None
    _refuse_stray(places, extents, positions, path)
    _refuse_shared(places[1] * width + places[0], positions, path)
    rows = height - 1 - places[1] if is_y_upwards else places[1]
    return Grid(rows, places[0], (height, width), (steps[1], steps[0]), is_y_upwards)


def of_stated(
    positions: Float[np.ndarray, "n 2"],
    *,
    start: tuple[float, float],
    steps: tuple[float, float],
    extent: tuple[int, int],
    path: Path,
) -> Grid | None:
    """The grid of a map that states, along x and y, where it starts, its signed steps and how many there are.

    Returns:
      the grid, None where the positions do not lie on it.

    Raises:
      CubeError: if two spectra share a position.
    """
    places, found = [], []
    for values, first, step, number in zip(positions.T, start, steps, extent, strict=True):
        if number < 1 or step == 0 or not np.all(np.isfinite([first, step, *values])):
            return None
        with np.errstate(over="ignore"):
            exact = (values - first) / step
        if np.min(exact) < -_BESIDE or np.max(exact) > number - 1 + _BESIDE:
            return None
        place = np.rint(exact).astype(np.int64)
        if np.max(np.abs(exact - place)) > _BESIDE:
            return None
        places.append(place if step > 0 else number - 1 - place)
        # The positions are often written to more digits than the step.
        span = int(np.ptp(place))
        found.append(float(np.ptp(values)) / span if span else abs(step))
    _refuse_shared(places[1] * extent[0] + places[0], positions, path)
    return Grid(places[1], places[0], (extent[1], extent[0]), (found[1], found[0]))


def described(positions: Float[np.ndarray, "n 2"]) -> str:
    """What positions are that fill no grid, in words."""
    number = len(positions)
    if number == 1:
        return "a single spectrum with its position"
    spread = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    kind = "a line of" if spread[-1] <= 1e-3 * spread[0] else "scattered points,"
    return f"{kind} {number} spectra with positions"


def _along(values: Float[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], float] | None:
    """Place of each coordinate on an even scale and the scale's step; None where there is no such scale."""
    with np.errstate(over="ignore"):
        span = float(np.ptp(values))
    if not np.isfinite(span):
        return None
    if span == 0:
        return np.zeros(values.size, np.int64), 0.0
    gaps = np.diff(np.unique(values))
    # Exact coordinates first; then those read back from a stage, whose gaps within a column are small.
    for candidate in (np.median(gaps), np.median(gaps[gaps > 0.2 * gaps.max()])):
        number = round(span / float(candidate))
        if not 0 < number < 4 * values.size:
            continue
        step = span / number
        exact = (values - values.min()) / step
        place = np.rint(exact).astype(np.int64)
        if np.max(np.abs(exact - place)) <= _BESIDE:
            return place, step
    return None


def _refuse_stray(
    places: list[Int[np.ndarray, " n"]], extents: list[int], positions: np.ndarray, path: Path
) -> None:
    """Refuses a single spectrum beyond empty lines: damage, or a reference measured beside the map."""
    for place, extent in zip(places, extents, strict=True):
        numbers = np.bincount(place, minlength=extent)
        for end, beside in ((0, 1), (extent - 1, extent - 2)):
            if numbers[end] == 1 and numbers[beside] == 0:
                x, y = positions[np.argmax(place == end)]
                raise CubeError(
                    f"{path}: the spectrum at x = {x:g}, y = {y:g} lies apart from all others. Export the map without "
                    "it, or again if it belongs to the map."
                )


def _refuse_shared(places: Int[np.ndarray, " n"], positions: np.ndarray, path: Path) -> None:
    order = np.argsort(places, kind="stable")
    again = np.flatnonzero(np.diff(places[order]) == 0)
    if again.size:
        x, y = positions[order[again[0]]]
        raise CubeError(
            f"{path}: {again.size} spectra lie where another does, the first at x = {x:g}, y = {y:g}; "
            "a map has one for each pixel. Export the layers of a series or stack one by one."
        )
