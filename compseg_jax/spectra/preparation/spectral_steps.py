"""Steps that are pure functions of each spectrum: axis, baseline, derivative, scale, noise, gases, cosmic rays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compseg_jax.spectra.baseline import polynomial_baseline, rubber_band
from compseg_jax.spectra.derivative import savitzky_golay
from compseg_jax.spectra.gases import CO2_HIGH_CM1, CO2_LOW_CM1, flatten_co2, subtract_vapour
from compseg_jax.spectra.normalisation import (
    amide_i_normalise,
    area_normalise,
    standard_normal_variate,
    vector_normalise,
)
from compseg_jax.spectra.preparation.reference import spectrum_of_file
from compseg_jax.spectra.preparation.step_kinds import Fitted, PreparationError, PureStep, Training
from compseg_jax.spectra.raman import remove_cosmic_rays
from compseg_jax.spectra.resampling import PAPER_AXIS_CM1, cut, resample, resampling_matrix

Axis = Float[np.ndarray, " c"]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class _Checked(PureStep):
    """A step whose function checks the axis itself: it is tried on zeros before any work starts."""

    def axis_after(self, wavenumbers_cm1: Axis) -> Axis:
        """The same axis, if the step works on it."""
        checked(self.name, lambda: self.transform(jnp.zeros((1, wavenumbers_cm1.size)), wavenumbers_cm1, {}))
        return wavenumbers_cm1


def checked(name: str, work: Callable[[], object]) -> object:
    """What ``work`` gives; its ValueError becomes a PreparationError that names the step."""
    try:
        return work()
    except PreparationError:
        raise
    except ValueError as error:
        raise PreparationError(f"step {name!r}: {error}") from error


@dataclass(frozen=True)
class Cut(PureStep):
    """Keeps the channels between two wavenumbers."""

    name: ClassVar[str] = "cut"
    first: float = float(PAPER_AXIS_CM1[0])
    """One end, cm⁻¹."""
    last: float = float(PAPER_AXIS_CM1[-1])
    """The other end, cm⁻¹."""

    def axis_after(self, wavenumbers_cm1: Axis) -> Float[np.ndarray, " k"]:
        """The channels that are kept."""
        empty = np.zeros((1, wavenumbers_cm1.size))
        kept = checked(self.name, lambda: cut(empty, wavenumbers_cm1, self.first, self.last)[1])
        return np.asarray(kept)

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``resampling.cut``."""
        return jnp.asarray(cut(spectra, wavenumbers_cm1, self.first, self.last)[0])


@dataclass(frozen=True)
class Resample(PureStep):
    """Brings every spectrum to one axis by a cubic spline; by default the paper's 450 points of 1800–948 cm⁻¹."""

    name: ClassVar[str] = "resample"
    first: float = float(PAPER_AXIS_CM1[0])
    """Wavenumber of the first channel, cm⁻¹."""
    last: float = float(PAPER_AXIS_CM1[-1])
    """Wavenumber of the last channel, cm⁻¹; below `first` the axis falls."""
    points: int = len(PAPER_AXIS_CM1)
    """Number of channels, evenly spaced."""

    def __post_init__(self) -> None:
        if self.points < 2 or self.first == self.last:
            raise ValueError(
                f"points={self.points}, first={self.first}, last={self.last}; give 2 or more points."
            )

    def axis_after(self, wavenumbers_cm1: Axis) -> Float[np.ndarray, " k"]:
        """The new axis; it must lie inside the old one."""
        wanted = np.linspace(self.first, self.last, self.points)
        checked(self.name, lambda: resampling_matrix(wavenumbers_cm1, wanted))
        return wanted

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``resampling.resample``."""
        return resample(spectra, wavenumbers_cm1, np.linspace(self.first, self.last, self.points))


@dataclass(frozen=True)
class RubberBand(_Checked):
    """Subtracts the lower convex hull of each spectrum."""

    name: ClassVar[str] = "rubberband"

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``baseline.rubber_band``."""
        return rubber_band(spectra, wavenumbers_cm1)


