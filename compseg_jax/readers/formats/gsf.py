"""Gwyddion Simple Fields (.gsf): one picture of numbers, as scanning probes and neaSPEC microscopes export a channel.

Layout as published (http://gwyddion.net/documentation/user-guide-en/gsf.html): a line `Gwyddion Simple Field 1.0`,
lines `name = value`, one to four NULs up to a multiple of four bytes, and XRes × YRes little-endian floats, the upper
left one first, x fastest.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError

MAGIC = b"Gwyddion Simple Field 1.0\n"
_MOST_HEADER_BYTES = 1 << 20
_METRES = re.compile(r"(?P<prefix>[fpnuµmkM]?)m")
_PREFIXES = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads the picture as a cube of one channel; the file states no wavenumber, the caller may give one.

    Returns:
      the cube of shape (y, x, 1), float32; its axis is None unless given.

    Raises:
      CubeError: if the file is damaged or its length is not that of its picture.
    """
    path = Path(path)
    with checks.Reading(path, "a Gwyddion Simple Field"):
        with path.open("rb") as stream:
            head = stream.read(_MOST_HEADER_BYTES)
        end = head.find(b"\0")
        if not head.startswith(MAGIC) or end < 0:
            raise CubeError(f"{path}: its header does not begin with {MAGIC!r} and end in a NUL. Damaged.")
        stated = {}
        for line in head[len(MAGIC) : end].decode("utf-8").splitlines():
            name, equal, value = line.partition("=")
            if equal:
                stated[name.strip()] = value.strip()
        width, height = (int(stated.get(name, "0")) for name in ("XRes", "YRes"))
        pixels = checks.count((height, width), path, "the picture (YRes, XRes)")
        start = end + 4 - end % 4
        checks.size(path, start + 4 * pixels, f"a picture of {height} × {width} pixels", exact=True)
        values = np.fromfile(path, "<f4", pixels, offset=start).reshape(height, width, 1)
        size_um, size = _pixel_size(stated, height, width)
    found, told = None, "none stated; the file holds one channel"
    if wavenumbers_cm1 is not None:
        found, told = axis.settle(None, wavenumbers_cm1, path, told)
    provenance = {
        "source": str(path),
        "format": "Gwyddion Simple Field",
        "quantity": " ".join(stated[name] for name in ("Title", "ZUnits") if stated.get(name))
        or "not stated",
        "axis": told,
        "direction": axis.direction(found),
        "stored_type": "float32",
        "orientation": "as stored",
        "pixel_size": size,
    }
    return Cube(checks.as_float(values, path), found, size_um, provenance)


def _pixel_size(stated: dict[str, str], height: int, width: int) -> tuple[float | None, str]:
    unit = _METRES.fullmatch(stated.get("XYUnits", ""))
    if unit is None or not {"XReal", "YReal"} <= stated.keys():
        return None, "XReal, YReal or XYUnits is not stated"
    um = 1e6 * _PREFIXES[unit["prefix"]]
    edges = [um * float(stated["YReal"]) / height, um * float(stated["XReal"]) / width]
    return pixel_size.judged(edges, f"XReal and YReal in {stated['XYUnits']}, over all pixels")
