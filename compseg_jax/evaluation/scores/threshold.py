"""The activation threshold, chosen on validation samples from their labels alone.

No pixel of the truth is known, but two distributions are: H(t), the part of healthy tissue whose
activation exceeds t, and D(t), the same in diseased samples. Tissue of diseased samples is a mixture:
a part π is disease with tail T(t), the rest is like healthy tissue, so

    D = (1 − π)·H + π·T.

1. As T ≤ 1, every t gives a lower bound (D − H)/(1 − H) ≤ π. π is estimated by the bound that is greatest
   after two of its standard errors over samples were taken off: where disease still lies above t and healthy
   tissue no longer does. (The greatest bound itself is found in the bulk of the tissue, in which samples differ:
   with 20 samples and 4 % disease it said 12 %.) Only t with H(t) ≤ .4 are considered: below, the denominator is
   small.
2. What exceeds t and is disease is π·T = D − (1 − π)·H, so the pixel Dice over all diseased samples is

       F(t) = 2·(D − (1 − π)·H) / (D + π),

   known without a single reference mask.
3. F is flat around its maximum. The threshold is the centre (in the logit, the unit networks work in)
   of the widest run of t with F within 1 % of the maximum, t from .05 to .95 unless most of π lies outside.

Maps that are smoothed after training (`smoothing`) have the threshold at which as much of the diseased samples is
marked as at the threshold of the maps before. One of their own would take the rim that a Gaussian makes for disease (π
.36 where .33 is true and the maps before say .26; Dice .82 instead of .85).

A network that learnt from grafts (`training.grafting`) states the chance of disease, though too little of it, as
what was grafted is the surest part of the lesions: .5 marks too little. The threshold above marks too much, as a halo
counts as disease. It is taken halfway between both, in the logit.

Within the range of 3. only ranks matter: a monotone change of all activations moves the threshold along. The
assumption that can fail is the mixture: where the normal tissue of diseased samples differs from that
of healthy ones (another batch, reactive tissue), the difference counts as disease. A permutation test of
the greatest bound in units of its standard error refuses where the labels explain no more than chance
would. π is the least part that explains the tails: where disease nowhere lies above nearly all healthy
tissue, it is too small, and so is its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from compseg_jax.evaluation.scores.bootstrap import group_multiplicities, interval_95
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.model.diseased_area import area_replicates
from compseg_jax.model.mixture import THRESHOLDS, implied, implied_of_smoothed, tail_of
from compseg_jax.store.relabellings import too_few_to_choose

PAPER_THRESHOLD = 0.35
"""'.35 · 255' of the 8-bit maps, found by eye on validation maps (Schuhmacher, Gerwert, Mosig 2019)."""

PAPER_RULE = "the paper's .35 (Schuhmacher et al. 2019, found there by eye)"
REFERENCE_RULE = "greatest mean Dice with the reference masks of the validation samples"
MIXTURE_RULE = (
    "greatest Dice implied by the labels of the validation samples (mixture of healthy and diseased tissue)"
)
HALFWAY_RULE = "halfway between 0.5 and that of the " + MIXTURE_RULE

LARGEST_P_VALUE = 0.1


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold on the activation and where it comes from."""

    threshold: float
    rule: str
    interval: tuple[float, float] | None
    """95 % bootstrap interval over samples (groups where they share one); None if not chosen from data, or where all
    samples of a label are of one group."""
    supported: bool
    """False: the validation samples do not determine a threshold; `threshold` is the paper's."""
    reason: str
    diseased_fraction: float | None = None
    """π, estimated part of the tissue of diseased validation samples that is disease."""
    diseased_fraction_ci95: tuple[float, float] | None = None
    """95 % bootstrap interval of π, as `interval`."""
    implied_dice: float | None = None
    """F at the threshold: an estimate from labels, not a measurement."""
    replicates: Mapping[str, tuple[float, ...]] | None = None
    """What each resample says for the diseased part of any other sample (`area_interval.area_replicates`)."""


