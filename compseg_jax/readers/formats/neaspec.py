"""Spectra of neaSPEC near-field microscopes exported to text: single ones, lines and maps of several channels.

Comments state the scan (`# Scan Area (X, Y, Z): [µm] …`); a row of titles follows, and a row for each point of each
spectrum: Row, Column, the number of the point, its wavenumber or wavelength, and the channels, such as O2A and O2P,
amplitude and phase of the second harmonic. Layout as pySNOM and Orange read it. Interferograms (columns Run and M, and
the older .nea) are named, not transformed. A single spectrum does not state its points: one cut between two rows is
read as the shorter one it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, grid, pixel_size, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_FIRST_WORDS = b"# www.neaspec.com"
_LEGACY = re.compile(rb"Row\tColumn\tRun\t")
_NO_CHANNELS = frozenset(("Row", "Column", "Run", "Omega", "Depth", "Index", "Wavenumber", "Wavelength"))
_PM_PER_NM = 1000.0


@dataclass(frozen=True)
class _Scan:
    """One channel: spectra (n, c), row and column of each (n, 2), the axis, and what the comments state."""

    channel: str
    spectra: np.ndarray
    places: np.ndarray
    wavenumbers_cm1: np.ndarray
    axis: str
    stated: dict[str, list[str]]


def holds(path: Path) -> bool:
    """Whether a text file is an export of neaSPEC's programs."""
    with path.open("rb") as stream:
        head = stream.read(64).removeprefix(b"\xef\xbb\xbf")
    return head.startswith(_FIRST_WORDS) or _LEGACY.match(head) is not None


