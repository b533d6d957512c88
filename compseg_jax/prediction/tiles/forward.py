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

from compseg_jax.model.canvas import extent_of, on_canvas
from compseg_jax.model.extracted import ExtractedNetwork, masked_activation
from compseg_jax.model.level import at_odds
from compseg_jax.networks.part import Part, takes_part
from compseg_jax.networks.receptive_field import why_not_local
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.unet import UNet
from compseg_jax.prediction.tiles.plan import Tile, TilePlan, View
from compseg_jax.runtime import DATA_AXIS

PROBED_SIDE_PX = 512
"""Edge of the tile whose program is asked how much memory a network takes of which nothing else is known."""
EXPECTED_FEATURES = 3.25
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
        tiles: Sequence[Tile],
        plan: TilePlan,
    ) -> list[Float[np.ndarray, "v u"]]:
        """Mean activation, over its views, of the core of each tile.

        Args:
          scaled: tiles, as many as the mesh has devices, each alone or in the top left corner of a canvas of zeros.
          tissue: their tissue, likewise.
          tiles: those that count; their views show the same parts of all, where cores may lie differently.
          plan: which they are of.
        """
        views = [plan.views(tile) for tile in tiles]
        totals = [np.zeros((), np.float32)] * len(views)
        for turned in zip(*views, strict=True):
            found = self._on_devices(scaled, tissue, turned, plan)
            for at, view in enumerate(turned):
                totals[at] = totals[at] + view.turn.undo(found[at])[view.inner_y, view.inner_x]
        return [at_odds(total / np.float32(len(views[0])), self.model.odds) for total in totals]

    def _on_devices(
        self, scaled: np.ndarray, tissue: np.ndarray, views: Sequence[View], plan: TilePlan
    ) -> np.ndarray:
        view, transposed = views[0], views[0].turn.transposed
        canvas = plan.canvas_px(self.model.network)
        size = canvas[::-1] if transposed else canvas
        shown = _shown(scaled, view, size), _shown(tissue, view, size)
        extent = extent_of(view.shape, size, self.mesh.size)
        part = _part_of(self.model, plan, views, self.mesh.size)
        placed = jax.device_put((*shown, extent, part), _by_tile(self.mesh))
        part_px = None if part is None else part.size_px
        program = program_of(self.model, self.mesh, size, part_px, padded=extent is not None)
        found = np.asarray(program(variables_on(self.model, self.mesh), *placed))
        return found[:, : view.shape[0], : view.shape[1]]


def _part_of(model: ExtractedNetwork, plan: TilePlan, views: Sequence[View], images: int) -> Part | None:
    """What of tiles must be computed; None where that is all of them. Images beyond the views count for nothing."""
    if plan.part_px is None or not takes_part(model.network):
        return None
    starts = np.zeros((2, images), np.int32)
    starts[:, : len(views)] = np.transpose([plan.part_start(view) for view in views])
    height, width = plan.part_px[::-1] if views[0].turn.transposed else plan.part_px
    return Part(starts[0], starts[1], (height, width))


def _shown(
    tiles: Shaped[np.ndarray, "b y x *c"], view: View, size: tuple[int, int]
) -> Shaped[np.ndarray, "b v u *c"]:
    """The tiles as a view shows them, on canvases; the tiles themselves where it shows them as they were read."""
    if view.is_as_read and tiles.shape[1:3] == size:
        return tiles
    return np.stack([on_canvas(view.turn.apply(tile[view.y, view.x]), size) for tile in tiles])


def _by_tile(mesh: Mesh) -> jax.sharding.Sharding:
    # On one device a plain placement takes the host's memory as it is, without a copy.
    if mesh.size == 1:
        return SingleDeviceSharding(mesh.devices.flat[0])
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


@lru_cache(maxsize=64)
def variables_on(model: ExtractedNetwork, mesh: Mesh) -> Any:
    """The variables of a model on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec()) if mesh.size > 1 else mesh.devices.flat[0]
    return jax.device_put(model.variables, everywhere)


@lru_cache(maxsize=64)
def program_of(
    model: ExtractedNetwork,
    mesh: Mesh,
    canvas: tuple[int, int],
    part_px: tuple[int, int] | None,
    *,
    padded: bool = False,
) -> jax.stages.Compiled:
    """The compiled network for a tile on each device, on canvases that the tiles fill or do not (``padded``)."""
    shape, sharding = (mesh.size, *canvas), _by_tile(mesh)
    scaled = jax.ShapeDtypeStruct((*shape, len(model.scaling.mean)), jnp.float32, sharding=sharding)
    tissue = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=sharding)
    lengths = jax.ShapeDtypeStruct((mesh.size,), jnp.int32, sharding=sharding)
    extent = jax.tree.map(lambda _: lengths, extent_of((1, 1), canvas) if padded else None)
    part = None if part_px is None else Part(lengths, lengths, part_px)
    lowered = masked_activation.lower(model.network, variables_on(model, mesh), scaled, tissue, extent, part)
    return lowered.compile()


def expected_bytes_per_px(model: ExtractedNetwork, mesh: Mesh) -> float:
    """What the program of a network takes for each pixel beside the tile, before it is compiled for its tiles.

    Exact for networks that are not the package's, whose program for a small tile is compiled; a first guess for the
    others.
    """
    if isinstance(model.network, UNet | SegNet) and not why_not_local(model.network):
        return EXPECTED_FEATURES * 4 * model.network.base
    return _program_bytes_per_px(model, mesh, (PROBED_SIDE_PX, PROBED_SIDE_PX), None)


def bytes_per_px(model: ExtractedNetwork, mesh: Mesh, plan: TilePlan) -> float:
    """What the program for the tiles of a plan takes for each of their pixels; the program is kept for them."""
    part_px = plan.part_px if takes_part(model.network) else None
    return _program_bytes_per_px(model, mesh, plan.canvas_px(model.network), part_px)


def _program_bytes_per_px(
    model: ExtractedNetwork, mesh: Mesh, canvas: tuple[int, int], part_px: tuple[int, int] | None
) -> float:
    analysis = program_of(model, mesh, canvas, part_px).memory_analysis()
    taken = 0 if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return float(taken / (canvas[0] * canvas[1]))
