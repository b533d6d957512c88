"""Preparation of spectra: a declarative list of steps, fitted on training samples, stored with the model."""

from compseg_jax.spectra.preparation.kept import KeptChunks, content_key, image_key
from compseg_jax.spectra.preparation.pipeline import (
    FittedStep,
    OfImage,
    Preparation,
    apply_step,
    axis_of_steps,
    check_steps,
    fit_preparation,
    refuse_without_wavenumbers,
    with_step,
    without_broken,
)
from compseg_jax.spectra.preparation.step_kinds import Image, PreparationError, Step, Training
from compseg_jax.spectra.preparation.step_words import help_text, parse_steps
from compseg_jax.spectra.preparation.steps import STEPS

__all__ = [
    "STEPS",
    "FittedStep",
    "Image",
    "KeptChunks",
    "OfImage",
    "Preparation",
    "PreparationError",
    "Step",
    "Training",
    "apply_step",
    "axis_of_steps",
    "check_steps",
    "content_key",
    "fit_preparation",
    "help_text",
    "image_key",
    "parse_steps",
    "refuse_without_wavenumbers",
    "with_step",
    "without_broken",
]
