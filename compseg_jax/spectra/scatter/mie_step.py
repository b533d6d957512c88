"""One iteration of ME-EMSC for a batch of spectra.

1. Scale the guess of the pure spectrum to the reference and clip it at zero.
2. Compute the curves of all spheres around it and, after making them orthogonal to it, their leading right
   singular vectors, the Mie components.
3. Fit  spectrum = constant + Σ cᵢ·componentᵢ + b·guess + residual;  the next guess is guess + residual / b.

Source: Solheim et al. 2019, doi:10.1002/jbio.201900044.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from compseg_jax.spectra.scatter.mie_model import MieModel
from compseg_jax.spectra.scatter.mie_series import DirectCurves


class Step(NamedTuple):
    """Outcome of one iteration; where ``waiting``, nothing was computed and the step is to be repeated."""

    corrected: Float[Array, "b c"]
    coefficients: Float[Array, "b k"]
    rmse: Float[Array, " b"]
    waiting: Bool[Array, " b"]


def mie_step(
    spectrum: Float[Array, "b c"],
    guess: Float[Array, "b c"],
    active: Bool[Array, " b"],
    model: MieModel,
    exact_slots: int,
) -> Step:
    """One iteration of every slot.

    Args:
      spectrum: measured absorbance.
      guess: current pure spectrum, the reference at first.
      active: slots that hold a spectrum; the others never wait.
      model: axis, reference and curves.
      exact_slots: how many slots may leave the disc of the series and use the formula in one step.
    """
    guess = scaled_guess(guess, model)
    curves, waiting = curves_of_guess(model, guess, active, exact_slots)
    components = mie_components(curves, guess, model.n_components)
    residual, coefficients = fit(spectrum, guess, components)
    corrected = guess + residual / coefficients[:, -1:]
    return Step(corrected, coefficients, jnp.sqrt(jnp.mean(jnp.square(residual), axis=-1)), waiting)


def scaled_guess(guess: Float[Array, "b c"], model: MieModel) -> Float[Array, "b c"]:
    """The guess as a multiple of the reference without its quadratic baseline, clipped at zero."""
    baseline = (guess @ model.baseline_fit.T) @ model.baseline
    return jnp.maximum((guess - baseline) / (guess @ model.scaling)[:, None], 0)


def mie_components(
    curves: Float[Array, "c r b"], guess: Float[Array, "b c"], n_components: int
) -> Float[Array, "b k c"]:
    """Leading right singular vectors, orthonormal, of the curves made orthogonal to the guess."""
    unit = guess / jnp.linalg.norm(guess, axis=-1, keepdims=True)
    share = jnp.einsum("crb,bc->br", curves, unit)
    gram = jnp.einsum("crb,csb->brs", curves, curves) - share[:, :, None] * share[:, None, :]
    # LAPACK may hang or abort on NaN; the NaN stay in the curves and so reach the components.
    gram = jnp.where(jnp.isfinite(gram), gram, 0)
    _, directions = jnp.linalg.eigh(gram, symmetrize_input=False)
    leading = directions[:, :, ::-1][:, :, :n_components]
    components = jnp.einsum("brk,crb->bkc", leading, curves)
    along = jnp.einsum("brk,br->bk", leading, share)
    components = components - along[:, :, None] * unit[:, None, :]
    return _orthonormalised(components / jnp.linalg.norm(components, axis=-1, keepdims=True))


def _orthonormalised(vectors: Float[Array, "b k c"]) -> Float[Array, "b k c"]:
    """One Newton–Schulz step towards the nearest orthonormal rows; the rows must be nearly so."""
    gram = jnp.einsum("bic,bjc->bij", vectors, vectors)
    half = 1.5 * jnp.eye(gram.shape[-1], dtype=gram.dtype)[None] - 0.5 * gram
    return jnp.einsum("bij,bjc->bic", half, vectors)


def fit(
    spectrum: Float[Array, "b c"], guess: Float[Array, "b c"], components: Float[Array, "b k c"]
) -> tuple[Float[Array, "b c"], Float[Array, "b k2"]]:
    """Least squares of spectrum = constant + Σ cᵢ·componentᵢ + b·guess; residual and (constant, c, b)."""
    norm = jnp.linalg.norm(guess, axis=-1)
    basis = jnp.concatenate([components, (guess / norm[:, None])[:, None, :]], axis=1)
    ones = jnp.ones_like(guess)
    along_ones = jnp.sum(basis, axis=-1)
    upright = _without(_without(ones, basis)[0], basis)[0]
    residual, along = _without(spectrum, basis)
    constant = jnp.sum(upright * residual, axis=-1) / jnp.sum(jnp.square(upright), axis=-1)
    residual, correction = _without(residual - constant[:, None] * upright, basis)
    along = along + correction - constant[:, None] * along_ones
    coefficients = jnp.concatenate([constant[:, None], along[:, :-1], along[:, -1:] / norm[:, None]], axis=1)
    return residual, coefficients


def _without(
    vector: Float[Array, "b c"], basis: Float[Array, "b k c"]
) -> tuple[Float[Array, "b c"], Float[Array, "b k"]]:
    along = jnp.einsum("bkc,bc->bk", basis, vector)
    return vector - jnp.einsum("bk,bkc->bc", along, basis), along


def curves_of_guess(
    model: MieModel, guess: Float[Array, "b c"], active: Bool[Array, " b"], exact_slots: int
) -> tuple[Float[Array, "c r b"], Bool[Array, " b"]]:
    """Curves around each guess, and which slots must wait because too many need the formula at once."""
    dispersion = guess @ model.dispersion
    waiting = jnp.zeros(guess.shape[0], bool)
    if isinstance(model.curves, DirectCurves):
        return model.curves(dispersion, guess), waiting
    series = model.curves
    outside = series.outside(dispersion, guess) & active

    def with_formula(
        curves: Float[Array, "c r b"],
    ) -> tuple[Float[Array, "c r b"], Bool[Array, " b"]]:
        rank, chosen = jax.lax.top_k(outside.astype(jnp.int32), exact_slots)
        exact = series.exact(dispersion[chosen], guess[chosen])
        exact = jnp.where((rank > 0)[None, None, :], exact, curves[:, :, chosen])
        return curves.at[:, :, chosen].set(exact), outside.at[chosen].set(False)

    curves = series(dispersion, guess)
    return jax.lax.cond(jnp.any(outside), with_formula, lambda c: (c, waiting), curves)
