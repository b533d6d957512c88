"""Corrected chunks and prepared images kept on disk, so that long work that was stopped goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.runtime.files import atomic_file, remove_leftovers
from compseg_jax.spectra.preparation.step_kinds import Fitted, Step

VERSION = 1
"""Raised whenever a step computes something else than before, so that no old chunk is taken for a new one."""


def content_key(step: Step, fitted: Fitted, wavenumbers_cm1: np.ndarray, *spectra: np.ndarray) -> str:
    """Hash of a step, its settings and arrays, the axis, and the spectra it is given."""
    settings = json.dumps([VERSION, step.name, step.settings()], sort_keys=True, default=str)
    return _digest(settings, wavenumbers_cm1, *(fitted[key] for key in sorted(fitted)), *spectra)


def image_key(spectra: Float[np.ndarray, "n c"], mask: Bool[np.ndarray, "y x"]) -> str:
    """Hash of an image: its spectra, and where they lie."""
    return _digest("image", spectra, mask)


def _digest(words: str, *arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(words.encode(), digest_size=20)
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.shape} {values.dtype.str}".encode())
        digest.update(values)
    return digest.hexdigest()


class KeptChunks:
    """A folder of arrays, each file named after everything that what is in it depends on (:func:`content_key`).

    What is found is therefore always the right one, whatever changed since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = 0
        """Files whose work did not have to be done again."""

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of a file by name, or None where it is not there; one that was damaged is removed."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            # Opened here: NumPy leaves a file open that it cannot read as an archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = dict(arrays)
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            return None
        self.found += 1
        return found

    def put(self, name: str, **arrays: np.ndarray) -> None:
        """Keeps arrays, whole or not at all."""
        with atomic_file(self.folder / f"{name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Removes everything kept, once it is no longer needed."""
        remove_leftovers(self.folder)
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # something of another's may lie in it
