"""Segmentations as GeoJSON annotations for QuPath; `compseg_jax.readers.drawn_outlines` makes masks of them again.

Coordinates are pixels of the full-resolution image from its top left corner, x to the right and y downwards, as
QuPath has them: the pixel in row r and column c is the square from (c, r) to (c + 1, r + 1).
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html; the format itself is RFC 7946.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, UInt8

from compseg_jax.prediction.formats.outlines import Outlines, trace
from compseg_jax.prediction.formats.picture_files import Picture, strips
from compseg_jax.prediction.formats.smoothing import smoothed_rings
from compseg_jax.runtime.files import atomic_file

Mask = Bool[np.ndarray, "y x"] | UInt8[np.ndarray, "y x"]
"""True or 1 where segmented."""

OUTSIDE = "undecided: outside of what the model was trained on"
"""Name of the regions of such a sample, as QuPath's list of annotations shows it."""
_HEAD = '{"type":"FeatureCollection","features":['
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Annotation:
    """What the regions of a mask become in QuPath."""

    classification: str = "Tumor"
    """Name of the class, as in QuPath's list of classes."""
    colour: tuple[int, int, int] = (200, 0, 0)
    """Red, green, blue, 0 to 255; QuPath's own colour of 'Tumor'."""
    minimum_area_px: float = 0
    """Regions of fewer pixels are left out; with 0 or 1 none is."""
    filled_holes_px: float = 0
    """Holes of fewer pixels are filled; with 0 or 1 none is, with infinity all are."""
    scale_xy: tuple[float, float] = (1.0, 1.0)
    """What x and y of the mask are multiplied by: pixels of the finest level of a slide per pixel of the level that
    was predicted on."""
    offset_xy: tuple[int, int] = (0, 0)
    """What is added to x and y of the mask before that: the first column and row of a part of a scan."""
    smoothing_px: float = 0
    """How far outlines may run from pixel edges (``smoothing``): 0 along them; up to ``LOSSLESS_PX`` every pixel's
    centre stays inside or outside."""
    is_outside: bool = False
    """Whether the sample lies outside of what the model was trained on: every region is marked as undecided."""


def segmentation_features(
    mask: Mask,
    activation: Picture | None = None,
    *,
    pixel_size_um: float | None = None,
    annotation: Annotation = Annotation(),
) -> Iterator[dict[str, Any]]:
    """GeoJSON features, one a region of edge-connected pixels, in reading order.

    Args:
      mask: True where segmented, shape (y, x).
      activation: activation map in [0, 1] of the same shape, for the mean of each region; None leaves it out.
      pixel_size_um: edge of a pixel in µm; None gives areas in pixels.
      annotation: classification, colour, and which regions are too small.

    Yields:
      features with a valid Polygon along the edges of pixels, or smoothed (holes as inner rings, no two edges in one
      line, outer rings counter-clockwise as RFC 7946 asks where y would point upwards) and the properties that QuPath
      reads: objectType, classification, and the measurements 'Area µm^2' (or 'Area px^2') and 'Mean activation'; where
      the sample lies outside of training also a name and metadata that say so.

    Raises:
      ValueError: for another shape, a mask that is not boolean or of 0 and 1, an activation that is not finite,
        or a pixel size, scale or colour out of range.
    """
    mask = _checked_mask(mask)
    if activation is not None and tuple(activation.shape) != mask.shape:
        raise ValueError(
            f"the activation has the shape {tuple(activation.shape)}, the mask {mask.shape}; give two of one image."
        )
    if pixel_size_um is not None and not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise ValueError(
            f"pixel_size_um is {pixel_size_um}, required a number above 0, or None where unknown."
        )
    if not all(math.isfinite(factor) and factor > 0 for factor in annotation.scale_xy):
        raise ValueError(f"scale_xy is {annotation.scale_xy}, required two numbers above 0.")
    if not 0 <= annotation.smoothing_px < math.inf:
        raise ValueError(f"smoothing_px is {annotation.smoothing_px}, required a number of 0 or more.")
    if not all(0 <= part <= 255 for part in annotation.colour):
        raise ValueError(f"the colour is {annotation.colour}, required red, green, blue from 0 to 255.")
    return _features(mask, activation, pixel_size_um, annotation)


