"""From the state and axis of an image to those of a network: taken as it is, prepared, resampled, or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.scale import is_other_scale, scale_in_words, scale_of
from compseg_jax.model.specimen import Specimen
from compseg_jax.readers.axis import same_axis
from compseg_jax.spectra.preparation import FittedStep, Preparation, PreparationError
from compseg_jax.spectra.preparation.spectral_steps import Arrays, Axis, Cut
from compseg_jax.spectra.preparation.step_kinds import PureStep
from compseg_jax.spectra.resampling import resample, resampling_matrix


@dataclass(frozen=True)
class OntoAxis(PureStep):
    """Brings spectra to the axis that a network was trained on."""

    name: ClassVar[str] = "onto the model's axis"
    wavenumbers_cm1: tuple[float, ...] = ()

    def axis_after(self, wavenumbers_cm1: Axis) -> Float[np.ndarray, " k"]:
        """The network's axis."""
        return np.array(self.wavenumbers_cm1)

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``resampling.resample``."""
        return resample(spectra, wavenumbers_cm1, np.array(self.wavenumbers_cm1))


class Adapted(NamedTuple):
    """A network, what the spectra of the image at hand go through before it, and what of that is remarkable."""

    network: ExtractedNetwork
    preparation: Preparation | None
    notes: tuple[str, ...] = ()


def adapted(networks: Sequence[ExtractedNetwork], specimen: Specimen) -> tuple[Adapted, ...]:
    """The networks with what an image goes through before each; equal preparations are one object.

    Raises:
      ModelError: when the image does not fit a network.
    """
    known: dict[tuple[str, bytes], Adapted] = {}
    found = []
    for network in networks:
        axis = network.wavenumbers_cm1
        key = json.dumps(network.description.get("preparation")), b"" if axis is None else axis.tobytes()
        if key not in known:
            known[key] = _adapted(network, specimen)
        found.append(known[key]._replace(network=network))
    return tuple(found)


def _adapted(network: ExtractedNetwork, specimen: Specimen) -> Adapted:
    steps = network.steps_after(specimen.steps, specimen.source)
    preparation = _preparation_for(network, steps, specimen)
    notes = []
    missing = int(network.description.get("prepared_steps") or 0) - len(specimen.steps)
    if missing > 0 and steps is not None:
        names = ", ".join(each.step.name for each in steps.steps[:missing])
        notes.append(f"prepared by the model, as its training store was: {names}")
    if preparation is not None and isinstance(preparation.steps[0].step, OntoAxis):
        own, onto = preparation.steps[0].wavenumbers_cm1, np.array(preparation.steps[0].step.wavenumbers_cm1)
        change = "channels reversed" if same_axis(own[::-1], onto) else "spectra resampled"
        notes.append(f"{change} from {_range(own)} to {_range(onto)}")
    own_um = specimen.scan.pixel_size_um
    scale = scale_of(network.description, own_um)
    if own_um and scale is not None and is_other_scale(scale):
        notes.append(f"{scale_in_words(scale, own_um)} (--to-training-scale brings it to theirs)")
    return Adapted(network, preparation, tuple(notes))


def _preparation_for(
    network: ExtractedNetwork, steps: Preparation | None, specimen: Specimen
) -> Preparation | None:
    """What the spectra of an image go through before the network; None where they are taken as they are.

    Args:
      network: the network.
      steps: what its training images went through from the state that this image is in.
      specimen: the image.

    Raises:
      ModelError: when channels or axis do not fit the network, with both ranges.
    """
    source, scan = specimen.source, specimen.scan
    own, wanted = scan.wavenumbers_cm1, network.wavenumbers_cm1
    if (own is None) != (wanted is None):
        which = "the model" if own is None else "the image"
        raise ModelError(
            f"{source}: only {which} states wavenumbers; the network needs images like those it was trained on. "
            "Give the axis of the image (wavenumbers_cm1=; with a store, when it is ingested), or another model."
        )
    if own is None or wanted is None:
        needed = len(network.scaling.mean) if steps is None else steps.steps[0].wavenumbers_cm1.size
        if scan.shape[2] != needed:
            raise ModelError(
                f"{source}: found {scan.shape[2]} channels; the model needs {needed}. Give images like those it was "
                "trained on."
            )
        return steps
    axis = np.ascontiguousarray(own, np.float64)
    found = _fitting(steps, axis, wanted)
    if found is None:
        raise ModelError(f"{source}: {_refusal(steps, axis, wanted)}")
    return None if found.steps == () else found


def _fitting(steps: Preparation | None, axis: Axis, wanted: Float[np.ndarray, " k"]) -> Preparation | None:
    """The steps that lead from one axis to another, resampling first where needed; None where nothing does."""
    fitted = () if steps is None else steps.steps
    if steps is not None:
        try:
            if same_axis(steps.axis_after(axis), wanted):
                return steps
        except PreparationError:
            pass
    elif same_axis(axis, wanted):
        return Preparation((), axis)
    # What a cut takes away need not have been measured.
    cuts = len(list(takewhile(lambda each: isinstance(each.step, Cut), fitted)))
    for skipped in sorted({0, cuts}):
        target = fitted[skipped].wavenumbers_cm1 if skipped < len(fitted) else wanted
        try:
            resampling_matrix(axis, target)
        except ValueError:
            continue
        first = FittedStep(OntoAxis(tuple(target.tolist())), axis, {})
        return Preparation((first, *fitted[skipped:]), wanted)
    return None


def _refusal(steps: Preparation | None, axis: Axis, wanted: Float[np.ndarray, " k"]) -> str:
    trained = wanted if steps is None else steps.steps[0].wavenumbers_cm1
    after = "" if steps is None else f" (after its preparation {_range(wanted)})"
    return (
        f"the spectra cover {_range(axis)}, the model was trained on {_range(trained)}{after}; spectra are resampled "
        "where they cover the model's range without a gap. Measure that range, or train a model on the range that "
        "both cover."
    )


def _range(axis: Axis) -> str:
    return f"{axis[0]:g} … {axis[-1]:g} cm⁻¹ in {axis.size} points"
