"""Which spectra are good enough: the quality tests of infrared imaging, spectrum by spectrum.

They belong on raw absorbance, before any normalisation, scatter correction or smoothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int8

from compseg_jax.readers.amide_i import AMIDE_I_TOP_CM1
from compseg_jax.spectra.resampling import AnyArray
from compseg_jax.spectra.tissue import BASELINE_CM1, amide_i_map, band_channels, checked_axis

NOISE_BANDS_CM1 = ((2000.0, 2200.0), (2500.0, 2700.0))  # silent, free of CO₂ and nearly of vapour lines
VAPOUR_CM1 = (1700.0, 1850.0)  # water lines every 15–20 cm⁻¹, no protein; the only tissue bands are broad
LINE_WINDOW_CM1 = 24.0  # a parabola over it follows the ester C=O band (27 cm⁻¹ wide) and no line
COARSEST_NOISE_STEP_CM1 = 8.0  # beyond it neighbours differ by the flanks of bands, not by noise
COARSEST_VAPOUR_STEP_CM1 = 5.0  # beyond it a window holds too few channels to part lines from bands
LEAST_NOISE_CHANNELS = 10  # silent channels, or second differences
FLAT_TOP_CHANNELS = 4  # neighbours that share the highest value to the last bit: clipped
NORMAL_MAD = 0.67449  # median of |x| for a normal x of unit standard deviation
VAPOUR_SIGNIFICANCE = 4.0  # standard deviations of the noise's power that are not taken for vapour

REASONS = ("kept", "not finite", "saturated", "too thin", "too thick", "too noisy", "water vapour")


@dataclass(frozen=True)
class QualityLimits:
    """Limits of the quality tests; None switches a test off. Spectra with values not finite always fail."""

    max_absorbance: float | None = 2.0
    """Saturation: highest raw absorbance of any channel. At 2 the detector sees 1 % of the light, and stray light or
    an offset of .5 % already makes the absorbance 9 % too low."""
    min_amide_i: float | None = 0.1
    """Too thin: least height of amide I, in absorbance, about the height of 1 µm of tissue."""
    max_amide_i: float | None = 1.5
    """Too thick: greatest height of amide I, in absorbance; at 1.5 stray light of .5 % makes it 4 % too low."""
    min_snr: float | None = 10.0
    """Too noisy: least height of amide I in standard deviations of the noise. At 10, bands a tenth as high as amide I,
    which tell much of the tissue's composition, equal the noise."""
    max_vapour: float | None = 0.01
    """Water vapour: greatest RMS of sharp lines at 1700–1850 cm⁻¹ as a share of the height of amide I. Vapour
    measured at 4 cm⁻¹ has lines 9 times as high at 1640–1670 cm⁻¹: at .01 they are a tenth of amide I."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise ValueError(f"{field.name}: found {value}; it must be 0 or more, or None (no test).")


class Quality(NamedTuple):
    """Measured quality of spectra; NaN where the axis does not allow a measurement.

    Attributes:
      amide_i: height of amide I, in absorbance (`compseg_jax.spectra.tissue.amide_i_map`).
      snr: height of amide I divided by the standard deviation of the noise.
      saturation: highest absorbance; infinite where four or more neighbouring channels share it to the last bit
        (clipped) or a value is not finite.
      vapour: RMS of sharp lines at 1700–1850 cm⁻¹ beyond noise, divided by the height of amide I; infinite or NaN
        without amide I.
      reason: 0 kept, else the first test failed: index into `REASONS`.
    """

    amide_i: Float[Array, "*leading"]
    snr: Float[Array, "*leading"]
    saturation: Float[Array, "*leading"]
    vapour: Float[Array, "*leading"]
    reason: Int8[Array, "*leading"]


def quality(
    absorbance: Float[AnyArray, "*leading c"],
    wavenumbers_cm1: Float[np.ndarray, " c"],
    limits: QualityLimits | None = None,
) -> Quality:
    """Measures the quality of spectra and names the first test that each fails.

    All that the axis allows is measured, limit or not. Pure, any leading axes, in the dtype of ``absorbance``.

    Args:
      absorbance: raw spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, rising or falling, shape (c,); known values, not traced.
      limits: None: the defaults of `QualityLimits`.

    Raises:
      ValueError: if the axis does not fit or cannot support a test whose limit is not None; `supported` switches
        such tests off.

    Source: the tests (thickness by amide I, signal to noise, water vapour) are those of Lasch 2012,
    doi:10.1016/j.chemolab.2012.03.011, and Baker et al. 2014, doi:10.1038/nprot.2014.110; the limits are this
    project's, with the reasons given in `QualityLimits`.
    """
    limits = limits or QualityLimits()
    spectra = jnp.asarray(absorbance)
    if not jnp.issubdtype(spectra.dtype, jnp.floating):
        raise ValueError(f"absorbance: found dtype {spectra.dtype}; floating point is required. Convert it.")
    axis = checked_axis(spectra.shape, wavenumbers_cm1)
    for name, why in _missing(axis).items():
        if getattr(limits, name) is not None:
            raise ValueError(f"{name}: {why}. Set it to None, or call supported(limits, wavenumbers_cm1).")
    return _quality(spectra, tuple(axis.tolist()), limits)


def supported(
    limits: QualityLimits, wavenumbers_cm1: Float[np.ndarray, " c"]
) -> tuple[QualityLimits, list[str]]:
    """Limits with the tests that the axis cannot support set to None, and the names of the limits dropped."""
    missing = _missing(checked_axis(np.shape(wavenumbers_cm1), wavenumbers_cm1))
    dropped = [name for name in missing if getattr(limits, name) is not None]
    return dataclasses.replace(limits, **dict.fromkeys(dropped)), dropped


def noise_sd(
    absorbance: Float[AnyArray, "*leading c"], wavenumbers_cm1: Float[np.ndarray, " c"]
) -> Float[Array, "*leading"]:
    """Standard deviation of the noise, in absorbance.

    From the residual of a straight line over a silent band (2000–2200, else 2500–2700 cm⁻¹) of ten channels or
    more. Where the axis has none, from second differences of equally spaced neighbours over the whole axis,
    median |aᵢ₋₁ − 2aᵢ + aᵢ₊₁| / (.6745 √6), which bands and sharp lines on less than half of the axis hardly
    disturb. Both assume white noise: interpolated or zero-filled spectra look less noisy by differences.

    Args:
      absorbance: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,); known values, not traced.

    Raises:
      ValueError: if the axis does not fit or has neither a silent band nor neighbours within 8 cm⁻¹.

    Source: second differences: Gasser, Sroka and Jennen-Steinmetz 1986, doi:10.1093/biomet/73.3.625; the median
    and its factor: Donoho and Johnstone 1994, doi:10.1093/biomet/81.3.425.
    """
    spectra = jnp.asarray(absorbance)
    axis = checked_axis(spectra.shape, wavenumbers_cm1)
    if why := _noise_missing(axis):
        raise ValueError(f"noise: {why}.")
    silent = _silent(axis)
    if silent is None:
        second = spectra[..., :-2] - 2 * spectra[..., 1:-1] + spectra[..., 2:]
        return jnp.median(jnp.abs(second[..., _even_triples(axis)]), axis=-1) / (NORMAL_MAD * math.sqrt(6.0))
    line, _ = np.linalg.qr(np.vander(axis[silent] - axis[silent].mean(), 2))
    residual = _residual(spectra[..., silent], np.eye(line.shape[0]) - line @ line.T)
    return jnp.sqrt(jnp.sum(residual**2, axis=-1) / (line.shape[0] - 2))


def _missing(axis: np.ndarray) -> dict[str, str]:
    """Names of limits that the axis cannot support, with what it lacks."""
    missing: dict[str, str] = {}
    if why := _noise_missing(axis):
        missing |= {"min_snr": why, "max_vapour": why}
    if why := _vapour_missing(axis):
        missing |= {"max_vapour": why}
    for band_cm1, what in ((BASELINE_CM1, "baseline of amide I"), (AMIDE_I_TOP_CM1, "amide I")):
        try:
            band_channels(axis, band_cm1, what)
        except ValueError as error:
            why = str(error).split(";")[0]
            missing |= dict.fromkeys(("min_amide_i", "max_amide_i", "min_snr", "max_vapour"), why)
    return missing


def _noise_missing(axis: np.ndarray) -> str:
    if _silent(axis) is not None or _even_triples(axis).size >= LEAST_NOISE_CHANNELS:
        return ""
    return (
        f"noise needs {LEAST_NOISE_CHANNELS} channels at 2000–2200 or 2500–2700 cm⁻¹, or as many neighbours at "
        f"most {COARSEST_NOISE_STEP_CM1:g} cm⁻¹ apart (found {axis.size}, {axis.min():g}–{axis.max():g} cm⁻¹)"
    )


def _vapour_missing(axis: np.ndarray) -> str:
    low, high = VAPOUR_CM1
    step = COARSEST_VAPOUR_STEP_CM1
    inside = np.sort(axis[(axis >= low - step) & (axis <= high + step)])
    if inside.size and inside[0] <= low and inside[-1] >= high and np.diff(inside).max() <= step:
        return ""
    return (
        f"water vapour needs the band {low:g}–{high:g} cm⁻¹ whole, with channels at most {step:g} cm⁻¹ apart "
        f"(found {inside.size} there, axis {axis.min():g}–{axis.max():g} cm⁻¹)"
    )


def _silent(axis: np.ndarray) -> slice | None:
    for low, high in NOISE_BANDS_CM1:
        inside = np.flatnonzero((axis >= low) & (axis <= high))
        if inside.size >= LEAST_NOISE_CHANNELS:
            return slice(int(inside[0]), int(inside[-1]) + 1)
    return None


def _even_triples(axis: np.ndarray) -> np.ndarray:
    """First channels of three neighbours that are evenly and closely spaced (no gap cut out of the axis)."""
    steps = np.abs(np.diff(axis))
    before, after = steps[:-1], steps[1:]
    even = np.abs(before - after) <= 0.2 * np.minimum(before, after)
    return np.flatnonzero(even & (np.maximum(before, after) <= COARSEST_NOISE_STEP_CM1))


@partial(jax.jit, static_argnames=("wavenumbers_cm1", "limits"))
def _quality(
    spectra: Float[Array, "*leading c"], wavenumbers_cm1: tuple[float, ...], limits: QualityLimits
) -> Quality:
    axis = np.array(wavenumbers_cm1)
    missing = _missing(axis)
    nan = jnp.full(spectra.shape[:-1], jnp.nan, spectra.dtype)
    amide_i = nan if "min_amide_i" in missing else amide_i_map(spectra, axis)
    noise = nan if _noise_missing(axis) else noise_sd(spectra, axis)
    lines = nan if "max_vapour" in missing else _sharp_lines(spectra, noise, axis)
    snr, vapour = amide_i / noise, lines / jnp.maximum(amide_i, 0)
    finite = jnp.all(jnp.isfinite(spectra), axis=-1)
    saturation = jnp.where(
        finite & ~_flat_top(spectra), jnp.max(spectra, axis=-1), jnp.full_like(nan, jnp.inf)
    )
    tests = (  # value, least, most, in the order of REASONS
        (saturation, None, limits.max_absorbance),
        (amide_i, limits.min_amide_i, None),
        (amide_i, None, limits.max_amide_i),
        (snr, limits.min_snr, None),
        (vapour, None, limits.max_vapour),
    )
    reason = jnp.where(finite, jnp.int8(0), jnp.int8(REASONS.index("not finite")))
    for number, (value, least, most) in enumerate(tests, REASONS.index("saturated")):
        failed = value > most if most is not None else jnp.zeros_like(finite)
        if least is not None:
            failed = ~(value >= least)  # nothing over nothing fails too
        reason = jnp.where((reason == 0) & failed, jnp.int8(number), reason)
    return Quality(amide_i, snr, saturation, vapour, reason)


def _flat_top(spectra: Float[Array, "*leading c"]) -> Bool[Array, "*leading"]:
    top = spectra == jnp.max(spectra, axis=-1, keepdims=True)
    run = top & (spectra > 0)  # a spectrum of zeros is a masked pixel, not a clipped one
    for shift in range(1, FLAT_TOP_CHANNELS):
        run = run[..., :-1] & top[..., shift:]
    return jnp.any(run, axis=-1)


def _residual(spectra: Float[Array, "*leading c"], operator: np.ndarray) -> Float[Array, "*leading r"]:
    # The operators take off any level; taking it off first keeps float32 exact on a high baseline.
    level = spectra - jnp.mean(spectra, axis=-1, keepdims=True)
    return jnp.matmul(level, jnp.asarray(operator.T, spectra.dtype), precision="highest")


def _sharp_lines(
    spectra: Float[Array, "*leading c"], noise: Float[Array, "*leading"], axis: np.ndarray
) -> Float[Array, "*leading"]:
    """RMS of what a parabola over 24 cm⁻¹ does not follow at 1700–1850 cm⁻¹, less what noise explains of it."""
    low, high = VAPOUR_CM1[0] - LINE_WINDOW_CM1 / 2, VAPOUR_CM1[1] + LINE_WINDOW_CM1 / 2
    channels = band_channels(axis, (low, high), "water vapour")
    operator = _line_operator(axis[channels])
    silent = _silent(axis)
    freedom = _even_triples(axis).size / 3 if silent is None else silent.stop - silent.start - 2
    gram = operator @ operator.T
    # For noise of unit variance: the mean square of its residual, and its spread with that of the measured noise.
    power = np.trace(gram) / len(gram)
    spread = math.sqrt(2.0 * np.sum(gram**2) / len(gram) ** 2 + 2.0 * power**2 / freedom)
    explained = float(power + VAPOUR_SIGNIFICANCE * spread)
    lines = _residual(spectra[..., channels], operator)
    return jnp.sqrt(jnp.maximum(jnp.mean(lines**2, axis=-1) - explained * noise**2, 0.0))


def _line_operator(axis: np.ndarray) -> np.ndarray:
    """Matrix that takes from each channel of 1700–1850 cm⁻¹ the local parabola through its neighbours."""
    rows = np.flatnonzero((axis >= VAPOUR_CM1[0]) & (axis <= VAPOUR_CM1[1]))
    operator = np.zeros((rows.size, axis.size))
    for row, channel in enumerate(rows):
        offset = (axis - axis[channel]) / (LINE_WINDOW_CM1 / 2)
        near = np.flatnonzero(np.abs(offset) <= 1 + 1e-9)
        operator[row, near] = -np.linalg.pinv(np.vander(offset[near], 3, increasing=True))[0]
        operator[row, channel] += 1.0
    return operator
