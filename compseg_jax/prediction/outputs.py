"""The files of a finished sample, each format by its writer in ``formats``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compseg_jax.model.model import Model
from compseg_jax.prediction.formats import Annotation, OverviewWriter, write_sample_files
from compseg_jax.prediction.formats.sample_files import SampleFormat
from compseg_jax.prediction.formats.smoothing import LOSSLESS_PX
from compseg_jax.prediction.predict_options import Output, PredictOptions
from compseg_jax.prediction.working import WorkingMaps
from compseg_jax.readers.scan import CubeScan, Scan, ScanPart, finest_per_pixel_xy

OVERVIEW = "overview.ome.zarr"
MAPPED_BYTES = 128 * 2**20


def write_outputs(
    folder: Path,
    maps: WorkingMaps,
    outputs: Sequence[Output],
    *,
    threshold: float,
    scan: Scan,
    annotation: Annotation,
) -> dict[str, str]:
    """Writes what was asked for, but for the OME-Zarr image, which is finished where it is.

    Args:
      annotation: what regions become in QuPath, as :func:`annotation_of` says.

    Returns:
      the names of the files by their key in predictions.json.
    """
    finished = maps.finished(threshold, scan.pixel_size_um)
    formats: list[SampleFormat] = [name for name in outputs if name != "zarr"]
    return write_sample_files(folder, finished, formats, annotation=annotation)


def annotation_of(options: PredictOptions, model: Model, scan: Scan, scale: float = 1.0) -> Annotation:
    """What the regions of a sample become in QuPath.

    Args:
      options: of the command.
      model: with the networks.
      scan: the image as it was measured.
      scale: pixels that a network sees per pixel of it, along an edge.

    Raises:
      ValueError: when an area in µm² is asked for and the image has no pixel size.
    """
    least_px: float
    if options.min_area_um2 is None:
        # Within a cell of its poolings a network tells nothing apart for certain: what is smaller is its noise.
        depths = [getattr(network.network, "depth", 0) for network in model.networks]
        least_px = 4 ** min(depths) / scale**2
    elif options.min_area_um2 == 0:
        least_px = 0
    elif scan.pixel_size_um is None:
        raise ValueError(
            f"--min-area-um2 {options.min_area_um2}: the image states no pixel size. Give it with --pixel-size."
        )
    else:
        least_px = options.min_area_um2 / scan.pixel_size_um**2
    return Annotation(
        classification=options.class_name,
        minimum_area_px=least_px,
        filled_holes_px=math.inf if options.fill_holes else least_px,
        smoothing_px=_smoothing_px(options, scan),
        # QuPath opens a slide at its finest level, whatever level was predicted on.
        scale_xy=finest_per_pixel_xy(scan),
        offset_xy=(scan.columns.start, scan.rows.start) if isinstance(scan, ScanPart) else (0, 0),
    )


def _smoothing_px(options: PredictOptions, scan: Scan) -> float:
    if options.smooth_um is None:
        return LOSSLESS_PX
    if options.smooth_um == 0:
        return 0
    if scan.pixel_size_um is None:
        raise ValueError(
            f"--smooth-um {options.smooth_um}: the image states no pixel size. Give it with --pixel-size."
        )
    return options.smooth_um / scan.pixel_size_um


def write_overview(folder: Path, scan: Scan) -> dict[str, str]:
    """Writes the thumbnail of all channels of an image, for viewers.

    Of the rows that a pixel of it spans, the middle one is read: its mean is that of ``step`` pixels instead of
    ``step`` squared, and a slide of several GiB is read an eighth or less of once more.
    """
    height, width, channels = scan.shape
    writer = OverviewWriter(
        folder / OVERVIEW, scan.shape, pixel_size_um=scan.pixel_size_um, wavenumbers_cm1=scan.wavenumbers_cm1
    )
    at_once = writer.step
    if isinstance(
        scan, CubeScan
    ):  # of a file, which is mapped for many rows: what is not read takes no memory
        at_once *= max(1, MAPPED_BYTES // (4 * width * channels * writer.step))
    for first in range(0, height, at_once):
        tops = range(first, min(first + at_once, height), writer.step)
        middles = [(top + min(top + writer.step, height)) // 2 for top in tops]
        rows = slice(middles[0], middles[-1] + 1)
        look = scan.look if isinstance(scan, CubeScan) else scan.window
        window = look(rows, slice(0, width))
        for top, middle in zip(tops, middles, strict=True):
            row = window[middle - rows.start].astype(np.float32, copy=False)
            writer.write_row(top, np.nan_to_num(row))
    writer.finish()
    return {"overview_zarr": OVERVIEW}
