"""Transfer functions: what a pooled value says of the sample, each a pure function that cites its equation.

A pooled value is the share of active pixels ``z`` in [0, 1], or the logit ``s`` of a sample. A transfer function
turns it into the output ``o``, which a loss compares with the label, and into the logarithms of the share
``q`` of the required output and of what is left of it, which a cross-entropy needs. Equations of [CompSegNet] are
those of Schuhmacher, Gerwert and Mosig (2019), section 3; [OpenVibSpec] is their group's later public code
(RUB-Bioinf/OpenVibSpec, src/openvibspec/compsegnet.py, 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.config import ALPHA, BETA, GAMMA, Objective

LEAST_SHARE = 1e-6  # [OpenVibSpec] keeps the trapezoid this far from 0 and 1 before it takes a logarithm


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """Float64 stays itself, everything else becomes float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def modified_sigmoid(
    x: Float[Array, "*shape"] | float,
    alpha: Float[Array, ""] | float = ALPHA,
    beta: Float[Array, ""] | float = BETA,
    gamma: Float[Array, ""] | float = GAMMA,
) -> Float[Array, "*shape"]:
    r"""Transfer function of the pooling neuron.

    .. math:: \sigma_{\alpha,\beta,\gamma}(x) = \alpha\left(\frac{2}{1 + e^{-\beta x/\alpha}} - 1\right) + \gamma x
              = \alpha \tanh\frac{\beta x}{2\alpha} + \gamma x

    The second form neither overflows nor cancels. σ is odd, σ(0) = 0, its slope is β/2 + γ at zero and tends
    to γ far out, where α is crossed at :func:`crossing_point`.

    Args:
      x: pooled activation, any shape.
      alpha: bound of the saturating part, above 0.
      beta: slope parameter, above 0.
      gamma: asymptotic slope, at or above 0.

    Returns:
      σ(x), of the shape and dtype of ``x``.

    >>> float(modified_sigmoid(0.0))
    0.0
    >>> round(float(modified_sigmoid(1.0)), 6)
    0.101

    Source: [CompSegNet], section 3.2, definition of σ.
    """
    x = jnp.asarray(x)
    out_dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    dtype = at_least_float32(out_dtype)
    x = x.astype(dtype)
    half_slope = jnp.asarray(beta / (2.0 * alpha), dtype)
    value = jnp.asarray(alpha, dtype) * jnp.tanh(half_slope * x) + jnp.asarray(gamma, dtype) * x
    return value.astype(out_dtype)


def crossing_point(
    alpha: Float[Array, ""] | float = ALPHA,
    beta: Float[Array, ""] | float = BETA,
    gamma: Float[Array, ""] | float = GAMMA,
) -> Float[Array, ""]:
    r"""The pooled activation x* at which σ crosses α.

    Beyond x* the printed loss \|σ(x) − α\| of a diseased sample *rises* with slope γ: a tumour that fills more
    than x* of the pooled area is pushed down, the opposite of what the paper wants of γ. A random start
    (x ≈ .5) lies beyond x* as well; there both labels receive the same gradient γ, and the labels carry no
    information until the activation has sunk below x*. The one-sided loss has neither problem.

    With u = βx/2α the condition reads (e^{2u} + 1)·γu/β = 1. Its logarithm rises and is concave in u, so
    Newton's method from below converges without overshoot; a last step from a constant start makes the
    derivative that of the implicit function.

    Args:
      alpha: bound of the saturating part, above 0.
      beta: slope parameter, above 0.
      gamma: asymptotic slope, at or above 0.

    Returns:
      x*, a scalar; infinity for gamma = 0, where σ never reaches α.

    >>> round(float(crossing_point(0.1, 5.0, 0.001)), 6)
    0.144624

    Source: [CompSegNet], section 3.2; the observation is this project's (docs/decisions/01-loss-as-printed.md).
    """
    alpha, beta, gamma = (jnp.asarray(value, jnp.result_type(float)) for value in (alpha, beta, gamma))
    ratio = jnp.where(gamma > 0, gamma / beta, 1.0)

    def newton_step(u: Array) -> Array:
        excess = 2.0 * u + jnp.log(ratio * u) + jnp.log1p(jnp.exp(-2.0 * u))
        slope = 2.0 + 1.0 / u - 2.0 * jax.nn.sigmoid(-2.0 * u)
        return u - excess / slope

    # (e² + 1)·ratio·u ≥ 1 for u in [.., 1], so this start is never beyond the root.
    start = jnp.minimum(1.0, 1.0 / ((jnp.e**2 + 1.0) * ratio))
    u = jax.lax.fori_loop(0, 12, lambda _, u: newton_step(u), jax.lax.stop_gradient(start))
    u = newton_step(jax.lax.stop_gradient(u))
    return jnp.where(gamma > 0, 2.0 * alpha / beta * u, jnp.inf)


