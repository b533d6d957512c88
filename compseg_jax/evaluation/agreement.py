"""How far the networks of an ensemble agree on evaluated samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Model, Prediction

SEEN_NOTE = (
    "Networks of the ensemble may have trained on samples of the split {split}; scores of samples that they did not "
    "see are those of the cross-validation."
)


@dataclass(frozen=True)
class Agreement:
    """Agreement on one sample.

    Attributes:
      area_spread: standard deviation over the networks of the part of the tissue that each segments.
      label_agreement: share of the networks that call the sample as the mean map does; None where no cut-off of the
        area belongs to the threshold.
    """

    area_spread: float
    label_agreement: float | None

    @classmethod
    def of(cls, prediction: Prediction, threshold: float, area_cut: float | None) -> Agreement:
        """Agreement of the networks of a prediction; a sample is called diseased above ``area_cut``."""
        areas = prediction.areas(threshold)
        if area_cut is None:
            return cls(float(np.std(areas)), None)
        called = np.mean(prediction.activation[prediction.tissue] > threshold) > area_cut
        return cls(float(np.std(areas)), float(np.mean((areas > area_cut) == called)))


def with_agreement(
    evaluation: Evaluation, ensemble: Model, agreements: Sequence[Agreement], *, split: str = "test"
) -> Evaluation:
    """The evaluation with the columns ``area_spread`` and ``label_agreement``, and what ensemble.json tells.

    ``agreements`` are those of ``evaluation.samples``, in their order; ``split`` is the one that was evaluated.
    """
    rows = [
        {**row, "area_spread": each.area_spread, "label_agreement": each.label_agreement}
        for row, each in zip(evaluation.samples, agreements, strict=True)
    ]
    shares = [each.label_agreement for each in agreements if each.label_agreement is not None]
    evaluation = evaluation.with_notes([] if split == "test" else [SEEN_NOTE.format(split=split)])
    metrics = {
        **evaluation.metrics,
        "ensemble": {
            "n_members": len(ensemble.networks),
            "folds": ensemble.description.get("folds"),
            "seeds": ensemble.description.get("seeds"),
            "area_cut": ensemble.area_cut,
            "area_spread_mean": float(np.mean([each.area_spread for each in agreements])),
            "label_agreement_mean": float(np.mean(shares)) if shares else None,
        },
        "cross_validation": ensemble.description.get("cross_validation"),
    }
    return replace(evaluation, metrics=metrics, samples=rows)