@dataclass(frozen=True)
class Polynomial(_Checked):
    """Subtracts a polynomial fitted below each spectrum (or through it)."""

    name: ClassVar[str] = "polynomial"
    order: int = 2
    """Order of the polynomial."""
    iterations: int = 100
    """How often channels above the polynomial are set down onto it and it is fitted again; 0 fits through."""

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``baseline.polynomial_baseline``."""
        return polynomial_baseline(spectra, wavenumbers_cm1, self.order, iterations=self.iterations)


@dataclass(frozen=True)
class Derivative(_Checked):
    """Savitzky–Golay derivative, per cm⁻¹ towards rising wavenumbers; order 0 only smooths."""

    name: ClassVar[str] = "derivative"
    order: int = 2
    """Which derivative."""
    window: int = 9
    """Channels that a polynomial is fitted to, odd."""
    polynomial: int = 3
    """Order of that polynomial."""

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``derivative.savitzky_golay``."""
        return savitzky_golay(
            spectra,
            wavenumbers_cm1,
            window=self.window,
            polynomial_order=self.polynomial,
            derivative=self.order,
        )


@dataclass(frozen=True)
class Vector(_Checked):
    """Divides each spectrum by its Euclidean norm."""

    name: ClassVar[str] = "vector"
    needs_wavenumbers: ClassVar[bool] = False
    centre: bool = False
    """Subtract the mean of the spectrum first, as OPUS does."""

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``normalisation.vector_normalise``."""
        return vector_normalise(spectra, centre=self.centre)


@dataclass(frozen=True)
class StandardNormalVariate(_Checked):
    """Subtracts the mean of each spectrum and divides by its standard deviation."""

    name: ClassVar[str] = "snv"
    needs_wavenumbers: ClassVar[bool] = False

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``normalisation.standard_normal_variate``."""
        return standard_normal_variate(spectra)


@dataclass(frozen=True)
class AmideI(_Checked):
    """Divides each spectrum by its amide I band above the line from 1600 to 1700 cm⁻¹."""

    name: ClassVar[str] = "amide1"
    by: Literal["area", "height"] = "area"
    """What of the band: area or height."""

    def __post_init__(self) -> None:
        if self.by not in ("area", "height"):
            raise ValueError(f"by={self.by!r}; it must be area or height.")

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``normalisation.amide_i_normalise``."""
        return amide_i_normalise(spectra, wavenumbers_cm1, by_height=self.by == "height")


@dataclass(frozen=True)
class Area(_Checked):
    """Divides each spectrum by its area."""

    name: ClassVar[str] = "area"

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``normalisation.area_normalise``."""
        return area_normalise(spectra, wavenumbers_cm1)


@dataclass(frozen=True)
class Co2(_Checked):
    """Replaces the band of carbon dioxide by a straight line."""

    name: ClassVar[str] = "co2"
    low: float = CO2_LOW_CM1
    """Lower edge of the band, cm⁻¹."""
    high: float = CO2_HIGH_CM1
    """Upper edge of the band, cm⁻¹."""

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``gases.flatten_co2``."""
        return flatten_co2(spectra, wavenumbers_cm1, low_cm1=self.low, high_cm1=self.high)


@dataclass(frozen=True)
class Vapour(PureStep):
    """Subtracts as much of a water-vapour spectrum as each spectrum holds."""

    name: ClassVar[str] = "vapour"
    files: ClassVar[tuple[str, ...]] = ("spectrum",)
    spectrum: str = ""
    """File of a vapour spectrum of the same instrument (required)."""

    def __post_init__(self) -> None:
        if not self.spectrum:
            raise ValueError("it needs a file; write vapour:spectrum=FILE.")

    def fit(self, wavenumbers_cm1: Axis, training: Training | None) -> Fitted:
        """Reads the vapour spectrum and checks that it has lines."""
        vapour = spectrum_of_file(self.name, "spectrum", self.spectrum, wavenumbers_cm1)
        empty = jnp.zeros((1, wavenumbers_cm1.size))
        checked(self.name, lambda: subtract_vapour(empty, wavenumbers_cm1, vapour))
        return {"vapour": vapour}

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``gases.subtract_vapour``."""
        return subtract_vapour(spectra, wavenumbers_cm1, fitted["vapour"]).corrected


@dataclass(frozen=True)
class CosmicRays(_Checked):
    """Raman: replaces narrow spikes by the mean of the channels beside them."""

    name: ClassVar[str] = "cosmic"
    threshold: float = 7.0
    """Least modified z-score of a spike's flanks."""
    width: int = 3
    """Widest spike, in channels."""

    def transform(self, spectra: Float[Array, "n c"], wavenumbers_cm1: Axis, fitted: Arrays) -> Array:
        """``raman.remove_cosmic_rays``."""
        return remove_cosmic_rays(spectra, threshold=self.threshold, max_width=self.width)
