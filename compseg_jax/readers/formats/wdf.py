"""Renishaw WiRE files (.wdf) as spectra.

Layout as documented by the py-wdf-reader and gwyddion projects: blocks of a four-letter name, a 32-bit
identifier, and a 64-bit length that includes these 16 bytes. Parsed here because renishawWiRE repeats for
ever on a block of length zero.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.point_spectra import Spectra

_BLOCK = struct.Struct("<4sIQ")
_POINTS_AT, _CAPACITY_AT, _COUNT_AT, _AXIS_POINTS_AT, _FILE_HEADER_BYTES = 60, 64, 72, 88, 512
# Kind of the axis (1 is frequency) and its unit, as WiRE numbers them.
_FREQUENCY = 1
_UNITS = {1: "raman shift", 2: "wavenumber"}


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a .wdf file (one, or those of a series or map in the order measured).

    Raises:
      CubeError: if the file is damaged or its axis is not a Raman shift or wavenumber.
    """
    path = Path(path)
    with checks.Reading(path, "a WiRE file"):
        checks.size(path, _FILE_HEADER_BYTES, "a WiRE file")
        content = memoryview(np.memmap(path, np.uint8, "r"))
        blocks = _blocks(content)
        (points,) = struct.unpack_from("<I", content, _POINTS_AT)
        capacity, number = struct.unpack_from("<2Q", content, _CAPACITY_AT)
        (axis_points,) = struct.unpack_from("<I", content, _AXIS_POINTS_AT)
        data, scale = blocks[b"DATA"], blocks[b"XLST"]
        if points != axis_points or points < 1 or len(scale) != 8 + 4 * points:
            raise CubeError(f"{path}: found {len(scale) - 8} bytes of axis for {points} points. Damaged.")
        if not 0 < number <= capacity or len(data) != 4 * points * capacity:
            raise CubeError(
                f"{path}: found {len(data)} bytes for {number} of {capacity} spectra of {points} points. "
                "The file is damaged; export it again."
            )
        kind, unit = struct.unpack_from("<2I", scale, 0)
        if kind != _FREQUENCY or unit not in _UNITS:
            raise CubeError(
                f"{path}: its axis is of kind {kind} and unit {unit}; read are kind {_FREQUENCY} and units "
                f"{sorted(_UNITS)} (Raman shift, wavenumber). Set it in WiRE."
            )
        found = axis.to_wavenumbers_cm1(np.frombuffer(scale, "<f4", points, 8), _UNITS[unit], path)
        values = np.frombuffer(data, "<f4", points * number).reshape(number, points)
    provenance = {
        "source": str(path),
        "format": "Renishaw .wdf",
        "quantity": "Raman counts",
        "axis": f"XLST, {_UNITS[unit]} in the file",
        "direction": axis.direction(found),
    }
    return Spectra(checks.as_float(values, path), found, (), None, provenance)


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
