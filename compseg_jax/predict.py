"""From an extracted network and samples of a store to activation maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from compseg_jax.bundle import SegmentingModel
from compseg_jax.store import Sample, Store


@dataclass(frozen=True)
class Prediction:
    """One sample and what the network makes of it.

    Attributes:
      sample: row of the store.
      absorbance: (y, x, c).
      tissue: (y, x), bool.
      activation: (y, x), float32 in [0, 1], 0 outside the tissue.
    """

    sample: Sample
    absorbance: np.ndarray
    tissue: np.ndarray
    activation: np.ndarray


def predict_samples(model: SegmentingModel, store: Store, samples: Iterable[Sample]) -> Iterator[Prediction]:
    """Activation maps of samples, one at a time; the next is read while the network works.

    Raises:
      ModelError: when the store's channels or wavenumbers are not those of the model.
    """
    chosen = list(samples)
    reads = [store.read_later(sample.id) for sample in chosen[:1]]
    for index, sample in enumerate(chosen):
        absorbance = reads.pop().result()
        reads += [store.read_later(following.id) for following in chosen[index + 1 : index + 2]]
        tissue = store.tissue(sample.id)
        activation = model(absorbance, tissue=tissue, wavenumbers_cm1=store.wavenumbers_cm1)
        yield Prediction(sample, absorbance, tissue, np.asarray(activation))
