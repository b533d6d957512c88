"""Where a picture of a tissue array holds tissue, how large its cores are, and where they may lie.

Works on a picture of at most `LONGEST_SIDE_PX` a side, which is what makes large scans quick.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

LONGEST_SIDE_PX = 1200
SMALLEST_DIAMETER_PX = 6.0
LEAST_CONTRAST = 5.0  # between tissue and background, in standard deviations of the background
BLOB_WIDTHS = 6.0  # standard deviations of the Gaussian in a core diameter
_SMOOTHING_PX = 1.3
_BACKGROUND_TILES = 24  # along either axis
_HISTOGRAM_BINS = 512


class TissueMask(NamedTuple):
    """Tissue of a picture whose pixels were averaged in squares of ``factor`` × ``factor``."""

    mask: Bool[np.ndarray, "y x"]
    factor: int


def picture_mask(picture: Float[np.ndarray, "y x"]) -> TissueMask:
    """Tissue by a threshold on the smoothed picture over its uneven background.

    Otsu's threshold splits the picture; the final threshold lies 30 % of the way from the background's to
    the tissue's median, so that thin cores are found too. Not finite pixels are no tissue. Neither are
    exact zeros (tiles without measurement), which say nothing about the background unless they are more
    than half of the picture.

    Args:
      picture: larger where there is tissue, shape (y, x).

    Raises:
      ValueError: if the picture is empty or constant, or nothing in it stands out from the noise.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076, for the threshold.
    """
    valid = np.isfinite(picture)
    measured = valid & (picture != 0)
    if 2 * np.count_nonzero(measured) >= np.count_nonzero(valid):
        valid = measured
    if not valid.any():
        raise ValueError("the picture holds no finite value other than 0; choose another band or scan.")
    factor = max(1, -(-max(picture.shape) // LONGEST_SIDE_PX))
    small, share = _block_mean(np.where(valid, picture, 0), valid, factor)
    known = share > 0
    flat = np.where(known, _smooth(small, known), np.nan)
    flat -= _background(flat)
    level = _threshold(flat[known])
    return TissueMask(np.where(known, flat, -np.inf) > level, factor)


def core_diameter(mask: Bool[np.ndarray, "y x"]) -> float:
    """Diameter in pixels of the discs that most of the tissue lies in.

    The median over the pixels of round patches, of the diameter of a disc as large as their patch; debris
    holds few pixels, and touching cores are not round.

    Raises:
      ValueError: if the patches are too small to be cores.
    """
    filled = scipy.ndimage.binary_fill_holes(mask)
    labels, count = scipy.ndimage.label(filled)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(float)
    depth = np.asarray(scipy.ndimage.distance_transform_edt(np.pad(filled, 1)))[1:-1, 1:-1]
    inscribed = 2.0 * np.asarray(scipy.ndimage.maximum(depth, labels, np.arange(1, count + 1))).reshape(-1)
    equivalent = 2.0 * np.sqrt(areas / np.pi)
    is_round = inscribed > 0.8 * equivalent  # two touching discs: 0.71
    diameter = 0.0
    if (areas * is_round).sum() > 0.2 * areas.sum():
        diameter = _weighted_median(equivalent[is_round], areas[is_round])
    elif count:
        diameter = _weighted_median(inscribed, areas)
    if diameter < SMALLEST_DIAMETER_PX:
        raise ValueError(
            f"the patches of tissue measure {diameter:.1f} pixels across where the longer side of the picture "
            f"has at most {LONGEST_SIDE_PX}; a core needs {SMALLEST_DIAMETER_PX:g}. Choose another band, state "
            "the core diameter, or give a part of the scan."
        )
    return diameter


def blobs(
    mask: Bool[np.ndarray, "y x"], diameter_px: float
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Places that may be cores: peaks of the mask under a Gaussian as wide as a core.

    Returns:
      centres (y, x) in pixels of the mask, shape (n, 2), and how full each is, 0 to about .86.
    """
    density = scipy.ndimage.gaussian_filter(
        mask.astype(np.float32), diameter_px / BLOB_WIDTHS, mode="constant"
    )
    size = max(3, int(0.5 * diameter_px) | 1)
    peaks = (density == scipy.ndimage.maximum_filter(density, size)) & (density > 0.1)
    labels, count = scipy.ndimage.label(peaks, np.ones((3, 3), bool))
    numbers = np.arange(1, count + 1)
    centres = np.array(scipy.ndimage.center_of_mass(peaks, labels, numbers)).reshape(count, 2)
    return centres, np.asarray(scipy.ndimage.maximum(density, labels, numbers), float).reshape(count)


