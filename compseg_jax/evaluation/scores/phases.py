"""Whether a map is combed: do the pixels of a 2×2 cell differ where the tissue does not?

A transposed convolution gives the four pixels of a cell kernels of their own, so an objective that asks for part of a
lesion can be content with one or two of them, and the whole map is carried by one phase (y mod 2, x mod 2). Odena,
Dumoulin and Olah, 2016, 'Deconvolution and checkerboard artifacts', doi 10.23915/distill.00003. Deeper up-convolutions
leave the same at periods 4, 8 …: there, the map's means over 2×2, 4×4 … blocks take the place of its pixels.

    d = a − k ∗ a,   k = (1, 2, 1)/4 along both axes

is the map without all that is smooth: k passes nothing at the frequency of a comb and leaves a plane as it is, so d
holds all of a comb and nothing of a lesion's slope. The spread is the greatest minus the least of the four phases'
means of d over cells of segmented tissue. That of a map without a comb is not 0 but noise, so it is reduced by the
factor 1 − (2 standard errors)²/(mean square of the means), not below 0: to 0 where chance explains it, hardly where it
does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.evaluation.scores.sample_scores import SampleResult

STANDARD_ERRORS = 2.0
TILE_CELLS = 8
"""Cells along the edge of the parts of a map that are taken for independent of each other."""
FEWEST_CELLS = 8
PERIODS = (2, 4)
"""Looked at where a network's depth is not known."""
TOLERATED = 0.05
"""Spread above which a map counts as combed."""


@dataclass(frozen=True)
class PhaseSpread:
    """How far the phases of a map differ.

    Attributes:
      spread: greatest minus least phase, in units of the activation, noise taken off.
      phases: mean activation by phase, (0, 0), (0, 1), (1, 0), (1, 1) in (y, x).
      cells: segmented cells that it was read from.
    """

    spread: float
    phases: tuple[float, ...]
    cells: int

    @property
    def relative(self) -> float:
        """The spread as a part of the greatest phase: a comb of a faint map is one, too."""
        return self.spread / max(self.phases) if self.spread > 0 else 0.0


