"""Whole slides and other pyramids of TIFF pages, one level of which is read by windows.

tifffile finds the levels and decodes the tiles; OpenSlide reads what tifffile does not put together (Leica,
Ventana, MIRAX, focal planes, colours that its decoders leave as YCbCr). Label, macro and thumbnail are never
taken. What a scanner did not scan is white, as slide viewers show it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import tiff

LARGEST_CUBE_BYTES = 4 << 30
"""Above this a level is read by windows only: it and its copies would fill the memory of a workstation."""
# TIFFs that hold no pyramid are read by windows from here on, where they have tiles.
_LARGE_VALUES = 1 << 27
_LARGEST_TILE_VALUES = 1 << 26
# Suffixes of slides that OpenSlide puts together: overlapping tiles, several regions, folders of files.
_OPENSLIDE_SUFFIXES = (".scn", ".bif", ".mrxs", ".vms", ".vmu", ".svslide")
_NAMES = {"svs": "Aperio slide", "ndpi": "Hamamatsu slide", "philips": "Philips slide", "qpi": "Akoya slide"}
_WHITE = 255
# PhotometricInterpretation and Compression of TIFF.
_BLACK_IS_ZERO, _RGB, _YCBCR = 1, 2, 6
_JPEG = (6, 7, 33007, 34892)
_JPEG_2000_YCBCR = 33003  # whose colours tifffile leaves as they are


class Level(NamedTuple):
    """One resolution of a slide: its extents in pixels and the edge of a pixel in µm, None when unknown."""

    height: int
    width: int
    pixel_size_um: float | None


@dataclass(frozen=True, eq=False)
class SlideScan:
    """One level of a slide; only the tiles under a window are decoded."""

    path: Path
    levels: tuple[Level, ...]
    level: int
    channels: int
    stored: Callable[[int, int, int, int], np.ndarray]
    """Values (y, x, c) as stored, of the rectangle from top to bottom and left to right."""
    known: Mapping[str, Any]
    wavenumbers_cm1: np.ndarray | None = None
    """Axis in cm⁻¹, shape (c,); None for colours."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the level."""
        return self.levels[self.level].height, self.levels[self.level].width, self.channels

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel of the level in µm, None when unknown."""
        return self.levels[self.level].pixel_size_um

    @property
    def finest_per_pixel_xy(self) -> tuple[float, float]:
        """Pixels of the finest level along x and y that a pixel of this one spans."""
        finest, own = self.levels[0], self.levels[self.level]
        return finest.width / own.width, finest.height / own.height

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the level comes from, as of a cube."""
        stated = axis.NO_WAVENUMBERS if self.wavenumbers_cm1 is None else None
        return {
            "source": str(self.path),
            **self.known,
            "level": f"{self.level} of {_listed(self.levels)}",
            "axis": stated or self.known.get("axis", "given by the caller"),
            "direction": axis.direction(self.wavenumbers_cm1),
        }

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part of the level as floats (y, x, c); slices as those of an array, step 1."""
        height, width, _ = self.shape
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        with checks.Reading(self.path, "a whole slide"):
            values = self.stored(top, max(top, bottom), left, max(left, right))
        return checks.as_float(np.ascontiguousarray(values[:, :, channels]), self.path)


def read(
    path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None, level: int | None = None
) -> Cube:
    """Reads one level of a slide into memory; arguments and errors are those of `open_scan`.

    Returns:
      the cube, colours of shape (y, x, c), the numbers of the file.

    Raises:
      CubeError: also if the level would take more than 4 GiB as numbers; it names the levels.
    """
    scan = open_scan(Path(path), wavenumbers_cm1=wavenumbers_cm1, level=level)
    bytes_as_floats = 4 * math.prod(scan.shape)
    if bytes_as_floats > LARGEST_CUBE_BYTES:
        raise CubeError(
            f"{path}: level {scan.level} takes {bytes_as_floats / 2**30:.1f} GiB as numbers; at most "
            f"{LARGEST_CUBE_BYTES >> 30} GiB are read at once. Choose a coarser one with level=, of "
            f"{_listed(scan.levels)}; or cut out the region of the sample."
        )
    values = scan.window(slice(None), slice(None))
    return Cube(values, scan.wavenumbers_cm1, scan.pixel_size_um, scan.provenance)


def open_scan(
    path: Path, *, wavenumbers_cm1: np.ndarray | None = None, level: int | None = None
) -> SlideScan:
    """Opens one level of a slide without reading pixels.

    Args:
      path: the slide.
      wavenumbers_cm1: the axis, shape (c,), of a pyramid whose channels are wavenumbers.
      level: the resolution, 0 (the finest) where it is None.

    Raises:
      CubeError: if the file is damaged, has no such level, or holds several slides or focal planes.
    """
    with checks.Reading(path, "a whole slide"):
        scan = _with_tifffile(path, level)
        if scan is None:
            scan = _with_openslide(path, level)
    if wavenumbers_cm1 is None:
        return scan
    return SlideScan(
        scan.path, scan.levels, scan.level, scan.channels, scan.stored, scan.known, wavenumbers_cm1
    )


def is_pyramid(path: Path, level: int | None) -> bool:
    """Whether a file is a TIFF of levels, or of tiles of an image so large that it is read by windows.

    Raises:
      CubeError: if the file has one resolution, but another is asked for; or if the TIFF is damaged.
    """
    found = False
    if tiff.is_tiff(path):
        tifffile = checks.imported("tifffile", path)
        with checks.Reading(path, "a TIFF"):
            tiff.check_directories(path)
            with tifffile.TiffFile(path) as file:
                found = any(
                    len(each.levels) > 1 or (each.keyframe.is_tiled and each.size > _LARGE_VALUES)
                    for each in file.series
                )
    if level and not found:
        raise CubeError(f"{path}: it has one resolution, found level={level}. Leave it out.")
    return found


def _chosen(level: int | None, levels: tuple[Level, ...], path: Path) -> int:
    if level is not None and level >= len(levels):
        raise CubeError(f"{path}: found level={level}, required is one of {_listed(levels)}.")
    return level or 0


def _listed(levels: tuple[Level, ...]) -> str:
    sizes = [
        f"{at}: {each.height} × {each.width} px"
        + (f" of {each.pixel_size_um:.4g} µm" if each.pixel_size_um else "")
        for at, each in enumerate(levels)
    ]
    return f"{len(levels)} level{'s' * (len(levels) != 1)} ({', '.join(sizes)})"


def _levels(shapes: list[tuple[int, int]], size_um: float | None) -> tuple[Level, ...]:
    """Levels of these (height, width), the first of which has pixels of that size."""
    finest = shapes[0][1]
    return tuple(Level(height, width, size_um and size_um * finest / width) for height, width in shapes)


# What tifffile reads.


@dataclass(frozen=True, eq=False)
class _Page:
    """The tiles or strips of one page: where they are, and tifffile's decoder of one."""

    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    decode: Callable[..., Any]
    arguments: Mapping[str, Any]
    """Tables and header that JPEG tiles share."""
    grid: tuple[int, int]
    """Rows and columns of tiles."""
    tile: tuple[int, int]
    planes: int
    """Planes of samples, stored one after the other."""
    samples: int
    """Values of a pixel in one tile."""
    dtype: np.dtype

    @property
    def channels(self) -> int:
        return self.planes * self.samples

    def touched(self, top: int, bottom: int, left: int, right: int) -> Iterator[tuple[int, int, int]]:
        """Plane, row and column of every tile under a rectangle."""
        height, width = self.tile
        for plane in range(self.planes):
            for row in range(top // height, math.ceil(bottom / height)):
                for column in range(left // width, math.ceil(right / width)):
                    yield plane, row, column

    def tile_values(self, stream: IO[bytes], plane: int, row: int, column: int) -> np.ndarray | None:
        """Values (y, x, samples) of a tile, None where it is not stored."""
        at = (plane * self.grid[0] + row) * self.grid[1] + column
        if not self.byte_counts[at]:
            return None
        stream.seek(self.offsets[at])
        data = stream.read(self.byte_counts[at])
        decoded, _, _ = self.decode(data, at, **self.arguments)
        return None if decoded is None else decoded[0]


@dataclass(frozen=True, eq=False)
class _TiffPixels:
    path: Path
    pages: tuple[_Page, ...]
    has_alpha: bool

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        channels = sum(page.channels for page in self.pages)
        is_colour = self.pages[0].dtype == np.uint8 and channels in (3, 4)
        values = np.full(
            (bottom - top, right - left, channels), _WHITE if is_colour else 0, self.pages[0].dtype
        )
        first = 0
        with self.path.open("rb") as stream:
            for page in self.pages:
                for plane, row, column in page.touched(top, bottom, left, right):
                    found = page.tile_values(stream, plane, row, column)
                    if found is None:
                        continue
                    y, x = row * page.tile[0], column * page.tile[1]
                    y0, y1 = max(top, y), min(bottom, y + found.shape[0])
                    x0, x1 = max(left, x), min(right, x + found.shape[1])
                    begin = first + plane * page.samples
                    values[y0 - top : y1 - top, x0 - left : x1 - left, begin : begin + page.samples] = found[
                        y0 - y : y1 - y, x0 - x : x1 - x
                    ]
                first += page.channels
        return _on_white(values) if self.has_alpha else values


def _with_tifffile(path: Path, level: int | None) -> SlideScan | None:
    """The level as tifffile finds it; None where OpenSlide has to read the slide."""
    if path.suffix.lower() in _OPENSLIDE_SUFFIXES or not tiff.is_tiff(path):
        return None
    tiff.check_directories(path)
    tifffile = checks.imported("tifffile", path)
    with tifffile.TiffFile(path) as file:
        if file.is_scn or file.is_bif:
            return None
        series = _the_pyramid(file, path)
        extents = dict(zip(series.axes, series.shape, strict=True))
        if series.kind == "ndpi" and extents.get("Z", 1) > 1:
            return None  # OpenSlide takes the plane in focus
        sizes = [(each.keyframe.imagelength, each.keyframe.imagewidth) for each in series.levels]
        size_um, size_stated = tiff.stated_pixel_size(file, series.keyframe, path)
        levels = _levels(sizes, size_um)
        chosen = _chosen(level, levels, path)
        pages = _pages(series.levels[chosen], path)
        if pages is None:
            return None
        tiff.check_sizes(series.levels[chosen], path)
        keyframe = series.keyframe
        channels = sum(page.channels for page in pages)
        has_alpha = channels == 4 and pages[0].channels == 4 and len(keyframe.extrasamples) == 1
        has_alpha = has_alpha and int(keyframe.extrasamples[0]) in (1, 2) and pages[0].dtype == np.uint8
        known: dict[str, Any] = {
            "format": _NAMES.get(series.kind, "pyramid of TIFF pages"),
            "stored_type": str(pages[0].dtype),
            "orientation": "as stored",
            "pixel_size": size_stated,
        }
        found = None
        if file.is_ome:
            stated = tiff.ome_pixels(tifffile.xml2dict(file.ome_metadata))
            found = tiff.ome_wavenumbers(stated, channels, path)
            known["axis"] = "names of the channels"
        others = [each.name or f"image {at}" for at, each in enumerate(file.series) if each is not series]
        if others:
            known["left_out"] = f"images that are not the slide: {', '.join(others)}"
    return SlideScan(
        path, levels, chosen, channels - has_alpha, _TiffPixels(path, pages, has_alpha).read, known, found
    )


def _the_pyramid(file: Any, path: Path) -> Any:
    """The one image of several levels, or the first, where none has."""
    pyramids = [each for each in file.series if len(each.levels) > 1]
    if len(pyramids) > 1:
        shapes = ", ".join(f"{each.name or at} {each.shape}" for at, each in enumerate(pyramids))
        raise CubeError(f"{path}: found {len(pyramids)} slides in one file ({shapes}); save each as a file.")
    return pyramids[0] if pyramids else file.series[0]


def _pages(series: Any, path: Path) -> tuple[_Page, ...] | None:
    """The pages of a level, None where tifffile has no decoder that gives grey or RGB."""
    key = series.keyframe
    stack = [extent for name, extent in zip(series.axes, series.shape, strict=True) if name not in "YXS"]
    samples = key.samplesperpixel
    if (
        key.imagedepth > 1
        or (max(stack, default=1) > 1 and samples > 1)
        or sum(extent > 1 for extent in stack) > 1
    ):
        raise CubeError(
            f"{path}: found the axes {series.axes} of shape {series.shape}; required are y, x and one stack of "
            "channels. Save one focal plane or time, and its channels as one stack."
        )
    if key.compression == _JPEG_2000_YCBCR or (key.photometric == _YCBCR and key.compression not in _JPEG):
        return None
    if key.photometric not in (_BLACK_IS_ZERO, _RGB, _YCBCR) or key.dtype is None:
        raise CubeError(f"{path}: its colours are {key.photometric!s}; required is grey or RGB. Convert it.")
    if key.tags.valueof(274, 1) != 1:
        raise CubeError(f"{path}: its pyramid is turned by an orientation tag; save it upright.")
    planes, contiguous = (samples, 1) if key.planarconfig == 2 else (1, samples)
    tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    if min(tile) < 1 or math.prod(tile) * contiguous > _LARGEST_TILE_VALUES:
        raise CubeError(f"{path}: its tiles are stated as {tile} pixels; the file is damaged.")
    grid = (math.ceil(key.imagelength / tile[0]), math.ceil(key.imagewidth / tile[1]))
    found = []
    for page in series.pages:
        if page is None or not planes * math.prod(grid) == len(page.dataoffsets) == len(page.databytecounts):
            raise CubeError(f"{path}: a level has not a tile for each place of {grid}; the file is damaged.")
        arguments: dict[str, Any] = {"_fullsize": key.is_tiled}
        if key.compression in _JPEG:
            arguments |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        found.append(
            _Page(
                tuple(page.dataoffsets),
                tuple(page.databytecounts),
                key.decode,
                arguments,
                grid,
                tile,
                planes,
                contiguous,
                key.dtype,
            )
        )
    try:
        with path.open("rb") as stream:
            found[0].tile_values(stream, 0, 0, 0)
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" in str(error):
            checks.imported("imagecodecs", path, extra="slides")
        if isinstance(error, NotImplementedError):
            return None
        raise
    return tuple(found)


# What OpenSlide reads.


@dataclass(frozen=True)
class _OpenSlidePixels:
    path: Path
    level: int
    downsample: float

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        # OpenSlide places a window by the pixels of the finest level, so that of a coarser one lies within half such.
        if bottom == top or left == right:
            return np.empty((bottom - top, right - left, 3), np.uint8)
        openslide = checks.imported("openslide", self.path, extra="slides")
        place = (round(left * self.downsample), round(top * self.downsample))
        with openslide.OpenSlide(self.path) as slide:
            picture = slide.read_region(place, self.level, (right - left, bottom - top))
        return _on_white(np.asarray(picture))


def _with_openslide(path: Path, level: int | None) -> SlideScan:
    openslide = checks.imported("openslide", path, extra="slides")
    try:
        with openslide.OpenSlide(path) as slide:
            sizes = [(height, width) for width, height in slide.level_dimensions]
            properties, downsamples = dict(slide.properties), slide.level_downsamples
    except openslide.OpenSlideError as error:
        raise CubeError(
            f"{path}: OpenSlide cannot read it ({error}). Export the slide as a pyramidal TIFF (OME-TIFF), or the "
            "region of the sample as an image."
        ) from error
    stated = [properties.get(f"openslide.mpp-{name}") for name in "xy"]
    size_um, size_stated = (None, "not stated")
    if all(stated):
        words = f"{stated[0]} × {stated[1]} µm (x × y) by OpenSlide"
        size_um, size_stated = pixel_size.judged([float(each or 0) for each in stated], words)
    levels = _levels(sizes, size_um)
    chosen = _chosen(level, levels, path)
    known = {
        "format": f"slide of {properties.get('openslide.vendor', 'unknown vendor')}, by OpenSlide",
        "stored_type": "uint8",
        "orientation": "as OpenSlide shows it",
        "pixel_size": size_stated,
    }
    return SlideScan(path, levels, chosen, 3, _OpenSlidePixels(path, chosen, downsamples[chosen]).read, known)


def _on_white(colours: np.ndarray) -> np.ndarray:
    """RGB of RGBA bytes (y, x, 4) that lie on white."""
    opacity = colours[:, :, 3:].astype(np.float32) / 255
    shown: np.ndarray = np.rint(colours[:, :, :3] * opacity + _WHITE * (1 - opacity)).astype(np.uint8)
    return shown
