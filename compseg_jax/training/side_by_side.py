"""Several networks trained at once: the same step over stacked states, by ``vmap``.

Each network has its own parameters, samples, order and scaling, and gets the same losses as alone. Worth it on
accelerators, where a small network leaves most of the device idle. On CPUs the convolutions of several networks
become grouped ones, and networks are faster one after the other (docs/performance.md).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from compseg_jax.config import to_json
from compseg_jax.config.serialisation import flat
from compseg_jax.runtime import DATA_AXIS, compile_clock
from compseg_jax.runtime.devices import placed
from compseg_jax.runtime.interrupts import Interrupted, StopRequest, stop_requests
from compseg_jax.runtime.tracking import track
from compseg_jax.training.batch import Batch
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.feed import ResidentFeed, gathered
from compseg_jax.training.loop import (
    STEPS_A_DISPATCH,
    STEPS_IN_FLIGHT,
    Run,
    begin_again,
    finish_epoch,
    save,
)
from compseg_jax.training.order import Draw, pad_draws
from compseg_jax.training.progress import (
    Progress,
    check_finite,
    check_finite_validation,
    copied,
    how_to_resume,
)
from compseg_jax.training.run_reporter import LINES_WITHOUT_A_TERMINAL, RunReporter
from compseg_jax.training.starts import given_up, has_failed, recorded
from compseg_jax.training.step import Metrics, TrainState, train_step
from compseg_jax.training.trouble import begins, in_words

SHARE_OF_MEMORY = 0.8

# Steps taken, the states after them, and a function that waits for their losses and gradient norms (m, steps, 2).
Dispatch = tuple[int, TrainState, Callable[[], np.ndarray]]


@dataclass
class Member:
    """One of the networks: its run, where it stands, and where that is saved."""

    run: Run
    state: TrainState
    progress: Progress
    checkpoints: Checkpoints
    folder: Path


def stacked(states: Sequence[TrainState]) -> TrainState:
    """States of equal plans as one, every array with a first axis of members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def unstacked(states: TrainState, n_members: int) -> list[TrainState]:
    """What :func:`stacked` put together."""
    return [jax.tree.map(lambda leaf, m=m: leaf[m], states) for m in range(n_members)]


def train_step_of_each(states: TrainState, batches: tuple[Batch, ...]) -> tuple[TrainState, Metrics]:
    """:func:`train_step` of every member on its own batch; metrics are (m,)."""
    return jax.vmap(train_step)(states, jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches))


