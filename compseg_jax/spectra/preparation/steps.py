"""All preparation steps by the name they are written with."""

from __future__ import annotations

from collections.abc import Mapping

from compseg_jax.spectra.preparation import correction_steps, denoising_steps, image_steps, spectral_steps
from compseg_jax.spectra.preparation.step_kinds import Step

_ALL: tuple[type[Step], ...] = (
    image_steps.Tissue,
    image_steps.Quality,
    image_steps.Foreground,
    image_steps.ZScore,
    spectral_steps.Cut,
    spectral_steps.Resample,
    spectral_steps.Co2,
    spectral_steps.Vapour,
    correction_steps.Mie,
    correction_steps.ResonantMie,
    correction_steps.Emsc,
    spectral_steps.RubberBand,
    spectral_steps.Polynomial,
    spectral_steps.Derivative,
    spectral_steps.Vector,
    spectral_steps.StandardNormalVariate,
    spectral_steps.AmideI,
    spectral_steps.Area,
    denoising_steps.Pca,
    denoising_steps.Mnf,
    spectral_steps.CosmicRays,
    correction_steps.AsymmetricLeastSquares,
)
STEPS: Mapping[str, type[Step]] = {step.name: step for step in _ALL}
