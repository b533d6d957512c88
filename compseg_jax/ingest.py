"""From a table and a folder of images to a store: `compseg ingest`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from compseg_jax.spectra.cube import Cube, CubeError
from compseg_jax.spectra.readers import read, read_mask
from compseg_jax.spectra.tissue import Background, tissue_from_background
from compseg_jax.store import Sample
from compseg_jax.store_writer import StoreWriter, refuse_existing
from compseg_jax.table import IngestError, IngestOptions, Row, read_table

AXIS_TOLERANCE_CM1 = 0.01
PIXEL_SIZE_TOLERANCE = 0.01
"""Relative: stages and cameras state slightly different numbers for the same optics."""


def ingest(
    table: Path,
    out: Path,
    options: IngestOptions,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Makes the store ``out`` from a table; see :class:`IngestOptions`.

    Raises:
      IngestError: at the first file that cannot be used; nothing is left behind.
      StoreError: when ``out`` exists.
    """
    refuse_existing(out)
    rows = read_table(table, options)
    first = _read_cube(rows[0], options)
    background: Background = "zero" if first.wavenumbers_cm1 is not None else "none"
    if options.background != "auto":
        background = options.background
    writer = StoreWriter(
        out,
        channels=first.absorbance.shape[2],
        wavenumbers_cm1=first.wavenumbers_cm1,
        pixel_size_um=first.pixel_size_um,
        background=background,
        created_by=f"compseg ingest {table.name}",
    )
    with writer:
        for done, row in enumerate(rows):
            progress(done, len(rows))
            cube = first if done == 0 else _read_cube(row, options)
            _check_same_axis(first, cube, rows[0].place(), row.place())
            tissue = _tissue(row, cube, background, options)
            reference = None
            if row.reference is not None:
                reference = _read_mask(row, row.reference, cube, options)
            height, width, _ = cube.absorbance.shape
            sample = Sample(
                row.id, row.label, row.split, row.group, height, width, reference is not None, row.path.name
            )
            writer.add(sample, cube.absorbance, tissue, reference)
        progress(len(rows), len(rows))


def _read_cube(row: Row, options: IngestOptions) -> Cube:
    try:
        cube = read(row.path)
    except CubeError as error:
        raise IngestError(f"row {row.line} ({row.id}): {error}") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
        absorbance = np.asarray(cube.absorbance, np.float32)
    if not np.all(np.isfinite(absorbance)):
        where = np.argwhere(~np.isfinite(absorbance))
        raise IngestError(
            f"{row.place()}: {len(where)} values are NaN, infinite or beyond float32, the first at pixel "
            f"(y={where[0][0]}, x={where[0][1]}), channel {where[0][2]}. Repair those pixels, or set them to 0 and "
            "give a tissue mask."
        )
    if options.resize:
        channels = [_resized(absorbance[..., c], options.resize) for c in range(absorbance.shape[2])]
        absorbance = np.stack(channels, axis=-1)
    pixel_size_um = None if options.resize else cube.pixel_size_um
    return Cube(absorbance, cube.wavenumbers_cm1, pixel_size_um, cube.provenance)


def _check_same_axis(first: Cube, other: Cube, first_name: str, other_name: str) -> None:
    """Raises IngestError unless both cubes have the same channels, wavenumbers and pixel size."""
    if first.absorbance.shape[2] != other.absorbance.shape[2]:
        raise IngestError(
            f"{other_name} has {other.absorbance.shape[2]} channels, {first_name} has "
            f"{first.absorbance.shape[2]}; all cubes of a store need the same. Ingest them separately, or bring "
            "them to one axis first."
        )
    if (first.wavenumbers_cm1 is None) != (other.wavenumbers_cm1 is None):
        raise IngestError(
            f"only one of {first_name} and {other_name} states its wavenumbers; all cubes of a store need the "
            "same axis. Give both, or neither."
        )
    if first.wavenumbers_cm1 is not None and other.wavenumbers_cm1 is not None:
        worst = float(np.max(np.abs(first.wavenumbers_cm1 - other.wavenumbers_cm1)))
        if worst > AXIS_TOLERANCE_CM1:
            raise IngestError(
                f"the wavenumbers of {other_name} differ from those of {first_name} by up to {worst:.3g} cm⁻¹; "
                f"all cubes of a store need the same axis (to {AXIS_TOLERANCE_CM1} cm⁻¹). Resample them to one "
                "axis first."
            )
    own, theirs = first.pixel_size_um, other.pixel_size_um
    if own and theirs and not np.isclose(own, theirs, rtol=PIXEL_SIZE_TOLERANCE, atol=0):
        raise IngestError(
            f"a pixel of {other_name} measures {theirs:g} µm, one of {first_name} {own:g} µm; a network "
            "sees pixels, so all cubes of a store need the same. Resample them, or use --resize."
        )


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """Mean of the pixels that a new, larger one covers; between pixels where the image is enlarged."""
    method = Image.Resampling.BILINEAR if size > min(image.shape) else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), method))


def _read_mask(row: Row, path: Path, cube: Cube, options: IngestOptions) -> np.ndarray:
    try:
        mask = read_mask(path)
    except CubeError as error:
        raise IngestError(f"row {row.line} ({row.id}): {error}") from error
    if options.resize:
        return _resized(mask, options.resize) >= 0.5
    if mask.shape != cube.absorbance.shape[:2]:
        raise IngestError(
            f"{row.place()}: the mask {path} has {mask.shape[0]}×{mask.shape[1]} pixels, the image "
            f"{cube.absorbance.shape[0]}×{cube.absorbance.shape[1]}. They must match, or use --resize."
        )
    return mask


def _tissue(row: Row, cube: Cube, background: Background, options: IngestOptions) -> np.ndarray:
    if row.tissue is not None:
        tissue = _read_mask(row, row.tissue, cube, options)
    else:
        tissue = tissue_from_background(cube.absorbance, background)
    if not tissue.any():
        raise IngestError(
            f"{row.place()}: the sample is all background, no pixel holds tissue. Remove the row, or give a "
            "tissue mask."
        )
    return tissue
