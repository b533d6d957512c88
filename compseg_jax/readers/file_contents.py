"""What a file of named arrays holds, before it is decided which of them is the cube."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class NamedArray:
    """An array of a file.

    Attributes:
      shape: its shape.
      load: reads it.
      unit: the unit the file states for it, None where it states none.
      stored_type: name of its type in the file.
      said: entries of the provenance of a cube made of it.
      dims: names of its dimensions, where the file states them.
    """

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]
    unit: str | None = None
    stored_type: str = ""
    said: Mapping[str, str] | None = None
    dims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
      arrays: every numeric array by its full name (groups separated by `/`).
      texts: every text by its full name; one called `units` may state the unit of an axis beside it.
      unread: what else there is, by name, and why it is not read.
    """

    arrays: Mapping[str, NamedArray]
    texts: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
