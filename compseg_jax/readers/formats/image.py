"""Ordinary images: PNG, JPEG and BMP through Pillow, TIFF through tifffile; also masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import array, slide, tiff

# Pillow modes whose values are read as they are; the palette mode P becomes colours.
_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F", "RGB", "RGBA")


def read(
    path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None, level: int | None = None
) -> Cube:
    """Reads an image as channels, values unscaled.

    Grey gives one channel and RGB three; a palette becomes its colours; an alpha channel is dropped where
    it is opaque everywhere. Of a TIFF, the one stack axis (pages or OME channels) becomes the channels.
    The axis is None unless the caller gives one, or every OME channel is named like `1650 cm-1`.

    Returns:
      the cube, absorbance of shape (y, x, c), float32 (float64 where the file holds wider numbers).

    Raises:
      CubeError: if the file is damaged, has transparent pixels, a colour model other than grey or RGB,
        more than one stack axis, or images of different sizes.
    """
    path = Path(path)
    if slide.is_pyramid(path, level):
        return slide.read(path, wavenumbers_cm1=wavenumbers_cm1, level=level)
    with checks.Reading(path, "an image"):
        values, known = tiff.read_values(path) if tiff.is_tiff(path) else _pillow(path)
    found, stated = known.pop("wavenumbers_cm1", None), "none; the channels are not wavenumbers"
    if found is not None or wavenumbers_cm1 is not None:
        found, stated = axis.settle(found, wavenumbers_cm1, path, "names of the channels")
    pixel_size_um = known.pop("pixel_size_um", None)
    provenance = {"source": str(path), **known, "axis": stated, "direction": axis.direction(found)}
    return Cube(checks.as_float(values, path), found, pixel_size_um, provenance)


def open_scan(
    path: Path, *, wavenumbers_cm1: np.ndarray | None = None, level: int | None = None
) -> slide.SlideScan | None:
    """A level of a pyramid of TIFF pages, read by windows; None for an image of one resolution."""
    if slide.is_pyramid(path, level):
        return slide.open_scan(path, wavenumbers_cm1=wavenumbers_cm1, level=level)
    return None


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a reference or tissue mask from a PNG, TIFF or .npy file.

    Returns:
      bool array of shape (y, x), True where any channel is not zero.

    Raises:
      CubeError: if the file is damaged, not of two dimensions (three with channels), or holds NaN.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = array.load(path)
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3)):
            raise CubeError(f"{path}: found a mask of shape {values.shape}; required is (y, x).")
        values = values.reshape(*values.shape[:2], -1)
    else:
        values = read(path).absorbance
    if values.dtype.kind == "f" and np.any(np.isnan(values)):
        raise CubeError(
            f"{path}: the mask holds NaN; required are numbers, zero outside and not zero inside."
        )
    inside: np.ndarray = np.any(np.asarray(values) != 0, axis=2)
    return inside


def _pillow(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    image_library = checks.imported("PIL.Image", path)
    operations = checks.imported("PIL.ImageOps", path)
    with image_library.open(path, formats=("PNG", "JPEG", "BMP")) as opened:
        width, height = opened.size
        if width * height > checks.MAX_PIXELS_PER_BYTE * os.path.getsize(path):
            raise CubeError(
                f"{path}: its header announces {height} × {width} pixels, more than its "
                f"{os.path.getsize(path)} bytes can hold. The file is damaged; export it again."
            )
        kind = opened.format
        # As every viewer shows it, so that a mask drawn on the picture fits it.
        image = operations.exif_transpose(opened)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode not in _MODES:
        raise CubeError(f"{path}: its colour model is {image.mode}; required is grey or RGB. Convert it.")
    values = np.asarray(image)
    values = values[:, :, np.newaxis] if values.ndim == 2 else values
    if image.mode in ("LA", "RGBA"):
        values = checks.without_alpha(values, 255, path)
    return values, {"format": kind, "bands": image.mode}
