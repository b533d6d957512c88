"""A slide's activation map in every format: time and peak memory of each.

    python -m benchmarks.exporting [--side 4096] [--grain 12] [--tile 512]

The map is smoothed noise: with a grain of 12 pixels a 4096 × 4096 slide has some 1,800 segmented regions, with 2 some
65,000. Every step runs in a process of its own; prints one JSON line per step. ``peak_mib`` is resident memory,
``start_mib`` that of the process before the step: Python and the libraries.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.record import Record, cpu_name
from compseg_jax.prediction.formats import ActivationMapWriter, open_maps, write_sample_files
from compseg_jax.runtime.versions import versions

STEPS = ("zarr", "png", "geojson", "tiff")
SEGMENTED = 0.3


def simulated_activation(folder: Path, side: int, grain: float) -> None:
    """Saves an activation map whose pixels above .5 are `SEGMENTED` of all."""
    noise = np.random.default_rng(0).random((side, side), np.float32)
    smooth = ndimage.gaussian_filter(noise, grain)
    height = (smooth - np.quantile(smooth, 1 - SEGMENTED)) / smooth.std()
    np.save(folder / "activation.npy", 1 / (1 + np.exp(-4 * height)))


def step(name: str, folder: Path, tile: int) -> Record:
    """Runs one step in this process."""
    start_mib = _peak_mib()
    started = time.perf_counter()
    if name == "zarr":
        values = np.load(folder / "activation.npy", mmap_mode="r")
        writer = ActivationMapWriter(folder / "activation.ome.zarr", values.shape, pixel_size_um=5.5)
        for y0 in range(0, values.shape[0], tile):
            for x0 in range(0, values.shape[1], tile):
                piece = np.array(values[y0 : y0 + tile, x0 : x0 + tile])
                writer.write(y0, x0, piece, piece > 0.5, np.ones(piece.shape, np.bool_))
        pieces_s = time.perf_counter() - started
        writer.finish()
        more = {
            "pieces_s": round(pieces_s, 2),
            "levels_s": round(time.perf_counter() - started - pieces_s, 2),
        }
    else:
        write_sample_files(folder, open_maps(folder / "activation.ome.zarr"), [name])  # type: ignore[list-item]
        more = {}
        if name == "geojson":
            text = (folder / "segmentation.geojson").read_text(encoding="utf-8")
            more = {"regions": text.count('"Feature"'), "file_mb": round(len(text) / 1e6, 1)}
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "peak_mib": _peak_mib(), "start_mib": start_mib, **more}


def _peak_mib() -> int | None:
    """Of this process alone (what `resource` states includes the one that started it); None where not Linux."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) // 1024 if found else None


def main() -> None:
    """Runs every step, or the one that its own process was started for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--grain", type=float, default=12)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step, options.folder, options.tile)))
        return
    with tempfile.TemporaryDirectory() as folder:
        simulated_activation(Path(folder), options.side, options.grain)
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.exporting", "--step", name, "--folder", folder]
            command += ["--tile", str(options.tile)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            about = {"name": f"exporting/{name}", "device": cpu_name(), "versions": versions()}
            size = {"side_px": options.side, "grain_px": options.grain}
            print(json.dumps(about | size | json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()
