"""Tiles that keep within a memory, for the networks that see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jax.sharding import Mesh

from compseg_jax.model.adaptation import Adapted
from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.specimen import Specimen
from compseg_jax.networks.receptive_field import ReceptiveField, receptive_field, why_not_local
from compseg_jax.prediction.tiles.forward import bytes_per_px, expected_bytes_per_px
from compseg_jax.prediction.tiles.plan import SMALLEST_TILE_PX, TilePlan, Turn, plan_tiles

BUFFERS = 2
"""Tiles in memory: one is filled while the network works on the other. Where memory does for one only, or where one
larger tile saves more than waiting for it costs, there is one, and all processors fill it."""
WORTH_WAITING = 0.96
"""Pixels computed with one larger buffer, for each one computed with two, below which one is taken."""
GUESSED_WELL = 1.03
DEVICE_SHARE = 0.7
"""Of an accelerator's memory that tiles and what the network makes of them may take."""


def reach_of(models: Sequence[ExtractedNetwork]) -> ReceptiveField | None:
    """The reach of the networks, which must agree; None where an image must stay whole.

    Pixels that are judged with their neighbourhood may reach further than a network without poolings.
    """
    fields = {receptive_field(model.network) for model in models}
    field = fields.pop() if len(fields) == 1 else None
    judged = max((model.distribution.reach_px for model in models if model.distribution), default=0)
    if field is None or judged <= field.margin:
        return field
    return replace(field, bottom=field.bottom + judged - field.margin)


def plan_for(
    members: Sequence[Adapted],
    specimen: Specimen,
    mesh: Mesh,
    turns: tuple[Turn, ...],
    *,
    memory_bytes: float,
    compiling: Callable[[TilePlan], None] = lambda plan: None,
) -> TilePlan:
    """Tiles of an image that keep within a memory.

    Args:
      members: the networks.
      specimen: the image.
      mesh: devices, each of which gets a tile at a time.
      turns: how tiles are shown to the networks.
      memory_bytes: what tiles and networks may take.
      compiling: called with a plan, which is probably the one, before its program is compiled to see what it takes.

    Raises:
      ModelError: when a network must see the image whole, or needs margins so wide, that the memory does not do.
    """
    models = [member.network for member in members]
    field, shape = reach_of(models), specimen.shape_px
    if shape[0] * shape[1] <= SMALLEST_TILE_PX:
        return TilePlan(shape, shape, field, turns)
    network = max(expected_bytes_per_px(model, mesh) for model in models)
    while True:
        memory = TileMemory.of(members, mesh, turns, network)
        plans = [
            plan_tiles(shape, field, memory.most_px(buffers, memory_bytes), turns=turns, at_once=mesh.size)
            for buffers in (BUFFERS, 1)
        ]
        plan = plans[0]
        if plans[1] is not None and (plan is None or plans[1].overlap < WORTH_WAITING * plan.overlap):
            plan = plans[1]
        if plan is None:
            raise ModelError(f"{specimen.source}: {_too_large(models, field, shape, memory, memory_bytes)}")
        compiling(plan)
        found = max(bytes_per_px(model, mesh, plan) for model in models)
        if found <= GUESSED_WELL * network:
            return plan
        network = found


def _too_large(
    models: Sequence[ExtractedNetwork],
    field: ReceptiveField | None,
    shape: tuple[int, int],
    memory: TileMemory,
    memory_bytes: float,
) -> str:
    allowed = f"allowed are {memory_bytes / 2**30:.1f}. Raise --memory-gib"
    if field is None:
        reasons = {why_not_local(model.network) for model in models} - {""}
        why = ", ".join(sorted(reasons)) or "its networks differ in their reach"
        needed = shape[0] * shape[1] * memory.bytes_per_px(1) / 2**30
        return (
            f"this model must see an image whole ({why}). {shape[0]}×{shape[1]} pixels take about {needed:.1f} GiB; "
            f"{allowed}, or cut the image."
        )
    needed = (2 * field.margin + 2 * field.multiple) ** 2 * memory.bytes_per_px(1) * memory.devices / 2**30
    return f"the network needs a margin of {field.margin} pixels, so a tile takes at least {needed:.2f} GiB; {allowed}."


@dataclass(frozen=True)
class TileMemory:
    """Memory that tiles take, in bytes for each of their pixels.

    Attributes:
      tile: of the spectra and the tissue.
      copies: of them beside the buffers.
      network: of the compiled network.
      devices: which work at the same time.
      on_device: memory of an accelerator for them, None where they share the host's.
    """

    tile: float
    copies: int
    network: float
    devices: int
    on_device: float | None

    @classmethod
    def of(
        cls, members: Sequence[Adapted], mesh: Mesh, turns: tuple[Turn, ...], network: float
    ) -> TileMemory:
        """For networks on a mesh that take ``network`` bytes a pixel."""
        tile = 4 * max(len(member.network.scaling.mean) for member in members) + 1
        shared = len({id(member.preparation) for member in members}) < len(members)
        device = mesh.devices.flat[0]
        limit = None
        if device.platform != "cpu":
            limit = (device.memory_stats() or {}).get("bytes_limit")
        return cls(tile, shared + (len(turns) > 1), network, mesh.size, limit)

    def bytes_per_px(self, buffers: int) -> float:
        """Of the host, for each tile in hand."""
        return (buffers + self.copies) * self.tile + (self.network if self.on_device is None else 0.0)

    def most_px(self, buffers: int, memory_bytes: float) -> float:
        """Pixels that a tile may have."""
        on_host = memory_bytes / (self.bytes_per_px(buffers) * self.devices)
        if self.on_device is None:
            return on_host
        return min(on_host, DEVICE_SHARE * self.on_device / (2 * self.tile + self.network))


def buffers_for(members: Sequence[Adapted], mesh: Mesh, plan: TilePlan, memory_bytes: float) -> int:
    """How many batches of a plan's tiles are held at once: `BUFFERS`, or 1 where memory does not do for more."""
    largest = max(height * width for height, width in (tile.shape for tile in plan.tiles))
    if largest <= SMALLEST_TILE_PX:
        return BUFFERS
    models = [member.network for member in members]
    network = max(bytes_per_px(model, mesh, plan) for model in models)
    memory = TileMemory.of(members, mesh, plan.turns, network)
    return BUFFERS if largest <= memory.most_px(BUFFERS, memory_bytes) else 1
