"""Laws of the pooling neuron, its transfer function and its losses."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import example, given

from compseg_jax import (
    Objective,
    absolute_error,
    crossing_point,
    modified_sigmoid,
    one_sided_error,
    pooled_activation,
)
from compseg_jax.objective import comparative_error, cross_entropy, share_cross_entropy, supervised_error
from compseg_jax.objective.pooling import top_share_mean

FLOAT32_MAX = float(np.finfo(np.float32).max)
finite32 = st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32)
activations = st.floats(0.0, 1.0, width=32)
alphas = st.floats(2**-7, 1.0, width=32)
betas = st.floats(0.5, 20.0, width=32)
gammas = st.floats(0.0, 0.5, width=32)
mpmath.mp.dps = 60


def sigma_exact(x, alpha, beta, gamma):
    """The printed formula in 60 digits, from the exact values of the floats."""
    x, alpha, beta, gamma = (mpmath.mpf(float(v)) for v in (x, alpha, beta, gamma))
    return alpha * (2 / (1 + mpmath.exp(-beta * x / alpha)) - 1) + gamma * x


@given(alphas, betas, gammas)
def test_zero_maps_to_zero(alpha, beta, gamma):
    assert float(modified_sigmoid(jnp.float32(0), alpha, beta, gamma)) == 0.0


@given(finite32)
def test_odd(x):
    x = jnp.float32(x)
    assert float(modified_sigmoid(-x)) == -float(modified_sigmoid(x))


@given(finite32, finite32)
@example(0.1446, 0.14460001)
def test_non_decreasing_in_float32(x, y):
    low, high = sorted((x, y))
    assert float(modified_sigmoid(jnp.float32(low))) <= float(modified_sigmoid(jnp.float32(high)))


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_strictly_increasing_in_exact_arithmetic(x, y):
    if x == y:
        return
    low, high = sorted((x, y))
    assert sigma_exact(low, 0.1, 5.0, 0.001) < sigma_exact(high, 0.1, 5.0, 0.001)


@given(finite32, alphas, betas, gammas)
def test_saturating_part_is_bounded_by_alpha(x, alpha, beta, gamma):
    value = np.float32(modified_sigmoid(jnp.float32(x), alpha, beta, gamma))
    line = np.float32(gamma) * np.float32(x)
    assert abs(value - line) <= np.float32(alpha) + 4 * np.spacing(
        np.maximum(np.abs(value), np.float32(alpha))
    )


@given(alphas, betas, gammas)
def test_slope_at_zero_and_far_out(alpha, beta, gamma):
    slope = jax.grad(modified_sigmoid)
    np.testing.assert_allclose(slope(jnp.float32(0), alpha, beta, gamma), beta / 2 + gamma, rtol=1e-6)
    np.testing.assert_allclose(slope(jnp.float32(1e6), alpha, beta, gamma), np.float32(gamma), rtol=1e-6)


@pytest.mark.parametrize("x", [1e30, -1e30, FLOAT32_MAX, -FLOAT32_MAX, 0.0, 1e-38])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_finite(x, dtype):
    x = jnp.asarray(min(max(x, -3e38), 3e38), dtype)
    value, slope = jax.value_and_grad(modified_sigmoid)(x)
    assert value.dtype == dtype
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope)


@given(st.lists(finite32, min_size=1, max_size=5))
def test_jit_vmap_and_eager_agree(values):
    x = jnp.asarray(values, jnp.float32)
    eager = modified_sigmoid(x)
    np.testing.assert_allclose(jax.jit(modified_sigmoid)(x), eager, rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(modified_sigmoid)(x), eager)


@given(st.floats(-4.0, 4.0, width=32), alphas, betas, gammas)
def test_value_against_mpmath_in_float32(x, alpha, beta, gamma):
    exact = float(sigma_exact(x, alpha, beta, gamma))
    value = float(modified_sigmoid(jnp.float32(x), alpha, beta, gamma))
    assert abs(value - exact) <= 1e-6 * max(1.0, abs(exact))


@given(st.floats(-4.0, 4.0), st.floats(0.01, 1.0), st.floats(0.5, 20.0), st.floats(0.0, 0.5))
def test_value_against_mpmath_in_float64(x, alpha, beta, gamma):
    exact = float(sigma_exact(x, alpha, beta, gamma))
    with jax.enable_x64(True):
        value = float(modified_sigmoid(jnp.float64(x), alpha, beta, gamma))
    assert abs(value - exact) <= 1e-12 * max(1.0, abs(exact))


@given(st.floats(2**-10, 2.0, width=32), alphas, betas, gammas, st.floats(1.0, 2.0, width=32))
def test_monotone_in_each_parameter(x, alpha, beta, gamma, factor):
    """For x > 0: rising in γ and β, and in α, since tanh(u)/u falls."""
    slack = 4e-7
    value = float(modified_sigmoid(jnp.float32(x), alpha, beta, gamma))
    for changed in (
        (alpha * factor, beta, gamma),
        (alpha, beta * factor, gamma),
        (alpha, beta, gamma * factor),
    ):
        assert float(modified_sigmoid(jnp.float32(x), *changed)) >= value * (1 - slack) - slack


def test_paper_values():
    """σ with the printed parameters, computed by hand from the formula in 60 digits."""
    for x in (0.05, 0.1, 0.35, 1.0):
        exact = float(sigma_exact(x, 0.1, 5.0, 0.001))
        np.testing.assert_allclose(modified_sigmoid(jnp.float32(x)), exact, rtol=2e-7)
    assert round(float(modified_sigmoid(1.0)), 6) == 0.101


@given(alphas, betas, st.floats(2**-20, 0.5, width=32))
def test_crossing_point_solves_its_equation(alpha, beta, gamma):
    crossing = float(jax.jit(crossing_point)(alpha, beta, gamma))
    exact = mpmath.findroot(
        lambda u: (
            2 * u + mpmath.log(mpmath.mpf(gamma) / mpmath.mpf(beta) * u) + mpmath.log1p(mpmath.exp(-2 * u))
        ),
        mpmath.mpf(crossing) * beta / (2 * alpha),
    )
    np.testing.assert_allclose(crossing, float(2 * mpmath.mpf(alpha) / mpmath.mpf(beta) * exact), rtol=2e-5)


def test_crossing_point_of_the_paper_and_its_gradient():
    assert round(float(crossing_point(0.1, 5.0, 0.001)), 6) == 0.144624
    assert math.isinf(float(crossing_point(0.1, 5.0, 0.0)))
    arguments = (0.1, 5.0, 0.001)
    crossing = jax.jit(crossing_point)
    gradient = jax.grad(crossing, argnums=(0, 1, 2))(*arguments)
    with jax.enable_x64(True):
        for index, value in enumerate(gradient):
            step = 1e-6 * arguments[index]
            up, down = (list(arguments) for _ in range(2))
            up[index] += step
            down[index] -= step
            numeric = (crossing(*up) - crossing(*down)) / (2 * step)
            np.testing.assert_allclose(value, numeric, rtol=1e-3)
    many = jax.vmap(lambda gamma: crossing(0.1, 5.0, gamma))(jnp.asarray([0.001, 0.01, 0.1]))
    assert np.all(np.diff(many) < 0)


def test_beyond_the_crossing_the_printed_loss_pushes_large_tumours_down_and_the_one_sided_up():
    beyond = jnp.float32(0.3)

    def printed(z):
        return absolute_error(modified_sigmoid(z), 1)

    def one_sided(z):
        return one_sided_error(modified_sigmoid(z), 1)

    assert float(jax.grad(printed)(beyond)) == pytest.approx(0.001, rel=0.05)
    assert float(jax.grad(one_sided)(beyond)) == pytest.approx(-0.001, rel=0.05)


@given(activations, st.integers(0, 1), alphas)
def test_losses_agree_below_alpha(o, label, alpha):
    o = jnp.float32(min(o, alpha))
    np.testing.assert_allclose(absolute_error(o, label, alpha), one_sided_error(o, label, alpha), atol=1e-7)


def test_absolute_error_is_the_printed_sum():
    o, label = jnp.asarray([0.05, 0.02, 0.1]), jnp.asarray([1, 0, 1])
    np.testing.assert_allclose(jnp.sum(absolute_error(o, label, 0.1)), 0.05 + 0.02 + 0.0, rtol=1e-6)


@given(st.floats(2**-12, 1.0, width=32), st.integers(0, 1))
def test_cross_entropy_is_that_of_the_filled_share(z, label):
    q = mpmath.tanh(mpmath.mpf(z) * 25)
    exact = -mpmath.log(q) if label else -mpmath.log(1 - q)
    np.testing.assert_allclose(cross_entropy(jnp.float32(z), label), float(exact), rtol=1e-4, atol=1e-6)


@given(st.floats(-12.0, -4.0))
@example(-12.0)
@example(-4.0)
def test_a_map_that_has_all_but_vanished_still_grows(exponent):
    """d/dz of −log tanh 25z is −50/sinh 50z: to the digits of float32, however small z is."""
    z = np.float32(10.0**exponent)
    exact = -50 / mpmath.sinh(50 * mpmath.mpf(float(z)))
    np.testing.assert_allclose(jax.grad(cross_entropy)(z, 1), float(exact), rtol=1e-5)


def test_a_map_of_zeros_has_finite_loss_and_gradient():
    for label in (0, 1):
        value, gradient = jax.value_and_grad(cross_entropy)(jnp.float32(0), label)
        assert np.isfinite([value, gradient]).all()
    # Through the pixels the gradient stays of order 1, also of logits whose activation is 1e-26.
    logits = jnp.full((1, 4, 4, 1), -60.0)
    objective = Objective(error="cross_entropy")
    pushed = jax.grad(lambda s: jnp.sum(comparative_error(s, jnp.ones(1, int), None, objective)))(logits)
    np.testing.assert_allclose(pushed, -1 / 16, rtol=1e-4)


@given(st.floats(-20, 20, width=32), st.integers(0, 1), st.floats(0, 0.375, width=32))
def test_smoothed_labels_aim_at_a_finite_logit(logit, label, smoothing):
    """The loss is that of the label 1 − ε or ε, and lies lowest where the logit says so."""

    def loss(x):
        return share_cross_entropy(jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x), label, smoothing)

    target = 1 - smoothing if label else smoothing
    slope = float(jax.grad(loss)(jnp.float32(logit)))
    np.testing.assert_allclose(slope, 1 / (1 + math.exp(-logit)) - target, atol=1e-5)


def test_cross_entropy_is_never_flat_where_the_printed_loss_is():
    slope = jax.grad(cross_entropy)
    assert float(slope(jnp.float32(0.5), 0)) > 10
    assert float(slope(jnp.float32(1e-3), 1)) < -100
    assert abs(float(jax.grad(lambda z: absolute_error(modified_sigmoid(z), 0))(jnp.float32(0.5)))) < 0.01
    for z in (0.0, 1.0):
        for label in (0, 1):
            assert np.isfinite(slope(jnp.float32(z), label))


def test_pooling_over_image_and_mask():
    activation = jnp.zeros((2, 4, 6)).at[0, :2].set(1.0)
    np.testing.assert_allclose(pooled_activation(activation), [0.5, 0.0])
    mask = jnp.zeros((2, 4, 6), bool).at[0, :1].set(True)
    np.testing.assert_allclose(pooled_activation(activation, mask), [1.0, 0.0])
    assert pooled_activation(jnp.ones((3, 3), jnp.bfloat16)).dtype == jnp.float32


def test_pair_trains_the_second_map_towards_the_other_label():
    logits = jnp.stack([jnp.full((2, 4, 4), 6.0), jnp.full((2, 4, 4), -6.0)], axis=-1)
    label = jnp.asarray([1, 0])
    error = comparative_error(logits, label, None, Objective(pair=True))
    assert float(error[0]) < 0.02  # a⁺ full, a⁻ empty: right for a diseased sample
    assert float(error[1]) > 0.18  # and wrong twice for a healthy one
    single = comparative_error(logits[..., :1], label, None, Objective())
    assert np.all(single <= error)


def test_supervised_error_prefers_the_truth():
    reference = jnp.zeros((1, 6, 6), bool).at[0, :3].set(True)
    right = jnp.where(reference, 5.0, -5.0)[..., None]
    mask = jnp.ones((1, 6, 6), bool)
    assert float(supervised_error(right, reference, mask)[0]) < 0.05
    assert float(supervised_error(-right, reference, mask)[0]) > 3.0


def test_nonsense_parameters_are_refused():
    for name, value in (("alpha", 0.0), ("alpha", 1.5), ("alpha", np.nan), ("beta", 0.0), ("gamma", -1.0)):
        with pytest.raises(ValueError, match=f"{name}={value}: must be "):
            Objective(**{name: value})
    with pytest.raises(ValueError, match="pair=True"):
        Objective(target="reference", pair=True)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.55, 1.0])
def test_top_share_is_the_mean_of_the_highest_logits(share):
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (3, 5, 7)).astype(np.float32)
    mask = rng.uniform(size=logits.shape) < 0.7
    found = np.asarray(top_share_mean(jnp.asarray(logits), jnp.asarray(mask), share))
    for one, own, pooled in zip(logits, mask, found, strict=True):
        highest = np.sort(one[own].astype(np.float64))[::-1]
        wanted = max(share * highest.size, 1.0)
        whole = int(wanted)
        expected = highest[:whole].sum()
        if wanted > whole:
            expected += (wanted - whole) * highest[whole]
        np.testing.assert_allclose(pooled, expected / wanted, rtol=1e-5)


def test_top_share_lies_between_mean_and_maximum_and_needs_no_pixel():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6)), jnp.float32)
    np.testing.assert_allclose(
        top_share_mean(logits, None, 1.0), jnp.mean(logits, axis=(1, 2)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(top_share_mean(logits, None, 1e-6), jnp.max(logits, axis=(1, 2)))
    assert not top_share_mean(logits, jnp.zeros(logits.shape, bool), 0.1).any()
    gradient = jax.grad(lambda x: jnp.sum(top_share_mean(x, jnp.zeros(x.shape, bool), 0.1)))(logits)
    assert np.isfinite(np.asarray(gradient)).all()
    pushed = jax.grad(lambda x: jnp.sum(top_share_mean(x, None, 0.25)))(logits)
    np.testing.assert_allclose(jnp.sum(pushed, axis=(1, 2)), 1.0, rtol=1e-5)
    assert int(jnp.sum(pushed[0] > 0)) == 6
