"""What the network is trained for: pooling · transfer · loss, each a pure function that cites its equation.

An activation map ``z`` holds values in [0, 1]; a pooling function makes one value of it; a transfer function turns
that into the output ``o``; the loss compares ``o`` with the label. An :class:`Objective` names one of each, and
``POOLINGS``, ``TRANSFERS`` and ``ERRORS`` hold what the names stand for. Everything is computed in float32 (or the
float64 of its input), whatever precision the network used. Equations are those of Schuhmacher, Gerwert and
Mosig (2019), section 3, cited as [CompSegNet], where no other source is given.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.config import Objective
from compseg_jax.objective.loss import (
    absolute_error,
    cross_entropy,
    marks_error,
    negatives_error,
    one_sided_error,
    share_cross_entropy,
    supervised_error,
)
from compseg_jax.objective.maxmin import maxmin_error
from compseg_jax.objective.pooling import POOLINGS, pooled_activation
from compseg_jax.objective.transfer import (
    TRANSFERS,
    Transfer,
    at_least_float32,
    crossing_point,
    modified_sigmoid,
    trapezoid,
)

__all__ = [
    "ERRORS",
    "POOLINGS",
    "TRANSFERS",
    "absolute_error",
    "comparative_error",
    "cross_entropy",
    "crossing_point",
    "marks_error",
    "modified_sigmoid",
    "one_sided_error",
    "pooled_activation",
    "supervised_error",
    "trapezoid",
]

Logits = Float[Array, "b y x maps"]
Mask = Bool[Array, "b y x"]
Errors = Float[Array, " b"]
SampleError = Callable[[Logits, Int[Array, " b"], Mask | None, Objective], Errors]
PooledError = Callable[[Transfer, Errors, Int[Array, " b"], Objective], Errors]


def _of_pooled(error: PooledError) -> SampleError:
    """A loss of the pooled value as one of the logits."""

    def of_logits(logits: Logits, label: Int[Array, " b"], mask: Mask | None, objective: Objective) -> Errors:
        pooled = POOLINGS[objective.pooling_function](logits, mask, objective)
        return error(TRANSFERS[objective.transfer], pooled, label, objective)

    return of_logits


# Every loss takes logits (b, y, x, maps), labels (b,), the pixels that count and the objective, and gives (b,).
ERRORS: dict[str, SampleError] = {
    "absolute": _of_pooled(lambda t, z, label, of: absolute_error(t.output(z, of), label, t.level(of))),
    "one_sided": _of_pooled(lambda t, z, label, of: one_sided_error(t.output(z, of), label, t.level(of))),
    "cross_entropy": _of_pooled(
        lambda t, z, label, of: share_cross_entropy(*t.log_shares(z, of), label, of.label_smoothing)
    ),
    "maxmin": maxmin_error,
}
"""The losses by their word in a recipe: (b,) from logits (b, y, x, maps), labels (b,), the pixels that count
and the objective."""


def comparative_error(
    logits: Float[Array, "b y x maps"],
    label: Int[Array, " b"],
    mask: Bool[Array, "b y x"] | None,
    objective: Objective,
    image: Bool[Array, "b y x"] | None = None,
) -> Float[Array, " b"]:
    """The loss of each sample from its logits, as the objective spells it.

    With the pair of maps the second, a⁻, is trained through its own pooling neuron p⁻ towards α·(1 − ℓ), and both
    errors are added; the paper names a⁻ and p⁻ without defining them, this is their natural reading.

    Args:
      logits: as many maps as the objective asks for.
      label: 1 for diseased, 0 for healthy samples.
      mask: pixels that count, as ``objective.pooling`` chooses; all of them when None.
      objective: pooling function, transfer function and loss.
      image: pixels that belong to the image; all of them when None. Only ``negatives_weight`` needs them.

    Source: [CompSegNet], sections 3.1 and 3.2; those of the parts for everything else.
    """
    logits = logits.astype(at_least_float32(logits.dtype))
    error = ERRORS[objective.error]
    if objective.pair:
        total = error(logits[..., :1], label, mask, objective)
        total = total + error(logits[..., 1:], 1 - label, mask, objective)
    else:
        total = error(logits, label, mask, objective)
    weights = jnp.asarray([objective.healthy_weight, objective.diseased_weight], total.dtype)
    total = weights[label] * total
    if objective.negatives_weight:
        negatives = negatives_error(logits[..., 0], label, mask, image)
        total = total + objective.negatives_weight * negatives
    return total
