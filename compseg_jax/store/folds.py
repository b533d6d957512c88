"""Folds of a store: which training and validation samples each network of an ensemble holds out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compseg_jax.config import Ensemble
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.splits import make_folds


def fold_of_samples(store: Store, ensemble: Ensemble) -> dict[str, int]:
    """The fold that holds each sample out, by id.

    Training and validation samples are dealt out together, whole groups each, both labels evenly; the test split
    is left alone. With one fold it is the store's own validation split.

    Raises:
      SplitError: when a fold would lack a label.
    """
    if ensemble.folds == 1:
        return {sample.id: 0 for sample in store.split("val")}
    samples = [sample for sample in store.samples if sample.split != "test"]
    folds = make_folds(
        [sample.label for sample in samples],
        [sample.group for sample in samples],
        folds=ensemble.folds,
        seed=ensemble.fold_seed,
    )
    return {sample.id: int(fold) for sample, fold in zip(samples, folds, strict=True)}


def holding_out(store: Store, fold_of: Mapping[str, int], fold: int) -> Store:
    """The same store whose validation split is one fold, and whose training split is all others."""

    def placed(sample: Sample) -> Sample:
        if sample.split == "test":
            return sample
        return replace(sample, split="val" if fold_of.get(sample.id) == fold else "train")

    return replace(store, samples=tuple(placed(sample) for sample in store.samples))


def as_configured(store: Store, ensemble: Ensemble) -> Store:
    """The store that one network is trained on: its own splits, or those of the fold asked for."""
    if ensemble.fold is None:
        return store
    return holding_out(store, fold_of_samples(store, ensemble), ensemble.fold)
