"""Spectra in chunks of a few sizes, so that memory is bounded and little is compiled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

CHUNK_SPECTRA = 8192
"""Spectra a step works on at once: 15 MB at 450 points; also what is lost at most when a run is killed."""


def padded(chunk: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "m c"]:
    """The chunk with spectra repeated up to the next power of two: each size is compiled once."""
    return np.resize(chunk, (2 ** (len(chunk) - 1).bit_length(), chunk.shape[1]))


def in_chunks(
    spectra: Float[np.ndarray, "n c"], work: Callable[[Float[np.ndarray, "m c"]], np.ndarray | Array]
) -> np.ndarray:
    """What ``work`` makes of all spectra (n, …), given padded chunks of them; there must be at least one."""
    chunks = [spectra[start : start + CHUNK_SPECTRA] for start in range(0, len(spectra), CHUNK_SPECTRA)]
    return np.concatenate([np.asarray(work(padded(chunk)))[: len(chunk)] for chunk in chunks])
