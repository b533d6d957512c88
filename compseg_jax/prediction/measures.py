"""What a finished map says of its sample, counted block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from compseg_jax.model.diseased_area import AreaRule
from compseg_jax.prediction.working import WorkingMaps


@dataclass(frozen=True)
class Measures:
    """Numbers of one sample.

    Attributes:
      score: mean activation in the tissue; None without tissue.
      area_fraction: part of the tissue above the threshold; None without tissue.
      area_low: lower end of the interval of the diseased part; None where none is supported.
      area_high: upper end.
      tissue_px: pixels of tissue.
      dice: agreement with the reference mask; None without one, or where it is empty.
    """

    score: float | None
    area_fraction: float | None
    area_low: float | None
    area_high: float | None
    tissue_px: int
    dice: float | None


def measured(
    maps: WorkingMaps,
    threshold: float,
    rule: AreaRule,
    reference: Callable[[tuple[slice, slice]], Bool[np.ndarray, "y x"]] | None = None,
) -> Measures:
    """Measures a sample.

    Args:
      maps: its finished maps.
      threshold: activation above which a pixel is segmented.
      rule: gives the interval of the diseased part.
      reference: a block of its reference mask, where one exists.
    """
    tissue_px = segmented = both = known = 0
    total = 0.0
    levels = np.sort(rule.thresholds.ravel())
    above = np.zeros(levels.size + 1, np.int64)
    for block in maps.blocks():
        tissue, activation = maps.tissue(*block), maps.activation(*block)
        values = activation[tissue]
        mask = tissue & (activation > threshold)
        tissue_px += values.size
        segmented += int(mask.sum())
        total += float(values.sum(dtype=np.float64))
        # The number of thresholds below a value, so that the sums from the end count the values above each.
        above += np.bincount(
            np.searchsorted(levels, values.astype(np.float64), side="left"), minlength=levels.size + 1
        )
        if reference is not None:
            truth = reference(block)
            both += int((mask & truth).sum())
            known += int(truth.sum())
    dice = 2 * both / (segmented + known) if known else None
    if not tissue_px:
        return Measures(None, None, None, None, 0, dice)
    exceeding = np.cumsum(above[::-1])[::-1][1:] / tissue_px
    areas = exceeding[np.searchsorted(levels, rule.thresholds.ravel())].reshape(rule.thresholds.shape)
    low, high = rule.interval_above(areas) or (None, None)
    return Measures(total / tissue_px, segmented / tissue_px, low, high, tissue_px, dice)
