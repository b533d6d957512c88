"""Training step and forward pass beside PyTorch: both frameworks in turn, each in a process of its own.

python -m benchmarks.steps CASE [--peer-python PATH] [--rounds 9]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cases import Case, flop_per_step
from benchmarks.record import Record, measurement
from benchmarks.worker import Worker

SECONDS_A_ROUND = 1.0


def measured_steps(case: Case, ours: Sequence[str], peer: str | None, rounds: int) -> Iterator[Record]:
    """One record for each interpreter of ``ours``, all measured in turn with the peer.

    Args:
      case: what to run.
      ours: Python interpreters that have compseg_jax's requirements.
      peer: Python interpreter that has torch; None measures without a peer.
      rounds: rounds of about a second; the medians are over them.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = [[python, "-m", "benchmarks.jax_worker"] for python in ours]
        if peer is not None:
            commands.append([peer, "-m", "benchmarks.torch_peer"])
        workers = [
            Worker(command, case, Path(folder) / f"{index}.log") for index, command in enumerate(commands)
        ]
        steps = [max(1, round(SECONDS_A_ROUND / worker.seconds_a_step(1))) for worker in workers]
        times: list[list[float]] = [[] for _ in workers]
        for _ in range(rounds):
            for worker, n, seconds in zip(workers, steps, times, strict=True):
                seconds.append(worker.seconds_a_step(n))
        peaks = [worker.finish() for worker in workers]
    peer_of = None if peer is None else (workers[-1].description["framework"], times[-1])
    flop = flop_per_step(case)
    for index in range(len(ours)):
        described = workers[index].description
        record = measurement(
            case.name,
            described["device"],
            described["versions"],
            times[index],
            peer_of,
            peak_memory_gib=peaks[index],
            start_and_first_step_s=described["start_and_first_step_s"],
        )
        record["tflops"] = round(flop / record["median_s"] / 1e12, 3)
        if peer is not None:
            record["peer_peak_memory_gib"] = peaks[-1]
            record["peer_device"] = workers[-1].description["device"]
        if len(ours) > 1:
            record["remark"] = f"jax {described['versions']['jax']}"
        yield record


def main() -> None:
    """Measures one case and prints its record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("case", help="such as train_step/base16_c450_s64_b7")
    parser.add_argument("--peer-python", help="interpreter with torch; without it there is no peer")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    try:
        case = Case.of_name(options.case)
    except ValueError as error:
        parser.error(str(error))
    for record in measured_steps(case, [sys.executable], options.peer_python, options.rounds):
        print(json.dumps(record))


if __name__ == "__main__":
    main()
