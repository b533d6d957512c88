"""An ensemble of extracted networks: the mean of their maps, and how far they disagree.

``RUN/ensemble.json`` lists the members, each an ordinary model folder; docs/format.md writes it down. The spread
between networks of other seeds and training samples as a measure of uncertainty: Lakshminarayanan, Pritzel,
Blundell 2017, 'Simple and scalable predictive uncertainty estimation using deep ensembles' (arXiv:1612.01474).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from compseg_jax.model.bundle import ModelError, SegmentingModel, load_model
from compseg_jax.model.samples import Prediction
from compseg_jax.runtime.files import JsonFormat
from compseg_jax.spectra.preparation import Image, Preparation
from compseg_jax.spectra.tissue import tissue_from_background
from compseg_jax.store.prepared import prepared
from compseg_jax.store.read import Sample, Store

FILE = "ensemble.json"
MEMBERS = "members"
LIST = JsonFormat(
    "compseg-ensemble",
    version=1,
    required=("members", "threshold", "area_cut", "prepared_steps"),
    absent="Give the folder of a finished `compseg train --folds K --seeds N`. An unfinished one goes on by --resume; "
    "a single network is RUN/model.",
    again="finish the run with --resume, or copy the whole of it again",
    error=ModelError,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EnsembleMap:
    """What an ensemble makes of a cube.

    Attributes:
      mean: mean of the members' activation maps, in [0, 1], 0 outside the tissue.
      spread: their standard deviation (over members, not over samples of a population), 0 to .5.
    """

    mean: Float[Array, "*b y x"]
    spread: Float[Array, "*b y x"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Extracted networks that are asked together: call it with a cube, get mean and spread of their maps.

    Attributes:
      members: the networks, each with the scaling and preparation of its own training samples.
      threshold: mean activation above which a pixel is segmented.
      area_cut: part of the tissue above the threshold from which on a sample is called diseased.
      prepared_steps: leading steps of the members' preparation that cubes of the store have behind them.
      description: everything in ensemble.json.
    """

    members: tuple[SegmentingModel, ...]
    threshold: float
    area_cut: float
    prepared_steps: int
    description: Mapping[str, Any]

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """The axis of the networks (c,); None for ordinary images."""
        return self.members[0].wavenumbers_cm1

    def __call__(
        self,
        cube: Float[Array, "*b y x c"] | np.ndarray,
        *,
        tissue: Bool[Array, "*b y x"] | np.ndarray | None = None,
        wavenumbers_cm1: np.ndarray | None = None,
    ) -> EnsembleMap:
        """Mean and spread of the activation maps of one cube (y, x, c) or a batch (b, y, x, c).

        Safe under ``jax.jit`` and ``jax.grad`` where the members have no preparation of their own.

        Args:
          cube: absorbance as the store holds it that the ensemble was trained on.
          tissue: tissue mask; by the rule of the training data when None.
          wavenumbers_cm1: the cube's axis, compared with the networks' when given.

        Raises:
          ModelError: when channels or wavenumbers are not those of the networks, or the mask not of the cube.
        """
        return summarised(self.activations(cube, tissue=tissue, wavenumbers_cm1=wavenumbers_cm1))

    def activations(
        self,
        cube: Float[Array, "*b y x c"] | np.ndarray,
        *,
        tissue: Bool[Array, "*b y x"] | np.ndarray | None = None,
        wavenumbers_cm1: np.ndarray | None = None,
    ) -> Float[Array, "m *b y x"]:
        """The activation map of each member; arguments as for the call."""
        if not any(self._own_preparations):
            maps = [m(cube, tissue=tissue, wavenumbers_cm1=wavenumbers_cm1) for m in self.members]
            return jnp.stack(maps)
        cubes = np.asarray(cube)
        if cubes.ndim == 4:
            masks: Sequence[Any] = [None] * len(cubes) if tissue is None else list(np.asarray(tissue))
            each = [
                self.activations(one, tissue=mask, wavenumbers_cm1=wavenumbers_cm1)
                for one, mask in zip(cubes, masks, strict=True)
            ]
            return jnp.stack(each, axis=1)
        background = self.members[0].background
        mask = tissue_from_background(cubes, background) if tissue is None else np.asarray(tissue, bool)

        def prepare(preparation: Preparation | None) -> tuple[np.ndarray, np.ndarray]:
            if preparation is None:
                return cubes, mask
            axis = preparation.steps[0].wavenumbers_cm1 if wavenumbers_cm1 is None else wavenumbers_cm1
            image = preparation(Image.of(cubes, axis, mask))
            return image.absorbance, image.mask

        return jnp.stack([each[0] for each in _maps(self.members, self._own_preparations, prepare)])

    @cached_property
    def _own_preparations(self) -> list[Preparation | None]:
        """What lies between store and scaling of each member; equal ones are one object."""
        rest = [list(m.description.get("preparation") or [])[self.prepared_steps :] for m in self.members]
        return _shared(rest)