def choose_threshold(
    activations: Sequence[np.ndarray],
    tissues: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    groups: Sequence[str] | None = None,
    unsmoothed: Sequence[np.ndarray] | None = None,
    halfway: bool = False,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> ThresholdChoice:
    """Choose the threshold on validation samples.

    Never call it with test samples: their scores would no longer be a test.

    Args:
      activations: (y, x) float maps in [0, 1].
      tissues: (y, x) bool masks.
      labels: 1 diseased, 0 healthy.
      groups: what samples share (patient); intervals and the permutation test then move whole groups.
      unsmoothed: the maps before they were smoothed; None where they were not.
      halfway: whether it is taken halfway to .5, for maps of a network that learnt from grafts.
      n_bootstrap: resamples for the interval, and relabellings for the permutation test.

    Returns:
      The choice; with `supported=False`, the paper's threshold and the reason.

    Raises:
      ValueError: sequences of different length, a label other than 0/1, an empty tissue mask, NaN.
    """
    label = np.asarray(labels, np.int64)
    group = [str(i) for i in range(len(label))] if groups is None else list(groups)
    for name, sequence in (("activations", activations), ("tissues", tissues), ("groups", group)):
        if len(sequence) != len(label):
            raise ValueError(
                f"choose_threshold: {len(sequence)} {name} but {len(label)} labels: one for each sample."
            )
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"choose_threshold: labels are {sorted(set(label.tolist()))}, required 0 and 1.")
    n_healthy, n_diseased = int((label == 0).sum()), int((label == 1).sum())
    if few := too_few_to_choose(label.tolist(), group):
        return _unsupported(few)
    before = activations if unsmoothed is None else unsmoothed
    tails = np.stack([tail_of(a, t, i) for i, (a, t) in enumerate(zip(before, tissues, strict=True))])
    chosen = implied(tails, (label == 1)[None], (label == 0)[None])
    fraction = float(chosen.fraction[0])

    rng = np.random.default_rng(seed)
    shuffled = np.stack([_relabel(label, group, rng) for _ in range(n_bootstrap)])
    by_chance = implied(tails, shuffled == 1, shuffled == 0).evidence
    p_value = (1 + int((by_chance >= chosen.evidence[0] - 1e-12).sum())) / (1 + n_bootstrap)
    if fraction <= 0 or p_value > LARGEST_P_VALUE:
        return _unsupported(
            "activations of diseased validation samples do not exceed those of healthy ones by more than"
            f" chance (permutation p = {p_value:.2f}, required at most {LARGEST_P_VALUE})"
        )
    weights = group_multiplicities(labels, group, n_bootstrap=n_bootstrap, seed=seed)
    # A resample that changes over to thresholds outside the usual range answers another question.
    usual = bool(chosen.usual[0])
    diseased, healthy = weights * (label == 1), weights * (label == 0)
    resampled = implied(tails, diseased, healthy, usual=usual)
    if halfway:
        chosen, resampled = (each.halfway_to_one_half() for each in (chosen, resampled))
    if unsmoothed is not None:
        # Thresholds of smoothed maps mark as much of the diseased samples as those of the maps before.
        thresholds = _thresholds_of_parts(
            tails[label == 1].mean(axis=0), *_of_label(1, activations, tissues, label)
        )
        tails = np.stack(
            [tail_of(a, t, i, thresholds) for i, (a, t) in enumerate(zip(activations, tissues, strict=True))]
        )
        chosen = implied_of_smoothed(chosen, tails, thresholds, (label == 1)[None], (label == 0)[None])
        resampled = implied_of_smoothed(resampled, tails, thresholds, diseased, healthy)
    # Resamples of one group are all alike: an interval of them has no width, whatever the threshold is worth.
    varies = all(len({g for g, one in zip(group, label, strict=True) if one == each}) > 1 for each in (0, 1))
    return ThresholdChoice(
        threshold=float(chosen.threshold[0]),
        rule=HALFWAY_RULE if halfway else MIXTURE_RULE,
        interval=_interval(resampled.threshold) if varies else None,
        supported=True,
        reason=f"{n_healthy} healthy and {n_diseased} diseased validation samples,"
        f" permutation p = {p_value:.2g}",
        diseased_fraction=float(chosen.fraction[0]),
        diseased_fraction_ci95=_interval(resampled.fraction) if varies else None,
        implied_dice=float(chosen.dice[0]),
        replicates=area_replicates(resampled, tails[label == 0], rng) if varies else None,
    )


