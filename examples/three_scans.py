"""Scans for the tutorial of the spectroscopist: four simulated tissue arrays, and a workbook of labels for three.

python examples/three_scans.py PLACE makes PLACE/array1.npz to PLACE/array4.npz (4 × 6 cores each, infrared spectra from
1800 to 948 cm⁻¹, every array with a batch effect of its own) and PLACE/labels.xlsx.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from openpyxl import Workbook

from compseg_jax.ingest.phantom.spots import PhantomConfig, simulate_array, wavenumber_axis

ROWS, COLUMNS, GAP_PX = 4, 6, 8
LABELLED, ARRAYS = 3, 4
SPOTS = PhantomConfig(size=32, channels=32, difficulty=0.5)


def main(place: Path) -> None:
    """Writes scans and workbook into a folder."""
    place.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    table = book.active
    table.append(["id", "array", "core", "label", "patient"])
    pitch = SPOTS.size + GAP_PX
    for array in range(1, ARRAYS + 1):
        scan = np.zeros((ROWS * pitch + GAP_PX, COLUMNS * pitch + GAP_PX, SPOTS.channels), np.float32)
        for spot in simulate_array(SPOTS, seed=0, n=ROWS * COLUMNS, array=array - 1):
            row, column = divmod(spot.index, COLUMNS)
            top, left = GAP_PX + row * pitch, GAP_PX + column * pitch
            scan[top : top + SPOTS.size, left : left + SPOTS.size] = spot.absorbance
            if array <= LABELLED:
                core, label = f"{'ABCD'[row]}{column + 1}", "tumour" if spot.label else "normal"
                table.append([f"t{array}_{core}", f"array{array}", core, label, f"P{array}{spot.index:02d}"])
        axis = wavenumber_axis(SPOTS.channels)
        np.savez(place / f"array{array}.npz", absorbance=scan, wavenumbers_cm1=axis, pixel_size_um=10.0)
    book.save(place / "labels.xlsx")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
