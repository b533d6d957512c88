"""The activation threshold, chosen on validation samples from their labels alone.

No pixel of the truth is known, but two distributions are: H(t), the part of healthy tissue whose
activation exceeds t, and D(t), the same in diseased samples. Tissue of diseased samples is a mixture:
a part π is disease with tail T(t), the rest is like healthy tissue, so

    D = (1 − π)·H + π·T.

1. As T ≤ 1, every t gives a lower bound (D − H)/(1 − H) ≤ π. The greatest of them estimates π; it is
   reached where disease still lies above t and healthy tissue no longer does. Only t with H(t) ≤ .4
   are considered: below, the denominator is small and turns differences between samples into disease.
2. What exceeds t and is disease is π·T = D − (1 − π)·H, so the pixel Dice over all diseased samples is

       F(t) = 2·(D − (1 − π)·H) / (D + π),

   known without a single reference mask.
3. F is flat around its maximum. The threshold is the centre (in the logit, the unit networks work in)
   of the widest run of t with F within 1 % of the maximum, t from .05 to .95 unless most of π lies outside.

Within that range only ranks matter: a monotone change of all activations moves the threshold along. The
assumption that can fail is the mixture: where the normal tissue of diseased samples differs from that
of healthy ones (another batch, reactive tissue), the difference counts as disease. A permutation test
refuses where the labels explain no more than chance would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from compseg_jax.scoring.bootstrap import group_multiplicities, interval_95

PAPER_THRESHOLD = 0.35
"""'.35 · 255' of the 8-bit maps, found by eye on validation maps (Schuhmacher, Gerwert, Mosig 2019)."""

PAPER_RULE = "the paper's .35 (Schuhmacher et al. 2019, found there by eye)"
MIXTURE_RULE = (
    "greatest Dice implied by the labels of the validation samples (mixture of healthy and diseased tissue)"
)

LOGITS = np.linspace(-16, 16, 641)
USUAL = np.abs(LOGITS) <= 2.95
"""Thresholds from .05 to .95. The pooling neuron counts activations: below .05 a network is blurred by what
lies around a lesion, which the mixture would take for disease."""
LEAST_USUAL_SHARE = 0.5
"""Thresholds outside the usual range are used only where less than this share of π lies within it."""
LARGEST_HEALTHY_TAIL = 0.4
PLATEAU_TOLERANCE = 0.01
FEWEST_RELABELLINGS = 20
LARGEST_P_VALUE = 0.1

Tails = Float[np.ndarray, "n thresholds"]


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold on the activation and where it comes from."""

    threshold: float
    rule: str
    interval: tuple[float, float] | None
    """95 % bootstrap interval over samples (groups where they share one); None if not chosen from data."""
    supported: bool
    """False: the validation samples do not determine a threshold; `threshold` is the paper's."""
    reason: str
    diseased_fraction: float | None = None
    """π, estimated part of the tissue of diseased validation samples that is disease."""
    implied_dice: float | None = None
    """F at the threshold: an estimate from labels, not a measurement."""


def choose_threshold(
    activations: Sequence[np.ndarray],
    tissues: Sequence[np.ndarray],
    labels: Sequence[int],
    *,
    groups: Sequence[str] | None = None,
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
    if math.comb(n_healthy + n_diseased, n_diseased) < FEWEST_RELABELLINGS:
        return _unsupported(
            f"{n_healthy} healthy and {n_diseased} diseased validation samples are too few: 3 of each suffice"
        )
    tails = np.stack([_tail(a, t, i) for i, (a, t) in enumerate(zip(activations, tissues, strict=True))])
    chosen, fraction, dice = _threshold_of(tails, (label == 1)[None], (label == 0)[None])

    rng = np.random.default_rng(seed)
    shuffled = np.stack([_relabel(label, group, rng) for _ in range(n_bootstrap)])
    by_chance = _threshold_of(tails, shuffled == 1, shuffled == 0)[1]
    p_value = (1 + int((by_chance >= fraction[0] - 1e-12).sum())) / (1 + n_bootstrap)
    if fraction[0] <= 0 or p_value > LARGEST_P_VALUE:
        return _unsupported(
            "activations of diseased validation samples do not exceed those of healthy ones by more than"
            f" chance (permutation p = {p_value:.2f}, required at most {LARGEST_P_VALUE})"
        )
    weights = group_multiplicities(labels, group, n_bootstrap=n_bootstrap, seed=seed)
    interval = interval_95(_threshold_of(tails, weights * (label == 1), weights * (label == 0))[0])
    return ThresholdChoice(
        threshold=float(chosen[0]),
        rule=MIXTURE_RULE,
        interval=None if interval is None else (interval[0], interval[1]),
        supported=True,
        reason=f"{n_healthy} healthy and {n_diseased} diseased validation samples,"
        f" permutation p = {p_value:.2g}",
        diseased_fraction=float(fraction[0]),
        implied_dice=float(dice[0]),
    )


def _unsupported(reason: str) -> ThresholdChoice:
    return ThresholdChoice(PAPER_THRESHOLD, PAPER_RULE, None, supported=False, reason=reason)


def _tail(activation: np.ndarray, tissue: np.ndarray, index: int) -> Float[np.ndarray, " thresholds"]:
    """Part of the tissue whose activation exceeds each threshold."""
    values = np.sort(activation[tissue].astype(np.float64))
    if values.size == 0:
        raise ValueError(f"choose_threshold: sample {index} has an empty tissue mask. Leave it out.")
    if not np.isfinite(values).all():
        raise ValueError(
            f"choose_threshold: the activation of sample {index} holds NaN or Inf, required [0, 1]."
        )
    return 1 - np.searchsorted(values, _sigmoid(LOGITS), side="right") / values.size


def _threshold_of(
    tails: Tails, diseased: np.ndarray, healthy: np.ndarray
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """(threshold, π, F at it) for each of b weightings of the n samples, given as two (b, n) arrays."""
    upper = diseased.astype(np.float64) @ tails / diseased.sum(axis=1, keepdims=True)
    lower = healthy.astype(np.float64) @ tails / healthy.sum(axis=1, keepdims=True)
    stable = lower <= LARGEST_HEALTHY_TAIL
    bound = np.where(stable, (upper - lower) / np.where(stable, 1 - lower, 1), 0)
    anywhere, usually = bound.max(axis=1), bound[:, USUAL].max(axis=1)
    is_usual = usually >= LEAST_USUAL_SHARE * anywhere
    fraction = np.where(is_usual, usually, anywhere)
    pi = fraction[:, None]
    true_positive = np.maximum(upper - (1 - pi) * lower, 0)
    dice = 2 * true_positive / np.maximum(upper + pi, np.finfo(np.float64).tiny)
    dice = np.where(USUAL | ~is_usual[:, None], dice, 0)
    centres = np.array([_centre_of_widest_run(row >= (1 - PLATEAU_TOLERANCE) * row.max()) for row in dice])
    return _sigmoid(LOGITS[centres]), fraction, dice[np.arange(len(dice)), centres]


def _centre_of_widest_run(flat: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat, [False])).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    widest = int(np.argmax(stops - starts))
    return int(starts[widest] + stops[widest] - 1) // 2


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


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
