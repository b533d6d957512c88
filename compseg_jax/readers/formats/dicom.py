"""DICOM images through pydicom: one frame of a file, grey or RGB; whole slides through OpenSlide.

Nothing of the patient is kept: of the many attributes only those of the pixels are read.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import slide

_PREFIX, _PREFIX_AT = b"DICM", 128
_FRAME = re.compile(r"frame:([0-9]{1,7})")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage (PS3.4, B.5)
_CENTIMETRES = 3  # Physical Units X Direction (PS3.3, C.8.5.5.1.15)
# Pixels of tomograms, radiographs and ultrasound images.
_LARGEST_PIXEL_UM = 2e4
# Decoders of imagecodecs for transfer syntaxes, where pydicom's fail or are none: JPEG of 12 bits, lossless JPEG,
# JPEG-LS, JPEG 2000, and that of high throughput.
_IMAGECODECS = {
    "1.2.840.10008.1.2.4.51": "jpeg8",
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in (90, 91)), "jpeg2k"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in (57, 70)), "jpegsof3"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in (80, 81)), "jpegls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in (201, 202, 203)), "htj2k"),
}
# What every image states (PS3.3, C.7.6.3).
_REQUIRED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_EXPORT = "Export it as an image (PNG, TIFF) or as uncompressed DICOM."


def holds(path: Path) -> bool:
    """Whether the file has the prefix of DICOM (PS3.10, 7.1)."""
    with path.open("rb") as stream:
        return stream.read(_PREFIX_AT + len(_PREFIX))[_PREFIX_AT:] == _PREFIX


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    level: int | None = None,
) -> Cube:
    """Reads the one frame of a file, or the frame `variable='frame:K'` (K from 0) of several.

    Grey images give one channel, with the file's rescale slope and intercept (or table) applied; YBR colours become
    RGB, palettes their colours. MONOCHROME1, in which white is the lowest number, keeps its numbers. Of a whole
    slide, `level` chooses the resolution, as in `slide.open_scan`.

    Returns:
      the cube, values of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, holds no image or several frames, or is compressed as nothing here decodes.
    """
    path = Path(path)
    pydicom = checks.imported("pydicom", path, extra="medical")
    with checks.Reading(path, "a DICOM image"), _attributes(path):
        dataset = _dataset(path, pydicom)
        if dataset.get("SOPClassUID") == _SLIDE:
            return slide.read(path, wavenumbers_cm1=wavenumbers_cm1, level=level)
        if level:
            raise CubeError(f"{path}: it has one resolution, found level={level}. Leave it out.")
        frame, place = _frame(dataset, variable, path)
        decoder = _decoder(dataset, path)
        _check_size(dataset, path)
        values, shown = _decoded(decoder, dataset, frame, path)
        if values.ndim == 2:
            values, known = _grey(values, dataset, frame, shown, path)
        elif shown != "RGB":
            raise CubeError(
                f"{path}: its colours are {shown}; required is grey, RGB, YBR or a palette. {_EXPORT}"
            )
        else:
            known = {"stored_type": values.dtype.name, "bands": f"RGB of {dataset.PhotometricInterpretation}"}
        size_um, size_stated = _pixel_size_um(dataset, frame)
        modality = str(dataset.get("Modality", ""))
    provenance = {
        "source": str(path),
        "format": f"DICOM {modality}".strip(),
        **place,
        **known,
        "orientation": "as stored",
        "pixel_size": size_stated,
        **axis.of_picture(wavenumbers_cm1),
    }
    return Cube(checks.as_float(values, path), wavenumbers_cm1, size_um, provenance)


def open_scan(
    path: Path,
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    level: int | None = None,
) -> slide.SlideScan | None:
    """A level of a whole slide, read by windows; None for every other image."""
    pydicom = checks.imported("pydicom", path, extra="medical")
    with checks.Reading(path, "a DICOM image"), _attributes(path):
        if _dataset(path, pydicom, pixels=False).get("SOPClassUID") != _SLIDE:
            return None
    return slide.open_scan(path, wavenumbers_cm1=wavenumbers_cm1, level=level)


@contextmanager
def _attributes(path: Path) -> Iterator[None]:
    """pydicom reads an attribute when it is asked for, and warns of some; what it does not know is damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except NotImplementedError as error:
            raise CubeError(f"{path}: {error}. The file is damaged; copy it again.") from error


