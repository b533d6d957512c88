"""Where files belong that a folder refers to: found from any working folder, and after all were moved together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def place_of(path: Path, folder: Path) -> dict[str, str]:
    """A path as a file in ``folder`` keeps it: as it is on this machine, and relative to the folder."""
    absolute = path.resolve()
    try:
        relative = Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        relative = str(absolute)
    return {"path": str(absolute), "relative": relative}


def found_place(place: Mapping[str, str], folder: Path) -> Path:
    """The path that :func:`place_of` kept; one that is no longer there is returned as it was on its machine."""
    moved = folder / place["relative"]
    return moved if moved.exists() else Path(place["path"])
