"""Activation maps of images of any size: tiles are read and prepared while the network works on others."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from compseg_jax.model.adaptation import Adapted
from compseg_jax.model.left_out import LeftOut, added, most
from compseg_jax.model.model import alike, averaged
from compseg_jax.model.specimen import CHUNK_ROWS, PreparedSpecimen, Specimen
from compseg_jax.model.training_distribution import DepartureSums
from compseg_jax.prediction.tiles.forward import Forward
from compseg_jax.prediction.tiles.plan import Tile, TilePlan
from compseg_jax.prediction.tiles.tile_memory import BUFFERS, buffers_for
from compseg_jax.spectra.scaling import put_standardised

Looks = list[tuple[DepartureSums, np.ndarray] | None]
"""What each network's training distribution says of the core of a tile."""
ALIGNMENT_BYTES = 64
"""Of arrays that jax on CPUs takes as they are instead of copying them."""
WRITES_BEHIND = 2
MOST_READERS = 8


@runtime_checkable
class Sink(Protocol):
    """Where the cores of finished tiles go."""

    def write(
        self, tile: Tile, activation: Float[np.ndarray, "y x"], tissue: Bool[np.ndarray, "y x"]
    ) -> None:
        """Takes the core of one tile; called once for each, from one thread."""


class Judged(NamedTuple):
    """How far the core of a tile lies outside of what the networks were trained on, and what they did not see of it.

    Attributes:
      sums: of each network; None for those that keep no training distribution.
      unfamiliarity: as :class:`compseg_jax.model.Prediction` has it; None where no network can say.
      left_out: pixels of the core that no network saw though they are not background, by reason.
    """

    sums: tuple[DepartureSums | None, ...]
    unfamiliarity: Float[np.ndarray, "y x"] | None
    left_out: LeftOut

    @classmethod
    def of(
        cls,
        found: Sequence[tuple[DepartureSums, Float[np.ndarray, "y x"]] | None],
        left_out: Sequence[LeftOut],
    ) -> Judged:
        """What the networks say, in their order, and what each preparation left out."""
        ratios = [each[1] for each in found if each is not None]
        return cls(
            tuple(None if each is None else each[0] for each in found),
            np.mean(ratios, axis=0) if ratios else None,
            most(left_out),
        )


Groups = tuple[tuple[PreparedSpecimen, tuple[Forward, ...]], ...]
"""An image after each distinct preparation, with the networks that take it so."""
Loaded = tuple[np.ndarray, np.ndarray, list[LeftOut]]


class FirstRead(NamedTuple):
    """The first tiles of a plan, on their way into their buffer."""

    plan: TilePlan
    buffer: np.ndarray
    loaded: Future[Loaded]


class Ahead:
    """Reads the first tiles of a plan while its program is compiled, which keeps one processor busy."""

    def __init__(
        self, members: Sequence[Adapted], specimen: Specimen, mesh: Mesh, memory_bytes: float
    ) -> None:
        self._given = members, specimen, mesh
        self._memory_bytes = memory_bytes
        self._first: FirstRead | None = None
        self._reader = ThreadPoolExecutor(1, "compseg-ahead")

    def begin(self, plan: TilePlan) -> None:
        """Begins to read; what was read for another plan is let go first. Raises as :meth:`Slide.of` does."""
        if self._first is not None:
            wait([self._first.loaded])
            self._first = None
        slide = Slide(plan, self._groups, self._given[2])
        batches = list(plan.batches(slide.mesh.size))
        buffer = slide._buffer(batches)
        self._first = FirstRead(plan, buffer, self._reader.submit(slide._load, batches[0], 0, buffer))

    def slide_of(self, plan: TilePlan) -> Slide:
        """The image by a plan, with its first tiles where they are those that were begun; once only."""
        first, self._first = self._first, None
        members, specimen, mesh = self._given
        slide = Slide.of(members, specimen, plan, mesh, memory_bytes=self._memory_bytes, groups=self._groups)
        return replace(slide, first=first if first and first.plan is plan else None)

    @cached_property
    def _groups(self) -> Groups:
        return _groups_of(*self._given, self._memory_bytes)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()


