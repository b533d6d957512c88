"""Scans of tissue arrays as inputs: opened, their cores found or taken from a CSV, each core a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.ingest.cores.grid import Core
from compseg_jax.ingest.cores.window import core_window, own_tissue
from compseg_jax.ingest.tissue_arrays import TissueArray, find_arrays
from compseg_jax.model.specimen import Specimen
from compseg_jax.readers.cube import Background
from compseg_jax.readers.reading_again import OpenedScan, open_as_trained
from compseg_jax.readers.reading_options import Instructions
from compseg_jax.readers.scan import ROWS_AT_ONCE, Scan, ScanPart
from compseg_jax.spectra.tissue import tissue_from_background


@dataclass(frozen=True, eq=False)
class OpenedArray:
    """A scan with its cores, and how it was read.

    Attributes:
      array: the scan and its cores.
      instructions: by which its file is read.
      notes: what of that was repeated from training, in words.
    """

    array: TissueArray
    instructions: Instructions
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The scan's name without its suffix."""
        return self.array.path.stem

    @property
    def cores(self) -> list[ArrayCore]:
        """Those that are predicted: found on the scan, and to be kept."""
        found = [core for core in self.array.grid.cores if core.keep and core.status != "missing"]
        return [ArrayCore(self, core) for core in found]


@dataclass(frozen=True, eq=False)
class ArrayCore:
    """A core of an opened array."""

    array: OpenedArray
    core: Core

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns in its scan; they may leave it."""
        return core_window(self.core, self.array.array.grid)

    def specimen(self, background: Background) -> Specimen:
        """The core with the pixels that are its own, as `compseg ingest` cuts it.

        Args:
          background: how tissue is recognised where there is no mask.
        """
        grid, part = self.array.array.grid, ScanPart(self.array.array.scan, *self.window)
        own = own_tissue(self.core, grid, self.window)
        height = part.shape[0]
        for top in range(0, height if background == "zero" else 0, ROWS_AT_ONCE):
            rows = slice(top, min(top + ROWS_AT_ONCE, height))
            own[rows] &= tissue_from_background(np.asarray(part.window(rows, slice(None))), background)
        return Specimen(part, background, own)

    def place(self) -> dict[str, Any]:
        """Its name and where its window begins, by the names of `SamplePrediction`."""
        rows, columns = self.window
        return {"core": self.core.name, "top_px": rows.start, "left_px": columns.start}

    def identity(self) -> dict[str, Any]:
        """What its pixels depend on beside the file, as JSON values: all cores, which share the pixels out."""
        cores = self.array.array.grid.cores
        places = [[each.name, each.y_px, each.x_px, each.radius_px, each.status] for each in cores]
        return {"core": self.core.name, "cores": places}


def open_arrays_as_trained(
    scans: Sequence[Path], cores: Sequence[Path], given: Instructions, trained: Instructions
) -> list[OpenedArray]:
    """Opens scans as the training files were read, and finds their cores or takes those of the CSVs.

    Raises:
      IngestError: when a CSV is of another scan, or no cores are found.
      CubeError: when a scan cannot be read.
    """
    opened: dict[Path, OpenedScan] = {}

    def open_one(path: Path) -> Scan:
        opened[path] = open_as_trained(path, given, trained)
        return opened[path].scan

    found = find_arrays(scans, cores, open_one)
    return [
        OpenedArray(array, opened[path].instructions, opened[path].notes) for path, array in found.items()
    ]
