"""THE model: one network or several, called with a cube in the state it was measured, stored or prepared in.

Every way to predict goes through here or shares its parts (`specimen`, `adaptation`, `extracted`), so a map does not
depend on whether `compseg evaluate`, `compseg predict`, the viewer or a notebook asks for it.

The spread between networks of other seeds and training samples as a measure of uncertainty: Lakshminarayanan,
Pritzel, Blundell 2017, 'Simple and scalable predictive uncertainty estimation using deep ensembles'
(arXiv:1612.01474).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from compseg_jax.model.adaptation import Adapted, adapted
from compseg_jax.model.call_chance import Chance, chance_of
from compseg_jax.model.diseased_area import AreaRule
from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.left_out import LeftOut, most
from compseg_jax.model.level import VALIDATION_LEVELS, Match
from compseg_jax.model.model_description import SEAL
from compseg_jax.model.scale import ToTrainingScale, scale_of
from compseg_jax.model.seen import Seen
from compseg_jax.model.specimen import PreparedSpecimen, Specimen
from compseg_jax.model.training_distribution import Departure
from compseg_jax.readers.axis import same_axis
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import CubeScan
from compseg_jax.spectra.scaling import put_standardised
from compseg_jax.store.read import Sample, Store

Call = Literal["diseased", "healthy", "undecided"]
DETERMINING = ("weights_sha256", "scaling", "preparation", "wavenumbers_cm1", "background", "network")
"""Entries of model.json that a map depends on."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of one image.

    Attributes:
      activation: mean of the networks' maps (y, x), float32 in [0, 1], 0 outside the tissue.
      activations: the map of each network (m, y, x).
      tissue: pixels that a network saw (y, x); of several networks those that any of them saw.
      absorbance: spectra as the first network takes them, before scaling (y, x, k).
      notes: what was done to bring the image to the model, in words.
      departure: how far the image lies outside of what the networks were trained on; None where they keep no training
        distribution, or too few pixels could be judged.
      unfamiliarity: the same of each pixel (y, x), mean over the networks: above 1 outside, 0 where it was not judged;
        None where no network keeps a training distribution.
      scale: edge of a pixel by that of the training images; None where unknown.
      left_out: pixels that no network saw though they are not background, by reason.
    """

    activation: Float[np.ndarray, "y x"]
    activations: Float[np.ndarray, "m y x"]
    tissue: Bool[np.ndarray, "y x"]
    absorbance: Float[np.ndarray, "y x k"]
    notes: tuple[str, ...] = ()
    departure: Departure | None = None
    unfamiliarity: Float[np.ndarray, "y x"] | None = None
    scale: float | None = None
    left_out: LeftOut = field(default_factory=dict)

    @property
    def spread(self) -> Float[np.ndarray, "y x"] | None:
        """Standard deviation over the networks (0 to .5); None where there is one."""
        return np.std(self.activations, axis=0) if len(self.activations) > 1 else None

    def areas(self, threshold: float) -> Float[np.ndarray, " m"]:
        """Part of the tissue above a threshold, by network."""
        return np.mean(self.activations[:, self.tissue] > threshold, axis=1)


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """An image as some of a model's networks take it.

    Attributes:
      networks: those whose preparation of the image is the same.
      absorbance: prepared spectra before scaling (y, x, k).
      tissue: pixels that are left (y, x).
      left_out: those that are not though they are not background, by reason.
    """

    networks: tuple[ExtractedNetwork, ...]
    absorbance: Float[np.ndarray, "y x k"]
    tissue: Bool[np.ndarray, "y x"]
    left_out: LeftOut = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Model:
    """Extracted networks that are asked together; call it with a cube, get its activation map.

    Attributes:
      networks: one, or the members of an ensemble.
      threshold: activation above which a pixel is segmented.
      description: everything in model.json, or in ensemble.json.
    """

    networks: tuple[ExtractedNetwork, ...]
    threshold: float
    description: Mapping[str, Any]

    @classmethod
    def of(cls, *networks: ExtractedNetwork) -> Model:
        """A model of networks in memory, with threshold and description of the first."""
        return cls(networks, networks[0].threshold, networks[0].description)

    def __call__(
        self,
        cube: Cube | Float[Array, "*b y x c"] | np.ndarray,
        *,
        wavenumbers_cm1: np.ndarray | None = None,
        tissue: Bool[Array, "*b y x"] | np.ndarray | None = None,
        prepared: bool | None = None,
    ) -> Float[np.ndarray, "*b y x"] | Float[Array, "*b y x"]:
        """Activation map in [0, 1], 0 outside the tissue: to the last bit that of `compseg evaluate` and `predict`.

        The cube goes through the steps that the training images went through, is resampled or reversed where its axis
        asks for it, scaled, shown to every network, and the maps are averaged. Compiled once for each of a few sizes
        (`canvas_px`).

        Args:
          cube: (y, x, c), or several of one shape (b, y, x, c). A :class:`Cube`, as ``Store.cube`` or
            ``readers.read`` give it, carries its axis and what it has been through; an array needs one of the next two.
          wavenumbers_cm1: axis of an array of measured spectra (c,).
          tissue: its mask; by the rule of the training data when None.
          prepared: True: the array is as the network takes it, after all steps, on the model's axis. False: it is as it
            was measured or photographed. Inside ``jax.jit``, ``vmap`` and ``grad`` only True is possible.

        Raises:
          ModelError: when an array comes with neither axis nor statement, or does not fit the model.
          PreparationError: when a step cannot be repeated on this cube.
        """
        if isinstance(cube, jax.core.Tracer) or isinstance(tissue, jax.core.Tracer):
            return self._traced(cube, tissue, wavenumbers_cm1, prepared)
        if not isinstance(cube, Cube) and np.ndim(cube) == 4:
            cube = _real_values(cube)
            self._check_masks(np.shape(cube), tissue)
            if not len(cube):
                raise ModelError(
                    f"the array has shape {np.shape(cube)}, a batch of no cube. Give one or more."
                )
            masks = [None] * len(cube) if tissue is None else list(np.asarray(tissue))
            return np.stack(
                [
                    self(one, wavenumbers_cm1=wavenumbers_cm1, tissue=mask, prepared=prepared)
                    for one, mask in zip(cube, masks, strict=True)
                ]
            )
        return self.predict(
            cube, wavenumbers_cm1=wavenumbers_cm1, tissue=tissue, prepared=prepared
        ).activation

    def predict(
        self,
        cube: Cube | Float[Array, "y x c"] | np.ndarray,
        *,
        wavenumbers_cm1: np.ndarray | None = None,
        tissue: Bool[Array, "y x"] | np.ndarray | None = None,
        prepared: bool | None = None,
    ) -> Prediction:
        """The map with the maps of all networks, the tissue and the prepared spectra; arguments as for the call."""
        return self.predict_specimen(self.specimen(cube, wavenumbers_cm1, tissue, prepared))

    def predict_store(
        self, store: Store, samples: Iterable[Sample], *, to_training_scale: bool = False
    ) -> Iterator[tuple[Sample, Cube, Prediction]]:
        """Samples of a store, their cubes as stored, and their predictions; the next is read meanwhile.

        Args:
          store: the store.
          samples: of it.
          to_training_scale: as of `predict_specimen`.

        Raises:
          ModelError: when the store does not fit the model.
          StoreError: when a sample is damaged or replaced.
        """
        chosen = list(samples)
        reads = [store.read_later(sample.id) for sample in chosen[:1]]
        for index, sample in enumerate(chosen):
            cube = store.as_cube(sample.id, reads.pop().result())
            reads += [store.read_later(following.id) for following in chosen[index + 1 : index + 2]]
            tissue = store.tissue(sample.id)
            store.refuse_other_values(sample.id, cube.absorbance, tissue)
            specimen = Specimen(CubeScan(cube), store.background, tissue, cube.steps)
            yield sample, cube, self.predict_specimen(specimen, to_training_scale=to_training_scale)

    def predict_specimen(self, specimen: Specimen, *, to_training_scale: bool = False) -> Prediction:
        """An image whose background rule, tissue and state are known.

        Args:
          specimen: the image.
          to_training_scale: whether an image whose pixels are of another size than in training is brought to that size
            first, and its maps back to its own pixels.

        Raises:
          ModelError: where it does not fit.
        """
        description = self.networks[0].description
        other = ToTrainingScale.of(specimen, description) if to_training_scale else None
        if other is not None:
            return _at_own_pixels(self.predict_specimen(other.specimen), other)
        members = adapted(self.networks, specimen)
        maps: dict[int, np.ndarray] = {}
        totals, kept, left_out, first = [], [], [], None
        departures: list[Departure | None] = []
        unfamiliar: list[np.ndarray] = []
        for seen in self.inputs(specimen, members):
            first = seen.absorbance if first is None else first
            total = np.zeros(seen.tissue.shape, np.float32)
            for network in seen.networks:
                canvas = _scaled(network, seen)
                maps[id(network)] = found = self._map(network, canvas, seen.tissue)
                total = total + found
                if network.distribution is not None:
                    height, width = seen.tissue.shape
                    sums, ratio = network.distribution.look(canvas[:height, :width], seen.tissue)
                    departures.append(network.distribution.departure(sums))
                    unfamiliar.append(ratio)
            totals.append(total)
            kept.append(seen.tissue)
            left_out.append(seen.left_out)
        assert first is not None, "a model has at least one network"
        return Prediction(
            activation=averaged(totals, len(self.networks)),
            activations=np.stack([maps[id(network)] for network in self.networks]),
            tissue=reduce(np.logical_or, kept),
            absorbance=first,
            notes=members[0].notes,
            departure=Departure.of_members(departures),
            unfamiliarity=np.mean(unfamiliar, axis=0) if unfamiliar else None,
            scale=scale_of(description, specimen.scan.pixel_size_um),
            left_out=most(left_out),
        )

    def inputs(self, specimen: Specimen, members: Sequence[Adapted] | None = None) -> Iterator[NetworkInput]:
        """The image as the networks take it, once for each preparation that they do not share."""
        members = adapted(self.networks, specimen) if members is None else members
        for group in alike(members):
            networks = tuple(member.network for member in group)
            shape = specimen.shape_px
            absorbance = np.zeros((*shape, len(networks[0].scaling.mean)), np.float32)
            tissue = np.zeros(shape, np.bool_)
            prepared = PreparedSpecimen.of(specimen, group[0].preparation)
            left_out = prepared.read_into(slice(0, shape[0]), slice(0, shape[1]), absorbance, tissue)
            yield NetworkInput(networks, absorbance, tissue, left_out)

    def specimen(
        self,
        cube: Cube | Float[Array, "y x c"] | np.ndarray,
        wavenumbers_cm1: np.ndarray | None = None,
        tissue: Bool[Array, "y x"] | np.ndarray | None = None,
        prepared: bool | None = None,
    ) -> Specimen:
        """The image that a call's arguments state; raises ModelError where they leave its state open."""
        own = self.wavenumbers_cm1
        axis = None if wavenumbers_cm1 is None else np.asarray(wavenumbers_cm1, np.float64)
        if isinstance(cube, Cube):
            if axis is not None or prepared is not None:
                raise ModelError(
                    "a Cube carries its axis and the steps it has been through; found wavenumbers_cm1= or prepared= "
                    "beside it. Leave them out, or give cube.absorbance with them."
                )
        else:
            source = "the array"
            if axis is None and prepared is None:
                raise ModelError(
                    f"{source} of shape {np.shape(cube)} comes with neither its axis nor a statement, so nobody knows "
                    "which steps it still has to go through. Give wavenumbers_cm1= (spectra as measured) or "
                    "prepared=True (as the network takes them; prepared=False for ordinary images as they were read), "
                    "or a Cube (Store.cube(id), readers.read(file))."
                )
            if prepared:
                if axis is not None and not same_axis(axis, own):
                    raise ModelError(
                        f"{source} is said to be prepared, but its axis is not the model's ({_range(own)}). Leave out "
                        "prepared=True: measured spectra are resampled and prepared by the model."
                    )
                axis = own
                self._refuse_differing_preparations()
            values = _real_values(cube)
            if values.ndim != 3 or (axis is not None and values.shape[-1] != axis.size):
                wanted = f"(y, x, {len(self.networks[0].scaling.mean) if axis is None else axis.size})"
                raise ModelError(
                    f"{source} has shape {values.shape}; required is {wanted} or (b, y, x, c), the last axis being the "
                    f"channels{_of(axis)}. Give a cube of that axis."
                )
            steps = tuple(self.networks[0].description.get("preparation") or ()) if prepared else ()
            cube = Cube(values, axis, provenance={"source": source}, steps=steps)
        self._check_masks(cube.absorbance.shape, tissue)
        mask = None if tissue is None else _as_mask(tissue)
        return Specimen(CubeScan(cube), self.networks[0].background, mask, cube.steps)

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """The axis that the networks see (c,); None for ordinary images."""
        return self.networks[0].wavenumbers_cm1

    @property
    def area_cut(self) -> float | None:
        """Segmented part of the tissue from which on a sample is called diseased; None where none was chosen."""
        return self.description.get("area_cut")

    @property
    def area_cut_in_use(self) -> float | None:
        """The same at the model's own threshold, which it belongs to; None at another one."""
        return self.area_cut if self.threshold == self.threshold_choice["threshold"] else None

    def call(self, area_fraction: float | None, *, is_outside: bool) -> Call | None:
        """What a sample is called.

        Args:
          area_fraction: part of its tissue above the threshold; None without tissue.
          is_outside: whether it lies outside of what the model was trained on.

        Returns:
          'undecided' outside, else by the area; None where there is no cut-off or no tissue.
        """
        if is_outside:
            return "undecided"
        cut = self.area_cut_in_use
        if cut is None or area_fraction is None:
            return None
        return "diseased" if area_fraction > cut else "healthy"

    @property
    def without_calls(self) -> str:
        """Why no sample is called by its area, as a part of a sentence; empty where samples are."""
        if self.area_cut_in_use is not None:
            return ""
        if self.threshold != self.threshold_choice["threshold"]:
            return "the threshold was given, and the cut-off of the area belongs to the model's own"
        return "its validation samples gave the model no cut-off of the segmented area"

    def chance(self, call: Call | None, area_fraction: float | None) -> Chance | None:
        """The chance that a call rests on; None without a call, and of models that keep no areas of validation."""
        return chance_of(self.description, call, area_fraction)

    @property
    def threshold_choice(self) -> dict[str, Any]:
        """How the model's own threshold was chosen, and that threshold."""
        own = float(self.description.get("threshold", self.threshold))
        return {"threshold": own, **self.description.get("threshold_choice", {})}

    @property
    def weights_sha256(self) -> str:
        """Hash of the network's weights; of several networks, of their hashes."""
        own = [str(network.description.get("weights_sha256")) for network in self.networks]
        return own[0] if len(own) == 1 else hashlib.sha256(" ".join(own).encode()).hexdigest()

    @property
    def keeps_distribution(self) -> bool:
        """Whether it can say that a sample lies outside of what it was trained on."""
        return any(network.distribution is not None for network in self.networks)

    @cached_property
    def seen(self) -> Seen:
        """The samples that trained any of its networks, or chose for it."""
        return reduce(Seen.__or__, (Seen.of_description(network.description) for network in self.networks))

    def area_rule(self) -> AreaRule:
        """What the validation samples say about the diseased part of others, at the threshold in use."""
        return AreaRule.of_choice(self.threshold_choice, threshold=self.threshold)

    def with_threshold(self, threshold: float | None) -> Model:
        """The model with another threshold in use; its own stays in the description. None keeps it."""
        return self if threshold is None else replace(self, threshold=threshold)

    def at_level_of(self, levels: Sequence[float]) -> tuple[Model, Match]:
        """The model for samples of such levels (`level.level_of`): their maps are brought to that of its validation
        samples where both differ by more than chance, which is said too.
        """
        match = Match.of(self.description.get(VALIDATION_LEVELS), levels)
        return self.with_odds(match.odds), match

    @property
    def odds(self) -> float:
        """Factor on the odds of the activations of all its networks (`level`)."""
        return self.networks[0].odds

    def with_odds(self, odds: float) -> Model:
        """The model with that factor on the odds of its activations; 1 for its maps as they are."""
        return replace(self, networks=tuple(replace(each, odds=odds) for each in self.networks))

    @property
    def is_sealed(self) -> bool:
        """Whether all descriptions state a hash of themselves; those of earlier releases do not."""
        own = (self.description, *(network.description for network in self.networks))
        return all(SEAL in description for description in own)

    def digest(self) -> str:
        """Hash of everything that a map depends on."""
        listed = [
            {name: each.description.get(name) for name in DETERMINING}
            | ({} if each.odds == 1.0 else {"odds": each.odds})
            for each in self.networks
        ]
        return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()

    def _map(
        self, network: ExtractedNetwork, canvas: np.ndarray, tissue: np.ndarray
    ) -> Float[np.ndarray, "y x"]:
        if not tissue.any():
            return np.zeros(tissue.shape, np.float32)
        return network.activation_of_canvas(canvas, tissue)

    def _traced(self, cube: Any, tissue: Any, axis: Any, prepared: bool | None) -> Float[Array, "*b y x"]:
        if isinstance(cube, Cube) or not prepared or axis is not None:
            raise ModelError(
                "inside jax transformations a model takes arrays that are prepared already: give cube.absorbance of a "
                "prepared cube and prepared=True, without wavenumbers_cm1."
            )
        self._refuse_differing_preparations()
        channels = len(self.networks[0].scaling.mean)
        if cube.ndim not in (3, 4) or cube.shape[-1] != channels:
            raise ModelError(
                f"the array has shape {cube.shape}; required is (y, x, {channels}) or (b, y, x, {channels})."
            )
        if tissue is None:
            kept = jnp.any(cube != 0, axis=-1)
            tissue = kept if self.networks[0].background == "zero" else jnp.ones_like(kept)
        self._check_masks(cube.shape, tissue)
        maps = [network.activation_of_prepared(cube, tissue) for network in self.networks]
        return jnp.clip(reduce(jnp.add, maps) / np.float32(len(maps)), 0.0, 1.0)

    def _refuse_differing_preparations(self) -> None:
        first, *others = (network.description.get("preparation") for network in self.networks)
        if any(other != first for other in others):
            raise ModelError(
                "the networks of this ensemble were prepared differently, each by its own training samples, so no "
                "array is prepared for all of them. Give spectra as measured with wavenumbers_cm1=, or a Cube."
            )

    @staticmethod
    def _check_masks(shape: tuple[int, ...], tissue: Any) -> None:
        if tissue is not None and np.shape(tissue) != tuple(shape[:-1]):
            raise ModelError(
                f"the tissue mask has shape {np.shape(tissue)}, the cube {tuple(shape)}; required is "
                f"{tuple(shape[:-1])}. Give the mask of this cube."
            )


