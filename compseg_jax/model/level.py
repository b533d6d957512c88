"""Maps of another array, day or instrument, brought to the level of the training's.

An array that responds otherwise moves the logits of a network as a whole: on one of the phantoms tumour and healthy
tissue both lie 2.5 lower than on the array of the training, pixels are ranked as before, and the threshold cuts most
of the lesions off. No label of the other array is needed to see it, as most of what does not reach the threshold is
healthy tissue on both. Its level is the lower quartile of the logits: near a lesion they are higher, in every array.

A shift of all logits is a factor on the odds of every activation. Correcting a calibration by its bias is common where
spectra are calibrated; factors on odds are those of Saerens, Latinne, Decaestecker 2002, 'Adjusting the outputs of a
classifier to new a priori probabilities' (Neural Computation 14, 21), for other numbers of either label
(docs/decisions/73).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Array, Bool, Float

VALIDATION_LEVELS = "validation_levels"
"""Entry of model.json: the levels of the groups of validation samples."""
LEVEL_QUANTILE = 0.25
FEWEST_GROUPS = 8
"""Samples (groups where they share one) of either array: of fewer the level is too uncertain to be compared."""
MOST_LOOKED_AT = 64
"""Samples that are looked at for their level, evenly spaced."""
UNSEEN = (None, "no", "same id")
"""Sightings (`model.seen`) of samples that count: what a model saw says nothing of another array."""
STANDARD_ERRORS, LEAST_DIFFERENCE = 2.0, 0.1
"""A difference of levels up to so many of its standard errors, or that small, is taken for chance: nothing changes."""
MOVED_PART = 0.75
"""Of the difference: tissue differs, too, and a map moved too far is worse than one not moved far enough."""
LEAST_ACTIVATION = 1e-7
"""Below it a level says nothing: maps that are 0 everywhere but on a lesion have all the same one."""
LEAST_BELOW = 0.05
"""Part of a sample that counts as below the threshold where less of it lies there."""

Item = TypeVar("Item")
Map = TypeVar("Map", Float[Array, "..."], Float[np.ndarray, "..."], float)


def at_odds(activation: Map, odds: float) -> Map:
    """Activations whose odds are multiplied, so whose logits are moved by log(odds); 0 and 1 stay, 1.0 changes nothing.

    Args:
      activation: in [0, 1], of any shape.
      odds: above 0.
    """
    if odds == 1.0:
        return activation
    return activation * odds / (1 + activation * (odds - 1))


def level_of(
    activations: Float[np.ndarray, "m y x"], tissue: Bool[np.ndarray, "y x"], threshold: float
) -> float:
    """Logit under which a quarter of the tissue lies that does not exceed the threshold, mean over the networks.

    The level of a mean of maps would be that of the highest of them: a sample that one network held out and one that
    all networks see would differ without lying on another array.

    Args:
      activations: the map of each network.
      tissue: the sample's pixels that count; at least one.
      threshold: activation above which a pixel is segmented.
    """
    return float(np.mean([_level(activation[tissue], threshold) for activation in activations]))


def _level(values: Float[np.ndarray, " n"], threshold: float) -> float:
    values = np.sort(values.astype(np.float64))
    below = max(int(np.searchsorted(values, threshold, side="right")), math.ceil(LEAST_BELOW * values.size))
    quartile = values[int(LEVEL_QUANTILE * (below - 1))]
    quartile = min(max(float(quartile), LEAST_ACTIVATION), 1 - LEAST_ACTIVATION)
    return math.log(quartile / (1 - quartile))


def evenly(items: Sequence[Item]) -> list[Item]:
    """Up to `MOST_LOOKED_AT` of them, evenly spaced in their order."""
    n = min(len(items), MOST_LOOKED_AT)
    return [items[place * len(items) // n] for place in range(n)]


def levels_by_group(levels: Iterable[tuple[str, float]]) -> tuple[float, ...]:
    """Means over the samples of each group, of pairs of group and level."""
    groups: dict[str, list[float]] = {}
    for group, level in levels:
        groups.setdefault(group, []).append(level)
    return tuple(sum(each) / len(each) for each in groups.values())


@dataclass(frozen=True)
class Match:
    """Whether maps were brought to the level of the validation samples, and why.

    Attributes:
      odds: factor on the odds of all activations; 1 where nothing is changed.
      difference: mean level of these samples less that of the validation samples (logit); None where unknown.
      standard_error: of the difference.
      n: samples, or groups of them, that it rests on.
      why: in words.
    """

    odds: float
    difference: float | None
    standard_error: float | None
    n: int
    why: str

    @property
    def sentence(self) -> str:
        """What is said where maps are changed."""
        return (
            f"Maps were moved by {math.log(self.odds):+.1f} towards the level of the training's: {self.why} "
            f"({self.n} samples, no label of theirs was used; --match no leaves maps as they are)."
        )

    @property
    def is_applied(self) -> bool:
        """Whether maps are changed."""
        return self.odds != 1.0

    @classmethod
    def none(cls, why: str, n: int = 0) -> Match:
        """Maps as the network gives them."""
        return cls(1.0, None, None, n, why)

    @classmethod
    def of(cls, own: Sequence[float] | None, found: Sequence[float]) -> Match:
        """By the levels of groups of validation samples, None where a model keeps none, and of those at hand."""
        if own is None:
            return cls.none("the model keeps no levels of its validation samples", len(found))
        for name, levels in (("validation samples", own), ("these samples", found)):
            if len(levels) < FEWEST_GROUPS:
                return cls.none(
                    f"{len(levels)} of {name} can be compared, {FEWEST_GROUPS} are needed", len(found)
                )
        difference = float(np.mean(found) - np.mean(own))
        error = math.sqrt(sum(float(np.var(each, ddof=1)) / len(each) for each in (own, found)))
        if abs(difference) <= max(STANDARD_ERRORS * error, LEAST_DIFFERENCE):
            return cls(
                1.0, difference, error, len(found), "they lie where the validation samples do, but for chance"
            )
        return cls(
            math.exp(-MOVED_PART * difference),
            difference,
            error,
            len(found),
            f"they lie {abs(difference):.1f} ± {error:.1f} {'lower' if difference < 0 else 'higher'} (logit) than the "
            "validation samples, as on another array, day or instrument",
        )
