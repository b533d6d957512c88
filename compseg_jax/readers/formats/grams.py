"""GRAMS files (.spc): single spectra, series, and maps whose spectra have a z and a w value.

Layout as published by Galactic Industries in "A Brief Guide to SPC File Format" and its SPC.H: a header of 512
bytes (256 in the old format), an axis where it is not even, and for each spectrum a header of 32 bytes and its
values: floats, or integers with a common power of two. Parsed here because spc-io refuses the old format and logs
with lines that have no value, and the others guess or repeat for ever on cut files.
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

_LITTLE, _BIG, _OLD = 0x4B, 0x4C, 0x4D
_COMPOUND = b"\xd0\xcf\x11\xe0"  # Shimadzu's files of the same suffix
_HEADER_BYTES, _OLD_HEADER_BYTES, _SUB_BYTES = 512, 224, 32
# Flags of a file.
_SHORT, _MULTI, _OWN_Z, _OWN_X, _HAS_X = 0x01, 0x04, 0x18, 0x40, 0x80
_FLOAT = -128
# Kinds of the axes x, z and w.
_KINDS = {
    0: "arbitrary units",
    1: "wavenumber",
    2: "um",
    3: "nm",
    4: "s",
    5: "min",
    6: "Hz",
    7: "kHz",
    8: "MHz",
    9: "m/z",
    10: "ppm",
    11: "days",
    12: "years",
    13: "ramanshift",
    14: "eV",
    16: "diode number",
    17: "channel",
    18: "degrees",
    19: "°F",
    20: "°C",
    21: "K",
    22: "data points",
    23: "ms",
    24: "µs",
    25: "ns",
    26: "GHz",
    27: "cm",
    28: "m",
    29: "mm",
    30: "h",
    255: "points of an interferogram",
}
_INTERFEROGRAM = 1
_GIVE = ", or give wavenumbers_cm1="
_UM_PER_UNIT = {2: 1.0, 3: 1e-3, 27: 1e4, 28: 1e6, 29: 1e3}
_PLACES = frozenset((0, 16, 17, 22, *_UM_PER_UNIT))  # kinds that may count pixels
_QUANTITIES = {
    0: "arbitrary units",
    1: "interferogram",
    2: "absorbance",
    3: "Kubelka-Munk",
    4: "counts",
    5: "volts",
    10: "log(1/R)",
    11: "percent",
    12: "intensity",
    13: "relative intensity",
    14: "energy",
    128: "transmittance",
    129: "reflectance",
    130: "single beam",
    131: "emission",
}


@dataclass(frozen=True)
class _File:
    """Spectra (n, c), what the header states of them, and their z and w (n,)."""

    spectra: np.ndarray
    stored_type: str
    scale: np.ndarray
    kind: int
    quantity: int
    z: np.ndarray
    z_kind: int
    w: np.ndarray
    w_kind: int
    planes: int


def holds(path: Path) -> bool:
    """Whether a file is of a version that the module knows, which its second byte states, or Shimadzu's."""
    with path.open("rb") as stream:
        first = stream.read(4)
    return first == _COMPOUND or (len(first) > 1 and first[1] in (_LITTLE, _BIG, _OLD))


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a map: the z value of a spectrum is its x, its w value, that of its plane, its y.

    Returns:
      the cube of shape (y, x, c), float32 or, where the file holds 32-bit integers, float64.

    Raises:
      CubeError: if the file is damaged or holds no map.
    """
    path = Path(path)
    with checks.Reading(path, "a GRAMS map"):
        file = _parsed(path)
        placed = None
        if file.planes > 1 and {file.z_kind, file.w_kind} <= _PLACES:
            placed = grid.of_positions(np.stack((file.z, file.w), 1), path)
        if placed is None:
            raise CubeError(f"{path}: it holds {_what(file)}, not a map; read it with read_spectra.")
        found, stated = (None, "") if wavenumbers_cm1 is not None else _axis(file, path, _GIVE)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        um_per_unit = _UM_PER_UNIT.get(file.z_kind) if file.z_kind == file.w_kind else None
        stated_steps = f"steps of z and w, {_KINDS[file.z_kind]} and {_KINDS[file.w_kind]} in the file"
        pixel_size_um, pixel_size = placed.pixel_size(um_per_unit, stated_steps)
        values = checks.as_float(placed.image(file.spectra), path)
    provenance = {
        **_provenance(path, file, found, stated),
        "axes": "z in the file is x, w is y",
        **placed.provenance(pixel_size),
    }
    return Cube(values, found, pixel_size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of a file in its order: one, a series, or those of a map.

    Raises:
      CubeError: if the file is damaged, its x is no wavenumber or wavelength, or each spectrum has its own.
    """
    path = Path(path)
    with checks.Reading(path, "GRAMS spectra"):
        file = _parsed(path)
        found, stated = _axis(file, path)
        values = checks.as_float(file.spectra, path)
    positions_um = None
    if file.planes > 1 and file.z_kind in _UM_PER_UNIT and file.w_kind in _UM_PER_UNIT:
        scales = (_UM_PER_UNIT[file.z_kind], _UM_PER_UNIT[file.w_kind])
        positions_um = np.stack((file.z, file.w), 1) * scales
    provenance = {**_provenance(path, file, found, stated), "measurement": _what(file)}
    return Spectra(values, found, (), positions_um, provenance)


