"""The training step: a pure function of state and batch, and the same jitted over a mesh of devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt

from compseg_jax.config import Objective, Optimiser
from compseg_jax.networks.build import (
    Module,
    Variables,
    apply_network,
    apply_network_training,
    init_variables,
)
from compseg_jax.objective import comparative_error, marks_error, pooled_activation, supervised_error
from compseg_jax.objective.activation import activation_of_logits
from compseg_jax.objective.pooling import background_share
from compseg_jax.runtime import DATA_AXIS, data_mesh
from compseg_jax.runtime.devices import placed
from compseg_jax.runtime.memory import return_kept_memory
from compseg_jax.training.batch import Augmentation, Batch, augment_batch, pad_batch, pad_channels
from compseg_jax.training.grafts import grafted
from compseg_jax.training.optimiser import make_optimiser

Metrics = dict[str, Array]

PAPER_OBJECTIVE = Objective()
PAPER_OPTIMISER = Optimiser()
SMALL_LEAF = 2**18
"""Values of an array up to which joining it with others costs nothing to speak of."""


@dataclass(frozen=True)
class Plan:
    """What a step does; constants of the compiled program.

    Attributes:
      network: Flax module, cube → logits.
      objective: pooling, transfer function and loss.
      optimiser: RMSprop and its schedule.
      n_steps: steps of the whole training, for a schedule that falls to zero.
      epoch_steps: steps of an epoch, for a schedule that counts epochs.
      microbatch: samples of a batch computed at once; 0 for all.
      augmentation: random mirroring of the samples.
      channel_multiple: cubes are padded with channels of zeros to a multiple of this, for matrix units.
    """

    network: Module
    objective: Objective
    optimiser: Optimiser
    n_steps: int
    microbatch: int = 0
    augmentation: Augmentation = "none"
    channel_multiple: int = 1
    epoch_steps: int = 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything a training step changes, and the plan it follows.

    Attributes:
      step: steps done, a scalar int32.
      seed: seed of everything random within steps, a scalar uint32.
      variables: the network's parameters ('params') and its other collections, if it has any.
      moments: state of the optimiser.
      plan: what a step does (static).
    """

    step: Int[Array, ""]
    seed: UInt[Array, ""]
    variables: Variables
    moments: PyTree
    plan: Plan = field(metadata={"static": True})


