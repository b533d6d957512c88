"""Preparation of spectra: a declarative list of steps, fitted on training samples, stored with the model."""

from compseg_jax.spectra.preparation.kept import KeptChunks
from compseg_jax.spectra.preparation.parsing import help_text, parse_steps
from compseg_jax.spectra.preparation.pipeline import (
    FittedStep,
    Preparation,
    axis_of_steps,
    check_steps,
    fit_preparation,
    refuse_without_wavenumbers,
)
from compseg_jax.spectra.preparation.step import Image, PreparationError, Step
from compseg_jax.spectra.preparation.steps import STEPS

__all__ = [
    "STEPS",
    "FittedStep",
    "Image",
    "KeptChunks",
    "Preparation",
    "PreparationError",
    "Step",
    "axis_of_steps",
    "check_steps",
    "fit_preparation",
    "help_text",
    "parse_steps",
    "refuse_without_wavenumbers",
]