def _block_mean(
    values: Float[np.ndarray, "y x"], valid: Bool[np.ndarray, "y x"], factor: int
) -> tuple[Float[np.ndarray, "v u"], Float[np.ndarray, "v u"]]:
    """Mean of the valid pixels of each square, and their share."""
    if factor == 1:
        return values.astype(np.float32), valid.astype(np.float32)
    padding = [(0, -length % factor) for length in values.shape]
    sums = []
    for array in (values, valid):
        padded = np.pad(array, padding).astype(np.float32)
        height, width = padded.shape
        sums.append(padded.reshape(height // factor, factor, width // factor, factor).sum(axis=(1, 3)))
    return sums[0] / np.maximum(sums[1], 1), sums[1] / factor**2


def _smooth(picture: Float[np.ndarray, "y x"], known: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Median of 3 × 3 against single odd pixels, then a Gaussian that leaves out what is not known."""
    level = float(np.median(picture[known]))
    picture = scipy.ndimage.median_filter(np.where(known, picture, level), 3)
    weight = scipy.ndimage.gaussian_filter(known.astype(np.float32), _SMOOTHING_PX)
    summed = scipy.ndimage.gaussian_filter(
        np.where(known, picture - level, 0).astype(np.float32), _SMOOTHING_PX
    )
    return level + summed / np.maximum(weight, 1e-3)


def _background(picture: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """A quadratic surface through the low values of tiles, without the tiles that tissue fills."""
    y_edges, x_edges = (
        np.unique(np.linspace(0, length, min(_BACKGROUND_TILES, length) + 1).astype(int))
        for length in picture.shape
    )
    places, lows = [], []
    for top, bottom in itertools.pairwise(y_edges.tolist()):
        for left, right in itertools.pairwise(x_edges.tolist()):
            tile = picture[top:bottom, left:right]
            tile = tile[np.isfinite(tile)]
            if tile.size:
                places.append(((top + bottom - 1) / 2, (left + right - 1) / 2))
                lows.append(np.quantile(tile, 0.25))
    low, place = np.array(lows, float), np.array(places)
    chosen = low <= np.median(low)
    surface = _Quadratic(picture.shape)
    for _ in range(12):
        coefficients = np.linalg.lstsq(surface.terms(*place[chosen].T), low[chosen], rcond=None)[0]
        excess = low - surface.terms(*place.T) @ coefficients
        below = excess[excess <= np.median(excess[chosen])]
        spread = 1.4826 * float(np.median(np.abs(below))) if below.size else 0.0
        kept = excess <= 2.5 * spread + 1e-12
        if kept.sum() < 12 or np.array_equal(kept, chosen):
            break
        chosen = kept
    rows, columns = np.arange(picture.shape[0]), np.arange(picture.shape[1])
    return surface.over(rows, columns, coefficients).astype(picture.dtype)


class _Quadratic:
    """Terms 1, y, x, y², yx, x² of coordinates scaled to −1 … 1."""

    def __init__(self, shape: tuple[int, ...]):
        self._half = np.maximum((np.array(shape, float) - 1) / 2, 0.5)

    def terms(self, y: np.ndarray, x: np.ndarray) -> Float[np.ndarray, "n 6"]:
        v, u = y / self._half[0] - 1, x / self._half[1] - 1
        return np.stack([np.ones_like(v), v, u, v * v, v * u, u * u], axis=1)

    def over(self, rows: np.ndarray, columns: np.ndarray, c: np.ndarray) -> Float[np.ndarray, "y x"]:
        v, u = (rows / self._half[0] - 1)[:, None], (columns / self._half[1] - 1)[None, :]
        return c[0] + c[1] * v + c[3] * v * v + (c[2] + c[4] * v) * u + c[5] * u * u


def _threshold(values: Float[np.ndarray, " n"]) -> float:
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise ValueError("the picture is constant, so it shows no cores; choose another band or scan.")
    split = _otsu(values, low, high)
    below, above = values[values <= split], values[values > split]
    background, tissue = float(np.median(below)), float(np.median(above))
    noise = 1.4826 * float(np.median(np.abs(below - background)))
    contrast = tissue - background
    if contrast < LEAST_CONTRAST * noise:
        raise ValueError(
            f"nothing stands out as tissue: the brighter part of the picture lies {contrast / noise:.1f} standard "
            f"deviations of the background above it, at least {LEAST_CONTRAST:g} are needed. Choose another "
            "band, or mark the cores by hand in a CSV."
        )
    return background + max(0.3 * contrast, min(4.0 * noise, 0.5 * contrast))


def _otsu(values: Float[np.ndarray, " n"], low: float, high: float) -> float:
    """The split of the histogram with the largest variance between its two classes."""
    counts, edges = np.histogram(values, _HISTOGRAM_BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = values.size - below
    moment = np.cumsum(counts * centres)
    gap = moment[:-1] / np.maximum(below, 1) - (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * gap**2)])


def _weighted_median(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> float:
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(summed, summed[-1] / 2)])
