"""What the network is trained for: pooling neuron, transfer function and loss, each a pure function.

Equations are those of Schuhmacher, Gerwert and Mosig (2019), section 3, cited as [CompSegNet]. An activation
map ``z`` holds values in [0, 1]; the pooling neuron counts active pixels; its transfer function σ turns the
count into the output ``o``; the loss compares ``o`` with the label. Everything is computed in float32 (or the
float64 of its input), whatever precision the network used.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from compseg_jax.config import ALPHA, BETA, GAMMA, Objective


def _at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
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
    dtype = _at_least_float32(out_dtype)
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

    Source: [CompSegNet], section 3.2; the observation is this project's (BUILD_NOTES.md).
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


def pooled_activation(
    activation: Float[Array, "*b y x"],
    mask: Shaped[Array, "*b y x"] | None = None,
) -> Float[Array, "*b"]:
    """The pooling neuron: the mean activation over the image, or over the pixels of ``mask``.

    Args:
      activation: activation maps in [0, 1].
      mask: pixels that count (bool, or weights from 0 to 1); all of them when None. A sample without any
        such pixel pools to 0.

    Returns:
      The pooled activation of each sample, in [0, 1], at least float32.

    Source: [CompSegNet], section 3.1, "the pooling neuron p will 'count' the number of active pixels".
    """
    activation = activation.astype(_at_least_float32(activation.dtype))
    if mask is None:
        return jnp.mean(activation, axis=(-2, -1))
    weights = mask.astype(activation.dtype)
    area = jnp.sum(weights, axis=(-2, -1))
    return jnp.sum(activation * weights, axis=(-2, -1)) / jnp.maximum(area, 1.0)


def absolute_error(
    o: Float[Array, "*b"],
    label: Shaped[Array, "*b"],
    alpha: Float[Array, ""] | float = ALPHA,
) -> Float[Array, "*b"]:
    r"""The loss of each sample, \|o − αℓ\|; the printed loss g is its sum over the samples.

    The paper's text calls it a root-mean-squared error; the formula counts.

    Args:
      o: output of the pooling neuron, σ(z).
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: the value a diseased sample should reach.

    Source: [CompSegNet], section 3.2, equation of g.
    """
    o = jnp.asarray(o)
    return jnp.abs(o - jnp.asarray(alpha, o.dtype) * jnp.asarray(label).astype(o.dtype))


def one_sided_error(
    o: Float[Array, "*b"],
    label: Shaped[Array, "*b"],
    alpha: Float[Array, ""] | float = ALPHA,
) -> Float[Array, "*b"]:
    """α − o for a diseased sample, o for a healthy one: below α the printed loss, above it no turning back.

    This is what the paper's text asks of γ ("introduce an incentive to detect more tumor"); the value of a
    diseased sample is negative beyond :func:`crossing_point`.

    Args:
      o: output of the pooling neuron, σ(z), at or above 0.
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: the value a diseased sample should reach.

    Source: [CompSegNet], section 3.2, properties (L1) and (L2).
    """
    o = jnp.asarray(o)
    diseased = jnp.asarray(label).astype(o.dtype)
    return diseased * (jnp.asarray(alpha, o.dtype) - o) + (1.0 - diseased) * o


def cross_entropy(
    z: Float[Array, "*b"],
    label: Shaped[Array, "*b"],
    alpha: Float[Array, ""] | float = ALPHA,
    beta: Float[Array, ""] | float = BETA,
) -> Float[Array, "*b"]:
    r"""Cross-entropy between the label and q = σ(z)/α with γ = 0, the filled share of the required area.

    .. math:: -\ell \log \tanh u - (1 - \ell) \log(1 - \tanh u), \qquad u = \frac{\beta z}{2\alpha}

    The printed loss is flat where σ saturates: at a random start (z ≈ .5) no label can be learnt from, and a
    map that has collapsed to zero stays there. Here a healthy sample is pushed down however large z is
    (the second term tends to 2u − log 2) and a diseased one is pushed up however small it is, while a
    diseased sample that reaches α is left in peace, as in the printed loss.

    Args:
      z: pooled activation, in [0, 1].
      label: 1 for a diseased sample, 0 for a healthy one; any dtype.
      alpha: least diseased fraction.
      beta: slope parameter of σ.

    Source: this project; σ from [CompSegNet], section 3.2.
    """
    z = jnp.asarray(z)
    diseased = jnp.asarray(label).astype(z.dtype)
    u = jnp.asarray(beta / (2.0 * alpha), z.dtype) * z
    # log tanh u = log1p(−e^{−2u}) − log1p(e^{−2u}); the floor keeps its gradient finite at z = 0.
    decay = jnp.exp(-2.0 * jnp.maximum(u, 1e-6))
    missed = jnp.log1p(decay) - jnp.log1p(-decay)
    marked = jax.nn.softplus(2.0 * u) - jnp.log(2.0).astype(z.dtype)
    return diseased * missed + (1.0 - diseased) * marked


_ERRORS = {"absolute": absolute_error, "one_sided": one_sided_error}


def label_error(
    z: Float[Array, "*b"], label: Shaped[Array, "*b"], objective: Objective
) -> Float[Array, "*b"]:
    """The loss of each sample from its pooled activation, by the objective's transfer function and error."""
    if objective.error == "cross_entropy":
        return cross_entropy(z, label, objective.alpha, objective.beta)
    output = modified_sigmoid(z, objective.alpha, objective.beta, objective.gamma)
    return _ERRORS[objective.error](output, label, objective.alpha)


def comparative_error(
    logits: Float[Array, "b y x maps"],
    label: Int[Array, b],
    mask: Bool[Array, "b y x"] | None,
    objective: Objective,
) -> Float[Array, b]:
    """The loss of each sample from its logits: sigmoid, pooling over ``mask``, σ and the error.

    With two maps the second, a⁻, is trained through its own pooling neuron p⁻ towards α·(1 − ℓ), and both
    errors are added; the paper names a⁻ and p⁻ without defining them, this is their natural reading.

    Source: [CompSegNet], sections 3.1 and 3.2.
    """
    activation = jax.nn.sigmoid(logits.astype(_at_least_float32(logits.dtype)))
    total = jnp.zeros(label.shape, activation.dtype)
    for index in range(objective.n_maps):
        pooled = pooled_activation(activation[..., index], mask)
        total = total + label_error(pooled, label if index == 0 else 1 - label, objective)
    return total


def supervised_error(
    logits: Float[Array, "b y x maps"],
    reference: Bool[Array, "b y x"],
    mask: Bool[Array, "b y x"] | None,
) -> Float[Array, b]:
    """Pixel cross-entropy plus soft Dice loss of each sample against its reference mask, over ``mask``.

    The upper bound that a network trained from labels is compared with.

    Source: Milletari, Navab and Ahmadi, V-Net (2016), for the Dice term.
    """
    logits = logits[..., 0].astype(_at_least_float32(logits.dtype))
    weights = jnp.ones_like(logits) if mask is None else mask.astype(logits.dtype)
    truth = reference.astype(logits.dtype) * weights
    area = jnp.maximum(jnp.sum(weights, axis=(-2, -1)), 1.0)
    cross_entropy = jnp.sum(weights * (jax.nn.softplus(logits) - logits * truth), axis=(-2, -1)) / area
    activation = jax.nn.sigmoid(logits) * weights
    overlap = 2.0 * jnp.sum(activation * truth, axis=(-2, -1)) + 1.0
    total = jnp.sum(activation, axis=(-2, -1)) + jnp.sum(truth, axis=(-2, -1)) + 1.0
    return cross_entropy + 1.0 - overlap / total
