"""Tiles through networks: scaled on the host, sharded over the devices, averaged over turns and networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import Bool, Float, Shaped

from compseg_jax.model.extracted import ExtractedNetwork, masked_activation
from compseg_jax.networks.receptive_field import why_not_local
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.unet import UNet
from compseg_jax.prediction.tiles.plan import View
from compseg_jax.runtime import DATA_AXIS

PROBED_SIDE_PX = 512
"""Edge of the tile whose program is asked how much memory a network takes of which nothing else is known."""
EXPECTED_FEATURES = 4.25
"""Of the first level, as floats a pixel: what the programs of U-Nets take at their widest, at the last merge."""


@dataclass(frozen=True, eq=False)
class Forward:
    """One network on the devices of a mesh, tile by tile.

    Attributes:
      model: the network.
      mesh: one tile goes to each of its devices.
    """

    model: ExtractedNetwork
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
        by_tile = _by_tile(self.mesh)
        placed = jax.device_put(scaled, by_tile), jax.device_put(tissue, by_tile)
        program = _program(self.model, self.mesh, scaled.shape[1:3])
        return np.asarray(program(_placed(self.model, self.mesh), *placed))


def _shown(tiles: Shaped[np.ndarray, "b y x *c"], view: View) -> Shaped[np.ndarray, "b v u *c"]:
    """The tiles as a view shows them; the tiles themselves where it shows them as they were read."""
    if not any(view.turn) and (view.y, view.x) == tuple(slice(0, size) for size in tiles.shape[1:3]):
        return tiles
    return np.stack([view.turn.apply(tile[view.y, view.x]) for tile in tiles])


def _by_tile(mesh: Mesh) -> jax.sharding.Sharding:
    # On one device a plain placement takes the host's memory as it is, without a copy.
    if mesh.size == 1:
        return SingleDeviceSharding(mesh.devices.flat[0])
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


@lru_cache(maxsize=64)
def _placed(model: ExtractedNetwork, mesh: Mesh) -> Any:
    """The variables of a model on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec()) if mesh.size > 1 else mesh.devices.flat[0]
    return jax.device_put(model.variables, everywhere)


@lru_cache(maxsize=64)
def _program(model: ExtractedNetwork, mesh: Mesh, tile_px: tuple[int, int]) -> jax.stages.Compiled:
    """The compiled network for a tile on each device."""
    shape, sharding = (mesh.size, *tile_px), _by_tile(mesh)
    scaled = jax.ShapeDtypeStruct((*shape, len(model.scaling.mean)), jnp.float32, sharding=sharding)
    tissue = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=sharding)
    return masked_activation.lower(model.network, _placed(model, mesh), scaled, tissue).compile()


def expected_bytes_per_px(model: ExtractedNetwork, mesh: Mesh) -> float:
    """What the program of a network takes for each pixel beside the tile, before it is compiled for its tiles.

    Exact for networks that are not the package's, whose program for a small tile is compiled; a first guess for the
    others.
    """
    if isinstance(model.network, UNet | SegNet) and not why_not_local(model.network):
        return EXPECTED_FEATURES * 4 * model.network.base
    return bytes_per_px(model, mesh, (PROBED_SIDE_PX, PROBED_SIDE_PX))


def bytes_per_px(model: ExtractedNetwork, mesh: Mesh, tile_px: tuple[int, int]) -> float:
    """What the program for tiles of a size takes for each pixel beside the tile; the program is kept for them."""
    analysis = _program(model, mesh, tile_px).memory_analysis()
    taken = 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return float(taken / (tile_px[0] * tile_px[1]))
