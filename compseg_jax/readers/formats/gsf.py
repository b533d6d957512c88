"""Gwyddion Simple Field (.gsf): one channel of a scanning probe or nano-infrared microscope.

Layout: "Simple Field Files" of the Gwyddion user guide (https://gwyddion.net/documentation/user-guide-en/gsf.html):
a magic line, lines `name = value`, NULs up to a multiple of 4 bytes, then float32 values, little-endian, by rows from
top to bottom.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size, text_lines
from compseg_jax.readers.cube import Cube, CubeError

_MAGIC = b"Gwyddion Simple Field 1.0\n"
_MAX_HEADER_BYTES = 1 << 20
_UM_PER_UNIT = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3}


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads the image, memory-mapped.

    Returns:
      the cube of shape (y, x, 1). The file states no wavenumber: the axis is None unless the caller gives it.

    Raises:
      CubeError: if header and length disagree.
    """
    path = Path(path)
    with checks.Reading(path, "a Gwyddion Simple Field"):
        fields, begin = _header(path)
        height, width = (_extent(fields, name, path) for name in ("YRes", "XRes"))
        required = begin + 4 * checks.count((height, width), path, "the field")
        checks.size(path, required, f"a field of {height} × {width}", exact=True)
        values = np.memmap(path, "<f4", "r", begin, (height, width, 1))
        found, stated = None, "none stated; the channel has no unit"
        if wavenumbers_cm1 is not None:
            found, stated = axis.settle(None, wavenumbers_cm1, path, stated)
        pixel_size_um, of_pixel = _pixel_size_um(fields, height, width)
    provenance = {
        "source": str(path),
        "format": "Gwyddion Simple Field",
        "channel": fields.get("Title", "not named"),
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "float32",
        **of_pixel,
    }
    return Cube(checks.as_float(values, path), found, pixel_size_um, provenance)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where the values begin."""
    with path.open("rb") as stream:
        content = stream.read(_MAX_HEADER_BYTES)
    end = content.find(b"\0")
    if not content.startswith(_MAGIC) or end < 0:
        raise CubeError(
            f"{path}: no header of a Gwyddion Simple Field of version 1.0, ended by NUL. Save it again."
        )
    begin = end + 4 - end % 4
    if content[end:begin].strip(b"\0"):
        raise CubeError(f"{path}: the header is not filled up with NULs; damaged. Save it again.")
    lines = text_lines.decoded(content[len(_MAGIC) : end], path)[0].split("\n")
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}, begin


def _extent(fields: dict[str, str], name: str, path: Path) -> int:
    value = fields.get(name, "nothing")
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise CubeError(f"{path}: {name} is {value}; required is a number of pixels. Damaged; save it again.")
    return int(value)


def _pixel_size_um(fields: dict[str, str], height: int, width: int) -> tuple[float | None, dict[str, str]]:
    """`XReal` and `YReal` are the lengths of the field, in `XYUnits` (metres)."""
    lengths = [fields.get(name, "") for name in ("XReal", "YReal")]
    scale = _UM_PER_UNIT.get(fields.get("XYUnits", ""))
    if scale is None or not all(text_lines.is_number(length) for length in lengths):
        return None, {}
    along_x, along_y = (text_lines.number(length) * scale for length in lengths)
    said = f"XReal and YReal, {along_x:g} × {along_y:g} µm for {width} × {height} pixels"
    size, said = pixel_size.judged([along_x / width, along_y / height], said)
    return size, {"pixel_size": said}
