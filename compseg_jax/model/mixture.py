"""What maps and labels imply of healthy and diseased tissue: the mixture that thresholds are read from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LOGITS = np.linspace(-16, 16, 641)
THRESHOLDS = 1 / (1 + np.exp(-LOGITS))
"""Where tails are taken; of smoothed maps at thresholds that stand for these."""
USUAL = np.abs(LOGITS) <= 2.95
"""Thresholds from .05 to .95. The pooling neuron counts activations: below .05 a network is blurred by what
lies around a lesion, which the mixture would take for disease."""
LEAST_USUAL_SHARE = 0.5
"""Thresholds outside the usual range are used only where less than this share of π lies within it."""
LARGEST_HEALTHY_TAIL = 0.4
STANDARD_ERRORS = 2.0
"""How many standard errors π must exceed 0 by where it is read off: samples differ in their bulk, which the greatest
of many bounds would take for disease."""
LEAST_ERROR = 1e-4
PLATEAU_TOLERANCE = 0.01

Tails = Float[np.ndarray, "n thresholds"]


def tail_of(
    activation: np.ndarray, tissue: np.ndarray, index: int, thresholds: np.ndarray = THRESHOLDS
) -> Float[np.ndarray, " thresholds"]:
    """Part of the tissue whose activation exceeds each threshold, which ascend.

    Raises:
      ValueError: an empty tissue mask, NaN or Inf; names the sample by its index.
    """
    values = np.sort(activation[tissue].astype(np.float64))
    if values.size == 0:
        raise ValueError(f"choose_threshold: sample {index} has an empty tissue mask. Leave it out.")
    if not np.isfinite(values).all():
        raise ValueError(
            f"choose_threshold: the activation of sample {index} holds NaN or Inf, required [0, 1]."
        )
    return 1 - np.searchsorted(values, thresholds, side="right") / values.size


class Implied(NamedTuple):
    """What b weightings of the samples imply; symbols as in `threshold`."""

    thresholds: Float[np.ndarray, " thresholds"]
    """Where the tails were taken."""
    usual: Bool[np.ndarray, " b"]
    """Whether the threshold was sought in `USUAL` alone."""
    place: Int[np.ndarray, " b"]
    """Of the threshold in `thresholds`."""
    threshold: Float[np.ndarray, " b"]
    fraction: Float[np.ndarray, " b"]
    """π."""
    evidence: Float[np.ndarray, " b"]
    """The greatest number of standard errors by which a bound on π exceeds 0, over the thresholds considered."""
    dice: Float[np.ndarray, " b"]
    """F at the threshold."""
    diseased_tail: Float[np.ndarray, "b thresholds"]
    """T at every threshold, (D − (1 − π)·H)/π, not above 1."""
    healthy_tail: Float[np.ndarray, "b thresholds"]
    """H at every threshold."""
    dice_at: Float[np.ndarray, "b thresholds"]
    """F at every threshold with this T."""

    def halfway_to_one_half(self) -> Implied:
        """The same with thresholds halfway to .5, in the logit."""
        place = (self.place + len(LOGITS) // 2) // 2
        return self._replace(
            place=place, threshold=self.thresholds[place], dice=self.dice_at[np.arange(len(place)), place]
        )


def implied(tails: Tails, diseased: np.ndarray, healthy: np.ndarray, *, usual: bool | None = None) -> Implied:
    """Fraction, threshold and tails that tails and labels imply, in steps 1 to 3 of `threshold`.

    Args:
      tails: of n samples.
      diseased: (b, n) weight of each sample among the diseased ones, in each of b weightings.
      healthy: (b, n) the same among the healthy ones.
      usual: whether thresholds are taken from `USUAL` alone; decided for each weighting when None.
    """
    upper, upper_variance = _mean_and_its_variance(tails, diseased)
    lower, lower_variance = _mean_and_its_variance(tails, healthy)
    stable = lower <= LARGEST_HEALTHY_TAIL
    rest = np.where(stable, 1 - lower, 1)
    bound = np.where(stable, (upper - lower) / rest, 0)
    # Of B = 1 − (1 − D)/(1 − H), to first order.
    error = np.sqrt(upper_variance + (1 - bound) ** 2 * lower_variance) / rest
    least = np.where(stable, bound - STANDARD_ERRORS * error, -np.inf)
    rows = np.arange(len(bound))
    anywhere, usually = least.argmax(axis=1), np.where(USUAL, least, -np.inf).argmax(axis=1)
    is_usual = (
        bound[rows, usually] >= LEAST_USUAL_SHARE * bound[rows, anywhere]
        if usual is None
        else np.full(len(bound), usual)
    )
    read_at = np.where(is_usual, usually, anywhere)
    fraction = np.maximum(bound[rows, read_at], 0)
    considered = stable & (USUAL | ~is_usual[:, None])
    evidence = np.where(considered, bound / np.maximum(error, LEAST_ERROR), 0).max(axis=1)
    pi = fraction[:, None]
    true_positive = np.maximum(upper - (1 - pi) * lower, 0)
    dice = 2 * true_positive / np.maximum(upper + pi, np.finfo(np.float64).tiny)
    dice = np.where(USUAL | ~is_usual[:, None], dice, 0)
    centres = np.array([_centre_of_widest_run(row >= (1 - PLATEAU_TOLERANCE) * row.max()) for row in dice])
    tiny = np.finfo(np.float64).tiny
    found = np.minimum(true_positive, pi)
    return Implied(
        thresholds=THRESHOLDS,
        usual=is_usual,
        place=centres,
        threshold=THRESHOLDS[centres],
        fraction=fraction,
        evidence=evidence,
        dice=dice[np.arange(len(dice)), centres],
        diseased_tail=found / np.maximum(pi, tiny),
        healthy_tail=lower,
        dice_at=2 * found / np.maximum(upper + pi, tiny),
    )


def implied_of_smoothed(
    rough: Implied, tails: Tails, thresholds: np.ndarray, diseased: np.ndarray, healthy: np.ndarray
) -> Implied:
    """What maps imply that were smoothed, each weighting with the place that the maps before gave.

    π is what is marked there and not explained by healthy tissue, of which less is marked now. It is not estimated
    anew: a Gaussian spreads what a network marks over its edge, where no healthy sample has anything, and the rim would
    count as disease.

    Args:
      rough: of the maps before, with the same weightings.
      tails: of the smoothed maps of n samples.
      thresholds: where they were taken: each marks as much of the diseased samples as that of `THRESHOLDS` did.
      diseased: as for :func:`implied`.
      healthy: as for :func:`implied`.
    """
    upper, _ = _mean_and_its_variance(tails, diseased)
    lower, _ = _mean_and_its_variance(tails, healthy)
    rows = np.arange(len(upper))
    unexplained = upper - (1 - rough.fraction[:, None]) * lower
    fraction = np.maximum(rough.fraction, unexplained[rows, rough.place])
    pi, tiny = fraction[:, None], np.finfo(np.float64).tiny
    found = np.clip(upper - (1 - pi) * lower, 0, pi)
    dice = 2 * found / np.maximum(upper + pi, tiny)
    return rough._replace(
        thresholds=thresholds,
        threshold=thresholds[rough.place],
        fraction=fraction,
        dice=dice[rows, rough.place],
        diseased_tail=found / np.maximum(pi, tiny),
        healthy_tail=lower,
        dice_at=dice,
    )


def _mean_and_its_variance(
    tails: Tails, weights: np.ndarray
) -> tuple[Float[np.ndarray, "b thresholds"], Float[np.ndarray, "b thresholds"]]:
    """Weighted mean over the samples, and the variance of that mean."""
    weight = weights.astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    mean = weight @ tails / total
    return mean, np.maximum(weight @ tails**2 / total - mean**2, 0) / total


def _centre_of_widest_run(flat: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat, [False])).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    widest = int(np.argmax(stops - starts))
    return int(starts[widest] + stops[widest] - 1) // 2
