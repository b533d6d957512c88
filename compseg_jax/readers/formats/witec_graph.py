"""WITec Project's export of a graph to text: three files of one name.

`NAME (Header).txt` states SizeX, SizeY and SizeGraph, the size of the scan and the units; `NAME (X-Axis).txt` holds
the axis, `NAME (Y-Axis).txt` the values, spectrum after spectrum, x fastest. Layout as hyperSpec reads and writes it
(read.txt.Witec.Graph, write.txt.Witec.Graph). The first line of an image is its upper one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size, text_lines, text_numbers
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_HEADER, _X_AXIS, _Y_AXIS = " (Header)", " (X-Axis)", " (Y-Axis)"
_UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3}
_GIVE = ", or give wavenumbers_cm1="
_FIRST_WORDS = b"//Exported ASCII-File"


@dataclass(frozen=True)
class _Graph:
    """Spectra (n, c), the axis as it is written, and what the header states."""

    spectra: np.ndarray
    scale: np.ndarray
    stated: dict[str, str]
    height: int
    width: int


def holds(path: Path) -> bool:
    """Whether a file is the header of such an export."""
    with path.open("rb") as stream:
        return stream.read(len(_FIRST_WORDS)) == _FIRST_WORDS


def header_of(path: Path) -> Path:
    """The header that belongs to a part; the path itself for any other file."""
    return _part(path, _HEADER) if path.stem.endswith((_X_AXIS, _Y_AXIS)) else path


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an image; any of its three files may be given.

    Returns:
      the cube of shape (y, x, c), float64.

    Raises:
      CubeError: if a file is missing, the sizes do not agree, or it is a line, a series or a single spectrum.
    """
    path = Path(path)
    with checks.Reading(path, "a graph of WITec Project"):
        graph = _read(path)
        if min(graph.height, graph.width) < 2:
            raise CubeError(f"{path}: it holds {_what(graph)}, not an image; read it with read_spectra.")
        found, stated = (None, "") if wavenumbers_cm1 is not None else _axis(graph, path, _GIVE)
        found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
        size_um, size = _pixel_size(graph, path)
    provenance = {
        **_provenance(path, found, stated),
        "orientation": "as stored, the first line of the image above",
        "pixel_size": size,
    }
    return Cube(graph.spectra.reshape(graph.height, graph.width, -1), found, size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the spectra of an export in their order.

    Raises:
      CubeError: if a file is missing, or the sizes do not agree.
    """
    path = Path(path)
    with checks.Reading(path, "a graph of WITec Project"):
        graph = _read(path)
        found, stated = _axis(graph, path)
    provenance = {**_provenance(path, found, stated), "measurement": _what(graph)}
    return Spectra(graph.spectra, found, (), None, provenance)


def _read(path: Path) -> _Graph:
    header = header_of(path)
    stated = {}
    for line in text_lines.read_lines(header):
        name, equal, value = line.partition("=")
        if equal:
            stated[name.strip().lower()] = value.strip()
    sizes = [_number(stated, name, path) for name in ("SizeX", "SizeY", "SizeGraph")]
    if any(size != int(size) or size < 1 for size in sizes):
        raise CubeError(
            f"{path}: SizeX, SizeY and SizeGraph are {sizes}; required are whole numbers. Damaged."
        )
    width, height, points = (int(size) for size in sizes)
    scale, values = (_column(_part(header, part), path) for part in (_X_AXIS, _Y_AXIS))
    if scale.size != points or values.size != width * height * points:
        raise CubeError(
            f"{path}: found {scale.size} points of the axis and {values.size} values for {height} × {width} pixels of "
            f"{points} points. The three files do not belong together, or one is cut; export them again."
        )
    return _Graph(values.reshape(-1, points), scale, stated, height, width)


def _part(path: Path, part: str) -> Path:
    stem = path.stem
    for ending in (_HEADER, _X_AXIS, _Y_AXIS):
        stem = stem.removesuffix(ending)
    return path.with_name(f"{stem}{part}{path.suffix}")


def _column(part: Path, path: Path) -> np.ndarray:
    if not part.is_file():
        raise CubeError(f"{path}: found no file {part.name!r} beside it; a graph is exported as three files.")
    lines = [line for line in text_lines.read_lines(part) if line.strip()]
    values = text_numbers.read(lines, 1, part) if lines else np.empty((0, 1))
    return values.ravel()


def _number(stated: dict[str, str], name: str, path: Path) -> float:
    value = stated.get(name.lower(), "").replace(",", ".")
    if not text_lines.is_number(value):
        raise CubeError(f"{path}: {name} is {value!r}; required is a number. Export the graph again.")
    return text_lines.number(value)


def _pixel_size(graph: _Graph, path: Path) -> tuple[float | None, str]:
    um_per_unit = _UM_PER_UNIT.get(graph.stated.get("scanunit", ""))
    if um_per_unit is None or not {"scanwidth", "scanheight"} <= graph.stated.keys():
        return None, "not stated"
    lengths = [_number(graph.stated, name, path) * um_per_unit for name in ("ScanHeight", "ScanWidth")]
    edges = [length / extent for length, extent in zip(lengths, (graph.height, graph.width), strict=True)]
    return pixel_size.judged(edges, "ScanHeight and ScanWidth over all pixels")


def _axis(graph: _Graph, path: Path, otherwise: str = "") -> tuple[np.ndarray, str]:
    unit = graph.stated.get("xaxisunit", "")
    if axis.unit_named(unit) is None:
        raise CubeError(
            f"{path}: XAxisUnit is {unit!r}; required is rel. 1/cm, 1/cm or nm. Export it with its units{otherwise}."
        )
    stated = f"X-Axis, {unit} in the file"
    if axis.unit_named(unit) != "cm1":
        stated += ", turned to absolute wavenumbers and not to Raman shifts"
    return axis.to_wavenumbers_cm1(graph.scale, unit, path), stated


def _what(graph: _Graph) -> str:
    number = graph.height * graph.width
    return "a single spectrum" if number == 1 else f"a line or series of {number} spectra"


def _provenance(path: Path, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "WITec graph (text)",
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "text",
    }
