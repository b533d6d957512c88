"""Pooling functions, transfer functions and losses of the relatives, each against its formula in float64."""

from __future__ import annotations

from functools import partial

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from scipy.special import expit, logsumexp, softmax

from compseg_jax import Objective
from compseg_jax import objective as objectives
from compseg_jax.objective import ERRORS, trapezoid
from compseg_jax.objective.loss import negatives_error
from compseg_jax.objective.maxmin import extended_log_barrier, maxmin_error
from compseg_jax.objective.pooling import (
    attention_pooled,
    attention_weights,
    log_mean_exp,
    mean_over_pixels,
)

comparative_error = jax.jit(objectives.comparative_error, static_argnums=3)
SIZE = (3, 4, 5)
LABEL = np.array([1, 0, 1])
LOGITS = np.random.default_rng(0).normal(0, 2, (*SIZE, 2)).astype(np.float32)
MASK = np.random.default_rng(1).random(SIZE) < 0.6
OPENVIBSPEC = {
    "alpha": 0.05,
    "beta": 0.8,
    "transfer": "trapezoid",
    "error": "cross_entropy",
    "healthy_weight": 0.3,
    "diseased_weight": 0.7,
    "negatives_weight": 2.0,
}
OBJECTIVES = {
    "openvibspec": Objective(**OPENVIBSPEC),
    "cam": Objective(error="cross_entropy", pooling_function="mean_logit", transfer="logistic"),
    "lse": Objective(
        error="cross_entropy", pooling_function="log_mean_exp", transfer="logistic", sharpness=4
    ),
    "attention": Objective(error="cross_entropy", pooling_function="attention", transfer="logistic"),
    "maxmin": Objective(error="maxmin", background_weight=0.4),
    "pair": Objective(pair=True, error="one_sided"),
}


def masked(values, sample):
    return np.asarray(values, np.float64)[sample][MASK[sample]]


def binary_cross_entropy(q, label):
    return -np.log(q if label else 1 - q)


def expected_openvibspec(sample):
    """The published formula, sample by sample."""
    p = expit(np.asarray(LOGITS[sample, ..., 0], np.float64))
    z = p[MASK[sample]].mean()
    share = np.interp(z, [0, 0.05, 0.85, 1], [0, 1, 1, 0]).clip(1e-6, 1 - 1e-6)
    weight = (0.3, 0.7)[LABEL[sample]]
    known = ~MASK[sample] if LABEL[sample] else np.ones_like(MASK[sample])
    return weight * binary_cross_entropy(share, LABEL[sample]) + 2.0 * np.mean(-np.log(1 - p) * known)


def expected_attention(sample):
    weights = softmax(masked(LOGITS[..., 1], sample))
    return binary_cross_entropy(expit(np.sum(weights * masked(LOGITS[..., 0], sample))), LABEL[sample])


def expected_maxmin(sample):
    region, evidence = (masked(LOGITS[..., index], sample) for index in (0, 1))
    m = expit(region)
    if not LABEL[sample]:
        return -np.log(1 - expit(evidence.mean())) - np.mean(np.log(1 - m))
    q, rest = expit(np.average(evidence, weights=m)), expit(np.average(evidence, weights=1 - m))
    divergence = sum(0.5 * np.log(0.5 / r) for r in (rest, 1 - rest))
    size = m.mean()
    assert 0.04 < size < 0.96  # where the barrier is its logarithm
    return -np.log(q) + 0.4 * divergence - np.log(size) / 5 - np.log(1 - size) / 5


EXPECTED = {
    "openvibspec": expected_openvibspec,
    "cam": lambda n: binary_cross_entropy(expit(masked(LOGITS[..., 0], n).mean()), LABEL[n]),
    "lse": lambda n: binary_cross_entropy(
        expit((logsumexp(4 * masked(LOGITS[..., 0], n)) - np.log(MASK[n].sum())) / 4), LABEL[n]
    ),
    "attention": expected_attention,
    "maxmin": expected_maxmin,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_against_their_formulas(name):
    objective = OBJECTIVES[name]
    logits = jnp.asarray(LOGITS[..., : objective.n_maps])
    found = comparative_error(logits, jnp.asarray(LABEL), jnp.asarray(MASK), objective)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [EXPECTED[name](sample) for sample in range(3)], rtol=2e-5)


