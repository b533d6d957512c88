"""Bruker OPUS files: single spectra, series, and FPA or mapping images.

Layout as documented by the brukeropus and octavvs projects: a directory of typed blocks; each data block
has a parameter block with its axis (FXV, LXV, NPT), and an image also its extent (NPX, NPY) and its steps in µm
(DDX, DDY). A block of many spectra begins with how many there are, their size, and the runs that were stored, which
are fewer where a measurement was broken off.

Parsed here because brukeropus repeats for ever on a parameter of negative length and reads an unknown point format
as float32.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra

_MAGIC = b"\x0a\x0a\xfe\xfe"
_RESULT = 0b1111  # low four bits of a block's type: amplitude of a result, not of a single measurement
_IMAGE = 2  # bits 19 to 21: a series of spectra
_NUMBERS = {1: "<f4", 2: "<i4"}  # DPF, the format of the points
# What a result block holds (bits 10 to 16), in the order in which one is chosen.
_QUANTITIES = {
    4: "absorbance",
    16: "ATR",
    5: "transmittance",
    12: "reflectance",
    15: "log reflectance",
    6: "Kubelka-Munk",
    10: "Raman",
}
_STORE_TABLE_AT = 24
# Most pixels for each that was measured: beyond it the extent of an image is forged.
_MOST_UNMEASURED = 16


@dataclass(frozen=True)
class _Result:
    quantity: int
    start: int
    is_image: bool
    content: memoryview
    parameters: dict[str, Any]


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an OPUS image; its spectra are stored line after line, x fastest.

    Pixels of an image that was broken off are zero and counted in provenance `left_out`.

    Returns:
      the cube, shape (y, x, c); provenance `quantity` names what was measured.

    Raises:
      CubeError: if the file is damaged or holds no image.
    """
    path = Path(path)
    with checks.Reading(path, "an OPUS image"):
        result, found = _chosen(path, is_image=True)
        parameters = result.parameters
        if not {"NPX", "NPY"} <= parameters.keys():
            raise CubeError(f"{path}: it holds a series of spectra, not an image; read it with read_spectra.")
        width, height, points = (int(parameters[name]) for name in ("NPX", "NPY", "NPT"))
        number = checks.count((height, width), path, "the image")
        values, runs = _many(result, points, number, path)
        measured = len(values)
        if measured < number:
            if number > _MOST_UNMEASURED * measured:
                raise CubeError(f"{path}: found {measured} spectra for {height} × {width} pixels. Damaged.")
            image = np.zeros((number, points), values.dtype)
            image[runs] = values
            values = image
        size_um, size = None, "not stated"
        if {"DDX", "DDY"} <= parameters.keys():
            size_um, size = pixel_size.judged(
                [abs(float(parameters[name])) for name in ("DDY", "DDX")], "DDX and DDY"
            )
    found, stated = axis.settle(found, wavenumbers_cm1, path, "FXV, LXV and NPT, cm⁻¹ in the file")
    provenance = {**_provenance(path, result, found, stated), "orientation": "as stored", "pixel_size": size}
    if measured < number:
        provenance["left_out"] = f"{number - measured} of {number} pixels were not measured; they are zero"
    return Cube(checks.as_float(values, path).reshape(height, width, points), found, size_um, provenance)


def read_spectra(path: str | os.PathLike[str]) -> Spectra:
    """Reads the result spectrum of an OPUS file: absorbance where there is one, of several the last saved; or a series.

    Raises:
      CubeError: if the file is damaged or holds no result.
    """
    path = Path(path)
    with checks.Reading(path, "an OPUS spectrum"):
        result, found = _chosen(path, is_image=False)
        if result.is_image:
            values, _ = _many(result, found.size, None, path)
            provenance = _provenance(path, result, found, "FXV, LXV and NPT, cm⁻¹ in the file")
            provenance["measurement"] = f"a series of {len(values)} spectra"
            return Spectra(checks.as_float(values, path), found, (), None, provenance)
        parameters, points = result.parameters, found.size
        values = np.frombuffer(result.content, _number_format(parameters, path), points)
        values = _scaled(values, parameters)
        extremes = (float(values.min()), float(values.max()))
        stated = (parameters.get("MNY", extremes[0]), parameters.get("MXY", extremes[1]))
        if not np.allclose(extremes, stated, rtol=1e-5, atol=1e-7):
            raise CubeError(f"{path}: its values lie in {extremes}, stated are {stated}. Damaged.")
    provenance = _provenance(path, result, found, "FXV, LXV and NPT, cm⁻¹ in the file")
    return Spectra(checks.as_float(values[np.newaxis], path), found, (), None, provenance)


