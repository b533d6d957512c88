"""What the network is trained for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from compseg_jax.config.ranges import Range, check_ranges

ALPHA = 0.1
"""Least share of the tissue that is diseased in a diseased sample; the paper's α."""
BETA = 5.0
"""Steepness of the paper's transfer function."""
GAMMA = 0.001
"""Slope of the paper's transfer function far out."""


@dataclass(frozen=True)
class Objective:
    """What the network is trained for."""

    target: Literal["label", "reference", "marks"] = "label"
    """'label': sample labels through the pooling neuron. 'reference': reference masks, the supervised upper
    bound, never used for a weak-label claim. 'marks': what an earlier network marked, grafted onto healthy samples; the
    phases that `grafting` adds have it, and no run begins with it."""
    alpha: Annotated[float, Range(0, 1, above=True)] = ALPHA
    """Least diseased fraction of the pooled area in a diseased sample (0 to 1); the bound of σ, the end of the
    trapezoid's rise."""
    beta: Annotated[float, Range(0, above=True)] = BETA
    """Slope parameter of σ (its slope at zero is beta/2 + gamma); width of the trapezoid's plateau."""
    gamma: Annotated[float, Range(0)] = GAMMA
    """Asymptotic slope of σ, an incentive to mark more than alpha."""
    error: Literal["absolute", "one_sided", "cross_entropy", "maxmin"] = "absolute"
    """'absolute': the printed loss |o − αℓ|. 'one_sided': a diseased sample may exceed alpha unpunished.
    'cross_entropy': of the label and o/alpha, which never lies flat. 'maxmin': of a region that decides and a
    remainder that says nothing; it takes two maps and neither pooling function nor transfer function."""
    pooling: Literal["image", "tissue"] = "image"
    """Pool the activation map over the whole image (as printed) or over the tissue."""
    pooling_function: Literal["mean", "mean_logit", "log_mean_exp", "top_share", "attention"] = "mean"
    """'mean': of the activation map (as printed). Of the logits: their mean ('mean_logit'), their soft maximum
    ('log_mean_exp'), the mean of the share alpha of highest ones ('top_share'), or their mean weighted by a second
    map ('attention'); these need transfer='logistic'."""
    transfer: Literal["sigmoid", "trapezoid", "logistic"] = "sigmoid"
    """From the pooled value to the output: σ (as printed), a trapezoid that falls again towards 1, or the logistic
    function of a pooled logit."""
    sharpness: Annotated[float, Range(0, above=True)] = 10.0
    """Sharpness of 'log_mean_exp': towards 0 it is the mean, towards infinity the maximum."""
    label_smoothing: Annotated[float, Range(0, 0.5, below=True)] = 0.0
    """Share of each label that counts as the other one, with error='cross_entropy': logits then keep a finite aim once
    all labels are told, and a network goes on marking instead of growing surer of its most active pixels."""
    healthy_weight: Annotated[float, Range(0)] = 1.0
    """Weight of a healthy sample's error of the pooled value."""
    diseased_weight: Annotated[float, Range(0)] = 1.0
    """Weight of a diseased sample's error of the pooled value."""
    negatives_weight: Annotated[float, Range(0)] = 0.0
    """Weight of −log(1 − p) of pixels known to be healthy: all of a healthy sample, those of a diseased one that
    are not pooled over (0: left out)."""
    background_weight: Annotated[float, Range(0)] = 1.0
    """Weight of the undecided remainder with error='maxmin'."""
    pair: bool = False
    """Train the pair of maps a⁺ and a⁻ with pooling neurons p⁺ and p⁻ instead of a⁺ alone."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.transfer == "trapezoid" and self.alpha + self.beta >= 1:
            raise ValueError(
                f"alpha={self.alpha} and beta={self.beta}: with transfer='trapezoid' their sum must lie below 1, "
                "since the plateau ends there; the published values are 0.05 and 0.8."
            )
        if (self.pooling_function == "mean") == (self.transfer == "logistic"):
            raise ValueError(
                f"pooling_function={self.pooling_function!r} with transfer={self.transfer!r}: a pooled logit needs "
                "'logistic', the mean of the activation map 'sigmoid' or 'trapezoid'."
            )
        if self.label_smoothing and self.error != "cross_entropy":
            raise ValueError(
                f"label_smoothing={self.label_smoothing} with error={self.error!r}: needs error='cross_entropy'."
            )
        if self.target != "label" and self.pair:
            raise ValueError(
                f"pair=True with target={self.target!r}: needs 'label', as masks describe one map, a⁺."
            )
        if self.pair and self._needs_two_maps:
            raise ValueError(
                f"pair=True: error={self.error!r} and pooling_function={self.pooling_function!r} need the second "
                "map for themselves; choose one of the two."
            )

    @property
    def _needs_two_maps(self) -> bool:
        return self.error == "maxmin" or self.pooling_function == "attention"

    @property
    def has_a_guess(self) -> bool:
        """Whether the loss is that of the pooled value's label alone, so that a constant output has a known loss."""
        classifies = self.error == "cross_entropy" and self.transfer == "logistic"
        compares = self.error == "absolute" and self.transfer != "logistic"
        alone = self.target == "label" and self.negatives_weight == 0 and not self.pair
        return alone and (classifies or compares)

    @property
    def n_maps(self) -> int:
        """Activation maps the network has to put out."""
        return 2 if self.pair or self._needs_two_maps else 1
