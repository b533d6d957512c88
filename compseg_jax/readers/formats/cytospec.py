"""CytoSpec's MATLAB files: up to four data blocks of one image in `C`, its parameters as text in `Info`.

Layout as in the file that hySpc.read.mat keeps for its tests, and in CytoSpec's list of parameters: `C` is
(x, y, wavenumber) or (x, y, wavenumber, block), the blocks being original, pre-processed, derivative and deconvolved
spectra. Each parameter in `Info.File` stands in a row of its own before the row that names it; LWN and VWN (or HWN)
are the first and last wavenumber, evenly spaced by WVS, XDI and YDI the extents. Pixels that its quality test refused
are NaN in every channel.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks
from compseg_jax.readers.cube import Cube, CubeError

# The step is written to four digits.
_STEP_TOLERANCE = 0.01
BLOCKS = ("original", "preprocessed", "derivative", "deconvolved")


def is_image(variables: dict[str, Any]) -> bool:
    """Whether the variables of a MATLAB file are those of an image of CytoSpec."""
    values = variables.get("C")
    return isinstance(values, np.ndarray) and values.ndim in (3, 4) and "File" in _info(variables)


def cube(
    variables: dict[str, Any], path: Path, wavenumbers_cm1: np.ndarray | None, variable: str | None
) -> Cube:
    """The image in a data block, the original spectra unless `variable` names another of `BLOCKS`.

    Returns:
      the cube, shape (y, x, c).

    Raises:
      CubeError: if there is no such block, or the parameters do not fit the data.
    """
    values = variables["C"].reshape(*variables["C"].shape[:3], -1)
    if values.shape[3] > len(BLOCKS):
        raise CubeError(
            f"{path}: `C` has {values.shape[3]} data blocks; at most {len(BLOCKS)} are CytoSpec's."
        )
    held = BLOCKS[: values.shape[3]]
    name = held[0] if variable in (None, "C") else variable
    if name not in held:
        raise CubeError(
            f"{path}: found no data block {variable!r}, only {', '.join(held)}. Name one with variable=."
        )
    stated = _parameters(_info(variables)["File"])
    for key, extent in (("XDI", values.shape[0]), ("YDI", values.shape[1]), ("NOD", values.shape[2])):
        if key in stated and stated[key] != extent:
            raise CubeError(
                f"{path}: {key} is {stated[key]:g}, but `C` has {extent}. The file is damaged; save it again."
            )
    found: np.ndarray | None = None
    last = stated.get("VWN", stated.get("HWN"))
    if wavenumbers_cm1 is None and last is not None and "LWN" in stated:
        evenly = np.linspace(stated["LWN"], last, values.shape[2])
        step = stated.get("WVS")
        if (
            step is not None
            and evenly.size > 1
            and abs(evenly[1] - evenly[0] - step) > _STEP_TOLERANCE * abs(step)
        ):
            raise CubeError(
                f"{path}: WVS is {step:g}, but from {evenly[0]:g} to {last:g} in {evenly.size} points the step is "
                f"{evenly[1] - evenly[0]:g} cm⁻¹. The file is damaged; save it again, or give wavenumbers_cm1=."
            )
        found = axis.to_wavenumbers_cm1(evenly, "cm-1", path)
    found, words = axis.settle(found, wavenumbers_cm1, path, "LWN and VWN of Info, cm⁻¹")
    block = np.array(checks.as_float(values[..., held.index(name)].transpose(1, 0, 2), path))
    refused = np.isnan(block).all(axis=2)
    provenance: dict[str, Any] = {
        "source": str(path),
        "format": "CytoSpec (MATLAB 5)",
        "variable": name,
        "axis": words,
        "direction": axis.direction(found),
        "axes": "(x, y, c) in the file",
        "stored_type": str(values.dtype),
    }
    if refused.any():
        block[refused] = 0
        number = f"{int(refused.sum())} of {refused.size} pixels"
        provenance["left_out"] = (
            f"{number} are NaN in every channel, as CytoSpec marks refused spectra; they are zero"
        )
    return Cube(block, found, None, provenance)


def _info(variables: dict[str, Any]) -> dict[str, Any]:
    found = variables.get("Info", variables.get("Minfo"))
    return found if isinstance(found, dict) else {}


def _parameters(text: Any) -> dict[str, float]:
    """The numbers among the parameters, each in the row before its name."""
    rows = text.split("\n") if isinstance(text, str) else []
    found = {}
    for value, name in itertools.pairwise(rows):
        key = name.strip()
        if len(key) == 3 and key.isalpha() and key.isupper():
            try:
                found[key] = float(value)
            except ValueError:
                continue
    return found
