"""Activation maps and masks as OME-Zarr 0.5: written tile by tile, finished by levels, read lazily.

    activation.ome.zarr/        image (y, x), float32 in [0, 1], levels '0', '1', … each half of the one before
      labels/segmentation/      label image, uint8, 1 = segmented
      labels/tissue/            label image, uint8, 1 = tissue

https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.store import ome
from compseg_jax.store.pyramid import (
    Level,
    build_levels,
    create_level,
    halved_mask,
    halved_mean,
    open_levels,
    pixel_size_um,
    steps,
    write_group,
)
from compseg_jax.store.read import StoreError

SEGMENTATION, TISSUE = "segmentation", "tissue"
_JOURNAL = "written.jsonl"
_COLOURS = {SEGMENTATION: [232, 89, 12, 150], TISSUE: [110, 110, 110, 90]}
_OMERO = {
    "channels": [
        {
            "label": "activation",
            "color": "FF8000",
            "active": True,
            "window": {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0},
        }
    ]
}
"""Viewers draw 0 to 1 from black to full colour, whatever the values of one image are."""


@dataclass(frozen=True)
class ActivationMaps:
    """What a finished activation.ome.zarr holds; nothing is read before a part is asked for.

    Each is a picture (y, x) at several levels, the full resolution first: ``maps.activation[0][rows, columns]``.
    """

    path: Path
    activation: tuple[Level, ...]
    """float32 in [0, 1], 0 outside the tissue."""
    segmentation: tuple[Level, ...]
    """uint8, 1 where segmented."""
    tissue: tuple[Level, ...]
    """uint8, 1 in the tissue."""
    pixel_size_um: float | None
    """Edge of a full-resolution pixel in µm, or None where unknown."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at full resolution."""
        height, width = self.activation[0].shape
        return height, width


def open_maps(path: Path | str) -> ActivationMaps:
    """Opens an activation.ome.zarr; raises StoreError where it is missing or damaged."""
    path = Path(path)
    labels = path / "labels"
    return ActivationMaps(
        path=path,
        activation=open_levels(path),
        segmentation=open_levels(labels / SEGMENTATION),
        tissue=open_levels(labels / TISSUE),
        pixel_size_um=pixel_size_um(path),
    )


