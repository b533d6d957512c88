"""Where files belong that a folder refers to: found from any working folder, and after all were moved together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compseg_jax.config.locations import Location, Url, is_url, location


def place_of(path: Location, folder: Path) -> dict[str, str]:
    """A place as a file in ``folder`` keeps it: a path from the root and relative to the folder, a URL as it is."""
    if isinstance(path, Url):
        return {"path": str(path), "relative": str(path)}
    absolute = path.resolve()
    try:
        relative = Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        relative = str(absolute)
    return {"path": str(absolute), "relative": relative}


def found_place(place: Mapping[str, str], folder: Path) -> Location:
    """The place that :func:`place_of` kept; one that is no longer there is returned as it was on its machine."""
    if is_url(place["path"]):
        return location(place["path"])
    moved = folder / place["relative"]
    return moved if moved.exists() else Path(place["path"])
