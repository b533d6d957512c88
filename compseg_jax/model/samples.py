"""From an extracted network and samples of a store to activation maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from compseg_jax.model.bundle import ModelError, SegmentingModel
from compseg_jax.readers.cube import Cube
from compseg_jax.spectra.preparation import Image, axis_of_steps
from compseg_jax.spectra.tissue import tissue_from_background
from compseg_jax.store.prepared import axis_behind, prepared
from compseg_jax.store.read import Sample, Store


@dataclass(frozen=True)
class Prediction:
    """One sample and what the network makes of it.

    Attributes:
      sample: row of the store.
      stored: the cube as the store holds it, (y, x, c).
      absorbance: the cube as the network sees it before scaling, (y, x, k); the same where nothing prepares it.
      tissue: (y, x), bool.
      activation: (y, x), float32 in [0, 1], 0 outside the tissue.
    """

    sample: Sample
    stored: np.ndarray
    absorbance: np.ndarray
    tissue: np.ndarray
    activation: np.ndarray


def predict_samples(model: SegmentingModel, store: Store, samples: Iterable[Sample]) -> Iterator[Prediction]:
    """Activation maps of samples, one at a time; the next is read while the network works.

    Raises:
      ModelError: when the store's channels, wavenumbers or preparation are not those of the model.
    """
    preparation = model.preparation_behind(store)
    chosen = list(samples)
    reads = [store.read_later(sample.id) for sample in chosen[:1]]
    for index, sample in enumerate(chosen):
        stored = reads.pop().result()
        reads += [store.read_later(following.id) for following in chosen[index + 1 : index + 2]]
        absorbance, tissue = prepared(store, stored, sample.id, preparation)
        activation = model(absorbance, tissue=tissue, wavenumbers_cm1=axis_behind(store, preparation))
        yield Prediction(sample, stored, absorbance, tissue, np.asarray(activation))


@dataclass(frozen=True, eq=False)
class RawPrediction:
    """What a network makes of a cube as it was measured.

    Attributes:
      activation: (y, x), float32 in [0, 1], 0 outside the tissue.
      image: the prepared spectra, the pixels that were kept, and why the others were not.
    """

    activation: np.ndarray
    image: Image


def predict_raw(model: SegmentingModel, cube: Cube, *, tissue: np.ndarray | None = None) -> RawPrediction:
    """Repeats the preparation that the training data had on a raw cube, then predicts.

    Args:
      model: an extracted network.
      cube: raw absorbance (y, x, c) with its wavenumbers.
      tissue: pixels that may hold tissue (y, x); those whose channels are not all 0 when None.

    Raises:
      ModelError: when only one of cube and model states wavenumbers, or the mask is not of the cube.
      PreparationError: when the cube's axis does not fit the preparation.
    """
    if (cube.wavenumbers_cm1 is None) != (model.wavenumbers_cm1 is None):
        raise ModelError(
            f"only one of {cube.provenance.get('source', 'the cube')} and the model states wavenumbers; the network "
            "needs images like those it was trained on. Give a cube with its axis."
        )
    axis = axis_of_steps(cube.wavenumbers_cm1, cube.absorbance.shape[2])
    mask = tissue_from_background(cube.absorbance, model.background) if tissue is None else tissue
    if mask.shape != cube.absorbance.shape[:2]:
        raise ModelError(
            f"the tissue mask has shape {mask.shape}, the cube {cube.absorbance.shape}; give the mask of this cube."
        )
    image = Image.of(cube.absorbance, axis, mask)
    preparation = model.preparation
    if preparation is not None:
        image = preparation(image)
    own = None if cube.wavenumbers_cm1 is None else image.wavenumbers_cm1
    activation = model(image.absorbance, tissue=image.mask, wavenumbers_cm1=own)
    return RawPrediction(np.asarray(activation), image)
