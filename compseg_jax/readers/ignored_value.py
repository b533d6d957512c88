"""Values that a file names as standing for none: the pixels that hold them become background, and are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compseg_jax.readers import checks


def of_type(value: float, dtype: np.dtype) -> np.generic | None:
    """The value as data of a type hold it, None where they cannot."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        held = float(value).is_integer() and limits.min <= value <= limits.max
        return dtype.newbyteorder("=").type(int(value)) if held else None
    if dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):
        converted: np.generic = dtype.newbyteorder("=").type(value)
        return converted


def zeroed(values: np.ndarray, ignored: np.generic, path: Path) -> tuple[np.ndarray, int, int]:
    """Floats (y, x, c) with zero spectra where pixels hold the value; how many do, and how many in part only.

    Zero in a part of the channels may be measured; any other such value leaves no spectrum.
    """
    found = np.isnan(values) if np.isnan(ignored) else values == ignored
    wholly = found.all(axis=2)
    excluded = wholly if ignored == 0 else found.any(axis=2)
    kept = np.array(checks.as_float(values, path))
    kept[excluded] = 0
    return kept, int(excluded.sum()), int((excluded & ~wholly).sum())


def in_words(name: str, ignored: np.generic, pixels: tuple[int, int, int] | None) -> str:
    """Words for `left_out`; `pixels` are those excluded, in part, and all, None where they were not counted."""
    if pixels is None:
        return f"pixels that hold the {name} {ignored:g}; they are zero"
    excluded, partly, total = pixels
    if not excluded:
        return ""
    in_part = f", {partly} of them in some channels only" if partly else ""
    return f"{excluded} of {total} pixels that hold the {name} {ignored:g}{in_part}; they are zero"
