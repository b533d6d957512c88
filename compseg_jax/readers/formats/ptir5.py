"""Files of PTIR Studio 5 (.ptir, HDF5): O-PTIR and Raman hyperspectra, stacks of images, and spectra.

Layout as published by Photothermal Spectroscopy Corp. with their package ptir5 (docs/file_format.md): a group
`MEASUREMENTS/<GUID>` for each measurement, with its TYPE, its Label, the axis as XStart and XIncrement, and DATA of
shape (points, y, x) for hyperspectra and stacks. Read through h5py, which ptir5 uses too, so that announced sizes
are compared with what is stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import hdf5
from compseg_jax.readers.point_spectra import Spectra

_MEASUREMENTS = "MEASUREMENTS"
_MAPS = ("OPTIRHyperspectra", "OPTIRImageStack", "PTSRSImageStack", "FLPTIRImageStack", "RamanHyperspectra")
_SPECTRA = ("OPTIRSpectrum", "PTSRSSpectrum", "RamanSpectrum")
# Images of a camera are as wide as their pixels together; those of a scan go from the first point to the last.
_OF_A_CAMERA = ("FLPTIRImageStack",)


def is_layout(file: Any) -> bool:
    """Whether an open HDF5 file is one of PTIR Studio 5."""
    return hasattr(file.get(_MEASUREMENTS), "keys")


def cube(file: Any, path: Path, variable: str | None, wavenumbers_cm1: np.ndarray | None) -> Cube:
    """Reads hyperspectra or a stack from an open file; `variable` is the label or the GUID of a measurement.

    Raises:
      CubeError: if the choice is open, or the file is damaged or holds neither.
    """
    measurements = _measurements(file)
    group = _chosen(measurements, variable, path)
    kind = _text(group, "TYPE")
    values = _values(group, path)
    found, stated = (None, "") if wavenumbers_cm1 is not None else _axis(group, len(values), path)
    found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
    size_um, size = _pixel_size(group, values.shape[1:], is_camera=kind in _OF_A_CAMERA)
    provenance = {
        **_provenance(path, group, found, stated),
        "variable": str(group.name).strip("/"),
        "axes": "stored as (c, y, x)",
        "orientation": "as stored",
        "stored_type": str(values.dtype),
        "pixel_size": size,
    }
    return Cube(
        np.ascontiguousarray(np.moveaxis(checks.as_float(values, path), 0, 2)), found, size_um, provenance
    )


def spectra(file: Any, path: Path) -> Spectra:
    """Reads the O-PTIR spectra of an open file, where there are none those of Raman scattering.

    Raises:
      CubeError: if the file is damaged, holds no spectra, or spectra on several axes.
    """
    measurements = _measurements(file)
    kinds = [_text(group, "TYPE") for group in measurements.values()]
    kind = next((each for each in _SPECTRA if each in kinds), None)
    if kind is None:
        raise CubeError(f"{path}: found no spectra, only {_listed(measurements)}. Read a map with read.")
    groups = [group for group in measurements.values() if _text(group, "TYPE") == kind]
    values = [hdf5.load(group["DATA"], path) for group in groups]
    if any(each.ndim != 1 for each in values):
        raise CubeError(f"{path}: found a spectrum of {[each.ndim for each in values]} dimensions. Damaged.")
    axes = [_axis(group, len(each), path) for group, each in zip(groups, values, strict=True)]
    found, stated = axes[0]
    if not all(axis.same_axis(found, other) for other, _ in axes):
        raise CubeError(f"{path}: its {len(groups)} spectra lie on several axes. Export those of one axis.")
    places = [[_number(group, f"Position{name}") for name in "XY"] for group in groups]
    known = all(each is not None for place in places for each in place)
    positions = np.array(places, np.float64) if known else None
    names = tuple(_text(group, "Label") for group in groups)
    provenance = {**_provenance(path, groups[0], found, stated), "stored_type": str(values[0].dtype)}
    return Spectra(checks.as_float(np.stack(values), path), found, names, positions, provenance)


def _measurements(file: Any) -> dict[str, Any]:
    """Groups of the measurements by their GUID, those with data."""
    return {
        name: group
        for name, group in file[_MEASUREMENTS].items()
        if hasattr(group, "attrs") and hasattr(group, "keys") and hasattr(group.get("DATA"), "shape")
    }


def _chosen(measurements: dict[str, Any], variable: str | None, path: Path) -> Any:
    maps = {name: group for name, group in measurements.items() if _text(group, "TYPE") in _MAPS}
    if variable is not None:
        wanted = variable.strip("/").removeprefix(f"{_MEASUREMENTS}/")
        fitting = [group for name, group in maps.items() if wanted in (name, _text(group, "Label"))]
        if len(fitting) != 1:
            raise CubeError(
                f"{path}: found {len(fitting)} maps called {variable!r} among {_listed(maps)}. Name one by its label "
                "or GUID with variable=."
            )
        return fitting[0]
    if not maps:
        spectra = any(_text(group, "TYPE") in _SPECTRA for group in measurements.values())
        advice = "; read the spectra with read_spectra" if spectra else ""
        raise CubeError(
            f"{path}: it holds no hyperspectra and no stack of images, but {_listed(measurements)}{advice}. A map has "
            "one spectrum for each pixel."
        )
    if len(maps) > 1:
        raise CubeError(f"{path}: found {len(maps)} maps: {_listed(maps)}. Name one with variable=.")
    return next(iter(maps.values()))


def _values(group: Any, path: Path) -> np.ndarray:
    values = hdf5.load(group["DATA"], path)
    if values.ndim == 4 and values.dtype == np.uint8 and values.shape[3] == 4:
        # Older stacks of fluorescence hold the four bytes of a float.
        values = np.ascontiguousarray(values).view("<f4")[..., 0]
    if values.ndim != 3:
        raise CubeError(
            f"{path}: {group.name} is of type {_text(group, 'TYPE')} with data {values.shape}; required are three "
            "dimensions (points, y, x). Export the measurement from PTIR Studio."
        )
    return values


def _axis(group: Any, points: int, path: Path) -> tuple[np.ndarray, str]:
    unit = _text(group, "XUnits")
    listed = group.get("Wavenumber")
    if hasattr(listed, "shape") and listed.shape == (points,):
        values = hdf5.load(listed, path)
        return axis.to_wavenumbers_cm1(
            values, unit or "cm-1", path, spaced_evenly=False
        ), "Wavenumber in the file"
    start, step = _number(group, "XStart"), _number(group, "XIncrement")
    if start is None or step is None or not np.isfinite([start, step]).all() or step == 0:
        raise CubeError(
            f"{path}: {group.name} states no axis (XStart {start}, XIncrement {step}). Export it again from PTIR "
            "Studio, or give wavenumbers_cm1=."
        )
    values = start + step * np.arange(points)
    return axis.to_wavenumbers_cm1(values, unit, path), f"XStart and XIncrement, {unit} in the file"


def _pixel_size(group: Any, shape: tuple[int, ...], *, is_camera: bool) -> tuple[float | None, str]:
    lengths = [_number(group, name) for name in ("ImageHeight", "ImageWidth")]
    if any(length is None for length in lengths):
        return None, "not stated"
    parts = [extent if is_camera else extent - 1 for extent in shape]
    sizes = [float(length or 0) / max(part, 1) for length, part in zip(lengths, parts, strict=True)]
    over = "over all pixels" if is_camera else "from the first pixel to the last"
    return pixel_size.judged(sizes, f"ImageHeight and ImageWidth {over}")


def _listed(measurements: dict[str, Any]) -> str:
    listed = [
        f"{_text(group, 'Label')!r} ({_text(group, 'TYPE')})" for group in list(measurements.values())[:8]
    ]
    return ", ".join(listed) + (" …" if len(measurements) > len(listed) else "") or "nothing"


def _text(group: Any, name: str) -> str:
    return hdf5.text(group.attrs.get(name)) or ""


def _number(group: Any, name: str) -> float | None:
    value = np.ravel(group.attrs.get(name, ()))
    return float(value[0]) if value.size == 1 and value.dtype.kind in "fiu" else None


def _provenance(path: Path, group: Any, found: np.ndarray, stated: str) -> dict[str, Any]:
    channel = group.get("Channel")
    signal = hdf5.text(channel.attrs.get("DataSignal")) if hasattr(channel, "attrs") else None
    return {
        "source": str(path),
        "format": "PTIR Studio 5",
        "measurement": f"{_text(group, 'Label')} ({_text(group, 'TYPE')})",
        "signal": signal,
        "axis": stated,
        "direction": axis.direction(found),
    }