@dataclass(frozen=True, eq=False)
class Slide:
    """An image with the networks that predict it, ready to go.

    Attributes:
      plan: its tiles.
      groups: the image after each distinct preparation, with the networks that take it so.
      mesh: devices.
      buffers: batches of tiles in memory, 1 or `BUFFERS`.
      first: the first tiles, where they were begun to be read.
    """

    plan: TilePlan
    groups: Groups
    mesh: Mesh
    buffers: int = BUFFERS
    first: FirstRead | None = None

    @classmethod
    def of(
        cls,
        members: Sequence[Adapted],
        specimen: Specimen,
        plan: TilePlan,
        mesh: Mesh,
        *,
        memory_bytes: float,
        groups: Groups | None = None,
    ) -> Slide:
        """Makes the surveys of the image that its preparation needs, unless its ``groups`` are there.

        Raises:
          ModelError, PreparationError: when the image does not fit the preparation.
        """
        groups = groups or _groups_of(members, specimen, mesh, memory_bytes)
        return cls(plan, groups, mesh, buffers_for(members, mesh, plan, memory_bytes))

    def predict(
        self,
        sink: Sink,
        *,
        done: Collection[int] = (),
        progress: Callable[[int], None] = lambda pixels: None,
        stop: Callable[[], bool] = lambda: False,
        judged: Callable[[Tile, Judged], None] = lambda tile, judged: None,
    ) -> bool:
        """Predicts all tiles that are not done; a tile is written while others are computed.

        Args:
          sink: where the cores of tiles go.
          done: numbers of tiles that are finished already.
          progress: called with the pixels of each finished tile.
          stop: asked between tiles; when it says so, what was computed is written and the rest left.
          judged: called with how far each finished tile lies outside of training, before it goes to the sink.

        Returns:
          Whether everything is done.
        """
        batches = list(self.plan.batches(self.mesh.size, done))
        items = [(tiles, number) for tiles in batches for number in range(len(self.groups))]
        first = None if done else self.first
        memory = [] if first is None else [first.buffer]
        memory += [self._buffer(batches) for _ in range(min(self.buffers, len(items)) - len(memory))]
        buffers = itertools.cycle(memory)
        writes: deque[Future[None]] = deque()

        def finish(
            tiles: list[Tile],
            activation: list[np.ndarray],
            tissue: list[np.ndarray],
            looks: list[Looks],
            unseen: list[list[LeftOut]],
        ) -> None:
            for tile, own, left_out, *maps in zip(tiles, looks, unseen, activation, tissue, strict=True):
                judged(tile, Judged.of(own, left_out))
                sink.write(tile, *maps)
                progress(tile.core_px)

        with (
            ThreadPoolExecutor(1, "compseg-read") as reader,
            ThreadPoolExecutor(1, "compseg-write") as writer,
        ):
            following = iter(items)
            pending: deque[Future[Loaded]] = deque()

            def read_next() -> None:
                for item in itertools.islice(following, 1):
                    pending.append(reader.submit(self._load, *item, next(buffers)))

            if first is None:
                read_next()
            else:
                pending.append(first.loaded)
                next(following)
                next(buffers)
            total: list[np.ndarray] = []
            kept: list[np.ndarray] = []
            looks: list[Looks] = []
            unseen: list[list[LeftOut]] = []
            networks = sum(len(networks) for _, networks in self.groups)
            for place, (tiles, number) in enumerate(items):
                scaled, tissue, left_out = pending.popleft().result()
                if self.buffers > 1:
                    read_next()
                found, own, looked = self._forward(tiles, number, scaled, tissue)
                if self.buffers == 1:
                    read_next()
                total = [a + b for a, b in zip(total, found, strict=True)] if number else found
                kept = [a | b for a, b in zip(kept, own, strict=True)] if number else own
                looks = [[*a, *b] for a, b in zip(looks, looked, strict=True)] if number else looked
                unseen = [[*(unseen[at] if number else ()), each] for at, each in enumerate(left_out)]
                if number + 1 < len(self.groups):
                    continue
                mean = [averaged([each], networks) for each in total]
                writes.append(writer.submit(finish, tiles, mean, kept, looks, unseen))
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
        pixels = max((math.prod(self._canvas(tiles[0].shape)) for tiles in batches), default=0)
        values = np.empty(self.mesh.size * pixels * channels + ALIGNMENT_BYTES // 4, np.float32)
        offset = -values.ctypes.data % ALIGNMENT_BYTES // 4
        return values[offset : offset + self.mesh.size * pixels * channels]

    def _canvas(self, tile_px: tuple[int, int]) -> tuple[int, int]:
        """What a tile is read into: the largest canvas that a network is shown it on, or more where turns need more."""
        sizes = [
            tile_px,
            *(self.plan.canvas_px(each.model.network) for _, group in self.groups for each in group),
        ]
        return max(height for height, _ in sizes), max(width for _, width in sizes)

    def _load(self, tiles: list[Tile], number: int, buffer: np.ndarray) -> Loaded:
        """Tiles after the preparation of a group, on canvases, scaled where one network takes them; pixels left out."""
        prepared, networks = self.groups[number]
        height, width = tiles[0].shape
        shape = self.mesh.size, *self._canvas(tiles[0].shape), len(networks[0].model.scaling.mean)
        absorbance = buffer[: int(np.prod(shape))].reshape(shape)
        tissue = np.zeros(shape[:3], bool)
        scaling = networks[0].model.scaling if len(networks) == 1 else None
        absorbance[len(tiles) :] = absorbance[:, height:] = absorbance[:, :height, width:] = 0
        # While the network works it has the processors; while it waits, all of them read.
        threads = 1 if self.buffers > 1 else min(MOST_READERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads, "compseg-fill") as fillers:
            parts: list[list[Future[dict[str, int]]]] = []
            for at, tile in enumerate(tiles):
                parts.append([])
                core = tile.y.core, tile.x.core
                for rows in _strips(tile.y.window, threads):
                    inner = slice(rows.start - tile.y.start, rows.stop - tile.y.start)
                    place = absorbance[at, inner, :width], tissue[at, inner, :width]
                    filled = fillers.submit(prepared.read_into, rows, tile.x.window, *place, scaling, core)
                    parts[-1].append(filled)
            left_out: list[LeftOut] = [added([part.result() for part in own]) for own in parts]
        return absorbance, tissue, left_out

    def _forward(
        self, tiles: list[Tile], number: int, absorbance: np.ndarray, tissue: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[Looks]]:
        """Sum of the maps of a group's networks over the core of each tile, its tissue, and how unfamiliar it is."""
        _, networks = self.groups[number]
        cores = [each[tile.y.inner, tile.x.inner].copy() for tile, each in zip(tiles, tissue, strict=False)]
        total = [np.zeros(core.shape, np.float32) for core in cores]
        looks: list[Looks] = [[None] * len(networks) for _ in tiles]
        if any(core.any() for core in cores):
            for place, (network, scaled) in enumerate(_each(networks, absorbance, tissue)):
                found = network(scaled, tissue, tiles, self.plan)
                total = [a + b for a, b in zip(total, found, strict=True)]
                distribution = network.model.distribution
                if distribution is None:
                    continue
                for at, tile in enumerate(tiles):
                    looks[at][place] = distribution.look(scaled[at], tissue[at], (tile.y.inner, tile.x.inner))
        return total, cores, looks


def _groups_of(members: Sequence[Adapted], specimen: Specimen, mesh: Mesh, memory_bytes: float) -> Groups:
    return tuple(
        (
            PreparedSpecimen.of(specimen, group[0].preparation, most_bytes=memory_bytes),
            tuple(Forward(member.network, mesh) for member in group),
        )
        for group in alike(members)
    )


def _each(
    networks: tuple[Forward, ...], absorbance: np.ndarray, tissue: np.ndarray
) -> Iterator[tuple[Forward, np.ndarray]]:
    """Every network with the tiles on its scale."""
    if len(networks) == 1:
        yield networks[0], absorbance
        return
    for network in networks:
        scaled = np.empty_like(absorbance)
        put_standardised(absorbance, tissue, network.model.scaling, scaled)
        yield network, scaled


def _strips(rows: slice, n: int) -> list[slice]:
    """Rows in ``n`` strips or fewer that meet where bands do."""
    height = -(-(rows.stop - rows.start) // n)
    edges = [rows.start + number * height for number in range(1, n)]
    edges = [edge - edge % CHUNK_ROWS for edge in edges if rows.start < edge - edge % CHUNK_ROWS < rows.stop]
    return [slice(*pair) for pair in itertools.pairwise([rows.start, *sorted({*edges}), rows.stop])]
