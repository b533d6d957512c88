"""The spectral axis a file states, in cm⁻¹: units converted, direction kept, nothing guessed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from compseg_jax.readers.cube import CubeError


class AxisMissingError(CubeError):
    """A spectral image states no axis."""


TOLERANCE_CM1 = 0.01
"""Within which two axes are one: instruments' files round to three digits."""
# 1 cm = 1e7 nm = 1e4 µm, so ν̃ / cm⁻¹ = 1e7 / (λ / nm) = 1e4 / (λ / µm).
_PER_LENGTH = {"nm": 1e7, "um": 1e4}
_MAX_CM1 = 1e5
_UNITS = {
    "cm1": "cm1 cm-1 cm^-1 cm**-1 cm⁻¹ 1/cm 1/centimeter 1/centimetre percm invcm inversecm inversecentimeters "
    "reciprocalcentimeters wavenumber wavenumbers rel.1/cm rel.cm-1 deltacm-1 ramanshift",
    "nm": "nm nanometer nanometers nanometre nanometres",
    "um": "um µm μm micron microns micrometer micrometers micrometre micrometres",
}
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names.split()}
# A quantity and its unit: `Wavenumbers (cm-1)`, `Raman shift / cm-1`, `Wavelength, nm`.
_OF_QUANTITY = (
    re.compile(r".*[(\[{](?P<unit>[^()\[\]{}]+)[)\]}]\s*", re.DOTALL),
    re.compile(r".*?(?:(?<=[^\d\s])\s?/\s*|,\s*|\sin\s+|\s)(?P<unit>\S+)\s*", re.DOTALL),
)
# Channels from which one wrong value can be told from a deliberate gap; steps of one instrument's axis
# differ from their neighbours by less than the tolerance (rounding to three digits included).
_SMOOTH_FROM = 8
_SMOOTH_TOLERANCE = 0.02


def unit_named(name: str) -> str | None:
    """'cm1', 'nm' or 'um' for the name of a unit as instruments write it, None for any other name.

    The name of the quantity may stand before its unit, as in the titles of axes.

    >>> unit_named('Raman shift / cm⁻¹'), unit_named('Wavelength (nm)'), unit_named('Index')
    ('cm1', 'nm', None)
    """
    known = _UNIT_OF.get(_plain(name))
    for quantity in _OF_QUANTITY if known is None else ():
        matched = quantity.fullmatch(name)
        known = known or (_UNIT_OF.get(_plain(matched["unit"])) if matched else None)
    return known


def _plain(name: str) -> str:
    """A unit's name without blanks, brackets and what typesetting adds; one kind of minus."""
    return re.sub(r"[\s_()\[\]{}$]", "", re.sub("[−–]", "-", name)).lower().removeprefix("δ")


def to_wavenumbers_cm1(
    values: np.ndarray, unit: str | None, path: Path, *, spaced_evenly: bool = True
) -> np.ndarray:
    """Converts an axis to cm⁻¹ in the order in which it is stored.

    Args:
      values: the axis as stored, any shape with one extent above 1.
      unit: the unit's name as the file writes it.
      path: the file, for messages.
      spaced_evenly: whether the axis comes from an instrument, where spacing changes only smoothly.

    Raises:
      CubeError: if the unit is unknown or absent, a value is not finite and positive, or one value
        departs from the otherwise smooth spacing (a damaged axis).
    """
    known = unit_named(unit or "")
    if known is None:
        raise CubeError(
            f"{path}: the unit of the spectral axis is {unit!r}; required is a wavenumber (cm-1), "
            "nanometres or micrometres. Correct it in the file, or give wavenumbers_cm1=."
        )
    axis = np.asarray(values).ravel()
    if axis.dtype.kind not in "fiu":
        raise CubeError(f"{path}: the spectral axis holds {axis.dtype}; numbers are required.")
    axis = axis.astype(np.float64)
    if not np.all(np.isfinite(axis)) or (known in _PER_LENGTH and np.any(axis <= 0)):
        raise CubeError(f"{path}: the spectral axis holds values that are not finite or not positive.")
    found = _PER_LENGTH[known] / axis if known in _PER_LENGTH else axis
    if np.max(np.abs(found), initial=0) > _MAX_CM1:
        raise CubeError(
            f"{path}: the spectral axis reaches {np.max(np.abs(found)):g} cm⁻¹; at most {_MAX_CM1:g} "
            f"({1e7 / _MAX_CM1:g} nm) is a spectrum. Correct its unit ({unit!r}), or give wavenumbers_cm1=."
        )
    if spaced_evenly:
        _refuse_misfit(axis, path)
    return found


def _refuse_misfit(axis: np.ndarray, path: Path) -> None:
    """Refuses a smooth axis in which one value is off: a gap changes one step, a wrong value two."""
    if axis.size < _SMOOTH_FROM:
        return
    steps = np.diff(axis)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(steps, 3, mode="reflect"), 7)
    usual = np.median(around, axis=1)
    odd = np.flatnonzero(np.abs(steps - usual) > _SMOOTH_TOLERANCE * np.abs(usual))
    inner = odd.size == 2 and odd[1] == odd[0] + 1
    outer = odd.size == 1 and odd[0] in (0, steps.size - 1)
    if inner or outer:
        at = int(odd[1]) if inner else (0 if odd[0] == 0 else axis.size - 1)
        raise CubeError(
            f"{path}: value {at} of the spectral axis is {axis[at]:g}, but the values around it are spaced "
            f"by {usual[odd[0]]:g}. The axis is damaged; export the file again, or give wavenumbers_cm1=."
        )


def settle(
    found: np.ndarray | None, given: np.ndarray | None, path: Path, stated: str
) -> tuple[np.ndarray, str]:
    """The axis of a spectral cube and the words for its provenance; the caller's axis goes first.

    Raises:
      CubeError: if neither the file nor the caller gives one.
    """
    if given is not None:
        return np.asarray(given, np.float64).ravel(), "given by the caller"
    if found is None:
        raise AxisMissingError(
            f"{path}: no spectral axis found ({stated}). Give one with wavenumbers_cm1=, "
            "one value in cm⁻¹ for each channel in the order of the channels."
        )
    return found, stated


NO_WAVENUMBERS = "none; the channels are not wavenumbers"


def of_picture(given: np.ndarray | None) -> dict[str, str]:
    """The entries `axis` and `direction` of a picture's provenance, which has no axis unless the caller gives one."""
    return {"axis": NO_WAVENUMBERS if given is None else "given by the caller", "direction": direction(given)}


def direction(axis: np.ndarray | None) -> str:
    """'ascending', 'descending' or 'none', for the provenance."""
    if axis is None or axis.size < 2:
        return "none"
    return "ascending" if axis[-1] > axis[0] else "descending"


def same_axis(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two axes in cm⁻¹ are the same, channel by channel and in the same direction; None is that of images."""
    if one is None or other is None:
        return one is None and other is None
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=TOLERANCE_CM1))
