"""Statistics of many values at once, and their histogram in text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Shaped

WIDTH, BAR_CELLS = 80, 36
_BLOCKS = " ▏▎▍▌▋▊▉█"
_MOST_DECIMALS, _LARGEST_PLAIN = 6, 1e7


@dataclass(frozen=True)
class Summary:
    """Ordered statistics and histogram of values, NaN and infinite ones left out.

    Attributes:
      percentiles: minimum, 1 %, median, 99 % and maximum.
      edges: (bins + 1,) of equal bins from the 1st to the 99th percentile.
      counts: (bins,) values in each; the last bin holds its upper edge.
      below: number of values under the first edge.
      above: number of values over the last edge.
    """

    percentiles: Float[np.ndarray, " 5"]
    edges: Float[np.ndarray, " edges"]
    counts: Int[np.ndarray, " edges-1"]
    below: int
    above: int


def summarise(values: Shaped[np.ndarray, "*values"], bins: int = 12) -> Summary | None:
    """Percentiles (linearly interpolated) and histogram of the finite values; None where there are none."""
    ordered = np.sort(values[np.isfinite(values)], axis=None)
    if not ordered.size:
        return None
    places = np.array([0, 0.01, 0.5, 0.99, 1]) * (ordered.size - 1)
    lower = places.astype(int)
    low = ordered[lower].astype(np.float64)
    high = ordered[np.minimum(lower + 1, ordered.size - 1)].astype(np.float64)
    percentiles = low + (places - lower) * (high - low)
    number = bins if percentiles[3] > percentiles[1] else 1
    edges = np.linspace(percentiles[1], percentiles[3], number + 1).astype(ordered.dtype)
    below = int(np.searchsorted(ordered, edges[0], "left"))
    inside = int(np.searchsorted(ordered, edges[-1], "right"))
    inner = np.searchsorted(ordered, edges[1:-1], "left")
    counts = np.diff(np.concatenate([[below], inner, [inside]]))
    return Summary(percentiles, edges.astype(np.float64), counts, below, int(ordered.size) - inside)


def mean_and_sd(
    spectra: Shaped[np.ndarray, "n c"],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Mean and standard deviation of each channel over its finite values; NaN where it has none."""
    finite = np.isfinite(spectra)
    number = np.count_nonzero(finite, axis=0)
    safe = np.where(finite, spectra, spectra.dtype.type(0))
    mean = safe.sum(axis=0, dtype=np.float64) / np.maximum(number, 1)
    safe -= mean.astype(safe.dtype)[np.newaxis]
    np.square(safe, out=safe)
    variance = np.where(finite, safe, safe.dtype.type(0)).sum(axis=0, dtype=np.float64)
    sd = np.sqrt(variance / np.maximum(number, 1))
    return np.where(number > 0, mean, np.nan), np.where(number > 0, sd, np.nan)


def histogram_lines(summary: Summary) -> list[str]:
    """A row for each bin (bounds, bar, count, share), outliers in the first and last; at most 80 columns."""
    total = int(summary.counts.sum()) + summary.below + summary.above
    texts = _equally_precise(summary.edges)
    wide = max(map(len, texts))
    bounds = [f"{low:>{wide}} … {high:>{wide}}" for low, high in pairwise(texts)]
    names = [f"below {texts[0]}", *bounds, f"above {texts[-1]}"]
    counts = [summary.below, *(int(count) for count in summary.counts), summary.above]
    digits, label = len(f"{total:,}"), max(map(len, names))
    cells = min(BAR_CELLS, WIDTH - label - digits - 12)
    most = max(1, int(summary.counts.max()))
    bars = [_bar(min(count / most, 1.0), cells) for count in counts]
    return [
        f"{name:>{label}}  {bar:<{cells}}  {count:>{digits},} {100 * count / total:5.1f} %"
        for name, bar, count in zip(names, bars, counts, strict=True)
    ]


def share_text(part: int, whole: int) -> str:
    """`12 of 48 (25.0 %)`."""
    return f"{part:,} of {whole:,} ({100 * part / max(whole, 1):.1f} %)"


def _equally_precise(edges: np.ndarray) -> list[str]:
    """Numbers with decimals enough to distinguish neighbours; with powers of ten where these would be long."""
    step = float(edges[-1] - edges[0]) / max(edges.size - 1, 1)
    largest = float(np.max(np.abs(edges)))
    decimals = max(0, 1 - math.floor(math.log10(step))) if step > 0 else 3
    if decimals > _MOST_DECIMALS or largest >= _LARGEST_PLAIN:
        digits = min(8, max(2, math.ceil(math.log10(largest / step)) + 1)) if step > 0 and largest > 0 else 3
        return [f"{edge:.{digits}e}" for edge in edges]
    # Adding 0 makes the −0 that rounding leaves a plain 0.
    return [f"{round(float(edge), decimals) + 0.0:.{decimals}f}" for edge in edges]


def _bar(share: float, cells: int) -> str:
    """A bar in eighths of a character; at least one eighth where there is anything."""
    eighths = math.ceil(share * cells * 8 - 1e-9)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
