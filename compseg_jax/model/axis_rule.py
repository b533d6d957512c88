"""From the spectral axis of an image to that of a network: as it is, resampled, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Float

from compseg_jax.model.bundle import AXIS_TOLERANCE_CM1, ModelError, SegmentingModel
from compseg_jax.readers.scan import Scan
from compseg_jax.spectra.preparation import FittedStep, Preparation, PreparationError
from compseg_jax.spectra.preparation.spectral_steps import Arrays, Axis, Cut
from compseg_jax.spectra.preparation.step import PureStep
from compseg_jax.spectra.resampling import resample, resampling_matrix


@dataclass(frozen=True)
class OntoAxis(PureStep):
    """Brings spectra to the axis that a network was trained behind."""

    name: ClassVar[str] = "onto the model's axis"
    wavenumbers_cm1: tuple[float, ...] = ()

    def axis_after(self, wavenumbers_cm1: Axis) -> Axis:
        """The network's axis."""
        return np.array(self.wavenumbers_cm1)

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``resampling.resample``."""
        return resample(spectra, wavenumbers_cm1, np.array(self.wavenumbers_cm1))


def preparation_for(model: SegmentingModel, steps: Preparation | None, scan: Scan) -> Preparation | None:
    """What the spectra of an image go through before the network; None where they are taken as they are.

    Args:
      model: the network.
      steps: what its training images went through from the state that this image is in.
      scan: the image.

    Raises:
      ModelError: when channels or axis do not fit the network, with both ranges.
    """
    source = scan.provenance.get("source", "the image")
    own, wanted = scan.wavenumbers_cm1, model.wavenumbers_cm1
    if (own is None) != (wanted is None):
        which = "the model" if own is None else "the image"
        raise ModelError(
            f"{source}: only {which} states wavenumbers; the network needs images like those it was trained on. "
            "Give the axis of the image with --axis, or another model."
        )
    if own is None or wanted is None:
        needed = len(model.scaling.mean) if steps is None else steps.steps[0].wavenumbers_cm1.size
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


def _fitting(steps: Preparation | None, axis: Axis, wanted: Axis) -> Preparation | None:
    """The steps that lead from one axis to another, resampling first where needed; None where nothing does."""
    fitted = () if steps is None else steps.steps
    if steps is not None:
        try:
            if _same(steps.axis_after(axis), wanted):
                return steps
        except PreparationError:
            pass
    elif _same(axis, wanted):
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


def _same(one: Axis, other: Axis) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=AXIS_TOLERANCE_CM1))


def _refusal(steps: Preparation | None, axis: Axis, wanted: Axis) -> str:
    trained = wanted if steps is None else steps.steps[0].wavenumbers_cm1
    behind = "" if steps is None else f" (behind its preparation {_range(wanted)})"
    return (
        f"the spectra cover {_range(axis)}, the model was trained on {_range(trained)}{behind}; spectra are resampled "
        "where they cover the model's range without a gap. Measure that range, or train a model on the range that "
        "both cover."
    )


def _range(axis: Axis) -> str:
    return f"{axis[0]:g} … {axis[-1]:g} cm⁻¹ in {axis.size} points"
