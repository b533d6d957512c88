"""Photothermal .ptir files (HDF5): O-PTIR and co-registered Raman maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import hdf5


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads a map from a .ptir file.

    Without `variable` the file must hold one infrared channel; `variable` names another, such as
    `Measurement_001/Channel_000`. Rows are in the order of the file's Y index, columns of its X index.

    Returns:
      the cube, the channel's signal of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, the choice is open, or the positions do not fill a grid.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    with checks.Reading(path, "a .ptir file"), h5py.File(path, "r") as file:
        channel = _channel(file, variable, path)
        group = channel.parent
        spectra = hdf5.load(channel["Raw_Data"], path)
        indices = hdf5.load(group["Position_Indices"], path)
        positions = hdf5.load(group["Position_Values"], path)
        if spectra.ndim != 2 or not indices.shape == positions.shape == (spectra.shape[0], 2):
            raise CubeError(
                f"{path}: found data {spectra.shape}, indices {indices.shape} and positions "
                f"{positions.shape}; required are (n, c), (n, 2) and (n, 2). Export the file again."
            )
        found = None
        if wavenumbers_cm1 is None:
            found = _axis(group, path)
        found, stated = axis.settle(found, wavenumbers_cm1, path, "Spectroscopic_Values, cm⁻¹ in the file")
        height, width = _grid(indices, group, path)
        if found.size != spectra.shape[1]:
            raise CubeError(f"{path}: found {found.size} wavenumbers for {spectra.shape[1]} channels.")
        values = np.empty((height, width, spectra.shape[1]), spectra.dtype)
        values[indices[:, 1], indices[:, 0]] = spectra
        provenance = {
            "source": str(path),
            "format": "photothermal .ptir",
            "variable": str(channel.name).strip("/"),
            "signal": hdf5.text(channel.attrs.get("DataSignal")),
            "first_position_um": (float(positions[0, 0]), float(positions[0, 1])),
            "axis": stated,
            "direction": axis.direction(found),
        }
        pixel_size_um = _pixel_size_um(positions, indices)
    return Cube(checks.as_float(values, path), found, pixel_size_um, provenance)


def _channel(file: Any, variable: str | None, path: Path) -> Any:
    channels = {
        f"{measurement}/{channel}": file[measurement][channel]
        for measurement in file
        if measurement.startswith("Measurement_") and "Position_Indices" in file[measurement]
        for channel in file[measurement]
        if channel.startswith("Channel_") and "Raw_Data" in file[measurement][channel]
    }
    if variable is not None:
        if variable.strip("/") not in channels:
            raise CubeError(f"{path}: found no channel {variable!r}, only {', '.join(channels) or 'none'}.")
        return channels[variable.strip("/")]
    infrared = [channel for channel in channels.values() if not _is_raman(channel.parent)]
    if len(infrared) != 1:
        raise CubeError(
            f"{path}: found {len(infrared)} infrared channels of {', '.join(channels) or 'none'}; name one "
            "with variable=."
        )
    return infrared[0]


def _is_raman(measurement: Any) -> bool:
    return bool(np.any(measurement.attrs.get("IsRaman", 0)))


def _axis(group: Any, path: Path) -> np.ndarray:
    dataset = group["Spectroscopic_Values"]
    found = axis.to_wavenumbers_cm1(hdf5.load(dataset, path), hdf5.text(dataset.attrs.get("units")), path)
    # A Raman measurement states the range shown, not the range measured.
    names = () if _is_raman(group) else ("Start", "End")
    stated = [group.attrs.get(f"RangeWavenumber{name}") for name in names]
    ends = [float(np.asarray(value).item()) for value in stated if value is not None]
    if len(ends) == 2 and not np.allclose(sorted(ends), sorted((found[0], found[-1])), rtol=0, atol=0.5):
        raise CubeError(f"{path}: the axis ends at {found[0]:g} and {found[-1]:g}, stated are {ends} cm⁻¹.")
    return found


def _grid(indices: np.ndarray, group: Any, path: Path) -> tuple[int, int]:
    """Height and width of the grid, every place of which must be measured once."""
    width, height = (int(indices[:, at].max()) + 1 for at in (0, 1))
    places = {(int(x), int(y)) for x, y in indices}
    if width * height != len(indices) or len(places) != len(indices) or int(indices.min()) < 0:
        raise CubeError(
            f"{path}: {len(indices)} spectra do not fill a grid of {height} × {width}; required is one for "
            "each pixel. Export a complete map."
        )
    for name, extent in (("X", width), ("Y", height)):
        stated = group.attrs.get(f"Range{name}Points")
        if stated is not None and int(np.asarray(stated).item()) != extent:
            raise CubeError(f"{path}: Range{name}Points is {stated}, the positions have {extent}. Damaged.")
    return height, width


def _pixel_size_um(positions: np.ndarray, indices: np.ndarray) -> float | None:
    """Step of the positions in µm where it is the same along x and y."""
    steps = []
    for at in (0, 1):
        last = int(indices[:, at].max())
        if last:
            ends = [float(positions[indices[:, at] == end, at].mean()) for end in (0, last)]
            steps.append(abs(ends[1] - ends[0]) / last)
    return steps[0] if steps and np.allclose(steps, steps[0], rtol=1e-3) else None
