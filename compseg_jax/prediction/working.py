"""Maps of a sample while it is predicted: the OME-Zarr that it becomes, and a journal of the tiles that are in it.

``.<id>.partial/`` holds ``activation.ome.zarr``, whose full resolution is written tile by tile, and ``journal.txt``: a
line of JSON that says what is computed, then one line per finished tile, with its sums of how far it lies outside of
training, and its pixels left out by reason. A line is written after the tile's pixels, so a process that is killed
leaves nothing torn: at most the tiles in hand are computed again. The files of the finished sample are gathered in
``finished/``, the image last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.model.left_out import LeftOut, added
from compseg_jax.model.scale import rescaled_part
from compseg_jax.model.training_distribution import DepartureSums
from compseg_jax.prediction.formats.ome_zarr import ActivationMaps, MapArrays
from compseg_jax.prediction.tiles.plan import Tile, TilePlan
from compseg_jax.prediction.tiles.slide import Judged
from compseg_jax.runtime.files import put_new, remove
from compseg_jax.store.ome import LEVEL_CHUNK

TileSums = tuple[DepartureSums | None, ...]
"""Of each network; None for those that keep no training distribution, nothing where no tissue was."""


class Finished(NamedTuple):
    """What is kept of a finished tile beside its map.

    Attributes:
      sums: how far it lies outside of training.
      left_out: pixels that no network saw though they are not background, by reason.
    """

    sums: TileSums
    left_out: LeftOut


JOURNAL, ACTIVATION, FINISHED, OWN = "journal.txt", "activation.ome.zarr", "finished", "own_pixels"
BLOCK_PX = (LEVEL_CHUNK, 16 * LEVEL_CHUNK)
"""Rows and columns of a map that are looked at together: whole chunks."""


class WorkingMaps:
    """Activation and tissue of one sample on disk; a sink for tiles, read again by blocks.

    Attributes:
      folder: of the sample in progress.
      plan: tiles of the sample.
      done: what is kept of each tile that is there, by its number.
    """

    def __init__(self, folder: Path, plan: TilePlan, done: dict[int, Finished]) -> None:
        self.folder, self.plan, self.done = folder, plan, done
        self._judged: dict[int, Finished] = {}
        self._arrays = MapArrays.at(folder / ACTIVATION, plan.shape_px, durable=not plan.is_whole)
        self._journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND)

    @classmethod
    def begun(cls, folder: Path, plan: TilePlan, purpose: Mapping[str, Any]) -> WorkingMaps:
        """Empty maps; what the folder held before is removed.

        Args:
          folder: of the sample in progress.
          plan: its tiles.
          purpose: what is computed, as JSON values; it must be the same for going on.
        """
        remove(folder)
        folder.mkdir(parents=True)
        header = {"purpose": purpose, "shape_px": plan.shape_px, "size_px": plan.size_px}
        (folder / JOURNAL).write_text(json.dumps(header) + "\n", encoding="utf-8")
        return cls(folder, plan, {})

    @classmethod
    def continued(
        cls, folder: Path, shape_px: tuple[int, int], purpose: Mapping[str, Any]
    ) -> tuple[tuple[int, int], dict[int, Finished]] | None:
        """Size of the tiles and what is kept of those done in maps of the same purpose; None where there are none."""
        try:
            head, *lines = (folder / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
            header = json.loads(head)
        except (OSError, ValueError):
            return None
        same = header.get("purpose") == json.loads(json.dumps(purpose))
        if not same or header.get("shape_px") != list(shape_px):
            return None
        gathered = folder / FINISHED / ACTIVATION
        if gathered.exists() and not (folder / ACTIVATION).exists():  # killed before the sample got its place
            put_new(gathered, folder / ACTIVATION)
        if not MapArrays.are_at(folder / ACTIVATION):
            return None
        height, width = header["size_px"]
        try:
            return (height, width), dict(_read_line(line) for line in lines if line.endswith("\n"))
        except (ValueError, TypeError):  # written by another release
            return None

    def __enter__(self) -> WorkingMaps:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._journal)

    def judged(self, tile: Tile, judged: Judged) -> None:
        """Takes what is said of a tile, before it is written."""
        self._judged[tile.number] = Finished(judged.sums, judged.left_out)

    def write(
        self, tile: Tile, activation: Float[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]
    ) -> None:
        """Puts the core of a tile in its place and enters it in the journal.

        Raises:
          StoreError: when the activation is not from 0 to 1.
        """
        self._arrays.write(tile.y.first, tile.x.first, activation, tissue)
        said = self._judged.pop(tile.number, Finished((), {}))
        if not self.plan.is_whole:
            # The pixels are on the disk by now: none is missing where the journal says that it is there.
            os.write(self._journal, _line(tile.number, said).encode())
            os.fsync(self._journal)
        self.done[tile.number] = said

    def at_own_pixels(self, shape_px: tuple[int, int]) -> WorkingMaps:
        """The finished maps on other pixels of the same field of view, in a folder inside this one.

        Args:
          shape_px: rows and columns of the image as it was measured.
        """
        found = WorkingMaps.begun(self.folder / OWN, TilePlan(shape_px, shape_px), {})
        for rows, columns in found.blocks():
            activation, tissue = rescaled_part(
                lambda *part: (self.activation(*part), self.tissue(*part)),
                self.plan.shape_px,
                shape_px,
                (rows, columns),
            )
            found._arrays.write(rows.start, columns.start, np.clip(activation, 0, 1), tissue)
        found.done = self.done
        return found

    def sums(self) -> TileSums:
        """Of each network over all tiles; None where it cannot say, or no tile of it was looked at."""
        totals: list[DepartureSums | None] = []
        each = [finished.sums for finished in self.done.values()]
        for number in range(max((len(sums) for sums in each), default=0)):
            found = [sums[number] for sums in each if number < len(sums)]
            told = [sums for sums in found if sums is not None]
            totals.append(reduce(DepartureSums.__add__, told) if told else None)
        return tuple(totals)

    def left_out(self) -> dict[str, int]:
        """Pixels that no network saw though they are not background, by reason, over all tiles."""
        return added([finished.left_out for finished in self.done.values()])

    def has_tissue(self) -> bool:
        """Whether any pixel was predicted."""
        return any(self.tissue(*block).any() for block in self.blocks())

    def activation(self, *block: slice) -> Float[np.ndarray, "y x"]:
        """Rows (and columns) of the activation map."""
        return self._arrays.activation[block]

    def tissue(self, *block: slice) -> Bool[np.ndarray, "y x"]:
        """Rows (and columns) of the tissue mask."""
        return self._arrays.tissue[block].astype(bool)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns that are looked at together."""
        (height, width), (rows, columns) = self.plan.shape_px, BLOCK_PX
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))

    def finished(self, threshold: float, pixel_size_um: float | None) -> ActivationMaps:
        """The whole image: its segmentation, its smaller levels and its metadata are added."""
        for block in self.blocks():
            segmented = self.tissue(*block) & (self.activation(*block) > threshold)
            self._arrays.segmentation[block] = segmented.astype(np.uint8)
        return self._arrays.finish(ACTIVATION.split(".")[0], pixel_size_um)


def _line(number: int, said: Finished) -> str:
    sums = [None if each is None else each.to_json() for each in said.sums]
    return json.dumps([number, sums, dict(said.left_out)]) + "\n"


def _read_line(line: str) -> tuple[int, Finished]:
    number, sums, left_out = json.loads(line)
    read = tuple(None if each is None else DepartureSums.from_json(each) for each in sums)
    return int(number), Finished(read, dict(left_out))
