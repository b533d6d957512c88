"""The chance that a call rests on: how often a sample of the other label would look as much like it.

A sample is called by its segmented area. With the areas of the n validation samples of the *other* label, the chance
that one more of them reaches an area at least as far on this side of the cut-off is at most

    (1 + number of them that do) / (n + 1)

whatever the distribution of areas, as long as the new sample is one of their kind (a label-conditional conformal
p-value: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), sections 2.2 and 4.5). Nothing is
fitted, and few validation samples show: of 4 the chance is never below 1 in 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

VALIDATION_AREAS = "validation_areas"
"""In model.json and ensemble.json."""


@dataclass(frozen=True)
class Chance:
    """How often a sample of the other label would get such an area.

    Attributes:
      other: the other label.
      reaching: validation samples of it that do.
      of: validation samples of it.
    """

    other: Literal["diseased", "healthy"]
    reaching: int
    of: int

    @property
    def value(self) -> float:
        """Above 0, at most 1."""
        return (1 + self.reaching) / (self.of + 1)

    def in_words(self) -> str:
        """As a part of a sentence.

        >>> Chance("healthy", 0, 14).in_words()
        '0 of 14 healthy validation samples reach it: chance at most 1 in 15'
        """
        most = self.value
        words = f"1 in {1 / most:.0f}" if self.reaching == 0 else f"{most:.0%}"
        return (
            f"{self.reaching} of {self.of} {self.other} validation samples reach it: chance at most {words}"
        )


def chance_of(description: Mapping[str, Any], call: str | None, area_fraction: float | None) -> Chance | None:
    """The chance of a call; None where there is none, or the model keeps no areas of validation samples.

    Args:
      description: model.json or ensemble.json.
      call: 'diseased' or 'healthy'; others have none.
      area_fraction: segmented part of the sample's tissue.
    """
    kept = description.get(VALIDATION_AREAS)
    if not kept or area_fraction is None or call not in ("diseased", "healthy"):
        return None
    other: Literal["diseased", "healthy"] = "healthy" if call == "diseased" else "diseased"
    areas = np.asarray(kept[other], np.float64)
    reaching = areas >= area_fraction if call == "diseased" else areas <= area_fraction
    return Chance(other, int(reaching.sum()), areas.size)


def validation_areas(areas: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> dict[str, list[float]]:
    """What a model keeps: the segmented areas of its validation samples by label, rising, to six digits."""
    return {
        name: [float(f"{area:.6g}") for area in np.sort(areas[labels == label])]
        for name, label in (("diseased", 1), ("healthy", 0))
    }
