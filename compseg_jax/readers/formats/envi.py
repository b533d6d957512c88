"""ENVI: a text header (.hdr) and a raw data file, memory-mapped.

Fields as in the "ENVI Header Files" page of the ENVI documentation. Parsed here because the `spectral`
library cannot read the Latin-1 headers Windows instruments write, leaves them open, and does not compare the
announced size with the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError

_DATA_SUFFIXES = ("", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ".bin")
_MAX_HEADER_BYTES = 1 << 24
# ENVI data type codes of real numbers, as NumPy types without byte order.
_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
# Order of the file's extents for each interleave, and how they become (line, sample, band).
_INTERLEAVES = {
    "bsq": ((2, 0, 1), (1, 2, 0)),
    "bil": ((0, 2, 1), (0, 2, 1)),
    "bip": ((0, 1, 2), (0, 1, 2)),
}
_FIELD = re.compile(r"^[ \t]*([^=;{}\n]+?)[ \t]*=[ \t]*(\{[^{}]*\}|[^{}\n]*?)[ \t]*$", re.MULTILINE)
_ONCE = ("samples", "lines", "bands", "header offset", "data type", "interleave", "byte order", "wavelength")
# Agilent's exports state no unit, but always this offset (255 float32 of the tile's header) and title.
_AGILENT_OFFSET = 1020


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an ENVI cube, given its header or its data file; any interleave, type and byte order.

    Floats in the machine's byte order stay on disk (memory-mapped); other types are converted. The unit
    of `wavelength` must be stated in `wavelength units`; only Agilent's own export, which never states
    one, is known to mean cm⁻¹.

    Returns:
      the cube, absorbance of shape (lines, samples, bands), in the band order of the file.

    Raises:
      CubeError: if header and data do not belong together, or the axis or its unit is missing.
    """
    path = Path(path)
    with checks.Reading(path, "an ENVI cube"):
        header_path, data_path = _pair(path)
        fields = header(header_path)
        values = checks.as_float(_mapped(fields, header_path, data_path), path)
        found, stated = wavenumbers(fields, header_path, given=wavenumbers_cm1 is not None)
    found, stated = axis.settle(found, wavenumbers_cm1, path, stated)
    provenance = {
        "source": str(data_path),
        "header": str(header_path),
        "format": "ENVI",
        "interleave": fields["interleave"].lower(),
        "axis": stated,
        "direction": axis.direction(found),
    }
    return Cube(values, found, _pixel_size_um(fields), provenance)


def header(path: Path) -> dict[str, str]:
    """The fields of an ENVI header, names in lower case; a list keeps its braces.

    Raises:
      CubeError: if the file is not an ENVI header.
    """
    with checks.Reading(path, "an ENVI header"):
        if path.stat().st_size > _MAX_HEADER_BYTES:
            raise CubeError(f"{path}: {path.stat().st_size} bytes are too many for an ENVI header.")
        content = path.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        text = text.replace("\r\n", "\n")
        if not text.startswith("ENVI"):
            raise CubeError(f"{path}: it begins with {text[:8]!r}; an ENVI header begins with 'ENVI'.")
        matches = [(name.lower(), value.strip()) for name, value in _FIELD.findall(text)]
        names = [name for name, _ in matches]
        for name in _ONCE:
            if names.count(name) > 1:
                raise CubeError(
                    f"{path}: the header states `{name}` {names.count(name)} times; state it once."
                )
        return dict(matches)


def wavenumbers(fields: dict[str, str], path: Path, *, given: bool) -> tuple[np.ndarray | None, str]:
    """The axis of an ENVI header in cm⁻¹ and how it is stated; None when it is absent or `given`.

    Raises:
      CubeError: if the axis has no unit, another number of values than bands, or is damaged.
    """
    if given or "wavelength" not in fields:
        return None, "the header has no field `wavelength`"
    values = np.array(_listed(fields["wavelength"]))
    if values.size != _whole_number(fields, "bands", path):
        raise CubeError(f"{path}: found {values.size} wavelengths for {fields['bands']} bands.")
    unit = fields.get("wavelength units")
    if unit is None and _is_agilent(fields):
        return axis.to_wavenumbers_cm1(values, "cm-1", path), "wavelength, cm⁻¹ as in every Agilent export"
    if unit is None:
        raise CubeError(
            f"{path}: the header lists wavelengths without `wavelength units`. Add a line such as "
            "`wavelength units = Wavenumber` (or Nanometers, Micrometers), or give wavenumbers_cm1=."
        )
    return axis.to_wavenumbers_cm1(values, unit, path), f"wavelength, {unit} in the file"


def _is_agilent(fields: dict[str, str]) -> bool:
    offset = fields.get("header offset", "")
    return offset == str(_AGILENT_OFFSET) and "IR Image" in fields.get("description", "")


def _pair(path: Path) -> tuple[Path, Path]:
    """Header and data file of a cube, the name of one of them being given."""
    if path.suffix.lower() == ".hdr":
        found = checks.companion(path, _DATA_SUFFIXES)
        if found is None:
            raise CubeError(
                f"{path}: no data file beside it; looked for {path.stem} with the suffixes "
                f"{', '.join(repr(suffix) for suffix in _DATA_SUFFIXES)}. Put it there."
            )
        return path, found
    found = checks.companion(path, (".hdr",)) or checks.companion(path.with_name(path.name + ".x"), (".hdr",))
    if found is None:
        raise CubeError(f"{path}: no ENVI header {path.stem}.hdr or {path.name}.hdr beside it; put it there.")
    return found, path


def _mapped(fields: dict[str, str], header_path: Path, data_path: Path) -> np.ndarray:
    """The data file as (line, sample, band), mapped once its size is that of the header."""
    lines, samples, bands, kind, order = (
        _whole_number(fields, name, header_path)
        for name in ("lines", "samples", "bands", "data type", "byte order")
    )
    offset = _whole_number({"header offset": "0", **fields}, "header offset", header_path)
    interleave = fields.get("interleave", "").lower()
    if interleave not in _INTERLEAVES or order not in (0, 1) or kind not in _TYPES:
        raise CubeError(
            f"{header_path}: found interleave {interleave!r}, byte order {order}, data type {kind}; required "
            f"are one of {', '.join(_INTERLEAVES)}, 0 or 1, and one of {sorted(_TYPES)} (real numbers)."
        )
    shape, dtype = (lines, samples, bands), np.dtype(("<", ">")[order] + _TYPES[kind])
    number = checks.count(shape, header_path, "the cube")
    required = offset + number * dtype.itemsize
    checks.size(data_path, required, f"the cube of its header ({shape}, type {kind})", exact=True)
    stored, wanted = _INTERLEAVES[interleave]
    mapped = np.memmap(data_path, dtype, "r", offset, tuple(shape[at] for at in stored))
    return mapped.transpose(wanted)


def _whole_number(fields: dict[str, str], name: str, path: Path) -> int:
    value = fields.get(name, "nothing")
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise CubeError(f"{path}: `{name}` is {value}; required is a number. Export the header again.")
    return int(value)


def _listed(value: str) -> list[float]:
    return [float(part) for part in value.strip("{}").split(",") if part.strip()]


def _pixel_size_um(fields: dict[str, str]) -> float | None:
    """`pixel size` is stated in metres (ENVI Header Files); kept where pixels are square."""
    words = fields.get("pixel size", "{}").strip("{}").split(",")[:2]
    sizes = [float(word) for word in words if word.strip()]
    return sizes[0] * 1e6 if len(sizes) == 2 and sizes[0] == sizes[1] > 0 else None
