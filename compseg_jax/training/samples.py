"""Samples of a store that are fed together: read, prepared, padded to one size and put into batches on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from compseg_jax.model.distribution_fit import DrawnPixels, TrainingImage, drawn, fit_distribution
from compseg_jax.model.training_distribution import TrainingDistribution
from compseg_jax.runtime.together import spread
from compseg_jax.spectra.scaling import Scaling, put_standardised
from compseg_jax.store import Sample
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.training.batch import Batch


@dataclass(frozen=True)
class Shapes:
    """What batches of some samples look like, known before a cube is read.

    Attributes:
      samples: as the table lists them.
      channels: after the preparation.
      with_reference: whether batches carry reference masks.
    """

    samples: tuple[Sample, ...]
    channels: int
    with_reference: bool = False

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of a batch: the largest of the samples; smaller ones are padded."""
        return max(s.height for s in self.samples), max(s.width for s in self.samples)

    @cached_property
    def is_padded(self) -> bool:
        """Whether samples of different sizes are padded to one."""
        return len({(s.height, s.width) for s in self.samples}) > 1

    @property
    def scaled_bytes(self) -> int:
        """Size of all scaled cubes, float32."""
        height, width = self.size
        return len(self.samples) * height * width * self.channels * 4

    def blank(self, n: int, dtype: Any) -> Batch:
        """A batch of ``n`` samples without values, to compile for: it takes no memory."""

        def zeros(dtype: Any, *shape: int) -> Any:
            return np.broadcast_to(np.zeros((), dtype), (n, *shape))

        return Batch(
            cube=zeros(dtype, *self.size, self.channels),
            tissue=zeros(bool, *self.size),
            label=zeros(np.int32),
            weight=zeros(np.float32),
            reference=zeros(bool, *self.size) if self.with_reference else None,
            image=zeros(bool, *self.size) if self.is_padded else None,
        )


Marks = Mapping[str, Bool[np.ndarray, "y x"]]
"""What is taken for diseased, by the id of the sample; nothing in a healthy one."""


@dataclass(frozen=True)
class Samples:
    """Samples of one store that are fed together, and how.

    Attributes:
      cubes: where they are read from, after their preparation.
      samples: in the order that a draw's indices refer to.
      scaling: standardisation, fitted on training tissue.
      with_reference: whether batches carry reference masks (healthy samples without one get an empty one).
      marks: what they carry instead, where there is any.
    """

    cubes: PreparedStore
    samples: tuple[Sample, ...]
    scaling: Scaling
    with_reference: bool = False
    marks: Marks | None = None

    @cached_property
    def shapes(self) -> Shapes:
        """What batches of them look like."""
        return Shapes(self.samples, len(self.scaling.mean), self.with_reference or self.marks is not None)

    @cached_property
    def distribution(self) -> TrainingDistribution | None:
        """What these samples look like, with limits from those held out in turn and from the validation samples."""
        # Of samples of one patient or array, each is held out by itself.
        has_groups = len({sample.group for sample in self.samples}) > 1

        is_spectral = self.cubes.store.wavenumbers_cm1 is not None

        def pixels(some: Iterable[Sample]) -> Iterator[DrawnPixels]:
            for sample in some:
                cube, tissue = self.cubes.read(sample.id)
                scaled = np.empty_like(cube)
                put_standardised(cube, tissue, self.scaling, scaled)
                group = sample.group if has_groups else sample.id
                yield drawn(TrainingImage(scaled, tissue, group), is_spectral=is_spectral)

        validation = self.cubes.store.split("val")
        return fit_distribution(lambda: spread(pixels, self.samples), lambda: spread(pixels, validation))

    def raw_batch(self, indices: Sequence[int] | np.ndarray, weights: np.ndarray) -> Batch:
        """A batch on the host with unscaled cubes, read concurrently."""
        chosen = [self.samples[i] for i in indices]
        read = self.cubes.read_together(s.id for s in chosen)
        reference = image = None
        if self.shapes.with_reference:
            reference = self.references(chosen)
        if self.shapes.is_padded:
            image = np.stack([self._fitted(np.ones((s.height, s.width), bool)) for s in chosen])
        return Batch(
            cube=np.stack([self._fitted(read[s.id][0]) for s in chosen]),  # type: ignore[arg-type]
            tissue=np.stack([self._fitted(read[s.id][1]) for s in chosen]),  # type: ignore[arg-type]
            label=np.asarray([s.label for s in chosen], np.int32),  # type: ignore[arg-type]
            weight=np.asarray(weights, np.float32),  # type: ignore[arg-type]
            reference=reference,  # type: ignore[arg-type]
            image=image,  # type: ignore[arg-type]
        )

    def references(self, chosen: Sequence[Sample]) -> Bool[np.ndarray, "b y x"]:
        """Reference masks of some of the samples, or their marks, padded like their cubes."""
        return np.stack([self._fitted(self._reference(sample)) for sample in chosen])

    def _reference(self, sample: Sample) -> np.ndarray:
        if self.marks is not None:
            return np.asarray(self.marks[sample.id])
        if sample.label == 0 and not sample.has_reference:
            return np.zeros((sample.height, sample.width), bool)
        return self.cubes.store.reference(sample.id)

    def _fitted(self, array: np.ndarray) -> np.ndarray:
        if not self.shapes.is_padded:
            return array
        missing = [(0, wanted - size) for wanted, size in zip(self.shapes.size, array.shape[:2], strict=True)]
        return np.pad(array, [*missing, *[(0, 0)] * (array.ndim - 2)])


SPECTRA_A_SAMPLE = 256


def drawn_spectra(samples: Samples, seed: int) -> np.ndarray:
    """Scaled spectra of tissue, up to 256 of each sample (n, c), float32."""
    rng = np.random.default_rng([seed, SPECTRA_A_SAMPLE])

    def counted(some: Iterable[Sample]) -> Iterator[int]:
        return (int(samples.cubes.read(sample.id)[1].sum()) for sample in some)

    def spectra_of(some: Iterable[tuple[Sample, np.ndarray]]) -> Iterator[np.ndarray]:
        for sample, pixels in some:
            cube, tissue = samples.cubes.read(sample.id)
            yield cube[tissue][pixels]

    # One generator for all samples: which process reads them makes no difference.
    chosen = [rng.permutation(n)[:SPECTRA_A_SAMPLE] for n in spread(counted, samples.samples)]
    spectra = np.concatenate(list(spread(spectra_of, list(zip(samples.samples, chosen, strict=True)))))
    put_standardised(spectra, np.ones(len(spectra), bool), samples.scaling, spectra)
    return spectra