def segmentation_to_geojson(
    mask: Mask,
    activation: Picture | None = None,
    *,
    pixel_size_um: float | None = None,
    annotation: Annotation = Annotation(),
) -> dict[str, Any]:
    """The same as one FeatureCollection in memory; ``json.dumps`` of it is what `write_geojson` writes.

    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1:3, 2:5] = True
    >>> segmentation_to_geojson(mask)["features"][0]["geometry"]["coordinates"]
    [[[2, 1], [5, 1], [5, 3], [2, 3], [2, 1]]]
    """
    features = segmentation_features(mask, activation, pixel_size_um=pixel_size_um, annotation=annotation)
    return {"type": "FeatureCollection", "features": list(features)}


def write_geojson(
    path: Path | str,
    mask: Mask,
    activation: Picture | None = None,
    *,
    pixel_size_um: float | None = None,
    annotation: Annotation = Annotation(),
) -> int:
    """Writes a segmentation as a GeoJSON file for QuPath, a feature at a time; whole or not at all.

    Arguments and errors are those of `segmentation_features`.

    Returns:
      the number of regions written.
    """
    features = segmentation_features(mask, activation, pixel_size_um=pixel_size_um, annotation=annotation)
    written = 0
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        for feature in features:
            file.write(",\n" if written else "\n")
            file.write(_ENCODER.encode(feature))
            written += 1
        file.write("\n]}\n")
    return written


def _features(
    mask: np.ndarray, activation: Picture | None, pixel_size_um: float | None, annotation: Annotation
) -> Iterator[dict[str, Any]]:
    outlines = trace(_filled(mask, annotation.filled_holes_px))
    areas, means = _measured(outlines, activation)
    placed = _placement(annotation)
    marks = {"name": OUTSIDE, "metadata": {"call": "undecided"}} if annotation.is_outside else {}
    unit, factor = ("px^2", 1) if pixel_size_um is None else ("µm^2", pixel_size_um**2)
    regions = [n for n in range(1, outlines.count + 1) if areas[n] >= annotation.minimum_area_px]
    smooth = annotation.smoothing_px > 0
    rings_of = smoothed_rings(outlines, annotation.smoothing_px, regions=regions) if smooth else None
    for index, region in enumerate(regions):
        measurements = {f"Area {unit}": float(areas[region] * factor)}
        if means is not None:
            measurements["Mean activation"] = float(means[region])
        yield {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [*ring, ring[0]]
                    for ring in (
                        placed(corners).tolist()
                        for corners in (outlines.rings(region) if rings_of is None else rings_of[index])
                    )
                ],
            },
            "properties": {
                "objectType": "annotation",
                "classification": {"name": annotation.classification, "color": list(annotation.colour)},
                "measurements": measurements,
                **marks,
            },
        }


def _placement(annotation: Annotation) -> Callable[[np.ndarray], np.ndarray]:
    """From corners in the mask to coordinates; whole numbers stay whole where nothing is scaled."""
    offset, scale = np.array(annotation.offset_xy), np.array(annotation.scale_xy)
    if annotation.scale_xy == (1.0, 1.0):
        return lambda corners: corners + offset
    return lambda corners: (corners + offset) * scale


def _filled(mask: np.ndarray, below_px: float) -> np.ndarray:
    """The mask without holes of fewer pixels: regions are connected by edges, so holes are by corners as well."""
    if below_px <= 1:
        return mask
    holes, count = scipy.ndimage.label(~mask, np.ones((3, 3)))
    areas = np.bincount(holes.ravel(), minlength=count + 1)
    fills = areas < below_px
    fills[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        fills[edge] = False  # not enclosed
    return mask | fills[holes]


def _measured(outlines: Outlines, activation: Picture | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and mean activation of every region; entry 0 is what lies outside."""
    areas = np.zeros(outlines.count + 1, np.int64)
    for _, labels in strips(outlines.labels):
        areas += np.bincount(labels.ravel(), minlength=len(areas))
    if activation is None:
        return areas, None
    sums = np.zeros(outlines.count + 1, np.float64)
    for rows, values in strips(activation):
        if not np.isfinite(values).all():
            raise ValueError(
                f"the activation holds NaN or Inf in rows {rows.start} to {rows.stop - 1}. The network or its "
                "input is broken: check both."
            )
        sums += np.bincount(outlines.labels[rows].ravel(), values.ravel(), minlength=len(sums))
    return areas, sums / np.maximum(areas, 1)


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"the mask has the shape {mask.shape}, required (y, x); give one image at a time.")
    if mask.dtype != np.bool_:
        if mask.dtype.kind not in "iu" or (mask.size and not (mask.min() >= 0 and mask.max() <= 1)):
            raise ValueError(
                f"the mask holds {mask.dtype} values; required True where segmented, or integers 0 and 1. "
                "Compare it with what means segmented first, as in `mask > 0`."
            )
        mask = mask.astype(np.bool_)
    return mask
