"""Maps of a sample while it is predicted: raw files on disk, and a journal of the tiles that are in them.

``.<id>.partial/`` holds ``activation.f32`` and ``tissue.u8`` (row by row) and ``journal.txt``: a line of JSON that
says what is computed, then one line a finished tile. A line is written after the tile's pixels, so a process that is
killed leaves nothing torn: at most the tiles in hand are computed again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.prediction.tiles.plan import Tile, TilePlan

JOURNAL, ACTIVATION, TISSUE = "journal.txt", "activation.f32", "tissue.u8"
ROWS_BYTES = 16 * 2**20
"""Of a map that are looked at together."""


class WorkingMaps:
    """Activation and tissue of one sample on disk; a sink for tiles, read again by windows.

    Attributes:
      plan: tiles of the sample.
      done: numbers of the tiles that are there.
    """

    def __init__(self, folder: Path, plan: TilePlan, done: set[int]) -> None:
        self.folder, self.plan, self.done = folder, plan, done
        self._files = {
            name: os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644) for name in (ACTIVATION, TISSUE)
        }
        height, width = plan.shape_px
        os.ftruncate(self._files[ACTIVATION], 4 * height * width)
        os.ftruncate(self._files[TISSUE], height * width)
        self._journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND)

    @classmethod
    def begun(cls, folder: Path, plan: TilePlan, purpose: Mapping[str, Any]) -> WorkingMaps:
        """Empty maps; what the folder held before is removed.

        Args:
          folder: of the sample in progress.
          plan: its tiles.
          purpose: what is computed, as JSON values; it must be the same for going on.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        header = {"purpose": purpose, "shape_px": plan.shape_px, "size_px": plan.size_px}
        (folder / JOURNAL).write_text(json.dumps(header) + "\n", encoding="utf-8")
        return cls(folder, plan, set())

    @classmethod
    def continued(
        cls, folder: Path, shape_px: tuple[int, int], purpose: Mapping[str, Any]
    ) -> tuple[tuple[int, int], set[int]] | None:
        """Size of the tiles and numbers of those done in maps of the same purpose; None where there are none."""
        try:
            head, *lines = (folder / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
            header = json.loads(head)
            sizes = [(folder / name).stat().st_size for name in (ACTIVATION, TISSUE)]
        except (OSError, ValueError):
            return None
        pixels = shape_px[0] * shape_px[1]
        same = header.get("purpose") == json.loads(json.dumps(purpose))
        if not same or header.get("shape_px") != list(shape_px) or sizes != [4 * pixels, pixels]:
            return None
        height, width = header["size_px"]
        return (height, width), {int(line) for line in lines if line.endswith("\n")}

    def __enter__(self) -> WorkingMaps:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._files.values(), self._journal):
            os.close(descriptor)

    def write(
        self, tile: Tile, activation: Float[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]
    ) -> None:
        """Puts the core of a tile in its place and enters it in the journal."""
        self._put(ACTIVATION, tile, np.ascontiguousarray(activation, "<f4"))
        self._put(TISSUE, tile, np.ascontiguousarray(tissue, np.uint8))
        if not self.plan.is_whole:
            for descriptor in self._files.values():
                os.fsync(descriptor)  # pixels must not be missing where the journal says they are there
            os.write(self._journal, f"{tile.number}\n".encode())
            os.fsync(self._journal)
        self.done.add(tile.number)

    def activation(self, rows: slice = slice(None)) -> Float[np.ndarray, "y x"]:
        """Rows of the activation map."""
        return self._get(ACTIVATION, rows, np.dtype("<f4"))

    def tissue(self, rows: slice = slice(None)) -> Bool[np.ndarray, "y x"]:
        """Rows of the tissue mask."""
        return self._get(TISSUE, rows, np.dtype(np.uint8)).astype(bool)

    def bands(self) -> Iterator[slice]:
        """Rows that are looked at together, from the top."""
        height, width = self.plan.shape_px
        at_once = max(1, ROWS_BYTES // (4 * width))
        for top in range(0, height, at_once):
            yield slice(top, min(top + at_once, height))

    def _put(self, name: str, tile: Tile, values: np.ndarray) -> None:
        width, size = self.plan.shape_px[1], values.itemsize
        if values.shape[1] == width:
            _write_all(self._files[name], values.tobytes(), size * width * tile.y.first)
            return
        for row, line in enumerate(values, tile.y.first):
            _write_all(self._files[name], line.tobytes(), size * (width * row + tile.x.first))

    def _get(self, name: str, rows: slice, dtype: np.dtype) -> np.ndarray:
        height, width = self.plan.shape_px
        first, last, _ = rows.indices(height)
        wanted = dtype.itemsize * width * (last - first)
        parts, offset = [], dtype.itemsize * width * first
        while wanted:
            part = os.pread(self._files[name], wanted, offset)
            if not part:
                raise OSError(
                    f"{self.folder / name} is shorter than it was written; remove the folder and run again."
                )
            parts.append(part)
            wanted, offset = wanted - len(part), offset + len(part)
        return np.frombuffer(b"".join(parts), dtype).reshape(last - first, width)


def _write_all(descriptor: int, values: bytes, offset: int) -> None:
    while values:
        written = os.pwrite(descriptor, values, offset)
        values, offset = values[written:], offset + written
