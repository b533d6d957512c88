"""The rules a run can choose its threshold by, by name: the paper's, from labels, or from reference masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.threshold import (
    PAPER_RULE,
    PAPER_THRESHOLD,
    ThresholdChoice,
    choose_threshold,
)
from compseg_jax.model.mixture import LOGITS, sigmoid, tail_of

REFERENCE_RULE = "greatest mean Dice with the reference masks of the validation samples"


def threshold_by_rule(rule: str, results: Sequence[SampleResult], *, seed: int = 0) -> ThresholdChoice:
    """The threshold that validation samples give by a rule of `config.Training.threshold`.

    Args:
      rule: 'paper', 'validation' (labels alone) or 'reference' (masks: no weak-label result may use it).
      results: maps of the validation samples.
      seed: of all resampling.

    Raises:
      ValueError: when 'reference' is asked for and no validation sample has a mask that marks anything.
    """
    if rule == "paper":
        return ThresholdChoice(PAPER_THRESHOLD, PAPER_RULE, None, supported=True, reason="as asked for")
    if rule == "reference":
        return _best_with_references(results)
    return choose_threshold(
        [result.activation for result in results],
        [result.tissue for result in results],
        [result.label for result in results],
        groups=[result.group for result in results],
        seed=seed,
    )


def _best_with_references(results: Sequence[SampleResult]) -> ThresholdChoice:
    curves = []
    for index, result in enumerate(results):
        if result.reference is None or not result.reference.any():
            continue
        # As Dice is computed elsewhere: what lies outside the tissue is never predicted, but can be missed.
        inside, found = int(result.tissue.sum()), result.tissue & result.reference
        predicted = tail_of(result.activation, result.tissue, index) * inside
        true = tail_of(result.activation, found, index) * int(found.sum()) if found.any() else 0 * predicted
        curves.append(2 * true / (predicted + int(result.reference.sum())))
    if not curves:
        raise ValueError(
            "threshold='reference': no validation sample has a reference mask that marks anything. Give masks, or "
            "choose 'validation'."
        )
    best = int(np.argmax(np.mean(curves, axis=0)))
    return ThresholdChoice(
        float(sigmoid(LOGITS[best])),
        REFERENCE_RULE,
        None,
        supported=True,
        reason=f"{len(curves)} validation samples with masks",
    )
