"""An axis given in a file of its own, or in one of the files that lack it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from compseg_jax.readers import text_lines
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.formats import array, hdf5, matlab

_HOLDING = {".npz": array, ".mat": matlab, ".h5": hdf5, ".hdf5": hdf5}


def read_axis(path: Path) -> np.ndarray:
    """Reads wavenumbers in cm⁻¹, shape (c,), from a .npy file, or from text with blanks, commas or lines between.

    In a .npz, MATLAB or HDF5 file it is the one vector with the name of an axis, in the unit that the file states, or
    in cm⁻¹ because it is given as such.

    Raises:
      CubeError: if the file holds anything but numbers, or no such vector.
    """
    if not path.is_file():
        raise CubeError(
            f"{path}: there is no such file of an axis. Correct the path given with wavenumbers_cm1=."
        )
    holding = _HOLDING.get(path.suffix.lower())
    if holding is not None:
        return holding.read_axis(path)
    try:
        if path.suffix.lower() == ".npy":
            return array.load(path).astype(np.float64).ravel()
        words = " ".join(line.partition("#")[0] for line in text_lines.read_lines(path))
        return np.array([float(word) for word in re.split(r"[\s,;]+", words) if word])
    except ValueError as error:  # a CubeError is one, too
        raise CubeError(
            f"{path}: cannot be read as an axis ({error}); required are only numbers, one wavenumber in cm⁻¹ "
            "for each channel, as text or .npy. Correct the file given with --axis."
        ) from error
