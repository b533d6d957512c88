"""Activation maps of images of any size: tiles are read and prepared while the network works on others."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from compseg_jax.bundle import ModelError, SegmentingModel
from compseg_jax.networks.receptive_field import ReceptiveField, receptive_field, why_not_local
from compseg_jax.predict.axis import preparation_for
from compseg_jax.predict.forward import Forward, network_bytes_per_px
from compseg_jax.predict.plan import SMALLEST_TILE_PX, Tile, TilePlan, Turn, plan_tiles
from compseg_jax.predict.reading import PreparedSpecimen, Specimen, put_scaled
from compseg_jax.spectra.preparation import Preparation

BUFFERS = 2
"""Tiles in memory: one is filled while the network works on the other."""
ALIGNMENT_BYTES = 64
"""Of arrays that jax on CPUs takes as they are instead of copying them."""
WRITES_BEHIND = 2
DEVICE_SHARE = 0.7
"""Of an accelerator's memory that tiles and what the network makes of them may take."""


class Sink(Protocol):
    """Where the cores of finished tiles go."""

    def write(
        self, tile: Tile, activation: Float[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]
    ) -> None:
        """Takes the core of one tile; called once for each, from one thread."""


class Member(NamedTuple):
    """A network, and what the spectra of the image at hand go through before it."""

    model: SegmentingModel
    preparation: Preparation | None


def members_for(
    models: Sequence[SegmentingModel], steps: Sequence[Preparation | None], specimen: Specimen
) -> tuple[Member, ...]:
    """The networks with their preparation of one image; equal steps must be one object, and stay one.

    Raises:
      ModelError: when the image does not fit a network.
    """
    known: dict[tuple[int, bytes], Preparation | None] = {}
    members = []
    for model, each in zip(models, steps, strict=True):
        axis = model.wavenumbers_cm1
        key = id(each), b"" if axis is None else axis.tobytes()
        if key not in known:
            known[key] = preparation_for(model, each, specimen.scan)
        members.append(Member(model, known[key]))
    return tuple(members)


def reach_of(models: Sequence[SegmentingModel]) -> ReceptiveField | None:
    """The reach of the networks, which must agree; None where an image must stay whole."""
    fields = {receptive_field(model.network) for model in models}
    return fields.pop() if len(fields) == 1 else None


def plan_for(
    members: Sequence[Member], specimen: Specimen, mesh: Mesh, turns: tuple[Turn, ...], *, memory_bytes: float
) -> TilePlan:
    """Tiles of an image that keep within a memory.

    Args:
      members: the networks.
      specimen: the image.
      mesh: devices, each of which gets a tile at a time.
      turns: how tiles are shown to the networks.
      memory_bytes: what tiles and networks may take.

    Raises:
      ModelError: when a network must see the image whole, or needs margins so wide, that the memory does not do.
    """
    models = [member.model for member in members]
    field, shape = reach_of(models), specimen.shape_px
    if shape[0] * shape[1] <= SMALLEST_TILE_PX:
        return TilePlan(shape, shape, field, turns)
    bytes_per_px, most_px = _memory(members, mesh, turns, memory_bytes)
    plan = plan_tiles(shape, field, most_px, turns=turns, at_once=mesh.size)
    if plan is not None:
        return plan
    source = specimen.scan.provenance.get("source", "the image")
    if field is None:
        reasons = {why_not_local(model.network) for model in models} - {""}
        why = ", ".join(sorted(reasons)) or "its networks differ in depth"
        needed = shape[0] * shape[1] * bytes_per_px / 2**30
        raise ModelError(
            f"{source}: this model must see an image whole ({why}). {shape[0]}×{shape[1]} pixels take about "
            f"{needed:.1f} GiB; allowed are {memory_bytes / 2**30:.1f}. Raise --memory-gib, or cut the image."
        )
    least = 2 * field.margin + 2 * field.multiple
    raise ModelError(
        f"{source}: the network needs a margin of {field.margin} pixels, so a tile takes at least "
        f"{least**2 * bytes_per_px / 2**30:.1f} GiB; allowed are {memory_bytes / 2**30:.1f}. Raise --memory-gib."
    )


def _memory(
    members: Sequence[Member], mesh: Mesh, turns: tuple[Turn, ...], memory_bytes: float
) -> tuple[float, float]:
    """Bytes for each pixel of a tile, and pixels that a tile may have."""
    models = [member.model for member in members]
    tile = 4 * max(len(model.scaling.mean) for model in models) + 1
    shared = len({id(member.preparation) for member in members}) < len(members)
    copies = BUFFERS + shared + (len(turns) > 1)
    network = max(network_bytes_per_px(model) for model in models)
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        bytes_per_px = copies * tile + network
        return bytes_per_px, memory_bytes / (bytes_per_px * mesh.size)
    statistics = device.memory_stats() or {}
    on_device = statistics.get("bytes_limit", memory_bytes) * DEVICE_SHARE / (2 * tile + network)
    return float(copies * tile), min(memory_bytes / (copies * tile * mesh.size), on_device)


