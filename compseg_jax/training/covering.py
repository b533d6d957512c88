"""The second phase of a training: the whole lesion is asked for, and what it marks is kept where labels speak for it.

The most active tenth of a sample tells its label, and nothing asks for the rest of a lesion. A term that asks every
pixel to agree with the label of its sample (`objective.coverage_error`) does. On some data it finds the rest of the
lesion, on others it marks a halo around it, which no healthy sample has and no label distinguishes from the lesion.
What the labels of the validation samples say of both maps tells these apart (docs/decisions/71).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt

from compseg_jax.config import Training
from compseg_jax.model.run_folder import COVERING
from compseg_jax.training.further_run import further_run

EXPLAINED_FROM = 0.98
"""Implied Dice from which on a map explains the labels, and another one has to find more of the lesion."""
NOISE_OF_IMPLIED_DICE, CLEARLY_MORE = 0.01, 0.02
"""Halos changed the implied Dice by -.003 to .001, lesions that were completed raised it by up to .07."""
LEAST_MORE, MOST_MORE = 1.1, 1.25
"""Diseased part of the tissue that the second map implies, for each of the first. Where labels were explained and yet
the rest of a lesion was missing it grew by a fifth, where nothing was missing it stayed; halos made a third to three
quarters more of it."""
LOOKED_AT_PX, TOUCHING_FROM = 5.1, 0.45
"""Of newly marked pixels up to so far from earlier marks, the share that touches these. What completes a lesion fills
its gaps and moves its edge (.52 to 1.00); a halo is a band as wide as the network's view (.15 to .33)."""
_NEIGHBOURS_PX = 1.1


def covering(config: Training) -> Training:
    """The run of the second phase, which begins with the first one's network."""
    objective = replace(config.objective, coverage_weight=config.covering)
    return further_run(config, COVERING, objective=objective, starts=1)


def is_due(described: Mapping[str, Any]) -> bool:
    """Whether a network goes on into the second phase, by its model.json: labels of its map say something."""
    choice = described["threshold_choice"]
    return bool(choice["supported"] and choice.get("diseased_fraction") and choice.get("implied_dice"))


@dataclass(frozen=True)
class Covered:
    """What model.json says under `covering`.

    Attributes:
      begun: whether there was a second phase.
      kept: whether the network is that of the second phase.
      why: why there was none, or what decided, in words.
      epochs: of the second phase.
      implied_dice: Dice that labels of validation samples imply, of the first and of the second phase; null: of no
        threshold.
      diseased_fraction: diseased part of the tissue that they imply, likewise.
      touching: :func:`touching_share` of the diseased validation samples.
    """

    begun: bool
    kept: bool
    why: str
    epochs: int = 0
    implied_dice: tuple[float, float | None] | None = None
    diseased_fraction: tuple[float, float | None] | None = None
    touching: float | None = None

    @classmethod
    def compare(cls, first: Mapping[str, Any], second: Mapping[str, Any], touching: float | None) -> Covered:
        """Decides by model.json of both networks, of which the first is due, and by where the second marks more."""
        before, after = first["threshold_choice"], second["threshold_choice"]
        dice, dice_after = before["implied_dice"], after.get("implied_dice")
        part, part_after = before["diseased_fraction"], after.get("diseased_fraction")
        kept, why = False, "its map tells no labels"
        if is_due(second):
            more = part_after / part
            figures = (
                f"implied Dice {dice:.3f} before, {dice_after:.3f} after; diseased part {part:.3f}, "
                f"{part_after:.3f}"
            )
            if dice_after < dice - NOISE_OF_IMPLIED_DICE:
                why = f"its map explains the labels worse ({figures})"
            elif dice_after >= dice + CLEARLY_MORE:
                kept, why = True, figures
            elif more > MOST_MORE and touching is not None and touching < TOUCHING_FROM:
                why = (
                    f"it marks a halo: {touching:.0%} of what is new nearby touches earlier marks ({figures})"
                )
            elif dice >= EXPLAINED_FROM and more < LEAST_MORE:
                why = f"the labels were explained, and it finds no more ({figures})"
            else:
                kept, why = True, figures
        return cls(
            begun=True,
            kept=kept,
            why=why,
            epochs=second["epochs_trained"],
            implied_dice=(dice, dice_after),
            diseased_fraction=(part, part_after),
            touching=touching,
        )


def touching_share(
    before: Sequence[Bool[np.ndarray, "y x"]], after: Sequence[Bool[np.ndarray, "y x"]]
) -> float | None:
    """Of pixels that are marked now, were not, and lie within five of one that was: the share that touches one.

    Args:
      before: marked pixels of some samples; those without any say nothing.
      after: the same samples' marked pixels now.

    Returns:
      From 0 to 1; None where no pixel is new nearby.
    """
    touching = nearby = 0
    for was, now in zip(before, after, strict=True):
        if was.any():
            distance = distance_transform_edt(~was)[now & ~was]
            touching += int((distance <= _NEIGHBOURS_PX).sum())
            nearby += int((distance <= LOOKED_AT_PX).sum())
    return touching / nearby if nearby else None


OF_THE_RUN = ("config", "history", "epochs_trained", "starts_given_up")
"""What model.json goes on to say of the first phase."""


def described(first: Mapping[str, Any], second: Mapping[str, Any] | None, covered: Covered) -> dict[str, Any]:
    """model.json of the network that is kept: how it was made is the first phase's, what it is its own."""
    own = second if second is not None and covered.kept else first
    return {**own, **{key: first[key] for key in OF_THE_RUN}, COVERING: vars(covered)}
