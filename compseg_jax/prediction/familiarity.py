"""Whether a sample is of the kind that the model was trained on, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compseg_jax.model.model import Call, Model
from compseg_jax.model.training_distribution import Departure, DepartureSums


@dataclass(frozen=True)
class Familiarity:
    """What is said of one sample; None where it cannot be told.

    Attributes:
      outside: whether it lies outside of what the model was trained on.
      t2: mean of Hotelling's T² by its limit; above 1 outside.
      q: mean residual by its limit; above 1 outside.
      texture: of images of few channels, the distance of its texture by its limit.
      outside_fraction: part of the judged pixels that lie outside.
      call: 'undecided' outside; else 'diseased' or 'healthy' by the area, where the model has a cut-off for it.
      chance: that a sample of the other label gets such an area, at most; None where nothing is called by the area.
    """

    outside: bool | None
    t2: float | None
    q: float | None
    texture: float | None
    outside_fraction: float | None
    call: Call | None
    chance: float | None


def departure_of(model: Model, sums: Sequence[DepartureSums | None]) -> Departure | None:
    """How far a sample lies outside of training, by the sums of each of the model's networks; None: unknown."""
    return Departure.of_members(
        [
            None if each is None or network.distribution is None else network.distribution.departure(each)
            for network, each in zip(model.networks, sums, strict=False)
        ]
    )


def familiarity(model: Model, departure: Departure | None, area_fraction: float | None) -> Familiarity:
    """Judges a sample.

    Args:
      model: with the threshold in use.
      departure: how far it lies outside of training.
      area_fraction: part of the tissue above the threshold; None without tissue.
    """
    call = model.call(area_fraction, is_outside=departure is not None and departure.is_outside)
    chance = model.chance(call, area_fraction)
    said = call, None if chance is None else chance.value
    if departure is None:
        return Familiarity(None, None, None, None, None, *said)
    found = departure.t2, departure.q, departure.texture, departure.outside_fraction
    return Familiarity(departure.is_outside, *found, *said)