@partial(jax.jit, static_argnums=2)
@jax.value_and_grad
def total_error(logits, mask, objective):
    return jnp.sum(comparative_error(logits, jnp.asarray(LABEL), mask, objective))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_values_and_gradients_are_finite_everywhere(name, scale):
    """Samples without a pixel that counts, logits of zero, and logits at which every sigmoid saturates."""
    objective = OBJECTIVES[name]
    logits = jnp.asarray(scale * LOGITS[..., : objective.n_maps])
    for mask in (None, jnp.asarray(MASK), jnp.zeros(SIZE, bool)):
        value, gradient = total_error(logits, mask, objective)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))
        if mask is not None and not objective.negatives_weight:
            np.testing.assert_array_equal(np.asarray(gradient)[~np.asarray(mask)], 0)


@pytest.mark.parametrize("name", ["cam", "lse", "attention", "maxmin", "openvibspec"])
def test_gradients_against_differences_in_float64(name):
    with jax.enable_x64(True):
        objective = OBJECTIVES[name]
        logits = jnp.asarray(LOGITS[..., : objective.n_maps], jnp.float64)

        def total(logits):
            return jnp.sum(comparative_error(logits, jnp.asarray(LABEL), jnp.asarray(MASK), objective))

        direction = jnp.asarray(np.random.default_rng(2).normal(size=logits.shape))
        numeric = (total(logits + 1e-6 * direction) - total(logits - 1e-6 * direction)) / 2e-6
        assert numeric.dtype == jnp.float64
        np.testing.assert_allclose(jnp.vdot(jax.jit(jax.grad(total))(logits), direction), numeric, rtol=1e-6)