def _of_label(
    wanted: int,
    activations: Sequence[np.ndarray],
    tissues: Sequence[np.ndarray],
    label: Int[np.ndarray, " n"],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    places = np.flatnonzero(label == wanted).tolist()
    return [activations[place] for place in places], [tissues[place] for place in places]


def threshold_of_part(part: float, activations: Sequence[np.ndarray], tissues: Sequence[np.ndarray]) -> float:
    """The threshold above which a part of the tissue lies, on the mean over samples; 0 where all of it does."""
    return float(_thresholds_of_parts(np.array([part]), activations, tissues)[0])


def _thresholds_of_parts(
    parts: Float[np.ndarray, " n"], activations: Sequence[np.ndarray], tissues: Sequence[np.ndarray]
) -> Float[np.ndarray, " n"]:
    values = [
        activation[tissue].astype(np.float64) for activation, tissue in zip(activations, tissues, strict=True)
    ]
    weights = np.concatenate([np.full(each.size, 1 / (each.size * len(values))) for each in values])
    pooled = np.concatenate(values)
    order = np.argsort(-pooled, kind="stable")
    above = np.cumsum(weights[order])
    # The first pixel that is not marked; sums of weights are off by rounding.
    first = np.searchsorted(above, parts + 1e-9, side="right")
    return np.append(pooled[order], 0.0)[first]


def _interval(replicates: Float[np.ndarray, " b"]) -> tuple[float, float] | None:
    found = interval_95(replicates)
    return None if found is None else (found[0], found[1])


def _unsupported(reason: str) -> ThresholdChoice:
    return ThresholdChoice(PAPER_THRESHOLD, PAPER_RULE, None, supported=False, reason=reason)


def _relabel(
    label: Int[np.ndarray, " n"], group: Sequence[str], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Labels under 'no connection': shuffled among groups of one label, and inside groups of both."""
    names, group_of = np.unique(np.asarray(group), return_inverse=True)
    positive = np.bincount(group_of, weights=label, minlength=len(names))
    size = np.bincount(group_of, minlength=len(names))
    pure = np.flatnonzero((positive == 0) | (positive == size))
    group_label = np.zeros(len(names), np.int64)
    group_label[pure] = rng.permutation(positive[pure] > 0)
    relabelled = group_label[group_of]
    for mixed in np.setdiff1d(np.arange(len(names)), pure):
        members = np.flatnonzero(group_of == mixed)
        relabelled[members] = rng.permutation(label[members])
    return relabelled


def threshold_by_rule(
    rule: str, results: Sequence[SampleResult], *, halfway: bool = False, seed: int = 0
) -> ThresholdChoice:
    """The threshold that validation samples give by a rule of `config.Training.threshold`.

    Args:
      rule: 'paper', 'validation' (labels alone) or 'reference' (masks: no weak-label result may use it).
      results: maps of the validation samples.
      halfway: as for :func:`choose_threshold`, where the rule is 'validation'.
      seed: of all resampling.

    Raises:
      ValueError: when 'reference' is asked for and no validation sample has a mask that marks anything.
    """
    if rule == "paper":
        return ThresholdChoice(PAPER_THRESHOLD, PAPER_RULE, None, supported=True, reason="as asked for")
    if rule == "reference":
        return _reference_choice(results)
    return choose_threshold(
        [result.activation for result in results],
        [result.tissue for result in results],
        [result.label for result in results],
        groups=[result.group for result in results],
        unsmoothed=_unsmoothed(results),
        halfway=halfway,
        seed=seed,
    )


def _unsmoothed(results: Sequence[SampleResult]) -> list[np.ndarray] | None:
    """Maps before smoothing, where any was smoothed; those that were not stand for themselves."""
    if all(result.unsmoothed is None for result in results):
        return None
    return [result.activation if result.unsmoothed is None else result.unsmoothed for result in results]


def best_with_references(results: Sequence[SampleResult]) -> tuple[float, float, int] | None:
    """The one threshold of greatest mean Dice over samples whose reference marks something.

    Returns:
      Threshold, mean Dice, and the number of these samples; None where there is none.
    """
    total, n = np.zeros(THRESHOLDS.size), 0
    for index, result in enumerate(results):
        if result.reference is None or not result.reference.any():
            continue
        # As Dice is computed elsewhere: what lies outside the tissue is never predicted, but can be missed.
        inside, found = int(result.tissue.sum()), result.tissue & result.reference
        predicted = tail_of(result.activation, result.tissue, index) * inside
        true = tail_of(result.activation, found, index) * int(found.sum()) if found.any() else 0 * predicted
        total += 2 * true / (predicted + int(result.reference.sum()))
        n += 1
    if n == 0:
        return None
    best = int(np.argmax(total))
    return float(THRESHOLDS[best]), float(total[best] / n), n


def _reference_choice(results: Sequence[SampleResult]) -> ThresholdChoice:
    best = best_with_references(results)
    if best is None:
        raise ValueError(
            "threshold='reference': no validation sample has a reference mask that marks anything. Give masks, or "
            "choose 'validation'."
        )
    return ThresholdChoice(
        best[0],
        REFERENCE_RULE,
        None,
        supported=True,
        reason=f"{best[2]} validation samples with masks",
    )
