"""The files of a finished sample, each format by its writer in ``export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compseg_jax.export.geojson import write_geojson
from compseg_jax.export.ome_tiff import (
    Picture,
    activation_levels,
    mask_levels,
    write_activation_tiff,
    write_mask_tiff,
)
from compseg_jax.export.ome_zarr import ActivationMapWriter
from compseg_jax.export.pictures import write_activation_png, write_mask_png
from compseg_jax.ome import LEVEL_CHUNK
from compseg_jax.prediction.working import WorkingMaps

ZARR, ACTIVATION_PNG, MASK_PNG = "activation.ome.zarr", "activation.png", "mask.png"
GEOJSON, ACTIVATION_TIFF, MASK_TIFF = "segmentation.geojson", "activation.ome.tif", "mask.ome.tif"


@dataclass(frozen=True)
class _Rows:
    """A map of which some rows are read at a time."""

    shape: tuple[int, int]
    dtype: np.dtype
    read: Callable[[slice], np.ndarray]

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        return self.read(rows)


def write_outputs(
    folder: Path,
    maps: WorkingMaps,
    outputs: Sequence[str],
    *,
    threshold: float,
    pixel_size_um: float | None,
) -> dict[str, str]:
    """Writes what was asked for; returns the names of the files by their key in predictions.json."""

    def segmented(rows: slice) -> np.ndarray:
        return maps.tissue(rows) & (maps.activation(rows) > threshold)

    shape = maps.plan.shape_px
    activation = _Rows(shape, np.dtype(np.float32), maps.activation)
    mask = _Rows(shape, np.dtype(bool), segmented)
    files: dict[str, str] = {}
    # Levels are made once, on disk; without the image they are made in memory.
    levels: tuple[Sequence[Picture], Sequence[Picture]] | None = None
    if "zarr" in outputs:
        files["activation_zarr"] = ZARR
        writer = ActivationMapWriter(folder / ZARR, shape, pixel_size_um=pixel_size_um)
        for top in range(0, shape[0], LEVEL_CHUNK):
            rows = slice(top, min(top + LEVEL_CHUNK, shape[0]))
            writer.write(top, 0, activation[rows], mask[rows], maps.tissue(rows))
        written = writer.finish()
        levels = written.activation, written.segmentation
    if "png" in outputs:
        files |= {"activation_png": ACTIVATION_PNG, "mask_png": MASK_PNG}
        write_activation_png(folder / ACTIVATION_PNG, activation)
        write_mask_png(folder / MASK_PNG, mask)
    if "geojson" in outputs:
        files["geojson"] = GEOJSON
        write_geojson(folder / GEOJSON, mask[:], activation, pixel_size_um=pixel_size_um)
    if "tiff" in outputs:
        files |= {"activation_tiff": ACTIVATION_TIFF, "mask_tiff": MASK_TIFF}
        maps_levels, masks_levels = levels or (activation_levels(activation[:]), mask_levels(mask[:]))
        write_activation_tiff(folder / ACTIVATION_TIFF, maps_levels, pixel_size_um=pixel_size_um)
        write_mask_tiff(folder / MASK_TIFF, masks_levels, pixel_size_um=pixel_size_um)
    return files
