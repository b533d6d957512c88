"""Scaled batches on the devices: all samples kept there, or read ahead from the store.

Both feeds scale with the same compiled function and give the same batches. Where devices of several processes take
part, the samples are read ahead, and each process reads those of its own devices alone.
"""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from compseg_jax.runtime import DATA_AXIS
from compseg_jax.runtime.devices import from_own_rows, is_shared, own_rows, placed
from compseg_jax.spectra.scaling import Scaling, standardise
from compseg_jax.training.batch import Batch
from compseg_jax.training.order import Draw
from compseg_jax.training.samples import Samples, Shapes

BATCHES_READ_AHEAD = 2
SAMPLES_READ_AHEAD = 4
DType = Any


class ResidentFeed:
    """All samples scaled once and kept on every device; a batch is gathered there by index.

    Attributes:
      samples: all samples as one batch, on the devices.
    """

    def __init__(self, samples: Samples, mesh: Mesh, dtype: DType = jnp.float32) -> None:
        self._everywhere = everywhere = NamedSharding(mesh, PartitionSpec())
        scale = _scaler(samples.scaling, dtype)
        whole: Batch | None = None
        for index, raw in enumerate(_read_ahead(samples)):
            scaled = scale(placed(raw, everywhere))
            if whole is None:
                whole = _room_for(len(samples.samples), scaled, everywhere)
            whole = _with_sample(whole, scaled, np.int32(index))
        assert whole is not None, "a split holds at least one sample (compseg_jax.store.check)"
        self.samples = whole
        self._by_sample = by_sample = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        self._gather = jax.jit(
            gathered, in_shardings=(everywhere, by_sample, by_sample), out_shardings=by_sample
        )

    def marked(self, samples: Samples) -> ResidentFeed:
        """A feed of the same cubes, with the marks of ``samples``."""
        feed = copy.copy(self)
        marks = placed(samples.references(samples.samples), self._everywhere)
        feed.samples = replace(self.samples, reference=jnp.asarray(marks))
        return feed

    def batches(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """The batches of ``draws``, on the devices; each draw must hold a multiple of the devices."""
        for draw in draws:
            drawn = draw.indices.astype(np.int32), draw.weights
            yield self._gather(self.samples, *placed(drawn, self._by_sample))


def _read_ahead(samples: Samples) -> Iterator[Batch]:
    """Every sample as a raw batch of one, some being read while others are used."""
    n = len(samples.samples)
    with ThreadPoolExecutor(SAMPLES_READ_AHEAD, thread_name_prefix="compseg-load") as readers:
        pending = deque(
            readers.submit(samples.raw_batch, [i], np.ones(1)) for i in range(SAMPLES_READ_AHEAD)[:n]
        )
        for index in range(n):
            following = index + SAMPLES_READ_AHEAD
            raw = pending.popleft().result()
            if following < n:
                pending.append(readers.submit(samples.raw_batch, [following], np.ones(1)))
            yield raw


def _room_for(n: int, sample: Batch, sharding: NamedSharding) -> Batch:
    """Zeros for ``n`` samples like ``sample``, made on the devices."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype), sample)
    make = jax.jit(
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), out_shardings=sharding
    )
    return make()


@functools.partial(jax.jit, donate_argnums=0)
def _with_sample(whole: Batch, sample: Batch, index: jax.Array) -> Batch:
    """``whole`` with ``sample`` at ``index``, in the same memory."""
    return jax.tree.map(
        lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one[0], index, 0), whole, sample
    )


class StreamFeed:
    """Samples read from the store as they are needed, a few batches ahead of the device."""

    def __init__(self, samples: Samples, mesh: Mesh, dtype: DType = jnp.float32) -> None:
        self._samples = samples
        self._scale = _scaler(samples.scaling, dtype)
        self._by_sample = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

    def marked(self, samples: Samples) -> StreamFeed:
        """A feed of the same cubes, with the marks of ``samples``."""
        feed = copy.copy(self)
        feed._samples = samples
        return feed

    def batches(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """The batches of ``draws``, on the devices, read in a thread of its own."""
        with ThreadPoolExecutor(1, thread_name_prefix="compseg-feed") as reader:
            pending: deque[tuple[int, Future[Batch]]] = deque()
            for draw in draws:
                own = own_rows(self._by_sample, len(draw.indices))
                read = reader.submit(self._samples.raw_batch, draw.indices[own], draw.weights[own])
                pending.append((len(draw.indices), read))
                if len(pending) > BATCHES_READ_AHEAD:
                    yield self._on_devices(*pending.popleft())
            while pending:
                yield self._on_devices(*pending.popleft())

    def _on_devices(self, rows: int, read: Future[Batch]) -> Batch:
        return self._scale(from_own_rows(read.result(), self._by_sample, rows))


Feed = ResidentFeed | StreamFeed


def make_feed(
    samples: Samples,
    mesh: Mesh,
    kind: Literal["auto", "resident", "stream"],
    limit_gib: float,
    dtype: DType = jnp.float32,
) -> Feed:
    """The feed that was asked for, or the one that fits: 'auto' keeps up to ``limit_gib`` on the device.

    Over several processes 'auto' reads ahead: all samples on every device would be all samples read by every process.

    Args:
      samples: what is fed.
      mesh: devices it is fed to.
      kind: 'auto', 'resident' or 'stream'.
      limit_gib: largest scaled data set that 'auto' keeps; 0 for a third of an accelerator's memory, 4 on CPUs.
      dtype: precision of the scaled cubes; bfloat16 where the network computes in it anyway.
    """
    resident = stays_resident(samples.shapes, mesh, kind, limit_gib, dtype)
    return ResidentFeed(samples, mesh, dtype) if resident else StreamFeed(samples, mesh, dtype)


def stays_resident(
    shapes: Shapes,
    mesh: Mesh,
    kind: Literal["auto", "resident", "stream"],
    limit_gib: float,
    dtype: DType = jnp.float32,
) -> bool:
    """Whether :func:`make_feed` keeps samples of these shapes on the devices."""
    limit = limit_gib * 2**30 if limit_gib else _default_limit_bytes(mesh)
    fits = shapes.scaled_bytes * jnp.dtype(dtype).itemsize // 4 <= limit
    alone = not is_shared(NamedSharding(mesh, PartitionSpec()))
    return kind == "resident" or (kind == "auto" and fits and alone)


def _default_limit_bytes(mesh: Mesh) -> float:
    known = mesh.local_devices[0].memory_stats() or {}
    return known["bytes_limit"] / 3 if "bytes_limit" in known else 4 * 2**30


@functools.partial(jax.jit, static_argnames="dtype")
def _standardise_batch(raw: Batch, mean: jax.Array, sd: jax.Array, dtype: DType) -> Batch:
    return Batch(
        cube=standardise(raw.cube, raw.tissue, mean, sd).astype(dtype),
        tissue=raw.tissue,
        label=raw.label,
        weight=raw.weight,
        reference=raw.reference,
        image=raw.image,
    )


def _scaler(scaling: Scaling, dtype: DType) -> functools.partial[Batch]:
    mean, sd = (np.asarray(values, np.float32) for values in (scaling.mean, scaling.sd))
    return functools.partial(_standardise_batch, mean=mean, sd=sd, dtype=dtype)


def gathered(samples: Batch, indices: jax.Array, weights: jax.Array) -> Batch:
    """The batch of the samples at ``indices`` (b,) with ``weights`` (b,)."""
    chosen = jax.tree.map(lambda leaf: leaf[indices], samples)
    return Batch(chosen.cube, chosen.tissue, chosen.label, weights, chosen.reference, chosen.image)
