"""TIFF and OME-TIFF values through tifffile, whose directories are checked first."""

from __future__ import annotations

import math
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.picture import Picture, refuse_profile, refused_colours, turned

_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
# Version → where the first directory's offset stands, and the struct codes of that offset and of a
# directory's number of entries, with the bytes of an entry (TIFF 6.0, section 2; BigTIFF design).
_VERSIONS = {42: (4, "I", "H", 12), 43: (8, "Q", "Q", 20)}
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTES_OF_TYPE |= {16: 8, 17: 8, 18: 8}
# Values of PhotometricInterpretation (TIFF 6.0, page 117), those that are read and those that are named.
_WHITE_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6
_COLOUR_MODELS = {5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}
_COLOUR_MODELS |= {32803: "a colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}
# Compressions whose decoders turn YCbCr into RGB: JPEG of both kinds and of NDPI, WebP.
_DECODED_TO_RGB = (6, 7, 33007, 50001)
_OLD_JPEG, _FAX, _LONGEST_FAX_LINE = 6, (2, 3, 4), 1 << 16
# Unit of the resolution tags (TIFF 6.0, page 38): its name, its length, and the largest pixel that is believed.
# Dots per inch are mostly those of a print, finer than any where they come from a scanner.
_RESOLUTION_UNITS = {2: ("inch", 25400.0, 10.0), 3: ("cm", 1e4, 100.0)}
# Values of ExtraSamples that mean alpha, associated or not; 0 has no meaning (TIFF 6.0, page 31).
_ALPHAS = (1, 2)
# tifffile's letters for an axis of unknown meaning and for pages without a description.
_WITHOUT_MEANING = ("Q", "I")
_ORIENTATION_TAG, _SHORT = 274, 3
# Tags that say how large an image is and where its data are, and the types that they may have.
_SIZE_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325, 339)
_INTEGER_TYPES = (1, 3, 4, 16)
_UM_PER_UNIT = {"pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4}
_UM_PER_UNIT |= {"dm": 1e5, "m": 1e6, "thou": 25.4, "in": 25400.0}
_WAVENUMBER_NAME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:cm-1|cm\^-1|cm⁻¹|1/cm)\s*", re.IGNORECASE)


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF or BigTIFF."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    order = _BYTE_ORDERS.get(magic[:2])
    return order is not None and len(magic) == 4 and struct.unpack(order + "H", magic[2:])[0] in _VERSIONS


def read_picture(path: Path, axes: str | None = None) -> Picture:
    """Reads the one image or stack of a TIFF.

    Args:
      path: the file.
      axes: what the axes of the stack are, in the order of the file: the letters y, x and c, as in 'yxc'.
        Needed where the file does not say it.

    Returns:
      the picture; what an OME-TIFF states of pixel size and wavenumbers is with it.

    Raises:
      CubeError: if the file is damaged, holds several images or stack axes, does not say which of its axes are
        y, x and channel, has colours other than grey and RGB, or pixels that are not opaque.
    """
    orientations = check_directories(path)
    tifffile = checks.imported("tifffile", path)
    with tifffile.TiffFile(path) as file:
        images = _images(file, axes, path)
        series = images[0]
        covered = sum(len(level.pages) for each in file.series for level in each.levels)
        if covered < len(file.pages):
            raise CubeError(
                f"{path}: its description covers {covered} of {len(file.pages)} pages. Save it as one stack."
            )
        _check_imagej(file, path)
        if len(orientations) > 1:
            raise CubeError(
                f"{path}: its pages are turned in different ways (orientation {sorted(orientations)}); turn them "
                "alike and save the stack anew."
            )
        known: dict[str, Any] = {"format": "OME-TIFF" if file.is_ome else "TIFF"}
        known["stored_type"] = _stored_type(series, path)
        page = series.keyframe
        photometric = _photometric(page, path)
        for each in images:
            check_sizes(each, path)
        indices = None
        if photometric == _PALETTE:
            indices, values = _palette(series, path)
            bits = 8 * values.dtype.itemsize
            known |= {"bands": f"colours of a palette, {bits} bits each", "axes": series.axes}
        else:
            stack = [_decoded(each, path) for each in images]
            values, names = (stack[0], series.axes) if len(stack) == 1 else (np.stack(stack), "QYX")
            values, known["axes"] = _channels_last(values, names, axes, path)
            if "S" in series.axes and axes is None:
                values = _without_alpha(values, page, path)
        orientation = next(iter(orientations), 1)
        values, known["orientation"] = turned(values, orientation)
        is_integer = values.dtype.kind in "ub" and indices is None
        if photometric == _WHITE_IS_ZERO:
            known["bands"] = "grey, white is zero; numbers as stored"
        axis_found = None
        pixel_size_um, known["pixel_size"] = stated_pixel_size(file, page, path)
        if file.is_ome:
            pixels = ome_pixels(tifffile.xml2dict(file.ome_metadata))
            axis_found = ome_wavenumbers(pixels, values.shape[2], path)
        return Picture(
            values,
            known,
            wavenumbers_cm1=axis_found,
            pixel_size_um=pixel_size_um,
            indices=None if indices is None else turned(indices, orientation)[0],
            white_is_zero=photometric == _WHITE_IS_ZERO,
            brightest=2**page.bitspersample - 1 if is_integer else None,
        )


