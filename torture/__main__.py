"""Runs the campaign: `make torture`, with options as in `make torture TORTURE="--quick --rows stored"`."""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from benchmarks.record import RESULTS
from torture.campaign import CASES, in_a_process, put
from torture.commands import TITLES
from torture.outcomes import table

QUICK = 60
"""One in so many cases are tried with --quick."""


def main() -> None:
    """Runs the parts asked for, each in a process of its own, and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--rows", nargs="+", default=list(CASES), choices=CASES, help="parts of the campaign")
    parser.add_argument(
        "--only", nargs="+", default=(), choices=TITLES, help="commands, of kills, room and twice"
    )
    parser.add_argument("--cases", type=float, default=1.0, help="times as many cases as usual (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"one in {QUICK} cases")
    parser.add_argument("--seed", type=int, default=20, help="of all that is drawn (default: 20)")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder of the table of today, as .md and .json"
    )
    options = parser.parse_args()
    share = options.cases / (QUICK if options.quick else 1)
    print(f"seed {options.seed}, {', '.join(options.rows)}", flush=True)
    command = shlex.join(["python", "-m", "torture", *_without(sys.argv[1:], "--out")])
    found = []
    for name in options.rows:
        n = max(1, round(CASES[name] * share))
        found += in_a_process(name, n, options.seed, partial(put, options.out, command), options.only)
    print(f"\n{table(found)}\n\nkept in {options.out}")
    sys.exit(any(row.bad for row in found))


def _without(words: list[str], option: str) -> list[str]:
    """A command line without an option and its value: where a table was written says nothing of what is in it."""
    at = words.index(option) if option in words else len(words)
    return words[:at] + words[at + 2 :]


if __name__ == "__main__":
    main()
