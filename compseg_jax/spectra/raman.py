"""Preparation of Raman spectra: cosmic rays taken out, fluorescence taken off."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real

from compseg_jax.runtime.extras import install_line
from compseg_jax.spectra.resampling import AnyArray, as_floats, host_axis

# Scales the median and the mean absolute deviation to the standard deviation of normal noise.
_FROM_MEDIAN_DEVIATION, _FROM_MEAN_DEVIATION = 1.4826, 1.2533
_SPECTRA_PER_TASK = 64
# A steep step of at least this share of the next is part of the same flank, that of a band; the steps of a
# Gaussian band three channels wide at half height fall off more slowly.
_CARRIED_ON = 0.25


def remove_cosmic_rays(
    counts: Real[AnyArray, "... c"], *, threshold: float = 7.0, max_width: int = 3, neighbours: int = 5
) -> Float[Array, "... c"]:
    """Replaces the channels that a cosmic ray hit by the mean of sound channels beside them.

    Args:
      counts: Raman spectra, shape (…, c).
      threshold: as of `cosmic_rays`.
      max_width: as of `cosmic_rays`.
      neighbours: channels to either side whose sound ones are averaged (Whitaker and Hayes 2018).

    Returns:
      Shape (…, c), in the dtype of ``counts``; all other channels unchanged, and so is a hit channel without a
      sound one in reach.

    Raises:
      ValueError: if a setting is out of bounds.

    Source: Whitaker and Hayes 2018, doi:10.1016/j.chemolab.2018.06.009.
    """
    if neighbours < 1:
        raise ValueError(f"remove_cosmic_rays neighbours: found {neighbours}; required 1 or more.")
    spectra = as_floats(counts)
    hit = cosmic_rays(spectra, threshold=threshold, max_width=max_width)
    channels = spectra.shape[-1]
    replaced = _replaced(spectra.reshape(-1, channels), hit.reshape(-1, channels), neighbours)
    return replaced.reshape(spectra.shape)


def cosmic_rays(
    counts: Real[AnyArray, "... c"], *, threshold: float = 7.0, max_width: int = 3
) -> Bool[Array, "... c"]:
    """Finds cosmic rays: narrow peaks with both flanks steep beyond the spectrum's own noise.

    A step between neighbouring channels is steep where its modified z-score, (Δ − median) / (1.4826 · MAD) over
    the steps of the spectrum, exceeds ``threshold``. Whitaker and Hayes 2018 flag every steep step. Here a
    steep rise must be followed by a steep fall within ``max_width`` channels, and the channels between are hit.
    So the channel before a ray stays, the middle of a wider ray goes too, and the direction of the axis makes no
    difference. Flanks that go on outwards, their next step steep too and no less than a quarter, are those of a
    strong band and no ray's. An end of the spectrum counts as a flank.

    Args:
      counts: Raman spectra, shape (…, c).
      threshold: raise it where narrow bands are taken for rays.
      max_width: channels of the widest ray.

    Returns:
      True where hit, shape (…, c). Where more than half of the steps are equal (MAD 0, digitised counts) the
      mean absolute deviation serves (Iglewicz and Hoaglin 1993); a constant spectrum has no rays.

    Raises:
      ValueError: if a setting is out of bounds or there are fewer than 3 channels.
    """
    spectra = as_floats(counts)
    channels = spectra.shape[-1]
    if not threshold > 0:
        raise ValueError(f"cosmic_rays threshold: found {threshold}; required above 0.")
    if max_width < 1:
        raise ValueError(f"cosmic_rays max_width: found {max_width}; required 1 or more.")
    if channels < 3:
        raise ValueError(f"cosmic_rays: found {channels} channels; at least 3 make a spectrum.")
    return _hits(spectra.reshape(-1, channels), threshold, max_width).reshape(spectra.shape)


def asls_baseline(
    counts: Float[np.ndarray, "... c"],
    wavenumbers_cm1: Float[np.ndarray, " c"],
    *,
    smoothness: float = 1e6,
    asymmetry: float = 0.01,
) -> Float[np.ndarray, "... c"]:
    """Subtracts the asymmetric least squares baseline, as `pybaselines` computes it, on the host in threads.

    Not for ``jit``: input and output are host arrays. The smoothness counts channels: an axis is
    taken as even, and one with half as many channels needs a sixteenth of the smoothness.

    Args:
      counts: spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), rising or falling.
      smoothness: λ, weight of the baseline's second differences, above 0.
      asymmetry: p, weight of channels above the baseline (those below have 1 − p), between 0 and 1.

    Returns:
      Corrected spectra, shape (…, c), in the dtype of ``counts``; NaN throughout where a channel is not
      finite.

    Raises:
      ValueError: if axis and spectra disagree, a setting is out of bounds, or pybaselines is not installed.

    Source: Eilers and Boelens 2005, Baseline correction with asymmetric least squares smoothing, Leiden
    University Medical Centre report.
    """
    spectra = np.asarray(counts)
    axis = host_axis(wavenumbers_cm1, spectra.shape[-1])
    if not smoothness > 0:
        raise ValueError(f"asls_baseline smoothness: found {smoothness}; required above 0.")
    if not 0 < asymmetry < 1:
        raise ValueError(f"asls_baseline asymmetry: found {asymmetry}; required between 0 and 1.")
    baselines = _pybaselines()
    dtype = spectra.dtype if spectra.dtype.kind == "f" else np.dtype(np.float32)
    rows = spectra.reshape(-1, axis.size)
    corrected = np.full(rows.shape, np.nan, dtype)

    def correct(start: int) -> None:
        # One fitter per task: its cached system is not shared between threads.
        fitter = baselines.Baseline(axis, check_finite=False)
        for index in range(start, min(start + _SPECTRA_PER_TASK, len(rows))):
            if np.isfinite(rows[index]).all():
                spectrum = rows[index].astype(np.float64)
                corrected[index] = spectrum - fitter.asls(spectrum, lam=smoothness, p=asymmetry)[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for task in [pool.submit(correct, start) for start in range(0, len(rows), _SPECTRA_PER_TASK)]:
            task.result()
    return corrected.reshape(spectra.shape)


def _pybaselines() -> ModuleType:
    try:
        return import_module("pybaselines")
    except ImportError as error:
        raise ValueError(
            f"asls_baseline needs the package 'pybaselines', which cannot be imported ({error}). Install it with: "
            f"{install_line('raman')}"
        ) from error


@partial(jax.jit, static_argnums=2)
def _hits(spectra: Float[Array, "n c"], threshold: Float[Array, ""], max_width: int) -> Bool[Array, "n c"]:
    steps = jnp.diff(spectra, axis=1)
    deviation = steps - _median(steps)
    median_deviation = _median(jnp.abs(deviation)) * _FROM_MEDIAN_DEVIATION
    mean_deviation = jnp.mean(jnp.abs(deviation), axis=1, keepdims=True) * _FROM_MEAN_DEVIATION
    limit = threshold * jnp.where(median_deviation > 0, median_deviation, mean_deviation)
    # Flank i lies before channel i; the two outermost are the ends of the spectrum.
    flanks = jnp.pad(deviation, ((0, 0), (1, 1)))
    rises, first = _flanks(flanks, limit)
    falls, last = (side[:, ::-1] for side in _flanks(-flanks[:, ::-1], limit))
    hit = jnp.zeros(spectra.shape, bool)
    # A ray as wide as the spectrum would have two ends and no flank.
    for width in range(1, min(max_width, spectra.shape[1] - 1) + 1):
        begins = first[:, :-width] & last[:, width:]
        begins = begins.at[:, 0].set(last[:, width] & ~rises[:, 1:width].any(axis=1))
        begins = begins.at[:, -1].set(first[:, -1 - width] & ~falls[:, -width:-1].any(axis=1))
        for offset in range(width):
            hit = hit | jnp.pad(begins, ((0, 0), (offset, width - 1 - offset)))
    return hit


def _median(values: Float[Array, "n k"]) -> Float[Array, "n 1"]:
    """Median of each row by bisection over the bits of floats; sorting takes several times as long on CPUs."""
    width = values.dtype.itemsize * 8
    unsigned = jnp.dtype(f"uint{width}")
    sign = unsigned.type(1 << (width - 1))
    bits = jax.lax.bitcast_convert_type(values, unsigned)
    # Floats in the order of unsigned numbers.
    keys = jnp.where(bits >= sign, ~bits, bits | sign)
    lower = (values.shape[1] - 1) // 2

    def narrowed(step: Array, found: Array) -> Array:
        candidate = found | (sign >> jnp.asarray(step, unsigned))
        below = jnp.sum(keys < candidate, axis=1, keepdims=True, dtype=jnp.int32)
        return jnp.where(below <= lower, candidate, found)

    found = jax.lax.fori_loop(0, width, narrowed, jnp.zeros((values.shape[0], 1), unsigned))
    reached = jnp.sum(keys <= found, axis=1, keepdims=True, dtype=jnp.int32)
    above = jnp.min(jnp.where(keys > found, keys, ~unsigned.type(0)), axis=1, keepdims=True)
    upper = jnp.where(reached > values.shape[1] // 2, found, above)
    low, high = (
        jax.lax.bitcast_convert_type(jnp.where(key >= sign, key ^ sign, ~key), values.dtype)
        for key in (found, upper)
    )
    return (low + high) / 2


def _flanks(
    flanks: Float[Array, "n f"], limit: Float[Array, "n 1"]
) -> tuple[Bool[Array, "n f"], Bool[Array, "n f"]]:
    """Steep rises, and those among them that do not carry on one before."""
    rises = flanks > limit
    before, rose = (jnp.pad(side, ((0, 0), (1, 0)))[:, :-1] for side in (flanks, rises))
    return rises, rises & ~(rose & (before > _CARRIED_ON * flanks))


@partial(jax.jit, static_argnums=2)
def _replaced(spectra: Float[Array, "n c"], hit: Bool[Array, "n c"], neighbours: int) -> Float[Array, "n c"]:
    channels = spectra.shape[1]
    usable = ~hit & jnp.isfinite(spectra)
    sound = jnp.pad(usable, ((0, 0), (neighbours, neighbours)))
    padded = jnp.pad(jnp.where(usable, spectra, 0), ((0, 0), (neighbours, neighbours)))
    total, number = jnp.zeros_like(spectra), jnp.zeros_like(spectra)
    for offset in range(2 * neighbours + 1):
        total = total + padded[:, offset : offset + channels]
        number = number + sound[:, offset : offset + channels].astype(spectra.dtype)
    mean = total / jnp.maximum(number, 1)
    return jnp.where(hit & (number > 0), mean, spectra)
