"""The mesh of devices that training and prediction run on, and how arrays get there.

A mesh may hold devices of other processes. What lies on it is then put together from what each process has at hand:
``jax.device_put`` would gather it first to compare it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding

Tree = TypeVar("Tree")

DATA_AXIS = "data"
"""Name of the one axis of the device mesh, along which batches are split."""


def data_mesh(n_devices: int | None = None) -> Mesh:
    """A mesh of one axis, ``data``, over all visible devices or the first ``n_devices`` of them."""
    devices = jax.devices()
    if n_devices is not None:
        if not 1 <= n_devices <= len(devices):
            raise ValueError(f"{n_devices} devices asked for; this machine shows {len(devices)}.")
        devices = devices[:n_devices]
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )


def is_shared(sharding: Sharding) -> bool:
    """Whether other processes hold a part of what is laid out so."""
    return not sharding.is_fully_addressable


def placed(tree: Tree, sharding: NamedSharding) -> Tree:
    """Arrays that every process has in full, laid out on the devices; those that lie there already stay as they are."""
    if not is_shared(sharding):
        return jax.device_put(tree, sharding)

    def place(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return (
                leaf
                if leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
                else jax.device_put(leaf, sharding)
            )
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def own_rows(sharding: NamedSharding, rows: int) -> slice:
    """Those of so many rows that lie on devices of this process; a mesh keeps them together."""
    placed_at = sharding.addressable_devices_indices_map((rows,)).values()
    bounds = [index[0].indices(rows) for index in placed_at if index is not None]
    return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def from_own_rows(tree: Tree, sharding: NamedSharding, rows: int) -> Tree:
    """Arrays of so many rows, of which each process gives its own (:func:`own_rows`)."""
    if not is_shared(sharding):
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda own: jax.make_array_from_process_local_data(sharding, np.asarray(own), (rows, *own.shape[1:])),
        tree,
    )
