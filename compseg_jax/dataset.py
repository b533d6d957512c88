"""From a store to batches on the host: the order of samples, and reading them.

The order depends on (seed, epoch) alone, so resuming needs no iterator state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from compseg_jax.batch import Batch
from compseg_jax.spectra.preparation import (
    Image,
    Preparation,
    axis_of_steps,
    fit_preparation,
    parse_steps,
    refuse_without_wavenumbers,
)
from compseg_jax.spectra.scaling import BandMoments, Scaling, band_moments
from compseg_jax.store import Sample, Store

MOST_SAMPLES_AT_ONCE = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Draw:
    """The samples of one batch: their indices (b,) and weights (b,); padding repeats with weight 0."""

    indices: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Ordering:
    """How an epoch goes through the samples.

    Attributes:
      labels: label of each sample.
      batch_size: samples a step.
      seed: with the epoch it determines the order.
      balance: make both labels count evenly, by weight or by drawing the rarer one more often.
    """

    labels: tuple[int, ...]
    batch_size: int
    seed: int
    balance: Literal["none", "weights", "sampling"] = "none"

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> list[Draw]:
        """The batches of an epoch; the last, smaller one is padded with weight 0."""
        rng = np.random.default_rng([self.seed, epoch])
        n, labels = len(self.labels), np.asarray(self.labels)
        order = rng.permutation(n)
        if self.balance == "sampling":
            by_label = [order[labels[order] == label] for label in (0, 1)]
            drawn = [part for part in by_label if len(part)]
            order = np.stack([np.resize(part, -(-n // len(drawn))) for part in drawn], axis=1).ravel()[:n]
        weights = np.ones(n, np.float32)
        if self.balance == "weights":
            counts = np.bincount(labels, minlength=2)
            weights = (n / (2.0 * np.maximum(counts, 1)))[labels].astype(np.float32)
        return list(draws_of(order, weights, self.batch_size))


def draws_of(order: np.ndarray, weights: np.ndarray, batch_size: int) -> Iterator[Draw]:
    """Cuts an order of samples into batches of equal size; ``weights`` (n,) are those of the samples."""
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        indices = np.resize(part, batch_size)
        yield Draw(
            indices, np.where(np.arange(batch_size) < len(part), weights[indices], 0.0).astype(np.float32)
        )


@dataclass(frozen=True)
class Samples:
    """Samples of one store that are fed together, and how.

    Attributes:
      store: where they are read from.
      samples: in the order that a draw's indices refer to.
      scaling: standardisation, fitted on training tissue.
      with_reference: whether batches carry reference masks (healthy samples without one get an empty one).
      preparation: steps between the store and the scaling.
    """

    store: Store
    samples: tuple[Sample, ...]
    scaling: Scaling
    with_reference: bool = False
    preparation: Preparation | None = None

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Height and width of a batch: the largest of the samples; smaller ones are padded."""
        return max(s.height for s in self.samples), max(s.width for s in self.samples)

    @cached_property
    def is_padded(self) -> bool:
        """Whether samples of different sizes are padded to one."""
        return len({(s.height, s.width) for s in self.samples}) > 1

    @property
    def scaled_bytes(self) -> int:
        """Size of all scaled cubes, float32."""
        height, width = self.shape
        return len(self.samples) * height * width * len(self.scaling.mean) * 4

    def raw_batch(self, indices: Sequence[int] | np.ndarray, weights: np.ndarray) -> Batch:
        """A batch on the host with unscaled cubes, read from the store concurrently."""
        chosen = [self.samples[i] for i in indices]
        reads = {s.id: self.store.read_later(s.id) for s in chosen}
        read = {s.id: prepared(self.store, reads[s.id].result(), s.id, self.preparation) for s in chosen}
        reference = image = None
        if self.with_reference:
            reference = np.stack([self._fitted(self._reference(s)) for s in chosen])
        if self.is_padded:
            image = np.stack([self._fitted(np.ones((s.height, s.width), bool)) for s in chosen])
        return Batch(
            cube=np.stack([self._fitted(read[s.id][0]) for s in chosen]),  # type: ignore[arg-type]
            tissue=np.stack([self._fitted(read[s.id][1]) for s in chosen]),  # type: ignore[arg-type]
            label=np.asarray([s.label for s in chosen], np.int32),  # type: ignore[arg-type]
            weight=np.asarray(weights, np.float32),  # type: ignore[arg-type]
            reference=reference,  # type: ignore[arg-type]
            image=image,  # type: ignore[arg-type]
        )

    def _reference(self, sample: Sample) -> np.ndarray:
        if sample.label == 0 and not sample.has_reference:
            return np.zeros((sample.height, sample.width), bool)
        return self.store.reference(sample.id)

    def _fitted(self, array: np.ndarray) -> np.ndarray:
        missing = [(0, wanted - size) for wanted, size in zip(self.shape, array.shape[:2], strict=True)]
        return np.pad(array, [*missing, *[(0, 0)] * (array.ndim - 2)]) if self.is_padded else array


