"""Every form of the 3×3 convolution against lax in float64, the rule that chooses, and what it compiles to."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from compseg_jax import Batch, Objective, UNet, init_train_state, make_train_step
from compseg_jax.networks import convolution
from compseg_jax.networks.convolution import add_bias, convolution_3x3, form_of
from compseg_jax.networks.layers import Conv
from compseg_jax.runtime import data_mesh

FORMS = [(product, form) for product, forms in convolution.FORMS.items() for form in forms]
OPERANDS = {"forward": ("x", "kernel"), "by_input": ("gradient", "kernel"), "by_kernel": ("x", "gradient")}
# Float32 sums over 9·c terms, and Winograd's transforms on top; measured at most 2e-6 and 4e-6.
TOLERANCE = 1e-5


def operands(shape, features, seed=0):
    rng = np.random.default_rng(seed)
    b, height, width, channels = shape
    return {
        "x": rng.standard_normal(shape),
        "kernel": rng.standard_normal((3, 3, channels, features)) / np.sqrt(9 * channels),
        "gradient": rng.standard_normal((b, height, width, features)),
    }


@jax.jit
def lax_with_gradients(x, kernel, gradient):
    value, pull_back = jax.vjp(
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        x,
        kernel,
    )
    return value, *pull_back(gradient)


def in_float64(values):
    """Value and gradients of lax's convolution in double precision."""
    with jax.enable_x64(True):
        found = lax_with_gradients(*(jnp.asarray(values[name]) for name in ("x", "kernel", "gradient")))
        assert found[0].dtype == jnp.float64
        return dict(zip(OPERANDS, map(np.asarray, found), strict=True))


@functools.cache
def of_shape(shape, features):
    """Operands and what lax makes of them in double precision, once for all forms."""
    values = operands(shape, features)
    return values, in_float64(values)


def deviation(found, expected):
    return np.max(np.abs(np.asarray(found, np.float64) - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize(("product", "form"), FORMS)
@pytest.mark.parametrize(
    ("shape", "features"),
    [((2, 8, 6, 5), 7), ((1, 4, 12, 70), 3), ((1, 2, 2, 64), 64), ((3, 16, 16, 130), 66)],
)
def test_every_form_against_float64(product, form, shape, features):
    values, expected = of_shape(shape, features)
    arguments = [jnp.asarray(values[name], jnp.float32) for name in OPERANDS[product]]
    found = jax.jit(convolution.FORMS[product][form])(*arguments)
    assert deviation(found, expected[product]) < TOLERANCE


@settings(max_examples=settings().max_examples // 4)
@given(
    b=st.integers(1, 2),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 9),
    features=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_taps_and_winograd_at_any_size(b, size, channels, features, seed):
    values = operands((b, *size, channels), features, seed)
    expected = in_float64(values)
    for product, form in FORMS:
        if form == "plain" or (form == "winograd" and (size[0] % 2 or size[1] % 2)):
            continue
        arguments = [jnp.asarray(values[name], jnp.float32) for name in OPERANDS[product]]
        found = jax.jit(convolution.FORMS[product][form])(*arguments)
        assert deviation(found, expected[product]) < TOLERANCE


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((7, 8, 8, 450), 16),
        pytest.param((4, 16, 16, 128), 128, marks=pytest.mark.slow),
        ((1, 4, 4, 256), 256),
        ((1, 5, 7, 3), 4),
    ],
)
def test_gradients_of_the_fast_form_against_float64(shape, features):
    values = operands(shape, features)
    x, kernel, gradient = (jnp.asarray(values[name], jnp.float32) for name in ("x", "kernel", "gradient"))
    value, pull_back = jax.jit(lambda x, kernel: jax.vjp(convolution_3x3, x, kernel))(x, kernel)
    expected = in_float64(values)
    assert deviation(value, expected["forward"]) < TOLERANCE
    for found, name in zip(pull_back(gradient), ("by_input", "by_kernel"), strict=True):
        assert deviation(found, expected[name]) < TOLERANCE


def test_the_rule_by_shape(monkeypatch):
    def chosen(*sizes, dtype=jnp.float32):
        *shape, features = sizes
        return tuple(form_of(tuple(shape), features, jnp.dtype(dtype)).values())

    monkeypatch.setattr(convolution, "has_onednn_convolutions", lambda: True)
    assert chosen(7, 64, 64, 450, 16) == ("plain", "plain", "taps")
    assert chosen(2, 128, 128, 450, 64) == ("plain", "plain", "taps")
    assert chosen(7, 64, 64, 16, 16) == ("plain", "plain", "plain")
    assert chosen(2, 64, 64, 128, 128) == ("winograd",) * 3
    assert chosen(7, 8, 8, 128, 128) == ("plain", "plain", "winograd")
    assert chosen(2, 128, 128, 64, 64) == ("plain", "plain", "winograd")
    assert chosen(2, 8, 8, 1024, 1024) == ("plain", "taps", "taps")
    assert "winograd" not in chosen(2, 65, 64, 128, 128)
    assert chosen(2, 64, 64, 128, 128, dtype=jnp.bfloat16) == ("plain",) * 3
    monkeypatch.setattr(convolution, "has_onednn_convolutions", lambda: False)
    assert chosen(7, 64, 64, 450, 16) == ("taps", "plain", "taps")


def test_plain_has_forward_mode_derivatives_and_fast_says_it_has_none():
    values = operands((1, 4, 4, 2), 3)
    x, kernel = (jnp.asarray(values[name], jnp.float32) for name in ("x", "kernel"))
    _, tangent = jax.jvp(lambda x: convolution_3x3(x, kernel, "plain"), (x,), (x,))
    np.testing.assert_allclose(tangent, convolution_3x3(x, kernel), rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: convolution_3x3(x, kernel), (x,), (x,))


@pytest.mark.slow
def test_parameters_are_updated_where_they_lie():
    """A kernel that is read after its update, or may be, is copied at the start of every step."""
    if not convolution.has_onednn_convolutions():
        pytest.skip(
            "without oneDNN (jaxlib 0.10) convolutions take kernels in another layout, which is a copy"
        )
    network = UNet(base=4, depth=1)
    state = init_train_state(jax.random.key(0), network, 3)
    step = make_train_step(data_mesh(1))
    batch = step.padded(state.plan, wide_batch(2, 8, 3))
    program = step.jitted.lower(state, batch).compile().as_text()
    entry = program[program.index("ENTRY") :]
    assert "state_variables__params____down_0____Conv_1____kernel__" in entry
    copied = [line for line in entry.splitlines() if " copy(%state_variables" in line and "f32[3,3," in line]
    assert copied == []


def test_bias_and_its_gradient():
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.normal(size=(2, 5, 3, 4)), jnp.float32) for _ in range(2))
    bias = jnp.arange(4.0)
    np.testing.assert_array_equal(add_bias(x, bias), np.asarray(x) + np.asarray(bias))
    by_x, by_bias = jax.grad(lambda x, bias: jnp.sum(add_bias(x, bias) * weights), argnums=(0, 1))(x, bias)
    np.testing.assert_array_equal(by_x, weights)
    np.testing.assert_allclose(by_bias, np.asarray(weights, np.float64).sum((0, 1, 2)), rtol=1e-5, atol=1e-6)


