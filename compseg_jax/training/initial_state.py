"""The state a run starts from: random parameters, or an extracted network to go on from."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from compseg_jax.config import Training
from compseg_jax.model import ExtractedNetwork
from compseg_jax.networks.build import NETWORKS, build_network
from compseg_jax.networks.front import front_from_principal_components
from compseg_jax.networks.normalised_start import feature_statistics, with_normalised_features
from compseg_jax.runtime.devices import placed
from compseg_jax.runtime.together import process_count
from compseg_jax.store.read import Store
from compseg_jax.training.loop import Run
from compseg_jax.training.order import Ordering, draws_of, pad_draws
from compseg_jax.training.programs import rounded_microbatch
from compseg_jax.training.starts import begins_normalised
from compseg_jax.training.step import TrainState, init_train_state

CHANNEL_MULTIPLE = 16
CHANNELS_A_FRONT_FEATURE = 4
"""Channels for each feature of a front from which on it pays: fewer bands are hardly collinear."""

SAMPLES_TO_NORMALISE = 96
"""Training samples, about as many, whose features are brought to variance 1."""


class RunError(ValueError):
    """A run cannot be started as asked; the message says what stands in the way."""


def with_front_that_pays(config: Training, channels: int) -> Training:
    """The run without its spectral front where cubes have too few channels for one."""
    network = config.network
    if not network.front or channels >= CHANNELS_A_FRONT_FEATURE * network.front:
        return config
    return replace(config, network=replace(network, front=0))


def random_state(
    config: Training,
    store: Store,
    mesh: Mesh,
    channels: int,
    spectra: jax.Array | None = None,
    number: int = 0,
) -> TrainState:
    """A random start by its number; its front projects onto principal components where ``spectra`` are given."""
    key = jax.random.key(config.seed)
    state = init_train_state(
        key if number == 0 else jax.random.fold_in(key, number),
        build_network(config.network, config.objective.n_maps),
        channels,
        objective=config.objective,
        optimiser=config.optimiser,
        n_steps=ordering_of(config, store).n_batches * config.epochs,
        epoch_steps=ordering_of(config, store).n_batches,
        microbatch=rounded_microbatch(config, mesh),
        augmentation=config.augment,
        channel_multiple=_channel_multiple(config, mesh),
    )
    if spectra is None:
        return state
    return replace(state, variables=front_from_principal_components(state.variables, spectra))


def later_state(
    run: Run, store: Store, mesh: Mesh, channels: int, spectra: jax.Array | None = None, *, number: int
) -> TrainState:
    """The state of a later random start of a run: plain, or with normalised features where its turn has come."""
    state = random_state(run.config, store, mesh, channels, spectra, number)
    if not begins_normalised(run.config, number):
        return as_first(state, mesh)
    size = run.config.at_once or run.config.batch_size
    order = np.random.default_rng([run.config.seed, number]).permutation(len(run.ordering.labels))
    draws = pad_draws(draws_of(order, np.ones(len(order), np.float32), size), run.programs.multiple)
    network = build_network(run.config.network, run.config.objective.n_maps)
    measure = jax.jit(
        lambda variables, cube: feature_statistics(network, variables, cube),
        out_shardings=run.programs.train_step.replicated,
    )
    batches = run.train_feed.batches(islice(draws, -(-SAMPLES_TO_NORMALISE // size)))
    everywhere = placed(state.variables, run.programs.train_step.replicated)
    # As arrays of this process, like the state that is to be normalised.
    found = [jax.tree.map(jnp.asarray, jax.device_get(measure(everywhere, batch.cube))) for batch in batches]
    return as_first(replace(state, variables=with_normalised_features(state.variables, found)), mesh)


def initial_state(
    config: Training, store: Store, start: ExtractedNetwork | None, mesh: Mesh, channels: int
) -> TrainState:
    """The first random start, or the network to go on from."""
    state = random_state(config, store, mesh, channels)
    if start is None:
        return state
    own = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state.variables)
    given = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), start.variables)
    if own != given:
        raise RunError(
            f"{config.init_from} holds another network ({start.description['network']}); give the same network, "
            "base, depth, front and pair as it was trained with."
        )
    return replace(state, variables=start.variables)


def as_first(state: TrainState, mesh: Mesh) -> TrainState:
    """The state as process 0 has it, on the devices of all of them: processors of two kinds may round differently."""
    if process_count() == 1:
        return state
    return placed(broadcast_one_to_all(state), NamedSharding(mesh, PartitionSpec()))


def ordering_of(config: Training, store: Store) -> Ordering:
    """How the epochs of a run go through the training samples."""
    labels = tuple(sample.label for sample in store.split("train"))
    return Ordering(labels, config.batch_size, config.seed, config.balance)


def _channel_multiple(config: Training, mesh: Mesh) -> int:
    """Accelerators' matrix units work on multiples of 16 channels; only the package's networks know of padding."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return 1 if on_cpu or config.network.network not in NETWORKS else CHANNEL_MULTIPLE
