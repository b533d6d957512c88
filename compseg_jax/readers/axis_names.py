"""What the name of an array says of it: whether it may be a spectral axis, and in which unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from compseg_jax.readers import axis

# Names without case, blanks and marks. The first mean wavenumbers by themselves; the second lengths of a unit that
# must be stated; the third may be anything that a spectrum, or an image, is plotted against.
_WAVENUMBERS = frozenset(
    (
        "wavenumber",
        "wavenumbers",
        "wavenum",
        "wavenums",
        "wn",
        "wns",
        "wvn",
        "wvns",
        "wvnmbr",
        "ramanshift",
        "ramanshifts",
    )
)
_LENGTHS = frozenset(("wavelength", "wavelengths", "wl", "wls", "lambda", "lambdas"))
_GENERIC = frozenset(
    (
        *(
            "x",
            "axis",
            "xaxis",
            "xdata",
            "xvalue",
            "xvalues",
            "xval",
            "xvals",
            "xscale",
            "xvar",
            "abscissa",
            "axisscale",
        ),
        *(
            "spectralaxis",
            "wave",
            "waves",
            "wav",
            "nu",
            "shift",
            "shifts",
            "freq",
            "freqs",
            "frequency",
            "frequencies",
        ),
        *("energy", "energies"),
    )
)
_UNIT_SUFFIX = re.compile(
    r"(?P<base>.*?)[\s_.,/\[({-]*(?P<unit>(?:1/cm|cm[\s_]?\^?\{?[-−]?1\}?|cm⁻¹|nm|um|µm|μm))[\s)\]}]*",
    re.IGNORECASE | re.DOTALL,
)
POSITIONS = frozenset(["x", "y", "xpos", "ypos", "posx", "posy", "mapx", "mapy", "xposition", "yposition"])
"""Names that positions of pixels go by, beside what else they may mean."""
# Values of infrared and Raman spectra. Cameras for visible light and the near infrared end at 2600 nm, and their
# wavelengths rise; what rises and ends below may be either.
_LEAST_CM1, _MOST_CM1, _LONGEST_NM = 50.0, 5000.0, 2600.0


@dataclass(frozen=True)
class Meaning:
    """What a name says: how well it fits an axis (0 is best) and the unit that it implies, None where it does not."""

    rank: int
    unit: str | None


def plain(name: str) -> str:
    """The last part of a full name, in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())


_ROWS = frozenset(["y", "row", "rows", "line", "lines", "height", "ypos", "yposition", "mapy"])
_COLUMNS = frozenset(
    ["x", "col", "column", "columns", "sample", "samples", "width", "xpos", "xposition", "mapx"]
)
_CHANNELS = frozenset(["c", "channel", "channels", "band", "bands", "spectral", "spectrum", "signal"])


def letter(dimension: str) -> str:
    """'y', 'x' or 'c' for the name of a dimension, '' where it says nothing."""
    called = plain(dimension)
    for names, found in ((_ROWS, "y"), (_COLUMNS, "x"), (_CHANNELS, "c")):
        if called in names:
            return found
    return "c" if called and meaning(dimension) is not None else ""


def meaning(name: str) -> Meaning | None:
    """What the name of an array says of it as an axis, None where it is no name of one.

    >>> meaning('Wavenumbers (cm-1)'), meaning('wavelength_nm'), meaning('x'), meaning('mask')
    (Meaning(rank=0, unit='cm-1'), Meaning(rank=1, unit='nm'), Meaning(rank=2, unit=None), None)
    """
    leaf = name.rpartition("/")[2]
    found = _UNIT_SUFFIX.fullmatch(leaf)
    if found is not None:
        base, known = plain(found["base"]), axis.unit_named(found["unit"])
        if base in _WAVENUMBERS | _LENGTHS | _GENERIC | {""} and known is not None:
            if known == "cm1":
                return Meaning(0, "cm-1")
            # Lengths called x are places of pixels.
            return None if base in POSITIONS else Meaning(1, known)
    base = plain(leaf)
    if base in _WAVENUMBERS:
        return Meaning(0, "cm-1")
    if base in _LENGTHS:
        return Meaning(1, None)
    return Meaning(2, None) if base in _GENERIC else None


def taken_for_wavenumbers(values: np.ndarray) -> str | None:
    """Why values of no stated unit can only be wavenumbers in cm⁻¹, None where they may be something else.

    They are taken for wavenumbers where all lie within 50 … 5000 and they fall, or reach beyond 2600, where no
    camera's nanometres do.
    """
    values = np.asarray(values, np.float64).ravel()
    steps = np.diff(values)
    if not np.all(np.isfinite(values)) or not (np.all(steps > 0) or np.all(steps < 0)):
        return None
    low, high = float(values.min()), float(values.max())
    if not (low >= _LEAST_CM1 and high <= _MOST_CM1):
        return None
    if steps[0] < 0:
        return f"its values fall from {high:g} to {low:g}"
    return f"its values rise to {high:g}, beyond nanometres of a camera" if high > _LONGEST_NM else None
