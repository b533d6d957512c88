"""Ordinary images: PNG, JPEG and BMP through Pillow, PNG of 16-bit colours through imagecodecs, TIFF."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import slide, tiff
from compseg_jax.readers.picture import Picture, refuse_profile, refused_colours, turned

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
# Pillow's modes that are read; a palette (P) becomes its colours.
_MODES = ("1", "L", "LA", "I;16", "I", "RGB", "RGBA", "P")
# PNG, 11.2.1: colour types and the bands of a pixel; the first bytes, up to the colour type.
_PNG_GREY, _PNG_BANDS, _PNG_HEAD_BYTES = 0, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}, 26
_ORIENTATION_TAG = 274


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    axes: str | None = None,
    level: int | None = None,
) -> Cube:
    """Reads an image as channels, with the numbers of the file, turned by its orientation tag.

    Grey gives one channel and RGB three; a palette becomes its colours; an alpha channel is dropped where
    it is opaque everywhere. Of a TIFF, the one stack axis (pages or OME channels) becomes the channels.
    The axis is None unless the caller gives one, or every OME channel is named like `1650 cm-1`.

    Args:
      path: the file.
      wavenumbers_cm1: the axis, shape (c,), used instead of the one in the file.
      axes: of a TIFF, what its axes are in the order of the file, such as 'yxc' or 'cyx'.

    Returns:
      the cube, absorbance of shape (y, x, c), float32 (float64 where the file holds wider numbers).

    Raises:
      CubeError: if the file is damaged, has transparent pixels, a colour model other than grey or RGB,
        more than one stack axis, axes that it does not name, or images of different sizes.
    """
    path = Path(path)
    if axes is None and slide.is_pyramid(path, level):
        return slide.read(path, wavenumbers_cm1=wavenumbers_cm1, level=level)
    picture = read_picture(path, axes)
    found, stated = picture.wavenumbers_cm1, axis.NO_WAVENUMBERS
    if found is not None or wavenumbers_cm1 is not None:
        found, stated = axis.settle(found, wavenumbers_cm1, path, "names of the channels")
    provenance = {
        "source": str(path),
        **picture.known,
        "axis": stated,
        "direction": axis.direction(found),
    }
    return Cube(checks.as_float(picture.values, path), found, picture.pixel_size_um, provenance)


def open_scan(
    path: Path,
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    axes: str | None = None,
    level: int | None = None,
) -> slide.SlideScan | None:
    """A level of a pyramid of TIFF pages, read by windows; None for an image of one resolution."""
    if axes is None and slide.is_pyramid(path, level):
        return slide.open_scan(path, wavenumbers_cm1=wavenumbers_cm1, level=level)
    return None


def read_picture(path: Path, axes: str | None = None) -> Picture:
    """Reads the numbers of an image and what they show; arguments and errors are those of `read`."""
    with checks.Reading(path, "an image"):
        if tiff.is_tiff(path):
            return tiff.read_picture(path, axes)
        with path.open("rb") as stream:
            head = stream.read(_PNG_HEAD_BYTES)
        if head.startswith(_PNG):
            return _png(path, head)
        if head.startswith(_JPEG):
            return _jpeg(path)
        if head.startswith(_BMP):
            return _bmp(path)
        raise CubeError(f"{path}: begins with {head[:8]!r}; required is a PNG, JPEG, BMP or TIFF image.")


def _jpeg(path: Path) -> Picture:
    try:
        return _pillow(path, JpegImageFile)
    except SyntaxError as error:
        if "-bit layers" in str(error):
            raise CubeError(
                f"{path}: {error}, as JPEGs of more than 8 bits are; convert it to TIFF or PNG."
            ) from error
        raise


def _bmp(path: Path) -> Picture:
    try:
        return _pillow(path, BmpImageFile)
    except OSError as error:
        if "Unsupported" in str(error):
            raise CubeError(
                f"{path}: {error}: a kind of BMP that is not read, or a damaged one. Save it as PNG or TIFF."
            ) from error
        raise


def _png(path: Path, head: bytes) -> Picture:
    """PNG through Pillow; with 16 bits of colour or alpha, which Pillow would cut to 8, through imagecodecs."""
    if len(head) < _PNG_HEAD_BYTES:
        raise CubeError(f"{path}: {len(head)} bytes are no PNG image; the file is cut. Export it again.")
    width, height, bits, colours = struct.unpack(">IIBB", head[16:26])
    announced = height * (1 + -(-width * bits * _PNG_BANDS.get(colours, 1) // 8))
    if announced > checks.DEFLATE_MAX_RATIO * os.path.getsize(path):
        raise _too_small(path, height, width)
    _check_room(path, width * height * _PNG_BANDS.get(colours, 1), 2 if bits == 16 else 1)
    if bits == 16 and colours != _PNG_GREY:
        with PngImageFile(path) as opened:
            orientation = _orientation(opened, path)
        values = checks.imported("imagecodecs", path).png_decode(path.read_bytes())
        return _picture(values, 16, orientation, "PNG", path)
    return _pillow(path, PngImageFile, bits)


def _pillow(path: Path, opener: type[ImageFile], bits: int = 8) -> Picture:
    """An image through Pillow; `bits` of a PNG's grey are those of the file, where Pillow has 8."""
    # Opened by the format's own class: `Image.open` warns of sizes that slides have, and refuses twice that.
    with opener(path) as opened:
        kind = str(opened.format)
        width, height = opened.size
        stored = os.path.getsize(path)
        is_plain = kind == "BMP" and opened.info.get("compression") == 0
        if width * height > (8 if is_plain else checks.MAX_PIXELS_PER_BYTE) * stored:
            raise _too_small(path, height, width)
        _check_room(path, width * height * len(opened.getbands()), 1)
        orientation = _orientation(opened, path)
        mode, key = opened.mode, opened.info.get("transparency")
        if mode not in _MODES:
            raise refused_colours(mode, f"{kind} image", path)
        values = np.asarray(opened)
        if mode == "P":
            colours = np.asarray(opened.convert("RGB" if key is None else "RGBA"))
            return _picture(colours, 8, orientation, kind, path, indices=values)
    bits = {"1": 1, "I;16": 16, "I": 16}.get(mode, bits)
    if bits in (2, 4):
        values = values // (
            255 // (2**bits - 1)
        )  # Pillow spreads them over 0 … 255, so that they look right.
    if key is not None:
        # One grey or colour of a PNG that is shown transparent (PNG, 11.3.2.1); of 1 bit Pillow gives 0 or 255.
        hidden = values == (bool(key) if bits == 1 else key)
        alpha = np.where(hidden if values.ndim == 2 else hidden.all(axis=2), 0, 2**bits - 1)
        values = np.dstack((values, alpha.astype(np.uint16)))
    return _picture(values, bits, orientation, kind, path)