def _as_mask(tissue: Any) -> Bool[np.ndarray, "y x"]:
    """A mask of a caller as booleans; raises ModelError of NaN, which would count as tissue."""
    mask = np.asarray(tissue)
    if mask.dtype.kind == "f" and not np.all(np.isfinite(mask)):
        raise ModelError(
            "the tissue mask holds NaN or infinite values; required is True where there is tissue. Compare it with "
            "what means tissue first, as in `mask > 0`."
        )
    return mask.astype(np.bool_)


def _real_values(cube: Any) -> np.ndarray:
    """An array of a caller as numbers; NaN where a masked array is masked, so that such spectra are left out.

    Raises:
      ModelError: of values that are no real numbers.
    """
    values = np.asarray(cube)
    if not (jnp.issubdtype(values.dtype, jnp.number) or values.dtype == np.bool_) or np.iscomplexobj(values):
        raise ModelError(
            f"the array of shape {values.shape} holds {values.dtype} values; required are real numbers. Convert it, "
            "as with array.astype(np.float32), or array.real."
        )
    if isinstance(cube, np.ma.MaskedArray) and np.ma.is_masked(cube):
        return np.where(np.ma.getmaskarray(cube), np.float32(np.nan), values)
    return values


def _at_own_pixels(found: Prediction, scaled: ToTrainingScale) -> Prediction:
    """What was predicted at the scale of the training, on the pixels of the image."""
    activations, tissue = scaled.back(np.moveaxis(found.activations, 0, -1), found.tissue)
    unfamiliar = None if found.unfamiliarity is None else scaled.back(found.unfamiliarity, found.tissue)[0]
    return replace(
        found,
        activation=scaled.back(found.activation, found.tissue)[0],
        activations=np.moveaxis(activations, -1, 0),
        tissue=tissue,
        absorbance=scaled.back(found.absorbance, found.tissue)[0],
        unfamiliarity=unfamiliar,
        notes=(*found.notes, scaled.in_words()),
        scale=scaled.scale,
        left_out=scaled.left_out(found.left_out),
    )


def _scaled(network: ExtractedNetwork, seen: NetworkInput) -> Float[np.ndarray, "v u k"]:
    """An image on its canvas, as a network takes it."""
    height, width = seen.tissue.shape
    canvas = network.empty_canvas((height, width))
    put_standardised(seen.absorbance, seen.tissue, network.scaling, canvas[:height, :width])
    return canvas


def alike(members: Sequence[Adapted]) -> list[list[Adapted]]:
    """Networks in groups whose preparation of an image is one object, in the order of their first."""
    groups: dict[int, list[Adapted]] = {}
    for member in members:
        groups.setdefault(id(member.preparation), []).append(member)
    return list(groups.values())


def averaged(totals: Sequence[Float[np.ndarray, "y x"]], networks: int) -> Float[np.ndarray, "y x"]:
    """Mean map of networks from the sums over groups of them: the one rule, so that every path rounds alike."""
    return np.clip(reduce(np.add, totals) / np.float32(networks), 0, 1)


def _range(axis: np.ndarray | None) -> str:
    return "none" if axis is None else f"{axis[0]:g} … {axis[-1]:g} cm⁻¹ in {axis.size} points"


def _of(axis: np.ndarray | None) -> str:
    return "" if axis is None else f" ({_range(axis)})"
