"""The programs of a run: what they are is known before a cube is read, so they are compiled while cubes are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh

from compseg_jax.config import Training
from compseg_jax.networks.build import input_dtype
from compseg_jax.runtime.compilation import compiled_beside
from compseg_jax.training.device_loop import DeviceLoop
from compseg_jax.training.feed import stays_resident
from compseg_jax.training.order import Draw, draws_of, pad_draws
from compseg_jax.training.samples import Shapes
from compseg_jax.training.step import ShardedStep, TrainState, make_evaluate_step, make_train_step


@dataclass(frozen=True)
class Programs:
    """The steps of a run, wrapped for its devices.

    Attributes:
      config: the run.
      train: what its training samples look like.
      val: what its validation samples look like.
      mesh: devices.
      train_step: one training step.
      evaluate_step: one step of validation.
      device_loop: many of them in one dispatch; None where training goes step by step.
    """

    config: Training
    train: Shapes
    val: Shapes
    mesh: Mesh
    train_step: ShardedStep
    evaluate_step: ShardedStep
    device_loop: DeviceLoop | None

    @classmethod
    def of(
        cls, config: Training, train: Shapes, val: Shapes, mesh: Mesh, *, on_device: bool | None = None
    ) -> Programs:
        """Wraps the steps for ``mesh``.

        Args:
          config: the run.
          train: what its training samples look like.
          val: what its validation samples look like.
          mesh: devices.
          on_device: run many steps in one dispatch (:class:`DeviceLoop`); None for: on accelerators. All data must be
            resident either way.
        """
        if on_device is None:
            on_device = mesh.devices.flat[0].platform != "cpu"
        dtype = input_dtype(config.network)
        on_device = on_device and all(
            stays_resident(each, mesh, config.feed, config.resident_limit_gib, dtype) for each in (train, val)
        )
        return cls(
            config=config,
            train=train,
            val=val,
            mesh=mesh,
            train_step=make_train_step(mesh),
            evaluate_step=make_evaluate_step(mesh),
            device_loop=DeviceLoop(mesh) if on_device else None,
        )

    @property
    def multiple(self) -> int:
        """Batches are padded to a multiple of it."""
        return max(rounded_microbatch(self.config, self.mesh), self.mesh.size)

    @property
    def validation_draws(self) -> list[Draw]:
        """The validation samples in their order."""
        n = len(self.val.samples)
        order, weights = np.arange(n), np.ones(n, np.float32)
        return list(pad_draws(draws_of(order, weights, min(self.config.batch_size, n)), self.multiple))

    def compiled_training(self, state: TrainState) -> jax.stages.Compiled:
        """The program of training for states like this one."""
        n, dtype = len(self.train.samples), input_dtype(self.config.network)
        order, weights = np.arange(n), np.ones(n, np.float32)
        draws = list(pad_draws(draws_of(order, weights, self.config.batch_size), self.multiple))
        if self.device_loop is not None:
            return self.device_loop.compiled_training(state, self.train.blank(n, dtype), draws)
        return self.train_step.compiled(state, self.train.blank(_rows(draws), dtype))

    def compiled_validation(self, state: TrainState) -> jax.stages.Compiled:
        """The program of validation for the same."""
        n, dtype = len(self.val.samples), input_dtype(self.config.network)
        if self.device_loop is not None:
            return self.device_loop.compiled_evaluation(
                state, self.val.blank(n, dtype), self.validation_draws
            )
        return self.evaluate_step.compiled(state, self.val.blank(_rows(self.validation_draws), dtype))

    def compile_beside(self, state: TrainState) -> Future[float]:
        """Compiles both in a thread; gives the seconds that took, once they are there."""

        def compile_all() -> None:
            self.compiled_training(state)
            self.compiled_validation(state)

        return compiled_beside(compile_all)


def rounded_microbatch(config: Training, mesh: Mesh) -> int:
    """The microbatch, rounded up to a multiple of the devices; 0 for none."""
    return config.at_once + -config.at_once % mesh.size


def _rows(draws: Sequence[Draw]) -> int:
    return len(draws[0].indices)
