"""A picture as its file holds it: the numbers, what they show, which way up, and how many values it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers.cube import CubeError

# What the first row and column of the stored pixels are on the picture (TIFF 6.0, page 36; the same numbers in
# EXIF), as the steps that bring them to the top and the left: turn rows and columns round, exchange them.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
# Colour spaces that a profile may state for grey and RGB (ICC.1:2022, 7.2.6); its bytes 16 to 19.
_SPACES = (b"GRAY", b"RGB ")


@dataclass(frozen=True)
class Picture:
    """A picture, turned as it is shown.

    Attributes:
      values: the numbers of the file, shape (y, x, c); a palette's are its colours.
      known: what is known of them, for the provenance of a cube.
      wavenumbers_cm1: the axis, shape (c,), None where the file states none.
      pixel_size_um: edge of a pixel in µm, None when unknown.
      indices: numbers of the palette's colours, shape (y, x); None without a palette.
      white_is_zero: whether 0 is shown white and `brightest` black.
      brightest: the largest number that its bits can hold, None for floats and signed integers.
    """

    values: np.ndarray
    known: Mapping[str, Any] = field(default_factory=dict)
    wavenumbers_cm1: np.ndarray | None = None
    pixel_size_um: float | None = None
    indices: np.ndarray | None = None
    white_is_zero: bool = False
    brightest: int | None = None


def turned(values: np.ndarray, orientation: int) -> tuple[np.ndarray, str]:
    """Pixels of shape (y, x, …) as they are shown by their orientation tag, and the words for the provenance."""
    rows, columns, exchanged = _TURNS.get(orientation, _TURNS[1])
    values = values[:: -1 if rows else 1, :: -1 if columns else 1]
    if exchanged:
        values = values.swapaxes(0, 1)
    words = f"turned by its orientation tag ({orientation})" if orientation in range(2, 9) else "as stored"
    return values, words


def refuse_profile(profile: bytes | None, path: Path) -> None:
    """Refuses values that a colour profile says are no grey and no RGB, whatever the file calls them.

    Raises:
      CubeError: naming the colour space.
    """
    space = (profile or b"")[16:20]
    if len(space) == 4 and space not in _SPACES:
        raise refused_colours(ascii(space.decode("latin-1").strip())[1:-1], "its ICC profile", path)


def refused_colours(model: str, stated: str, path: Path) -> CubeError:
    """The error of a colour model whose numbers are neither grey nor RGB."""
    return CubeError(
        f"{path}: its colours are {model} ({stated}); read are grey, RGB and palettes of RGB. Convert it to RGB "
        "and save it anew, for example in ImageJ or with `magick in.tif -colorspace sRGB out.png`."
    )
