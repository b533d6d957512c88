"""The files of a finished sample, each format by its writer in ``formats``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compseg_jax.prediction.formats import ActivationMapWriter, OverviewWriter, write_sample_files
from compseg_jax.prediction.working import WorkingMaps
from compseg_jax.readers.scan import Scan
from compseg_jax.store.ome import LEVEL_CHUNK

ACTIVATION, OVERVIEW = "activation.ome.zarr", "overview.ome.zarr"


def write_outputs(
    folder: Path, maps: WorkingMaps, outputs: Sequence[str], *, threshold: float, pixel_size_um: float | None
) -> dict[str, str]:
    """Writes what was asked for; returns the names of the files by their key in predictions.json.

    The levels of the OME-Zarr image are those of the TIFF too, so it is made in any case, and kept where asked for.
    """
    shape = maps.plan.shape_px
    writer = ActivationMapWriter(folder / ACTIVATION, shape, pixel_size_um=pixel_size_um)
    for top in range(0, shape[0], LEVEL_CHUNK):
        rows = slice(top, min(top + LEVEL_CHUNK, shape[0]))
        activation, tissue = maps.activation(rows), maps.tissue(rows)
        writer.write(top, 0, activation, tissue & (activation > threshold), tissue)
    finished = writer.finish()
    files = write_sample_files(folder, finished, [name for name in outputs if name != "zarr"])  # type: ignore[misc]
    if "zarr" in outputs:
        return {"activation_zarr": ACTIVATION, **files}
    shutil.rmtree(folder / ACTIVATION)
    return files


def write_overview(folder: Path, scan: Scan) -> dict[str, str]:
    """Writes the thumbnail of all channels of an image, for viewers.

    Of the rows that a pixel of it spans, the middle one is read: its mean is that of ``step`` pixels instead of
    ``step`` squared, and a slide of several GiB is read an eighth or less of once more.
    """
    height, width, _ = scan.shape
    writer = OverviewWriter(
        folder / OVERVIEW, scan.shape, pixel_size_um=scan.pixel_size_um, wavenumbers_cm1=scan.wavenumbers_cm1
    )
    for top in range(0, height, writer.step):
        bottom = min(top + writer.step, height)
        middle = (top + bottom) // 2
        row = scan.window(slice(middle, middle + 1), slice(0, width))[0].astype(np.float32, copy=False)
        writer.write_row(top, np.nan_to_num(row))
    writer.finish()
    return {"overview_zarr": OVERVIEW}
