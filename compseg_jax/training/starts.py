"""Random starts of a run: one that learns nothing is given up for the next.

From some starts a network that sees sample labels alone stays where it is: its most active pixels have nothing to do
with the disease, so their gradient does not either. On brain scans with lesions of 3 % a quarter to a half of the
starts did, for any number of epochs, while the others left the plateau within the first third of theirs and ended alike
(docs/decisions). The training loss of the labels distinguishes the two: nothing else is looked at. Where
several plain starts have failed, the next ones begin with normalised features. A start whose gradient has become
exactly 0 (`training/trouble.py`) is given up at once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compseg_jax.config import Training
from compseg_jax.networks.build import NETWORKS
from compseg_jax.objective.transfer import TRANSFERS
from compseg_jax.training.order import Ordering
from compseg_jax.training.progress import Progress

DEAD = "dead"
"""What a record says of an epoch whose every gradient was exactly 0: RMSprop then moves nothing, for good."""
LEARNT_BELOW = 0.97
"""Share of a guess's loss. Starts that stayed on the plateau reached .995, those that left it .6 to .8."""

LEAST_STEPS = 60
"""No start is judged before; networks that left the plateau took 60 to 360 steps."""


def guess_loss(config: Training, ordering: Ordering) -> float:
    """The least training loss of an output that is the same for all samples: of a guess.

    Args:
      config: a run on the absolute error, or on cross-entropy of a pooled logit.
      ordering: labels of its training samples, and how they are balanced.
    """
    labels = np.asarray(ordering.labels)
    n_healthy, n_diseased = int(np.sum(labels == 0)), int(np.sum(labels == 1))
    if ordering.balance != "none":
        n_healthy = n_diseased = (n_healthy + n_diseased) // 2 or 1
    healthy = n_healthy * config.objective.healthy_weight
    diseased = n_diseased * config.objective.diseased_weight
    if config.objective.error == "absolute":
        # |o − αℓ| is linear in o, so its least sum lies at o = 0 or at o = α.
        level = TRANSFERS[config.objective.transfer].level(config.objective)
        return level * min(healthy, diseased) / (n_healthy + n_diseased)
    smoothing = config.objective.label_smoothing
    healthy, diseased = (
        own * (1 - smoothing) + other * smoothing for own, other in ((healthy, diseased), (diseased, healthy))
    )
    total = healthy + diseased
    return -sum(part * math.log(part / total) for part in (healthy, diseased) if part) / (
        n_healthy + n_diseased
    )


def start_epochs(config: Training, ordering: Ordering) -> int:
    """Epochs after which a start is judged; in a run shorter than that none is."""
    return math.ceil(max(config.start_share * config.epochs, LEAST_STEPS / ordering.n_batches))


def has_failed(config: Training, ordering: Ordering, progress: Progress) -> bool:
    """Whether another start is due: this one is to be judged now, has learnt nothing, and is not the last.

    A network that goes on from another one has no other start.
    """
    epochs = len(progress.history)
    if progress.start + 1 >= config.starts or config.init_from is not None or epochs == config.epochs:
        return False
    if epochs and progress.history[-1].get("trouble") == DEAD:
        return True
    if epochs != start_epochs(config, ordering):
        return False
    return not has_learnt(config, ordering, progress)


def has_learnt(config: Training, ordering: Ordering, progress: Progress) -> bool:
    """Whether the training loss of an epoch of this start was less than that of a guess."""
    least = min(record["loss"] for record in progress.history)
    return least < LEARNT_BELOW * guess_loss(config, ordering)


def begins_normalised(config: Training, number: int) -> bool:
    """Whether the start of this number, from 0, has its hidden features normalised before the first step."""
    own = config.network.network in NETWORKS and config.network.normalisation == "none"
    return own and number >= config.plain_starts


def given_up(config: Training, ordering: Ordering, progress: Progress) -> str:
    """What to say of a start that is given up."""
    least = min(record["loss"] for record in progress.history)
    following = ", with normalised features" if begins_normalised(config, progress.start + 1) else ""
    epochs = len(progress.history)
    found = (
        f"is dead after {epochs} epochs (every gradient is 0)"
        if progress.history[-1].get("trouble") == DEAD
        else f"has learnt nothing in {epochs} epochs (loss {least:.3g}, {guess_loss(config, ordering):.3g} by guessing)"
    )
    return f"start {progress.start + 1} of {config.starts} {found}: another random start{following}"


def recorded(progress: Progress) -> list[dict[str, Any]]:
    """The epochs of all starts, in their order."""
    return [*progress.given_up, *progress.history]
