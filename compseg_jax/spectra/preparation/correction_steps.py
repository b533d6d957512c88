"""Steps that model scatter and baselines: EMSC, Mie-extinction EMSC, resonant Mie, asymmetric least squares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compseg_jax.spectra.preparation.reference import spectra_of_file, spectrum_of_file
from compseg_jax.spectra.preparation.spectral_steps import checked
from compseg_jax.spectra.preparation.step_kinds import (
    MEAN,
    Corrected,
    Fitted,
    HostStep,
    PureStep,
    Step,
    Training,
)
from compseg_jax.spectra.raman import asls_baseline
from compseg_jax.spectra.scatter.emsc import emsc
from compseg_jax.spectra.scatter.kramers_kronig import dispersion_matrix
from compseg_jax.spectra.scatter.mie import MieSettings, correct_chunks
from compseg_jax.spectra.scatter.mie_loop import StopRule
from compseg_jax.spectra.scatter.mie_model import mie_model
from compseg_jax.spectra.scatter.resonant_mie import rmies

Axis = Float[np.ndarray, " c"]


@dataclass(frozen=True)
class _WithReference(Step):
    """A step with a reference spectrum, of a file or the mean of the training tissue."""

    files: ClassVar[tuple[str, ...]] = ("reference",)
    reference: str = MEAN
    """File of a pure spectrum of similar chemistry (Matrigel for tissue), or 'mean': of the training tissue."""

    @property
    def needs_training(self) -> bool:
        """Whether the reference is the mean of the training tissue."""
        return self.reference == MEAN

    def reference_on(self, wavenumbers_cm1: Axis, training: Training | None) -> Axis:
        """The reference on the axis of the spectra."""
        if self.reference == MEAN:
            assert training is not None
            return training.moments.mean
        return spectrum_of_file(self.name, "reference", self.reference, wavenumbers_cm1)


@dataclass(frozen=True)
class _Scatter(_WithReference, HostStep):
    """A correction of scattering by spheres."""

    expensive: ClassVar[bool] = True

    def axis_after(self, wavenumbers_cm1: Axis) -> Axis:
        """The same axis, if it can be continued as the dispersion needs it."""
        checked(self.name, lambda: dispersion_matrix(wavenumbers_cm1))
        return wavenumbers_cm1


@dataclass(frozen=True)
class Emsc(_WithReference, PureStep):
    """EMSC: removes polynomial baseline and interferents by one linear fit, scales to the reference."""

    name: ClassVar[str] = "emsc"
    files: ClassVar[tuple[str, ...]] = ("reference", "interferents", "constituents")
    polynomial: int = 2
    """Order of the baseline."""
    interferents: str = ""
    """File of spectra to remove, such as vapour or paraffin."""
    constituents: str = ""
    """File of spectra that vary chemically and stay."""

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """Reference, interferents and constituents on the axis."""
        fitted = {"reference": self.reference_on(wavenumbers_cm1, training)}
        for setting in ("interferents", "constituents"):
            file = getattr(self, setting)
            if file:
                fitted[setting] = spectra_of_file(self.name, setting, file, wavenumbers_cm1)
        return fitted

    def transform(
        self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Mapping[str, Array]
    ) -> Array:
        """``emsc.emsc``."""
        return emsc(
            spectra,
            jnp.asarray(wavenumbers_cm1, spectra.dtype),
            fitted["reference"],
            polynomial_order=self.polynomial,
            interferents=fitted.get("interferents"),
            constituents=fitted.get("constituents"),
        ).corrected


@dataclass(frozen=True)
class Mie(_Scatter):
    """Mie-extinction EMSC (Solheim et al. 2019); spectra that do not converge are dropped."""

    name: ClassVar[str] = "mie"
    failures: ClassVar[tuple[str, ...]] = ("not converged", "no finite result")
    components: int | None = None
    """Mie components; none: by explained variance."""
    stop: Literal["matlab", "tolerance"] = "matlab"
    """Stopping rule: that of the original code, or that of biospectools."""
    max_iterations: int = 45
    """Iterations after which a spectrum counts as not converged."""

    def __post_init__(self) -> None:
        self.rule()

    def rule(self) -> StopRule:
        """When a spectrum has converged; raises ValueError where the settings do not fit."""
        return StopRule(self.stop, max_iterations=self.max_iterations)

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """The reference on the axis, tried on the model."""
        reference = self.reference_on(wavenumbers_cm1, training)
        checked(self.name, lambda: mie_model(wavenumbers_cm1, reference, n_components=self.components))
        return {"reference": reference}

    def correct(self, spectra: Float[np.ndarray, "n c"], wavenumbers_cm1: Axis, fitted: Fitted) -> Corrected:
        """``mie.correct_chunks`` of one chunk."""
        settings = MieSettings(self.components, self.rule())
        [done] = correct_chunks([spectra], wavenumbers_cm1, fitted["reference"], settings=settings)
        failed = np.where(done.unconverged, 1, np.where(done.failed, 2, 0)).astype(np.int8)
        return Corrected(done.result.corrected.astype(np.float32, copy=False), failed)


@dataclass(frozen=True)
class ResonantMie(_Scatter):
    """Resonant Mie correction (Bassan et al. 2010), which the paper's spectra had."""

    name: ClassVar[str] = "rmies"
    failures: ClassVar[tuple[str, ...]] = ("no finite result",)
    components: int = 7
    """Scattering components."""
    iterations: int = 10
    """Iterations of every spectrum."""

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """The reference on the axis, tried on the model."""
        reference = self.reference_on(wavenumbers_cm1, training)
        checked(self.name, lambda: mie_model(wavenumbers_cm1, reference, n_components=self.components))
        return {"reference": reference}

    def correct(self, spectra: Float[np.ndarray, "n c"], wavenumbers_cm1: Axis, fitted: Fitted) -> Corrected:
        """``rmies.rmies``."""
        result = rmies(
            spectra,
            wavenumbers_cm1,
            fitted["reference"],
            n_components=self.components,
            iterations=self.iterations,
        )
        return Corrected(
            result.corrected.astype(np.float32, copy=False), np.isnan(result.rmse).astype(np.int8)
        )


@dataclass(frozen=True)
class AsymmetricLeastSquares(HostStep):
    """Raman: subtracts the asymmetric least squares baseline, through pybaselines."""

    name: ClassVar[str] = "asls"
    expensive: ClassVar[bool] = True
    smoothness: float = 1e6
    """Weight of the baseline's second differences (λ)."""
    asymmetry: float = 0.01
    """Weight of channels above the baseline (p), 0 to 1."""

    def axis_after(self, wavenumbers_cm1: Axis) -> Axis:
        """The same axis, if the library and the settings are right."""
        checked(
            self.name,
            lambda: self.correct(np.zeros((1, wavenumbers_cm1.size), np.float32), wavenumbers_cm1, {}),
        )
        return wavenumbers_cm1

    def correct(self, spectra: Float[np.ndarray, "n c"], wavenumbers_cm1: Axis, fitted: Fitted) -> Corrected:
        """``raman.asls_baseline``."""
        settings = {"smoothness": self.smoothness, "asymmetry": self.asymmetry}
        result = asls_baseline(spectra, wavenumbers_cm1, **settings)
        return Corrected(result.astype(np.float32, copy=False), np.zeros(len(spectra), np.int8))