def train_steps_of_each(
    states: TrainState,
    samples: tuple[Batch, ...],
    indices: Int[Array, "m steps b"],
    weights: Float[Array, "m steps b"],
    bounds: tuple[Int[Array, ""], Int[Array, ""]],
    *,
    samples_of: tuple[int, ...],
    by_sample: NamedSharding,
) -> tuple[TrainState, Metrics]:
    """:func:`train_step_of_each` on the batches ``bounds[0]`` to ``bounds[1]`` (excluded), one after the other.

    Args:
      states: stacked states.
      samples: data sets on the device.
      indices: samples of each batch of the epoch, for each member.
      weights: their weights.
      bounds: first batch, and the one to stop before.
      samples_of: which of ``samples`` each member is trained on.
      by_sample: how batches lie on the devices.

    Returns:
      The states after, and metrics (steps, m), 0 where no step was taken.
    """

    def body(step: Int[Array, ""], carried: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        states, recorded = carried
        batches = tuple(
            jax.lax.with_sharding_constraint(
                gathered(samples[which], indices[member, step], weights[member, step]), by_sample
            )
            for member, which in enumerate(samples_of)
        )
        states, metrics = train_step_of_each(states, batches)
        return states, {name: values.at[step].set(metrics[name]) for name, values in recorded.items()}

    recorded = {name: jnp.zeros((indices.shape[1], len(samples_of))) for name in ("loss", "gradient_norm")}
    return jax.lax.fori_loop(*bounds, body, (states, recorded))


class SideBySide:
    """The steps of several members compiled for a mesh; states are used up."""

    def __init__(self, members: Sequence[Member], mesh: Mesh) -> None:
        self.members = members
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._by_sample = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        self._on_device = all(member.run.programs.device_loop is not None for member in members)
        self._step = jax.jit(
            train_step_of_each,
            in_shardings=(self._everywhere, self._by_sample),
            out_shardings=self._everywhere,
            donate_argnums=0,
        )
        self._steps = jax.jit(
            partial(train_steps_of_each, by_sample=self._by_sample),
            out_shardings=self._everywhere,
            static_argnames="samples_of",
            donate_argnums=0,
        )

    def epoch(self, states: TrainState, draws: Sequence[list[Draw]], done: int) -> Iterator[Dispatch]:
        """The steps of an epoch after the first ``done``, in pieces; ``draws`` are those of each member."""
        states = placed(states, self._everywhere)
        return (self._dispatches if self._on_device else self._single_steps)(states, draws, done)

    def _single_steps(self, states: TrainState, draws: Sequence[list[Draw]], done: int) -> Iterator[Dispatch]:
        feeds = [
            member.run.train_feed.batches(own[done:]) for member, own in zip(self.members, draws, strict=True)
        ]
        for batches in zip(*feeds, strict=True):
            states, metrics = self._step(states, batches)
            yield 1, states, partial(_numbers, metrics, None)

    def _dispatches(self, states: TrainState, draws: Sequence[list[Draw]], done: int) -> Iterator[Dispatch]:
        samples: list[Batch] = []
        samples_of = []
        for member in self.members:
            assert isinstance(member.run.train_feed, ResidentFeed)
            own = member.run.train_feed.samples
            if not any(own is other for other in samples):
                samples.append(own)
            samples_of.append(next(i for i, other in enumerate(samples) if other is own))
        indices = np.stack([[draw.indices for draw in own] for own in draws]).astype(np.int32)
        weights = np.stack([[draw.weights for draw in own] for own in draws]).astype(np.float32)
        for first in range(done, indices.shape[1], STEPS_A_DISPATCH):
            last = min(first + STEPS_A_DISPATCH, indices.shape[1])
            states, metrics = self._steps(
                states,
                tuple(samples),
                indices,
                weights,
                (np.int32(first), np.int32(last)),
                samples_of=tuple(samples_of),
            )
            yield last - first, states, partial(_numbers, metrics, slice(first, last))


def _numbers(metrics: Metrics, steps: slice | None) -> np.ndarray:
    """Loss and gradient norm (m, steps, 2) of each member; waits for them."""
    values = np.stack(jax.device_get([metrics["loss"], metrics["gradient_norm"]]), axis=-1)
    return values[:, None] if steps is None else values[steps].swapaxes(0, 1)


def train_side_by_side(members: Sequence[Member], mesh: Mesh) -> None:
    """Trains members that stand at the same step to the last epoch, saving on the way; ``progress`` tells how.

    Plans, steps per epoch and sizes of images must be equal, seeds and samples may differ. A member whose random start
    has learnt nothing leaves the others, and stands before the first epoch of its next one when this returns.

    Raises:
      TrainingError: when a loss or gradient of one of them is not finite.
      Interrupted: when the run was asked to stop; all of them are saved before.
    """
    config, engine = members[0].run.config, SideBySide(members, mesh)
    for member in members:
        member.progress.best = member.progress.best or copied(member.state.variables)
    clock = compile_clock()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())
        reporters = {member.folder: stack.enter_context(_reporter(member)) for member in members}
        while members and (epoch := len(members[0].progress.history) + 1) <= config.epochs:
            started, compiled_s = time.perf_counter(), clock.seconds
            done_before = len(members[0].progress.steps)
            _train_epoch(engine, epoch, stop)
            stop.agree()
            for member in members:
                check_finite(member.progress.steps, member.state, member.checkpoints)
            if stop.requested and len(members[0].progress.steps) < members[0].run.ordering.n_batches:
                _save(members)
                raise Interrupted(how_to_resume(config, epoch))
            for member in members:
                record = finish_epoch(member.run, member.state, member.progress, epoch, started, done_before)
                check_finite_validation(record, member.checkpoints)
                record["compile_s"] = round(clock.seconds - compiled_s, 3)
                record["networks_at_once"] = len(members)
                reporters[member.folder].epoch(record)
                if begins(member.progress.history):
                    print(
                        f"{member.folder.name}: {in_words(config, member.run.ordering, record)}", flush=True
                    )
            _tell(members, epoch, config.epochs)
            failed = [m for m in members if has_failed(config, m.run.ordering, m.progress)]
            for member in failed:
                print(f"{member.folder.name}: {given_up(config, member.run.ordering, member.progress)}")
                member.state = begin_again(member.run, member.state, member.progress)
            if epoch % config.checkpoint_every == 0 or epoch == config.epochs or stop.requested or failed:
                _save(members)
            members = [member for member in members if member not in failed]
            if failed and members:
                engine = SideBySide(members, mesh)
            if stop.requested and epoch < config.epochs:
                raise Interrupted(how_to_resume(config, epoch))


