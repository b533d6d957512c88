"""The second phase of a training: what was marked is grafted onto healthy samples, and the network learns from them.

The most active tenth of a sample tells its label. Nothing asks for the rest of a lesion, and nothing says where it
ends: what lies near a lesion lies in no healthy sample, so labels do not tell it from the lesion. Marks of the first
network in healthy tissue (`grafts`) have an edge with tissue beyond it that is known to be healthy. What a diseased
sample has beside its marks is left out of the loss, so nothing that was missed is taught to be healthy
(docs/decisions/72).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import gaussian_filter

from compseg_jax.config import Training
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.model.run_folder import GRAFTING
from compseg_jax.networks.build import Variables
from compseg_jax.networks.front import fold_front
from compseg_jax.store.read import Sample
from compseg_jax.training.further_run import further_run
from compseg_jax.training.samples import Marks

INNER_SHARE, EDGE_PX = 0.7, 2.0
"""Of the marks of a sample: the part that is grafted, and the standard deviation of what ranks them (decision 72)."""
LEAST_IMPLIED_DICE = 0.75
"""Of what labels imply of the first map, what they have to imply of the second."""


def grafting(config: Training) -> Training:
    """The run of the second phase, which begins with the first one's network.

    A healthy sample and a diseased one make one image, so for as many images in a step and in all there are twice as
    many samples in a batch and twice as many epochs. It has no front: what tells tumour apart lies in directions of
    little variance, too.
    """
    return further_run(
        config,
        GRAFTING,
        objective=replace(config.objective, target="marks"),
        network=replace(config.network, front=0),
        starts=1,
        epochs=2 * config.epochs,
        batch_size=2 * config.batch_size,
        balance="sampling",
    )


def begins_with(variables: Variables) -> Variables:
    """The first network's parameters for the second one: the same logits, from all channels."""
    return fold_front(variables) if "front" in variables["params"] else variables


def is_due(described: Mapping[str, Any]) -> bool:
    """Whether a network goes on into the second phase, by its model.json: labels of its map say something."""
    choice = described["threshold_choice"]
    return bool(choice["supported"] and choice.get("diseased_fraction") and choice.get("implied_dice"))


def marks_of(maps: Iterable[SampleResult], threshold: float) -> Marks:
    """What is grafted, from a network's maps and the threshold that labels gave it: the inner part of what it marks."""
    return {
        each.id: inner_part(each.predicted_mask(threshold), each.tissue)
        if each.label == 1
        else np.zeros_like(each.tissue)
        for each in maps
    }


def inner_part(marks: Bool[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """The marks that lie furthest from tissue without any: the edges of marks are the doubtful part of them.

    How much of the tissue around a pixel is marked, by a Gaussian, ranks the marks of a sample; `INNER_SHARE` of them
    are kept. So small marks keep their middle, which a distance from the edge would not leave them.
    """
    if not marks.any():
        return marks
    marked, around = (gaussian_filter(each.astype(np.float64), EDGE_PX) for each in (marks, tissue))
    company = marked / np.maximum(around, np.finfo(np.float64).tiny)
    return np.asarray(marks & (company >= np.quantile(company[marks], 1.0 - INNER_SHARE)))


def marked_part(marks: Marks, samples: Iterable[Sample]) -> float:
    """Part of the images of diseased samples that is marked, on their mean; 0 where there are none."""
    parts = [float(marks[sample.id].mean()) for sample in samples if sample.label == 1]
    return sum(parts) / max(1, len(parts))


@dataclass(frozen=True)
class Grafted:
    """What model.json says under `grafting`.

    Attributes:
      begun: whether there was a second phase.
      kept: whether the network is that of the second phase.
      why: why there was none, or what decided, in words.
      epochs: of the second phase.
      grafted_fraction: :func:`marked_part` of the training samples.
      implied_dice: Dice that labels of validation samples imply, of the first and of the second phase; null: of no
        threshold.
      diseased_fraction: diseased part of the tissue that they imply, likewise.
    """

    begun: bool
    kept: bool
    why: str
    epochs: int = 0
    grafted_fraction: float | None = None
    implied_dice: tuple[float, float | None] | None = None
    diseased_fraction: tuple[float, float | None] | None = None

    @classmethod
    def compare(cls, first: Mapping[str, Any], second: Mapping[str, Any], grafted_fraction: float) -> Grafted:
        """Decides by model.json of both networks, of which the first is due."""
        before, after = first["threshold_choice"], second["threshold_choice"]
        dice, dice_after = before["implied_dice"], after.get("implied_dice")
        part, part_after = before["diseased_fraction"], after.get("diseased_fraction")
        kept, why = False, "its map tells no labels"
        if is_due(second):
            kept = dice_after >= LEAST_IMPLIED_DICE * dice
            why = (
                f"{'' if kept else 'its map explains the labels worse: '}implied Dice {dice:.3f} before, "
                f"{dice_after:.3f} after; diseased part {part:.3f}, {part_after:.3f}"
            )
        return cls(
            begun=True,
            kept=kept,
            why=why,
            epochs=second["epochs_trained"],
            grafted_fraction=grafted_fraction,
            implied_dice=(dice, dice_after),
            diseased_fraction=(part, part_after),
        )


OF_THE_RUN = ("config", "history", "epochs_trained", "starts_given_up", "seen")
"""What model.json goes on to say of the first phase."""


def described(first: Mapping[str, Any], second: Mapping[str, Any] | None, grafted: Grafted) -> dict[str, Any]:
    """model.json of the network that is kept: how it was made is the first phase's, what it is its own."""
    own = second if second is not None and grafted.kept else first
    return {**own, **{key: first[key] for key in OF_THE_RUN}, GRAFTING: vars(grafted)}
