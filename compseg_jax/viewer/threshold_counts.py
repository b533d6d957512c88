"""Segmented area, Dice and mean spectra as functions of the threshold, each counted once and looked up ever after.

Pixels are counted between neighbouring edges: every position of the threshold slider and the model's own
threshold. A look-up costs one binary search, so a slider can follow the mouse on images of any size, and at an edge the
numbers are exact: those of ``activation > threshold``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

SLIDER_STEP = 0.001
SLIDER_POSITIONS = 1001


def threshold_edges(*thresholds: float) -> Float[np.ndarray, " e"]:
    """Positions of the slider, 0 to 1 in steps of .001, and the thresholds given; ascending, float32.

    Single precision, because activations are: ``activation > threshold`` compares them so.
    """
    positions = np.arange(SLIDER_POSITIONS) / (SLIDER_POSITIONS - 1)
    return np.unique(np.concatenate([positions, thresholds]).astype(np.float32))


@dataclass(frozen=True, eq=False)
class ThresholdCounts:
    """How many pixels lie above each edge.

    Attributes:
      edges: ascending thresholds (e,), float32.
      tissue_above: tissue pixels whose activation lies above each edge (e,).
      reference_above: those of them that the reference marks (e,); None without a reference.
      tissue_px: tissue pixels.
      reference_px: pixels that the reference marks, in the tissue or not; None without a reference.
      factor: pixels of the image along an edge of a counted pixel: 1 where every pixel was counted.
    """

    edges: Float[np.ndarray, " e"]
    tissue_above: Int[np.ndarray, " e"]
    reference_above: Int[np.ndarray, " e"] | None
    tissue_px: int
    reference_px: int | None
    factor: float = 1.0

    def area_fraction(self, threshold: float) -> float | None:
        """Part of the tissue above a threshold; None where there is no tissue."""
        return int(self.tissue_above[self._place(threshold)]) / self.tissue_px if self.tissue_px else None

    def dice(self, threshold: float) -> float | None:
        """Dice coefficient 2|A∩B|/(|A|+|B|) of segmentation and reference.

        None without a reference, or where it marks nothing: no threshold could then score more than 0.
        """
        if self.reference_above is None or not self.reference_px:
            return None
        place = self._place(threshold)
        predicted = int(self.tissue_above[place])
        return 2 * int(self.reference_above[place]) / (predicted + self.reference_px)

    def _place(self, threshold: float) -> int:
        """Index of the highest edge that is not above the threshold."""
        place = np.searchsorted(self.edges, np.float32(threshold), side="right") - 1
        return max(0, int(place))


Block = tuple[Float[np.ndarray, "y x"], Bool[np.ndarray, "y x"] | None, Bool[np.ndarray, "y x"] | None]
"""Activation, tissue (None: all of it) and reference (None: unknown) of a part of an image."""


def count_thresholds(
    blocks: Iterable[Block], edges: Float[np.ndarray, " e"], *, factor: float = 1.0
) -> ThresholdCounts:
    """Counts the pixels of an image that comes in parts, so that it may be larger than memory.

    Args:
      blocks: parts that do not overlap; with a reference all of them or none.
      edges: ascending thresholds (e,), float32.
      factor: as in :class:`ThresholdCounts`.
    """
    tissue_bins = np.zeros(edges.size + 1, np.int64)
    reference_bins = np.zeros(edges.size + 1, np.int64)
    reference_px: int | None = None
    for activation, tissue, reference in blocks:
        bins = bins_of(activation, edges)
        kept = np.isfinite(activation) if tissue is None else tissue
        tissue_bins += np.bincount(bins[kept], minlength=edges.size + 1)
        if reference is not None:
            reference_bins += np.bincount(bins[kept & reference], minlength=edges.size + 1)
            reference_px = (reference_px or 0) + int(np.count_nonzero(reference))
    return ThresholdCounts(
        edges=edges,
        tissue_above=_above(tissue_bins),
        reference_above=None if reference_px is None else _above(reference_bins),
        tissue_px=int(tissue_bins.sum()),
        reference_px=reference_px,
        factor=factor,
    )


def bins_of(activation: Float[np.ndarray, "*s"], edges: Float[np.ndarray, " e"]) -> Int[np.ndarray, "*s"]:
    """How many edges lie below each activation: 0 to e."""
    return np.searchsorted(edges, activation.astype(np.float32, copy=False), side="left")


def _above(bins: Int[np.ndarray, " b"]) -> Int[np.ndarray, " e"]:
    """Pixels above each edge, from the pixels between edges."""
    return np.cumsum(bins[::-1])[::-1][1:]


@dataclass(frozen=True, eq=False)
class SpectraByThreshold:
    """Mean spectra of the tissue above and below any threshold.

    Attributes:
      edges: ascending thresholds (e,), float32.
      sums_above: summed spectra of the tissue above each edge (e, c), float64.
      pixels_above: how many there are (e,).
      total: summed spectrum of all tissue (c,).
      pixels: tissue pixels.
      factor: pixels of the image along an edge of an averaged pixel.
    """

    edges: Float[np.ndarray, " e"]
    sums_above: Float[np.ndarray, "e c"]
    pixels_above: Int[np.ndarray, " e"]
    total: Float[np.ndarray, " c"]
    pixels: int
    factor: float = 1.0

    @classmethod
    def of(
        cls,
        absorbance: Float[np.ndarray, "y x c"],
        activation: Float[np.ndarray, "y x"],
        tissue: Bool[np.ndarray, "y x"],
        edges: Float[np.ndarray, " e"],
        *,
        factor: float = 1.0,
    ) -> SpectraByThreshold:
        """Sums the spectra of an image between neighbouring edges."""
        bins = bins_of(activation[tissue], edges)
        order = np.argsort(bins, kind="stable")
        spectra = absorbance[tissue][order]
        found, starts = np.unique(bins[order], return_index=True)
        sums = np.zeros((edges.size + 1, absorbance.shape[2]))
        if found.size:
            sums[found] = np.add.reduceat(spectra, starts, axis=0, dtype=np.float64)
        counts = np.bincount(bins, minlength=edges.size + 1)
        above = np.cumsum(sums[::-1], axis=0)[::-1]
        return cls(edges, above[1:], _above(counts), above[0], int(counts.sum()), factor)

    def n_inside(self, threshold: float) -> int:
        """Pixels above a threshold."""
        return int(self.pixels_above[self._place(threshold)])

    def n_outside(self, threshold: float) -> int:
        """Tissue pixels that are not above it."""
        return self.pixels - self.n_inside(threshold)

    def inside(self, threshold: float) -> Float[np.ndarray, " c"] | None:
        """Mean spectrum of the tissue above a threshold; None where no pixel is."""
        pixels = self.n_inside(threshold)
        return self.sums_above[self._place(threshold)] / pixels if pixels else None

    def outside(self, threshold: float) -> Float[np.ndarray, " c"] | None:
        """Mean spectrum of the tissue that is not above it; None where no pixel is."""
        pixels = self.n_outside(threshold)
        return (self.total - self.sums_above[self._place(threshold)]) / pixels if pixels else None

    def _place(self, threshold: float) -> int:
        return max(0, int(np.searchsorted(self.edges, np.float32(threshold), side="right")) - 1)
