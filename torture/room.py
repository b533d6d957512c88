"""No room and no right to write: every command says so in one sentence, and is whole when it is typed again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torture.commands import TITLES, Command, begun, ended, out_of, undisturbed
from torture.outcomes import Outcome, Row

# What a process writes to a file beyond its limit fails as on a full disk, with another number (EFBIG).
FULL = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"

# Administrators may write everywhere until they give their capabilities up (capset of Linux, version 3).
UNPRIVILEGED = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""


def rows(folder: Path, n: int, seed: int, only: Sequence[str] = TITLES) -> Iterator[Row]:
    """About n cases, over commands and both troubles in turn."""
    for command, expected in undisturbed(folder, seed, only):
        each = -(-n // (2 * len(TITLES)))
        full = Row(f"{command.title}: no file grows beyond a limit, then again", seed, "RLIMIT_FSIZE")
        for case, choose in full.choices(each):
            limit = choose.choice(
                (0, choose.randrange(200), choose.randrange(4000), choose.randrange(40_000))
            )
            out = out_of(folder, command, f"{command.title}-full-{case}")
            _tried(full, case, f"limit {limit} bytes", (command, out, FULL.format(limit=limit)), expected)
        yield full
        denied = Row(f"{command.title}: in a folder that may not be written, then again", seed)
        for case, choose in denied.choices(-(-each // 4)):
            place = folder / f"{command.title}-denied-{case}".replace(" ", "-")
            place.mkdir()
            place.chmod(0o555)
            out = out_of(place, command, _name(choose))
            _tried(denied, case, "no permission", (command, out, UNPRIVILEGED), expected)
        yield denied


def _name(choose: random.Random) -> str:
    return choose.choice(("out", "a b", "é"))


def _tried(row: Row, case: int, what: str, how: tuple[Command, Path, str], expected: str) -> None:
    command, out, before = how
    outcome = ended(begun(command.typed(out), before)).outcome(partial(command.result, out), expected)
    row.count(case, what, outcome)
    os.chmod(out.parent, 0o755)
    is_whole = out.exists() and command.is_whole_or_absent
    again = (
        Outcome("equal")
        if is_whole and not outcome.is_bad
        else ended(begun(command.typed(out))).outcome(partial(command.result, out), expected)
    )
    if again.kind == "refused":
        again = Outcome("crash", f"typed again, it is refused: {again.said}")
    row.count(case, f"{what}, typed again", again)
