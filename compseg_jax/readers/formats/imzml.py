"""imzML: mass-spectrometry images, an XML file of metadata and an .ibd file of numbers beside it.

The layout is that of the imzML 1.1.0 specification (ms-imaging.org) and of its vocabulary imagingMS.obo: the
.ibd begins with the UUID that the XML states, its numbers are little-endian. Parsed here because pyimzML 1.5.5
takes compressed arrays, which its own writer makes, for plain numbers.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID
from xml.etree import ElementTree

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import CHANNEL_NAME, CHANNEL_VALUES, Cube, CubeError

_UUID_BYTES = 16
# Empty places to a spectrum in a sound file: a few small regions of a large slide.
_MAX_PLACES_PER_SPECTRUM = 100
_UUID, _X, _Y, _Z = "IMS:1000080", "IMS:1000050", "IMS:1000051", "IMS:1000052"
_OFFSET, _LENGTH, _ENCODED_LENGTH = "IMS:1000102", "IMS:1000103", "IMS:1000104"
_COLUMNS, _ROWS, _PIXEL_SIZE_X, _PIXEL_SIZE_Y = "IMS:1000042", "IMS:1000043", "IMS:1000046", "IMS:1000047"
_MZ_ARRAY, _INTENSITY_ARRAY = "MS:1000514", "MS:1000515"
_NO_COMPRESSION, _ZLIB = "MS:1000576", "MS:1000574"
_TYPES = {
    "IMS:1100000": "i1",
    "IMS:1100001": "<i2",
    **dict.fromkeys(("MS:1000519", "IMS:1000141"), "<i4"),
    **dict.fromkeys(("MS:1000522", "IMS:1000142"), "<i8"),
    "MS:1000520": "<f2",
    "MS:1000521": "<f4",
    "MS:1000523": "<f8",
}
# Exporters that confuse the numbers of 32- and 64-bit floats name them rightly (pyimzML, pull request 21).
_TYPES_BY_NAME = {
    **{f"{bits}-bit integer": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"{bits}-bit float": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
_UM_PER_UNIT = {"": 1.0, "micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4}


class _Parameter(NamedTuple):
    name: str
    value: str
    unit: str


_Parameters = Mapping[str, _Parameter]
"""Parameters of the controlled vocabulary by their accession."""


@dataclass(frozen=True)
class _Stored:
    """An array in the .ibd: where, how long, of which numbers."""

    offset: int
    length: int
    encoded_bytes: int
    dtype: np.dtype
    is_compressed: bool


@dataclass(frozen=True)
class _Spectrum:
    place: tuple[int, int, int]
    mz: _Stored
    intensity: _Stored


@dataclass(frozen=True)
class _Described:
    """What the XML says: of the file, of the raster, of each spectrum."""

    file: _Parameters
    raster: _Parameters
    spectra: list[_Spectrum]


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an image whose spectra share their m/z axis (mode 'continuous', or 'processed' with equal arrays).

    The channels are m/z, so the cube has no wavenumbers unless the caller gives some; provenance holds the m/z as
    `channel_values`. The image is the rectangle around the measured positions, from the lowest y down and the lowest
    x to the right (`first_position` in provenance, as (x, y) in the file); positions without a spectrum are zero in
    every channel and counted in `left_out`.

    Returns:
      the cube, intensities of shape (y, x, c).

    Raises:
      CubeError: if the .ibd is missing, cut or that of another file, or the spectra have different m/z.
    """
    path = Path(path)
    described_in, binary = _pair(path)
    with checks.Reading(path, "an imzML file"):
        described = _describe(described_in)
        spectra = described.spectra
        if not spectra:
            raise CubeError(f"{path}: found no spectrum; export the measurement again.")
        content = _content(binary, described)
        mz = _common_mz(content, spectra, path)
        places, shape, first = _places(described, path)
        types = {spectrum.intensity.dtype for spectrum in spectra}
        as_float = checks.as_float(np.empty(0, np.result_type(*types)), path).dtype
        held = math.prod(shape) * mz.size * as_float.itemsize
        checks.room(path, held, f"an image of {shape[0]} × {shape[1]} positions with {mz.size} m/z")
        values = np.zeros((*shape, mz.size), as_float)
        for (y, x), spectrum in zip(places, spectra, strict=True):
            values[y, x] = _array(content, spectrum.intensity, path)
        pixel_size_um, size_stated = _pixel_size_um(described.raster)
    missing = shape[0] * shape[1] - len(spectra)
    provenance = {
        "source": str(described_in),
        "format": "imzML",
        CHANNEL_NAME: "m/z",
        CHANNEL_VALUES: tuple(mz.tolist()),
        "axis": "m/z of the file; no wavenumbers",
        "direction": axis.direction(mz),
        "stored_type": ", ".join(sorted(str(each) for each in types)),
        "orientation": "as stored",
        "first_position": first,
        "pixel_size": size_stated,
    }
    if missing:
        provenance["left_out"] = f"{missing} of {shape[0] * shape[1]} positions have no spectrum; they are 0"
    if wavenumbers_cm1 is not None:
        provenance |= {"axis": "given by the caller", "direction": axis.direction(wavenumbers_cm1)}
    return Cube(values, wavenumbers_cm1, pixel_size_um, provenance)


