"""Steps that rebuild spectra from a few components of the training tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.spectra.denoising import Projection, mnf_projection, pca_projection
from compseg_jax.spectra.preparation.spectral_steps import Arrays, Axis, checked
from compseg_jax.spectra.preparation.step_kinds import Fitted, PureStep, Training


@dataclass(frozen=True)
class _Denoising(PureStep):
    """Rebuilds each spectrum from components that were fitted on the training tissue."""

    learns: ClassVar[bool] = True
    needs_wavenumbers: ClassVar[bool] = False

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``denoising.project``."""
        centred = spectra - fitted["mean"][None, :]
        scores = jnp.matmul(centred, fitted["analysis"], precision="highest")
        return fitted["mean"][None, :] + jnp.matmul(scores, fitted["synthesis"], precision="highest")


@dataclass(frozen=True)
class Pca(_Denoising):
    """Keeps the leading principal components of the training tissue."""

    name: ClassVar[str] = "pca"
    components: int | None = None
    """How many; none: the fewest that explain `variance`."""
    variance: float = 0.99
    """Share of the variance to explain, where `components` is none."""

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """``denoising.pca_projection`` of the training tissue."""
        assert training is not None
        moments, share = training.moments, self.variance
        return _kept(
            checked(self.name, lambda: pca_projection(moments, self.components, explained_variance=share))
        )


@dataclass(frozen=True)
class Mnf(_Denoising):
    """Keeps the components of the training tissue with the best signal-to-noise ratio (minimum noise fraction)."""

    name: ClassVar[str] = "mnf"
    learns_noise: ClassVar[bool] = True
    components: int | None = None
    """How many; none: all whose ratio of variances exceeds `snr`."""
    snr: float = 1.0
    """Least ratio of the variances of signal and noise, where `components` is none."""

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """``denoising.mnf_projection`` of the training tissue."""
        assert training is not None
        moments, noise = training.moments, training.noise
        return _kept(
            checked(
                self.name,
                lambda: mnf_projection(moments, noise, self.components, snr_threshold=self.snr),
            )
        )


def _kept(projection: object) -> Fitted:
    assert isinstance(projection, Projection)
    return {name: getattr(projection, name) for name in ("mean", "analysis", "synthesis")}
