"""RMSprop and the schedules of its learning rate."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from compseg_jax.config import Optimiser

WARM_UP_SHARE = 0.1  # of all steps, with the 'cosine' schedule

Rate = float | Callable[[Array], Array]


def _constant(optimiser: Optimiser, n_steps: int, epoch_steps: int) -> Rate:
    return optimiser.learning_rate


def _cosine_with_warm_up(optimiser: Optimiser, n_steps: int, epoch_steps: int) -> Rate:
    rise = max(1.0, WARM_UP_SHARE * n_steps)

    def rate(step: Int[Array, ""]) -> Float[Array, ""]:
        done = step.astype(jnp.float32)
        fall = jnp.clip((done - rise) / max(n_steps - rise, 1.0), 0.0, 1.0)
        return optimiser.learning_rate * jnp.minimum(done / rise, 0.5 * (1.0 + jnp.cos(jnp.pi * fall)))

    return rate


def _in_steps(optimiser: Optimiser, n_steps: int, epoch_steps: int) -> Rate:
    every = optimiser.step_epochs * epoch_steps

    def rate(step: Int[Array, ""]) -> Float[Array, ""]:
        return optimiser.learning_rate * optimiser.step_factor ** (step // every).astype(jnp.float32)

    return rate


SCHEDULES: dict[str, Callable[[Optimiser, int, int], Rate]] = {
    "constant": _constant,
    "cosine": _cosine_with_warm_up,
    "step": _in_steps,
}


def make_optimiser(optimiser: Optimiser, n_steps: int, epoch_steps: int = 0) -> optax.GradientTransformation:
    """RMSprop as a configuration spells it.

    'keras' is tf.keras' RMSprop: decay .9, ε 1e-7 outside the root, accumulator from 0. optax's default has ε
    inside the root, a floor of 3.2e-4 under which nearly every early gradient lies. 'tf1' is TensorFlow 1's:
    ε 1e-10 inside the root, accumulator from 1.
    """
    rate = SCHEDULES[optimiser.schedule](optimiser, n_steps, epoch_steps)
    keras = optimiser.rmsprop == "keras"
    rmsprop = optax.rmsprop(
        rate,
        decay=optimiser.decay,
        eps=1e-7 if keras else 1e-10,
        eps_in_sqrt=not keras,
        initial_scale=0.0 if keras else 1.0,
    )
    if optimiser.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optimiser.clip_norm), rmsprop)
    return rmsprop
