"""Reading cubes from a store beside one without checksums, plain zarr-python and numpy.memmap.

The files are in memory already. What checksums cost by themselves is the first comparison; what reading cost before
cubes had any is in docs/decisions/57.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.record import Record, cpu_name, measurement
from compseg_jax.runtime.versions import versions
from compseg_jax.store.kvstore import open_array
from compseg_jax.store.ome import CHECKSUM
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter

CROP = 64
MB = 1e6


def smooth_cube(rng: np.random.Generator, size: int, channels: int) -> np.ndarray:
    """A cube that compresses like a spectrum's: broad bands times smooth maps, and noise of a thousandth."""
    axis = np.linspace(0, 1, channels, dtype=np.float32)
    bands = np.stack([np.exp(-(((axis - centre) / 0.05) ** 2)) for centre in rng.random(12)])
    maps = rng.random((size, size, 12), np.float32)
    noise = rng.standard_normal((size, size, channels), np.float32)
    return maps @ bands.astype(np.float32) + np.float32(1e-3) * noise


def measured_reading(rounds: int, size: int = 256, channels: int = 450, n: int = 3) -> Iterator[Record]:
    """Full cubes and random 64×64 crops, one record per peer; MB are of absorbances as they come out."""
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        path = Path(folder) / "store"
        _write(path, rng, size, channels, n)
        store, bare = Store.open(path), Store.open(_without_checksums(path))
        for index in range(n):
            np.save(Path(folder) / f"{index}.npy", store.read(f"s{index}"))
        crops = [(int(y), int(x)) for y, x in rng.integers(0, size - CROP + 1, (16, 2))]
        for what in ("full", f"crop{CROP}"):
            windows = [(0, 0, size)] if what == "full" else [(y, x, CROP) for y, x in crops]
            readers = _readers(store, bare, Path(folder), n, windows)
            times: dict[str, list[float]] = {name: [] for name in readers}
            for round_ in range(rounds + 1):
                for name, read in readers.items():
                    started = time.perf_counter()
                    read()
                    # The first round brings the files into memory.
                    if round_:
                        times[name].append((time.perf_counter() - started) / (n * len(windows)))
            own = times.pop("ours")
            megabytes = windows[0][2] ** 2 * channels * 4 / MB
            for peer, seconds in times.items():
                name = f"read_{what}/c{channels}_s{size}"
                record = measurement(name, cpu_name(), versions(), own, (peer, seconds))
                record["mb_per_s"] = round(megabytes / record["median_s"], 1)
                record["peer_mb_per_s"] = round(megabytes / record["peer_median_s"], 1)
                record["remark"] = f"{record['mb_per_s']:.0f} MB/s against {record['peer_mb_per_s']:.0f}"
                yield record


def _write(path: Path, rng: np.random.Generator, size: int, channels: int, n: int) -> None:
    axis = np.linspace(1800, 948, channels)
    common = {"pixel_size_um": None, "background": "none", "created_by": "benchmarks"}
    with StoreWriter(path, channels=channels, wavenumbers_cm1=axis, **common) as writer:  # type: ignore[arg-type]
        for index in range(n):
            sample = Sample(f"s{index}", index % 2, "train", f"g{index}", size, size, False)
            cube = smooth_cube(rng, size, channels)
            writer.add(sample, cube, np.ones((size, size), bool), None)


def _without_checksums(path: Path) -> Path:
    """A copy of a store whose cubes are written as before they had checksums."""
    bare = path.with_name("bare")
    shutil.copytree(path, bare)
    for array in bare.glob("cubes/*.zarr/0"):
        metadata = json.loads((array / "zarr.json").read_text(encoding="utf-8"))
        metadata["codecs"][0]["configuration"]["codecs"].remove(CHECKSUM)
        values = open_array(array, open=True, read=True).read().result()
        shutil.rmtree(array)
        open_array(array, spec={"metadata": metadata}, create=True, write=True).write(values).result()
    return bare


def _readers(
    store: Store, bare: Store, folder: Path, n: int, windows: list[tuple[int, int, int]]
) -> dict[str, Callable[[], None]]:
    import zarr

    zarrs = [zarr.open_array(store.path / "cubes" / f"s{i}.zarr" / "0", mode="r") for i in range(n)]
    memmaps = [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(n)]
    boxes = [(slice(y, y + size), slice(x, x + size)) for y, x, size in windows]

    def read(from_store: Store) -> None:
        for index in range(n):
            for y, x in boxes:
                from_store.read_crop(f"s{index}", y, x)

    def plain_zarr() -> None:
        for array in zarrs:
            for y, x in boxes:
                np.ascontiguousarray(np.moveaxis(np.asarray(array[:, y, x]), 0, -1))

    def memmap() -> None:
        for array in memmaps:
            for y, x in boxes:
                np.array(array[y, x])

    ours = {"ours": partial(read, store), "without checksums": partial(read, bare)}
    return {**ours, f"zarr-python {version('zarr')}": plain_zarr, "numpy.memmap": memmap}