def _images(file: Any, axes: str | None, path: Path) -> list[Any]:
    """The one image or stack, thumbnails left out; or the pages of a stack that were written one by one."""
    images = [each for each in file.series if not each.keyframe.is_reduced] or list(file.series)
    if len(images) == 1:
        return images
    are_alike = all(
        each.axes == "YX" and (each.shape, each.dtype) == (images[0].shape, images[0].dtype)
        for each in images
    )
    if are_alike and axes == "cyx":
        return images
    shapes = ", ".join(dict.fromkeys(str(each.shape) for each in images))
    advice = (
        "if these are the channels of one image, say so with axes='cyx'"
        if are_alike
        else "keep one in the file"
    )
    raise CubeError(f"{path}: found {len(images)} images ({shapes}); {advice}.")


def stated_pixel_size(file: Any, page: Any, path: Path) -> tuple[float | None, str]:
    """Edge of a pixel of a page in µm and how the file states it; None where it does not, or it is no microscope's.

    By the description of Aperio (MPP) or the OME header where there is one, else by the resolution tags, in ImageJ's
    unit where ImageJ wrote the file.

    Args:
      file: tifffile's file.
      page: its page, of the finest resolution.
      path: where the file is.
    """
    tifffile = checks.imported("tifffile", path)
    if page.is_svs:
        stated = tifffile.tifffile.svs_description_metadata(page.description).get("MPP")
        if stated:
            return pixel_size.judged([float(stated)], f"MPP = {stated} of the description")
    if file.is_ome:
        return ome_pixel_size(ome_pixels(tifffile.xml2dict(file.ome_metadata)))
    unit = str((file.imagej_metadata or {}).get("unit", "")) if file.is_imagej else ""
    return _resolution_um(page, {"micron": "µm", "microns": "µm", "\\u00B5m": "µm"}.get(unit, unit))


def _resolution_um(page: Any, imagej_unit: str) -> tuple[float | None, str]:
    """The same by the resolution tags, which count pixels per unit: ImageJ's, or that of the tag beside them."""
    is_imagej = imagej_unit in _UM_PER_UNIT
    name, um, most_um = _RESOLUTION_UNITS.get(int(page.tags.valueof(296, 2)), ("", 0.0, 0.0))
    if is_imagej:
        name, um, most_um = imagej_unit, _UM_PER_UNIT[imagej_unit], pixel_size.MOST_UM
    rationals = [page.tags.valueof(tag) for tag in (282, 283)]
    if not name or any(each is None or not all(each) for each in rationals):
        return None, "not stated"
    counts = [numerator / denominator for numerator, denominator in rationals]
    words = f"resolution {counts[0]:.6g} × {counts[1]:.6g} pixels per {name} (x × y)"
    if not is_imagej and pixel_size.is_of_a_screen(counts[0] * pixel_size.UM_PER_INCH / um):
        return (
            None,
            f"{words}, as programs write for screens and prints: not believed; give pixel_size_um= where you know it",
        )
    return pixel_size.judged([um / each for each in counts], words, most_um=most_um)


def _check_imagej(file: Any, path: Path) -> None:
    """Refuses a stack of which tifffile finds the first plane only, as it does where the file is cut."""
    announced = int((file.imagej_metadata or {}).get("images", 1)) if file.is_imagej else 1
    series = file.series[0]
    found = math.prod(series.shape) // math.prod(series.keyframe.shape)
    if found < announced:
        raise CubeError(
            f"{path}: found {found} of the {announced} images that ImageJ wrote; the file is cut. Copy it again."
        )


