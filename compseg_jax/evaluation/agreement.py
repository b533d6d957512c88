"""How far networks agree: those of an ensemble on evaluated samples, and two of different view on where disease lies.

Networks that were trained on the same labels can all tell diseased samples from healthy ones and still mark different
tissue, as labels say nothing of the place. Where their masks agree no better than masks of the same sizes thrown at
random into the tissue, at most one of them can be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from compseg_jax.evaluation.scores.metrics import MeanAndSpread
from compseg_jax.evaluation.scores.summary import Evaluation
from compseg_jax.model import Model, Prediction


@dataclass(frozen=True)
class WhereAgreement:
    """Agreement of networks on where in diseased samples the disease lies, as a mergeable state.

    Attributes:
      pairs: Σ over pairs of networks, and samples, of the pixels that both segment, times 2.
      sizes: the same of the pixels that one segments plus those that the other does.
      by_chance: what `pairs` would be of masks of these sizes at random places of the tissue.
      ranks: Spearman's rank correlation of two maps inside the tissue of a sample, over samples.
    """

    pairs: float
    sizes: float
    by_chance: float
    ranks: MeanAndSpread

    @classmethod
    def empty(cls) -> WhereAgreement:
        """The state of no sample."""
        return cls(0.0, 0.0, 0.0, MeanAndSpread.empty())

    @classmethod
    def of(cls, activations: Float[np.ndarray, "m n"], thresholds: Sequence[float]) -> WhereAgreement:
        """The state of one sample.

        Args:
          activations: of m networks on the n pixels of the tissue of a diseased sample.
          thresholds: above which each network segments.
        """
        masks = (activations > np.asarray(thresholds)[:, None]).astype(np.float64)
        one, other = np.triu_indices(len(masks), 1)
        area = masks.sum(axis=1)
        told = np.ptp(activations, axis=1) > 0
        both = told[one] & told[other]
        found = None
        if both.any():
            ranks = rankdata(activations[told], axis=1)
            place = np.cumsum(told) - 1
            found = float(np.corrcoef(ranks)[place[one[both]], place[other[both]]].mean())
        return cls(
            pairs=float(2 * (masks @ masks.T)[one, other].sum()),
            sizes=float((area[one] + area[other]).sum()),
            by_chance=float(2 * (area[one] * area[other]).sum() / masks.shape[1]),
            ranks=MeanAndSpread.from_values([found]),
        )

    @classmethod
    def of_prediction(cls, prediction: Prediction, threshold: float) -> WhereAgreement:
        """The state of one diseased sample, of the networks that predicted it."""
        maps = prediction.activations[:, prediction.tissue].astype(np.float64)
        return cls.of(maps, [threshold] * len(maps))

    def merge(self, other: WhereAgreement) -> WhereAgreement:
        """The state of the samples of both."""
        return type(self)(
            self.pairs + other.pairs,
            self.sizes + other.sizes,
            self.by_chance + other.by_chance,
            self.ranks.merge(other.ranks),
        )

    def compute(self) -> dict[str, float | None]:
        """`mask_dice` of two networks, `mask_dice_by_chance`, `where` and `rank_correlation`.

        `where` is (Dice − Dice by chance)/(1 − Dice by chance): 1 where masks are the same, 0 where they share no more
        than their sizes explain (Cohen 1960, doi 10.1177/001316446002000104, of masks inside samples). None of what
        cannot be told: no network segments anything, or all of them everything.
        """
        dice = self.pairs / self.sizes if self.sizes > 0 else None
        chance = self.by_chance / self.sizes if self.sizes > 0 else None
        known = dice is not None and chance is not None and chance < 1
        return {
            "mask_dice": dice,
            "mask_dice_by_chance": chance,
            "where": (dice - chance) / (1 - chance)
            if known and dice is not None and chance is not None
            else None,
            "rank_correlation": self.ranks.compute()[0],
        }


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
    evaluation: Evaluation,
    ensemble: Model,
    agreements: Sequence[Agreement],
    where: WhereAgreement,
) -> Evaluation:
    """The evaluation with the columns ``area_spread`` and ``label_agreement``, and what ensemble.json tells.

    ``agreements`` are those of ``evaluation.samples``, in their order; ``where`` that of the diseased ones.
    """
    rows = [
        {**row, "area_spread": each.area_spread, "label_agreement": each.label_agreement}
        for row, each in zip(evaluation.samples, agreements, strict=True)
    ]
    shares = [each.label_agreement for each in agreements if each.label_agreement is not None]
    metrics = {
        **evaluation.metrics,
        "ensemble": {
            "n_members": len(ensemble.networks),
            "folds": ensemble.description.get("folds"),
            "seeds": ensemble.description.get("seeds"),
            "area_cut": ensemble.area_cut,
            "area_spread_mean": float(np.mean([each.area_spread for each in agreements])),
            "label_agreement_mean": float(np.mean(shares)) if shares else None,
            **where.compute(),
        },
        "cross_validation": ensemble.description.get("cross_validation"),
    }
    return replace(evaluation, metrics=metrics, samples=rows)