def _dataset(path: Path, pydicom: ModuleType, *, pixels: bool = True) -> Any:
    """The attributes, of old files too that begin without 'DICM'."""
    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
    except pydicom.errors.InvalidDicomError as error:
        raise CubeError(f"{path}: it is no DICOM file ({error}). Export it again.") from error
    if "Rows" not in dataset or "Columns" not in dataset:
        raise CubeError(
            f"{path}: found no image in it (no Rows and Columns). A report, plan, structure set or index is not read; "
            "give the image files of the series."
        )
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        uid = pydicom.uid
        plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if little else uid.ExplicitVRBigEndian
    return dataset


def _frame(dataset: Any, variable: str | None, path: Path) -> tuple[int, dict[str, str]]:
    number = int(dataset.get("NumberOfFrames") or 1)
    if variable is None and number == 1:
        return 0, {}
    match = _FRAME.fullmatch(variable or "")
    if match is None or int(match[1]) >= number:
        found = f"; found variable={variable!r}" if variable else ""
        raise CubeError(
            f"{path}: it holds {number} frames{found}. Name one, such as variable='frame:{number // 2}' "
            f"(0 … {number - 1}), or save those that you want as files of their own."
        )
    return int(match[1]), {"variable": f"frame:{match[1]}", "frames": f"{match[1]} of 0 … {number - 1}"}