def _picture(
    values: np.ndarray,
    bits: int,
    orientation: int,
    kind: str,
    path: Path,
    *,
    indices: np.ndarray | None = None,
) -> Picture:
    """Numbers as decoded, shape (y, x) or (y, x, 1 … 4), without their alpha and turned as they are shown."""
    values = values[:, :, np.newaxis] if values.ndim == 2 else values
    if values.shape[2] in (2, 4):
        values = checks.without_alpha(values, 2**bits - 1, path)
    values, turn = turned(values, orientation)
    bands = (
        "colours of a palette, 8 bits each"
        if indices is not None
        else "grey"
        if values.shape[2] == 1
        else "RGB"
    )
    known = {
        "format": kind,
        "bands": bands,
        "stored_type": f"uint{bits}" if bits >= 8 else f"{bits} bits",
        "orientation": turn,
    }
    return Picture(
        values,
        known,
        indices=None if indices is None else turned(indices, orientation)[0],
        brightest=2**bits - 1,
    )


def _orientation(opened: ImageFile, path: Path) -> int:
    """What EXIF says; refuses several pictures and a profile of other colours."""
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        raise CubeError(f"{path}: an animation of {frames} pictures; save the one that is meant.")
    opened.load()
    refuse_profile(opened.info.get("icc_profile"), path)
    return int(opened.getexif().get(_ORIENTATION_TAG, 1))


def _check_room(path: Path, values: int, itemsize: int) -> None:
    unpacked = values * itemsize
    # Pillow holds what it decodes, and a copy of it becomes floats.
    held = unpacked + checks.held_bytes(values, itemsize)
    checks.room(path, held, "a picture", unpacked=unpacked, packed=os.path.getsize(path))


def _too_small(path: Path, height: int, width: int) -> CubeError:
    return CubeError(
        f"{path}: its header announces {height} × {width} pixels, more than its "
        f"{os.path.getsize(path)} bytes can hold. The file is damaged; export it again."
    )
