"""Transmittance is not absorbance: converted where the file states it or the caller says so, asked for where it shows.

A = −log10(T) (Beer and Lambert; T = 1 lets everything through). Tissue's bands are peaks of absorbance and dips of
transmittance, so a network, a tissue mask or a core search that takes the one for the other works on the wrong sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Shaped

from compseg_jax.readers.amide_i import AMIDE_I_CM1, AMIDE_I_FEET_CM1
from compseg_jax.readers.cube import MOST_COLOURS, CubeError

Kind = Literal["percent", "fraction", "none"]
"""What values are: transmittance in %, transmittance from 0 to 1, or no transmittance."""
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAST = 1e-4
"""Transmittance below it counts as it: A = 4 is about the most that a spectrometer resolves, and noise goes below 0."""
_STATED = re.compile(r"\btransmi|^\s*%?\s*T\s*(%|\(%\))?\s*$", re.IGNORECASE)
_SAYS_NOTHING = ("", "arbitrary units", "percent", "intensity")
_MOST_FRACTION = 2.0  # a stated transmittance without a unit is in % where it goes beyond
_AMIDE_TOLERANCE_CM1 = 15.0
_SIGMAS = 5.0  # of the mean depth of amide I, from which it is a dip and no noise


class TransmittanceError(CubeError):
    """The values of a file look like transmittance, and nobody says what they are."""


def to_absorbance(
    values: Float[np.ndarray, "*p c"], kind: Kind, unmeasured: Bool[np.ndarray, "*p"] | None = None
) -> Float[np.ndarray, "*p c"]:
    """Absorbance of transmittance; spectra that are 0 in every channel were not measured and stay 0.

    >>> to_absorbance(np.array([[100.0, 10.0, 1.0]]), "percent")
    array([[0., 1., 2.]])

    Args:
      values: transmittance; NaN stays NaN.
      kind: its unit.
      unmeasured: spectra that are 0 in every channel, where ``values`` are not all of their channels.
    """
    share = values / values.dtype.type(100 if kind == "percent" else 1)
    absorbance = -np.log10(np.maximum(share, values.dtype.type(LEAST)))
    absorbance[~np.any(values != 0, axis=-1) if unmeasured is None else unmeasured] = 0
    return absorbance + values.dtype.type(0)  # the logarithm of 1 is −0


def settled(
    provenance: Mapping[str, Any], said: Kind | None, sample: Callable[[], np.ndarray]
) -> tuple[Kind, str]:
    """What values are, by the caller or else by the file, and who says so.

    Args:
      provenance: of the file; its ``quantity`` is what the file states.
      said: what the caller says.
      sample: gives some values, by which a stated transmittance without a unit is told.
    """
    if said is not None:
        return said, "given by the caller"
    stated = str(provenance.get("quantity", ""))
    if not _STATED.search(stated):
        return "none", ""
    if "%" in stated or "percent" in stated.lower():
        return "percent", "stated by the file"
    some = sample()
    finite = some[np.isfinite(some)]
    beyond = bool(finite.size) and float(np.quantile(finite, 0.99)) > _MOST_FRACTION
    return (
        ("percent", "stated by the file, in % by its values")
        if beyond
        else ("fraction", "stated by the file")
    )


def converted_provenance(provenance: Mapping[str, Any], kind: Kind, who: str) -> dict[str, Any]:
    """The provenance of values that were converted."""
    formula = "−log10(T/100) of % transmittance" if kind == "percent" else "−log10(T) of transmittance"
    return {**provenance, "quantity": "absorbance", "values": f"absorbance, {formula} ({who})"}


def refuse_pictures(wavenumbers_cm1: np.ndarray | None, channels: int, path: Path) -> None:
    """Raises CubeError where transmittance is said of an ordinary image."""
    if wavenumbers_cm1 is None and channels <= MOST_COLOURS:
        raise CubeError(
            f"{path}: it is an ordinary image of {channels} channels, of which no absorbance is made; found "
            "transmittance=. Leave it out."
        )


def seen(
    spectra: Shaped[np.ndarray, "n c"], wavenumbers_cm1: np.ndarray | None, provenance: Mapping[str, Any]
) -> Kind:
    """What spectra look like where nothing states what they are; 'none' where nothing speaks for transmittance.

    In % where most values lie near 100, none is far beyond, and bands are dips; as a fraction only where amide I, which
    tissue always has, is a dip of values from 0 to about 1.
    """
    quantity = str(provenance.get("quantity", "not stated"))
    is_stated = not quantity.startswith("not ") and quantity not in _SAYS_NOTHING
    if wavenumbers_cm1 is None or is_stated or is_raman(provenance):
        return "none"
    taken = spectra[np.all(np.isfinite(spectra), axis=1) & np.any(spectra != 0, axis=1)].astype(np.float64)
    if not len(taken):
        return "none"
    low, middle, high = (float(value) for value in np.quantile(taken, (0.01, 0.5, 0.99)))
    dips = _amide_dip(taken, wavenumbers_cm1)
    if low >= -5 and middle >= 20 and high <= 130:
        return "percent" if (_bands_are_dips(taken) if dips is None else dips > 0) else "none"
    if low >= -0.05 and middle >= 0.3 and high <= 1.2:
        return "fraction" if dips is not None and dips > 0.03 else "none"
    return "none"


def looks_like(spectra: Shaped[np.ndarray, "n c"], kind: Kind) -> str:
    """What is seen, in words."""
    unit = "% transmittance" if kind == "percent" else "transmittance"
    return (
        f"{value_range(spectra)} look like {unit} (bands are dips), and the file does not say what they are"
    )


def value_range(spectra: Shaped[np.ndarray, "n c"]) -> str:
    """Where most of the values lie, in words."""
    finite = spectra[np.isfinite(spectra)]
    if not finite.size:
        return "its values (none is finite)"
    low, middle, high = (float(value) for value in np.quantile(finite, (0.01, 0.5, 0.99)))
    return f"its values (1 % {low:.4g}, median {middle:.4g}, 99 % {high:.4g})"


def is_raman(provenance: Mapping[str, Any]) -> bool:
    """Whether a file states Raman spectra: its quantity, its axis (a shift), or the program that wrote it."""
    stated = " ".join(str(provenance.get(key, "")) for key in ("quantity", "axis", "format", "variable"))
    return any(word in stated.lower() for word in ("raman", "witec", "rel. 1/cm"))


def _amide_dip(spectra: np.ndarray, wavenumbers_cm1: np.ndarray) -> float | None:
    """Mean depth of amide I below the line of its feet; None where it is no more than noise, or not on the axis."""
    places = np.array((AMIDE_I_FEET_CM1[0], AMIDE_I_CM1, AMIDE_I_FEET_CM1[1]))
    distances = np.abs(wavenumbers_cm1[None, :] - places[:, None])
    first, top, last = (int(at) for at in distances.argmin(axis=1))
    if len({first, top, last}) < 3 or distances.min(axis=1).max() > _AMIDE_TOLERANCE_CM1:
        return None
    share = (wavenumbers_cm1[top] - wavenumbers_cm1[first]) / (wavenumbers_cm1[last] - wavenumbers_cm1[first])
    depth = (1 - share) * spectra[:, first] + share * spectra[:, last] - spectra[:, top]
    error = depth.std() / np.sqrt(len(depth))
    return float(depth.mean()) if abs(depth.mean()) > _SIGMAS * error else None


def _bands_are_dips(spectra: np.ndarray) -> bool:
    """Whether the mean spectrum lies near its top, and falls from there: a baseline with bands below it."""
    mean = spectra.mean(axis=0)
    middle = float(np.median(mean))
    return middle > 50 and middle - float(mean.min()) > 2 * (float(mean.max()) - middle)