def _check_size(dataset: Any, path: Path) -> None:
    """Compares the pixels announced with the bytes stored, before any decoder allocates."""
    is_integer = "PixelData" in dataset
    missing = [
        name for name in _REQUIRED if dataset.get(name) is None and (is_integer or name != "BitsStored")
    ]
    if missing or (is_integer and dataset.get("PixelRepresentation") is None):
        raise CubeError(f"{path}: it does not state {', '.join(missing) or 'PixelRepresentation'}; damaged.")
    stored = next((dataset[name].value for name in _PIXELS if name in dataset), None)
    if not stored:
        raise CubeError(f"{path}: it holds no pixels; the file is cut, or its images lie in other files.")
    extents = [int(dataset.get(name) or 1) for name in ("NumberOfFrames", "SamplesPerPixel")]
    values = checks.count((int(dataset.Rows), int(dataset.Columns), *extents), path, "the image")
    bits = 8 * len(stored)
    required = values * int(dataset.BitsAllocated)
    held = checks.held_bytes(values, -(-int(dataset.BitsAllocated) // 8))
    checks.room(path, held, "an image")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        checks.room(path, held, "an image", unpacked=required // 8, packed=len(stored))
        fits = values <= len(stored) * checks.MAX_PIXELS_PER_BYTE
    else:
        if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
            required = required * 2 // 3
        fits = required <= bits < required + 16
    if not fits:
        raise CubeError(
            f"{path}: its header announces {required // 8} bytes of pixels, but {len(stored)} are stored. The file "
            "is cut or damaged; copy it again."
        )


def _decoder(dataset: Any, path: Path) -> Any:
    """What pydicom knows of the way in which the pixels are stored."""
    pixels = checks.imported("pydicom.pixels", path, extra="medical")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return pixels.get_decoder(syntax)
    except NotImplementedError as error:
        raise CubeError(
            f"{path}: its pixels are stored as {syntax.name}, which is not read. {_EXPORT}"
        ) from error


def _decoded(decoder: Any, dataset: Any, frame: int, path: Path) -> tuple[np.ndarray, str]:
    """Values (y, x) or (y, x, 3) of a frame, YBR made RGB, and the photometric interpretation that they have."""
    syntax = dataset.file_meta.TransferSyntaxUID
    # GDCM, where it is installed, ends the process on a damaged frame.
    plugins = [each for each in decoder.available_plugins if each != "gdcm"] if syntax.is_compressed else [""]
    reasons = []
    for plugin in plugins:
        try:
            values, found = decoder.as_array(dataset, index=frame, decoding_plugin=plugin)
            return np.asarray(values), str(found["photometric_interpretation"])
        except (
            RuntimeError,
            AttributeError,
        ) as error:  # pydicom's, of a decoder that fails or attributes that miss
            reasons.append(" ".join(str(error).split()))
    if syntax in _IMAGECODECS:
        return _with_imagecodecs(dataset, frame, path)
    said = "; ".join(reasons) or "no decoder of it is installed: " + "; or ".join(
        decoder.missing_dependencies
    )
    raise CubeError(
        f"{path}: its pixels, stored as {syntax.name}, cannot be decoded ({said}). Where the file is sound: {_EXPORT}"
    )


def _with_imagecodecs(dataset: Any, frame: int, path: Path) -> tuple[np.ndarray, str]:
    """As `_decoded`, of compressions that pydicom hands to libraries that are not permissive or not safe."""
    pixels = checks.imported("pydicom.pixels", path, extra="medical")
    encaps = checks.imported("pydicom.encaps", path, extra="medical")
    imagecodecs = checks.imported("imagecodecs", path, extra="medical")
    number = int(dataset.get("NumberOfFrames") or 1)
    coded = encaps.get_frame(dataset.PixelData, frame, number_of_frames=number)
    name = _IMAGECODECS[dataset.file_meta.TransferSyntaxUID]
    values = np.asarray(getattr(imagecodecs, f"{name}_decode")(coded))
    samples, bits = int(dataset.SamplesPerPixel), int(dataset.BitsAllocated)
    required = (int(dataset.Rows), int(dataset.Columns)) + ((samples,) if samples > 1 else ())
    if values.shape != required or values.dtype != f"u{bits // 8}":
        raise CubeError(
            f"{path}: a frame decodes to {values.shape} of {values.dtype}, but its header states {required} of {bits} "
            "bits. The file is damaged; copy it again."
        )
    if int(dataset.PixelRepresentation):
        unused = bits - int(dataset.BitsStored)
        values = (values << unused).view(f"i{bits // 8}") >> unused
    shown = str(dataset.PhotometricInterpretation)
    if shown in ("YBR_ICT", "YBR_RCT"):
        return values, "RGB"  # transformed by the decoder
    if shown == "YBR_FULL":
        return np.asarray(pixels.convert_color_space(values, shown, "RGB")), "RGB"
    return values, shown


def _grey(
    values: np.ndarray, dataset: Any, frame: int, shown: str, path: Path
) -> tuple[np.ndarray, dict[str, str]]:
    """Values (y, x, c) of a grey or palette image as measured, and what it is for the provenance."""
    pixels = checks.imported("pydicom.pixels", path, extra="medical")
    known = {"stored_type": values.dtype.name}
    if shown == "PALETTE COLOR":
        return pixels.apply_color_lut(values, dataset), {**known, "bands": "colours of a palette"}
    if shown not in _GREY:
        raise CubeError(
            f"{path}: its colours are {shown}; required is grey, RGB, YBR or a palette. {_EXPORT}"
        )
    known["bands"] = (
        "grey" if shown == "MONOCHROME2" else "grey, white is the lowest number; numbers as stored"
    )
    transformed = _functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    if "ModalityLUTSequence" in transformed or "RescaleSlope" in transformed:
        slope, intercept = (
            float(transformed.get(f"Rescale{name}", at)) for name, at in (("Slope", 1), ("Intercept", 0))
        )
        if "ModalityLUTSequence" in transformed or (slope, intercept) != (1, 0):
            values = pixels.apply_modality_lut(values, transformed)
            known["values"] = f"rescaled, slope {slope:g}, intercept {intercept:g}"
    return values[:, :, np.newaxis], known


def _functional_group(dataset: Any, frame: int, name: str) -> Any:
    """Attributes that an enhanced multi-frame image states for a frame, or for all; None where it does not."""
    for sequence, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(sequence) or []
        if at < len(groups) and groups[at].get(name):
            return groups[at].get(name)[0]
    return None


def _pixel_size_um(dataset: Any, frame: int) -> tuple[float | None, str]:
    measures = _functional_group(dataset, frame, "PixelMeasuresSequence") or dataset
    for source, name in (
        (measures, "PixelSpacing"),
        (dataset, "ImagerPixelSpacing"),
        (dataset, "NominalScannedPixelSpacing"),
    ):
        spacing = source.get(name)
        if spacing and len(spacing) == 2:
            words = f"{name} {spacing[0]} × {spacing[1]} mm (y × x)"
            return pixel_size.judged(
                [1e3 * float(each) for each in spacing], words, most_um=_LARGEST_PIXEL_UM
            )
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1 and regions[0].get("PhysicalUnitsXDirection") == _CENTIMETRES:
        deltas = [abs(float(regions[0].get(f"PhysicalDelta{name}", 0))) for name in "XY"]
        words = f"ultrasound region of {deltas[0]:g} × {deltas[1]:g} cm to a pixel (x × y)"
        return pixel_size.judged([1e4 * each for each in deltas], words, most_um=_LARGEST_PIXEL_UM)
    return None, "not stated"
