"""How much of a sample is diseased, as an interval, with no pixel of the truth known.

The area A above the threshold t is not the diseased part φ: healthy tissue above t is counted, diseased tissue below
it is missed. With h, the part of healthy tissue above t, and T, that of diseased tissue,

    A = (1 − φ)·h + φ·T,    φ = (A − h)/(T − h)

(Rogan and Gladen, Am. J. Epidemiol. 107:71 (1978), doi 10.1093/oxfordjournals.aje.a112510). None of t, h and T is
known; the validation samples say what they may be (`threshold`), so each of their bootstrap resamples gives

- t: not the chosen threshold alone but all around it whose implied Dice is within 10 % of the chosen one's. Labels
  cannot tell which of them is right for one sample; where its map is blurred, its area depends on t;
- h and T at these t. T, from the mixture, is too high where no threshold separates the two tissues.

The lower end of a resample takes the highest such t, T = 1 (nothing was missed), and for h not the mean but one
healthy sample drawn at random, as a new sample has its own false positives. The upper end takes the lowest such t, the
mean h, and the larger of A (no pixel is false) and (A − h)/(T − h). The interval goes from the 2.5 % quantile of the
lower ends to the 97.5 % quantile of the upper ends.

What it cannot know: tumour that the network does not see at any such threshold, and normal tissue of diseased
samples that it takes for disease. It is therefore no interval of a stated confidence; docs/report.md tells how often it
held the truth in simulations, and an evaluation with reference masks how often it did there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.model.mixture import Implied, Tails

EQUALLY_GOOD = 0.1
"""Part of the implied Dice that labels are taken not to resolve; what smaller ones miss stands in docs/report.md."""
SMALLEST_DIFFERENCE = 0.05
"""T − h below which the upper end is 1: a quotient of two small numbers says nothing."""
REPLICATES = (
    "low_threshold", "low_healthy_tail", "low_diseased_tail", "high_threshold", "high_healthy_tail",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AreaRule:
    """What the validation samples say about any other sample's diseased part.

    Attributes:
      replicates: (5, b), rows as in `REPLICATES`; None where no interval can be given.
      reason: why not, in the middle of a sentence; empty otherwise.
    """

    replicates: Float[np.ndarray, "5 b"] | None
    reason: str = ""

    @classmethod
    def of_choice(cls, choice: Mapping[str, Any], *, threshold: float) -> AreaRule:
        """The rule of a model's `threshold_choice`, for maps that are evaluated at this threshold.

        Args:
          choice: fields of a `ThresholdChoice`, its `threshold` among them.
          threshold: where the maps are cut; the rule holds for the chosen threshold only.
        """
        chosen = choice.get("threshold")
        if chosen is None or abs(float(chosen) - threshold) >= 1e-6:
            return cls(None, f"the threshold {threshold:g} was given, not chosen from validation labels")
        if "supported" not in choice:
            return cls(None, "the model does not state how its threshold was chosen")
        if not choice["supported"]:
            return cls(None, str(choice["reason"]))
        if choice.get("interval") is None and choice.get("diseased_fraction") is not None:
            return cls(
                None, "the validation samples of a label are all of one group, and one tells no spread"
            )
        if choice.get("interval") is None:
            return cls(None, "the threshold was not chosen from validation labels")
        replicates = choice.get("replicates")
        if not replicates:
            return cls(None, "the model was trained before intervals were; train it again")
        return cls(np.array([replicates[name] for name in REPLICATES], np.float64))

    def interval(self, activations: Float[np.ndarray, " pixels"]) -> tuple[float, float] | None:
        """Interval of the diseased part of one sample's tissue; None where the rule has no replicates.

        Args:
          activations: of all tissue pixels of the sample, at least one, in any order.
        """
        if self.replicates is None:
            return None
        values = np.sort(activations.astype(np.float64))
        return self.interval_above(1 - np.searchsorted(values, self.thresholds, side="right") / values.size)

    @property
    def thresholds(self) -> Float[np.ndarray, "2 b"]:
        """Where the area of a sample is taken; no columns where the rule has no replicates."""
        return np.zeros((2, 0)) if self.replicates is None else self.replicates[[3, 0]]

    def interval_above(self, areas: Float[np.ndarray, "2 b"]) -> tuple[float, float] | None:
        """The interval from the parts of a sample's tissue above ``thresholds``."""
        if self.replicates is None:
            return None
        _, low_h, low_diseased, _, high_h = self.replicates
        small, large = areas
        least = (small - high_h) / np.maximum(1 - high_h, SMALLEST_DIFFERENCE)
        difference = low_diseased - low_h
        corrected = (large - low_h) / np.maximum(difference, SMALLEST_DIFFERENCE)
        most = np.where(difference > SMALLEST_DIFFERENCE, np.maximum(large, corrected), 1.0)
        low, high = np.quantile(np.clip(least, 0, 1), 0.025), np.quantile(np.clip(most, 0, 1), 0.975)
        return float(low), float(high)


def area_replicates(
    resampled: Implied, healthy: Tails, rng: np.random.Generator
) -> Mapping[str, tuple[float, ...]]:
    """What each resample of the validation samples says, by the names of `REPLICATES`.

    Args:
      resampled: what b resamples imply.
      healthy: tails of the healthy samples, of which one is drawn for each resample.
      rng: draws them.

    Returns:
      The lowest and the highest equally good threshold of each resample, the tails of healthy and diseased tissue at
      the lower, the drawn sample's tail at the higher; six digits each.
    """
    rows = np.arange(len(resampled.place))
    good = resampled.dice_at >= (1 - EQUALLY_GOOD) * resampled.dice_at[rows, resampled.place][:, None]
    ends = [_run_around(*each) for each in zip(good, resampled.place.tolist(), strict=True)]
    low, high = np.array(ends).T
    drawn = healthy[rng.integers(len(healthy), size=len(rows))]
    columns = (
        resampled.thresholds[low],
        resampled.healthy_tail[rows, low],
        resampled.diseased_tail[rows, low],
        resampled.thresholds[high],
        drawn[rows, high],
    )
    return {
        name: tuple(float(f"{value:.6g}") for value in column)
        for name, column in zip(REPLICATES, columns, strict=True)
    }


def _run_around(good: Bool[np.ndarray, " thresholds"], index: int) -> tuple[int, int]:
    """First and last of the unbroken run of good thresholds that holds this one."""
    bad = np.flatnonzero(~good)
    before, after = bad[bad < index], bad[bad > index]
    return (int(before[-1]) + 1 if len(before) else 0), (int(after[0]) - 1 if len(after) else len(good) - 1)