class ActivationMapWriter:
    """Writes an activation map and its masks in pieces of any size, in any order.

    All goes to a hidden folder beside ``path`` that `finish` renames, so ``path`` is complete or absent. What a
    killed process has written stays there: with ``resume`` a writer of the same image goes on, and `has` says
    which pieces are there already. One process writes an image at a time.
    """

    def __init__(
        self,
        path: Path | str,
        shape: tuple[int, int],
        *,
        pixel_size_um: float | None = None,
        resume: bool = False,
        made_from: str = "",
    ) -> None:
        """Begins an image, or goes on with one.

        Args:
          path: folder to write, such as ``activation.ome.zarr``.
          shape: rows and columns.
          pixel_size_um: edge of a pixel in µm, or None where unknown.
          resume: goes on with what an earlier writer left; without, that is removed.
          made_from: what the values depend on (a hash of weights and options, say); pieces that were made from
            something else are not kept.

        Raises:
          StoreError: if ``path`` exists, or the shape has no pixels.
        """
        self.path = Path(path)
        if self.path.exists():
            raise StoreError(f"{self.path} exists already. Remove it, or choose another place.")
        if len(shape) != 2 or min(shape) < 1:
            raise StoreError(
                f"{self.path}: the shape is {shape}, required (rows, columns) of at least 1 each."
            )
        self.shape = (int(shape[0]), int(shape[1]))
        self._pixel_size_um = pixel_size_um
        self._staging = self.path.with_name(f".{self.path.name}.partial")
        beginning = json.dumps({"shape": self.shape, "made_from": made_from})
        kept = _pieces_of(self._staging / _JOURNAL, beginning) if resume else []
        if not kept:
            shutil.rmtree(self._staging, ignore_errors=True)
        self._groups = {name: self._staging / "labels" / name for name in (SEGMENTATION, TISSUE)}
        self._activation = create_level(self._staging / "0", self.shape, "float32", "yx")
        self._masks = {
            name: create_level(group / "0", self.shape, "uint8", "yx") for name, group in self._groups.items()
        }
        self._pieces = set(kept)
        # Written anew: a killed process may have left half a line.
        lines = [beginning, *(json.dumps(piece) for piece in kept)]
        (self._staging / _JOURNAL).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def has(self, y0: int, x0: int, height: int, width: int) -> bool:
        """Whether this very piece has been written, by this writer or by the one it resumes."""
        return (y0, x0, height, width) in self._pieces

    def write(
        self,
        y0: int,
        x0: int,
        activation: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "h w"],
        tissue: Bool[np.ndarray, "h w"],
    ) -> None:
        """Writes a piece whose first pixel is (y0, x0); it is on disk when this returns.

        Pieces whose edges are multiples of 512 are written fastest.

        Raises:
          StoreError: if the three differ in shape or reach out of the image, or the activation leaves [0, 1].
        """
        where = f"{self.path}: the piece at row {y0}, column {x0}"
        height, width = activation.shape
        if activation.ndim != 2 or mask.shape != activation.shape or tissue.shape != activation.shape:
            shapes = (activation.shape, mask.shape, tissue.shape)
            raise StoreError(f"{where} has the shapes {shapes}, required one and the same (y, x).")
        if min(y0, x0) < 0 or y0 + height > self.shape[0] or x0 + width > self.shape[1]:
            raise StoreError(
                f"{where} is {activation.shape} large and reaches out of the image {self.shape}."
            )
        if not ((activation >= 0) & (activation <= 1)).all():
            raise StoreError(
                f"{where} holds an activation that is not from 0 to 1. Check the network and its input."
            )
        region = (slice(y0, y0 + height), slice(x0, x0 + width))
        self._activation[region] = activation.astype(np.float32, copy=False)
        self._masks[SEGMENTATION][region] = mask.astype(np.bool_).astype(np.uint8)
        self._masks[TISSUE][region] = tissue.astype(np.bool_).astype(np.uint8)
        piece = (y0, x0, height, width)
        with (self._staging / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(f"{json.dumps(piece)}\n")
        self._pieces.add(piece)

    def finish(self) -> ActivationMaps:
        """Adds the smaller levels and the metadata, and puts the image in its place.

        Raises:
          StoreError: if some pixels were never written.
        """
        self._check_all_written()
        spans = steps(self.shape)
        build_levels(self._staging, self._activation, halved_mean)
        name = self.path.name.split(".")[0]
        write_group(self._staging, ome.pyramid_group(name, "yx", spans, self._pixel_size_um, omero=_OMERO))
        write_group(self._staging / "labels", ome.labels_group(list(self._groups)))
        for label, group in self._groups.items():
            build_levels(group, self._masks[label], halved_mask)
            about = {
                "colors": [{"label-value": 1, "rgba": _COLOURS[label]}],
                "source": {"image": "../../"},
            }
            write_group(
                group, ome.pyramid_group(label, "yx", spans, self._pixel_size_um, **{"image-label": about})
            )
        (self._staging / _JOURNAL).unlink()
        self._staging.rename(self.path)
        return open_maps(self.path)

    def discard(self) -> None:
        """Removes what was written so far."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def _check_all_written(self) -> None:
        for top in range(0, self.shape[0], ome.LEVEL_CHUNK):
            bottom = min(top + ome.LEVEL_CHUNK, self.shape[0])
            written = np.zeros((bottom - top, self.shape[1]), np.bool_)
            for y0, x0, height, width in self._pieces:
                written[max(y0 - top, 0) : max(y0 + height - top, 0), x0 : x0 + width] = True
            if not written.all():
                row, column = (int(i) for i in np.argwhere(~written)[0])
                raise StoreError(
                    f"{self.path}: pixel (row {top + row}, column {column}) was never written. Write every piece first."
                )


def _pieces_of(journal: Path, beginning: str) -> list[tuple[int, int, int, int]]:
    """Pieces that a journal lists, if it began the same image; the line that a killed process left is left out."""
    if not journal.is_file():
        return []
    whole_lines = journal.read_text(encoding="utf-8").split("\n")[:-1]
    if whole_lines[:1] != [beginning]:
        return []
    return [tuple(json.loads(line)) for line in whole_lines[1:]]