def log_filled_share(
    z: Float[Array, "*b"],
    alpha: Float[Array, ""] | float = ALPHA,
    beta: Float[Array, ""] | float = BETA,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    r"""log q and log(1 − q) of the filled share q = σ(z)/α = tanh(βz/2α) of the required area, with γ = 0.

    Both are exact where q itself would round to 0 or 1, and so are their gradients: that of log q is 1/z of the
    smallest z, so a map that has all but vanished still grows.

    Args:
      z: pooled activation, in [0, 1]; log q of 0, as of anything that float32 cannot hold, is that of the least number
        that it can, with a gradient of 0.
      alpha: least diseased fraction.
      beta: slope parameter of σ.

    Source: this project; σ from [CompSegNet], section 3.2.
    """
    z = jnp.asarray(z)
    u = jnp.asarray(beta / (2.0 * alpha), z.dtype) * z
    # log tanh u = log(1 − e^{−2u}) − log(1 + e^{−2u}); 1 − e^{−2u} would round to 0 where u is small, expm1 does not.
    twice = 2.0 * jnp.maximum(u, jnp.finfo(u.dtype).tiny)
    filled = jnp.log(-jnp.expm1(-twice)) - jnp.log1p(jnp.exp(-twice))
    left = jnp.log(2.0).astype(z.dtype) - jax.nn.softplus(2.0 * u)
    return filled, left


def trapezoid(
    x: Float[Array, "*shape"] | float,
    alpha: Float[Array, ""] | float = 0.05,
    beta: Float[Array, ""] | float = 0.8,
) -> Float[Array, "*shape"]:
    r"""Rises from 0 to 1 on [0, α], stays there to α + β and falls back to 0 at 1.

    .. math:: T_{\alpha,\beta}(x) = \min\Big(\frac{x}{\alpha}, 1\Big)
              - \max\Big(\frac{x - \alpha - \beta}{1 - \alpha - \beta}, 0\Big)

    A sample that is marked all over is as wrong as one that is not marked at all, unlike with σ.

    Args:
      x: pooled activation, in [0, 1], any shape; values outside are cut to it.
      alpha: end of the rise, above 0.
      beta: width of the plateau, at or above 0, with alpha + beta below 1.

    Returns:
      T(x) in [0, 1], of the shape and dtype of ``x``.

    >>> [round(float(trapezoid(x)), 2) for x in (0.0, 0.025, 0.5, 0.925, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]

    Source: [OpenVibSpec], TF_Clipping_function_experimental; α = .05 and β = .8 are its defaults.
    """
    x = jnp.asarray(x)
    out_dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    x = x.astype(at_least_float32(out_dtype))
    alpha, beta = jnp.asarray(alpha, x.dtype), jnp.asarray(beta, x.dtype)
    rise = jnp.clip(x / alpha, 0.0, 1.0)
    fall = jnp.clip((x - (alpha + beta)) / (1.0 - (alpha + beta)), 0.0, 1.0)
    return (rise - fall).astype(out_dtype)


def _log_trapezoid(
    z: Float[Array, "*b"], objective: Objective
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    # Cutting 1 − T, not T at 1 − 1e-6: the difference of two float32 values near 1 would be off by a twentieth.
    share = trapezoid(z, objective.alpha, objective.beta)
    return jnp.log(jnp.maximum(share, LEAST_SHARE)), jnp.log(jnp.maximum(1.0 - share, LEAST_SHARE))


Pooled = Float[Array, "*b"]


@dataclass(frozen=True)
class Transfer:
    """A transfer function as a value.

    Attributes:
      output: the output o of a pooled value.
      log_shares: log q and log(1 − q) of the share q of the required output.
      level: the output that a diseased sample should reach; a healthy one should reach 0.
    """

    output: Callable[[Pooled, Objective], Pooled]
    log_shares: Callable[[Pooled, Objective], tuple[Pooled, Pooled]]
    level: Callable[[Objective], float]


TRANSFERS: dict[str, Transfer] = {
    "sigmoid": Transfer(
        output=lambda z, of: modified_sigmoid(z, of.alpha, of.beta, of.gamma),
        log_shares=lambda z, of: log_filled_share(z, of.alpha, of.beta),
        level=lambda of: of.alpha,
    ),
    "trapezoid": Transfer(
        output=lambda z, of: trapezoid(z, of.alpha, of.beta),
        log_shares=_log_trapezoid,
        level=lambda of: 1.0,
    ),
    "logistic": Transfer(
        output=lambda s, of: jax.nn.sigmoid(s),
        log_shares=lambda s, of: (jax.nn.log_sigmoid(s), jax.nn.log_sigmoid(-s)),
        level=lambda of: 1.0,
    ),
}
"""The transfer functions by their word in a recipe."""
