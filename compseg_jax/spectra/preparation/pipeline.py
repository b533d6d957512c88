"""From raw spectra to prepared ones: a list of steps, applied in order, each the same way everywhere.

``fit_preparation`` lets the steps take what they need from files and from the training samples;
the result, a ``Preparation``, is stored with data and model, and applying it to a raw image repeats every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compseg_jax.readers.axis import same_axis
from compseg_jax.spectra.denoising import SpectralMoments, noise_moments
from compseg_jax.spectra.preparation import chunks
from compseg_jax.spectra.preparation.kept import KeptChunks, content_key
from compseg_jax.spectra.preparation.reference import spectra_of_file
from compseg_jax.spectra.preparation.step_kinds import (
    MEAN,
    Corrected,
    Fitted,
    HostStep,
    Image,
    ImageStep,
    PreparationError,
    PureStep,
    Step,
    Training,
)
from compseg_jax.spectra.preparation.step_words import step_of, step_to_json

Progress = Callable[[float], None]
OfImage = Callable[[Image], Training]


@dataclass(frozen=True, eq=False)
class FittedStep:
    """A step, the arrays it was fitted to, and the axis it stands on.

    Attributes:
      step: the step with its settings.
      wavenumbers_cm1: axis before the step, shape (c,).
      fitted: its arrays by name.
    """

    step: Step
    wavenumbers_cm1: Float[np.ndarray, " c"]
    fitted: Fitted


@dataclass(frozen=True, eq=False)
class Preparation:
    """Fitted steps in order; call it with an image before the first step.

    Attributes:
      steps: what is applied.
      wavenumbers_cm1: axis after the last step, shape (c,).
    """

    steps: tuple[FittedStep, ...]
    wavenumbers_cm1: Float[np.ndarray, " c"]

    def __call__(
        self, image: Image, *, kept: KeptChunks | None = None, progress: Progress = lambda share: None
    ) -> Image:
        """The prepared image; pixels without a trustworthy result are dropped, each with its reason.

        Args:
          image: raw spectra and the pixels that may hold tissue.
          kept: where chunks of expensive steps are kept and found again.
          progress: called with the share of the image that is done, 0 to 1.

        Raises:
          PreparationError: when the axis is not the one the steps were fitted on, or does not hold a step.
        """
        image = without_broken(image)
        for number, fitted in enumerate(self.steps):

            def share(part: float, done: int = number) -> None:
                progress((done + part) / len(self.steps))

            image = apply_step(fitted, image, kept, share)
        return image

    def axis_after(self, wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " k"]:
        """The axis that spectra on a raw axis have after the last step; raises PreparationError as calling does."""
        for fitted in self.steps:
            _check_axis(fitted, wavenumbers_cm1)
            wavenumbers_cm1 = fitted.step.axis_after(wavenumbers_cm1)
        return wavenumbers_cm1

    def to_json(self) -> list[dict[str, Any]]:
        """Everything about the steps as JSON values; arrays only where a step was fitted."""
        listed = []
        for each in self.steps:
            values = step_to_json(each.step)
            values["wavenumbers_cm1"] = [float(value) for value in each.wavenumbers_cm1]
            values["fitted"] = {name: np.asarray(array).tolist() for name, array in each.fitted.items()}
            listed.append(values)
        return listed

    @classmethod
    def from_json(cls, listed: Iterable[Mapping[str, Any]]) -> Preparation:
        """What ``to_json`` wrote.

        Raises:
          PreparationError: when a step is unknown to this version.
        """
        steps = [
            FittedStep(
                step_of(values["step"], values["settings"]),
                np.asarray(values["wavenumbers_cm1"], np.float64),
                {name: np.asarray(array, np.float32) for name, array in values["fitted"].items()},
            )
            for values in listed
        ]
        if not steps:
            raise PreparationError("a stored preparation has no steps; the file is damaged, ingest again.")
        return cls(tuple(steps), steps[-1].step.axis_after(steps[-1].wavenumbers_cm1))


def fit_preparation(
    steps: Iterable[Step],
    wavenumbers_cm1: Float[np.ndarray, " c"],
    training: Callable[[], Iterable[Image]],
    *,
    kept: KeptChunks | None = None,
) -> Preparation:
    """Fits every step, in order, on the training samples as the steps before it leave them.

    Args:
      steps: what to apply.
      wavenumbers_cm1: raw axis.
      training: gives the raw training images anew each time it is called; called once for each step that
        learns from them.
      kept: as for calling a ``Preparation``.

    Raises:
      PreparationError: when a step does not fit the axis or its files, or no training pixel is left.
    """
    steps = tuple(steps)
    check_steps(steps, wavenumbers_cm1)
    fitted = Preparation((), np.asarray(wavenumbers_cm1, np.float64))
    for step in steps:

        def learnt(of_image: OfImage, done: Preparation = fitted) -> Iterator[Training]:
            return (of_image(done(raw, kept=kept)) for raw in training())

        fitted = with_step(fitted, step, learnt)
    return fitted


def with_step(done: Preparation, step: Step, learnt: Callable[[OfImage], Iterable[Training]]) -> Preparation:
    """The steps so far and one more, fitted.

    Args:
      done: the steps before it.
      step: what to add.
      learnt: gives what a function finds in each training image after ``done``; called where the step learns.

    Raises:
      PreparationError: when the step does not fit the axis or its files, or no training pixel is left.
    """
    axis = done.wavenumbers_cm1
    found = _merged(step, axis.size, learnt(partial(_learnt, step))) if step.needs_training else None
    fitted = {name: np.asarray(array, np.float32) for name, array in step.fit(axis, found).items()}
    return Preparation((*done.steps, FittedStep(step, axis, fitted)), step.axis_after(axis))


def check_steps(steps: Iterable[Step], wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " k"]:
    """The axis after the steps, which raise PreparationError where they or their files do not fit it."""
    for step in steps:
        for setting in step.files:
            file = getattr(step, setting)
            if file and file != MEAN:
                spectra_of_file(step.name, setting, file, wavenumbers_cm1)
        wavenumbers_cm1 = step.axis_after(wavenumbers_cm1)
    return wavenumbers_cm1


def without_broken(image: Image) -> Image:
    """The image without spectra that hold NaN or infinite values, before the first step."""
    return image.dropped(np.all(np.isfinite(image.spectra), axis=1), "NaN or infinite values")


def axis_of_steps(wavenumbers_cm1: Float[np.ndarray, " c"] | None, channels: int) -> Float[np.ndarray, " c"]:
    """The axis that steps see: wavenumbers, or the channels' numbers for ordinary images."""
    return np.arange(float(channels)) if wavenumbers_cm1 is None else wavenumbers_cm1


