"""The iteration of ME-EMSC for many spectra at once, one compiled loop.

A fixed number of slots work on one spectrum each. A spectrum whose stop rule fires leaves its slot at once
and the next one takes its place, so no arithmetic is spent on spectra that have converged. One pass of the
loop is one iteration (``mie_step``) of every slot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from compseg_jax.spectra.scatter.mie_model import MieModel
from compseg_jax.spectra.scatter.mie_step import mie_step


@dataclass(frozen=True)
class StopRule:
    """When a spectrum has converged.

    Attributes:
      name: ``matlab``: from the third iteration on, stop when the RMSE rounded to ``decimals`` rises or has
        not fallen over the last two iterations; the iteration of least RMSE counts. ``tolerance``: an
        iteration is better when it lowers the best RMSE by more than ``tolerance``; stop when more than
        ``patience`` iterations in a row were not better; the best one counts. ``fixed``: always
        ``max_iterations``, of which the last counts.
      max_iterations: a spectrum that has not stopped by then has not converged, unless ``fixed``.
    """

    name: str = "matlab"
    max_iterations: int = 45
    decimals: int = 4
    tolerance: float = 1e-4
    patience: int = 1

    def __post_init__(self) -> None:
        if self.name not in ("matlab", "tolerance", "fixed"):
            raise ValueError(f"stop: found {self.name!r}; it must be 'matlab', 'tolerance' or 'fixed'.")
        if self.max_iterations < 1 or self.patience < 0 or not self.tolerance >= 0:
            raise ValueError(
                f"stop: found max_iterations {self.max_iterations}, patience {self.patience}, tolerance "
                f"{self.tolerance}; they must be at least 1, 0 and 0."
            )

    def values(self) -> RuleValues:
        """The rule as numbers, so that another rule does not mean another compilation."""
        margin = {"matlab": 0.0, "tolerance": self.tolerance, "fixed": -math.inf}[self.name]
        return RuleValues(
            matlab=self.name == "matlab",
            fixed=self.name == "fixed",
            max_iterations=self.max_iterations,
            rounding=10.0**self.decimals,
            margin=margin,
            patience=self.patience,
        )


class RuleValues(NamedTuple):
    """``StopRule`` for compiled code."""

    matlab: bool
    fixed: bool
    max_iterations: int
    rounding: float
    margin: float
    patience: int


class PoolResult(NamedTuple):
    """Results of a pool of spectra; all NaN and zero iterations where a spectrum turned non-finite."""

    corrected: Float[Array | np.ndarray, "n c"]
    coefficients: Float[Array | np.ndarray, "n k"]
    rmse: Float[Array | np.ndarray, " n"]
    iterations: Int[Array | np.ndarray, " n"]
    converged: Bool[Array | np.ndarray, " n"]


class _Slots(NamedTuple):
    row: Int[Array, " b"]
    spectrum: Float[Array, "b c"]
    guess: Float[Array, "b c"]
    made: Int[Array, " b"]
    previous: Float[Array, " b"]
    before_previous: Float[Array, " b"]
    best_rmse: Float[Array, " b"]
    best_iteration: Int[Array, " b"]
    best_corrected: Float[Array, "b c"]
    best_coefficients: Float[Array, "b k"]


class _Outcome(NamedTuple):
    finished: Bool[Array, " b"]
    usable: Bool[Array, " b"]
    converged: Bool[Array, " b"]


def _stops(
    rule: RuleValues, made: Int[Array, " b"], best: Int[Array, " b"], rmses: tuple[Float[Array, " b"], ...]
) -> Bool[Array, " b"]:
    before_previous, previous, latest = (jnp.round(rmse * rule.rounding) for rmse in rmses)
    by_rounding = (made > 2) & ((latest > previous) | (before_previous <= latest))
    by_patience = (made > rule.patience + 1) & (made - best > rule.patience)
    fired = jnp.where(rule.matlab, by_rounding, by_patience)
    return jnp.where(rule.fixed, made >= rule.max_iterations, fired)


@partial(jax.jit, static_argnames=("mesh", "slots"))
def correct_pool(
    spectra: Float[Array, "n c"],
    used: Int[Array, " devices"],
    model: MieModel,
    rule: RuleValues,
    *,
    mesh: Mesh,
    slots: int,
) -> PoolResult:
    """Corrects a pool of spectra, an equal share of its rows on each device of a mesh.

    Args:
      spectra: absorbance, shape (n, c), n a multiple of the number of devices.
      used: how many rows of each device's share hold spectra; the rest is padding and comes back as NaN.
      model: of the dtype of ``spectra``.
      rule: when a spectrum stops.
      mesh: devices, one axis. They do not communicate: each goes on until its own share is done.
      slots: spectra worked on at the same time on each device.
    """

    def share(spectra: Array, used: Array, model: MieModel, rule: RuleValues) -> PoolResult:
        with jax.default_matmul_precision("highest"):
            return _correct_share(spectra, used[0], model, rule, slots)

    rows, everywhere = P(mesh.axis_names[0]), P()
    specs = (rows, rows, everywhere, everywhere)
    return jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)(
        spectra, used, model, rule
    )


def _correct_share(
    spectra: Float[Array, "n c"], used: Int[Array, ""], model: MieModel, rule: RuleValues, slots: int
) -> PoolResult:
    total, channels = spectra.shape
    dtype = spectra.dtype
    n_coefficients = model.n_components + 2
    exact_slots = max(1, slots // 16)

    def take(row: Int[Array, " b"]) -> Float[Array, "b c"]:
        return spectra[jnp.minimum(row, total - 1)]

    def iterate(state: _Slots, active: Bool[Array, " b"]) -> tuple[_Slots, _Outcome]:
        step = mie_step(state.spectrum, state.guess, active, model, exact_slots)
        usable = jnp.isfinite(step.rmse) & jnp.all(jnp.isfinite(step.corrected), axis=-1)
        made = state.made + 1
        better = (made == 1) | (step.rmse + rule.margin < state.best_rmse)
        best_iteration = jnp.where(better, made, state.best_iteration)
        stops = _stops(rule, made, best_iteration, (state.before_previous, state.previous, step.rmse))
        following = _Slots(
            row=state.row,
            spectrum=state.spectrum,
            guess=step.corrected,
            made=made,
            previous=step.rmse,
            before_previous=state.previous,
            best_rmse=jnp.where(better, step.rmse, state.best_rmse),
            best_iteration=best_iteration,
            best_corrected=jnp.where(better[:, None], step.corrected, state.best_corrected),
            best_coefficients=jnp.where(better[:, None], step.coefficients, state.best_coefficients),
        )
        ran = active & ~step.waiting
        finished = ran & (stops | ~usable | (made >= rule.max_iterations))
        return _where(ran, following, state), _Outcome(finished, usable, stops & usable)

    def write(result: PoolResult, state: _Slots, outcome: _Outcome) -> PoolResult:
        where = jnp.where(outcome.finished, state.row, total)
        usable = outcome.usable

        def put(old: Array | np.ndarray, new: Array) -> Array:
            return jnp.asarray(old).at[where].set(new, mode="drop")

        return PoolResult(
            corrected=put(result.corrected, jnp.where(usable[:, None], state.best_corrected, jnp.nan)),
            coefficients=put(
                result.coefficients, jnp.where(usable[:, None], state.best_coefficients, jnp.nan)
            ),
            rmse=put(result.rmse, jnp.where(usable, state.best_rmse, jnp.nan)),
            iterations=put(result.iterations, jnp.where(usable, state.best_iteration, 0)),
            converged=put(result.converged, outcome.converged),
        )

    def body(carry: tuple[_Slots, PoolResult, Int[Array, ""]]) -> tuple[_Slots, PoolResult, Int[Array, ""]]:
        state, result, head = carry
        state, outcome = iterate(state, state.row < used)
        result = write(result, state, outcome)
        finished = outcome.finished
        place = head + jnp.cumsum(finished, dtype=head.dtype) - 1
        row = jnp.where(finished, jnp.minimum(place, total), state.row)
        fresh = start(row)
        return _where(finished, fresh, state._replace(row=row)), result, place[-1] + 1

    def start(row: Int[Array, " b"]) -> _Slots:
        zero = jnp.zeros(slots, dtype)
        none = jnp.zeros(slots, jnp.int32)
        guess = jnp.broadcast_to(model.reference[None, :], (slots, channels))
        best = jnp.zeros((slots, n_coefficients), dtype)
        return _Slots(row, take(row), guess, none, zero, zero, zero, none, guess, best)

    result = PoolResult(
        corrected=jnp.full((total, channels), jnp.nan, dtype),
        coefficients=jnp.full((total, n_coefficients), jnp.nan, dtype),
        rmse=jnp.full(total, jnp.nan, dtype),
        iterations=jnp.zeros(total, jnp.int32),
        converged=jnp.zeros(total, bool),
    )
    first = jnp.arange(slots, dtype=jnp.int32)
    carry = (start(first), result, jnp.asarray(slots, jnp.int32))
    return jax.lax.while_loop(lambda c: jnp.any(c[0].row < used), body, carry)[1]


def _where(condition: Bool[Array, " b"], yes: _Slots, no: _Slots) -> _Slots:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)