@given(st.floats(-0.5, 1.5, width=32), st.floats(2**-6, 0.5, width=32), st.floats(2**-6, 0.25, width=32))
def test_trapezoid_is_the_interpolation_of_its_corners(x, alpha, beta):
    expected = np.interp(x, [0.0, alpha, alpha + beta, 1.0], [0.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(trapezoid(jnp.float32(x), alpha, beta), expected, atol=2e-6)


def test_a_sample_marked_all_over_is_wrong_for_the_trapezoid_only():
    full = jnp.full((1, 4, 5, 1), 12.0)
    label = jnp.ones(1, jnp.int32)
    by_trapezoid = comparative_error(full, label, None, OBJECTIVES["openvibspec"])
    by_sigmoid = comparative_error(full, label, None, Objective(error="cross_entropy"))
    assert float(by_trapezoid[0]) > 1 > 1e-6 > float(by_sigmoid[0])


@given(st.floats(2**-4, 50.0, width=32), st.integers(0, 2))
def test_log_mean_exp_lies_between_mean_and_maximum(sharpness, sample):
    logits, mask = jnp.asarray(LOGITS[sample, ..., 0]), jnp.asarray(MASK[sample])
    value = float(log_mean_exp(logits, mask, sharpness))
    mean, highest = float(mean_over_pixels(logits, mask)), float(jnp.max(jnp.where(mask, logits, -jnp.inf)))
    assert mean - 1e-5 <= value <= highest + 1e-5
    exact = (
        logsumexp(float(sharpness) * masked(LOGITS[..., 0], sample)) - np.log(MASK[sample].sum())
    ) / sharpness
    np.testing.assert_allclose(value, exact, rtol=2e-4, atol=2e-5)
    assert value <= float(log_mean_exp(logits, mask, 2 * sharpness)) + 1e-5


def test_attention_pools_what_a_linear_classifier_makes_of_the_attended_embedding():
    rng = np.random.default_rng(3)
    embedding, classifier, bias = rng.normal(size=(*SIZE, 7)), rng.normal(size=7), 0.3
    attention = rng.normal(size=SIZE)
    weights = np.stack([softmax(np.where(m, a, -np.inf)) for a, m in zip(attention, MASK, strict=True)])
    expected = np.einsum("byx,byxh->bh", weights, embedding) @ classifier + bias
    logits = jnp.asarray(embedding @ classifier + bias, jnp.float32)
    found = attention_pooled(logits, jnp.asarray(attention, jnp.float32), jnp.asarray(MASK))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = attention_weights(jnp.asarray(attention, jnp.float32), jnp.asarray(MASK))
    np.testing.assert_allclose(found, weights, rtol=1e-4, atol=1e-7)
    shifted = attention_weights(jnp.asarray(attention + 50.0, jnp.float32), jnp.asarray(MASK))
    np.testing.assert_allclose(shifted, weights, rtol=1e-4, atol=1e-7)


def test_known_negatives_are_averaged_over_the_image_and_not_over_what_pads_it():
    logits, label, mask = jnp.asarray(LOGITS[..., 0]), jnp.asarray(LABEL), jnp.asarray(MASK)
    plain = negatives_error(logits, label, mask)
    wider = jnp.pad(logits, ((0, 0), (0, 0), (0, 3)), constant_values=5.0)
    image = jnp.pad(jnp.ones(SIZE, bool), ((0, 0), (0, 0), (0, 3)))
    padded = negatives_error(wider, label, jnp.pad(mask, ((0, 0), (0, 0), (0, 3))), image)
    np.testing.assert_allclose(padded, plain, rtol=1e-6)
    # Without a mask every pixel of a diseased sample may be diseased: none is known.
    np.testing.assert_array_equal(negatives_error(logits, label, None)[jnp.asarray([0, 2])], 0)


@given(st.floats(1.0, 10.0))
def test_the_barrier_and_its_slope_are_continuous_at_its_edge(sharpness):
    with jax.enable_x64(True):
        edge, slope = -1.0 / sharpness**2, jax.grad(extended_log_barrier)
        below, above = jnp.float64(edge - 1e-9), jnp.float64(edge + 1e-9)
        values = [extended_log_barrier(x, sharpness) for x in (below, above)]
        np.testing.assert_allclose(*values, atol=1e-6)
        slopes = [slope(x, sharpness) for x in (below, above)]
        np.testing.assert_allclose(*slopes, rtol=1e-5)
        np.testing.assert_allclose(extended_log_barrier(jnp.float64(-1.0), sharpness), 0.0, atol=1e-9)


def test_maxmin_prefers_a_region_that_holds_the_evidence_and_a_remainder_that_holds_none():
    lesion = jnp.zeros((1, 6, 8), bool).at[:, 1:4, 2:6].set(True)
    diseased = jnp.ones(1, jnp.int32)
    objective = OBJECTIVES["maxmin"]

    def loss(region, evidence):
        logits = jnp.stack([jnp.where(region, 4.0, -4.0), evidence], axis=-1)
        return float(maxmin_error(logits, diseased, None, objective)[0])

    evidence = jnp.where(lesion, 4.0, 0.0)
    right = loss(lesion, evidence)
    assert right < loss(~lesion, evidence)
    assert right < loss(jnp.zeros_like(lesion), evidence)
    assert right < loss(lesion, jnp.full_like(evidence, 4.0))
    assert right < loss(lesion, -evidence)


def test_each_label_has_its_weight():
    logits, label, mask = jnp.asarray(LOGITS[..., :1]), jnp.asarray(LABEL), jnp.asarray(MASK)
    plain = comparative_error(logits, label, mask, Objective())
    weighted = comparative_error(logits, label, mask, Objective(healthy_weight=2.0, diseased_weight=0.5))
    np.testing.assert_allclose(weighted / plain, [0.5, 2.0, 0.5], rtol=1e-6)


def test_every_error_takes_logits_label_mask_and_objective():
    """So a loss of pixels is one more entry of the table."""
    for name, error in ERRORS.items():
        objective = Objective(error=name)
        logits = jnp.asarray(LOGITS[..., : objective.n_maps])
        assert error(logits, jnp.asarray(LABEL), jnp.asarray(MASK), objective).shape == (3,)


def test_maps_that_an_objective_needs():
    needed = {name: objective.n_maps for name, objective in OBJECTIVES.items()}
    assert needed == {"openvibspec": 1, "cam": 1, "lse": 1, "attention": 2, "maxmin": 2, "pair": 2}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transfer": "trapezoid"}, "their sum must lie below 1"),
        ({"pooling_function": "mean_logit"}, "needs 'logistic'"),
        ({"transfer": "logistic"}, "a pooled logit"),
        ({"healthy_weight": -1.0}, "healthy_weight"),
        ({"sharpness": 0.0}, "sharpness"),
        ({"error": "maxmin", "pair": True}, "need the second map for themselves"),
    ],
)
def test_parts_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Objective(**values)