def _many(result: _Result, points: int, number: int | None, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The spectra of an image or series (n, c) that were stored, and the run of each, (n,)."""
    _, stated, offset, data_bytes, info_bytes, ranges = struct.unpack_from("<6i", result.content, 0)
    stride = data_bytes + info_bytes
    if data_bytes != 4 * points or info_bytes < 0 or offset < _STORE_TABLE_AT:
        raise CubeError(
            f"{path}: found spectra of {data_bytes} bytes for {points} points. The file is damaged."
        )
    stored = stated
    bounds = np.array([[0, stated - 1]])
    if number not in (None, stated) or offset + stated * stride > len(result.content):
        if not 0 < ranges <= (offset - _STORE_TABLE_AT) // 8:
            raise CubeError(f"{path}: found {stated} spectra for {number} pixels, in {ranges} runs. Damaged.")
        bounds = (
            np.frombuffer(result.content, "<i4", 2 * ranges, _STORE_TABLE_AT).reshape(-1, 2).astype(np.int64)
        )
        lengths = bounds[:, 1] - bounds[:, 0] + 1
        stored = int(lengths.sum())
        most = number if number is not None else stated
        is_rising = np.all(lengths > 0) and np.all(np.diff(bounds.ravel())[1::2] > 0)
        if not is_rising or bounds[0, 0] < 0 or bounds[-1, 1] >= most or stated not in (stored, most):
            raise CubeError(
                f"{path}: found {stated} spectra for {number} pixels, stored in the runs {bounds[:3].tolist()}. The "
                "file is damaged; save it again in OPUS."
            )
    if stored < 1 or offset + stored * stride > len(result.content):
        raise CubeError(
            f"{path}: {stored} spectra need {stored * stride} bytes, too many for their block. Cut."
        )
    table = np.frombuffer(result.content, np.uint8, stored * stride, offset).reshape(stored, stride)
    values = np.ascontiguousarray(table[:, :data_bytes]).view(_number_format(result.parameters, path))
    runs = np.concatenate([np.arange(first, last + 1) for first, last in bounds])
    return _scaled(values, result.parameters), runs


def _provenance(path: Path, result: _Result, found: np.ndarray, stated: str) -> dict[str, Any]:
    return {
        "source": str(path),
        "format": "Bruker OPUS",
        "quantity": _QUANTITIES[result.quantity],
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "int32" if result.parameters.get("DPF", 1) == 2 else "float32",
    }


def _chosen(path: Path, *, is_image: bool) -> tuple[_Result, np.ndarray]:
    """The result to read and its axis."""
    content = memoryview(np.memmap(path, np.uint8, "r"))
    if bytes(content[:4]) != _MAGIC:
        raise CubeError(f"{path}: it begins with {bytes(content[:4])!r}; an OPUS file begins {_MAGIC!r}.")
    blocks = _directory(content)
    parameters = {kind: _parameters(body) for kind, _, body in blocks if kind >> 4 & 0x3F == 1}
    results = [
        _Result(kind >> 10 & 0x7F, start, kind >> 19 & 7 == _IMAGE, body, parameters[kind | 1 << 4])
        for kind, start, body in blocks
        if kind & 0xF == _RESULT and kind >> 4 & 0x3F == 0 and kind >> 10 & 0x7F in _QUANTITIES
        if kind | 1 << 4 in parameters
    ]
    fitting = [each for each in results if each.is_image == is_image]
    if not fitting and not is_image:
        fitting = [each for each in results if "NPX" not in each.parameters]
    if not fitting:
        advice = "read it with read" if results and not is_image else "it holds single spectra, read_spectra"
        raise CubeError(
            f"{path}: found no {'image' if is_image else 'result spectrum'} ("
            f"{advice if results else 'only single-channel measurements; save the result in OPUS'})."
        )
    ranks = list(_QUANTITIES)
    result = min(fitting, key=lambda each: (ranks.index(each.quantity), -each.start))
    points = int(result.parameters["NPT"])
    if len(result.content) < 4 * points:
        raise CubeError(f"{path}: found {len(result.content)} bytes for {points} points. Damaged.")
    found = _axis(result.parameters, path)
    _refuse_disagreement(result.parameters, list(parameters.values()), path)
    return result, found


def _directory(content: memoryview) -> list[tuple[int, int, memoryview]]:
    """Type, start and content of each block, all of them inside the file."""
    start, most, number = struct.unpack_from("<3i", content, 12)
    if not (start >= 24 and 0 < number <= most and start + 12 * most <= len(content)):
        raise ValueError(f"a directory of {number} of {most} blocks at {start}")
    blocks = []
    for at in range(start, start + 12 * number, 12):
        kind, words, begin = struct.unpack_from("<3i", content, at)
        if begin <= 0:
            break
        if words < 0 or begin + 4 * words > len(content):
            raise ValueError(f"a block of {4 * words} bytes at {begin} in a file of {len(content)}")
        blocks.append((kind, begin, content[begin : begin + 4 * words]))
    return blocks


def _parameters(body: memoryview) -> dict[str, Any]:
    """Three-letter names with whole numbers (type 0), floats (type 1) or text."""
    found: dict[str, Any] = {}
    at = 0
    while at + 4 <= len(body):
        name = bytes(body[at : at + 3]).decode("ascii")
        if name == "END":
            break
        kind, words = struct.unpack_from("<2H", body, at + 4)
        if kind == 0:
            (found[name],) = struct.unpack_from("<i", body, at + 8)
        elif kind == 1:
            (found[name],) = struct.unpack_from("<d", body, at + 8)
        else:
            raw = bytes(body[at + 8 : at + 8 + 2 * words])
            found[name] = raw.split(b"\0")[0].decode("latin-1")
        at += 8 + 2 * words
    return found


def _number_format(parameters: dict[str, Any], path: Path) -> str:
    if parameters.get("DPF", 1) not in _NUMBERS:
        raise CubeError(f"{path}: its points have format {parameters['DPF']}; read are 1 (float) and 2.")
    return _NUMBERS[parameters.get("DPF", 1)]


def _scaled(values: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    factor = np.float32(parameters.get("CSF", 1.0))
    return values if factor == 1 else values * factor


def _axis(parameters: dict[str, Any], path: Path) -> np.ndarray:
    first, last, points = (parameters[name] for name in ("FXV", "LXV", "NPT"))
    if parameters.get("DXU") != "WN" or not 1 < points < 1 << 24 or not first != last:
        raise CubeError(
            f"{path}: its axis is {points} points from {first:g} to {last:g} in {parameters.get('DXU')!r}; "
            "required are wavenumbers ('WN'). Convert it in OPUS."
        )
    return axis.to_wavenumbers_cm1(np.linspace(first, last, points), "cm-1", path)


def _refuse_disagreement(chosen: dict[str, Any], others: list[dict[str, Any]], path: Path) -> None:
    """Spectra measured together share first, last and number; one of the three alone differing is damage."""
    names = ("FXV", "LXV", "NPT")
    for other in others:
        differing = [name for name in names if other.get(name) != chosen[name]]
        if len(differing) == 1 and other.get("DXU") == "WN":
            name = differing[0]
            raise CubeError(
                f"{path}: {name} is {chosen[name]} for the result but {other.get(name)} for a spectrum "
                "measured with it. The file is damaged; save it again in OPUS."
            )
