"""ME-EMSC against biospectools on the same machine, in the same run, with the same settings and stop rule.

    python benchmarks/me_emsc.py --data DATA [--spectra 2000] [--channels 450] [--repeats 5] [--no-peer]

DATA holds ``measuredSpectra.mat`` and ``MieStd2_refSpec.csv`` of biospectools' test data. The 60 measured
spectra are repeated to the number asked for. Corrections and peer runs alternate, so that both meet the same
load; the peer corrects the 60 spectra once per round. Prints one JSON line; times are seconds per spectrum.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.io

from compseg_jax.spectra.scatter.mie import me_emsc

MAX_ITERATIONS, TOLERANCE, PATIENCE = 30, 1e-4, 1


def spectra_of(folder: Path, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra, axis and reference on the first ``channels`` wavenumbers from 1000 cm⁻¹ up."""
    stored = scipy.io.loadmat(folder / "measuredSpectra.mat", simplify_cells=True)["Spectra"]
    axis = np.asarray(stored["v"], float).ravel()[:channels]
    lines = (folder / "MieStd2_refSpec.csv").read_text().splitlines()
    reference_axis, reference = ([float(value) for value in line.split(",")[1:]] for line in lines)
    return np.asarray(stored["d"], float)[:, :channels], axis, np.interp(axis, reference_axis, reference)


def seconds_a_spectrum(correct: Callable[[np.ndarray], object], spectra: np.ndarray) -> float:
    start = time.perf_counter()
    correct(spectra)
    return (time.perf_counter() - start) / len(spectra)


def spread(times: list[float]) -> float:
    return max(times) - min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--spectra", type=int, default=2000)
    parser.add_argument("--channels", type=int, default=450)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true", help="time the correction alone")
    arguments = parser.parse_args()
    measured, axis, reference = spectra_of(arguments.data, arguments.channels)
    repeats = -(-arguments.spectra // len(measured))
    tiled = np.tile(measured, (repeats, 1))[: arguments.spectra].astype(np.float32)

    def ours(spectra: np.ndarray) -> Any:
        settings: dict[str, Any] = {"stop": "tolerance", "max_iterations": MAX_ITERATIONS}
        return me_emsc(spectra, axis, reference, tolerance=TOLERANCE, patience=PATIENCE, **settings)

    started = time.perf_counter()
    result = ours(tiled)
    first = time.perf_counter() - started
    record = {
        "name": "me_emsc",
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("jax", "jaxlib", "numpy")},
        },
        "spectra": len(tiled),
        "channels": arguments.channels,
        "first_call_s": first,
    }
    times, peer_times = [], []
    if not arguments.no_peer:
        from biospectools.preprocessing import MeEMSC

        def peer(spectra: np.ndarray) -> Any:
            model = MeEMSC(reference.copy(), axis, max_iter=MAX_ITERATIONS, tol=TOLERANCE, patience=PATIENCE)
            return model.transform(spectra, details=True)

        corrected, details = peer(measured)
        agree = details.n_iterations == result.iterations[: len(measured)]
        difference = np.sqrt(np.mean((result.corrected[: len(measured)] - corrected) ** 2, axis=1))
        record["same_iterations"] = float(agree.mean())
        record["max_rms_difference"] = float(difference[agree].max())
    for _ in range(arguments.repeats):
        times.append(seconds_a_spectrum(ours, tiled))
        if not arguments.no_peer:
            peer_times.append(seconds_a_spectrum(peer, measured))
    record |= {"median_s": statistics.median(times), "spread_s": spread(times)}
    if peer_times:
        median = statistics.median(peer_times)
        record |= {"peer": "biospectools " + version("biospectools"), "peer_median_s": median}
        record |= {"peer_spread_s": spread(peer_times), "ratio": median / record["median_s"]}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
