"""WITec Project's MATLAB export: an image unfolded into a dataset object (pixels, wavenumbers)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import mat5


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a WITec Raman image exported to MATLAB.

    The export lists pixels line after line, x fastest, and states `imagesize` as (x, y).

    Returns:
      the cube, Raman counts of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged or not such an export.
    """
    path = Path(path)
    with checks.Reading(path, "a WITec export"):
        ((name, record),) = mat5.variables(path).items()
        if not is_export(record):
            raise CubeError(f"{path}: {name!r} has no data, imagesize and axisscale; export it as an image.")
        values = record["data"]
        width, height = (int(extent) for extent in np.asarray(record["imagesize"]).ravel())
        pixels = checks.count((height, width), path, "imagesize")
        if values.ndim != 2 or values.shape[0] != pixels:
            raise CubeError(
                f"{path}: found data of shape {values.shape} for an image of {height} × {width} pixels; "
                "required is one row for each. Export it again."
            )
        found: np.ndarray | None = None
        stated = "no scale of the second mode in axisscale"
        scale, unit = _scale(record["axisscale"], 1)
        if scale is not None and wavenumbers_cm1 is None:
            found, stated = axis.to_wavenumbers_cm1(scale, unit, path), f"axisscale, {unit} in the file"
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        pixel_size_um = _pixel_size_um(record.get("imageaxisscale"))
    provenance = {
        "source": str(path),
        "format": "WITec export (MATLAB 5)",
        "variable": name,
        "axis": stated,
        "direction": axis.direction(found),
    }
    cube = checks.as_float(np.ascontiguousarray(values), path).reshape(height, width, -1)
    return Cube(cube, found, pixel_size_um, provenance)


def is_export(value: Any) -> bool:
    """Whether a MATLAB variable is a dataset object that holds an image."""
    return isinstance(value, dict) and {"data", "imagesize", "axisscale"} <= value.keys()


def _scale(cells: Any, mode: int) -> tuple[np.ndarray | None, str]:
    """Scale and unit of a mode: the row of a cell array (modes, 2), which is stored by columns."""
    if (
        not isinstance(cells, mat5.Cells)
        or cells.shape[0] <= mode
        or len(cells.elements) < 2 * cells.shape[0]
    ):
        return None, ""
    values, unit = cells.elements[mode], cells.elements[mode + cells.shape[0]]
    if not isinstance(values, np.ndarray) or values.size == 0:
        return None, ""
    return values.ravel(), str(unit) if isinstance(unit, str) else ""


def _pixel_size_um(cells: Any) -> float | None:
    """Step of the two image scales where both are equal and in micrometres."""
    steps = []
    for mode in (0, 1):
        values, unit = _scale(cells, mode)
        if values is None or values.size < 2 or unit not in ("µm", "μm", "um"):
            return None
        steps.append(float((values[-1] - values[0]) / (values.size - 1)))
    return abs(steps[0]) if np.isclose(abs(steps[0]), abs(steps[1])) else None
