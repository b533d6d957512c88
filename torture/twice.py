"""Two of each command at once with the same place: one may be refused, none breaks the other's result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torture.commands import TITLES, Ran, begun, ended, out_of, undisturbed
from torture.outcomes import Row


def rows(folder: Path, n: int, seed: int, only: Sequence[str] = TITLES) -> Iterator[Row]:
    """About n pairs, over the commands in turn."""
    for command, expected in undisturbed(folder, seed, only):
        row = Row(f"{command.title}: two at once with the same --out", seed)
        for case, choose in row.choices(-(-n // len(TITLES))):
            out = out_of(folder, command, f"{command.title}-{case}")
            between_s = choose.choice((0.0, 0.0, 0.3, 1.0))
            first = begun(command.typed(out))
            time.sleep(between_s)
            second = begun(command.typed(out))
            for which, process in (("first", first), ("second", second)):
                ran = ended(process)
                what = f"the {which}, {between_s:g} s apart"
                row.count(case, what, ran.outcome(partial(command.result, out), expected))
            row.count(case, "what they leave", Ran(0, "").outcome(partial(command.result, out), expected))
        yield row
