"""The raw image of a row of the table: read, resized, with its masks, and compared with the first one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.table import Row
from compseg_jax.ingest.tissue_arrays import TissueArray
from compseg_jax.readers import read, read_mask
from compseg_jax.readers.axis import TOLERANCE_CM1
from compseg_jax.readers.cube import Background, Cube, CubeError
from compseg_jax.spectra.tissue import tissue_from_background

PIXEL_SIZE_TOLERANCE = 0.01
"""Relative: stages and cameras state slightly different numbers for the same optics."""


@dataclass(frozen=True, eq=False)
class RawSample:
    """One sample before any preparation.

    Attributes:
      cube: its image, absorbance float32.
      tissue: the tissue mask of the table, None where it names none.
      own: pixels that belong to this core and not to its neighbours; None for whole images.
    """

    cube: Cube
    tissue: Bool[np.ndarray, "y x"] | None = None
    own: Bool[np.ndarray, "y x"] | None = None

    def candidates(self, background: Background) -> Bool[np.ndarray, "y x"]:
        """Pixels that may hold this sample's tissue: those of its mask, else by the rule of the store."""
        tissue = self.tissue
        if tissue is None:
            tissue = tissue_from_background(self.cube.absorbance, background)
        return tissue if self.own is None else tissue & self.own


def read_sample(row: Row, array: TissueArray | None, options: IngestOptions) -> RawSample:
    """Reads the image of a row, or cuts its core out of an array.

    Raises:
      IngestError: naming the row, when the file cannot be read or a mask does not fit.
    """
    own = None
    try:
        if array is None:
            cube = read(row.path, **options.instructions.keywords())
        else:
            cube, own = array.cut(row.core, options.margin)
    except CubeError as error:
        raise IngestError(f"row {row.line} ({row.id}): {error}") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
        absorbance = np.asarray(cube.absorbance, np.float32)
    if options.resize:
        channels = [_resized(absorbance[..., c], options.resize) for c in range(absorbance.shape[2])]
        absorbance = np.stack(channels, axis=-1)
    pixel_size_um = None if options.resize else cube.pixel_size_um
    cube = replace(cube, absorbance=absorbance, pixel_size_um=pixel_size_um)
    tissue = None if row.tissue is None else read_mask_of(row, row.tissue, cube, options)
    return RawSample(cube, tissue, own)


def read_mask_of(row: Row, path: Path, cube: Cube, options: IngestOptions) -> Bool[np.ndarray, "y x"]:
    """A mask that the table names, resized as the image was; raises IngestError where it does not fit."""
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


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """Mean of the pixels that a new, larger one covers; between pixels where the image is enlarged."""
    method = Image.Resampling.BILINEAR if size > min(image.shape) else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), method))


def check_same_axis(first: Cube, other: Cube, first_name: str, other_name: str) -> None:
    """Raises IngestError unless both cubes have the same channels, wavenumbers and pixel size."""
    if first.absorbance.shape[2] != other.absorbance.shape[2]:
        raise IngestError(
            f"{other_name} has {other.absorbance.shape[2]} channels, {first_name} has "
            f"{first.absorbance.shape[2]}; all cubes of a store need the same. Ingest them separately, or bring "
            "them to one axis first: --prepare resample."
        )
    if (first.wavenumbers_cm1 is None) != (other.wavenumbers_cm1 is None):
        raise IngestError(
            f"only one of {first_name} and {other_name} states its wavenumbers; all cubes of a store need the "
            "same axis. Give both, or neither."
        )
    if first.wavenumbers_cm1 is not None and other.wavenumbers_cm1 is not None:
        worst = float(np.max(np.abs(first.wavenumbers_cm1 - other.wavenumbers_cm1)))
        if worst > TOLERANCE_CM1:
            raise IngestError(
                f"the wavenumbers of {other_name} differ from those of {first_name} by up to {worst:.3g} cm⁻¹; "
                f"all cubes of a store need the same axis (to {TOLERANCE_CM1} cm⁻¹). Resample them to one "
                "axis first: --prepare resample."
            )
    check_same_pixels(first, other, first_name, other_name)


def check_same_pixels(first: Cube, other: Cube, first_name: str, other_name: str) -> None:
    """Raises IngestError where both cubes state their pixel size and differ in it."""
    own, theirs = first.pixel_size_um, other.pixel_size_um
    if own and theirs and not np.isclose(own, theirs, rtol=PIXEL_SIZE_TOLERANCE, atol=0):
        raise IngestError(
            f"a pixel of {other_name} measures {theirs:g} µm, one of {first_name} {own:g} µm; a network "
            "sees pixels, so all cubes of a store need the same. Resample them, or use --resize."
        )
