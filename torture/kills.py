"""SIGKILL at random moments, and as a file of each kind appears; the same command again equals the undisturbed."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torture.commands import TITLES, Command, Ran, begun, ended, out_of, undisturbed
from torture.outcomes import Row

NOTHING_YET = ("Leave out --resume", "without --resume")
"""Said of a run that was killed before its first checkpoint: it is started as if it were the first time."""
WATCHING = Path(__file__).with_name("watching.py")


def rows(folder: Path, n: int, seed: int, only: Sequence[str] = TITLES) -> Iterator[Row]:
    """About n cases, over the commands in turn, half of them at random moments, half as soon as files appear."""
    for command, expected in undisturbed(folder, seed, only):
        each = -(-n // (2 * len(TITLES)))
        yield _at_random(folder, command, expected, (each, seed))
        yield _at_files(folder, command, expected, (each, seed))


def _at_random(folder: Path, command: Command, expected: str, how_many: tuple[int, int]) -> Row:
    n, seed = how_many
    row = Row(f"{command.title}: killed at random moments, then again", seed)
    began = time.monotonic()
    ended(begun(command.typed(out_of(folder, command, f"{command.title}-timed"))))
    whole_s = time.monotonic() - began
    for case, choose in row.choices(n):
        out = out_of(folder, command, f"{command.title}-{case}")
        moments = [whole_s * choose.uniform(0.2, 1.0) for _ in range(choose.choice((1, 1, 2)))]
        for moment in moments:
            process = begun(command.typed(out))
            time.sleep(moment)
            process.kill()
            process.communicate()
            if out.exists() and command.is_whole_or_absent:
                break  # they refuse what is there
        _again(
            row,
            case,
            "killed after " + ", ".join(f"{moment:.2f} s" for moment in moments),
            (command, out, expected),
        )
    return row


def _at_files(folder: Path, command: Command, expected: str, how_many: tuple[int, int]) -> Row:
    """Kinds of files are those that an undisturbed run was seen to make, names of its own being one kind."""
    n, seed = how_many
    place = folder / f"{command.title}-watched".replace(" ", "-")
    place.mkdir()
    seen = place.with_suffix(".kinds")
    ended(begun(command.typed(out_of(place, command, "out")), _watching(place, seen=seen)))
    kinds = sorted(set(seen.read_text().splitlines()))
    row = Row(f"{command.title}: killed as a file appears, then again", seed, f"{len(kinds)} kinds of files")
    random.Random(seed).shuffle(kinds)
    for case, choose in row.choices(n):
        kind = kinds[case % len(kinds)]
        place = folder / f"{command.title}-file-{case}".replace(" ", "-")
        place.mkdir()
        out = out_of(place, command, "out")
        later_s = choose.choice((0.0, 0.0, choose.uniform(0, 0.005)))
        ended(begun(command.typed(out), _watching(place, kind=kind, later_s=later_s)))
        _again(row, case, f"killed {1000 * later_s:.1f} ms after {kind}", (command, out, expected))
    return row


def _watching(place: Path, **how: object) -> str:
    """Statements that watch a folder from within the command, and end it there and then."""
    words = {name: os.fspath(value) if isinstance(value, Path) else value for name, value in how.items()}
    return f"{WATCHING.read_text()}\nwatch({os.fspath(place)!r}, **{words!r})"


def _again(row: Row, case: int, what: str, made: tuple[Command, Path, str]) -> None:
    command, out, expected = made
    is_whole = out.exists() and command.is_whole_or_absent
    ran = Ran(0, "") if is_whole else ended(begun(command.typed(out)))
    if ran.code and any(words in ran.said for words in NOTHING_YET):
        ran = ended(begun(command.typed(out, anew=True)))
    outcome = ran.outcome(partial(command.result, out), expected)
    row.count(case, what, outcome)
    left = [
        path.name for path in out.parent.iterdir() if re.fullmatch(rf"\.{re.escape(out.name)}\..*", path.name)
    ]
    if left and not outcome.is_bad and not is_whole:
        row.remark = f"leaves {left[0]}"
