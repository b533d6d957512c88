"""neaSPEC's text export of nano-infrared spectra (`# www.neaspec.com`): points, lines and maps.

A long table: each row holds the row and column of a point, the index and wavenumber of a point of its spectrum, and
amplitude and phase of every demodulation order (O0A, O0P, O1A …). Comments above state the scanned area in µm.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_MARK = b"# www.neaspec.com"
_PLACES = ("Row", "Column")
_NO_CHANNELS = frozenset(
    ("Row", "Column", "Run", "Omega", "Depth", "Index", "Wavenumber", "Wavelength", "Z", "M", "")
)


@dataclass(frozen=True)
class _Table:
    """Spectra by place, and what the comments state.

    Attributes:
      channel: name of the channel.
      spectra: shape (y, x, c).
      wavenumbers_cm1: shape (c,), None where it is not stated.
      stated: how the axis is stated.
      steps_um: distance of two columns and of two rows, those of one only left out.
    """

    channel: str
    spectra: np.ndarray
    wavenumbers_cm1: np.ndarray | None
    stated: str
    steps_um: tuple[float, ...]


def holds(path: Path) -> bool:
    """Whether a text begins with neaSPEC's mark."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf").startswith(_MARK)


def read(
    path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None, variable: str | None = None
) -> Cube:
    """Reads one channel of a map; `variable` names it, such as `O2P`.

    Returns:
      the cube of shape (row, column, c), float64.

    Raises:
      CubeError: if no channel is named of several, the points do not fill a grid, or these are interferograms.
    """
    path = Path(path)
    with checks.Reading(path, "a text of neaSPEC"):
        table = _read(path, variable)
        found, stated = axis.settle(table.wavenumbers_cm1, wavenumbers_cm1, path, table.stated)
        words = f"Scan Area, steps of {' and '.join(f'{step:g}' for step in table.steps_um)} µm"
        size, said = pixel_size.judged(table.steps_um, words) if table.steps_um else (None, "")
    provenance = {
        "source": str(path),
        "format": "neaSPEC text",
        "variable": table.channel,
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "text",
        **({"pixel_size": said} if said else {}),
    }
    return Cube(table.spectra, found, size, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of every channel, each named by its channel and place."""
    path = Path(path)
    with checks.Reading(path, "a text of neaSPEC"):
        titles, _, _ = _split(path)
        tables = [_read(path, channel) for channel in _channels(titles)]
        if not tables:
            raise CubeError(
                f"{path}: it names no channel such as O2A. Export amplitude and phase of the spectra."
            )
        rows, columns, channels = tables[0].spectra.shape
        names = tuple(
            f"{table.channel} row {row} column {column}" if rows * columns > 1 else table.channel
            for table in tables
            for row in range(rows)
            for column in range(columns)
        )
        absorbance = np.concatenate([table.spectra.reshape(-1, channels) for table in tables])
    found, stated = axis.settle(tables[0].wavenumbers_cm1, None, path, tables[0].stated)
    known = {"format": "neaSPEC text", "axis": stated, "direction": axis.direction(found)}
    return Spectra(absorbance, found, names, None, {"source": str(path), **known})


def _split(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Titles, rows and comments."""
    lines = [line for line in text_lines.read_lines(path) if line.strip()]
    comments = [line for line in lines if line.startswith("#")]
    table = [line.rstrip("\t ") for line in lines if not line.startswith("#")]
    if len(table) < 2:
        raise CubeError(f"{path}: found no table below the comments. Export the spectra again.")
    return [title.strip() for title in table[0].split("\t")], table[1:], comments


def _channels(titles: Sequence[str]) -> list[str]:
    return [title for title in titles if title not in _NO_CHANNELS]


def _read(path: Path, variable: str | None) -> _Table:
    titles, rows, comments = _split(path)
    scale = next((title for title in ("Wavenumber", "Wavelength") if title in titles), None)
    if scale is None:
        raise CubeError(
            f"{path}: it holds interferograms or images ({', '.join(titles[:8])} …), which have no wavenumbers; export "
            "the spectra (Fourier processing) instead."
        )
    channels = _channels(titles)
    if not set(_PLACES) <= set(titles) or (variable is None and len(channels) != 1):
        raise CubeError(
            f"{path}: found the channels {', '.join(channels) or 'none'}. Name one with variable=."
        )
    channel = channels[0] if variable is None else variable
    if channel not in channels:
        raise CubeError(
            f"{path}: found no channel {variable!r}, only {', '.join(channels)}. Name one with variable=."
        )
    columns = [titles.index(title) for title in (*_PLACES, scale, channel)]
    values = text_numbers.read(rows, 2, path, columns=columns)
    places = [np.unique(values[:, at], return_inverse=True) for at in (0, 1)]
    (of_rows, row), (of_columns, column) = places
    shape = (of_rows.size, of_columns.size)
    order = np.lexsort((np.arange(len(values)), column, row))
    points, rest = divmod(len(values), shape[0] * shape[1])
    counts = np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1])
    if rest or np.any(counts != points):
        raise CubeError(
            f"{path}: {len(values)} points do not fill a grid of {shape[0]} × {shape[1]} spectra of one length. "
            "The file is cut, or the scan was broken off; export a complete one."
        )
    ordered = values[order].reshape(*shape, points, 4)
    listed = ordered[0, 0, :, 2]
    if np.any(ordered[:, :, :, 2] != listed):
        raise CubeError(f"{path}: its spectra do not share one axis. Export the map on one axis.")
    if scale == "Wavenumber":
        found, stated = (
            axis.to_wavenumbers_cm1(listed, "cm-1", path),
            "column Wavenumber, cm⁻¹ as neaSPEC writes it",
        )
    else:
        found, stated = None, "column Wavelength states no unit"
    return _Table(channel, ordered[:, :, :, 3].copy(), found, stated, _steps(comments, shape))


def _steps(comments: Sequence[str], shape: tuple[int, int]) -> tuple[float, ...]:
    """Steps along x and y of `# Scan Area (X, Y, Z): [µm] 1.2 0.8 0`, where both have more than one point."""
    for line in comments:
        matched = re.match(r"# Scan Area \(X, Y, Z\):\s*\[(?:µm|μm|um)\]\s+(\S+)\s+(\S+)", line)
        if matched is not None and all(text_lines.is_number(part) for part in matched.groups()):
            lengths = [text_lines.number(part) for part in matched.groups()]
            pairs = zip(lengths, (shape[1], shape[0]), strict=True)
            return tuple(length / (number - 1) for length, number in pairs if number > 1 and length > 0)
    return ()
