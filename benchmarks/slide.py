"""A slide larger than memory, predicted by `compseg predict`: time, peak memory, a kill half-way, and going on.

    python -m benchmarks.slide --folder NEW_FOLDER [--size 4096] [--channels 64] [--base 16] [--depth 4]
                               [--format npy|bip|bsq] [--model RUN/model] [--memory-gib 2.0] [--keep-memory] [--keep]
    python -m benchmarks.slide --folder FOLDER --before CHECKOUT [--rounds 1]

Simulates an array scan strip by strip (4.3 GB at the full size; every pixel counts as tissue, as in raw scans), then

1. predicts it in a process of its own: wall time, the sample's own time, peak resident memory;
2. times the network alone on as many pixels, tile by tile from memory, its compilation apart; as the command runs it,
   which returns freed memory to stay within its bound, or with --keep-memory at its fastest;
3. predicts it again, kills that process (SIGKILL) when half of the tiles are done, and goes on;
4. compares both maps, and reads GeoJSON and OME-Zarr back.

With --before, FOLDER holds slide.npy, axis.npy and model, as --keep left them; this revision and that of another
checkout predict it in turns, and their networks alone are timed in turns; one JSON line for each revision.

Prints one JSON line. Without --model the network has random weights, which take the same time; one that segments is
made by benchmarks.slide_network. Without --keep the folder is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.record import cpu_name
from compseg_jax.config import Network
from compseg_jax.ingest.cores.layout import ArrayPhantom
from compseg_jax.ingest.phantom.array_scan import simulate_array_scan
from compseg_jax.ingest.phantom.spots import wavenumber_axis
from compseg_jax.model import ExtractedNetwork, load_model
from compseg_jax.model.model_files import save_network
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.networks.part import Part
from compseg_jax.networks.receptive_field import receptive_field
from compseg_jax.prediction.formats.ome_zarr import open_maps
from compseg_jax.prediction.tiles.forward import program_of, variables_on
from compseg_jax.prediction.tiles.plan import TilePlan
from compseg_jax.runtime import data_mesh, keep_freed_memory
from compseg_jax.runtime.versions import versions
from compseg_jax.spectra.scaling import Scaling

STRIP = 64
CORES = 8
POLL_S = 0.05


def write_slide(folder: Path, size: int, channels: int, kind: str) -> Path:
    """Writes a simulated scan, a strip of rows at a time; returns the file to predict."""
    pitch = size / (CORES + 0.5)
    config = ArrayPhantom(
        rows=CORES,
        columns=CORES,
        pitch_px=(pitch, pitch),
        core_diameter_px=0.7 * pitch,
        noise=0.01,
        pixel_size_um=5.5,
    )
    scan = simulate_array_scan(config, 0, channels)
    if min(scan.shape[:2]) < size:
        raise ValueError(f"the simulated scan has {scan.shape[:2]} pixels, fewer than {size}.")
    path = folder / ("slide.npy" if kind == "npy" else f"slide.{kind}")
    # Written, not mapped: the memory of this process would be counted to those that it starts.
    with path.open("wb") as file:
        if kind == "npy":
            header = {"descr": "<f4", "fortran_order": False, "shape": (size, size, channels)}
            np.lib.format.write_array_header_1_0(file, header)
        for top in range(0, size, STRIP):
            rows = slice(top, min(top + STRIP, size))
            strip = scan.window(rows, slice(0, size)).astype("<f4", copy=False)
            if kind != "bsq":
                file.write(strip.tobytes())
                continue
            for band in range(channels):
                file.seek(4 * size * (band * size + top))
                file.write(strip[..., band].tobytes())
    if kind != "npy":
        axis = ", ".join(f"{value:.6f}" for value in scan.wavenumbers_cm1)
        path.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {size}\nlines = {size}\nbands = {channels}\nheader offset = 0\ndata type = 4\n"
            f"interleave = {kind}\nbyte order = 0\nwavelength units = Wavenumber\nwavelength = {{{axis}}}\n"
        )
    np.save(folder / "axis.npy", scan.wavenumbers_cm1)
    return path if kind == "npy" else path.with_suffix(".hdr")


def write_model(folder: Path, channels: int, base: int, depth: int) -> Path:
    """A network of random weights."""
    config = Network(base=base, depth=depth)
    network = build_network(config)
    variables = init_variables(network, jax.random.key(0), channels)
    scaling = Scaling(np.full(channels, 0.3, np.float32), np.full(channels, 0.2, np.float32))
    model = ExtractedNetwork(network, variables, scaling, wavenumber_axis(channels), 0.5, "zero", {})
    save_network(folder / "model", model, config)
    return folder / "model"


def started(words: Sequence[str], checkout: Path | None = None) -> subprocess.Popen[bytes]:
    """`compseg predict` in a process of its own, of another checkout where one is given."""
    command = [sys.executable, "-m", "compseg_jax.cli", "predict", *words]
    env = None if checkout is None else env_of(checkout)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env, cwd=checkout)


def finished(words: Sequence[str], checkout: Path | None = None) -> tuple[float, float, float]:
    """Runs it to the end: seconds, GiB of resident memory at its peak, and seconds of all processors together."""
    begin = time.perf_counter()
    process = started(words, checkout)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"compseg predict ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime


def journal_of(out: Path) -> list[str]:
    """Header and finished tiles of the sample in progress."""
    path = next(out.glob("samples/.*.partial/journal.txt"), None)
    return [] if path is None else path.read_text().splitlines()


def killed_half_way(words: Sequence[str], out: Path) -> dict[str, Any]:
    """Starts it and kills it when half of its tiles are done."""
    process = started(words)
    half, n_tiles, tile = 0, 0, (0, 0)
    while process.poll() is None:
        lines = journal_of(out)
        if lines and not n_tiles:
            header = json.loads(lines[0])
            tile = tuple(header["size_px"])
            plan = TilePlan(
                tuple(header["shape_px"]),
                tile,
                receptive_field(load_model(words_model(words)).networks[0].network),
            )
            n_tiles = len(plan.tiles)
            half = n_tiles // 2
        if n_tiles > 1 and len(lines) - 1 >= half:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(POLL_S)
    process.wait()
    return {"tiles": n_tiles, "tile_px": list(tile), "tiles_at_kill": max(0, len(journal_of(out)) - 1)}


def words_model(words: Sequence[str]) -> str:
    """The model of a command."""
    return words[list(words).index("--model") + 1]


def forward_alone(model_folder: Path, plan: TilePlan) -> dict[str, float]:
    """Seconds of the network alone on the pixels of a plan's image, without any overlap or file.

    Its program is that of tiles of which all counts.
    """
    model, mesh = load_model(model_folder).networks[0], data_mesh(1)
    height, width = plan.size_px
    tile = np.random.default_rng(0).standard_normal((1, height, width, len(model.scaling.mean)), np.float32)
    tissue = np.ones((1, height, width), bool)
    start = np.zeros(1, np.int32)
    part = None if plan.part_px is None else Part(start, start, plan.size_px)
    begin = time.perf_counter()
    program = program_of(model, mesh, plan.size_px, None if part is None else plan.size_px)
    compile_s = time.perf_counter() - begin
    variables = variables_on(model, mesh)

    def computed() -> None:
        np.asarray(program(variables, *jax.device_put((tile, tissue, None, part), mesh.devices.flat[0])))

    computed()
    pixels, seconds = 0, 0.0
    while pixels < plan.shape_px[0] * plan.shape_px[1]:
        begin = time.perf_counter()
        computed()
        seconds += time.perf_counter() - begin
        pixels += height * width
    each = seconds / pixels
    return {
        "forward_s": round(each * plan.shape_px[0] * plan.shape_px[1], 2),
        "forward_compile_s": round(compile_s, 2),
    }


def main() -> None:
    """Simulates, predicts, kills, goes on, compares; prints the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    for name, value in (("size", 4096), ("channels", 64), ("base", 16), ("depth", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--format", choices=("npy", "bip", "bsq"), default="npy")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--memory-gib", type=float, default=2.0)
    parser.add_argument("--tile-px", type=int)
    parser.add_argument("--no-kill", action="store_true", help="leave out the killed run")
    parser.add_argument(
        "--keep-memory", action="store_true", help="time the network alone with freed memory kept"
    )
    parser.add_argument("--keep", action="store_true", help="leave the slide and the predictions there")
    parser.add_argument("--before", type=Path, help="a checkout of another revision, to be measured in turns")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    if options.before:
        for record in in_turns(options.folder.absolute(), options):
            print(json.dumps(record), flush=True)
        return
    if options.keep_memory:
        keep_freed_memory()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    try:
        print(json.dumps(measured(folder, options)), flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder)


ALONE = """
import json, math, sys, time
from pathlib import Path
from benchmarks.slide import TilePlan, forward_alone, load_model, receptive_field
model, size, tile = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
field = receptive_field(load_model(model).networks[0].network)
plan = TilePlan((size, size), tuple(tile), field)
found = forward_alone(model, plan)
begin, tiles = time.process_time(), size**2 / math.prod(tile)
forward_alone(model, plan)  # compiled by now: its tiles, and one to warm up
each = (time.process_time() - begin) / (math.ceil(tiles) + 1)
print(json.dumps({**found, "forward_cpu_s": each * tiles}))
"""
"""The network alone, as the checkout in which it is started times it; seconds of all processors besides."""
TILE_PX = (1472, 2240)


def in_turns(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Records of another checkout and of this one, whose runs take turns."""
    height, width, _ = np.load(folder / "slide.npy", mmap_mode="r").shape
    slide, model = str(folder / "slide.npy"), str(folder / "model")
    words = [
        slide,
        "--model",
        model,
        "--memory-gib",
        str(options.memory_gib),
        "--axis",
        str(folder / "axis.npy"),
    ]
    checkouts = {"before": options.before.absolute(), "now": Path(__file__).parents[1]}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(options.rounds):
        for name, checkout in checkouts.items():
            out = folder / f"predictions-{name}"
            shutil.rmtree(out, ignore_errors=True)
            wall_s, peak_gib, cpu_s = finished([*words, "--out", str(out)], checkout)
            entry = json.loads((out / "predictions.json").read_text())["samples"][0]
            found[name].append(
                {"wall_s": wall_s, "sample_s": entry["seconds"], "peak_gib": peak_gib, "cpu_s": cpu_s}
            )
        for name, checkout in checkouts.items():
            command = [sys.executable, "-c", ALONE, model, str(height), json.dumps(TILE_PX)]
            alone = subprocess.run(
                command, cwd=checkout, env=env_of(checkout), check=True, capture_output=True
            )
            found[name][-1] |= json.loads(alone.stdout)
    records = []
    for name, rounds in found.items():
        medians = {key: round(statistics.median(each[key] for each in rounds), 2) for key in rounds[0]}
        over = {
            f"overhead_of_{what}": round(medians[f"{what}_s"] / medians["forward_s"] - 1, 3)
            for what in ("sample", "wall")
        }
        # What does not depend on what else the machine does.
        over["overhead_of_cpu"] = round(medians["cpu_s"] / medians["forward_cpu_s"] - 1, 3)
        size = f"{height}x{width}x{len(np.load(folder / 'axis.npy'))}"
        about = {"name": f"slide/{size}_npy/{name}", "device": cpu_name(), "versions": versions()}
        records.append({**about, "rounds": options.rounds, **medians, **over})
    return records


def env_of(checkout: Path) -> dict[str, str]:
    """The environment in which a checkout's packages are the ones imported."""
    return {**os.environ, "PYTHONPATH": str(checkout)}


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The record of one slide."""
    begin = time.perf_counter()
    slide = write_slide(folder, options.size, options.channels, options.format)
    simulated_s = time.perf_counter() - begin
    model = options.model or write_model(folder, options.channels, options.base, options.depth)
    words = [str(slide), "--model", str(model), "--memory-gib", str(options.memory_gib)]
    words += ["--axis", str(folder / "axis.npy")] if options.format == "npy" else []
    words += [] if options.tile_px is None else ["--tile-px", str(options.tile_px)]
    record: dict[str, Any] = {
        "name": f"slide/{options.size}x{options.size}x{options.channels}_{options.format}",
        "device": cpu_name(),
        "versions": versions(),
        "cube_gb": round(4e-9 * options.size**2 * options.channels, 2),
        "simulated_s": round(simulated_s, 1),
    }
    whole, resumed = folder / "whole", folder / "resumed"
    wall_s, peak_gib, _ = finished([*words, "--out", str(whole)])
    entry = json.loads((whole / "predictions.json").read_text())["samples"][0]
    record |= {"wall_s": round(wall_s, 1), "sample_s": entry["seconds"], "peak_gib": round(peak_gib, 2)}
    field = receptive_field(load_model(model).networks[0].network)
    if options.no_kill:
        size = (options.tile_px or 512,) * 2
    else:
        record |= killed_half_way([*words, "--out", str(resumed)], resumed)
        size = tuple(record["tile_px"])
        record["resumed_s"] = round(finished([*words, "--out", str(resumed)])[0], 1)
        maps = [open_maps(out / "samples" / slide.stem / "activation.ome.zarr") for out in (whole, resumed)]
        one, other = (np.asarray(each.activation[0][:]) for each in maps)
        record["resumed_equals_whole"] = bool(np.array_equal(one, other))
    regions = json.loads((whole / "samples" / slide.stem / "segmentation.geojson").read_text())["features"]
    record["geojson_regions"] = len(regions)
    plan = TilePlan((options.size, options.size), size, field)
    # Without the killed run, whose journal tells the tiles, their size is known where it was given alone.
    record |= {} if options.no_kill and options.tile_px is None else {"overlap": round(plan.overlap, 3)}
    record |= forward_alone(model, plan)
    pixels = options.size**2
    record |= {
        "pixels_per_s": round(pixels / wall_s),
        "forward_pixels_per_s": round(pixels / record["forward_s"]),
        "overhead_of_sample": round(entry["seconds"] / record["forward_s"] - 1, 3),
        "overhead_of_wall": round(wall_s / record["forward_s"] - 1, 3),
    }
    return record


if __name__ == "__main__":
    main()
