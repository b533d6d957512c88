"""OME-Zarr 0.5 images and labels of several resolutions, read lazily through TensorStore."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from compseg_jax.store import StoreError, array_spec

AXES = (["y", "x"], ["c", "y", "x"])


@dataclass(frozen=True)
class StoredLevel:
    """One resolution of an image on disk; nothing is read before a part is asked for."""

    path: Path
    array: ts.TensorStore

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extent, rows and columns last."""
        return tuple(self.array.shape)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of it; only the chunks that it touches are read. Raises StoreError where they are damaged."""
        try:
            part: np.ndarray = self.array[..., rows, columns].read().result()
        except ValueError as error:
            raise _damaged(self.path, error) from error
        return part


@dataclass(frozen=True)
class StoredImage:
    """An opened image: its resolutions, and what its metadata say.

    Attributes:
      path: its zarr group.
      levels: finest first, axes (y, x) or (c, y, x).
      scale_um: edge of a pixel of the first level in µm; None where the axes have no unit.
      attributes: everything under ``attributes`` of the group.
    """

    path: Path
    levels: tuple[StoredLevel, ...]
    scale_um: float | None
    attributes: dict[str, Any]


def open_image(path: Path) -> StoredImage:
    """Opens an OME-Zarr 0.5 image or label image; only the metadata of its arrays are read.

    Raises:
      StoreError: when it is missing, damaged, or has other axes than (y, x) and (c, y, x).
    """
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        multiscale = attributes["ome"]["multiscales"][0]
        axes = multiscale["axes"]
        datasets = [(str(each["path"]), each["coordinateTransformations"]) for each in multiscale["datasets"]]
        scale = [float(value) for value in datasets[0][1][0]["scale"]]
    except FileNotFoundError as error:
        raise StoreError(f"{path}: found no OME-Zarr image (no zarr.json). Predict again.") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(path, f"its OME-NGFF metadata lack {error!r}") from error
    names = [axis["name"] for axis in axes]
    if names not in AXES:
        raise _damaged(path, f"found the axes {names}, required ['y', 'x'] or ['c', 'y', 'x']")
    levels = tuple(StoredLevel(path / name, _open(path, name)) for name, _ in datasets)
    for level in levels:
        if len(level.shape) != len(names):
            raise _damaged(level.path, f"found the shape {level.shape}, required the axes {names}")
    unit = axes[-1].get("unit")
    return StoredImage(path, levels, scale[-1] if unit == "micrometer" else None, attributes)


def label_names(image: Path) -> list[str]:
    """Names of the label images of an image; empty where it has none."""
    path = image / "labels" / "zarr.json"
    if not path.is_file():
        return []
    try:
        return [str(n) for n in json.loads(path.read_text(encoding="utf-8"))["attributes"]["ome"]["labels"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _open(image: Path, name: str) -> ts.TensorStore:
    path = (image / name).resolve()
    if not path.is_relative_to(image.resolve()):
        raise _damaged(image, f"its array {name!r} lies outside of it")
    try:
        return ts.open(array_spec(path), open=True, read=True).result()
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, what: object) -> StoreError:
    return StoreError(f"{path} cannot be read ({what}). Write it again with `compseg predict`.")