def prepared(
    store: Store, absorbance: np.ndarray, sample_id: str, preparation: Preparation | None
) -> tuple[np.ndarray, np.ndarray]:
    """A sample's cube (y, x, c) of the store and its tissue (y, x), behind a preparation."""
    tissue = store.tissue(sample_id)
    if preparation is None:
        return absorbance, tissue
    image = preparation(_image(store, absorbance, tissue))
    return image.absorbance, image.mask


def _image(store: Store, absorbance: np.ndarray, tissue: np.ndarray) -> Image:
    return Image.of(absorbance, axis_of_steps(store.wavenumbers_cm1, store.channels), tissue)


def axis_behind(store: Store, preparation: Preparation | None) -> np.ndarray | None:
    """The axis of a store's cubes behind a preparation (k,); None for ordinary images."""
    if store.wavenumbers_cm1 is None or preparation is None:
        return store.wavenumbers_cm1
    return preparation.wavenumbers_cm1


NORMALISING = frozenset({"mie", "rmies", "emsc", "vector", "snv", "amide1", "area", "zscore"})
LEAST_CHANNELS_FOR_EMSC = 16


def fit_input_preparation(
    store: Store, samples: Sequence[Sample], words: Sequence[str]
) -> Preparation | None:
    """Fits the steps between store and scaling on training samples; None where there are none.

    Where no step has normalised the cubes yet, 'auto' stands for ``emsc`` of spectra of at least 16 channels and
    for ``zscore`` of ordinary images, and for nothing elsewhere.

    Raises:
      ValueError: when a step is unknown or does not fit the store.
    """
    if "auto" in words:
        applied = {each["step"] for each in store.preparation or ()}
        found = [] if applied & NORMALISING else _normalising_step(store)
        words = [each for word in words for each in (found if word == "auto" else [word])]
    steps = parse_steps(words)
    if not steps:
        return None
    refuse_without_wavenumbers(steps, store.wavenumbers_cm1, f"{store.path}")

    def images() -> Iterator[Image]:
        for sample in samples:
            yield _image(store, store.read(sample.id), store.tissue(sample.id))

    return fit_preparation(steps, axis_of_steps(store.wavenumbers_cm1, store.channels), images)


def _normalising_step(store: Store) -> list[str]:
    if store.wavenumbers_cm1 is None:
        return ["zscore"]
    return ["emsc"] if store.channels >= LEAST_CHANNELS_FOR_EMSC else []


SPECTRA_A_SAMPLE = 256


def drawn_spectra(samples: Samples, seed: int) -> np.ndarray:
    """Scaled spectra of tissue, up to 256 of each sample (n, c), float32."""
    rng = np.random.default_rng([seed, SPECTRA_A_SAMPLE])
    drawn = []
    for sample in samples.samples:
        cube, tissue = prepared(samples.store, samples.store.read(sample.id), sample.id, samples.preparation)
        own = cube[tissue]
        drawn.append(own[rng.permutation(len(own))[:SPECTRA_A_SAMPLE]])
    return (np.concatenate(drawn) - samples.scaling.mean) / samples.scaling.sd


def fit_scaling(store: Store, samples: Iterable[Sample], preparation: Preparation | None = None) -> Scaling:
    """Standardisation over the tissue of ``samples`` behind a preparation, several read at a time.

    Raises:
      ValueError: at a sample with NaN or infinite values.
    """
    from concurrent.futures import ThreadPoolExecutor

    def moments(sample: Sample) -> BandMoments:
        absorbance = store.read(sample.id)
        if not np.all(np.isfinite(absorbance)):
            raise ValueError(
                f"{store.path}: sample {sample.id!r} holds NaN or infinite values; ingest it again "
                "(`compseg ingest` refuses such images and says where they are)."
            )
        return band_moments(*prepared(store, absorbance, sample.id, preparation))

    with ThreadPoolExecutor(MOST_SAMPLES_AT_ONCE, thread_name_prefix="compseg-scaling") as threads:
        return Scaling.of_moments(threads.map(moments, samples))


def pad_draws(draws: Iterable[Draw], multiple: int) -> Iterator[Draw]:
    """The same draws, each padded with weight 0 to a multiple of ``multiple``."""
    for draw in draws:
        size = len(draw.indices)
        padded = size + -size % multiple
        yield Draw(np.resize(draw.indices, padded), np.pad(draw.weights, (0, padded - size)))