def summarised(activations: Float[Array, "m *b y x"]) -> EnsembleMap:
    """Mean and standard deviation over the members."""
    return EnsembleMap(jnp.mean(activations, axis=0), jnp.std(activations, axis=0))


def _shared(listed: Iterable[list[dict[str, Any]]]) -> list[Preparation | None]:
    known: dict[str, Preparation | None] = {"[]": None}
    keys = []
    for steps in listed:
        keys.append(json.dumps(steps))
        if keys[-1] not in known:
            known[keys[-1]] = Preparation.from_json(steps)
    return [known[key] for key in keys]


def _maps(
    models: Sequence[SegmentingModel],
    preparations: Sequence[Preparation | None],
    prepare: Callable[[Preparation | None], tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[Array, np.ndarray, np.ndarray]]:
    """Activation, absorbance before scaling and tissue of each member; equal preparations are done once."""
    done: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for model, preparation in zip(models, preparations, strict=True):
        if id(preparation) not in done:
            done[id(preparation)] = prepare(preparation)
        absorbance, tissue = done[id(preparation)]
        yield model(absorbance, tissue=tissue), absorbance, tissue


@dataclass(frozen=True)
class EnsemblePrediction:
    """One sample and what the members make of it.

    Attributes:
      mean: the prediction of the ensemble: mean activation; tissue that any member keeps; spectra as the first
        member sees them.
      spread: standard deviation over the members (y, x).
      activations: maps of the members (m, y, x).
    """

    mean: Prediction
    spread: Float[np.ndarray, "y x"]
    activations: Float[np.ndarray, "m y x"]

    def areas(self, threshold: float) -> Float[np.ndarray, " m"]:
        """Part of the tissue above a threshold, by member."""
        return np.mean(self.activations[:, self.mean.tissue] > threshold, axis=1)


def predict_members(
    models: Sequence[SegmentingModel], store: Store, samples: Iterable[Sample]
) -> Iterator[EnsemblePrediction]:
    """Maps of samples by several networks, one sample at a time; the next is read while the networks work.

    Raises:
      ModelError: when the store's channels, wavenumbers or preparation are not those of the networks.
    """
    chosen = list(samples)
    behind = [model.preparation_behind(store) for model in models]
    preparations = _shared([[] if each is None else each.to_json() for each in behind])
    for model, preparation in zip(models, preparations, strict=True):
        axis = store.wavenumbers_cm1 if preparation is None else preparation.wavenumbers_cm1
        model.check_channels((1, 1, store.channels if axis is None else axis.size), axis)
    reads = [store.read_later(sample.id) for sample in chosen[:1]]
    for index, sample in enumerate(chosen):
        stored = reads.pop().result()
        reads += [store.read_later(following.id) for following in chosen[index + 1 : index + 2]]

        def prepare(
            preparation: Preparation | None, stored: np.ndarray = stored, sample: Sample = sample
        ) -> tuple[np.ndarray, np.ndarray]:
            return prepared(store, stored, sample.id, preparation)

        maps, cubes, tissues = zip(*_maps(models, preparations, prepare), strict=True)
        activations = np.stack([np.asarray(each) for each in maps])
        kept = np.any(np.stack(tissues), axis=0)
        mean = Prediction(sample, stored, cubes[0], kept, np.mean(activations, axis=0))
        yield EnsemblePrediction(mean, np.std(activations, axis=0), activations)


def is_ensemble(folder: Path | str) -> bool:
    """Whether a folder is the run of an ensemble, finished or not."""
    return (Path(folder) / FILE).is_file() or (Path(folder) / MEMBERS).is_dir()


def load_ensemble(folder: Path | str) -> Ensemble:
    """Loads the networks that `compseg train --folds … --seeds …` extracted.

    Args:
      folder: the run, which holds ``ensemble.json``.

    Returns:
      An :class:`Ensemble`, callable with a cube.

    Raises:
      ModelError: when the folder holds no ensemble, one of a newer version, or members that are missing, damaged or
        not those of the list.

    >>> result = load_ensemble("runs/mine")(cube)  # doctest: +SKIP
    >>> result.mean, result.spread  # doctest: +SKIP
    """
    folder = Path(folder)
    values = _read_ensemble(folder / FILE)
    members = []
    for entry in values["members"]:
        model = load_model(folder / entry["model"])
        if model.description["weights_sha256"] != entry["weights_sha256"]:
            raise ModelError(
                f"{folder / entry['model']} holds the weights {model.description['weights_sha256'][:12]}…, {FILE} "
                f"lists {entry['weights_sha256'][:12]}…. Finish the run with --resume, or copy the whole of it again."
            )
        members.append(model)
    return Ensemble(
        members=tuple(members),
        threshold=values["threshold"],
        area_cut=values["area_cut"],
        prepared_steps=values["prepared_steps"],
        description=values,
    )


def _read_ensemble(path: Path) -> dict[str, Any]:
    values = LIST.read(path)
    if not values["members"]:
        raise LIST.damaged(path, "members missing")
    return values
