"""Tiles through networks: scaled on the host, sharded over the devices, averaged over turns and networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Shaped

from compseg_jax.bundle import SegmentingModel
from compseg_jax.networks.build import Variables
from compseg_jax.objective.activation import activation_map
from compseg_jax.predict.plan import View
from compseg_jax.runtime import DATA_AXIS

PROBED_SIDE_PX = 256
"""Edge of the tile whose program is asked how much memory it takes; memory grows with the area."""


@partial(jax.jit, static_argnums=0)
def _activation(
    network: nn.Module, variables: Variables, scaled: Float[Array, "b y x c"], tissue: Bool[Array, "b y x"]
) -> Float[Array, "b y x"]:
    return jnp.where(tissue, activation_map(network, variables, scaled, tissue), 0.0)


@dataclass(frozen=True, eq=False)
class Forward:
    """One network on the devices of a mesh, tile by tile.

    Attributes:
      model: the network.
      mesh: one tile goes to each of its devices.
    """

    model: SegmentingModel
    mesh: Mesh

    def __call__(
        self,
        scaled: Float[np.ndarray, "b y x c"],
        tissue: Bool[np.ndarray, "b y x"],
        views: Sequence[Sequence[View]],
    ) -> list[Float[np.ndarray, "v u"]]:
        """Mean activation, over its views, of the core of each tile.

        Args:
          scaled: tiles, as many as the mesh has devices.
          tissue: their tissue.
          views: of each tile that counts; they show the same parts of all tiles, where cores may lie differently.
        """
        totals = [np.zeros((), np.float32)] * len(views)
        for turned in zip(*views, strict=True):
            found = self._on_devices(_shown(scaled, turned[0]), _shown(tissue, turned[0]))
            for at, view in enumerate(turned):
                totals[at] = totals[at] + view.turn.undo(found[at])[view.inner_y, view.inner_x]
        return [total / np.float32(len(views[0])) for total in totals]

    def _on_devices(self, scaled: np.ndarray, tissue: np.ndarray) -> np.ndarray:
        if self.mesh.size == 1:
            device = self.mesh.devices.flat[0]
            placed = jax.device_put(scaled, device), jax.device_put(tissue, device)
        else:
            by_tile = NamedSharding(self.mesh, PartitionSpec(DATA_AXIS))
            placed = jax.device_put(scaled, by_tile), jax.device_put(tissue, by_tile)
        return np.asarray(_activation(self.model.network, _placed(self.model, self.mesh), *placed))


def _shown(tiles: Shaped[np.ndarray, "b y x *c"], view: View) -> Shaped[np.ndarray, "b v u *c"]:
    """The tiles as a view shows them; the tiles themselves where it shows them as they were read."""
    if not any(view.turn) and (view.y, view.x) == tuple(slice(0, size) for size in tiles.shape[1:3]):
        return tiles
    return np.stack([view.turn.apply(tile[view.y, view.x]) for tile in tiles])


@lru_cache(maxsize=64)
def _placed(model: SegmentingModel, mesh: Mesh) -> Any:
    """The variables of a model on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec()) if mesh.size > 1 else mesh.devices.flat[0]
    return jax.device_put(model.variables, everywhere)


@lru_cache(maxsize=64)
def network_bytes_per_px(model: SegmentingModel) -> float:
    """Bytes that the program of a network takes for each pixel of a tile beside the tile itself."""
    side = PROBED_SIDE_PX
    shapes = jax.eval_shape(
        lambda: (jnp.zeros((1, side, side, len(model.scaling.mean))), jnp.zeros((1, side, side), bool))
    )
    program = _activation.lower(model.network, model.variables, *shapes).compile()
    analysis = program.memory_analysis()
    taken = 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return float(math.ceil(taken / side**2))
