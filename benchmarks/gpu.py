"""All that a GPU has to show, in three calls: ``benchmarks/gpu.sh training``, ``steps`` and ``variants``.

Each measurement runs in processes of its own under a time limit, and each line is kept as it is printed, so one
that fails or takes too long costs only what it had not said yet. `training`: the self-check, then the paper's
whole training. `steps`: training step and forward pass beside PyTorch (torch.compile, bfloat16 autocast, channels
last). `variants`: compiler options and layers of the step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import GPU_SIZES, cases
from benchmarks.record import RESULTS, Results, table

SMALL_SIZES = ((4, 6, 16, 4),)
SMALL_TRAINING = ("--size=16", "--channels=6", "--base=4", "--train=8", "--val=4", "--epochs=3", "--batch=4")
LIMIT_S = {"self_check": 50, "paper_training": 250, "train_step": 100, "forward": 80, "variants": 180}
PARTS = {
    "training": ("self_check", "paper_training"),
    "steps": ("train_step", "forward"),
    "variants": ("variants",),
}
LONGEST_CALL_S = 600
VARIANTS_BEGIN_WITHIN_S = 140
"""The last variant that is begun has the rest of its limit to compile and run."""


@dataclass(frozen=True)
class Measurement:
    """A process to run: its name in ``LIMIT_S`` and its command."""

    name: str
    command: Sequence[str]


def main() -> int:
    """Runs the parts asked for; the exit code is the number of measurements that failed."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)} (--small: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--folder", type=Path, help="folder for 25 GB of temporary data (default: temporary)")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU manages, to try the script")
    parser.add_argument("--no-peer", action="store_true", help="without PyTorch")
    options = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that what runs is ended, too
    parts = options.parts or (list(PARTS) if options.small else [])
    if not parts or not set(parts) <= set(PARTS):
        parser.error(f"name one or two of {', '.join(PARTS)}; found {parts}.")
    if not options.small and longest_s(parts) > LONGEST_CALL_S:
        parser.error(
            f"{', '.join(parts)} may take {longest_s(parts)} s together, a call {LONGEST_CALL_S}: name fewer."
        )
    arguments = [value for value in sys.argv[1:] if "/" not in value]
    command = " ".join(["benchmarks/gpu.sh", *arguments])
    results = Results(options.out, f"{_device()} {' '.join(parts)}", command)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="compseg-gpu-"))
    failed = 0
    try:
        for measurement in _measurements(parts, options, folder):
            print(f"== {measurement.name}", flush=True)
            failed += not run(measurement, results, LIMIT_S[measurement.name])
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\n{table([record for record in results.records if 'median_s' in record])}\n\nkept in {results.path}"
    )
    return failed


def longest_s(parts: Sequence[str]) -> int:
    """Seconds that these parts take at most."""
    return sum(LIMIT_S[name] for part in parts for name in PARTS[part])


def _measurements(parts: Sequence[str], options: argparse.Namespace, folder: Path) -> list[Measurement]:
    python = [sys.executable, "-m"]
    peer = [] if options.no_peer else ["--peer-python", sys.executable]
    training = [*(SMALL_TRAINING if options.small else ()), "--folder", str(folder)]
    rounds = ["--rounds", "2" if options.small else "9"]
    small = ["--small"] if options.small else []
    steps: dict[str, list[str]] = {
        case.kind: [*python, "benchmarks.steps", case.name, *peer, *rounds]
        for case in cases(SMALL_SIZES if options.small else GPU_SIZES)
    }
    commands: dict[str, list[str]] = {
        "self_check": [*python, "benchmarks.gpu_check"],
        "paper_training": [*python, "benchmarks.paper_training", *training],
        **steps,
        "variants": [*python, "benchmarks.gpu_variants", "--seconds", str(VARIANTS_BEGIN_WITHIN_S), *small],
    }
    return [Measurement(name, commands[name]) for part in parts for name in PARTS[part]]


def _device() -> str:
    program = "import jax; print(jax.devices()[0].device_kind)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def run(measurement: Measurement, results: Results, limit_s: float) -> bool:
    """Runs a measurement and keeps each JSON line as it is printed; False where it failed or took too long."""
    started = time.perf_counter()
    command = list(measurement.command)
    # A session of its own: what the measurement started must not keep the device when it is ended.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        clock = threading.Timer(limit_s, lambda: os.killpg(process.pid, signal.SIGKILL))
        clock.start()
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    results.add(json.loads(line))
            code = process.wait()
        finally:
            clock.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    took_s = time.perf_counter() - started
    if code:
        why = (
            f"was ended after its limit of {limit_s:.0f} s"
            if took_s >= limit_s
            else f"ended with code {code}"
        )
        print(f"{measurement.name} {why}", flush=True)
        return False
    print(f"{measurement.name}: {took_s:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
