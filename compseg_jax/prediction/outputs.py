"""The files of a finished sample, each format by its writer in ``export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compseg_jax.prediction.working import WorkingMaps


def write_outputs(
    folder: Path,
    sample_id: str,
    maps: WorkingMaps,
    outputs: Sequence[str],
    *,
    threshold: float,
    pixel_size_um: float | None,
) -> dict[str, str]:
    """Writes what was asked for; returns the names of the files by their key in predictions.json."""
    return {}
