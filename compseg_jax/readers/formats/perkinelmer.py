"""PerkinElmer Spotlight maps (.fsm) and single spectra (.sp).

Both are a title followed by blocks of a 16-bit number, a 32-bit length and the content (layout as in the
specio project, which is no longer kept up; hence parsed here).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_TITLE_BYTES = 44
_MAP_TITLE, _SPECTRUM_TITLE = b"PEPEDataSet - 4D", b"PEPE2D constant interval DataSet"
_MAP_HEADER, _MAP_SPECTRUM = 5100, 5105
_SPECTRUM, _RANGE, _STEP, _POINTS, _UNIT, _QUANTITY, _NAME, _VALUES = (
    120,
    35698,
    35700,
    35701,
    35703,
    35704,
    35713,
    35708,
)


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a .fsm map; its spectra are stored line after line, x fastest.

    Returns:
      the cube, shape (y, x, c); provenance `quantity` names what was measured, often %T, not absorbance.

    Raises:
      CubeError: if the file is damaged or no map.
    """
    path = Path(path)
    with checks.Reading(path, "a PerkinElmer map"):
        content = memoryview(np.memmap(path, np.uint8, "r"))
        if not bytes(content[:_TITLE_BYTES]).startswith(_MAP_TITLE):
            raise CubeError(f"{path}: it is no map; read a single spectrum with read_spectra.")
        blocks = list(_blocks(content[_TITLE_BYTES:]))
        headers = [body for number, body in blocks if number == _MAP_HEADER]
        spectra = [body for number, body in blocks if number == _MAP_SPECTRUM]
        if len(headers) != 1:
            raise CubeError(f"{path}: found {len(headers)} map headers; required is one. Damaged.")
        body = headers[0]
        (name_length,) = struct.unpack_from("<h", body, 0)
        numbers = struct.unpack_from("<10d3i", body, 2 + name_length)
        step_x, step_y, step, start, end = numbers[:5]
        width, height, points = numbers[10:]
        labels = _labels(body[2 + name_length + struct.calcsize("<10d3i") :])
        if checks.count((height, width), path, "the map") != len(spectra):
            raise CubeError(f"{path}: found {len(spectra)} spectra for {height} × {width} pixels. Damaged.")
        if any(len(spectrum) != 4 * points for spectrum in spectra):
            raise CubeError(f"{path}: its spectra are not all of {points} points. Damaged; export it again.")
        found = _axis(start, end, step, points, labels[2], path)
        values = np.stack([np.frombuffer(spectrum, "<f4") for spectrum in spectra])
    found, stated = axis.settle(found, wavenumbers_cm1, path, f"start, end and step, {labels[2]} in the file")
    provenance = {
        "source": str(path),
        "format": "PerkinElmer .fsm",
        "quantity": labels[3],
        "origin_um": (numbers[7], numbers[8]),
        "axis": stated,
        "direction": axis.direction(found),
    }
    square = "micrometers" in labels[0] and np.isclose(abs(step_x), abs(step_y))
    cube = checks.as_float(values, path).reshape(height, width, points)
    return Cube(cube, found, abs(step_x) if square else None, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectrum of a .sp file; provenance `quantity` names what was measured.

    Raises:
      CubeError: if the file is damaged or no single spectrum.
    """
    path = Path(path)
    with checks.Reading(path, "a PerkinElmer spectrum"):
        content = memoryview(path.read_bytes())
        if not bytes(content[:_TITLE_BYTES]).startswith(_SPECTRUM_TITLE):
            raise CubeError(f"{path}: it is no single spectrum; read a map with read.")
        outer = [body for number, body in _blocks(content[_TITLE_BYTES:]) if number == _SPECTRUM]
        if len(outer) != 1:
            raise CubeError(f"{path}: found {len(outer)} spectra; required is one. Damaged.")
        members = dict(_blocks(outer[0]))
        start, end = struct.unpack_from("<2d", members[_RANGE], 2)
        (step,) = struct.unpack_from("<d", members[_STEP], 2)
        (points,) = struct.unpack_from("<i", members[_POINTS], 2)
        (length,) = struct.unpack_from("<i", members[_VALUES], 2)
        stored = members[_VALUES][6:]
        if length != 8 * points or len(stored) != length:
            raise CubeError(f"{path}: found {len(stored)} bytes for {points} points of 8. Damaged.")
        unit = _counted_text(members[_UNIT][2:])
        found = _axis(start, end, step, points, unit, path)
        values = np.frombuffer(stored, "<f8")[np.newaxis]
        quantity = _counted_text(members[_QUANTITY][2:])
        names = (_counted_text(members[_NAME][2:]),) if _NAME in members else ()
    provenance = {
        "source": str(path),
        "format": "PerkinElmer .sp",
        "quantity": quantity,
        "axis": f"start, end and step, {unit} in the file",
        "direction": axis.direction(found),
    }
    return Spectra(checks.as_float(values, path), found, names, None, provenance)


def _blocks(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(content):
        number, length = struct.unpack_from("<Hi", content, at)
        at += 6
        if not 0 <= length <= len(content) - at:
            raise ValueError(f"block {number} of {length} bytes where {len(content) - at} are left")
        yield number, content[at : at + length]
        at += length


def _axis(start: float, end: float, step: float, points: int, unit: str, path: Path) -> np.ndarray:
    """The even axis, whose four numbers must agree."""
    if points < 1 or not np.isclose(start + step * (points - 1), end, rtol=0, atol=1e-3 * abs(step)):
        raise CubeError(f"{path}: {points} points from {start:g} by {step:g} do not end at {end:g}. Damaged.")
    return axis.to_wavenumbers_cm1(np.linspace(start, end, points), unit, path)


def _labels(content: memoryview) -> list[str]:
    """The four texts after the numbers of a map: units of x, y and the axis, and the quantity."""
    labels = []
    for _ in range(4):
        labels.append(_counted_text(content))
        content = content[2 + len(labels[-1]) :]
    return labels


def _counted_text(content: memoryview) -> str:
    (length,) = struct.unpack_from("<H", content, 0)
    if length > len(content) - 2:
        raise ValueError(f"a text of {length} bytes where {len(content) - 2} are left")
    return bytes(content[2 : 2 + length]).decode("latin-1")