def _stored_type(series: Any, path: Path) -> str:
    page = series.keyframe
    bits = page.bitspersample
    if isinstance(bits, tuple) or series.dtype is None:
        raise CubeError(
            f"{path}: found samples of {bits} bits (sample format {page.sampleformat}); read are samples of one "
            "width, integers of 1 to 64 bits and floats of 16 to 64. Save it with such."
        )
    return str(series.dtype) if bits == 8 * series.dtype.itemsize else f"{bits} bits"


def _photometric(page: Any, path: Path) -> int:
    """How the numbers are shown, by TIFF 6.0 where the tag is missing; refuses what is no grey and no RGB."""
    found = int(page.photometric) if 262 in page.tags else (_RGB if page.samplesperpixel >= 3 else 1)
    profile = page.tags.valueof(34675)
    refuse_profile(profile if isinstance(profile, bytes) else None, path)
    compression = int(page.compression)
    if found == _YCBCR and compression in _DECODED_TO_RGB:
        return _RGB
    if found not in (_WHITE_IS_ZERO, 1, _RGB, _PALETTE, 4) or compression == 33003:
        model = "YCbCr" if compression == 33003 else _COLOUR_MODELS.get(found, f"of model {found}")
        raise refused_colours(model, f"PhotometricInterpretation {found}, compression {compression}", path)
    return found


def _decoded(series: Any, path: Path) -> np.ndarray:
    try:
        values: np.ndarray = series.asarray()
        return values
    except Exception as error:  # every codec has its own
        page = series.keyframe
        if "imagecodecs" in str(error):
            checks.imported("imagecodecs", path)
        if int(page.compression) == _OLD_JPEG:
            raise CubeError(
                f"{path}: it is compressed as JPEG in the old way (compression 6), which programs wrote in ways that "
                "cannot be told from another. Save it anew as TIFF or PNG, for example in ImageJ."
            ) from error
        if isinstance(error, ValueError | NotImplementedError) and "not supported" in str(error):
            name = getattr(page.compression, "name", page.compression)
            raise CubeError(
                f"{path}: its pixels are compressed as {name} ({error}), which is not read. Save it with LZW, or "
                "without compression."
            ) from error
        raise


