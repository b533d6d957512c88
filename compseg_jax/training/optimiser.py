"""RMSprop and the schedules of its learning rate."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from compseg_jax.config import Optimiser

WARM_UP_SHARE = 0.1  # of all steps, with the 'cosine' schedule


def learning_rate(
    optimiser: Optimiser, n_steps: int, epoch_steps: int
) -> float | Callable[[Int[Array, ""]], Float[Array, ""]]:
    """The learning rate, or its schedule over the updates done, as a configuration spells it."""
    if optimiser.schedule == "constant":
        return optimiser.learning_rate
    if optimiser.schedule == "cosine":
        rise, every = max(1.0, WARM_UP_SHARE * n_steps), 1
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, optimiser.learning_rate, rise, max(n_steps, rise + 1.0)
        )
    else:
        # Whole falls are counted in integers: in float32 the quotient step / 41, say, misses some of them.
        every = optimiser.step_epochs * epoch_steps
        schedule = optax.exponential_decay(optimiser.learning_rate, 1, optimiser.step_factor)
    return lambda step: schedule((step // every).astype(jnp.float32))


def make_optimiser(optimiser: Optimiser, n_steps: int, epoch_steps: int = 0) -> optax.GradientTransformation:
    """RMSprop as a configuration spells it.

    'keras' is tf.keras' RMSprop: decay .9, ε 1e-7 outside the root, accumulator from 0. optax's default has ε
    inside the root, a floor of 3.2e-4 under which nearly every early gradient lies. 'tf1' is TensorFlow 1's:
    ε 1e-10 inside the root, accumulator from 1.
    """
    keras = optimiser.rmsprop == "keras"
    rmsprop = optax.rmsprop(
        learning_rate(optimiser, n_steps, epoch_steps),
        decay=optimiser.decay,
        eps=1e-7 if keras else 1e-10,
        eps_in_sqrt=not keras,
        initial_scale=0.0 if keras else 1.0,
    )
    if optimiser.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optimiser.clip_norm), rmsprop)
    return rmsprop
