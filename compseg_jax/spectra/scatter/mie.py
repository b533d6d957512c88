"""Mie-extinction EMSC (ME-EMSC): pure absorbance spectra from spectra distorted by Mie scattering.

The method of Solheim et al. 2019 (doi:10.1002/jbio.201900044), the open successor of the resonant Mie
correction of Bassan et al. 2010. ``me_emsc`` corrects an array; ``correct_chunks`` corrects what does not fit
into memory, piece by piece, and can go on where an earlier run ended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.spectra.scatter.mie_curves import Spheres
from compseg_jax.spectra.scatter.mie_loop import PoolResult, StopRule, correct_pool
from compseg_jax.spectra.scatter.mie_model import SPHERES, MieModel, mie_model
from compseg_jax.spectra.scatter.mie_series import DirectCurves

_CPU_SLOTS = 32
_ACCELERATOR_SLOTS = 4096
_RULE = StopRule()

AnyArray = Array | np.ndarray


class MieCorrection(NamedTuple):
    """Corrected spectra and how they were reached, on the host.

    Attributes:
      corrected: pure absorbance on the scale of the reference.
      coefficients: constant, Mie components (of unit length, sign arbitrary), factor of the pure spectrum.
      rmse: root mean square of what the model leaves unexplained, in measured absorbance.
      iterations: the iteration that gave the result.

    A spectrum that turned NaN or infinite is NaN in the first three and has 0 iterations.
    """

    corrected: Float[np.ndarray, "... c"]
    coefficients: Float[np.ndarray, "... k"]
    rmse: Float[np.ndarray, " ..."]
    iterations: Int[np.ndarray, " ..."]


@dataclass(frozen=True)
class MieSettings:
    """Everything about a correction that is neither spectrum nor reference.

    Attributes:
      n_components: Mie components in the fit; None takes as many as explain 99.96 % of the variance of the
        reference's curves, as the reference code does.
      rule: when a spectrum has converged.
      spheres: radii and refractive indices that span the scattering.
      memory_budget_bytes: bound for the arrays of the spectra in work at the same time.
    """

    n_components: int | None = None
    rule: StopRule = _RULE
    spheres: Spheres = SPHERES
    memory_budget_bytes: int = 2**30


_SETTINGS = MieSettings()


class CorrectedChunk(NamedTuple):
    """One chunk of a long correction; spectra without a trustworthy result are NaN in ``result``.

    Attributes:
      number: position of the chunk.
      result: as of ``me_emsc``, unconverged spectra masked.
      unconverged: spectra that the stop rule did not end within the iterations allowed.
      failed: spectra that turned NaN or infinite.
    """

    number: int
    result: MieCorrection
    unconverged: Bool[np.ndarray, " ..."]
    failed: Bool[np.ndarray, " ..."]


def me_emsc(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    reference: Float[AnyArray, " c"],
    *,
    n_components: int | None = None,
    max_iterations: int = 45,
    stop: Literal["matlab", "tolerance", "fixed"] = "matlab",
    tolerance: float = 1e-4,
    patience: int = 1,
    spheres: Spheres = SPHERES,
    unconverged: Literal["keep", "nan"] = "keep",
    memory_budget_bytes: int = 2**30,
) -> MieCorrection:
    """Corrects spectra by Mie-extinction EMSC.

    float32 input is corrected in float32; float64 input in float64 where JAX has 64-bit types enabled
    (``jax.enable_x64``), else in float32. Independent spectra are spread over all local devices.

    Args:
      absorbance: measured spectra, shape (…, c).
      wavenumbers_cm1: axis in cm⁻¹, shape (c,), strictly rising or falling.
      reference: a pure spectrum of similar chemistry (Matrigel for tissue) on that axis, shape (c,).
      n_components: Mie components; None chooses by explained variance.
      max_iterations: bound on the iterations of each spectrum.
      stop: ``matlab``, the rule of the original code, ``tolerance``, that of biospectools, or ``fixed``,
        always ``max_iterations`` (see ``StopRule``).
      tolerance, patience: of the rule ``tolerance``.
      spheres: radii and refractive indices that span the scattering.
      unconverged: what becomes of spectra that reach ``max_iterations`` before their stop rule: their best
        iteration (``keep``, needed when the number of iterations is fixed on purpose) or NaN throughout and 0
        iterations (``nan``). Spectra that turn non-finite are always NaN.
      memory_budget_bytes: bound for the arrays of the spectra in work at the same time.

    Returns:
      ``MieCorrection`` of NumPy arrays, leading axes as in ``absorbance``.

    Raises:
      ValueError: if shapes, axis, reference or settings do not fit; the message says how.

    Source: Solheim et al. 2019, doi:10.1002/jbio.201900044.
    """
    if unconverged not in ("keep", "nan"):
        raise ValueError(f"unconverged: found {unconverged!r}; it must be 'keep' or 'nan'.")
    rule = StopRule(name=stop, max_iterations=max_iterations, tolerance=tolerance, patience=patience)
    settings = MieSettings(n_components, rule, spheres, memory_budget_bytes)
    result, converged = _correct(absorbance, wavenumbers_cm1, reference, settings)
    return result if unconverged == "keep" else _masked(result, ~converged)


def correct_chunks(
    chunks: Iterable[Float[AnyArray, "... c"]],
    wavenumbers_cm1: Float[AnyArray, " c"],
    reference: Float[AnyArray, " c"],
    *,
    settings: MieSettings = _SETTINGS,
    first_chunk: int = 0,
    progress: Callable[[CorrectedChunk], None] | None = None,
) -> Iterator[CorrectedChunk]:
    """Corrects chunk after chunk and masks every spectrum without a trustworthy result.

    Each chunk is taken from ``chunks``, corrected and yielded before the next is taken, so memory holds one.
    A run that was interrupted goes on with ``first_chunk`` set to the number of chunks already kept; the
    chunks before are passed over without being corrected.

    Args:
      chunks: arrays of spectra, each of shape (…, c); a lazy iterable keeps memory low.
      wavenumbers_cm1, reference: as for ``me_emsc``.
      settings: as the keywords of ``me_emsc``.
      first_chunk: chunks to pass over.
      progress: called with each chunk once its consumer has asked for the next, that is after it was kept.
    """
    for number, chunk in enumerate(chunks):
        if number < first_chunk:
            continue
        result, converged = _correct(chunk, wavenumbers_cm1, reference, settings)
        failed = np.isnan(result.rmse)
        done = CorrectedChunk(number, _masked(result, ~converged), ~converged & ~failed, failed)
        yield done
        if progress is not None:
            progress(done)


def _correct(
    absorbance: Float[AnyArray, "... c"],
    wavenumbers_cm1: Float[AnyArray, " c"],
    reference: Float[AnyArray, " c"],
    settings: MieSettings,
) -> tuple[MieCorrection, Bool[np.ndarray, " ..."]]:
    model = mie_model(
        np.asarray(wavenumbers_cm1),
        np.asarray(reference),
        n_components=settings.n_components,
        spheres=settings.spheres,
        dtype=arithmetic_dtype(absorbance),
    )
    return correct_by_model(absorbance, model, settings)


def arithmetic_dtype(absorbance: AnyArray) -> np.dtype:
    """float64 for float64 spectra where JAX has 64-bit types enabled, else float32."""
    double = absorbance.dtype == np.float64 and jax.config.jax_enable_x64
    return np.dtype(np.float64 if double else np.float32)


def correct_by_model(
    absorbance: Float[AnyArray, "... c"], model: MieModel, settings: MieSettings
) -> tuple[MieCorrection, Bool[np.ndarray, " ..."]]:
    """Corrects an array by a model of its own dtype (``arithmetic_dtype``); results, and which converged.

    Raises:
      ValueError: if the spectra do not have the channels of the model.
    """
    channels = model.reference.size
    if absorbance.ndim < 1 or absorbance.shape[-1] != channels:
        raise ValueError(
            f"absorbance: found shape {absorbance.shape} for {channels} wavenumbers; the last axis must "
            "have as many channels. Move the spectral axis to the end or cut it to the wavenumbers."
        )
    leading = absorbance.shape[:-1]
    spectra = np.asarray(absorbance, model.reference.dtype).reshape(-1, channels)
    parts = list(_pools(spectra, model, settings))
    if not parts:
        parts = [_empty(channels, model.n_components + 2, spectra.dtype)]
    fields = [np.concatenate(part).reshape(leading + part[0].shape[1:]) for part in zip(*parts, strict=True)]
    return MieCorrection(*fields[:4]), fields[4]


def _pools(spectra: Float[np.ndarray, "n c"], model: MieModel, settings: MieSettings) -> Iterator[PoolResult]:
    """Results of consecutive pools; several are in work at a time, so that no core or device waits."""
    devices = jax.local_devices()
    on_cpu = devices[0].platform == "cpu"
    mesh = jax.make_mesh((len(devices),), ("spectra",), (AxisType.Auto,), devices=devices)
    streams = max(1, (os.cpu_count() or 1) // len(devices)) if on_cpu else 2
    budget = settings.memory_budget_bytes // (2 * streams * len(devices))
    slots = max(1, min(_CPU_SLOTS if on_cpu else _ACCELERATOR_SLOTS, budget // _slot_bytes(model)))
    most = max(slots, budget // (2 * spectra.shape[1] * spectra.itemsize))
    # Powers of two keep the number of compilations low; the rows they add are never worked on.
    rows = _power_of_two_above(min(most, max(slots, -(-len(spectra) // (streams * len(devices))))))
    by_spectrum, everywhere = NamedSharding(mesh, P("spectra")), NamedSharding(mesh, P())
    model = jax.device_put(model, everywhere)
    running: deque[tuple[int, PoolResult]] = deque()
    for start in range(0, len(spectra), rows * len(devices)):
        if len(running) == streams:
            yield _finished(*running.popleft())
        pool = spectra[start : start + rows * len(devices)]
        padded = np.pad(pool, ((0, rows * len(devices) - len(pool)), (0, 0)))
        used = np.clip(len(pool) - rows * np.arange(len(devices)), 0, rows).astype(np.int32)
        arrays = jax.device_put((padded, used), by_spectrum)
        result = correct_pool(*arrays, model, settings.rule.values(), mesh=mesh, slots=slots)
        running.append((len(pool), result))
    for pending in running:
        yield _finished(*pending)


def _power_of_two_above(number: int) -> int:
    return 2 ** (number - 1).bit_length()


def _finished(used: int, result: PoolResult) -> PoolResult:
    return PoolResult._make(np.asarray(field)[:used] for field in result)


def _slot_bytes(model: MieModel) -> int:
    """Arrays of one slot during an iteration: powers, curves and some ten spectra."""
    channels = model.reference.size
    if isinstance(model.curves, DirectCurves):
        numbers = 8 * model.curves.basis.shape[0]
    else:
        numbers = 2 * model.curves.coefficients.shape[1] + 2 * model.curves.coefficients.shape[2]
    return channels * (numbers + 10) * model.reference.dtype.itemsize


def _empty(channels: int, coefficients: int, dtype: np.dtype) -> PoolResult:
    return PoolResult(
        np.zeros((0, channels), dtype),
        np.zeros((0, coefficients), dtype),
        np.zeros(0, dtype),
        np.zeros(0, np.int32),
        np.zeros(0, bool),
    )


def _masked(result: MieCorrection, where: Bool[np.ndarray, " ..."]) -> MieCorrection:
    return MieCorrection(
        np.where(where[..., None], np.nan, result.corrected),
        np.where(where[..., None], np.nan, result.coefficients),
        np.where(where, np.nan, result.rmse),
        np.where(where, 0, result.iterations),
    )