def _pair(path: Path) -> tuple[Path, Path]:
    """The .imzML and the .ibd, whichever of them is given."""
    beside = checks.companion(path, (".ibd",) if path.suffix.lower() == ".imzml" else (".imzml",))
    if beside is None:
        raise CubeError(
            f"{path}: an imzML image is two files of one name, .imzML and .ibd; copy the missing one beside it."
        )
    return (path, beside) if path.suffix.lower() == ".imzml" else (beside, path)


def _describe(path: Path) -> _Described:
    groups: dict[str, dict[str, _Parameter]] = {}
    file: _Parameters = {}
    raster: dict[str, _Parameter] = {}
    spectra: list[_Spectrum] = []
    parent: ElementTree.Element | None = None
    for event, element in ElementTree.iterparse(path, events=("start", "end")):
        name = _local_name(element)
        if event == "start":
            parent = element if name == "spectrumList" else parent
        elif name == "fileContent":
            file = _parameters(element, groups)
        elif name == "referenceableParamGroup":
            groups[element.get("id", "")] = _parameters(element, groups)
        elif name == "scanSettings":
            raster |= _parameters(element, groups)
        elif name == "spectrum" and parent is not None:
            spectra.append(_spectrum(element, groups, path))
            parent.clear()  # else the whole file would lie in memory
    return _Described(file, raster, spectra)