def _palette(series: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the palette's colours, shape (y, x), and the colours, shape (y, x, 3)."""
    if series.ndim != 2:
        raise CubeError(
            f"{path}: found the axes {series.axes} of a palette image; one image of one sample is read. Convert it "
            "to grey or RGB."
        )
    colours = np.asarray(series.keyframe.colormap)
    # TIFF 6.0, section 5: a colour map holds 16-bit values. Programs write 8-bit colours as 256 or 257 times
    # their value, and some as they are.
    if colours.max() > 255:
        upper = colours >> 8
        if np.all((colours == upper * 257) | (colours == upper * 256)):
            colours = upper
    if colours.max() <= 255:
        colours = colours.astype(np.uint8)
    indices = _decoded(series, path).astype(np.uint16)
    if indices.max(initial=0) >= colours.shape[1]:
        raise CubeError(
            f"{path}: a pixel has colour {indices.max()} of a palette of {colours.shape[1]}; damaged."
        )
    return indices, np.moveaxis(colours[:, indices], 0, -1)


def _without_alpha(values: np.ndarray, page: Any, path: Path) -> np.ndarray:
    """Drops the sample that the file calls alpha where it is opaque; samples without a meaning are channels."""
    kinds = [int(kind) for kind in page.extrasamples]
    alphas = [values.shape[2] - len(kinds) + at for at, kind in enumerate(kinds) if kind in _ALPHAS]
    for channel in reversed(alphas):
        opaque = 1.0 if values.dtype.kind == "f" else 2**page.bitspersample - 1
        opaque = np.iinfo(values.dtype).max if values.dtype.kind == "i" else opaque
        values = checks.without_alpha(values, opaque, path, channel=channel)
    return values


def check_directories(path: Path) -> set[int]:
    """Refuses chains of directories that leave the file or return: tifffile follows those for ever.

    Files of Hamamatsu (.ndpi) lead to the next directory by 64 bits, so that they may be larger than 4 GB.

    Returns:
      the orientations that directories state; those that state none are taken to follow the others.
    """
    content = np.memmap(path, np.uint8, "r")
    order = _BYTE_ORDERS[bytes(content[:2])]
    (version,) = struct.unpack_from(order + "H", content, 2)
    at, offset_code, count_code, entry_bytes = _VERSIONS[version]
    pointer_code = "Q" if path.suffix.lower() == ".ndpi" and order == "<" else offset_code
    seen: set[int] = set()
    orientations: set[int] = set()
    (begin,) = struct.unpack_from(order + pointer_code, content, at)
    while begin:
        if begin in seen:
            raise CubeError(f"{path}: its list of images returns to an earlier one; the file is damaged.")
        seen.add(begin)
        (entries,) = struct.unpack_from(order + count_code, content, begin)
        first = begin + struct.calcsize("=" + count_code)
        end = first + entries * entry_bytes
        if entries < 1 or end + struct.calcsize("=" + pointer_code) > content.size:
            raise CubeError(f"{path}: a directory of {entries} entries at {begin} leaves the file; damaged.")
        for entry in range(first, end, entry_bytes):
            tag, kind, number = struct.unpack_from(order + "HH" + offset_code, content, entry)
            if tag in _SIZE_TAGS and kind not in _INTEGER_TYPES:
                raise CubeError(
                    f"{path}: tag {tag} is of type {kind}, which is no integer; the file is damaged."
                )
            if number * _BYTES_OF_TYPE.get(kind, 1) > content.size:
                raise CubeError(f"{path}: tag {tag} announces {number} values; more than the file holds.")
            if tag == _ORIENTATION_TAG and kind == _SHORT:
                value_at = entry + 4 + struct.calcsize("=" + offset_code)
                (orientation,) = struct.unpack_from(order + "H", content, value_at)
                orientations.add(orientation if orientation in range(1, 9) else 1)
        (begin,) = struct.unpack_from(order + pointer_code, content, end)
    return orientations


def check_sizes(series: Any, path: Path) -> None:
    """Refuses pages whose data reach beyond the file, or whose extents cannot be what is stored."""
    length = os.path.getsize(path)
    page = series.keyframe
    announced = checks.count(series.shape, path, "the image") * series.dtype.itemsize
    if series.dataoffset is not None and len(series.pages) == 1 and len(series.shape) > len(page.shape):
        # ImageJ writes one directory for a stack above 4 GB, and the planes one behind the other.
        checks.size(path, series.dataoffset + announced, f"a stack of shape {series.shape}")
        return
    stored, plain = 0, 0
    for each in series.pages:
        if each is None:
            raise CubeError(f"{path}: a page of the stack is missing; export it again.")
        counts, offsets = each.databytecounts, each.dataoffsets
        stated, needed = _chunks_stated(page), math.prod(page.chunked)
        if len(counts) != len(offsets) or (stated and not stated == len(offsets) == needed):
            raise CubeError(
                f"{path}: a page states {stated or len(offsets)} places and {len(counts)} lengths of image data, an "
                f"image of its size has {needed}; the file is damaged. Export it again."
            )
        if any(begin + extent > length for begin, extent in zip(offsets, counts, strict=True)):
            raise CubeError(f"{path}: its image data reach beyond its {length} bytes; the file is cut.")
        stored += sum(counts)
        plain += _plain_bytes(page, len(counts), sum(counts))
    compression = int(page.compression)
    if compression == 1 and not page.is_tiled:
        fits = stored == plain
    elif compression in _FAX:
        # A white line takes one bit, however long it is (ITU-T T.6).
        lines = announced // page.imagewidth
        fits = lines <= 8 * stored and page.imagewidth <= _LONGEST_FAX_LINE
    else:
        fits = announced <= stored * checks.MAX_PIXELS_PER_BYTE
    held = checks.held_bytes(math.prod(series.shape), series.dtype.itemsize)
    if fits and compression != 1:
        checks.room(path, held, "an image", unpacked=announced, packed=stored)
    elif fits:
        checks.room(path, held, "an image")
    if not fits:
        raise CubeError(
            f"{path}: its header announces {announced} bytes of pixels, but {stored} are stored. "
            "The file is damaged; export it again."
        )


def _chunks_stated(page: Any) -> int:
    """Strips or tiles for which a page has a place, of which tifffile drops those beyond the image; 0 for pages that
    count otherwise (JPEG of the old kind, Hamamatsu's).
    """
    if page.is_ndpi or int(page.compression) == _OLD_JPEG:
        return 0
    tag = page.tags.get(324 if page.is_tiled else 273)
    return 0 if tag is None else int(tag.count)


def _plain_bytes(page: Any, strips: int, stored: int) -> int:
    """Bytes of a page without compression; with the whole of its last strip where that many are stored."""
    depth, height, width, samples = page.shaped[1:]
    planes = page.shaped[0]
    row = -(-width * samples * page.bitspersample // 8)
    rows = planes * depth * height
    padded = strips * page.rowsperstrip
    return row * (padded if padded > rows and stored == row * padded else rows)


def _channels_last(values: np.ndarray, names: str, given: str | None, path: Path) -> tuple[np.ndarray, str]:
    """Moves the one stack axis (any but Y and X) to the end; axes of one element are dropped.

    Returns:
      the values, shape (y, x, c), and how the axes of the file became y, x and c.
    """
    single = [at for at, name in enumerate(names) if values.shape[at] == 1 and name not in "YX"]
    if given is not None and values.ndim == 3:
        single = []
    values = np.squeeze(values, tuple(single))
    names = "".join(name for at, name in enumerate(names) if at not in single)
    if given is not None:
        letters = given if values.ndim == 3 else given.replace("c", "")
        if values.ndim not in (2, 3) or sorted(given) != ["c", "x", "y"]:
            raise CubeError(
                f"{path}: found axes={given!r} for an array of shape {values.shape}; required are the letters y, "
                "x and c in the order of the file, such as axes='yxc', and one image or one stack."
            )
        words = f"given as {given}"
    else:
        stacked = names.replace("Y", "").replace("X", "")
        if sorted(names.replace(stacked, "", 1)) != ["X", "Y"] or len(stacked) > 1:
            raise CubeError(
                f"{path}: found the axes {names} of shape {values.shape}; required are y, x and one stack of "
                "channels. Save the channels as one stack."
            )
        if stacked and stacked in _WITHOUT_MEANING:
            first, second, third = values.shape
            raise CubeError(
                f"{path}: the file holds an array of shape {values.shape} and does not say what its axes are. "
                f"axes='yxc' reads {first} × {second} pixels of {third} channels, axes='cyx' reads {first} "
                f"channels of {second} × {third} pixels. Give the right one."
            )
        letters, words = "".join("yx"["YX".index(name)] if name in "YX" else "c" for name in names), names
    order = [letters.index(letter) for letter in "yxc"[: values.ndim]]
    values = np.transpose(values, order)
    return values.reshape(*values.shape[:2], -1), words


def ome_pixels(document: dict[str, Any]) -> dict[str, Any]:
    """What an OME-XML block says of the pixels of its first image."""
    image = document.get("OME", {}).get("Image", {})
    pixels: dict[str, Any] = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    return pixels


def ome_pixel_size(pixels: dict[str, Any]) -> tuple[float | None, str]:
    """Edge of a pixel in µm and how it is stated; None where it is not, or is not that of a microscope."""
    edges, words = [], []
    for side in ("X", "Y"):
        value, unit = pixels.get(f"PhysicalSize{side}"), str(pixels.get(f"PhysicalSize{side}Unit", "µm"))
        if value is None:
            return None, "not stated"
        words.append(f"{value} {unit}")
        if isinstance(value, bool) or not isinstance(value, int | float) or unit not in _UM_PER_UNIT:
            return (
                None,
                f"{' × '.join(words)} in the OME header is no length; give pixel_size_um= where you know it",
            )
        edges.append(value * _UM_PER_UNIT[unit])
    return pixel_size.judged(edges, f"{' × '.join(words)} in the OME header")


def ome_wavenumbers(pixels: dict[str, Any], channels: int, path: Path) -> np.ndarray | None:
    """The axis of an OME-TIFF whose every channel is named by its wavenumber."""
    listed = pixels.get("Channel", [])
    names = [str(each.get("Name", "")) for each in (listed if isinstance(listed, list) else [listed])]
    found = [_WAVENUMBER_NAME.fullmatch(name) for name in names]
    if len(found) != channels or not all(found):
        return None
    values = np.array([float(match.group(1)) for match in found if match])
    return axis.to_wavenumbers_cm1(values, "cm-1", path)
