"""ENVI: a text header (.hdr) and a raw data file, memory-mapped.

Fields, their defaults and units as in the "ENVI Header Files" page of the ENVI documentation. Parsed here because the
`spectral` library cannot read the Latin-1 headers Windows instruments write, leaves them open, and does not compare
the announced size with the file. Thermo's OMNIC writes no `byte order` and states the unit of the wavelengths in
`z plot titles` only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, ignored_value, pixel_size, text_lines
from compseg_jax.readers.cube import Cube, CubeError

_DATA_SUFFIXES = ("", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ".bin", ".spe", ".cube", ".hsi")
_MAX_HEADER_BYTES = 1 << 24
# ENVI data type codes of real numbers, as NumPy types without byte order.
_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX_TYPES = (6, 9)
# Order of the file's extents for each interleave, and how they become (line, sample, band).
_INTERLEAVES = {
    "bsq": ((2, 0, 1), (1, 2, 0)),
    "bil": ((0, 2, 1), (0, 2, 1)),
    "bip": ((0, 1, 2), (0, 1, 2)),
}
_COMMENT = re.compile(r"^[ \t]*;.*$", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]*([^=;{}\n]+?)[ \t]*=[ \t]*(\{[^{}]*\}|[^{}\n]*?)[ \t]*$", re.MULTILINE)
_ONCE = (
    *("samples", "lines", "bands", "header offset", "data type", "interleave", "byte order", "wavelength"),
    *("wavelength units", "bbl", "data ignore value"),
)
_DEFAULTS = {"header offset": "0", "byte order": "0"}
# Agilent's exports state no unit, but always this offset (255 float32 of the tile's header) and title.
_AGILENT_OFFSET = 1020
_UM_PER_UNIT = {
    **dict.fromkeys(("meters", "metres", "meter", "metre", "m"), 1e6),
    **dict.fromkeys(("millimeters", "millimetres", "millimeter", "millimetre", "mm"), 1e3),
    **dict.fromkeys(
        ("micrometers", "micrometres", "micrometer", "micrometre", "microns", "micron", "um", "µm", "μm"), 1.0
    ),
    **dict.fromkeys(("nanometers", "nanometres", "nanometer", "nanometre", "nm"), 1e-3),
}
# Larger images are read by windows where values are to be left out; smaller ones whole, with the number of them.
_WHOLE_BYTES = 1 << 28


@dataclass(frozen=True)
class _LeftOut:
    """What a header excludes: bands by `bbl`, pixels by `data ignore value`."""

    good: np.ndarray
    """Which bands are good, bool, shape (bands,)."""
    ignored: np.generic | None
    """The value that stands for none, of the type of the data."""

    @property
    def is_nothing(self) -> bool:
        return bool(self.good.all()) and self.ignored is None

    def applied(self, values: np.ndarray, path: Path) -> tuple[np.ndarray, int, int]:
        """Good bands as floats, zero where pixels are ignored; how many are, and how many of them in part only."""
        kept = np.array(values[:, :, self.good])
        if self.ignored is None:
            return checks.as_float(kept, path), 0, 0
        return ignored_value.zeroed(kept, self.ignored, path)

    def said(self, pixels: tuple[int, int, int] | None) -> dict[str, str]:
        """The entry of a provenance; `pixels` are those excluded, in part, and all, None where not counted."""
        words = []
        if not self.good.all():
            bad = np.flatnonzero(~self.good) + 1
            words.append(f"{bad.size} of {self.good.size} bands by bbl ({_ranges(bad)})")
        if self.ignored is not None:
            words.append(ignored_value.in_words("data ignore value", self.ignored, pixels))
        words = [each for each in words if each]
        return {"left_out": "; ".join(words)} if words else {}


@dataclass(frozen=True)
class PartialScan:
    """An image of which bands or pixels are left out, read by windows (`readers.scan.Scan`)."""

    mapped: Path
    header_path: Path
    left_out: _LeftOut
    shape: tuple[int, int, int]
    wavenumbers_cm1: np.ndarray
    pixel_size_um: float | None
    provenance: Mapping[str, Any]

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c)."""
        values = _mapped(header(self.header_path), self.header_path, self.mapped)
        part, _, _ = self.left_out.applied(values[rows, columns], self.mapped)
        return np.ascontiguousarray(part[:, :, channels])


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an ENVI cube, given its header or its data file; any interleave, type and byte order.

    Floats in the machine's byte order stay on disk (memory-mapped) where nothing is left out; other types are
    converted. The unit of `wavelength` must be stated in `wavelength units` or `z plot titles`; only Agilent's own
    export, which never states one, is known to mean cm⁻¹. Bands that `bbl` calls bad are left out; pixels that hold
    the `data ignore value` are zero in every channel.

    Returns:
      the cube, absorbance of shape (lines, samples, bands), in the band order of the file.

    Raises:
      CubeError: if header and data do not belong together, or the axis or its unit is missing.
    """
    path = Path(path)
    with checks.Reading(path, "an ENVI cube"):
        opened = _open(path, wavenumbers_cm1)
        if opened.left_out.is_nothing:
            values, said = checks.as_float(opened.values, path), {}
        else:
            values, excluded, in_part = opened.left_out.applied(opened.values, path)
            said = opened.left_out.said((excluded, in_part, opened.values.shape[0] * opened.values.shape[1]))
    return Cube(
        values, opened.wavenumbers_cm1, opened.pixel_size_um, {**opened.provenance, **_joined(opened, said)}
    )


def open_scan(path: Path, *, wavenumbers_cm1: np.ndarray | None = None) -> PartialScan | None:
    """A large image of which something is left out, by windows; None where `read` maps it or it is small."""
    with checks.Reading(path, "an ENVI cube"):
        opened = _open(path, wavenumbers_cm1)
        if opened.left_out.is_nothing or opened.values.nbytes <= _WHOLE_BYTES:
            return None
        height, width, _ = opened.values.shape
        provenance = {**opened.provenance, **_joined(opened, opened.left_out.said(None))}
        shape = (height, width, opened.wavenumbers_cm1.size)
        return PartialScan(
            opened.data_path,
            opened.header_path,
            opened.left_out,
            shape,
            opened.wavenumbers_cm1,
            opened.pixel_size_um,
            provenance,
        )


@dataclass(frozen=True)
class _Opened:
    data_path: Path
    header_path: Path
    values: np.ndarray
    """As stored, (lines, samples, bands)."""
    left_out: _LeftOut
    wavenumbers_cm1: np.ndarray
    """Of the bands that are kept."""
    pixel_size_um: float | None
    not_applied: str
    provenance: dict[str, Any]


def _joined(opened: _Opened, said: dict[str, str]) -> dict[str, str]:
    words = [words for words in (said.get("left_out", ""), opened.not_applied) if words]
    return {"left_out": "; ".join(words)} if words else {}


def _open(path: Path, given: np.ndarray | None) -> _Opened:
    header_path, data_path = _pair(path)
    fields = header(header_path)
    data_path = _of_size(fields, header_path, data_path, path)
    values = _mapped(fields, header_path, data_path)
    found, stated = wavenumbers(fields, header_path, given=given is not None)
    found, stated = axis.settle(found, given, path, stated)
    left_out = _left_out(fields, values, header_path)
    if found.size == left_out.good.size:
        found = found[left_out.good]
    pixel_size_um, of_pixel = _pixel_size_um(fields)
    provenance = {
        "source": str(data_path),
        "header": str(header_path),
        "format": "ENVI",
        "interleave": fields["interleave"].lower(),
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": str(values.dtype.newbyteorder("=")),
        **_quantity(fields),
        **of_pixel,
    }
    return _Opened(
        data_path, header_path, values, left_out, found, pixel_size_um, _not_applied(fields), provenance
    )


def header(path: Path) -> dict[str, str]:
    """The fields of an ENVI header, names in lower case; a list keeps its braces.

    Raises:
      CubeError: if the file is not an ENVI header.
    """
    with checks.Reading(path, "an ENVI header"):
        if path.stat().st_size > _MAX_HEADER_BYTES:
            raise CubeError(f"{path}: {path.stat().st_size} bytes are too many for an ENVI header.")
        content = path.read_bytes()
        _refuse_other_program(content, path)
        text = text_lines.decoded(content, path)[0].replace("\r\n", "\n").replace("\r", "\n")
        if not text.startswith("ENVI"):
            raise CubeError(f"{path}: it begins with {text[:8]!r}; an ENVI header begins with 'ENVI'.")
        found: dict[str, str] = {}
        for name, value in _FIELD.findall(_COMMENT.sub("", text)):
            name, value = name.lower(), value.strip()
            if name in _ONCE and found.get(name, value) != value:
                raise CubeError(
                    f"{path}: the header states `{name}` twice, as {found[name][:40]} and {value[:40]}; state it once."
                )
            found[name] = value
        return found


def _refuse_other_program(content: bytes, path: Path) -> None:
    """Names the other kinds of files whose names end in .hdr."""
    of_analyze = len(content) >= 348 and 348 in (
        int.from_bytes(content[:4], "little"),
        int.from_bytes(content[:4], "big"),
    )
    if of_analyze:
        raise CubeError(
            f"{path}: this is a header of NIfTI or Analyze (medical images), not of ENVI. Save the image as one .nii."
        )
    if content.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise CubeError(
            f"{path}: this is a high-dynamic-range picture, not a header of ENVI. Save it as TIFF."
        )
    if re.match(rb"\s*(BYTEORDER|NROWS|LAYOUT)\b", content[:64], re.IGNORECASE):
        raise CubeError(f"{path}: this is a header of ESRI, not of ENVI. Export the image as ENVI or TIFF.")
    if content.lstrip().startswith(b"ScanDefinition"):
        raise CubeError(
            f"{path}: this is a header of an X-ray microscope's scan (.xim), not of ENVI. Export the image as HDF5."
        )


def holds(path: Path) -> bool:
    """Whether a .hdr file is a header of another program, which `read` names."""
    with path.open("rb") as stream:
        content = stream.read(4096)
    try:
        _refuse_other_program(content, path)
    except CubeError:
        return True
    return False


def wavenumbers(fields: dict[str, str], path: Path, *, given: bool) -> tuple[np.ndarray | None, str]:
    """The axis of an ENVI header in cm⁻¹ and how it is stated; None when it is absent or `given`.

    Raises:
      CubeError: if the axis has no unit, another number of values than bands, or is damaged.
    """
    if given or "wavelength" not in fields:
        return None, "the header has no field `wavelength`"
    values = np.array(_listed(fields["wavelength"], "wavelength", path))
    if values.size != _whole_number(fields, "bands", path):
        raise CubeError(f"{path}: found {values.size} wavelengths for {fields['bands']} bands.")
    unit, where = fields.get("wavelength units"), ""
    if unit is None or axis.unit_named(unit) is None:
        title = fields.get("z plot titles", "").strip("{}").partition(",")[0].strip()
        if axis.unit_named(title) is not None:
            unit, where = title, " (z plot titles)"
    if unit is None and _is_agilent(fields):
        return axis.to_wavenumbers_cm1(values, "cm-1", path), "wavelength, cm⁻¹ as in every Agilent export"
    if unit is None:
        raise CubeError(
            f"{path}: the header lists wavelengths without `wavelength units`. Add a line such as "
            "`wavelength units = Wavenumber` (or Nanometers, Micrometers), or give wavenumbers_cm1=."
        )
    return axis.to_wavenumbers_cm1(values, unit, path), f"wavelength, {unit} in the file{where}"


def _quantity(fields: dict[str, str]) -> dict[str, str]:
    """What the values are, where the second of the `z plot titles` says it."""
    title = fields.get("z plot titles", "").strip("{}").partition(",")[2].strip()
    return {"quantity": title} if re.search(r"transmi|absorb|%", title, re.IGNORECASE) else {}


def _is_agilent(fields: dict[str, str]) -> bool:
    offset = fields.get("header offset", "")
    return offset == str(_AGILENT_OFFSET) and "IR Image" in fields.get("description", "")


def _pair(path: Path) -> tuple[Path, Path]:
    """Header and data file of a cube, the name of one of them being given."""
    if path.suffix.lower() == ".hdr":
        header(path)
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


def _of_size(fields: dict[str, str], header_path: Path, data_path: Path, path: Path) -> Path:
    """The data file: the one given, else of those beside the header the first whose size is that of the header."""
    if path != header_path:
        return data_path
    layout = _layout(fields, header_path)
    beside = [checks.companion(header_path, (suffix,)) for suffix in _DATA_SUFFIXES]
    fitting = [each for each in beside if each is not None and each.stat().st_size == layout.required]
    return fitting[0] if fitting else data_path


@dataclass(frozen=True)
class _Layout:
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    interleave: str

    @property
    def required(self) -> int:
        """Bytes of the data file."""
        lines, samples, bands = self.shape
        return self.offset + lines * samples * bands * self.dtype.itemsize


def _layout(fields: dict[str, str], path: Path) -> _Layout:
    """What the header announces, its words checked, its size not."""
    fields = {**_DEFAULTS, **fields}
    lines, samples, bands, kind, order, offset = (
        _whole_number(fields, name, path)
        for name in ("lines", "samples", "bands", "data type", "byte order", "header offset")
    )
    interleave = fields.get("interleave", "").lower()
    if "spectral library" in fields.get("file type", "").lower():
        raise CubeError(
            f"{path}: this is a spectral library, which holds spectra and no image. Export its spectra as a text table."
        )
    if fields.get("file compression", "0") != "0":
        raise CubeError(
            f"{path}: its data are compressed (`file compression`). Export them without compression."
        )
    if kind in _COMPLEX_TYPES:
        raise CubeError(
            f"{path}: data type {kind} holds complex numbers, such as interferograms or phases; export the absorbance."
        )
    if interleave not in _INTERLEAVES or order not in (0, 1) or kind not in _TYPES:
        raise CubeError(
            f"{path}: found interleave {interleave!r}, byte order {order}, data type {kind}; required "
            f"are one of {', '.join(_INTERLEAVES)}, 0 or 1, and one of {sorted(_TYPES)} (real numbers)."
        )
    checks.count((lines, samples, bands), path, "the cube")
    return _Layout((lines, samples, bands), np.dtype(("<", ">")[order] + _TYPES[kind]), offset, interleave)


def _mapped(fields: dict[str, str], header_path: Path, data_path: Path) -> np.ndarray:
    """The data file as (line, sample, band), mapped once its size is that of the header."""
    layout = _layout(fields, header_path)
    found = data_path.stat().st_size
    if found > layout.required:
        raise CubeError(
            f"{data_path}: found {found} bytes, but its header ({layout.shape}, {layout.dtype}, header offset "
            f"{layout.offset}) needs {layout.required}. The header belongs to another file, or the data begin later: "
            f"then state `header offset = {layout.offset + found - layout.required}`."
        )
    checks.size(
        data_path, layout.required, f"the cube of its header ({layout.shape}, {layout.dtype})", exact=True
    )
    stored, wanted = _INTERLEAVES[layout.interleave]
    shape = tuple(layout.shape[at] for at in stored)
    return np.memmap(data_path, layout.dtype, "r", layout.offset, shape).transpose(wanted)


def _left_out(fields: dict[str, str], values: np.ndarray, path: Path) -> _LeftOut:
    """What `bbl` and `data ignore value` exclude.

    Raises:
      CubeError: if `bbl` does not fit the bands, or leaves none.
    """
    bands, dtype = values.shape[2], values.dtype
    good = np.ones(bands, bool)
    if "bbl" in fields:
        listed = _listed(fields["bbl"], "bbl", path)
        if len(listed) != bands or not set(listed) <= {0.0, 1.0}:
            raise CubeError(
                f"{path}: `bbl` lists {len(listed)} values for {bands} bands; required is 0 or 1 for each. Correct it."
            )
        good = np.array(listed) == 1
        if not good.any():
            raise CubeError(
                f"{path}: `bbl` calls every band bad, so nothing is left. Correct it, or remove it."
            )
    text = fields.get("data ignore value")
    if text is None:
        return _LeftOut(good, None)
    stated = _listed(text, "data ignore value", path)
    if not stated:
        return _LeftOut(good, None)
    return _LeftOut(good, ignored_value.of_type(stated[0], dtype))


def _not_applied(fields: dict[str, str]) -> str:
    """Fields that would change the numbers, which are left as stored."""
    neutral = {"data gain values": 1.0, "data offset values": 0.0, "reflectance scale factor": 1.0}
    stated = []
    for name, value in neutral.items():
        words = fields.get(name, "").strip("{} ").split(",")
        if any(word.strip() and not _is(word, value) for word in words):
            stated.append(name)
    return (
        f"{', '.join(stated)} of the header, which are not applied: the numbers are as stored"
        if stated
        else ""
    )


def _is(word: str, value: float) -> bool:
    return text_lines.is_number(word.strip()) and text_lines.number(word.strip()) == value


def _ranges(numbers: np.ndarray) -> str:
    """Whole numbers in words: 1-3, 7."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ", ".join(f"{part[0]}-{part[-1]}" if part.size > 1 else f"{part[0]}" for part in parts)


