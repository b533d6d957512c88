"""Corrected chunks kept on disk, so that a long correction that was stopped goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from compseg_jax.runtime.files import atomic_file, remove_leftovers
from compseg_jax.spectra.preparation.step import Corrected, Fitted, Step

VERSION = 1
"""Raised whenever a step computes something else than before, so that no old chunk is taken for a new one."""


class KeptChunks:
    """A folder of corrected chunks, each named after everything it depends on.

    The name is a hash of the step, its settings and arrays, the axis and the spectra themselves; a chunk
    that is found is therefore always the right one, whatever changed since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = 0
        """Chunks that did not have to be computed again."""

    def name(
        self, step: Step, fitted: Fitted, wavenumbers_cm1: np.ndarray, spectra: Float[np.ndarray, "n c"]
    ) -> str:
        """Hash of a step and the spectra it is given."""
        digest = hashlib.blake2b(digest_size=20)
        settings = json.dumps([VERSION, step.name, step.settings()], sort_keys=True, default=str)
        digest.update(settings.encode())
        for array in (wavenumbers_cm1, *(fitted[key] for key in sorted(fitted)), spectra):
            values = np.ascontiguousarray(array)
            digest.update(f"{values.shape} {values.dtype.str}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def get(self, name: str) -> Corrected | None:
        """A chunk, or None where it is not there; one that was damaged is removed."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            # Opened here: NumPy leaves a file open that it cannot read as an archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                chunk = Corrected(arrays["spectra"], arrays["failed"])
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            return None
        self.found += 1
        return chunk

    def put(self, name: str, chunk: Corrected) -> None:
        """Keeps a chunk, whole or not at all."""
        with atomic_file(self.folder / f"{name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, spectra=chunk.spectra, failed=chunk.failed)

    def remove(self) -> None:
        """Removes everything kept, once it is no longer needed."""
        remove_leftovers(self.folder)
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # something of another's may lie in it