@dataclass(frozen=True, eq=False)
class Slide:
    """An image with the networks that predict it, ready to go.

    Attributes:
      plan: its tiles.
      groups: the image behind each distinct preparation, with the networks that take it so.
      mesh: devices.
    """

    plan: TilePlan
    groups: tuple[tuple[PreparedSpecimen, tuple[Forward, ...]], ...]
    mesh: Mesh

    @classmethod
    def of(
        cls, members: Sequence[Member], specimen: Specimen, plan: TilePlan, mesh: Mesh, *, memory_bytes: float
    ) -> Slide:
        """Makes the surveys of the image that its preparation needs.

        Raises:
          ModelError, PreparationError: when the image does not fit the preparation.
        """
        alike: dict[int, list[Member]] = {}
        for member in members:
            alike.setdefault(id(member.preparation), []).append(member)
        groups = tuple(
            (
                PreparedSpecimen.of(specimen, group[0].preparation, most_bytes=memory_bytes),
                tuple(Forward(member.model, mesh) for member in group),
            )
            for group in alike.values()
        )
        return cls(plan, groups, mesh)

    def predict(
        self,
        sink: Sink,
        *,
        done: Collection[int] = (),
        progress: Callable[[int], None] = lambda pixels: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Predicts all tiles that are not done; a tile is written while others are computed.

        Args:
          sink: where the cores of tiles go.
          done: numbers of tiles that are finished already.
          progress: called with the pixels of each finished tile.
          stop: asked between tiles; when it says so, what was computed is written and the rest left.

        Returns:
          Whether everything is done.
        """
        batches = list(self.plan.batches(self.mesh.size, done))
        items = [(tiles, number) for tiles in batches for number in range(len(self.groups))]
        buffers = itertools.cycle([self._buffer(batches) for _ in range(min(BUFFERS, len(items)))])
        writes: deque[Future[None]] = deque()

        def finish(tiles: list[Tile], activation: list[np.ndarray], tissue: list[np.ndarray]) -> None:
            for tile, *maps in zip(tiles, activation, tissue, strict=True):
                sink.write(tile, *maps)
                progress(tile.core_px)

        with (
            ThreadPoolExecutor(1, "compseg-read") as reader,
            ThreadPoolExecutor(1, "compseg-write") as writer,
        ):
            pending = deque(reader.submit(self._load, *item, next(buffers)) for item in items[:1])
            total: list[np.ndarray] = []
            kept: list[np.ndarray] = []
            networks = sum(len(networks) for _, networks in self.groups)
            for place, (tiles, number) in enumerate(items):
                scaled, tissue = pending.popleft().result()
                for item in items[place + 1 : place + 2]:
                    pending.append(reader.submit(self._load, *item, next(buffers)))
                found, own = self._forward(tiles, number, scaled, tissue)
                total = [a + b for a, b in zip(total, found, strict=True)] if number else found
                kept = [a | b for a, b in zip(kept, own, strict=True)] if number else own
                if number + 1 < len(self.groups):
                    continue
                mean = [np.clip(each / np.float32(networks), 0, 1) for each in total]
                writes.append(writer.submit(finish, tiles, mean, kept))
                while len(writes) > WRITES_BEHIND:
                    writes.popleft().result()
                if stop() and place + 1 < len(items):
                    break
            for write in writes:
                write.result()
            return place + 1 == len(items) if items else True

    def _buffer(self, batches: list[list[Tile]]) -> np.ndarray:
        """Memory for the largest batch, used again for every other one."""
        channels = max(len(networks[0].model.scaling.mean) for _, networks in self.groups)
        pixels = max((height * width for tiles in batches for height, width in [tiles[0].shape]), default=0)
        values = np.empty(self.mesh.size * pixels * channels + ALIGNMENT_BYTES // 4, np.float32)
        offset = -values.ctypes.data % ALIGNMENT_BYTES // 4
        return values[offset : offset + self.mesh.size * pixels * channels]

    def _load(self, tiles: list[Tile], number: int, buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tiles behind the preparation of a group, scaled where one network takes them."""
        prepared, networks = self.groups[number]
        shape = self.mesh.size, *tiles[0].shape, len(networks[0].model.scaling.mean)
        absorbance = buffer[: int(np.prod(shape))].reshape(shape)
        tissue = np.zeros(shape[:3], bool)
        scaling = networks[0].model.scaling if len(networks) == 1 else None
        for at, tile in enumerate(tiles):
            prepared.read_into(tile.y.window, tile.x.window, absorbance[at], tissue[at], scaling)
        absorbance[len(tiles) :] = 0
        return absorbance, tissue

    def _forward(
        self, tiles: list[Tile], number: int, absorbance: np.ndarray, tissue: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Sum of the maps of a group's networks over the core of each tile, and its tissue."""
        _, networks = self.groups[number]
        cores = [each[tile.y.inner, tile.x.inner].copy() for tile, each in zip(tiles, tissue, strict=False)]
        total = [np.zeros(core.shape, np.float32) for core in cores]
        if any(core.any() for core in cores):
            views = [self.plan.views(tile) for tile in tiles]
            for network, scaled in _each(networks, absorbance, tissue):
                total = [a + b for a, b in zip(total, network(scaled, tissue, views), strict=True)]
        return total, cores


def _each(
    networks: tuple[Forward, ...], absorbance: np.ndarray, tissue: np.ndarray
) -> Iterator[tuple[Forward, np.ndarray]]:
    """Every network with the tiles on its scale."""
    if len(networks) == 1:
        yield networks[0], absorbance
        return
    for network in networks:
        scaled = np.empty_like(absorbance)
        put_scaled(absorbance, tissue, scaled, network.model.scaling)
        yield network, scaled