def refuse_without_wavenumbers(
    steps: Iterable[Step], wavenumbers_cm1: Float[np.ndarray, " c"] | None, place: str
) -> None:
    """Raises PreparationError where steps need wavenumbers and the images at ``place`` state none."""
    spectral = [step.name for step in steps if step.needs_wavenumbers]
    if wavenumbers_cm1 is None and spectral:
        raise PreparationError(
            f"{place}: these images state no wavenumbers, which {', '.join(spectral)} needs. Leave it out of "
            "--prepare, or give files with their axis."
        )


def _learnt(step: Step, image: Image) -> Training:
    """What a step may learn from one image."""
    moments = SpectralMoments.of(image.spectra)
    if not step.learns_noise:
        return Training(moments, SpectralMoments.empty(moments.mean.size))
    return Training(moments, noise_moments(image.absorbance, image.mask))


def _merged(step: Step, channels: int, learnt: Iterable[Training]) -> Training:
    moments = noise = SpectralMoments.empty(channels)
    for of_image in learnt:
        moments = moments.merge(of_image.moments)
        if step.learns_noise:
            noise = noise.merge(of_image.noise)
    if not moments.count:
        raise PreparationError(
            f"step {step.name!r} learns from the training samples, but the steps before it left no pixel of them. "
            "Loosen those steps, or check the samples with `compseg info`."
        )
    return Training(moments, noise)


