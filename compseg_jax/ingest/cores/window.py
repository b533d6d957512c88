"""One core of a scan: its window, its cube, and which pixels of the window are its own."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from compseg_jax.ingest.cores.grid import Core, CoreGrid
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import Scan, ScanPart

MARGIN = 0.1


def core_window(core: Core, grid: CoreGrid, *, margin: float = MARGIN) -> tuple[slice, slice]:
    """The square of a core, rows and columns; equally large for all cores of a grid.

    Args:
      core: in the middle of the window, to half a pixel.
      grid: the side is the largest diameter of its kept cores, or that of a full core, and the margin.
      margin: share of the diameter that is added.

    Returns:
      two slices in pixels of the scan. They may leave it: start below 0, stop beyond its shape.

    Raises:
      ValueError: if ``margin`` is negative or not finite.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(
            f"margin: found {margin}; required 0 or more. Choose a share of the diameter, as 0.1."
        )
    radius = max([grid.core_diameter_px / 2] + [one.radius_px for one in grid.cores if one.keep])
    side = math.ceil(2 * radius * (1 + margin))
    top, left = (math.floor(centre - side / 2 + 1.0) for centre in (core.y_px, core.x_px))
    return slice(top, top + side), slice(left, left + side)


def cut_core(scan: Scan, core: Core, grid: CoreGrid, *, margin: float = MARGIN) -> Cube:
    """Reads the window of a core; where it leaves the scan there are zeros.

    Returns:
      the cube. Its provenance is the scan's with ``core`` (the name), ``top_px`` and ``left_px`` of the window in
      the scan, and ``padded_px``, the rows and columns of zeros (top, bottom, left, right).

    Raises:
      ValueError: if the grid is not of this scan, or the window lies outside of it.
    """
    height, width, _ = scan.shape
    source = scan.provenance.get("source", "scan")
    if grid.shape_px != (height, width):
        raise ValueError(
            f"{source} has {height} × {width} pixels, but the cores were found in {grid.shape_px[0]} × "
            f"{grid.shape_px[1]}; give the scan that the cores belong to."
        )
    rows, columns = core_window(core, grid, margin=margin)
    part = ScanPart(scan, rows, columns)
    padded = _padding(rows, height), _padding(columns, width)
    if any(sum(each) >= length for each, length in zip(padded, part.shape, strict=False)):
        raise ValueError(
            f"core {core.name}: its centre ({core.y_px:g}, {core.x_px:g}) lies outside of {source} "
            f"({height} × {width} pixels); move it inside."
        )
    provenance = {**part.provenance, "core": core.name, "padded_px": (*padded[0], *padded[1])}
    return Cube(part.window(slice(None), slice(None)), scan.wavenumbers_cm1, scan.pixel_size_um, provenance)


def _padding(part: slice, length: int) -> tuple[int, int]:
    """By how much a part reaches beyond the first and the last pixel."""
    return max(-part.start, 0), max(part.stop - length, 0)


def own_tissue(
    core: Core, grid: CoreGrid, window: tuple[slice, slice], *, margin: float = MARGIN
) -> Bool[np.ndarray, "y x"]:
    """Pixels of a window that are this core's: of the scan, within its radius and a margin, nearest to it.

    Args:
      core: whose pixels.
      grid: the other cores; missing ones have no tissue and claim no pixels.
      window: rows and columns, as of `core_window`.
      margin: share of the radius that is added.
    """
    y = np.arange(window[0].start, window[0].stop, dtype=float)[:, None]
    x = np.arange(window[1].start, window[1].stop, dtype=float)[None, :]
    squared = (y - core.y_px) ** 2 + (x - core.x_px) ** 2
    reach = core.radius_px * (1 + margin)
    height, width = grid.shape_px
    own = (squared <= reach**2) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    for other in grid.cores:
        apart = math.hypot(other.y_px - core.y_px, other.x_px - core.x_px)
        if other.status != "missing" and other.name != core.name and apart < 2 * reach:
            own &= squared < (y - other.y_px) ** 2 + (x - other.x_px) ** 2
    return own
