"""Speed beside peers: prints one JSON line per measurement, then a table, and keeps both.

python -m benchmarks [--suites steps reading scaling starting] [--peer-python PATH] [--also-python PATH …]

Runs for about ten minutes on two cores, which should have no other load. Peers: PyTorch (from --peer-python, an
interpreter that has it), zarr-python and numpy.memmap, each in turn with ours within one run.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import CPU_SIZES, cases
from benchmarks.reading import measured_reading
from benchmarks.record import RESULTS, Record, Results, cpu_name, table
from benchmarks.scaling import measured_scaling
from benchmarks.starting import measured_starting
from benchmarks.steps import measured_steps

SUITES = ("steps", "reading", "scaling", "starting")


def main() -> None:
    """Runs the suites asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=SUITES, choices=SUITES)
    parser.add_argument("--peer-python", help="interpreter with torch; without it steps have no peer")
    parser.add_argument(
        "--also-python", nargs="*", default=[], help="further interpreters to measure ours with"
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds a measurement (default: 9)")
    parser.add_argument("--cases", default="", help="only the steps whose name contains this")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    for interpreter in [options.peer_python, *options.also_python]:
        if interpreter is not None and shutil.which(interpreter) is None:
            parser.error(
                f"{interpreter}: no such interpreter. `sh tools/bench_setup.sh` makes one with torch."
            )
    # Folders of interpreters say nothing elsewhere.
    arguments = [Path(value).name if "/bin/" in value else value for value in sys.argv[1:]]
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    results = Results(options.out, cpu_name(), command)
    for record in _records(options):
        results.add(record)
    timed = [record for record in results.records if "median_s" in record]
    print(f"\n{table(timed)}\n\n{_scaling_table(results.records)}\n\nkept in {results.path}")


def _records(options: argparse.Namespace) -> Iterator[Record]:
    if "steps" in options.suites:
        for case in cases(CPU_SIZES):
            if options.cases in case.name:
                ours = [sys.executable, *options.also_python]
                yield from measured_steps(case, ours, options.peer_python, options.rounds)
    if "reading" in options.suites:
        yield from measured_reading(options.rounds)
    if "scaling" in options.suites:
        yield from measured_scaling()
    if "starting" in options.suites:
        yield from measured_starting(options.rounds)


def _scaling_table(records: list[Record]) -> str:
    lines = ["| devices | collectives of a training step | bytes | parameters, bytes |", "|---|---|---|---|"]
    for record in records:
        if "collectives" in record:
            found = record["collectives"]
            kinds = ", ".join(f"{values['count']} {kind}" for kind, values in found.items()) or "none"
            total = sum(values["bytes"] for values in found.values())
            lines.append(
                f"| {record['device'].split()[0]} | {kinds} | {total:,} | {record['parameter_bytes']:,} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
