"""Curves of a whole batch of spectra: the van de Hulst formula itself, or its compressed power series.

The formula costs an exponential, a sine and a cosine for each of the 100 curves at each wavenumber. But at a
wavenumber all curves are entire functions of one complex number s, and as functions on the grid of spheres
they are smooth. So ``series_curves`` expands them once, on the host in float64, in powers of
t = (s − s₀)/R on a disc around the values that spectra take, and projects the coefficients onto the few
directions of the sphere grid that carry them. A batch then needs only powers of t and one matrix product a
wavenumber. Right singular vectors, all that the correction uses, survive the projection because its columns
are orthonormal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from compseg_jax.spectra.scatter.mie_curves import (
    PER_CM_TO_PER_UM,
    SphereGrid,
    extinction_curves,
    van_de_hulst,
)

_CIRCLE_POINTS = 96
_LOW_POWERS = 4
_BLOCK_CHANNELS = 64
_ROOM = 2.0
_CORE = 1.2


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("phase_um", "absorption", "wavenumbers_um", "basis"),
    meta_fields=(),
)
@dataclass(frozen=True)
class DirectCurves:
    """Curves by the formula, exact for any spectrum.

    Attributes:
      phase_um, absorption: α and γ of each curve.
      wavenumbers_um: ν in 1/µm, shape (c,).
      basis: orthonormal directions of the sphere grid, shape (curves, rows).
    """

    phase_um: Float[Array, " curves"]
    absorption: Float[Array, " curves"]
    wavenumbers_um: Float[Array, " c"]
    basis: Float[Array, "curves rows"]

    def __call__(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> Float[Array, "c rows b"]:
        """Curves around each spectrum, projected onto the basis."""
        phase = self.phase_um[None, :, None]
        absorption = self.absorption[None, :, None]
        real = phase * absorption * absorbance[:, None, :]
        imaginary = phase * (self.wavenumbers_um[None, None, :] + absorption * dispersion[:, None, :])
        curves = van_de_hulst(jax.lax.complex(real, imaginary))
        return jnp.einsum("gr,bgc->crb", self.basis, curves)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("coefficients", "centre_real", "centre_imaginary", "radius", "exact"),
    meta_fields=(),
)
@dataclass(frozen=True)
class SeriesCurves:
    """Curves by the compressed series, valid while s stays on the disc around the centre.

    Attributes:
      coefficients: shape (c, rows, 2·powers), factors of the real parts of tᵐ first, then the imaginary.
      centre_real, centre_imaginary, radius: the disc, as absorbances.
      exact: the same curves by the formula, for the spectra that leave the disc.
    """

    coefficients: Float[Array, "c rows terms"]
    centre_real: Float[Array, ""]
    centre_imaginary: Float[Array, ""]
    radius: Float[Array, ""]
    exact: DirectCurves

    def __call__(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> Float[Array, "c rows b"]:
        """Curves around each spectrum, projected onto the basis; meaningless where ``outside``."""
        real, imaginary = (part.T for part in self._on_disc(dispersion, absorbance))
        powers = _powers(real, imaginary, self.coefficients.shape[-1] // 2)
        return jnp.einsum("crm,cmb->crb", self.coefficients, powers)

    def outside(self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]) -> Bool[Array, " b"]:
        """Spectra with a value of s off the disc; a spectrum with NaN is not counted."""
        real, imaginary = self._on_disc(dispersion, absorbance)
        return jnp.any(jnp.square(real) + jnp.square(imaginary) > 1, axis=-1)

    def _on_disc(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
        real = (dispersion - self.centre_real) / self.radius
        return real, (-absorbance - self.centre_imaginary) / self.radius


def _powers(real: Float[Array, "c b"], imaginary: Float[Array, "c b"], number: int) -> Float[Array, "c m b"]:
    """Powers 0 … number − 1 of complex numbers, real parts first; ``number`` a multiple of four.

    Power 4i + j is the product of power 4i and power j, so that few steps follow each other.
    """

    def times(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]

    first = (real, imaginary)
    low = [(jnp.ones_like(real), jnp.zeros_like(real)), first, times(first, first)]
    low.append(times(low[2], first))
    fourth = times(low[2], low[2])
    high = low[:1]
    while len(high) < number // _LOW_POWERS:
        high.append(times(high[-1], fourth))
    # The barrier keeps the compiler from computing both factors anew for every product.
    low_real, low_imaginary, high_real, high_imaginary = jax.lax.optimization_barrier(
        [jnp.stack([power[part] for power in factor], axis=1) for factor in (low, high) for part in (0, 1)]
    )
    products = times(
        (high_real[:, :, None, :], high_imaginary[:, :, None, :]),
        (low_real[:, None, :, :], low_imaginary[:, None, :, :]),
    )
    return jnp.stack(products, axis=1).reshape(real.shape[0], 2 * number, real.shape[1])


def series_curves(
    wavenumbers_cm1: NDArray[np.float64],
    spheres: SphereGrid,
    reference_index: NDArray[np.complex128],
    *,
    tolerance: float,
    min_rows: int,
    dtype: np.dtype,
) -> SeriesCurves:
    """The compressed series for spectra that resemble a reference.

    Args:
      wavenumbers_cm1: axis, shape (c,).
      spheres: the grid.
      reference_index: s = ν·n′ − i·g of the reference, shape (c,). The series holds on a disc ``_ROOM`` times
        as wide as these values lie around their middle.
      tolerance: what is left out: terms of the series below it on the rim of that disc (curves are of order
        1), and directions of the sphere grid with singular values below it relative to the first, judged
        where nearly all spectra lie, on a disc ``_CORE`` times as wide as the reference.
      min_rows: directions kept in any case.
      dtype: of the result.
    """
    centre = _middle(reference_index.real) + 1j * _middle(reference_index.imag)
    spread = float(np.abs(reference_index - centre).max())
    radius = _ROOM * spread
    circle = centre + radius * np.exp(2j * np.pi * np.arange(_CIRCLE_POINTS) / _CIRCLE_POINTS)
    blocks = []
    for start in range(0, len(wavenumbers_cm1), _BLOCK_CHANNELS):
        axis = wavenumbers_cm1[start : start + _BLOCK_CHANNELS]
        values = extinction_curves(axis, np.broadcast_to(circle, (len(axis), _CIRCLE_POINTS)), spheres)
        # On |t| = 1 the real part Re Σ aₘ·tᵐ has Fourier coefficients aₘ/2, and Re a₀ for m = 0.
        block = np.fft.rfft(values, axis=-1)[..., :-1] * (2 / _CIRCLE_POINTS)
        block[..., 0] /= 2
        blocks.append(block)
    terms = np.concatenate(blocks, axis=1)
    powers = 1 + int(np.flatnonzero(np.abs(terms).max(axis=(0, 1)) > tolerance).max())
    powers = -(-powers // _LOW_POWERS) * _LOW_POWERS
    terms = terms[..., :powers]
    likely = terms * (_CORE / _ROOM) ** np.arange(powers)
    likely = np.concatenate([likely.real, likely.imag], axis=-1).reshape(terms.shape[0], -1)
    basis = leading_directions(likely, tolerance, min_rows)
    coefficients = np.einsum("gr,gcm->crm", basis, np.concatenate([terms.real, -terms.imag], axis=-1))
    return SeriesCurves(
        coefficients=jnp.asarray(coefficients, dtype),
        centre_real=jnp.asarray(centre.real, dtype),
        centre_imaginary=jnp.asarray(centre.imag, dtype),
        radius=jnp.asarray(radius, dtype),
        exact=direct_curves(wavenumbers_cm1, spheres, basis, dtype),
    )


def _middle(values: NDArray[np.float64]) -> float:
    return float(values.min() + values.max()) / 2


def direct_curves(
    wavenumbers_cm1: NDArray[np.float64], spheres: SphereGrid, basis: NDArray[np.float64], dtype: np.dtype
) -> DirectCurves:
    """The formula for every curve of the grid, projected onto the columns of ``basis``."""
    return DirectCurves(
        phase_um=jnp.asarray(spheres.phase_um, dtype),
        absorption=jnp.asarray(spheres.absorption, dtype),
        wavenumbers_um=jnp.asarray(np.asarray(wavenumbers_cm1) * PER_CM_TO_PER_UM, dtype),
        basis=jnp.asarray(basis, dtype),
    )


def leading_directions(samples: NDArray[np.float64], tolerance: float, min_rows: int) -> NDArray[np.float64]:
    """Orthonormal directions of the sphere grid that carry samples of curves, shape (curves, rows).

    Args:
      samples: shape (curves, n).
      tolerance: singular values below it, relative to the first, are left out.
      min_rows: directions kept in any case.
    """
    variances, directions = np.linalg.eigh(samples @ samples.T)
    rows = max(min_rows, int(np.count_nonzero(variances > tolerance**2 * variances[-1])))
    return directions[:, ::-1][:, :rows]


@runtime_checkable
class CompressedCurves(Protocol):
    """Curves of a batch by a compressed expansion, with the formula for spectra it does not hold for."""

    @property
    def coefficients(self) -> Float[Array, "c rows terms"]:
        """Factors of the terms of the expansion."""

    @property
    def exact(self) -> Callable[[Float[Array, "b c"], Float[Array, "b c"]], Float[Array, "c rows b"]]:
        """The same curves by the formula."""

    def __call__(
        self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]
    ) -> Float[Array, "c rows b"]:
        """Curves around each spectrum; meaningless where ``outside``."""

    def outside(self, dispersion: Float[Array, "b c"], absorbance: Float[Array, "b c"]) -> Bool[Array, " b"]:
        """Spectra for which the expansion does not hold."""