def _parsed(path: Path) -> _File:
    checks.size(path, _OLD_HEADER_BYTES + _SUB_BYTES, "a GRAMS file")
    content = memoryview(np.memmap(path, np.uint8, "r"))
    if bytes(content[:4]) == _COMPOUND:
        raise CubeError(
            f"{path}: this .spc is Shimadzu's own format, which is not read. Export it from UVProbe or LabSolutions "
            "as text or JCAMP-DX."
        )
    flags, version = content[0], content[1]
    if version not in (_LITTLE, _BIG, _OLD):
        raise CubeError(f"{path}: its version is {version:#x}; a GRAMS file has {_LITTLE:#x} to {_OLD:#x}.")
    if flags & _OWN_X:
        raise CubeError(
            f"{path}: each of its spectra has an axis of its own, as mass spectra have; not read. Export the "
            "spectra on one axis."
        )
    return _old(content, path) if version == _OLD else _new(content, ">" if version == _BIG else "<", path)


def _new(content: memoryview, order: str, path: Path) -> _File:
    checks.size(path, _HEADER_BYTES, "a GRAMS file")
    flags = content[0]
    exponent, points, first, last, number, kind, quantity, z_kind = struct.unpack_from(
        order + "bIddI3B", content, 3
    )
    (log,) = struct.unpack_from(order + "I", content, 248)
    z_step, planes, w_step, w_kind = struct.unpack_from(order + "fIfB", content, 312)
    start = _HEADER_BYTES
    checks.count((points, number), path, "its table of spectra")
    if flags & _HAS_X:
        checks.size(path, start + 4 * points, f"an axis of {points} points")
        scale = np.frombuffer(content, order + "f4", points, start).astype(np.float64)
        start += 4 * points
    else:
        scale = _even(first, last, points, path)
    end = log or len(content)
    table, subs = _table(content, order, start, end, points, number, path, flags=flags)
    exponents = subs["exponent"] if flags & _MULTI else np.full(number, exponent, np.int8)
    spectra, stored_type = _values(table, exponents, order, is_short=bool(flags & _SHORT))
    if planes > 1 and number % planes:
        raise CubeError(
            f"{path}: its {number} spectra do not fill {planes} planes. Damaged; export it again."
        )
    within = number // planes if planes > 1 else number
    # Damage shows in the positions, which must be finite.
    with np.errstate(invalid="ignore", over="ignore"):
        z, w = subs["z"].astype(np.float64), subs["w"].astype(np.float64)
        if not flags & _OWN_Z:
            step = z_step if z_step else float(subs["next_z"][0]) - z[0]
            z = z[0] + step * (np.arange(number) % within)
        if w_step:
            w = w[0] + w_step * (np.arange(number) // within)
    return _File(spectra, stored_type, scale, kind, quantity, z, z_kind, w, w_kind, planes)


def _old(content: memoryview, path: Path) -> _File:
    flags = content[0]
    exponent, points_as_float, first, last, kind, quantity, year = struct.unpack_from("<h3f2BH", content, 2)
    if not 1 <= points_as_float < len(content) or points_as_float != int(points_as_float):
        raise CubeError(f"{path}: found {points_as_float:g} points in {len(content)} bytes. Damaged.")
    points = int(points_as_float)
    # The old header does not count the spectra: they fill the file.
    record = _SUB_BYTES + points * (2 if flags & _SHORT else 4)
    number = (len(content) - _OLD_HEADER_BYTES) // record
    if number < 1 or (number > 1 and not flags & _MULTI):
        raise CubeError(f"{path}: found room for {number} spectra of {points} points. The file is damaged.")
    table, subs = _table(content, "<", _OLD_HEADER_BYTES, len(content), points, number, path, flags=flags)
    exponents = (
        subs["exponent"] if flags & _MULTI else np.full(number, exponent & 0xFF, np.uint8).view(np.int8)
    )
    spectra, stored_type = _values(table, exponents, "old", is_short=bool(flags & _SHORT))
    with np.errstate(invalid="ignore"):
        z = subs["z"].astype(np.float64)
    scale = _even(first, last, points, path)
    return _File(spectra, stored_type, scale, kind, quantity, z, year >> 12, np.zeros(number), 0, 0)


def _table(
    content: memoryview, order: str, start: int, end: int, points: int, number: int, path: Path, *, flags: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the values of each spectrum (n, bytes) and their headers, which must end where the log begins."""
    record = _SUB_BYTES + points * (2 if flags & _SHORT else 4)
    stop = start + number * record
    if not stop <= end <= len(content) or np.any(np.asarray(content[stop:end])):
        raise CubeError(
            f"{path}: {number} spectra of {points} points end at byte {stop}, where the file or its log begins at "
            f"{end}. The file is cut or damaged; export it again."
        )
    header = np.dtype(
        [
            ("flags", "u1"),
            ("exponent", "i1"),
            ("index", order + "u2"),
            ("z", order + "f4"),
            ("next_z", order + "f4"),
            ("noise", order + "f4"),
            ("points", order + "u4"),
            ("scans", order + "u4"),
            ("w", order + "f4"),
            ("reserved", "V4"),
        ]
    )
    table = np.frombuffer(content, np.uint8, number * record, start).reshape(number, record)
    subs = np.ascontiguousarray(table[:, :_SUB_BYTES]).view(header)[:, 0]
    return table[:, _SUB_BYTES:], subs


def _values(
    table: np.ndarray, exponents: np.ndarray, order: str, *, is_short: bool
) -> tuple[np.ndarray, str]:
    """The spectra (n, c): floats as they are, integers times 2^(exponent - bits), and the type in the file."""
    table = np.ascontiguousarray(table)
    is_float = exponents == _FLOAT
    is_little = order != ">"
    floats = table.view("<f4" if is_little else ">f4") if not is_short else None
    if floats is not None and is_float.all():
        return floats, "float32"
    if is_short:
        whole, bits = table.view("<i2" if is_little else ">i2"), 16
    elif order == "old":
        # The two 16-bit words of a number, the upper one first.
        words = table.view("<u2").reshape(len(table), -1, 2).astype(np.uint32)
        whole, bits = (words[..., 0] << np.uint32(16) | words[..., 1]).view(np.int32), 32
    else:
        whole, bits = table.view("<i4" if is_little else ">i4"), 32
    wide = np.float32 if is_short else np.float64
    values = np.ldexp(whole.astype(wide), exponents.astype(np.int32)[:, np.newaxis] - bits).astype(wide)
    if floats is not None and is_float.any():
        values[is_float] = floats[is_float]
    return values, f"int{bits}"


def _even(first: float, last: float, points: int, path: Path) -> np.ndarray:
    if not np.isfinite([first, last]).all() or points > os.path.getsize(path):
        raise CubeError(f"{path}: found an axis of {points} points from {first:g} to {last:g}. Damaged.")
    return np.linspace(first, last, points)


def _axis(file: _File, path: Path, otherwise: str = "") -> tuple[np.ndarray, str]:
    unit = _KINDS.get(file.kind, f"kind {file.kind}")
    if file.quantity == _INTERFEROGRAM:
        raise CubeError(f"{path}: it holds interferograms, not spectra. Transform them and save the spectra.")
    if axis.unit_named(unit) is None:
        raise CubeError(
            f"{path}: its x is in {unit}; required is a wavenumber, a Raman shift or a wavelength. Correct the unit "
            f"in the program that wrote it{otherwise}."
        )
    return axis.to_wavenumbers_cm1(file.scale, unit, path), f"x, {unit} in the file"


def _what(file: _File) -> str:
    number = len(file.spectra)
    if number == 1:
        return "a single spectrum"
    z_kind = _KINDS.get(file.z_kind, f"kind {file.z_kind}")
    w_kind = _KINDS.get(file.w_kind, f"kind {file.w_kind}")
    along = f"z ({z_kind})" + (f" and w ({w_kind})" if file.planes > 1 else "")
    return f"a series of {number} spectra along {along}"


def _provenance(path: Path, file: _File, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "GRAMS .spc",
        "quantity": _QUANTITIES.get(file.quantity, f"kind {file.quantity}"),
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": file.stored_type,
    }
