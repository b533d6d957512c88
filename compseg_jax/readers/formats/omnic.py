"""Thermo Scientific OMNIC files: maps (.map), single spectra (.spa), groups (.spg) and series (.srs).

Layout as documented by SpectroChemPy's OMNIC reader (spectra, groups) and by the PyMca and tfmap projects (maps):
a directory of typed sections. Section 2 states points, units and ends of the axis, section 3 holds a spectrum,
section 107 its title. The many spectra of a map or series stand in section 301, each behind 100 bytes with its
title; a map lists their positions in a section 6, or in the titles. Section 6 is a 16-bit count, the number of
values of each item, and the values; sections and their lengths were compared with a file of OMNIC 9.

Parsed here because the libraries search for texts in place of the directory, and take the positions that they do
not find for a grid of ones.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, grid
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_EXTENDED = b"Spectral Exte File"
_MAGIC = (b"Spectral Data File", _EXTENDED)
_NUMBER_AT, _DIRECTORY_AT = 294, 304
_HEADER, _SPECTRUM, _LISTS, _TITLE, _MANY = 2, 3, 6, 107, 301
_HEADER_BYTES, _MANY_HEAD_BYTES, _RECORD_HEAD_BYTES, _TITLE_AT, _TITLE_BYTES = 24, 196, 100, 16, 84
_AXES = {1: "wavenumber", 3: "nm", 4: "um", 32: "raman shift"}
_INTERFEROGRAM = 2
_QUANTITIES = {
    11: "reflectance, %",
    12: "log(1/R)",
    16: "transmittance, %",
    17: "absorbance",
    20: "Kubelka-Munk",
    21: "reflectance",
    22: "detector signal",
    26: "photoacoustic",
    31: "Raman intensity",
}
_POSITION = re.compile(rb"X\s*=\s*(-?\d+\.?\d*)\D*?Y\s*=\s*(-?\d+\.?\d*)")


@dataclass(frozen=True)
class _Header:
    """What section 2 states of spectra."""

    points: int
    unit: int
    quantity: int
    first: float
    last: float


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a .map; OMNIC shows x to the right and y upwards, so the first row is that of the largest y.

    Returns:
      the cube of shape (y, x, c), float32; provenance `quantity` names what was measured.

    Raises:
      CubeError: if the file is damaged or holds no map.
    """
    path = Path(path)
    with checks.Reading(path, "an OMNIC map"):
        content, sections = _sections(path)
        header, titles, values = _many(content, sections, path)
        positions = _positions(content, sections, titles)
        if positions is None:
            raise CubeError(
                f"{path}: found no positions of its {len(titles)} spectra: a series, not a map. Read it with "
                "read_spectra; of a map, export an ENVI or text file from OMNIC."
            )
        placed = grid.of_positions(positions, path, is_y_upwards=True)
        if placed is None:
            raise CubeError(
                f"{path}: it holds {grid.described(positions)}, not a map; read it with read_spectra."
            )
        found, stated = (None, "") if wavenumbers_cm1 is not None else _axis(header, path)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        pixel_size_um, pixel_size = placed.pixel_size(1.0, "steps of the positions, µm")
        image = checks.as_float(placed.image(values), path)
    provenance = {
        **_provenance(path, header, found, stated),
        **placed.provenance(pixel_size),
    }
    return Cube(image, found, pixel_size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectrum of a .spa, or those of a group, a series or a map in the order of the file.

    Raises:
      CubeError: if the file is damaged, holds an interferogram, or spectra on several axes.
    """
    path = Path(path)
    with checks.Reading(path, "OMNIC spectra"):
        content, sections = _sections(path)
        positions = None
        if any(kind == _MANY for kind, _, _ in sections):
            header, titles, values = _many(content, sections, path)
            positions = _positions(content, sections, titles)
            names = tuple(_text(title) for title in titles)
        else:
            header, names, values = _singles(content, sections, path)
        found, stated = _axis(header, path)
        values = checks.as_float(values, path)
    return Spectra(values, found, names, positions, _provenance(path, header, found, stated))


def _sections(path: Path) -> tuple[memoryview, list[tuple[int, int, int]]]:
    """The bytes, and type, start and length of each section, all of them inside the file."""
    checks.size(path, _DIRECTORY_AT, "an OMNIC file")
    content = memoryview(np.memmap(path, np.uint8, "r"))
    if bytes(content[:18]) not in _MAGIC:
        raise CubeError(
            f"{path}: it begins with {bytes(content[:18])!r}; an OMNIC file begins {_MAGIC[0]!r}."
        )
    entry, stride = ("<hqi", 22) if bytes(content[:18]) == _EXTENDED else ("<hii", 16)
    (number,) = struct.unpack_from("<H", content, _NUMBER_AT)
    sections = []
    for at in range(_DIRECTORY_AT, _DIRECTORY_AT + stride * number, stride):
        kind, start, length = struct.unpack_from(entry, content, at)
        if start < 0 or length < 0 or start + length > len(content):
            raise CubeError(
                f"{path}: its section of type {kind} has {length} bytes from {start} of a file of {len(content)}. "
                "The file is cut or damaged; export it again."
            )
        sections.append((kind, start, length))
    return content, sections


def _headers(content: memoryview, sections: list[tuple[int, int, int]], path: Path) -> list[_Header]:
    headers = []
    for kind, start, length in sections:
        if kind != _HEADER:
            continue
        if length < _HEADER_BYTES:
            raise CubeError(f"{path}: a header of {length} bytes is too short; damaged. Export it again.")
        points, unit, quantity, first, last = struct.unpack_from("<3I2f", content, start + 4)
        headers.append(_Header(points, unit, quantity, first, last))
    if not headers:
        raise CubeError(f"{path}: found no header of a spectrum (section 2). Damaged; export it again.")
    return headers


def _many(
    content: memoryview, sections: list[tuple[int, int, int]], path: Path
) -> tuple[_Header, list[bytes], np.ndarray]:
    """Header, titles and spectra (n, c) of a map or series."""
    header = _headers(content, sections, path)[0]
    found = [(start, length) for kind, start, length in sections if kind == _MANY]
    if not found:
        raise CubeError(f"{path}: it holds single spectra, not a map; read them with read_spectra.")
    if len(found) > 1:
        raise CubeError(
            f"{path}: found {len(found)} blocks of many spectra (section 301), required is one. Export an ENVI or text "
            "file from OMNIC."
        )
    start, length = found[0]
    record = _RECORD_HEAD_BYTES + 4 * header.points
    number, rest = divmod(length - _MANY_HEAD_BYTES, record)
    if not 1 < header.points < length or number < 1 or rest:
        raise CubeError(
            f"{path}: {length} bytes are no whole number of spectra of {header.points} points. The file is damaged "
            "or of another version; export an ENVI or text file from OMNIC."
        )
    table = np.frombuffer(content, np.uint8, number * record, start + _MANY_HEAD_BYTES).reshape(
        number, record
    )
    titles = [bytes(row[_TITLE_AT : _TITLE_AT + _TITLE_BYTES]).split(b"\0")[0] for row in table]
    # OMNIC writes titles in the language of its user.
    unreadable = [title for title in (titles[0], titles[-1]) if not _text(title).isprintable() or not title]
    if unreadable:
        raise CubeError(
            f"{path}: the title of a spectrum is {unreadable[0][:20]!r}, no text. The file is damaged or of another "
            "version; export an ENVI or text file from OMNIC."
        )
    return header, titles, np.ascontiguousarray(table[:, _RECORD_HEAD_BYTES:]).view("<f4")


def _singles(
    content: memoryview, sections: list[tuple[int, int, int]], path: Path
) -> tuple[_Header, tuple[str, ...], np.ndarray]:
    """Header, titles and spectra (n, c) of a single spectrum or group."""
    headers = _headers(content, sections, path)
    spectra = [(start, length) for kind, start, length in sections if kind == _SPECTRUM]
    titles = [start for kind, start, length in sections if kind == _TITLE and length >= 256]
    if len(spectra) != len(headers) or any(header != headers[0] for header in headers):
        raise CubeError(
            f"{path}: found {len(spectra)} spectra for {len(headers)} headers on {len(set(headers))} axes; required "
            "is one axis for all. Save the spectra one by one in OMNIC."
        )
    points = headers[0].points
    if any(length != 4 * points for _, length in spectra):
        raise CubeError(f"{path}: its spectra are not all of {points} points. Damaged; export it again.")
    values = np.stack([np.frombuffer(content, "<f4", points, start) for start, _ in spectra])
    names = tuple(_text(bytes(content[start : start + 256]).split(b"\0")[0]) for start in titles)
    return headers[0], names if len(names) == len(spectra) else (), values


def _positions(
    content: memoryview, sections: list[tuple[int, int, int]], titles: list[bytes]
) -> np.ndarray | None:
    """x and y of each spectrum in µm, (n, 2): of a list of as many pairs, else of the titles."""
    for kind, start, length in sections:
        if kind == _LISTS and length >= 6 + 8 * len(titles):
            number, values = struct.unpack_from("<HI", content, start)
            if values == 2 and number == len(titles) & 0xFFFF:
                listed = np.frombuffer(content, "<f4", 2 * len(titles), start + 6)
                with np.errstate(invalid="ignore"):
                    return listed.astype(np.float64).reshape(-1, 2)
    found = [_POSITION.search(title) for title in titles]
    if any(each is None for each in found):
        return None
    return np.array([[float(each.group(1)), float(each.group(2))] for each in found if each is not None])


def _axis(header: _Header, path: Path) -> tuple[np.ndarray, str]:
    if header.unit == _INTERFEROGRAM:
        raise CubeError(
            f"{path}: it holds interferograms, not spectra. Transform them in OMNIC and save those."
        )
    if header.unit not in _AXES or not np.isfinite([header.first, header.last]).all() or header.points < 2:
        raise CubeError(
            f"{path}: its axis is {header.points} points from {header.first:g} to {header.last:g} in the unit "
            f"{header.unit}; read are {_AXES}. Convert it in OMNIC, or export a text file."
        )
    unit = _AXES[header.unit]
    values = np.linspace(header.first, header.last, header.points)
    return axis.to_wavenumbers_cm1(
        values, unit.replace(" ", ""), path
    ), f"first, last and points, {unit} in the file"


def _text(title: bytes) -> str:
    return title.decode("cp1252", errors="replace").strip()


def _provenance(path: Path, header: _Header, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "OMNIC",
        "quantity": _QUANTITIES.get(header.quantity, f"not known (kind {header.quantity})"),
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "float32",
    }
