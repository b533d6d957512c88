"""Many training steps in one dispatch, on data that stays on the devices: what accelerators run.

A step of the paper's network takes some milliseconds on a GPU, as long as the host needs to gather a batch and
launch it. Here the whole epoch is one program: a loop whose body gathers its batch by index, and no host between
its steps. On CPUs training runs step by step instead: XLA's CPU backend runs convolutions inside a loop a hundred
times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from compseg_jax.runtime import DATA_AXIS
from compseg_jax.runtime.devices import placed
from compseg_jax.training.batch import Batch
from compseg_jax.training.feed import gathered
from compseg_jax.training.order import Draw
from compseg_jax.training.step import Compilable, Metrics, TrainState, evaluate_step, train_step


def train_steps(
    state: TrainState,
    samples: Batch,
    indices: Int[Array, "steps b"],
    weights: Float[Array, "steps b"],
    first: Int[Array, ""],
    last: Int[Array, ""],
    by_sample: NamedSharding | None = None,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    """:func:`train_step` on the batches ``first`` to ``last`` (excluded) of an epoch, one after the other.

    Args:
      state: state before.
      samples: all samples, scaled.
      indices: samples of each batch of the epoch; the number of steps to take is not part of the program.
      weights: their weights in the loss; 0 for padding.
      first: first batch.
      last: batch to stop before.
      by_sample: how batches lie on the devices.

    Returns:
      The state after, and ``loss`` and ``gradient_norm`` of the steps taken, 0 elsewhere.
    """

    def body(
        step: Int[Array, ""], carried: tuple[TrainState, dict[str, Array]]
    ) -> tuple[TrainState, dict[str, Array]]:
        state, recorded = carried
        batch = gathered(samples, indices[step], weights[step])
        if by_sample is not None:
            batch = jax.lax.with_sharding_constraint(batch, by_sample)
        state, metrics = train_step(state, batch)
        return state, {name: values.at[step].set(metrics[name]) for name, values in recorded.items()}

    recorded = {name: jnp.zeros(indices.shape[0]) for name in ("loss", "gradient_norm")}
    return jax.lax.fori_loop(first, last, body, (state, recorded))


def evaluate_batches(
    state: TrainState,
    samples: Batch,
    indices: Int[Array, "batches b"],
    weights: Float[Array, "batches b"],
    by_sample: NamedSharding | None = None,
) -> Metrics:
    """:func:`evaluate_step` on every batch; its metrics, (batches, b) each."""

    def of_batch(draw: tuple[Array, Array]) -> Metrics:
        batch = gathered(samples, *draw)
        if by_sample is not None:
            batch = jax.lax.with_sharding_constraint(batch, by_sample)
        return evaluate_step(state, batch)

    return jax.lax.map(of_batch, (indices, weights))


class DeviceLoop:
    """:func:`train_steps` and :func:`evaluate_batches` compiled for a mesh; states are used up by training."""

    def __init__(self, mesh: Mesh) -> None:
        everywhere = NamedSharding(mesh, PartitionSpec())
        by_sample = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        self._train = jax.jit(
            partial(train_steps, by_sample=by_sample),
            in_shardings=(everywhere,) * 6,
            out_shardings=everywhere,
            donate_argnums=(0,),
        )
        self._evaluate = jax.jit(
            partial(evaluate_batches, by_sample=by_sample),
            in_shardings=(everywhere,) * 4,
            out_shardings=everywhere,
        )
        self._everywhere = everywhere
        self._programs = Compilable(self._train), Compilable(self._evaluate)

    def train(
        self, state: TrainState, samples: Batch, draws: Sequence[Draw], first: int, last: int
    ) -> tuple[TrainState, Metrics]:
        """Steps ``first`` to ``last`` (excluded) of the epoch that ``draws`` is, in one dispatch."""
        bounds = (np.int32(first), np.int32(last))
        return self._programs[0](placed(state, self._everywhere), samples, *_stacked(draws), *bounds)

    def evaluate(self, state: TrainState, samples: Batch, draws: Sequence[Draw]) -> Metrics:
        """Metrics of all batches in one dispatch."""
        return self._programs[1](placed(state, self._everywhere), samples, *_stacked(draws))

    def compiled_training(
        self, state: TrainState, samples: Batch, draws: Sequence[Draw]
    ) -> jax.stages.Compiled:
        """The program of :meth:`train` for states, samples and epochs of these shapes."""
        return self._programs[0].compiled(state, samples, *_stacked(draws), np.int32(0), np.int32(0))

    def compiled_evaluation(
        self, state: TrainState, samples: Batch, draws: Sequence[Draw]
    ) -> jax.stages.Compiled:
        """The program of :meth:`evaluate` for the same."""
        return self._programs[1].compiled(state, samples, *_stacked(draws))


def _stacked(draws: Sequence[Draw]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.stack([draw.indices for draw in draws]).astype(np.int32),
        np.stack([draw.weights for draw in draws]).astype(np.float32),
    )
