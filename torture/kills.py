"""SIGKILL at random moments; then the same command again, or --resume: its result is the undisturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torture.commands import Ran, begun, ended, out_of, undisturbed
from torture.outcomes import Row

NAMES = ("ingest", "predict", "export", "train")


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n cases, over the commands in turn; each is killed once or twice before it may end."""
    for command, expected in undisturbed(folder, seed, NAMES):
        row = Row(f"{command.name}: killed at random moments, then again", seed)
        began = time.monotonic()
        ended(begun(command.typed(out_of(folder, command, f"{command.name}-timed"))))
        whole_s = time.monotonic() - began
        for case, choose in row.choices(-(-n // len(NAMES))):
            out = out_of(folder, command, f"{command.name}-{case}")
            moments = [whole_s * choose.uniform(0.2, 1.0) for _ in range(choose.choice((1, 1, 2)))]
            for moment in moments:
                process = begun(command.typed(out))
                time.sleep(moment)
                process.kill()
                process.communicate()
                if out.exists() and command.name in ("ingest", "export"):
                    break  # whole or absent: they refuse what is there
            is_whole = out.exists() and command.name in ("ingest", "export")
            ran = Ran(0, "") if is_whole else ended(begun(command.typed(out)))
            what = "killed after " + ", ".join(f"{moment:.2f} s" for moment in moments)
            row.count(case, what, ran.outcome(partial(command.result, out), expected))
        yield row
