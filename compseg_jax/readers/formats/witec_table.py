"""WITec Project's table export of an image: wavenumbers in the first column, a spectrum in each further one.

The first line names every spectrum and ends each name in its pixel, `(x/y)` counted from 0; a second line, if any,
states the units. Tables without these names do not say where their spectra lie.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis, checks, text_lines
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.formats import text

_PIXEL = re.compile(r".*\((?P<x>\d{1,6})/(?P<y>\d{1,6})\)", re.DOTALL)
_HEAD_BYTES = 1 << 22


def holds(path: Path) -> bool:
    """Whether every title of a text but the first ends in a pixel."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    try:
        titles = (
            re.split(r"\r\n|\n|\r", text_lines.decoded(head, path)[0], maxsplit=1)[0].rstrip().split("\t")
        )
    except CubeError:
        return False
    return len(titles) > 2 and all(_PIXEL.fullmatch(title) for title in titles[1:])


def read(path: str | os.PathLike[str], *, wavenumbers_cm1: np.ndarray | None = None) -> Cube:
    """Reads an image.

    Returns:
      the cube of shape (y, x, c), float64.

    Raises:
      CubeError: if a row is cut, or the pixels named do not fill an image once each.
    """
    path = Path(path)
    with checks.Reading(path, "a table of WITec Project"):
        spectra = text.read_spectra(path)
        matches = [_PIXEL.fullmatch(name) for name in spectra.names]
        places = [(int(match["y"]), int(match["x"])) for match in matches if match is not None]
        height, width = (1 + max((place[at] for place in places), default=0) for at in (0, 1))
        if len(places) != len(matches) or len(set(places)) != len(places) or height * width != len(places):
            raise CubeError(
                f"{path}: its {len(matches)} spectra do not name each pixel of an image of {height} × {width} once. "
                "Export the whole image again."
            )
        rows, columns = np.array(places).T
        values = np.empty((height, width, spectra.absorbance.shape[1]), spectra.absorbance.dtype)
        values[rows, columns] = spectra.absorbance
    found, stated = axis.settle(spectra.wavenumbers_cm1, wavenumbers_cm1, path, spectra.provenance["axis"])
    provenance = {
        "source": str(path),
        "format": "WITec table",
        "axis": stated,
        "direction": axis.direction(found),
        "stored_type": "text",
    }
    return Cube(values, found, None, provenance)


read_spectra = text.read_spectra
