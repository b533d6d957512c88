"""Cores of tissue-array scans as the samples of a table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
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
    shown_picture,
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

    @property
    def shown(self) -> Float[np.ndarray, "y x"] | Float[np.ndarray, "y x 3"]:
        """The array as a person is shown it: in colours where the scan has them."""
        return shown_picture(self.scan, self.picture)

    def core(self, name: str) -> Core:
        """The core of a name; raises KeyError."""
        return {core.name: core for core in self.grid.cores}[name]

    def cut(self, name: str, margin: float) -> tuple[Cube, Bool[np.ndarray, "y x"]]:
        """A core's cube, and the pixels of it that are nearer to this core than to any other."""
        core = self.core(name)
        window = core_window(core, self.grid, margin=margin)
        return cut_core(self.scan, core, self.grid, margin=margin), own_tissue(core, self.grid, window)


def open_arrays(options: IngestOptions) -> dict[Path, TissueArray]:
    """Opens every scan and finds its cores, or takes them from the CSV given for it; errors as of `find_arrays`."""

    def opened(path: Path) -> Scan:
        scan = open_scan(path, **options.instructions.keywords())
        ask_for_transmittance(scan, options.transmittance, path)
        return scan

    return find_arrays(options.scans, options.cores, opened)


def find_arrays(
    scans: Sequence[Path], cores: Sequence[Path], opened: Callable[[Path], Scan]
) -> dict[Path, TissueArray]:
    """The arrays of scans, whose cores are found, or those of the CSV given for each.

    Args:
      scans: files.
      cores: a CSV of `compseg dearray` for each scan, in their order; none to have all cores found.
      opened: opens a scan.

    Raises:
      IngestError: when a CSV is of another scan.
      CubeError, ValueError: when a scan cannot be read or its cores are not found.
    """
    arrays: dict[Path, TissueArray] = {}
    csvs: list[GivenCores] = []
    for number, path in enumerate(scans):
        scan = opened(path)
        picture = tissue_picture(scan)
        if cores:
            grid = read_cores_csv(cores[number])
            csvs.append(GivenCores(cores[number], grid, path, picture))
        else:
            try:
                grid = find_cores(picture, pixel_size_um=scan.pixel_size_um)
            except ValueError as error:
                raise IngestError(
                    f"{path}: {error} Where that does not help, find its cores with what is known of them (compseg "
                    f"dearray {shlex.quote(str(path))} --rows N --columns N) and give the CSV with --cores."
                ) from error
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