def read(
    path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None, variable: str | None = None
) -> Cube:
    """Reads a channel of a map.

    Args:
      path: the file.
      wavenumbers_cm1: the axis, used instead of the file's.
      variable: the channel, such as `O2A`; needed where the file holds several.

    Returns:
      the cube of shape (y, x, c), float64, Row 0 first.

    Raises:
      CubeError: if the channel is not named, the table is cut, or it holds a line, a single spectrum or
        interferograms.
    """
    path = Path(path)
    with checks.Reading(path, "spectra of neaSPEC"):
        scan = _read(path, variable)
        height, width = (int(extent) for extent in scan.places.max(axis=0) + 1)
        if min(height, width) < 2:
            raise CubeError(f"{path}: it holds {_what(scan)}, not a map; read it with read_spectra.")
        placed = None
        if height * width <= 2 * len(scan.places):
            placed = grid.of_stated(
                scan.places[:, ::-1], start=(0, 0), steps=(1, 1), extent=(width, height), path=path
            )
        if placed is None:
            raise CubeError(
                f"{path}: {len(scan.places)} spectra do not fill {height} × {width} pixels. Damaged."
            )
        found, told = axis.settle(scan.wavenumbers_cm1, wavenumbers_cm1, path, scan.axis)
        size_um, size = _pixel_size(scan, height, width)
        values = placed.image(scan.spectra)
    provenance = {
        **_provenance(path, scan, found, told),
        "orientation": "as stored, Row 0 first",
        "pixel_size": size,
        **placed.left_out(),
    }
    return Cube(values, found, size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of the amplitude of the second harmonic (O2A), or of the only channel.

    Raises:
      CubeError: as of `read`.
    """
    path = Path(path)
    with checks.Reading(path, "spectra of neaSPEC"):
        scan = _read(path, None, otherwise="O2A")
    names = tuple(f"row {row:g}, column {column:g}" for row, column in scan.places)
    provenance = _provenance(path, scan, scan.wavenumbers_cm1, scan.axis)
    provenance["measurement"] = _what(scan)
    return Spectra(scan.spectra, scan.wavenumbers_cm1, names, None, provenance)


def _read(path: Path, variable: str | None, otherwise: str | None = None) -> _Scan:
    lines = [line for line in text_lines.read_lines(path) if line.strip()]
    stated: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            name, *entries = [part.strip() for part in line.lstrip("# ").split("\t")]
            stated[name.rstrip(":")] = entries
    body = [line.rstrip("\t ") for line in lines if not line.startswith("#")]
    titles = body[0].split("\t") if body else []
    if "Run" in titles or "M" in titles:
        raise CubeError(
            f"{path}: it holds interferograms, not spectra. Export the processed spectra (columns Wavenumber, O2A …) "
            "from neaSCAN or neaPLOTTER."
        )
    scale = next((name for name in ("Wavenumber", "Wavelength") if name in titles), None)
    if scale is None or not {"Row", "Column"} <= set(titles) or len(body) < 2:
        raise CubeError(
            f"{path}: found the columns {', '.join(titles[:8])}; required are Row, Column, Wavenumber and a channel."
        )
    channel = _channel([name for name in titles if name not in _NO_CHANNELS], variable, otherwise, path)
    wanted = [titles.index(name) for name in ("Row", "Column", scale, channel)]
    values = text_numbers.read(body[1:], 2, path, columns=wanted)
    places = values[:, :2]
    if not np.all(np.isfinite(places)) or np.any(places != np.rint(places)) or np.any(places < 0):
        raise CubeError(f"{path}: Row and Column hold values that are no whole numbers. Damaged.")
    starts = np.flatnonzero(np.r_[True, np.any(places[1:] != places[:-1], axis=1)])
    lengths = np.diff(np.r_[starts, len(values)])
    if np.ptp(lengths):
        row, column = places[starts[np.argmin(lengths)]]
        raise CubeError(
            f"{path}: the spectrum of row {row:g}, column {column:g} has {lengths.min()} points, others have "
            f"{lengths.max()}. The file is cut; export it again."
        )
    asked = [entry for entry in stated.get("Pixel Area (X, Y, Z)", [])[1:3] if text_lines.is_number(entry)]
    if len(starts) == 1 and any(text_lines.number(entry) > 1 for entry in asked):
        raise CubeError(
            f"{path}: found 1 spectrum of {' × '.join(asked)} pixels. The file is cut; export it again."
        )
    points = values[:, 2:].reshape(len(starts), int(lengths[0]), 2)
    if np.any(points[:, :, 0] != points[:1, :, 0]):
        raise CubeError(f"{path}: its spectra do not share one axis. Export them on one axis.")
    found, told = _axis(points[0, :, 0], scale, stated, path)
    return _Scan(channel, points[:, :, 1].copy(), places[starts], found, told, stated)


def _channel(channels: list[str], variable: str | None, otherwise: str | None, path: Path) -> str:
    spectral = [name for name in channels if name != "Z"]
    wanted = variable or (otherwise if otherwise in spectral else None)
    if wanted is None and len(spectral) == 1:
        return spectral[0]
    if wanted not in channels:
        found = "found no channel " + repr(wanted) if wanted else f"found {len(spectral)} channels"
        raise CubeError(f"{path}: {found}, of {', '.join(spectral) or 'none'}. Name one with variable=.")
    return str(wanted)


def _axis(values: np.ndarray, title: str, stated: dict[str, list[str]], path: Path) -> tuple[np.ndarray, str]:
    if title == "Wavenumber":
        return axis.to_wavenumbers_cm1(values, "cm-1", path), "column Wavenumber, cm⁻¹"
    unit, *ends = stated.get("Spectral Range", [""])
    numbers = [text_lines.number(end) for end in ends if text_lines.is_number(end)]
    for scale in (1.0, _PM_PER_NM):
        if unit == "[nm]" and numbers and abs(values[0] / scale - numbers[0]) < 0.01:
            found = axis.to_wavenumbers_cm1(values / scale, "nm", path)
            return found, "column Wavelength, its unit by the Spectral Range in nm; absolute wavenumbers"
    raise CubeError(
        f"{path}: the column Wavelength begins at {values[0]:g}, the Spectral Range at {ends or 'nothing'} {unit}; so "
        "its unit is not known. Export the spectra with wavenumbers, or state the Spectral Range in [nm]."
    )


def _pixel_size(scan: _Scan, height: int, width: int) -> tuple[float | None, str]:
    unit, *lengths = scan.stated.get("Scan Area (X, Y, Z)", [""])
    if unit not in ("[µm]", "[μm]") or len(lengths) < 2 or not all(map(text_lines.is_number, lengths[:2])):
        return None, "not stated"
    x, y = (text_lines.number(length) for length in lengths[:2])
    return pixel_size.judged([y / height, x / width], "Scan Area over all pixels")


def _what(scan: _Scan) -> str:
    number = len(scan.spectra)
    if number == 1:
        return "a single spectrum"
    return (
        f"a line of {number} spectra"
        if min(np.ptp(scan.places, axis=0)) == 0
        else f"{number} spectra of a map"
    )


def _provenance(path: Path, scan: _Scan, found: np.ndarray, told: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "neaSPEC text",
        "variable": scan.channel,
        "axis": told,
        "direction": axis.direction(found),
        "stored_type": "text",
    }
