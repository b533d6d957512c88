"""Renishaw WiRE files (.wdf): maps, and spectra of any measurement.

Layout as documented by the py-wdf-reader and gwyddion projects: blocks of a four-letter name, a 32-bit
identifier, and a 64-bit length that includes these 16 bytes. A map has its positions in the lists of block
ORGN, its extent and steps in WMAP. Parsed here because renishawWiRE repeats for ever on a block of length zero,
and lays out by the order of the spectra what was measured by columns or not to its end.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, grid
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_BLOCK = struct.Struct("<4sIQ")
_POINTS_AT, _CAPACITY_AT, _COUNT_AT, _LINES_AT, _AXIS_POINTS_AT, _LISTS_AT = 60, 64, 72, 84, 88, 92
_MEASUREMENT_AT, _FILE_HEADER_BYTES = 132, 512
# Kind of the axis (1 is frequency) and its unit, as WiRE numbers them.
_FREQUENCY = 1
_UNITS = {1: "raman shift", 2: "wavenumber", 3: "nm"}
_NOT_MAPS = {0: "spectra of no stated kind", 1: "a single spectrum", 2: "a series of spectra"}
_MAPPING = 3
# A list of block ORGN: kind, unit and name, then a number for each spectrum that the file has room for.
_LIST = struct.Struct("<2I16s")
_LIST_KIND, _LIST_IS_MAIN = 0x7FFFFFFF, 0x80000000
_X, _Y, _DEPTH = 3, 4, 5
_SERIES = {5: "depth", 6: "angle", 9: "temperature", 10: "pressure", 11: "time", 14: "focus"}
_UM_PER_UNIT = {3: 1e-3, 5: 1.0, 8: 1e3, 9: 1e6}
# Block WMAP: kind of the map, unused; start, step and number along x, y and z; length of a line focus.
_MAP = struct.Struct("<2I6f3If")
_SCATTERED, _LINE = 1, 128


@dataclass(frozen=True)
class _File:
    """What the blocks state: spectra (n, c) of the number there is room for, the axis, and positions if any."""

    measurement: int
    capacity: int
    spectra: np.ndarray
    scale: memoryview
    positions: np.ndarray | None
    um_per_unit: float | None
    varied: tuple[str, ...]
    outline: tuple[Any, ...] | None


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a map: by points, StreamLine or StreamHR, whatever its order, and one that was interrupted.

    Every spectrum goes to the pixel of its position (block ORGN); pixels that were not measured are zero and
    counted in provenance `left_out`.

    Returns:
      the cube, counts of shape (y, x, c), float32.

    Raises:
      CubeError: if the file is damaged, has no axis, or holds no map (a line, series, stack or single spectrum).
    """
    path = Path(path)
    with checks.Reading(path, "a WiRE file"):
        file = _parsed(path)
        placed = _grid(file, path)
        if placed is None:
            raise CubeError(f"{path}: it holds {_what(file)}, not a map; read it with read_spectra.")
        if wavenumbers_cm1 is None:
            found, stated = _axis(file, path, ", or give wavenumbers_cm1=")
        else:
            found, stated = axis.settle(None, wavenumbers_cm1, path, "")
        pixel_size_um, pixel_size = placed.pixel_size(file.um_per_unit, "steps of the positions (ORGN)")
        values = checks.as_float(placed.image(file.spectra), path)
    provenance = {
        **_provenance(path, found, stated),
        **placed.provenance(pixel_size),
    }
    return Cube(values, found, pixel_size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a .wdf file: one, or those of a map, line or series in the order measured.

    Raises:
      CubeError: if the file is damaged or its axis is not a Raman shift, wavenumber or wavelength.
    """
    path = Path(path)
    with checks.Reading(path, "a WiRE file"):
        file = _parsed(path)
        found, stated = _axis(file, path)
        positions_um = None
        if file.positions is not None and file.um_per_unit is not None:
            positions_um = file.positions * file.um_per_unit
        values = checks.as_float(file.spectra, path)
    provenance = {**_provenance(path, found, stated), "measurement": _what(file)}
    return Spectra(values, found, (), positions_um, provenance)


def _parsed(path: Path) -> _File:
    checks.size(path, _FILE_HEADER_BYTES, "a WiRE file")
    content = memoryview(np.memmap(path, np.uint8, "r"))
    blocks = _blocks(content)
    for name in (b"DATA", b"XLST"):
        if name not in blocks:
            raise CubeError(f"{path}: found no block {name.decode()}. The file is cut; export it again.")
    (points,) = struct.unpack_from("<I", content, _POINTS_AT)
    capacity, number = struct.unpack_from("<2Q", content, _CAPACITY_AT)
    lines, axis_points, lists = struct.unpack_from("<3I", content, _LINES_AT)
    (measurement,) = struct.unpack_from("<I", content, _MEASUREMENT_AT)
    data, scale = blocks[b"DATA"], blocks[b"XLST"]
    if lines > 1 and points == lines * axis_points:
        raise CubeError(
            f"{path}: each of its {number} records is an image of {lines} lines by {axis_points} points of a "
            "camera, not a spectrum; such images are not read. Extract spectra in WiRE and save those."
        )
    if points != axis_points or points < 1 or len(scale) != 8 + 4 * points:
        raise CubeError(f"{path}: found {len(scale) - 8} bytes of axis for {points} points. Damaged.")
    if not 0 < number <= capacity or len(data) != 4 * points * capacity:
        raise CubeError(
            f"{path}: found {len(data)} bytes for {number} of {capacity} spectra of {points} points. "
            "The file is damaged or nothing was measured; export it again."
        )
    spectra = np.frombuffer(data, "<f4", points * number).reshape(number, points)
    listed = _lists(blocks[b"ORGN"], lists, capacity, number, path) if b"ORGN" in blocks else {}
    units = {listed[kind][0] for kind in (_X, _Y) if kind in listed}
    return _File(
        measurement=measurement,
        capacity=capacity,
        spectra=spectra,
        scale=scale,
        positions=np.stack((listed[_X][1], listed[_Y][1]), 1) if _X in listed and _Y in listed else None,
        um_per_unit=_UM_PER_UNIT.get(units.pop()) if len(units) == 1 else None,
        varied=tuple(words for kind, words in _SERIES.items() if kind in listed and listed[kind][2]),
        outline=_MAP.unpack_from(blocks[b"WMAP"], 0) if b"WMAP" in blocks else None,
    )


def _axis(file: _File, path: Path, otherwise: str = "") -> tuple[np.ndarray, str]:
    kind, unit = struct.unpack_from("<2I", file.scale, 0)
    if kind != _FREQUENCY or unit not in _UNITS:
        raise CubeError(
            f"{path}: its axis is of kind {kind} and unit {unit}; read are kind {_FREQUENCY} and units "
            f"{sorted(_UNITS)} (Raman shift, wavenumber, nm). Set it in WiRE{otherwise}."
        )
    stated = f"XLST, {_UNITS[unit]} in the file"
    if _UNITS[unit] == "nm":
        stated += ", turned to absolute wavenumbers and not to Raman shifts"
    return axis.to_wavenumbers_cm1(np.frombuffer(file.scale, "<f4", offset=8), _UNITS[unit], path), stated


def _lists(
    content: memoryview, stated: int, capacity: int, number: int, path: Path
) -> dict[int, tuple[int, np.ndarray, bool]]:
    """Unit, values (n,) and whether it is what the measurement varied, of each list of ORGN by its kind."""
    (lists,) = struct.unpack_from("<I", content, 0)
    length = _LIST.size + 8 * capacity
    if lists != stated or len(content) != 4 + lists * length:
        raise CubeError(
            f"{path}: found {len(content)} bytes for {lists} lists (stated {stated}) of {capacity} origins. "
            "The file is damaged; export it again."
        )
    found: dict[int, tuple[int, np.ndarray, bool]] = {}
    for at in range(4, len(content), length):
        kind, unit, _ = _LIST.unpack_from(content, at)
        values = np.frombuffer(content, "<f8", number, at + _LIST.size)
        found.setdefault(kind & _LIST_KIND, (unit, values, bool(kind & _LIST_IS_MAIN)))
    return found


def _grid(file: _File, path: Path) -> grid.Grid | None:
    """The pixels of a map; None for anything else."""
    if file.measurement != _MAPPING or file.positions is None:
        return None
    if file.outline is None:
        return grid.of_positions(file.positions, path)
    kind, _, x, y, _, step_x, step_y, _, width, height, layers, _ = file.outline
    if kind & (_SCATTERED | _LINE) or min(width, height) < 2 or layers > 1:
        return None
    # The grid that is stated knows the lines that an interrupted map did not come to; the file has room for them.
    if width * height <= file.capacity:
        stated = grid.of_stated(
            file.positions, start=(x, y), steps=(step_x, step_y), extent=(width, height), path=path
        )
        if stated is None:
            raise CubeError(
                f"{path}: its positions do not lie on the {width} × {height} pixels by {step_x:g} × {step_y:g} "
                "(x × y) that its block WMAP states. Damaged; export it again, or read it with read_spectra."
            )
        return stated
    return grid.of_positions(file.positions, path)


def _what(file: _File) -> str:
    number = len(file.spectra)
    if file.measurement != _MAPPING:
        kind = _NOT_MAPS.get(file.measurement, f"a measurement of kind {file.measurement}")
        along = f" along {' and '.join(file.varied)}" if file.varied else ""
        return f"{kind}{along} ({number} spectra)"
    if file.outline is None or file.positions is None:
        return f"{number} spectra without the extent of a map"
    kind, layers = file.outline[0], file.outline[10]
    if layers > 1 or "depth" in file.varied:
        return f"a stack or slice in depth ({number} spectra; save each plane as a map of its own in WiRE)"
    words = "a line of" if kind & _LINE or 1 in file.outline[8:10] else "scattered points, "
    return f"{words} {number} spectra with positions"


def _provenance(path: Path, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "Renishaw .wdf",
        "quantity": "Raman counts",
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "float32",
    }


def _blocks(content: memoryview) -> dict[bytes, memoryview]:
    """Content of each block by its name, the first of a name; the blocks must fill the file."""
    found: dict[bytes, memoryview] = {}
    at = 0
    while at < len(content):
        name, _, length = _BLOCK.unpack_from(content, at)
        if not _BLOCK.size <= length <= len(content) - at:
            raise ValueError(f"block {name!r} of {length} bytes where {len(content) - at} are left")
        found.setdefault(name, content[at + _BLOCK.size : at + length])
        at += length
    return found
