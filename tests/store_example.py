"""Small stores for tests: non-square, of different sizes, mostly background."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compseg_jax.runtime.csv_tables import csv_rows, csv_text
from compseg_jax.store.read import HASHES, SPLITS, Sample, Store
from compseg_jax.store.write import StoreWriter

SIZES = ((12, 20), (7, 9), (16, 5))
CHANNELS = 3
WAVENUMBERS_CM1 = np.array([1700.25, 1650.0, 1100.5])


def sample_arrays(size: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Absorbance (y, x, c), tissue and reference mask (y, x) of one sample."""
    rng = np.random.default_rng(seed)
    tissue = np.zeros(size, bool)
    tissue[1:5, 2:4] = True
    absorbance = rng.normal(5.0, 2.0, (*size, CHANNELS)).astype(np.float32) * tissue[..., None]
    return absorbance, tissue, tissue & (rng.uniform(size=size) < 0.5)


def write_store(
    path: Path | str, *, sizes: Sequence[tuple[int, int]] = SIZES, splits: Sequence[str] = SPLITS
) -> Store:
    """A store with a healthy and a diseased sample of each size in each split; only the latter has a mask."""
    writer = StoreWriter(
        path,
        channels=CHANNELS,
        wavenumbers_cm1=WAVENUMBERS_CM1,
        pixel_size_um=5.5,
        background="zero",
        created_by="a test",
    )
    with writer:
        number = 0
        for split in splits:
            for size in sizes:
                for label in (0, 1):
                    absorbance, tissue, reference = sample_arrays(size, number)
                    sample = Sample(f"s{number}", label, split, f"p{number}", *size, label == 1, "made")
                    writer.add(sample, absorbance, tissue, reference if label else None)
                    number += 1
    return Store.open(path)


def as_written_before_hashes(path: Path) -> None:
    """Makes a store state no hashes of its tables, cubes and masks, as those of release 0.1."""
    values = json.loads((path / "dataset.json").read_text())
    for name in ("samples_sha256", "description_sha256"):
        values.pop(name, None)
    (path / "dataset.json").write_text(json.dumps(values))
    rows = list(csv_rows((path / "samples.csv").read_bytes().decode()))
    columns = [name for name in rows[0] if name not in HASHES]
    (path / "samples.csv").write_bytes(csv_text(columns, rows, line_end="\r\n").encode())
