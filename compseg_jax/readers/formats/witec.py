"""WITec Project's MATLAB export: an image unfolded into a dataset object (pixels, wavenumbers).

The dataset objects of PLS_Toolbox, whose fields WITec took over, are read too: they unfold an image as MATLAB does,
the first extent of `imagesize` (rows) running fastest, where WITec's first extent is x.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import mat5
from compseg_jax.readers.point_spectra import Spectra

_LENGTHS = ("µm", "μm", "um", "nm", "mm")


def read(record: dict[str, Any], name: str, path: Path, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """The image in a dataset object of a MATLAB file.

    WITec lists pixels line after line, x fastest, and states `imagesize` as (x, y).

    Returns:
      the cube, Raman counts of shape (y, x, c).

    Raises:
      CubeError: if it holds a line scan, a series or a stack; the words say what to export.
    """
    with checks.Reading(path, "a WITec export"):
        values = _data(record, name, path)
        first, second = _image_size(record, name, path)
        pixels = checks.count((first, second), path, "imagesize")
        if values.shape[0] != pixels:
            raise CubeError(
                f"{path}: found data of shape {values.shape} for an image of {first} × {second} pixels; "
                "required is one row for each. Export it again."
            )
        found, stated = _wavenumbers(record, wavenumbers_cm1, path)
        pixel_size_um, of_pixel = _pixel_size_um(record.get("imageaxisscale"))
        spectra = checks.as_float(np.ascontiguousarray(values), path)
        cube = spectra.reshape(second, first, -1)
        said = "x fastest, imagesize is (x, y)"
        if not _is_of_witec(record):
            cube, said = cube.transpose(1, 0, 2), "y fastest, imagesize is (y, x)"
    provenance = {
        **_provenance(record, name, path, stated, found),
        "axes": f"unfolded, {said}",
        "stored_type": str(values.dtype),
        **of_pixel,
    }
    return Cube(cube, found, pixel_size_um, provenance)


def read_spectra(record: dict[str, Any], name: str, path: Path) -> Spectra:
    """Every spectrum of a dataset object, in the order of the file."""
    with checks.Reading(path, "a WITec export"):
        values = _data(record, name, path)
        found, stated = _wavenumbers(record, None, path)
        absorbance = checks.as_float(np.ascontiguousarray(values), path)
    return Spectra(absorbance, found, (), None, _provenance(record, name, path, stated, found))


def _provenance(
    record: dict[str, Any], name: str, path: Path, stated: str, found: np.ndarray
) -> dict[str, Any]:
    program = "WITec export" if _is_of_witec(record) else "dataset object"
    known = {"format": f"{program} (MATLAB 5)", "variable": name, "axis": stated}
    return {"source": str(path), **known, "direction": axis.direction(found)}


def _is_of_witec(record: dict[str, Any]) -> bool:
    """Whether WITec Project wrote a dataset object, by its history; its plain structures have none."""
    history = record.get("history")
    written = history.elements if isinstance(history, mat5.Cells) else (history,)
    return history is None or any(isinstance(line, str) and "by Project" in line for line in written)


def _data(record: dict[str, Any], name: str, path: Path) -> np.ndarray:
    values = record["data"]
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not values.size:
        raise CubeError(f"{path}: {name!r} has no data of one row for each spectrum. Export it again.")
    return values


def _image_size(record: dict[str, Any], name: str, path: Path) -> tuple[int, int]:
    """The two extents of an image; what is no image is named by the scale of its spectra."""
    stated = record["imagesize"]
    extents = [int(extent) for extent in np.ravel(stated)] if isinstance(stated, np.ndarray) else []
    if len(extents) == 2:
        return extents[0], extents[1]
    number = len(record["data"])
    if len(extents) > 2:
        raise CubeError(
            f"{path}: {name!r} is a stack of {extents[2]} images, {extents[0]} × {extents[1]} pixels each; export each "
            "layer as an image of its own."
        )
    _, unit = _scale(record["axisscale"], 0)
    kind = (
        "a line scan or depth profile" if unit in _LENGTHS else "a time series" if unit == "s" else "a series"
    )
    raise CubeError(
        f"{path}: {name!r} is {kind} of {number} spectra, not an image; its spectra are read with read_spectra. Export "
        "an image scan where an image is wanted."
    )


def _wavenumbers(record: dict[str, Any], given: np.ndarray | None, path: Path) -> tuple[np.ndarray, str]:
    stated = "no scale of the second mode in axisscale"
    scale, unit = _scale(record["axisscale"], 1)
    if scale is None or given is not None:
        return axis.settle(None, given, path, stated)
    stated = f"axisscale, {unit} in the file"
    if axis.unit_named(unit) in ("nm", "um"):
        stated += ", turned to absolute wavenumbers: no Raman shift, for the laser is not stated"
    return axis.to_wavenumbers_cm1(scale, unit, path), stated


def is_export(value: Any) -> bool:
    """Whether a MATLAB variable is a dataset object that holds an image."""
    return isinstance(value, dict) and {"data", "imagesize", "axisscale"} <= value.keys()


def only_export(variables: dict[str, Any], variable: str | None, path: Path) -> str | None:
    """The name of the dataset object that is meant, None where the file holds none.

    Raises:
      CubeError: if there are several and none is named.
    """
    names = [name for name, value in variables.items() if is_export(value)]
    if variable in names:
        return variable
    if variable is not None or not names:
        return None
    if len(names) > 1:
        raise CubeError(f"{path}: found several exports ({', '.join(names)}). Name one with variable=.")
    return names[0]


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


def _pixel_size_um(cells: Any) -> tuple[float | None, dict[str, str]]:
    """Step of the two image scales where both are in micrometres, and the entry of the provenance."""
    steps = []
    for mode in (0, 1):
        values, unit = _scale(cells, mode)
        if values is None or values.size < 2 or unit not in ("µm", "μm", "um"):
            return None, {}
        steps.append(abs(float((values[-1] - values[0]) / (values.size - 1))))
    size, said = pixel_size.judged(steps, f"steps of imageaxisscale, {steps[0]:g} and {steps[1]:g} µm")
    return size, {"pixel_size": said}