def test_the_layer_is_flax_conv_by_other_means():
    import flax.linen as nn

    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 3))
    flax = nn.Conv(4, (3, 3), kernel_init=nn.initializers.glorot_uniform())
    variables = jax.jit(flax.init)(jax.random.key(1), x)
    ours = jax.jit(Conv(4).init)(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours, variables)
    np.testing.assert_allclose(Conv(4).apply(variables, x), flax.apply(variables, x), rtol=1e-5, atol=1e-6)


def wide_batch(n=8, size=24, channels=64):
    rng = np.random.default_rng(0)
    return Batch(
        cube=jnp.asarray(rng.standard_normal((n, size, size, channels), np.float32)),
        tissue=jnp.ones((n, size, size), bool),
        label=jnp.asarray(np.arange(n) % 2, jnp.int32),
        weight=jnp.ones(n),
    )


def one_step(n_devices, form):
    network = UNet(base=64, depth=0, head_bias=-3.0, convolution=form)
    # Not the printed loss: at a random start its gradient is a difference of nearly equal terms.
    objective = Objective(alpha=0.2, error="cross_entropy")
    state = init_train_state(jax.random.key(0), network, 64, objective=objective)
    step = make_train_step(data_mesh(n_devices))
    batch = step.padded(state.plan, wide_batch())
    program = step.jitted.lower(state, batch).compile()
    _, metrics = program(state, batch)
    return metrics, program.as_text()


@pytest.mark.slow
def test_fast_and_plain_and_eight_devices_compute_the_same_gradient():
    fast, _ = one_step(1, "fast")
    plain, _ = one_step(1, "plain")
    sharded, program = one_step(8, "fast")
    for other in (plain, sharded):
        np.testing.assert_allclose(fast["loss"], other["loss"], rtol=1e-5)
        np.testing.assert_allclose(fast["gradient_norm"], other["gradient_norm"], rtol=2e-5)
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert "all-to-all" not in program
