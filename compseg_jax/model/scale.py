"""Scale: the pixels of an image beside those of the training, an image brought to them, and its map back.

A network sees pixels. One that was trained at 20× sees nuclei of twice the size on a 40× picture. An image is brought
to the training's scale by the mean of the pixels that a larger one covers, or between pixels where they get smaller; a
map is brought back the same way. Only measured pixels count, so that background does not bleed into tissue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float

from compseg_jax.model.left_out import BROKEN, LeftOut
from compseg_jax.model.specimen import Specimen
from compseg_jax.readers.cube import Background
from compseg_jax.readers.scan import Scan

SCALE_TOLERANCE = 0.05
"""Relative difference from the pixels of the training images up to which the scale is the same."""
TRAINED_UM, TRAINED_RANGE_UM = "pixel_size_um", "pixel_sizes_um"
"""In model.json: the pixel size of the training images, and the smallest and largest where they differ."""


def scale_of(description: Mapping[str, Any], own_um: float | None) -> float | None:
    """Edge of a pixel of an image by that of the training images; 1 where it is among them, None where unknown.

    >>> scale_of({"pixel_size_um": 0.5}, 0.25)
    0.5
    >>> scale_of({"pixel_sizes_um": [0.4, 0.6]}, 0.5), scale_of({"pixel_sizes_um": [0.4, 0.6]}, 1.2)
    (1.0, 2.0)
    """
    common, known = description.get(TRAINED_UM), description.get(TRAINED_RANGE_UM)
    low, high = known or (common, common)
    if not own_um or not low or not high:
        return None
    nearest = min(max(own_um, low), high)
    return own_um / nearest


def is_other_scale(scale: float | None) -> bool:
    """Whether structures have distinctly another size than in training."""
    return scale is not None and abs(scale - 1) > SCALE_TOLERANCE


def scale_in_words(scale: float, own_um: float) -> str:
    """What that means.

    >>> scale_in_words(0.5, 0.25)
    'a pixel measures 0.25 µm, 0.5 times one of the training images: structures look 2 times their size there'
    """
    return (
        f"a pixel measures {own_um:.4g} µm, {scale:.3g} times one of the training images: structures look "
        f"{1 / scale:.3g} times their size there"
    )


def rescaled(
    values: Float[np.ndarray, "y x *c"],
    valid: Bool[np.ndarray, "y x"],
    shape_px: tuple[int, int],
) -> tuple[Float[np.ndarray, "v u *c"], Bool[np.ndarray, "v u"]]:
    """An image on other pixels of the same field of view.

    Args:
      values: of the pixels; what is not valid is not looked at.
      valid: pixels that count.
      shape_px: rows and columns of the result.

    Returns:
      weighted means of the valid pixels, 0 where less than half of the weight is theirs; and where it is not.
    """
    block = slice(0, shape_px[0]), slice(0, shape_px[1])
    height, width = valid.shape
    return rescaled_part(lambda *part: (values[part], valid[part]), (height, width), shape_px, block)


def rescaled_part(
    read: Callable[[slice, slice], tuple[np.ndarray, np.ndarray]],
    own_px: tuple[int, int],
    shape_px: tuple[int, int],
    block: tuple[slice, slice],
) -> tuple[np.ndarray, np.ndarray]:
    """A block of `rescaled`, of which only what it needs is read: the same values as in the whole.

    Args:
      read: values (y, x, …) and valid pixels (y, x) of rows and columns of the image.
      own_px: rows and columns of the image.
      shape_px: those of the result.
      block: rows and columns of the result that are asked for.
    """
    needed, weights = [], []
    for own, wanted, part in zip(own_px, shape_px, block, strict=True):
        found = _weights(own, wanted, part)
        used = slice(int(found.indices.min()), int(found.indices.max()) + 1) if found.nnz else slice(0, 0)
        needed.append(used)
        weights.append(found[:, used])
    values, valid = read(needed[0], needed[1])
    return _weighted(values, valid, (weights[0], weights[1]))


def _weights(own: int, wanted: int, part: slice) -> scipy.sparse.csr_array:
    """Weights (part, own) of pixels along an axis: shares that larger ones cover, or linear between two."""
    step = own / wanted
    at = np.arange(part.start, part.stop)
    if step >= 1:  # each new pixel covers several: their shares of it
        first = np.floor(at * step + 1e-9).astype(int)
        reach = int(np.ceil(step)) + 1
        columns = first[:, None] + np.arange(reach)
        begin, end = at[:, None] * step, (at[:, None] + 1) * step
        shares = np.clip(np.minimum(end, columns + 1) - np.maximum(begin, columns), 0, None) / step
    else:
        centre = (at + 0.5) * step - 0.5
        first = np.floor(centre).astype(int)
        columns = first[:, None] + np.arange(2)
        right = centre - first
        shares = np.stack([1 - right, right], axis=1)
    rows = np.repeat(np.arange(len(at)), columns.shape[1])
    columns = np.clip(columns, 0, own - 1).ravel()
    return scipy.sparse.csr_array((shares.ravel(), (rows, columns)), shape=(len(at), own))


def _weighted(
    values: np.ndarray, valid: np.ndarray, weights: tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]
) -> tuple[np.ndarray, np.ndarray]:
    along_y, along_x = weights
    share = along_y @ valid.astype(np.float64) @ along_x.T
    counted = np.where(valid.reshape(*valid.shape, *(1,) * (values.ndim - 2)), values, 0)
    (height, width), (own_height, own_width) = share.shape, valid.shape
    channels = math.prod(values.shape[2:])
    rows = (along_y @ counted.reshape(own_height, own_width * channels)).reshape(height, own_width, channels)
    columns = np.moveaxis(rows, 1, 0).reshape(own_width, height * channels)
    found = np.moveaxis((along_x @ columns).reshape(width, height, channels), 0, 1)
    kept = share >= 0.5 - 1e-9
    found = np.where(kept[..., None], found / np.maximum(share, 1e-12)[..., None], 0)
    return found.astype(values.dtype, copy=False).reshape(height, width, *values.shape[2:]), kept


@dataclass(frozen=True, eq=False)
class ScaledScan:
    """A scan on larger or smaller pixels; only what a window needs is read.

    Attributes:
      scan: the scan as it was measured.
      shape_px: rows and columns of the result.
      pixel_size_um: edge of its pixels.
      background: whether pixels of zeros were not measured.
    """

    scan: Scan
    shape_px: tuple[int, int]
    pixel_size_um: float
    background: Background

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the result."""
        return *self.shape_px, self.scan.shape[2]

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.scan.wavenumbers_cm1

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return self.scan.provenance

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c); NaN where nothing was measured and 0 is a value."""
        block = tuple(
            slice(first, max(first, last))
            for first, last, _ in (
                part.indices(n) for part, n in zip((rows, columns), self.shape_px, strict=True)
            )
        )
        height, width, _ = self.scan.shape
        values, kept = rescaled_part(self._read, (height, width), self.shape_px, (block[0], block[1]))
        if self.background == "none":
            values[~kept] = np.nan
        return values[..., channels]

    def _read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(self.scan.window(rows, columns))
        valid = np.isfinite(values).all(axis=-1)
        if self.background == "zero":
            valid &= np.any(values != 0, axis=-1)
        return values, valid


@dataclass(frozen=True, eq=False)
class ToTrainingScale:
    """An image at the scale of the training images.

    Attributes:
      own: as it was measured.
      scale: edge of its pixel by that of the training images.
    """

    own: Specimen
    scale: float

    @classmethod
    def of(cls, specimen: Specimen, description: Mapping[str, Any]) -> ToTrainingScale | None:
        """None where the scale is that of the training already, or unknown."""
        scale = scale_of(description, specimen.scan.pixel_size_um)
        return cls(specimen, scale) if scale is not None and is_other_scale(scale) else None

    @cached_property
    def specimen(self) -> Specimen:
        """The image as the networks are to see it."""
        scan, own = self.own.scan, self.own.shape_px
        shape = max(1, round(own[0] * self.scale)), max(1, round(own[1] * self.scale))
        size_um = scan.pixel_size_um
        assert size_um is not None, "an image of another scale states its pixel size"
        tissue = None
        if self.own.tissue is not None:
            _, tissue = rescaled(np.zeros(own, np.float32), self.own.tissue, shape)
        scaled = ScaledScan(scan, shape, size_um / self.scale, self.own.background)
        return Specimen(scaled, self.own.background, tissue, self.own.steps)

    def in_words(self) -> str:
        """What is done, for the notes of a prediction."""
        own, trained = self.own.scan.pixel_size_um, self.specimen.scan.pixel_size_um
        return f"brought from pixels of {own:.4g} to the {trained:.4g} µm of the training images, and its map back"

    def left_out(self, seen: LeftOut) -> dict[str, int]:
        """Pixels of the image that are left out, by reason; reads it once.

        Args:
          seen: those at the scale of the training. What is broken is counted as it was measured, what a step left out
            by its share of the image.
        """
        own, scaled = (math.prod(each.shape_px) for each in (self.own, self.specimen))
        by_steps = {why: round(number * own / scaled) for why, number in seen.items() if why not in BROKEN}
        return {**self.own.broken_px(), **by_steps}

    def back(
        self, values: Float[np.ndarray, "v u *c"], tissue: Bool[np.ndarray, "v u"]
    ) -> tuple[Float[np.ndarray, "y x *c"], Bool[np.ndarray, "y x"]]:
        """A map on the image's own pixels, and its tissue."""
        return rescaled(values, tissue, self.own.shape_px)