def _local_name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _named(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (each for each in element.iter() if _local_name(each) == name)


def _parameters(
    element: ElementTree.Element, groups: Mapping[str, Mapping[str, _Parameter]]
) -> dict[str, _Parameter]:
    """The element's own parameters, and those of the groups it refers to."""
    found: dict[str, _Parameter] = {}
    for each in element:
        if _local_name(each) == "referenceableParamGroupRef":
            found |= groups.get(each.get("ref", ""), {})
        elif _local_name(each) == "cvParam":
            values = (each.get(key, "") for key in ("name", "value", "unitName"))
            found[each.get("accession", "")] = _Parameter(*values)
    return found


def _spectrum(
    element: ElementTree.Element, groups: Mapping[str, Mapping[str, _Parameter]], path: Path
) -> _Spectrum:
    scan: dict[str, _Parameter] = {}
    for each in _named(element, "scan"):
        scan |= _parameters(each, groups)
    arrays = [_parameters(each, groups) for each in _named(element, "binaryDataArray")]
    chosen = {}
    for kind in (_MZ_ARRAY, _INTENSITY_ARRAY):
        fitting = [each for each in arrays if kind in each]
        if len(fitting) != 1:
            raise CubeError(
                f"{path}: found {len(fitting)} arrays {kind} in the spectrum {element.get('id')!r}; required is "
                "one of m/z and one of intensities. Export the file again."
            )
        chosen[kind] = _stored(fitting[0], path)
    depth = _whole_number(scan, _Z, path) if _Z in scan else 1
    place = (_whole_number(scan, _X, path), _whole_number(scan, _Y, path), depth)
    return _Spectrum(place, chosen[_MZ_ARRAY], chosen[_INTENSITY_ARRAY])


def _whole_number(parameters: _Parameters, accession: str, path: Path) -> int:
    found = parameters.get(accession)
    if found is None or not found.value.strip().isdecimal():
        raise CubeError(
            f"{path}: {accession} is {found.value if found else 'missing'!r} in a spectrum; required is a whole "
            "number. The file is damaged or of another version; export it again."
        )
    return int(found.value)


def _stored(parameters: _Parameters, path: Path) -> _Stored:
    types = [_TYPES_BY_NAME.get(each.name, _TYPES.get(key, "")) for key, each in parameters.items()]
    types = [each for each in types if each]
    compressed = [each.name for key, each in parameters.items() if "compress" in each.name]
    if len(types) != 1:
        raise CubeError(f"{path}: an array states {len(types)} types of number; required is one. Damaged.")
    is_compressed = _ZLIB in parameters
    if compressed and not is_compressed and _NO_COMPRESSION not in parameters:
        raise CubeError(
            f"{path}: its arrays are stored with {compressed[0]!r}; read are plain numbers and zlib. Export it "
            "without compression."
        )
    dtype = np.dtype(types[0])
    length = _whole_number(parameters, _LENGTH, path)
    plain = length * dtype.itemsize
    encoded = _whole_number(parameters, _ENCODED_LENGTH, path) if _ENCODED_LENGTH in parameters else plain
    if is_compressed and _ENCODED_LENGTH not in parameters:
        raise CubeError(f"{path}: a compressed array does not state its bytes ({_ENCODED_LENGTH}). Damaged.")
    if plain > encoded * checks.DEFLATE_MAX_RATIO or (not is_compressed and plain != encoded):
        raise CubeError(
            f"{path}: an array of {length} values of {dtype} has {encoded} bytes, which cannot be. The file is "
            "damaged; export it again."
        )
    return _Stored(_whole_number(parameters, _OFFSET, path), length, encoded, dtype, is_compressed)


def _content(binary: Path, described: _Described) -> np.ndarray:
    """The bytes of the .ibd, mapped, once its name and its length are those of the XML."""
    arrays = [array for spectrum in described.spectra for array in (spectrum.mz, spectrum.intensity)]
    checks.size(binary, max(array.offset + array.encoded_bytes for array in arrays), "its .imzML")
    checks.size(binary, _UUID_BYTES, "an .ibd")
    content = np.memmap(binary, np.uint8, "r")
    if _UUID in described.file:
        stated = UUID(described.file[_UUID].value.strip())
        found = bytes(content[:_UUID_BYTES])
        if found not in (stated.bytes, stated.bytes_le):
            raise CubeError(
                f"{binary}: it begins with the identifier {found.hex()}, but the .imzML belongs to {stated.hex}. The "
                "two files are of different measurements; copy the two of one export."
            )
    return content


def _array(content: np.ndarray, stored: _Stored, path: Path) -> np.ndarray:
    raw = content[stored.offset : stored.offset + stored.encoded_bytes]
    if stored.is_compressed:
        required = stored.length * stored.dtype.itemsize
        plain = zlib.decompressobj().decompress(raw.tobytes(), required + 1)
        if len(plain) != required:
            raise CubeError(
                f"{path}: a compressed array has not the {required} bytes that it states. Damaged."
            )
        return np.frombuffer(plain, stored.dtype)
    return np.frombuffer(raw.tobytes(), stored.dtype)


def _common_mz(content: np.ndarray, spectra: list[_Spectrum], path: Path) -> np.ndarray:
    """The one m/z axis of all spectra, as stored."""
    different = list(dict.fromkeys(spectrum.mz for spectrum in spectra))
    first = _array(content, different[0], path)
    if not first.size or not np.all(np.isfinite(first)) or first[0] <= 0 or np.any(np.diff(first) < 0):
        raise CubeError(f"{path}: its m/z are not positive and rising; the file is damaged. Export it again.")
    unlike = sum(not np.array_equal(_array(content, each, path), first) for each in different[1:])
    if unlike:
        raise CubeError(
            f"{path}: {unlike} of {len(spectra)} spectra have other m/z than the first; a cube has one axis. Put them "
            "on common m/z (bins or aligned peaks: `bin` or `peakAlign` in Cardinal, a feature list in SCiLS Lab, "
            "'continuous' imzML of your export), and save that."
        )
    if any(spectrum.intensity.length != first.size for spectrum in spectra):
        raise CubeError(f"{path}: a spectrum has not one intensity for each of {first.size} m/z; damaged.")
    return first.astype(np.float64)


def _places(
    described: _Described, path: Path
) -> tuple[list[tuple[int, int]], tuple[int, int], tuple[int, int]]:
    """Row and column of each spectrum, the (y, x) shape of the image, and its first position (x, y) in the file."""
    found = np.array([spectrum.place for spectrum in described.spectra], np.int64)
    layers = np.unique(found[:, 2])
    if layers.size > 1:
        raise CubeError(
            f"{path}: found {layers.size} sections (z = {layers[0]} … {layers[-1]}); save each as a file of its own."
        )
    lowest, highest = found[:, :2].min(axis=0), found[:, :2].max(axis=0)
    extents = highest - lowest + 1
    if np.count_nonzero(lowest == 0) == 1:
        raise CubeError(f"{path}: its lowest x and y are {lowest.tolist()}; positions count from 1. Damaged.")
    for at, accession in enumerate((_COLUMNS, _ROWS)):
        # Writers state the number of pixels, or the highest position of a region that begins elsewhere.
        required = min(highest[at], extents[at])
        if accession in described.raster and required > _whole_number(described.raster, accession, path):
            raise CubeError(
                f"{path}: its positions reach from {lowest[at]} to {highest[at]} along {'xy'[at]}, but "
                f"{described.raster[accession].value} pixels are stated. Damaged; export it again."
            )
    width, height = (int(extent) for extent in extents)
    if width * height > _MAX_PLACES_PER_SPECTRUM * len(found):
        raise CubeError(
            f"{path}: {len(found)} spectra lie in a rectangle of {height} × {width} positions; that is no image. "
            "Save each region as a file of its own."
        )
    places = [(int(y), int(x)) for x, y in found[:, :2] - lowest]
    if len(set(places)) != len(places):
        raise CubeError(f"{path}: two spectra have the same position. Export one spectrum for each pixel.")
    return places, (height, width), (int(lowest[0]), int(lowest[1]))


def _pixel_size_um(raster: _Parameters) -> tuple[float | None, str]:
    """Edge of a pixel in µm and how it is stated; y is that of x where it is left out (vocabulary: square pixels)."""
    if _PIXEL_SIZE_X not in raster:
        return None, "not stated"
    sizes, words = [], []
    for each in (raster[_PIXEL_SIZE_X], raster.get(_PIXEL_SIZE_Y, raster[_PIXEL_SIZE_X])):
        words.append(f"{each.value} {each.unit}".strip())
        sizes.append(float(each.value) * _UM_PER_UNIT.get(each.unit, np.nan))
    return pixel_size.judged(sizes, f"pixel size {' × '.join(words)} (x × y)")
