"""Every recipe from a store to a loaded model, the schedule in steps, and how predictions read the logits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax import Model, Objective, Optimiser, UNet, init_train_state, load_model
from compseg_jax.config import RECIPES, Network, Training
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.networks.build import apply_network, init_variables
from compseg_jax.objective.activation import activation_map, activation_of_logits, attended_probability
from compseg_jax.store.read import Store
from compseg_jax.training import run as training_run
from compseg_jax.training.optimiser import learning_rate, make_optimiser
from compseg_jax.training.run import train

RELATIVES = ("attention_mil", "cam", "lse", "maxmin", "openvibspec2022", "saliency")
LIKE_OTHERS = (
    "attention_mil",
    "cam",
    "compsegnet",
    "lse",
    "maxmin",
    "openvibspec2022",
    "paper2019",
    "saliency",
    "supervised",
    "texture",
)
"""Recipes whose parts other tests cover one by one; trained by `make test-all`."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    phantom = PhantomConfig(size=16, channels=8, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=8, val=4, test=2, phantom=phantom))
    return path


def test_the_relatives_are_all_there():
    assert set(RELATIVES) < set(RECIPES)


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in sorted(RECIPES)],
)
def test_a_recipe_trains_and_its_model_predicts_what_it_did(recipe, store, tmp_path, monkeypatch):
    saved = []
    save_network = training_run.save_network
    monkeypatch.setattr(training_run, "save_network", lambda *a: (saved.append(a[1]), save_network(*a)))
    config = RECIPES[recipe]
    network = dataclasses.replace(config.network, base=2, depth=0, front=3)
    options = {"epochs": 2, "batch_size": 4, "self_check": False, "second_view": False, "checkpoint_every": 2}
    train(dataclasses.replace(config, data=store, out=tmp_path, network=network, **options))
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        assert all(np.isfinite(json.loads(line)[name]) for name in ("loss", "val_loss", "gradient_norm"))
    opened = Store.open(store)
    sample = opened.split("test")[1].id
    cube, tissue = opened.cube(sample), opened.tissue(sample)
    loaded = load_model(tmp_path / "model")
    assert ("batch_stats" in loaded.networks[0].variables) == (network.normalisation == "batch")
    activation = loaded(cube, tissue=tissue)
    np.testing.assert_array_equal(activation, Model.of(saved[0])(cube, tissue=tissue))
    assert 0 <= float(activation.min()) < float(activation.max()) <= 1
    assert not np.any(np.asarray(activation)[~tissue])


def test_the_rate_falls_by_its_factor_every_so_many_epochs():
    optimiser = Optimiser(learning_rate=0.5, schedule="step", step_factor=0.25, step_epochs=2)
    transform = make_optimiser(optimiser, n_steps=0, epoch_steps=3)
    moments, updates = transform.init(jnp.asarray(1.0)), []
    for _ in range(13):
        update, moments = transform.update(jnp.asarray(1.0), moments)
        updates.append(float(update))
    # A constant gradient of 1 leaves the mean square 1 − .9ⁿ, by which RMSprop divides.
    rates = -np.asarray(updates) * np.sqrt(1 - 0.9 ** np.arange(1, 14))
    np.testing.assert_allclose(rates, [0.5] * 6 + [0.125] * 6 + [0.03125], rtol=1e-5)


