"""Activation maps and masks as OME-Zarr 0.5: written tile by tile, finished by levels, read lazily.

    activation.ome.zarr/        image (y, x), float32 in [0, 1], levels '0', '1', … each half of the one before
      labels/segmentation/      label image, uint8, 1 = segmented
      labels/tissue/            label image, uint8, 1 = tissue

https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.config.locations import Location, location
from compseg_jax.runtime.files import begin_staging, put_new, remove
from compseg_jax.store import ome
from compseg_jax.store.chunk_trailers import KEY
from compseg_jax.store.pyramid import (
    Level,
    build_levels,
    create_level,
    halved_mask,
    halved_mean,
    open_levels,
    pixel_size_um,
    steps,
    trailers_below,
    trailers_of,
    write_group,
)
from compseg_jax.store.read import StoreError

SEGMENTATION, TISSUE = "segmentation", "tissue"
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

    path: Location
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


def open_maps(path: Location | str, sha256: str = "") -> ActivationMaps:
    """Opens an activation.ome.zarr, or one below a URL; every chunk that is read is held against what the image states.

    Args:
      path: of the image.
      sha256: of its zarr.json (``SamplePrediction.images_sha256``), which tells it from another sample's; '' where
        that is not known.

    Raises:
      StoreError: where it is missing or damaged, or its hash is another.
    """
    path = location(path)
    labels, trailers = path / "labels", trailers_below(path, sha256)
    return ActivationMaps(
        path=path,
        activation=open_levels(path, trailers),
        segmentation=open_levels(labels / SEGMENTATION, trailers, f"labels/{SEGMENTATION}/"),
        tissue=open_levels(labels / TISSUE, trailers, f"labels/{TISSUE}/"),
        pixel_size_um=pixel_size_um(path),
    )


@dataclass(frozen=True)
class MapArrays:
    """The full resolution of an image in progress, written in pieces of any size, in any order.

    One thread writes at a time: pieces that share a chunk are put into it one after the other.
    """

    folder: Path
    activation: Level
    segmentation: Level
    tissue: Level

    @classmethod
    def at(cls, folder: Path, shape: tuple[int, int], *, durable: bool = False) -> MapArrays:
        """Arrays of zeros in a folder, or those of the same image that are there already.

        Args:
          folder: of the image.
          shape: rows and columns.
          durable: waits for the disk after every piece.

        Raises:
          StoreError: if arrays of another image are there, or the shape has no pixels.
        """
        if len(shape) != 2 or min(shape) < 1:
            raise StoreError(f"{folder}: the shape is {shape}, required (rows, columns) of at least 1 each.")
        labels = folder / "labels"
        return cls(
            folder,
            create_level(folder / "0", shape, "float32", "yx", durable=durable),
            create_level(labels / SEGMENTATION / "0", shape, "uint8", "yx"),
            create_level(labels / TISSUE / "0", shape, "uint8", "yx", durable=durable),
        )

    @staticmethod
    def are_at(folder: Path) -> bool:
        """Whether arrays in progress are in a folder."""
        places = (folder, folder / "labels" / SEGMENTATION, folder / "labels" / TISSUE)
        return all((place / "0" / "zarr.json").is_file() for place in places)

    def write(
        self, y0: int, x0: int, activation: Float[np.ndarray, "h w"], tissue: Bool[np.ndarray, "h w"]
    ) -> None:
        """Writes a piece whose first pixel is (y0, x0), but for its segmentation.

        Pieces whose edges are multiples of 512 are written fastest.

        Raises:
          StoreError: if the two differ in shape or reach out of the image, or the activation leaves [0, 1].
        """
        where = f"{self.folder}: the piece at row {y0}, column {x0}"
        if activation.ndim != 2 or tissue.shape != activation.shape:
            shapes = (activation.shape, tissue.shape)
            raise StoreError(f"{where} has the shapes {shapes}, required one and the same (y, x).")
        height, width = activation.shape
        image = self.activation.shape
        if min(y0, x0) < 0 or y0 + height > image[0] or x0 + width > image[1]:
            raise StoreError(f"{where} is {activation.shape} large and reaches out of the image {image}.")
        if not ((activation >= 0) & (activation <= 1)).all():
            raise StoreError(
                f"{where} holds an activation that is not from 0 to 1. Check the network and its input."
            )
        region = (slice(y0, y0 + height), slice(x0, x0 + width))
        self.activation[region] = activation.astype(np.float32, copy=False)
        self.tissue[region] = tissue.astype(np.bool_).astype(np.uint8)

    def finish(self, name: str, pixel_size_um: float | None) -> ActivationMaps:
        """Adds the smaller levels and the metadata; what of them is there already is written again."""
        height, width = self.activation.shape
        spans = steps((height, width))
        levels = {
            str(number): level
            for number, level in enumerate(build_levels(self.folder, self.activation, halved_mean))
        }
        write_group(self.folder / "labels", ome.labels_group([SEGMENTATION, TISSUE]))
        for label, level in ((SEGMENTATION, self.segmentation), (TISSUE, self.tissue)):
            group = self.folder / "labels" / label
            masks = build_levels(group, level, halved_mask)
            levels |= {f"labels/{label}/{number}": each for number, each in enumerate(masks)}
            about = {
                "colors": [{"label-value": 1, "rgba": _COLOURS[label]}],
                "source": {"image": "../../"},
            }
            write_group(group, ome.pyramid_group(label, "yx", spans, pixel_size_um, **{"image-label": about}))
        image = ome.pyramid_group(name, "yx", spans, pixel_size_um, omero=_OMERO)
        image["attributes"]["compseg"] = {KEY: trailers_of(levels)}
        write_group(self.folder, image)
        return open_maps(self.folder)


class ActivationMapWriter:
    """Writes an activation map and its masks in pieces of any size, in any order.

    All goes to a hidden folder beside ``path`` that `finish` puts there, so ``path`` is complete or absent.
    """

    def __init__(
        self, path: Path | str, shape: tuple[int, int], *, pixel_size_um: float | None = None
    ) -> None:
        """Begins an image.

        Args:
          path: folder to write, such as ``activation.ome.zarr``.
          shape: rows and columns.
          pixel_size_um: edge of a pixel in µm, or None where unknown.

        Raises:
          StoreError: if ``path`` exists, or the shape has no pixels.
        """
        self.path = Path(path)
        if self.path.exists():
            raise StoreError(f"{self.path} exists already. Remove it, or choose another place.")
        self._staging = begin_staging(self.path)
        self._arrays = MapArrays.at(self._staging, shape)
        self._pixel_size_um = pixel_size_um
        self._pieces: set[tuple[int, int, int, int]] = set()

    def write(
        self,
        y0: int,
        x0: int,
        activation: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "h w"],
        tissue: Bool[np.ndarray, "h w"],
    ) -> None:
        """Writes a piece whose first pixel is (y0, x0).

        Raises:
          StoreError: if the three differ in shape or reach out of the image, or the activation leaves [0, 1].
        """
        if mask.shape != activation.shape:
            raise StoreError(
                f"{self.path}: the mask of the piece at row {y0}, column {x0} has the shape {mask.shape}, its "
                f"activation {activation.shape}; required one and the same (y, x)."
            )
        self._arrays.write(y0, x0, activation, tissue)
        height, width = activation.shape
        region = (slice(y0, y0 + height), slice(x0, x0 + width))
        self._arrays.segmentation[region] = mask.astype(np.bool_).astype(np.uint8)
        self._pieces.add((y0, x0, height, width))

    def finish(self) -> ActivationMaps:
        """Adds the smaller levels and the metadata, and puts the image in its place.

        Raises:
          StoreError: if some pixels were never written.
        """
        self._check_all_written()
        self._arrays.finish(self.path.name.split(".")[0], self._pixel_size_um)
        put_new(self._staging, self.path)
        return open_maps(self.path)

    def discard(self) -> None:
        """Removes what was written so far."""
        remove(self._staging)

    def _check_all_written(self) -> None:
        height, width = self._arrays.activation.shape
        for top in range(0, height, ome.LEVEL_CHUNK):
            bottom = min(top + ome.LEVEL_CHUNK, height)
            written = np.zeros((bottom - top, width), np.bool_)
            for y0, x0, rows, columns in self._pieces:
                written[max(y0 - top, 0) : max(y0 + rows - top, 0), x0 : x0 + columns] = True
            if not written.all():
                row, column = (int(i) for i in np.argwhere(~written)[0])
                raise StoreError(
                    f"{self.path}: pixel (row {top + row}, column {column}) was never written. Write every piece first."
                )
