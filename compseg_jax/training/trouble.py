"""What goes wrong in a run without stopping it, told by its own numbers: nothing is learnt, or the wrong thing.

The printed loss is flat in two places: at a random start (z ≈ .5, beyond the crossing point of σ) both labels have the
same gradient, and where sigmoids have saturated for good the gradient is exactly 0. Pooled over the image, as printed,
it is content with activation in the background, too. Each epoch's record says so under ``trouble``, in one word; the
terminal says it in words when it begins, and model.json and reports what there was to say of the network that was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from compseg_jax.config import Training
from compseg_jax.model.training_trouble import PAINTS_BACKGROUND
from compseg_jax.training.order import Ordering
from compseg_jax.training.progress import Progress
from compseg_jax.training.starts import DEAD, guess_loss, has_learnt, start_epochs

CONSTANT, PLATEAU = "constant", "plateau"
SAME_WITHIN = 1e-6
"""Pooled values that differ by less than this part of the largest are one: float32 tells no more apart."""
MOSTLY = 0.5
"""Part of the activation outside of the tissue from which on a network tells labels by the background."""

Record = Mapping[str, Any]


def trouble_of_epoch(
    config: Training, ordering: Ordering, progress: Progress, pooled: Float[np.ndarray, " n"]
) -> str | None:
    """The word for the epoch that ``progress.history`` ends with; None where all is well, or too early to tell.

    Args:
      config: the run.
      ordering: its training samples' labels.
      progress: with the record of this epoch, which holds ``largest_gradient_norm`` and ``background``.
      pooled: mean activation over the tissue of the validation samples.
    """
    record = progress.history[-1]
    if record["largest_gradient_norm"] == 0:
        return DEAD
    if len(pooled) > 1 and np.ptp(pooled) <= SAME_WITHIN * np.max(np.abs(pooled)):
        return CONSTANT
    if config.objective.has_a_guess and not has_learnt(config, ordering, progress):
        judged = min(start_epochs(config, ordering), config.epochs)
        return PLATEAU if record["epoch"] >= judged else None
    if config.objective.pooling == "image" and (record["background"] or 0) > MOSTLY:
        return PAINTS_BACKGROUND
    return None


def in_words(config: Training, ordering: Ordering, record: Record) -> str:
    """What an epoch's ``trouble`` means, and what to do about it; empty where there is none."""
    advice = {
        DEAD: "every gradient is exactly 0, so nothing is learnt any more. Lower --learning-rate, or set clip_norm = 1 "
        "in a recipe file",
        CONSTANT: "all validation samples have the same mean activation, to the last digit. Lower --learning-rate, or "
        "take another --seed",
    }
    word = record.get("trouble")
    if word in advice:
        said = advice[word]
    elif word == PLATEAU:
        said = (
            f"the training loss has not fallen below that of one and the same output for all samples "
            f"({guess_loss(config, ordering):.3g}): no label is learnt. Take another --seed, or starts above 1 or "
            "head_bias = -3 in a recipe file"
        )
    elif word == PAINTS_BACKGROUND:
        said = (
            f"{100 * record['background']:.0f} % of the activation of the diseased validation samples lies outside of "
            'their tissue: labels are told by the background. Set pooling = "tissue" in a recipe file'
        )
    else:
        return ""
    return f"{word}, epoch {record['epoch']}: {said}."


def begins(history: Sequence[Record]) -> bool:
    """Whether the trouble of the last epoch is another one than that of the epoch before."""
    before = history[-2].get("trouble") if len(history) > 1 else None
    return history[-1].get("trouble") not in (None, before)


def told_by_model(config: Training, ordering: Ordering, progress: Progress) -> list[dict[str, Any]]:
    """For model.json: the trouble of the epoch that was kept, and that with which the run ended, from where on.

    Returns:
      One entry each: ``word``, ``kept`` (whether it is that of the network's own epoch) and ``sentence``.
    """
    history = progress.history
    kept = history[progress.best_epoch - 1]
    found = [(kept, True)] if kept.get("trouble") else []
    last = history[-1].get("trouble")
    if last and last != kept.get("trouble"):
        well = [index for index, record in enumerate(history) if record.get("trouble") != last]
        found.append((history[well[-1] + 1], False))
    return [
        {
            "word": record["trouble"],
            "kept": is_kept,
            "sentence": f"Training: {in_words(config, ordering, record)}",
        }
        for record, is_kept in found
    ]
