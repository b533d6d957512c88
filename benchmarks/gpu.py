"""All that a GPU has to show, in one run of at most nine minutes: called by ``benchmarks/gpu.sh``.

Each part runs in processes of its own under a time limit, and what it measured is written before the next one
starts, so a part that fails costs only itself. Parts: the self-check; training step and forward pass beside
PyTorch (torch.compile, bfloat16 autocast, channels last); the paper's whole training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cases import GPU_SIZES, Case, cases
from benchmarks.record import RESULTS, Results, table

SMALL_SIZES = ((4, 6, 16, 4),)
SMALL_TRAINING = ("--size=16", "--channels=6", "--base=4", "--train=8", "--val=4", "--epochs=3", "--batch=4")
LIMIT_S = {"self_check": 60, "steps": 210, "paper_training": 240}


def main() -> int:
    """Runs the parts; the exit code is the number of parts that failed."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--folder", type=Path, help="folder for 25 GB of temporary data (default: temporary)")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU manages, to try the script")
    parser.add_argument("--no-peer", action="store_true", help="without PyTorch")
    options = parser.parse_args()
    arguments = [value for value in sys.argv[1:] if "/" not in value]
    results = Results(options.out, _device(), " ".join(["benchmarks/gpu.sh", *arguments]))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="compseg-gpu-"))
    failed = 0
    try:
        for name, command in _parts(options, folder):
            print(f"== {name}", flush=True)
            failed += not _run(name, command, results)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\n{table([record for record in results.records if 'median_s' in record])}\n\nkept in {results.path}"
    )
    return failed


def _parts(options: argparse.Namespace, folder: Path) -> list[tuple[str, list[str]]]:
    python = [sys.executable, "-m"]
    peer = [] if options.no_peer else ["--peer-python", sys.executable]
    training = [*(SMALL_TRAINING if options.small else ()), "--folder", str(folder)]
    sizes: list[Case] = cases(SMALL_SIZES if options.small else GPU_SIZES)
    rounds = ["--rounds", "2" if options.small else "9"]
    steps = [("steps", [*python, "benchmarks.steps", case.name, *peer, *rounds]) for case in sizes]
    return [
        ("self_check", [*python, "benchmarks.gpu_check"]),
        *steps,
        ("paper_training", [*python, "benchmarks.paper_training", *training]),
    ]


def _device() -> str:
    program = "import jax; print(jax.devices()[0].device_kind)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def _run(name: str, command: list[str], results: Results) -> bool:
    """Runs one part and keeps the JSON lines it prints; False where it failed or took too long."""
    started = time.perf_counter()
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S[name], check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name} failed after {time.perf_counter() - started:.0f} s: {error}", flush=True)
        return False
    for line in run.stdout.splitlines():
        if line.startswith("{"):
            results.add(json.loads(line))
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
