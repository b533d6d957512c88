"""Agilent FPA images: a single tile (.dat with .bsp) and mosaics of tiles (.dmt with .dmd), lazily.

The layout is that described by the python-agilent-file-formats project: tiles are 255 float32 of header,
then float32 values as (band, row, column); the axis stands in the .bsp or .dmt. Rows are in the order of
the instrument's own ENVI export. Parsed here because that library loads whole mosaics into memory.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import envi

_HEADER_BYTES = 255 * 4
_POINT_SEPARATION_AT, _FIRST_POINT_AT, _POINTS_AT = 2216, 2228, 2236
_TILE_NAME = re.compile(r"(?P<stem>.+)_(?P<x>[0-9]{4})_(?P<y>[0-9]{4})", re.DOTALL)
_MAX_PARAMETER_BYTES = 1 << 26
_AXIS_STATED = "first point and point separation of the file, cm⁻¹"


@dataclass(frozen=True)
class Mosaic:
    """An Agilent mosaic on disk: only what is asked for is read, so it may be larger than memory.

    Attributes:
      path: its .dmt file.
      tiles: file of each tile, in rows from top to bottom of tiles from left to right.
      tile_pixels: edge length of a tile in pixels.
      wavenumbers_cm1: axis in cm⁻¹, shape (c,).
      pixel_size_um: edge length of a pixel in µm, None when unknown.
    """

    path: Path
    tiles: tuple[tuple[Path, ...], ...]
    tile_pixels: int
    wavenumbers_cm1: np.ndarray
    pixel_size_um: float | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole mosaic."""
        rows, columns = len(self.tiles), len(self.tiles[0])
        return rows * self.tile_pixels, columns * self.tile_pixels, self.wavenumbers_cm1.size

    @property
    def provenance(self) -> dict[str, str]:
        """Where the mosaic comes from, as of a cube."""
        return _provenance(self.path, self.wavenumbers_cm1, _AXIS_STATED)

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """Reads a part of the mosaic, float32 of shape (y, x, c); slices as those of an array, step 1."""
        height, width, depth = self.shape
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        found = np.empty((bottom - top, right - left, len(range(depth)[channels])), np.float32)
        edge = self.tile_pixels
        for at_y, at_x in self._touched(top, bottom, left, right):
            y0, y1 = max(top, at_y * edge), min(bottom, (at_y + 1) * edge)
            x0, x1 = max(left, at_x * edge), min(right, (at_x + 1) * edge)
            tile = _tile(self.tiles[at_y][at_x], depth, edge)
            found[y0 - top : y1 - top, x0 - left : x1 - left] = tile[
                y0 - at_y * edge : y1 - at_y * edge, x0 - at_x * edge : x1 - at_x * edge, channels
            ]
        return found

    def _touched(self, top: int, bottom: int, left: int, right: int) -> Iterator[tuple[int, int]]:
        edge = self.tile_pixels
        for at_y in range(top // edge, math.ceil(bottom / edge)):
            for at_x in range(left // edge, math.ceil(right / edge)):
                yield at_y, at_x


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads a tile (.dat, .bsp) memory-mapped, or a mosaic (.dmt, or any of its .dmd) into memory.

    A mosaic larger than memory is opened with `open_mosaic` instead and read by windows.

    Returns:
      the cube, absorbance of shape (y, x, c), wavenumbers ascending.

    Raises:
      CubeError: if files are missing, or sizes and parameters do not agree; if the file holds
        interferograms.
    """
    path = Path(path)
    with checks.Reading(path, "an Agilent FPA image"):
        suffix = path.suffix.lower()
        if suffix in (".seq", ".drd"):
            raise CubeError(
                f"{path}: it holds interferograms, which have no wavenumbers; read the .dat or .dmt beside it."
            )
        if suffix in (".dmt", ".dmd"):
            mosaic = open_mosaic(path)
            source, found, pixel_size_um = mosaic.path, mosaic.wavenumbers_cm1, mosaic.pixel_size_um
            values = mosaic.window(slice(None), slice(None))
        else:
            source, parameters_path = _required(path, ".dat"), _required(path, ".bsp")
            parameters = _parameters(parameters_path)
            found, pixel_size_um = _axis(parameters, parameters_path), _pixel_size_um(parameters, path)
            edge = _edge(source, found.size, parameters)
            values = _tile(source, found.size, edge)
    found, stated = axis.settle(found, wavenumbers_cm1, path, _AXIS_STATED)
    return Cube(values, found, pixel_size_um, _provenance(source, found, stated))


def open_scan(path: Path, *, wavenumbers_cm1: np.ndarray | None = None) -> Mosaic | None:
    """A mosaic opened without reading spectra; None for a single tile.

    Raises:
      CubeError: as of `open_mosaic`; also where the caller gives an axis, which a mosaic states itself.
    """
    if path.suffix.lower() not in (".dmt", ".dmd"):
        return None
    if wavenumbers_cm1 is not None:
        raise CubeError(f"{path}: an Agilent mosaic states its own axis; leave wavenumbers_cm1= out.")
    return open_mosaic(path)


def _provenance(source: Path, wavenumbers_cm1: np.ndarray, stated: str) -> dict[str, str]:
    known = {"format": "Agilent FPA", "rows": "as in the instrument's ENVI export", "axis": stated}
    return {"source": str(source), **known, "direction": axis.direction(wavenumbers_cm1)}


def open_mosaic(path: str | os.PathLike[str]) -> Mosaic:
    """Opens a mosaic by its .dmt file or one of its tiles, without reading spectra.

    Raises:
      CubeError: if a tile is missing or of another size than the others.
    """
    path = Path(path)
    with checks.Reading(path, "an Agilent mosaic"):
        source = _mosaic_file(path)
        parameters = _parameters(source)
        found = _axis(parameters, source)
        places: dict[tuple[int, int], Path] = {}
        for entry in sorted(source.parent.iterdir()):
            match = _TILE_NAME.fullmatch(entry.stem)
            if match and entry.suffix.lower() == ".dmd" and match["stem"].lower() == source.stem.lower():
                places[int(match["y"]), int(match["x"])] = entry
        rows = 1 + max((y for y, _ in places), default=-1)
        columns = 1 + max((x for _, x in places), default=-1)
        if not places or len(places) != rows * columns:
            raise CubeError(
                f"{source}: found {len(places)} tiles {source.stem}_XXXX_YYYY.dmd of {rows} × {columns}; "
                "required are all of them. Copy the whole folder of the measurement."
            )
        edge = _edge(places[0, 0], found.size, parameters)
        for tile in places.values():
            checks.size(tile, _HEADER_BYTES + 4 * edge * edge * found.size, "a tile", exact=True)
        # The file with y = 0 is the lowest row of the image.
        grid = tuple(tuple(places[y, x] for x in range(columns)) for y in reversed(range(rows)))
        return Mosaic(source, grid, edge, found, _pixel_size_um(parameters, source))


def _mosaic_file(path: Path) -> Path:
    if path.suffix.lower() == ".dmt":
        return path
    match = _TILE_NAME.fullmatch(path.stem)
    found = checks.companion(path.with_name(f"{match['stem']}.dmt"), (".dmt",)) if match else None
    if found is None:
        raise CubeError(f"{path}: no .dmt file of its mosaic beside it. Copy the whole folder.")
    return found


def _required(path: Path, suffix: str) -> Path:
    found = checks.companion(path, (suffix,))
    if found is None:
        raise CubeError(f"{path}: no {path.stem}{suffix} beside it. Copy the whole folder.")
    return found


def _parameters(path: Path) -> bytes:
    checks.size(path, _POINTS_AT + 4, "an Agilent parameter file")
    if path.stat().st_size > _MAX_PARAMETER_BYTES:
        raise CubeError(f"{path}: {path.stat().st_size} bytes are too many for Agilent parameters.")
    return path.read_bytes()


def _axis(parameters: bytes, path: Path) -> np.ndarray:
    (separation,) = struct.unpack_from("<d", parameters, _POINT_SEPARATION_AT)
    (first,) = struct.unpack_from("<i", parameters, _FIRST_POINT_AT)
    (points,) = struct.unpack_from("<i", parameters, _POINTS_AT)
    if not (0 < separation < 1e3 and 0 <= first < 1 << 20 and 0 < points < 1 << 20):
        raise CubeError(
            f"{path}: found {points} points from {first} every {separation:g} cm⁻¹; that is no spectrum. "
            "The file is damaged; export it again."
        )
    found: np.ndarray = separation * (first + np.arange(points, dtype=np.float64))
    laser = _text_parameter(parameters, b"Effective Laser Wavenumber")
    # The points of a Fourier spectrum are a whole number to the wavenumber of the sampling laser.
    if laser is not None and abs(laser / separation - round(laser / separation)) > 1e-3:
        raise CubeError(
            f"{path}: a point separation of {separation:g} cm⁻¹ does not fit its laser at {laser:g} cm⁻¹. "
            "The file is damaged; export it again."
        )
    beside = checks.companion(path, (".hdr",))
    if beside is not None and beside.read_bytes()[:4] == b"ENVI":
        exported, _ = envi.wavenumbers(envi.header(beside), beside, given=False)
        if exported is not None and (
            exported.shape != found.shape or np.max(np.abs(exported - found)) > 1e-3 * separation
        ):
            raise CubeError(
                f"{path}: its axis ({found[0]:g} … {found[-1]:g} cm⁻¹, {points} points) is not that of "
                f"{beside.name} ({exported[0]:g} … {exported[-1]:g}, {exported.size}). Remove the wrong one."
            )
    return found


def _edge(data: Path, points: int, parameters: bytes) -> int:
    """Edge length of the square tile that fills the file, checked with the detector's stated size."""
    pixels, rest = divmod(data.stat().st_size - _HEADER_BYTES, 4 * points)
    edge = math.isqrt(max(pixels, 0))
    if rest or edge < 1 or edge * edge != pixels:
        raise CubeError(
            f"{data}: {data.stat().st_size} bytes are not a square tile of {points} points per pixel. "
            "The file is cut, or its parameters belong to another; copy the whole folder again."
        )
    detector = _text_parameter(parameters, b"FPA Size X")
    aggregated = _text_parameter(parameters, b"PixelAggregationSize")
    if detector and aggregated and edge * aggregated != detector:
        raise CubeError(
            f"{data}: a tile of {edge} pixels is not that of the parameters ({detector:g} detector pixels, "
            f"{aggregated:g} to a pixel). The files do not belong together; copy the whole folder again."
        )
    return edge


def _tile(path: Path, points: int, edge: int) -> np.ndarray:
    checks.size(path, _HEADER_BYTES + 4 * edge * edge * points, "a tile", exact=True)
    values = np.memmap(path, "<f4", "r", _HEADER_BYTES, (points, edge, edge))
    return checks.as_float(values.transpose(1, 2, 0), path)


def _text_parameter(parameters: bytes, name: bytes) -> float | None:
    """A number stored as text: the name, nine 32-bit words, the last the length, and the text."""
    at = parameters.find(name + b"\x04\0\0\0")
    if at < 0:
        return None
    match = re.match(
        rb"(?:.{4}){7,12}?([0-9]+(?:\.[0-9]+)?)\x04\0\0\0", parameters[at + len(name) :][:100], re.S
    )
    return float(match[1]) if match else None


def _numbers_after(parameters: bytes, name: bytes, layout: str, path: Path) -> tuple[float, ...] | None:
    at = parameters.find(name)
    begin = parameters.find(b"1.00", at) + 4 + 12 if at >= 0 else -1
    if at < 0 or begin < 16:
        return None
    return struct.unpack_from(layout, parameters, begin)


def _pixel_size_um(parameters: bytes, path: Path) -> float | None:
    detector = _numbers_after(parameters, b"FPA Pixel Size", "<d", path)
    aggregated = _text_parameter(parameters, b"PixelAggregationSize")
    if detector is None or aggregated is None:
        return None
    if not 0 < detector[0] < 1e4:
        raise CubeError(f"{path}: a detector pixel of {detector[0]:g} µm is stated; the file is damaged.")
    return detector[0] * aggregated
