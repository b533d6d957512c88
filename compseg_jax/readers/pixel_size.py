"""Whether a stated pixel size can be that of a microscope's image: one rule for every format.

Programs write lengths in units other than those of the format that they write: OMNIC's older ENVI exports state
millimetres where ENVI means metres. Such a size is a thousand times too large, and is asked for, not believed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_UM, MOST_UM = 0.005, 500.0
"""Pixels from those of a scanning tip to those of a coarse stage map, in µm."""
# Sizes of x and y that differ by less are one size, rounded.
_SQUARE_TOLERANCE = 0.005


UM_PER_INCH = 25400.0
USUAL_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 220, 240, 300, 350, 360, 400, 600, 720, 1200)
"""Dots per inch that programs write of screens and prints, whatever the picture shows."""
_DPI_TOLERANCE = 0.003  # 118 pixels per cm are 300 dots per inch


def is_of_a_screen(dots_per_inch: float) -> bool:
    """Whether a resolution is one that programs write by themselves, for screens and printers.

    >>> is_of_a_screen(72), is_of_a_screen(2.54 * 118), is_of_a_screen(UM_PER_INCH / 0.5)
    (True, True, False)
    """
    return any(abs(dots_per_inch / usual - 1) < _DPI_TOLERANCE for usual in USUAL_DPI)


def judged(
    sizes_um: Sequence[float], stated: str, *, least_um: float = LEAST_UM, most_um: float = MOST_UM
) -> tuple[float | None, str]:
    """The pixel size to use and the words for `provenance['pixel_size']`.

    Args:
      sizes_um: edge lengths in µm as the file states them, of one axis or of x and y.
      stated: where and how the file states them, such as 'pixel size 0.025, 0.025 in metres'.
      least_um: smallest length that is believed.
      most_um: largest length that is believed; images of other kinds than a microscope's have larger pixels.

    Returns:
      the edge length in µm, None where it is absent, not that of a square, or none a microscope has.

    >>> judged([2.7, 2.7], 'pixel size 2.7e-06 in metres')
    (2.7, 'pixel size 2.7e-06 in metres')
    >>> judged([5000.0, 5000.0], 'pixel size .005 in metres')[0] is None
    True
    """
    sizes = np.asarray(sizes_um, np.float64).ravel()
    if not sizes.size or not np.all(np.isfinite(sizes)) or np.any(sizes <= 0):
        return None, f"{stated}, which is no length; give pixel_size_um= where you know it"
    if np.ptp(sizes) > _SQUARE_TOLERANCE * sizes.min():
        edges = " × ".join(f"{size:g}" for size in sizes)
        return None, f"{stated}: pixels of {edges} µm are not square; give pixel_size_um= where you know it"
    size = float(sizes[0] if np.ptp(sizes) == 0 else sizes.mean())
    if not least_um <= size <= most_um:
        advice = "give pixel_size_um= where you know it"
        if least_um <= size / 1000 <= most_um:
            advice += f" ({size / 1000:g} where the file means millimetres)"
        return (
            None,
            f"{stated}, {size:g} µm: not believed, for it is not within {least_um:g} … {most_um:g} µm; {advice}",
        )
    return size, stated