@dataclass(frozen=True)
class PhaseSums:
    """What maps tell of their four phases at one period, as a mergeable state.

    Attributes:
      cells: number of cells.
      level: sum over cells of the mean of k ∗ a.
      total: sums over cells of d, by phase (4,).
      squares: sums of d² (4,).
      tiles: number of tiles that have cells.
      tile_products: over tiles, the sums of n², n·Σd and (Σd)², n being a tile's cells (3, 4).
    """

    cells: int
    level: float
    total: Float[np.ndarray, " 4"]
    squares: Float[np.ndarray, " 4"]
    tiles: int
    tile_products: Float[np.ndarray, "3 4"]

    @classmethod
    def empty(cls) -> PhaseSums:
        """The state of no map."""
        return cls(0, 0.0, np.zeros(4), np.zeros(4), 0, np.zeros((3, 4)))

    @classmethod
    def from_map(
        cls,
        activation: Float[np.ndarray, "y x"],
        tissue: Bool[np.ndarray, "y x"],
        threshold: float,
        *,
        period: int = 2,
    ) -> PhaseSums:
        """The state of one map.

        A cell counts where its greatest activation lies above the threshold and it, with the pixels (blocks) around it,
        lies wholly in tissue.

        Args:
          activation: map in [0, 1], its first pixel being the first that the network saw.
          tissue: mask.
          threshold: above which tissue is segmented.
          period: pixels from one cell to the next, a power of 2.
        """
        blocks, inside, greatest = _blocks(activation, tissue, period // 2)
        if min(blocks.shape) < 6:
            return cls.empty()
        d = blocks[2:-2, 2:-2] - _smooth(blocks)[1:-1, 1:-1]
        # A cell and all that k takes in for its pixels: 4×4 of them.
        around = np.lib.stride_tricks.sliding_window_view(inside, (4, 4))[1:-1:2, 1:-1:2].all((2, 3))
        segmented = _cells(greatest[2:-2, 2:-2]).max(axis=2) > threshold
        chosen = around & segmented
        if not chosen.any():
            return cls.empty()
        values = np.where(chosen[..., None], _cells(d), 0)
        sums = _by_tile(values)
        n = _by_tile(chosen[..., None].astype(np.float64))
        return cls(
            cells=int(chosen.sum()),
            level=float((_cells(blocks[2:-2, 2:-2]) - values)[chosen].mean(axis=1).sum()),
            total=values.sum(axis=(0, 1)),
            squares=np.square(values).sum(axis=(0, 1)),
            tiles=int((n > 0).sum()),
            tile_products=np.stack([(n * n * np.ones(4)).sum(0), (n * sums).sum(0), (sums * sums).sum(0)]),
        )

    def merge(self, other: PhaseSums) -> PhaseSums:
        """The state of the maps of both."""
        return type(self)(
            self.cells + other.cells,
            self.level + other.level,
            self.total + other.total,
            self.squares + other.squares,
            self.tiles + other.tiles,
            self.tile_products + other.tile_products,
        )

    def compute(self) -> PhaseSpread | None:
        """The spread; None of fewer cells than `FEWEST_CELLS`, of which none can be told."""
        if self.cells < FEWEST_CELLS:
            return None
        mean = self.total / self.cells
        phases = mean - mean.mean()
        size = float(np.mean(phases**2))
        # Neighbouring cells lie on one edge of a lesion, so tiles vary by more than independent cells would let them.
        cells = (self.squares / self.cells - mean**2) / (self.cells - 1)
        n_n, n_s, s_s = self.tile_products
        tiles = (s_s - 2 * mean * n_s + mean**2 * n_n) / self.cells**2
        correction = self.tiles / (self.tiles - 1) if self.tiles > 1 else 1.0
        variance = float(np.mean(np.maximum(cells, tiles * correction)))
        kept = max(0.0, 1 - STANDARD_ERRORS**2 * variance / size) if size > 0 else 0.0
        level = self.level / self.cells
        return PhaseSpread(kept * float(np.ptp(phases)), tuple((level + phases).tolist()), self.cells)


def phase_spreads(
    results: Iterable[SampleResult], threshold: float, periods: Sequence[int] = PERIODS
) -> dict[int, PhaseSpread]:
    """Spread of the phases over samples, at each period of which there are cells enough."""
    sums = {period: PhaseSums.empty() for period in periods}
    for result in results:
        for period, known in sums.items():
            own = PhaseSums.from_map(result.activation, result.tissue, threshold, period=period)
            sums[period] = known.merge(own)
    spreads = {period: known.compute() for period, known in sums.items()}
    return {period: spread for period, spread in spreads.items() if spread is not None}


def _blocks(
    activation: np.ndarray, tissue: np.ndarray, edge: int
) -> tuple[Float[np.ndarray, "y x"], Bool[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """Mean, whether all is tissue, and maximum over blocks; an even number of blocks along each axis."""
    height, width = (length // (2 * edge) * 2 for length in activation.shape)

    def parted(values: np.ndarray) -> np.ndarray:
        return values[: height * edge, : width * edge].reshape(height, edge, width, edge)

    values = parted(activation.astype(np.float64))
    return values.mean(axis=(1, 3)), parted(tissue).all(axis=(1, 3)), values.max(axis=(1, 3))


def _smooth(a: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y2 x2"]:
    """k ∗ a where k lies within a."""
    rows = (a[:-2] + 2 * a[1:-1] + a[2:]) / 4
    return np.asarray((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4)


def _cells(a: np.ndarray) -> Float[np.ndarray, "y2 x2 4"]:
    """The four pixels of each cell beside each other."""
    height, width = a.shape
    apart = a.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    return apart.reshape(height // 2, width // 2, 4)


def _by_tile(a: Float[np.ndarray, "y x k"]) -> Float[np.ndarray, "tiles k"]:
    """Sums over tiles of cells; the last ones may be smaller."""
    starts = (np.arange(0, length, TILE_CELLS) for length in a.shape[:2])
    down, across = starts
    return np.add.reduceat(np.add.reduceat(a, down, axis=0), across, axis=1).reshape(-1, a.shape[2])