def _train_epoch(engine: SideBySide, epoch: int, stop: StopRequest) -> None:
    """Goes through the (rest of the) epoch; leaves the states and the numbers of the steps with the members."""
    members = engine.members
    draws = [list(pad_draws(m.run.ordering.epoch(epoch), m.run.programs.multiple)) for m in members]
    states, in_flight = stacked([member.state for member in members]), []
    for _, following, numbers in engine.epoch(states, draws, len(members[0].progress.steps)):
        states = following
        in_flight.append(numbers)
        if len(in_flight) > STEPS_IN_FLIGHT:
            _note(members, in_flight.pop(0)())
        if stop.requested:
            break
    for numbers in in_flight:
        _note(members, numbers())
    for member, state in zip(members, unstacked(states, len(members)), strict=True):
        member.state = state


def _note(members: Sequence[Member], numbers: np.ndarray) -> None:
    for member, own in zip(members, numbers, strict=True):
        member.progress.steps += own.tolist()


def _save(members: Sequence[Member]) -> None:
    for member in members:
        save(member.checkpoints, member.state, member.progress)


def _reporter(member: Member) -> RunReporter:
    config = member.run.config
    history = recorded(member.progress)
    tracking = track(member.folder, flat(to_json(config)))
    return RunReporter(
        member.folder, config.epochs, history, tensorboard=config.tensorboard, tracking=tracking, quiet=True
    )


def _tell(members: Sequence[Member], epoch: int, n_epochs: int) -> None:
    if epoch % max(1, math.ceil(n_epochs / LINES_WITHOUT_A_TERMINAL)) and epoch != n_epochs:
        return
    records = [member.progress.history[-1] for member in members]
    ranges = "  ".join(
        f"{word} {min(r[name] for r in records):.4f} … {max(r[name] for r in records):.4f}"
        for word, name in (("loss", "loss"), ("val", "val_loss"))
    )
    print(f"epoch {epoch:>4}/{n_epochs}  {ranges}", flush=True)


def members_that_fit(member: Member, most: int) -> int:
    """How many networks like this one train at once: 1 on CPUs, elsewhere as many as the memory holds.

    The memory of a step is what XLA states for its program; data that each network may bring is counted too.
    """
    device = member.run.programs.train_step.replicated.mesh.local_devices[0]
    if device.platform == "cpu" or most == 1:
        return 1
    limits = device.memory_stats() or {}
    if "bytes_limit" not in limits:
        return most
    draws = list(pad_draws(member.run.ordering.epoch(1), member.run.programs.multiple))[:1]
    batch = next(iter(member.run.train_feed.batches(draws)))
    program = jax.jit(train_step).lower(member.state, batch).compile().memory_analysis()
    free = limits["bytes_limit"] * SHARE_OF_MEMORY - limits.get("bytes_in_use", 0)
    return how_many_fit(free, _bytes_each(member, program), most)


def _bytes_each(member: Member, program: Any) -> float:
    needed = float(program.temp_size_in_bytes + program.argument_size_in_bytes + program.output_size_in_bytes)
    for feed in (member.run.train_feed, member.run.val_feed):
        if isinstance(feed, ResidentFeed):
            needed += sum(leaf.nbytes for leaf in jax.tree.leaves(feed.samples))
    return needed


def how_many_fit(free_bytes: float, bytes_each: float, most: int) -> int:
    """Networks of ``bytes_each`` in ``free_bytes``, between 1 and ``most``."""
    return max(1, min(most, int(free_bytes // max(bytes_each, 1.0))))
