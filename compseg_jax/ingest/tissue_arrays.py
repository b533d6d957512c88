"""Cores of tissue-array scans as the samples of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.ingest.cores.dearray import (
    Core,
    CoreGrid,
    core_window,
    cut_core,
    find_cores,
    own_tissue,
    read_cores_csv,
    tissue_picture,
)
from compseg_jax.ingest.cores.same_scan import GivenCores, check_cores
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.records import SampleRecord
from compseg_jax.ingest.table import Row
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import Scan, ask_for_transmittance, open_scan


@dataclass(frozen=True, eq=False)
class TissueArray:
    """A scan with its cores.

    Attributes:
      path: its file.
      scan: the spectra, read by windows.
      picture: map that shows tissue bright, (y, x).
      grid: the cores.
      note: what is remarkable with them, '' for nothing.
    """

    path: Path
    scan: Scan
    picture: Float[np.ndarray, "y x"]
    grid: CoreGrid
    note: str = ""

    def core(self, name: str) -> Core:
        """The core of a name; raises KeyError."""
        return {core.name: core for core in self.grid.cores}[name]

    def cut(self, name: str, margin: float) -> tuple[Cube, Bool[np.ndarray, "y x"]]:
        """A core's cube, and the pixels of it that are nearer to this core than to any other."""
        core = self.core(name)
        window = core_window(core, self.grid, margin=margin)
        return cut_core(self.scan, core, self.grid, margin=margin), own_tissue(core, self.grid, window)


def open_arrays(options: IngestOptions) -> dict[Path, TissueArray]:
    """Opens every scan and finds its cores, or takes them from the CSV given for it.

    Raises:
      IngestError: when a CSV is of another scan.
      CubeError, ValueError: when a scan cannot be read or its cores are not found.
    """
    arrays: dict[Path, TissueArray] = {}
    csvs: list[GivenCores] = []
    for number, path in enumerate(options.scans):
        scan = open_scan(path, **options.instructions.keywords())
        ask_for_transmittance(scan, options.transmittance, path)
        picture = tissue_picture(scan)
        if options.cores:
            grid = read_cores_csv(options.cores[number])
            csvs.append(GivenCores(options.cores[number], grid, path, picture))
        else:
            grid = find_cores(picture, pixel_size_um=scan.pixel_size_um)
        arrays[path] = TissueArray(path, scan, picture, grid)
    for path, note in check_cores(csvs).items():
        arrays[path] = replace(arrays[path], note=note)
    return arrays


def join_cores(
    table: Path, rows: Sequence[Row], arrays: Mapping[Path, TissueArray]
) -> tuple[list[Row], list[SampleRecord]]:
    """The rows whose core can be cut, and a record of each that cannot.

    Raises:
      IngestError: when a row names a core that its array does not have.
    """
    kept, dropped, unknown = [], [], []
    for row in rows:
        names = {core.name: core for core in arrays[row.path].grid.cores}
        core = names.get(row.core)
        if core is None:
            unknown.append((row, [*names]))
        elif core.status == "missing":
            dropped.append(_dropped(row, "no tissue found at its place on the array"))
        elif not core.keep:
            dropped.append(_dropped(row, f"{core.status}, marked not to be kept"))
        else:
            kept.append(row)
    if unknown:
        row, listed = unknown[0]
        raise IngestError(
            f"{table}: {len(unknown)} row(s) name a core that was not found, the first {row.place()}; the array has "
            f"{listed[0]} to {listed[-1]}. Correct the table, or name the cores in a CSV of `compseg dearray` "
            "and give it with --cores."
        )
    if not kept:
        raise IngestError(
            f"{table}: every core that it lists is missing or not to be kept; nothing to ingest."
        )
    return kept, dropped


def _dropped(row: Row, why: str) -> SampleRecord:
    return SampleRecord(row.id, row.label, row.source(), kept=False, why=why)