def init_train_state(
    key: PRNGKeyArray,
    network: Module,
    channels: int,
    *,
    objective: Objective = PAPER_OBJECTIVE,
    optimiser: Optimiser = PAPER_OPTIMISER,
    n_steps: int = 0,
    microbatch: int = 0,
    augmentation: Augmentation = "none",
    channel_multiple: int = 1,
    epoch_steps: int = 0,
) -> TrainState:
    """A fresh training state with random parameters.

    Args:
      key: key of the random start.
      network: Flax module, cube (b, y, x, c) → logits (b, y, x, maps).
      channels: number of channels of a cube.
      objective: pooling, transfer function and loss.
      optimiser: RMSprop and its schedule.
      n_steps: steps of the whole training; needed by the 'cosine' schedule alone.
      microbatch: samples of a batch computed at once; 0 for all.
      augmentation: random mirroring of the samples.
      channel_multiple: pad cubes with channels of zeros to a multiple of this; needs a network with the field
        ``channels`` (U-Net and SegNet have it). Nothing but speed changes.
      epoch_steps: steps of an epoch; needed by the 'step' schedule alone.

    Raises:
      ValueError: when the schedule needs ``n_steps`` or ``epoch_steps``, or the network breaks the signature.
    """
    if optimiser.schedule == "cosine" and n_steps < 1:
        raise ValueError(
            f"n_steps={n_steps}: the 'cosine' schedule needs the number of steps of the training."
        )
    if optimiser.schedule == "step" and epoch_steps < 1:
        raise ValueError(
            f"epoch_steps={epoch_steps}: the 'step' schedule counts epochs and needs the number of steps of one."
        )
    if channel_multiple > 1:
        network = network.clone(channels=channels)
    plan = Plan(
        network, objective, optimiser, n_steps, microbatch, augmentation, channel_multiple, epoch_steps
    )
    start, seed = jax.random.split(key)
    variables = init_variables(network, start, channels, objective.n_maps)
    moments = _first_moments(optimiser, n_steps, epoch_steps, variables["params"])
    return TrainState(
        jnp.zeros((), jnp.int32), jax.random.bits(seed, (), jnp.uint32), variables, moments, plan
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _first_moments(optimiser: Optimiser, n_steps: int, epoch_steps: int, params: PyTree) -> PyTree:
    """One program for all arrays, which are otherwise compiled shape by shape."""
    return make_optimiser(optimiser, n_steps, epoch_steps).init(params)


def sample_errors(
    logits: Float[Array, "b y x maps"], batch: Batch, objective: Objective
) -> Float[Array, " b"]:
    """The loss of each sample of a batch, before weights."""
    mask = batch.tissue if objective.pooling == "tissue" else batch.image
    if objective.target == "label":
        return comparative_error(logits, batch.label, mask, objective, batch.image)
    if batch.reference is None:
        raise ValueError(f"target={objective.target!r} needs masks; this batch holds none.")
    if objective.target == "marks":
        return marks_error(logits, batch.label, batch.reference, batch.tissue)
    return supervised_error(logits, batch.reference, mask)


def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One step of RMSprop on the summed loss of a batch; pure, jit- and grad-safe.

    Args:
      state: parameters, optimiser state and plan.
      batch: scaled samples; those of weight 0 change nothing.

    Returns:
      The next state and the metrics ``loss`` (sum over the batch, by weight) and ``gradient_norm``.
    """
    plan = state.plan
    key = jax.random.fold_in(jax.random.key(state.seed), state.step)
    augmentation_key, network_key = jax.random.split(key)
    batch = augment_batch(batch, augmentation_key, plan.augmentation)
    if plan.objective.target == "marks":
        batch = pad_batch(grafted(batch, jax.random.fold_in(augmentation_key, 1)), plan.microbatch or 1)
    batch = pad_channels(batch, plan.channel_multiple)

    def loss(params: Variables, others: Variables, part: Batch) -> tuple[Array, Variables]:
        logits, others = apply_network_training(
            plan.network, {"params": params, **others}, part.cube, network_key
        )
        return jnp.sum(part.weight * sample_errors(logits, part, plan.objective)), others

    params = state.variables["params"]
    others: Variables = {name: value for name, value in state.variables.items() if name != "params"}
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if plan.microbatch and plan.microbatch < batch.label.shape[0]:
        total, others, gradient = _accumulate(value_and_grad, params, others, _split(batch, plan.microbatch))
    else:
        (total, others), gradient = value_and_grad(params, others, batch)
    rmsprop = make_optimiser(plan.optimiser, plan.n_steps, plan.epoch_steps)
    updates, moments = rmsprop.update(gradient, state.moments, params)
    variables = {"params": optax.apply_updates(params, updates), **others}
    metrics = {"loss": total, "gradient_norm": norm_of_all(gradient)}
    return replace(state, step=state.step + 1, variables=variables, moments=moments), metrics


def norm_of_all(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all values. Small arrays are joined first: each sum is a program that takes time to compile."""
    flat = [leaf.ravel() for leaf in jax.tree.leaves(tree)]
    small = [leaf for leaf in flat if leaf.size < SMALL_LEAF]
    parts = [leaf for leaf in flat if leaf.size >= SMALL_LEAF] + ([jnp.concatenate(small)] if small else [])
    return jnp.sqrt(sum(jnp.sum(jnp.square(part)) for part in parts))


def _split(batch: Batch, size: int) -> Batch:
    """Parts of ``size`` samples, stacked. Every n-th sample makes a part: samples stay on their device."""
    n_samples = batch.label.shape[0]
    if n_samples % size:
        raise ValueError(f"a batch of {n_samples} samples cannot be split into microbatches of {size}.")
    n_parts = n_samples // size
    return jax.tree.map(lambda leaf: leaf.reshape(size, n_parts, *leaf.shape[1:]).swapaxes(0, 1), batch)


def _accumulate(
    value_and_grad: Callable[..., Any], params: Variables, others: Variables, parts: Batch
) -> tuple[Array, Variables, Variables]:
    """Sums loss and gradient over the parts, one after the other.

    Written out instead of a scan: XLA's CPU backend runs convolutions inside a loop a hundred times slower.
    The barrier makes each part wait for the one before, so that only one part's activations are held.
    """
    (total, others), gradient = value_and_grad(params, others, jax.tree.map(lambda leaf: leaf[0], parts))
    for index in range(1, parts.label.shape[0]):
        params, others, gradient = jax.lax.optimization_barrier((params, others, gradient))
        part = jax.tree.map(lambda leaf, index=index: leaf[index], parts)
        (value, others), part_gradient = value_and_grad(params, others, part)
        total, gradient = total + value, jax.tree.map(jnp.add, gradient, part_gradient)
    return total, others, gradient


def evaluate_step(state: TrainState, batch: Batch) -> Metrics:
    """Per sample (b,), without any update: ``loss``, ``pooled`` and ``background``.

    ``pooled`` is the mean activation over the tissue, ``background`` the part of all activation that lies outside.
    """
    batch = pad_channels(batch, state.plan.channel_multiple)
    logits = apply_network(state.plan.network, state.variables, batch.cube)
    activation = activation_of_logits(state.plan.network, logits, batch.tissue)
    return {
        "loss": sample_errors(logits, batch, state.plan.objective),
        "pooled": pooled_activation(activation, batch.tissue),
        "background": background_share(activation, batch.tissue, batch.image),
    }


class Compilable:
    """A jitted function whose program can be compiled before the first call.

    jax keeps programs of calls alone; the one that :meth:`compiled` made last is kept here, for calls with arguments
    alike.
    """

    def __init__(self, jitted: jax.stages.Wrapped) -> None:
        self.jitted = jitted
        self._likeness: Any = None
        self._program: jax.stages.Compiled | None = None

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """The program for arguments of these shapes; values are not looked at."""
        likeness = _likeness(arguments)
        if self._program is None or self._likeness != likeness:
            self._program = self.jitted.lower(*arguments).compile()
            self._likeness = likeness
        return self._program

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program that is there, or one that jax compiles now."""
        if self._program is not None and self._likeness == _likeness(arguments):
            return self._program(*arguments)
        return self.jitted(*arguments)


def _likeness(arguments: tuple[Any, ...]) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


class ShardedStep:
    """A step compiled for a mesh: the batch split over its devices, everything else on each of them.

    Batches are padded with samples of weight zero to a multiple of the devices (and microbatches).
    """

    def __init__(self, step: Callable[..., Any], mesh: Mesh, *, donate: bool) -> None:
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.by_sample = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        self.n_devices = mesh.size
        self._on_cpu = mesh.devices.flat[0].platform == "cpu"
        self._calls = 0
        self.jitted = jax.jit(
            step,
            in_shardings=(self.replicated, self.by_sample),
            out_shardings=self.replicated,
            donate_argnums=(0,) if donate else (),
        )
        self._programs = Compilable(self.jitted)

    def __call__(self, state: TrainState, batch: Batch) -> Any:
        """Runs the step; ``state`` is used up where the step was made to donate it."""
        batch = placed(self.padded(state.plan, batch), self.by_sample)
        result = self._programs(placed(state, self.replicated), batch)
        self._calls += 1
        # After calls 1, 2, 4, 8, …: often while memory settles, and never dear.
        if self._on_cpu and self._calls.bit_count() == 1:
            jax.block_until_ready(result)
            return_kept_memory()
        return result

    def compiled(self, state: TrainState, batch: Batch) -> jax.stages.Compiled:
        """The program for states and padded batches of these shapes, which calls use from then on."""
        return self._programs.compiled(state, batch)

    def padded(self, plan: Plan, batch: Batch) -> Batch:
        """The batch padded as the compiled step needs it.

        Raises:
          ValueError: when the microbatch cannot be split evenly over the devices.
        """
        if plan.microbatch % self.n_devices:
            raise ValueError(
                f"microbatch={plan.microbatch} cannot be split over {self.n_devices} devices; "
                f"use a multiple of {self.n_devices}."
            )
        split = 0 < plan.microbatch < batch.label.shape[0]
        return pad_batch(batch, plan.microbatch if split else self.n_devices)


def make_train_step(mesh: Mesh | None = None) -> ShardedStep:
    """:func:`train_step` jitted over ``mesh``, or over all visible devices.

    The batch is sharded, parameters are replicated and the state is donated: pass each state once. Gradients
    are summed over the devices by an all-reduce, so any number of devices gives the same training.

    >>> step = make_train_step()
    >>> state, metrics = step(state, batch)  # doctest: +SKIP
    """
    return ShardedStep(train_step, mesh or data_mesh(), donate=True)


def make_evaluate_step(mesh: Mesh | None = None) -> ShardedStep:
    """:func:`evaluate_step` jitted over ``mesh``, or over all visible devices."""
    return ShardedStep(evaluate_step, mesh or data_mesh(), donate=False)
