"""Numbers with the range that they may lie in, stated once beside the type of a field.

A field ``alpha: Annotated[float, Range(0, 1)]`` says so to its reader, to `check_ranges`, which the ``__post_init__``
of its dataclass calls, and to the readers of files (``file_schema``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` to ``most``, NaN never among them; infinities only where a bound is one.

    Attributes:
      least: the smallest; None: there is none.
      most: the largest; None: there is none.
      above: whether ``least`` itself is left out.
      below: whether ``most`` itself is left out.
    """

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        low = self.least is None or (value > self.least if self.above else value >= self.least)
        high = self.most is None or (value < self.most if self.below else value <= self.most)
        return low and high

    def __str__(self) -> str:
        """In words, to stand behind 'must be'.

        >>> str(Range(1)), str(Range(0, 1, above=True)), str(Range(0, most=1))
        ('at least 1', 'above 0 and at most 1', 'at least 0 and at most 1')
        """
        parts = []
        if self.least is not None:
            parts.append(f"{'above' if self.above else 'at least'} {self.least:,}")
        if self.most is not None:
            parts.append(f"{'below' if self.below else 'at most'} {self.most:,}")
        return " and ".join(parts) or "finite"


SEED = Range(0, 2**32 - 1)
"""What jax makes a key of: of a larger one it would take the lower 32 bits, and be another seed than it says."""
Seed = Annotated[int, SEED]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, above=True)]
Count = Annotated[int, Range(0)]
Bootstrap = Annotated[int, Range(0, 1_000_000)]


def check_ranges(config: Any) -> None:
    """Raises ValueError where a field of a dataclass lies outside of the range that its annotation states."""
    cls: type = type(config)
    for name, allowed in _stated(cls).items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue  # left out, or a word that stands for a number; of what type it is, its reader sees to
        if value not in allowed:
            raise ValueError(f"{name}={value}: must be {allowed}.")


@functools.cache
def _stated(cls: type) -> dict[str, Range]:
    hints = get_type_hints(cls, include_extras=True)
    return {each.name: found for each in fields(cls) for found in _ranges_in(hints[each.name])}


def _ranges_in(hint: Any) -> Iterator[Range]:
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Range))
    for part in get_args(hint):
        yield from _ranges_in(part)
