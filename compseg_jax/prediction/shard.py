"""A part of the samples, so that the tasks of a job array share them without talking to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Every ``of``-th sample from the ``number``-th on.

    Samples of a folder that lie side by side are often alike in size, so they go to different shards.

    Attributes:
      number: from 1 to ``of``.
      of: how many shards there are.
    """

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> Shard:
        """'I/N' as a shard; raises ValueError where it is none."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is not None:
            number, of = int(found[1]), int(found[2])
            if 1 <= number <= of:
                return cls(number, of)
        raise ValueError(
            f"--shard {text!r}: I/N is required, I from 1 to N, such as 3/8 for the third of eight. Job arrays of "
            "SLURM: --array=1-8 and --shard $SLURM_ARRAY_TASK_ID/8."
        )

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Its own of all items."""
        return items[self.number - 1 :: self.of]
