"""From the scan of a tissue array to a table of its cores and a picture to check them by: `compseg dearray`."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from compseg_jax.ingest.cores.core_map import core_map_png
from compseg_jax.ingest.cores.dearray import (
    DearrayOptions,
    find_cores,
    shown_picture,
    tissue_picture,
    write_cores_csv,
)
from compseg_jax.ingest.cores.grid import STATUSES
from compseg_jax.readers.reading_options import ReadingOptions
from compseg_jax.readers.scan import ask_for_transmittance, open_scan
from compseg_jax.runtime.files import atomic_file


@dataclass(frozen=True)
class DearrayScan(DearrayOptions, ReadingOptions):
    """Find the cores of a tissue-array scan; writes a CSV to edit and a picture to check it by."""

    scan: Path = field(kw_only=True)
    """Scan of the array in any readable format; mosaics are read by parts and may be larger than memory."""
    out: Path | None = None
    """CSV to write, and beside it a PNG of the same name; <scan>_cores.csv in the current folder if not given."""
    replace: bool = False
    """Replace a CSV that is there already, edits and all."""


def dearray(options: DearrayScan) -> str:
    """Finds the cores, writes CSV and PNG, and says what was found.

    Raises:
      FileExistsError: when the CSV is there and is not to be replaced.
      CubeError, ValueError: when the scan cannot be read or shows no cores.
    """
    table = options.out or Path(f"{options.scan.stem}_cores.csv")
    if table.exists() and not options.replace:
        raise FileExistsError(
            f"{table} exists already and may hold edits. Choose another --out, or --replace it by cores found anew."
        )
    if not table.parent.is_dir():
        raise FileNotFoundError(
            f"{table.parent}: there is no such folder for the CSV. Make it, or choose another --out."
        )
    scan = open_scan(options.scan, **options.instructions.keywords())
    ask_for_transmittance(scan, options.transmittance, options.scan)
    picture = tissue_picture(scan)
    grid = find_cores(picture, pixel_size_um=scan.pixel_size_um, options=options)
    drawing = table.with_suffix(".png")
    with atomic_file(drawing) as partial:
        partial.write_bytes(core_map_png(shown_picture(scan, picture), grid))
    write_cores_csv(table, grid, options.scan.name)
    counts = Counter(core.status for core in grid.cores)
    size = f"{grid.core_diameter_px:.0f} pixels"
    if scan.pixel_size_um:
        size = f"{grid.core_diameter_px * scan.pixel_size_um / 1000:.2f} mm ({size})"
    found = f"{grid.rows} rows and {grid.columns} columns, {grid.cores[0].name} to {grid.cores[-1].name}"
    states = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    places = f"--scans {shlex.quote(str(options.scan))} --cores {shlex.quote(str(table))}"
    following = f"compseg ingest LABELS.csv {places}{options.words} --prepare …"
    return "\n".join(
        [
            f"{options.scan}: {found}, turned by {grid.angle_deg:.1f}°",
            f"cores: {states}; diameter {size}",
            f"picture to check: {drawing}",
            f"table to edit: {table} (set keep to 0, rename, move)",
            f"next: {following}",
        ]
    )
