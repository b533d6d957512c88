"""Spectra of files that steps need, brought to the axis of the spectra to be prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from compseg_jax.readers import read_spectra
from compseg_jax.readers.cube import CubeError
from compseg_jax.spectra.preparation.step_kinds import PreparationError
from compseg_jax.spectra.resampling import resampling_matrix


def spectra_of_file(
    step: str, setting: str, file: str, wavenumbers_cm1: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "n c"]:
    """All spectra of a file on an axis, float64.

    Raises:
      PreparationError: when there is no such file, it cannot be read, or does not cover the axis.
    """
    if not file:
        raise PreparationError(f"step {step!r} needs {setting}=FILE; give a file of spectra.")
    try:
        spectra = read_spectra(Path(file))
        matrix = resampling_matrix(spectra.wavenumbers_cm1, wavenumbers_cm1)
    except FileNotFoundError as error:
        raise PreparationError(
            f"step {step!r}, {setting}: there is no file {file}. Correct the path."
        ) from error
    except (CubeError, ValueError) as error:
        raise PreparationError(f"step {step!r}, {setting}={file}: {error}") from error
    return np.asarray(spectra.absorbance, np.float64) @ matrix.T


def spectrum_of_file(
    step: str, setting: str, file: str, wavenumbers_cm1: Float[np.ndarray, " c"]
) -> Float[np.ndarray, " c"]:
    """The one spectrum of a file on an axis; raises PreparationError as ``spectra_of_file``, and for several."""
    spectra = spectra_of_file(step, setting, file, wavenumbers_cm1)
    if len(spectra) != 1:
        raise PreparationError(
            f"step {step!r}, {setting}={file}: found {len(spectra)} spectra; required is one. Save the one that is "
            "meant, or their mean, as a file of its own."
        )
    return spectra[0]
