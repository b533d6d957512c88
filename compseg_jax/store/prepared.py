"""A store behind a preparation: its cubes as a network takes them, and what is fitted on training samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from compseg_jax.spectra.preparation import (
    Image,
    Preparation,
    axis_of_steps,
    fit_preparation,
    parse_steps,
    refuse_without_wavenumbers,
)
from compseg_jax.spectra.scaling import BandMoments, Scaling, band_moments
from compseg_jax.store.read import Sample, Store

MOST_SAMPLES_AT_ONCE = min(8, os.cpu_count() or 1)


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