@pytest.mark.parametrize("n_steps", [1, 7, 13, 40, 333])
def test_the_rate_rises_for_a_tenth_and_falls_as_a_cosine(n_steps):
    rate = jax.jit(jax.vmap(learning_rate(Optimiser(learning_rate=1e-3, schedule="cosine"), n_steps, 0)))
    done, rise = np.arange(n_steps + 1), max(1.0, 0.1 * n_steps)
    fall = np.clip((done - rise) / max(n_steps - rise, 1.0), 0, 1)
    expected = 1e-3 * np.minimum(done / rise, 0.5 * (1 + np.cos(np.pi * fall)))
    np.testing.assert_allclose(rate(jnp.arange(n_steps + 1)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("epoch_steps", [1, 41, 61, 107])
def test_the_rate_falls_at_the_first_step_of_its_epoch(epoch_steps):
    """The lengths at which a quotient in float32 falls a step late."""
    optimiser = Optimiser(learning_rate=0.5, schedule="step", step_factor=0.25, step_epochs=1)
    done = np.arange(6 * epoch_steps + 1)
    rates = jax.jit(jax.vmap(learning_rate(optimiser, 0, epoch_steps)))(jnp.asarray(done, jnp.int32))
    np.testing.assert_allclose(rates, 0.5 * 0.25 ** (done // epoch_steps), rtol=1e-6)


def test_the_schedule_in_steps_needs_the_length_of_an_epoch():
    optimiser = Optimiser(schedule="step")
    with pytest.raises(ValueError, match="epoch_steps"):
        init_train_state(jax.random.key(0), UNet(base=2, depth=1), 3, optimiser=optimiser)
    with pytest.raises(ValueError, match="step_factor"):
        Optimiser(step_factor=0.0)


def test_attention_is_shown_relative_to_the_highest_in_the_tissue():
    logits = jnp.asarray([[[[0.0, 5.0], [2.0, 1.0], [9.0, 99.0]]]])
    tissue = jnp.asarray([[[True, True, False]]])
    expected = [[[0.5, np.exp(-4) / (1 + np.exp(-2)), 0.0]]]
    np.testing.assert_allclose(attended_probability(logits, tissue), expected, rtol=1e-5)
    empty = attended_probability(logits, jnp.zeros_like(tissue))
    np.testing.assert_array_equal(empty, 0.0)


def test_a_map_of_attention_needs_attention():
    with pytest.raises(ValueError, match="Set both, or neither"):
        Training(network=Network(activation_map="attention"))


@pytest.mark.slow
def test_saliency_is_the_gradient_of_the_score():
    """Against differences of the score by each input."""
    network = UNet(base=3, depth=1, activation="softplus", activation_map="saliency", normalisation="layer")
    variables = init_variables(network, jax.random.key(0), 4)
    rng = np.random.default_rng(0)
    tissue = jnp.asarray(rng.random((2, 6, 8)) < 0.7)
    cube = jnp.where(tissue[..., None], jnp.asarray(rng.normal(size=(2, 6, 8, 4)), jnp.float32), 0.0)
    found = jax.jit(activation_map, static_argnums=0)(network, variables, cube, tissue)
    area = np.asarray(tissue).sum(axis=(1, 2))

    steps = jnp.asarray(0.02 * np.eye(6 * 8 * 4).reshape(-1, 6, 8, 4), jnp.float32)
    moved = jnp.concatenate([cube[:1] + steps, cube[:1] - steps])
    apply = jax.jit(apply_network, static_argnums=0)
    logits = apply(network, variables, moved)[..., 0]
    scores = np.mean(np.asarray(logits, np.float64)[:, np.asarray(tissue[0])], axis=1).reshape(2, 6, 8, 4)
    largest = np.max(np.abs(scores[0] - scores[1]) / 0.04, axis=-1)
    weights = np.asarray(tissue[0], float)
    kernel = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])

    def filtered(image):
        padded = np.pad(image, 1)
        return sum(kernel[i, j] * padded[i : i + 6, j : j + 8] for i in range(3) for j in range(3))

    smooth = filtered(largest * weights * area[0]) / filtered(weights)
    expected = smooth / (1 + smooth)
    inside = np.asarray(tissue[0])
    np.testing.assert_allclose(np.asarray(found[0])[inside], expected[inside], atol=0.01)
    assert 0.02 < found[0][inside].min() < found[0][inside].max() < 1
    logits = apply(network, variables, cube)
    of_classifier = activation_of_logits(network, logits, tissue)
    np.testing.assert_array_equal(of_classifier, jax.nn.sigmoid(logits[..., 0]))


def test_openvibspec_is_the_published_setting():
    config = RECIPES["openvibspec2022"]
    objective, network, optimiser = config.objective, config.network, config.optimiser
    assert (objective.alpha, objective.beta, objective.transfer) == (0.05, 0.8, "trapezoid")
    assert (objective.negatives_weight, objective.pooling) == (1.0, "tissue")
    assert (network.depth, network.dropout, network.normalisation, network.head_norm) == (
        4,
        0.2,
        "batch",
        True,
    )
    assert (optimiser.learning_rate, optimiser.step_factor, optimiser.step_epochs) == (0.005, 0.9, 30)
    assert (config.epochs, config.batch_size) == (300, 20)


def test_recipes_of_classifiers_differ_in_their_objective_and_how_they_are_read():
    classifiers = [RECIPES[name] for name in RELATIVES if name != "openvibspec2022"]
    for config in classifiers:
        network = dataclasses.replace(
            config.network, attention_features=0, activation_map=RECIPES["cam"].network.activation_map
        )
        same = dataclasses.replace(config, recipe="cam", objective=Objective(), network=network, starts=1)
        assert same == dataclasses.replace(RECIPES["cam"], objective=Objective(), starts=1)
        assert config.starts == (6 if config.objective.has_a_guess else 1)
