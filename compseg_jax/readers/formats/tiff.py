"""TIFF and OME-TIFF values through tifffile, whose directories are checked first."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import CubeError

_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
# Version → where the first directory's offset stands, and the struct codes of that offset and of a
# directory's number of entries, with the bytes of an entry (TIFF 6.0, section 2; BigTIFF design).
_VERSIONS = {42: (4, "I", "H", 12), 43: (8, "Q", "Q", 20)}
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTES_OF_TYPE |= {16: 8, 17: 8, 18: 8}
_NO_COMPRESSION = 1
_WAVENUMBER_NAME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:cm-1|cm\^-1|cm⁻¹|1/cm)\s*", re.IGNORECASE)


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF or BigTIFF."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    order = _BYTE_ORDERS.get(magic[:2])
    return order is not None and len(magic) == 4 and struct.unpack(order + "H", magic[2:])[0] in _VERSIONS


def read_values(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads the one image or stack of a TIFF.

    Returns:
      values of shape (y, x, c), and what is known of them: `format`, `axes`, and of an OME-TIFF
      `pixel_size_um` and `wavenumbers_cm1` where it states them.

    Raises:
      CubeError: if the file is damaged or holds several images or stack axes.
    """
    check_directories(path)
    tifffile = checks.imported("tifffile", path)
    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            shapes = ", ".join(str(series.shape) for series in file.series)
            raise CubeError(f"{path}: found {len(file.series)} images ({shapes}); keep one in the file.")
        series = file.series[0]
        covered = sum(len(level.pages) for level in series.levels)
        if covered < len(file.pages):
            raise CubeError(
                f"{path}: its description covers {covered} of {len(file.pages)} pages. Save it as one stack."
            )
        check_sizes(series, path)
        first = series.keyframe
        if first.photometric.name == "PALETTE":
            if series.ndim != 2:
                raise CubeError(f"{path}: a stack of palette images is not read; convert it to grey or RGB.")
            palette = np.asarray(first.colormap)
            # TIFF 6.0, section 5: the colour map holds 16-bit values; an 8-bit colour is the upper byte.
            values, axes = np.moveaxis(palette[:, series.asarray()], 0, -1) >> 8, "YXS"
        else:
            try:
                values, axes = series.asarray(), series.axes
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                checks.imported("imagecodecs", path)
                raise
        values = _channels_last(values, axes, path)
        if "S" in axes and len(first.extrasamples) == 1 and values.shape[2] in (2, 4):
            opaque = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1.0
            values = checks.without_alpha(values, opaque, path)
        known: dict[str, Any] = {"format": "OME-TIFF" if file.is_ome else "TIFF", "axes": series.axes}
        if file.is_ome:
            known.update(ome(tifffile.xml2dict(file.ome_metadata), values.shape[2], path))
        return values, known


def check_directories(path: Path) -> None:
    """Refuses chains of directories that leave the file or return: tifffile follows those for ever."""
    content = np.memmap(path, np.uint8, "r")
    order = _BYTE_ORDERS[bytes(content[:2])]
    (version,) = struct.unpack_from(order + "H", content, 2)
    at, offset_code, count_code, entry_bytes = _VERSIONS[version]
    seen: set[int] = set()
    (begin,) = struct.unpack_from(order + offset_code, content, at)
    while begin:
        if begin in seen:
            raise CubeError(f"{path}: its list of images returns to an earlier one; the file is damaged.")
        seen.add(begin)
        (entries,) = struct.unpack_from(order + count_code, content, begin)
        first = begin + struct.calcsize("=" + count_code)
        end = first + entries * entry_bytes
        if entries < 1 or end + struct.calcsize("=" + offset_code) > content.size:
            raise CubeError(f"{path}: a directory of {entries} entries at {begin} leaves the file; damaged.")
        for entry in range(first, end, entry_bytes):
            tag, kind, number = struct.unpack_from(order + "HH" + offset_code, content, entry)
            if number * _BYTES_OF_TYPE.get(kind, 1) > content.size:
                raise CubeError(f"{path}: tag {tag} announces {number} values; more than the file holds.")
        (begin,) = struct.unpack_from(order + offset_code, content, end)


def check_sizes(series: Any, path: Path) -> None:
    """Refuses pages whose data reach beyond the file, or whose extents cannot be what is stored."""
    length = os.path.getsize(path)
    announced = checks.count(series.shape, path, "the image") * series.dtype.itemsize
    stored = 0
    for page in series.pages:
        if page is None:
            raise CubeError(f"{path}: a page of the stack is missing; export it again.")
        counts, offsets = page.databytecounts, page.dataoffsets
        if any(begin + extent > length for begin, extent in zip(offsets, counts, strict=True)):
            raise CubeError(f"{path}: its image data reach beyond its {length} bytes; the file is cut.")
        stored += sum(counts)
    if series.keyframe.compression == _NO_COMPRESSION and not series.keyframe.is_tiled:
        fits = stored == -(-announced * series.keyframe.bitspersample // (8 * series.dtype.itemsize))
    else:
        fits = announced <= stored * checks.MAX_PIXELS_PER_BYTE
    if not fits and series.keyframe.bitspersample >= 8:
        raise CubeError(
            f"{path}: its header announces {announced} bytes of pixels, but {stored} are stored. "
            "The file is damaged; export it again."
        )


def _channels_last(values: np.ndarray, axes: str, path: Path) -> np.ndarray:
    """Moves the one stack axis (any but Y, X and S) to the end; axes of one element are dropped."""
    single = tuple(at for at, name in enumerate(axes) if values.shape[at] == 1 and name not in "YX")
    values = np.squeeze(values, single)
    axes = "".join(name for at, name in enumerate(axes) if at not in single)
    stacked = axes.replace("Y", "").replace("X", "")
    if sorted(axes.replace(stacked, "", 1)) != ["X", "Y"] or len(stacked) > 1:
        raise CubeError(
            f"{path}: found the axes {axes} of shape {values.shape}; required are y, x and one stack of "
            "channels. Save the channels as one stack."
        )
    return np.transpose(values, [axes.index(name) for name in "YX" + stacked]).reshape(
        values.shape[axes.index("Y")], values.shape[axes.index("X")], -1
    )


def ome(document: dict[str, Any], channels: int, path: Path) -> dict[str, Any]:
    """Pixel size and, where every channel is named by its wavenumber, the axis of an OME-XML block."""
    image = document.get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    known: dict[str, Any] = {}
    sizes = (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY"))
    if sizes[0] is not None and sizes[0] == sizes[1] and pixels.get("PhysicalSizeXUnit", "µm") == "µm":
        known["pixel_size_um"] = float(sizes[0])
    listed = pixels.get("Channel", [])
    names = [str(each.get("Name", "")) for each in (listed if isinstance(listed, list) else [listed])]
    found = [_WAVENUMBER_NAME.fullmatch(name) for name in names]
    if len(found) == channels and all(found):
        values = np.array([float(match.group(1)) for match in found if match])
        known["wavenumbers_cm1"] = axis.to_wavenumbers_cm1(values, "cm-1", path)
    return known
