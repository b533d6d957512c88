"""Photothermal .ptir files (HDF5): O-PTIR and co-registered Raman maps, and single spectra.

Those of PTIR Studio 5 have another layout, see `ptir5`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import hdf5, ptir5
from compseg_jax.readers.hdf5_heaps import check_heaps
from compseg_jax.readers.point_spectra import Spectra


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads a map from a .ptir file.

    Without `variable` the file must hold one infrared map; `variable` names another, such as
    `Measurement_001/Channel_000`, or, of PTIR Studio 5, the label or GUID of a measurement. Rows are in the order
    of the file's Y index, columns of its X index.

    Returns:
      the cube, the channel's signal of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, the choice is open, or the positions do not fill a grid.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with checks.Reading(path, "a .ptir file"), h5py.File(path, "r") as file:
        hdf5.refuse_links(file, path)
        if ptir5.is_layout(file):
            return ptir5.cube(file, path, variable, wavenumbers_cm1)
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


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the single spectra of a .ptir file: those of O-PTIR, where there are none those of Raman scattering.

    Raises:
      CubeError: if the file is damaged, holds no single spectra, or spectra on several axes.
    """
    path = Path(path)
    h5py = checks.imported("h5py", path)
    check_heaps(path)
    with checks.Reading(path, "a .ptir file"), h5py.File(path, "r") as file:
        hdf5.refuse_links(file, path)
        if ptir5.is_layout(file):
            return ptir5.spectra(file, path)
        # A background states no IsRaman.
        single = [channel for channel in _singles(file) if "IsRaman" in channel.parent.attrs]
        channels = [channel for channel in single if not _is_raman(channel.parent)] or single
        if not channels:
            raise CubeError(f"{path}: found no single spectra; read a map with read.")
        values = [hdf5.load(channel["Raw_Data"], path).ravel() for channel in channels]
        axes = [_axis(channel.parent, path) for channel in channels]
        if (
            not all(axis.same_axis(axes[0], other) for other in axes)
            or len({each.size for each in values}) > 1
        ):
            raise CubeError(
                f"{path}: its {len(channels)} spectra lie on several axes. Export those of one axis."
            )
        names = tuple(hdf5.text(channel.parent.attrs.get("Label")) or "" for channel in channels)
        provenance = {
            "source": str(path),
            "format": "photothermal .ptir",
            "signal": hdf5.text(channels[0].attrs.get("DataSignal")),
            "axis": "Spectroscopic_Values, cm⁻¹ in the file",
            "direction": axis.direction(axes[0]),
            "stored_type": str(values[0].dtype),
        }
    return Spectra(checks.as_float(np.stack(values), path), axes[0], names, None, provenance)


def _all_channels(file: Any) -> dict[str, Any]:
    return {
        f"{measurement}/{channel}": file[measurement][channel]
        for measurement in file
        if measurement.startswith("Measurement_")
        for channel in file[measurement]
        if channel.startswith("Channel_") and "Raw_Data" in file[measurement][channel]
    }


def _singles(file: Any) -> list[Any]:
    """Channels of one spectrum."""
    return [
        channel
        for channel in _all_channels(file).values()
        if getattr(channel["Raw_Data"], "shape", ())[:1] == (1,) and "Spectroscopic_Values" in channel.parent
    ]


def _channel(file: Any, variable: str | None, path: Path) -> Any:
    channels = {
        name: channel
        for name, channel in _all_channels(file).items()
        if "Position_Indices" in channel.parent
        and channel.name not in {single.name for single in _singles(file)}
    }
    if variable is not None:
        if variable.strip("/") not in channels:
            raise CubeError(f"{path}: found no map {variable!r}, only {', '.join(channels) or 'none'}.")
        return channels[variable.strip("/")]
    infrared = [channel for channel in channels.values() if not _is_raman(channel.parent)]
    if not channels and _singles(file):
        raise CubeError(f"{path}: it holds single spectra, not a map; read them with read_spectra.")
    if len(infrared) != 1:
        raise CubeError(
            f"{path}: found {len(infrared)} infrared maps of {', '.join(channels) or 'none'}; name one "
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