def _whole_number(fields: dict[str, str], name: str, path: Path) -> int:
    value = fields.get(name, "nothing")
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise CubeError(f"{path}: `{name}` is {value}; required is a number. Export the header again.")
    return int(value)


def _listed(value: str, name: str, path: Path) -> list[float]:
    words = [word for word in re.split(r"[,\s]+", value.strip("{}")) if word]
    wrong = next((word for word in words if not text_lines.is_number(word)), None)
    if wrong is not None:
        raise CubeError(f"{path}: `{name}` holds {wrong!r}; required are numbers. Export the header again.")
    return [text_lines.number(word) for word in words]


def _pixel_size_um(fields: dict[str, str]) -> tuple[float | None, dict[str, str]]:
    """The pixel size and how it is stated: by `pixel size` (metres unless it says otherwise), else by `map info`."""
    words = [word.strip() for word in fields.get("pixel size", "").strip("{}").split(",")]
    name, sizes, unit = "pixel size", words[:2], "meters"
    if not any(sizes) and "map info" in fields:
        # Projection, reference pixel (2), its place (2), then the size of a pixel (2).
        words = [word.strip() for word in fields["map info"].strip("{}").split(",")]
        name, sizes, unit = "map info", words[5:7], ""
    if not any(sizes):
        return None, {}
    stated = next((word.partition("=")[2] for word in words if word.lower().startswith("units")), "")
    unit = stated.strip() or unit
    said = f"{name} {', '.join(sizes)} in {unit or 'no stated unit'}"
    scale = _UM_PER_UNIT.get(unit.lower())
    if scale is None or not all(text_lines.is_number(word) for word in sizes):
        return None, {"pixel_size": f"{said}; give pixel_size_um= where you know it"}
    size, said = pixel_size.judged([text_lines.number(word) * scale for word in sizes], said)
    return size, {"pixel_size": said}