def apply_step(
    fitted: FittedStep,
    image: Image,
    kept: KeptChunks | None = None,
    progress: Progress = lambda share: None,
) -> Image:
    """The image after one step; raises PreparationError where the step does not fit its axis."""
    step = fitted.step
    _check_axis(fitted, image.wavenumbers_cm1)
    if isinstance(step, ImageStep):
        image = step.applied(image)
        progress(1.0)
        return image
    axis = _axis_after(step, image.wavenumbers_cm1.tobytes())
    parts = list(_chunks(fitted, image, kept, progress))
    spectra = (
        np.concatenate([part.spectra for part in parts]) if parts else np.zeros((0, axis.size), np.float32)
    )
    failed = np.concatenate([part.failed for part in parts]) if parts else np.zeros(0, np.int8)
    result = replace(image, spectra=spectra.astype(np.float32, copy=False), wavenumbers_cm1=axis)
    for number, why in enumerate(step.failures, 1):
        result = result.dropped(failed != number, f"{step.name}: {why}")
        failed = failed[failed != number]
    return result.dropped(np.all(np.isfinite(result.spectra), axis=1), f"{step.name}: no finite result")


def _chunks(
    fitted: FittedStep, image: Image, kept: KeptChunks | None, progress: Progress
) -> Iterator[Corrected]:
    total = len(image.spectra)
    for start in range(0, total, chunks.CHUNK_SPECTRA):
        chunk = image.spectra[start : start + chunks.CHUNK_SPECTRA]
        yield _corrected(fitted, chunk, image.wavenumbers_cm1, kept)
        progress(min(1.0, (start + chunks.CHUNK_SPECTRA) / total))


def _corrected(
    fitted: FittedStep,
    chunk: Float[np.ndarray, "n c"],
    axis: Float[np.ndarray, " c"],
    kept: KeptChunks | None,
) -> Corrected:
    step = fitted.step
    if isinstance(step, PureStep):
        arrays = {name: jnp.asarray(array) for name, array in fitted.fitted.items()}
        padded = jnp.asarray(chunks.padded(chunk))
        result = np.asarray(_transformed(step, axis.tobytes(), padded, arrays))[: len(chunk)]
        return Corrected(result, np.zeros(len(chunk), np.int8))
    if not isinstance(step, HostStep):
        raise TypeError(f"{type(step).__name__} is neither a PureStep nor a HostStep nor a ImageStep.")
    if kept is None or not step.expensive:
        return step.correct(chunk, axis, fitted.fitted)
    name = content_key(step, fitted.fitted, axis, chunk)
    found = kept.get(name)
    if found is not None:
        return Corrected(**found)
    corrected = step.correct(chunk, axis, fitted.fitted)
    kept.put(name, **corrected._asdict())
    return corrected


@lru_cache(maxsize=64)
def _axis_after(step: Step, axis: bytes) -> Float[np.ndarray, " k"]:
    """Checking a step against an axis takes longer than many a step does."""
    return step.axis_after(np.frombuffer(axis))


@partial(jax.jit, static_argnums=(0, 1))
def _transformed(
    step: PureStep, axis: bytes, spectra: Float[Array, "n c"], fitted: Mapping[str, Array]
) -> Float[Array, "n k"]:
    return step.transform(spectra, np.frombuffer(axis), fitted)


def _check_axis(fitted: FittedStep, axis: Float[np.ndarray, " c"]) -> None:
    """A step that holds arrays works only on the axis these stand on."""
    own = fitted.wavenumbers_cm1
    if not fitted.fitted:
        return
    if not same_axis(own, axis):
        raise PreparationError(
            f"step {fitted.step.name!r} was fitted on {own.size} wavenumbers ({own[0]:g} … {own[-1]:g} cm⁻¹), the "
            f"spectra have {axis.size} ({axis[0]:g} … {axis[-1]:g} cm⁻¹). Put the step `resample` before it."
        )
