"""Trained networks leave no comb, a combed network is caught, and a shifted image has the shifted map."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax import load_model
from compseg_jax.config import RECIPES, Network
from compseg_jax.evaluation.cross_validation import result_of
from compseg_jax.evaluation.scores import SampleResult
from compseg_jax.evaluation.scores.phases import TOLERATED, PhaseSpread, phase_spreads
from compseg_jax.evaluation.shift_equivariance import shift_difference
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import Model
from compseg_jax.store.read import Store
from compseg_jax.training.run import train


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=32, channels=16, difficulty=0.3)
    write_phantom(PhantomOptions(out=path, train=12, val=6, test=8, phantom=config))
    return path


def trained(store: Path, out: Path, recipe: str = "default", epochs: int = 6, **network) -> Model:
    config = RECIPES[recipe]
    return load_model(
        train(
            dataclasses.replace(
                config,
                data=store,
                out=out,
                epochs=epochs,
                second_view=False,
                self_check=False,
                checkpoint_every=epochs,
                network=dataclasses.replace(config.network, **network),
            )
        )
    )


def maps(model: Model, store: Path) -> list[SampleResult]:
    opened = Store.open(store)
    return [
        result_of(sample, prediction, opened)
        for sample, _, prediction in model.predict_store(opened, opened.split("test"))
    ]


def worst(model: Model, store: Path) -> PhaseSpread:
    """At the median activation of the diseased samples' tissue: a comb does not wait for a good threshold."""
    results = maps(model, store)
    level = float(np.median(np.concatenate([r.activation[r.tissue] for r in results if r.label == 1])))
    depth = max(1, getattr(model.networks[0].network, "depth", 1))
    spreads = phase_spreads(results, level, [2**each for each in range(1, depth + 1)])
    return max(spreads.values(), key=lambda each: each.spread)


@pytest.fixture(scope="module")
def default(store, tmp_path_factory) -> Model:
    return trained(store, tmp_path_factory.mktemp("default") / "run")


def combed(model: Model, kept: int) -> Model:
    """The network with its up-convolution kept in so many phases of a cell, and silent in the others."""
    network = model.networks[0]
    silent = jnp.asarray([index >= kept for index in range(4)]).reshape(2, 2, 1, 1)

    def change(path: tuple[object, ...], leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        is_way_up = "UpConvolution" in name and "kernel" in name
        return jnp.where(silent, 0.0, 4 * leaf) if is_way_up else leaf

    variables = jax.tree_util.tree_map_with_path(change, network.variables)
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), variables, network.variables)
    assert any(jax.tree.leaves(changed))
    return Model.of(dataclasses.replace(network, variables=variables))


def test_default_leaves_no_comb(default, store):
    found = worst(default, store)
    assert found.cells > 200
    assert found.spread <= TOLERATED


def test_a_network_whose_way_up_answers_in_one_phase_is_caught(store, tmp_path):
    model = trained(store, tmp_path / "run", way_up="transposed")
    whole, one = worst(model, store), worst(combed(model, 1), store)
    assert one.spread > max(TOLERATED, 3 * whole.spread)


def test_a_map_that_follows_the_tissue_follows_a_shift_and_one_that_follows_cells_does_not(store, tmp_path):
    opened = Store.open(store)

    def difference(model: Model) -> float:
        level = float(np.median(np.concatenate([r.activation[r.tissue] for r in maps(model, store)])))
        found = shift_difference(model, opened, maps(model, store), level)
        assert found["shift_samples"] == 4
        return found["shift_difference"]

    flat = trained(store, tmp_path / "flat", epochs=2, depth=0)
    assert difference(flat) < 1e-5
    deep = trained(store, tmp_path / "deep", epochs=4, way_up="transposed")
    assert difference(combed(deep, 1)) > max(0.02, 1.5 * difference(deep))


def test_too_small_or_unsegmented_samples_tell_nothing_of_shifts(default, store):
    opened = Store.open(store)
    nothing = [dataclasses.replace(r, activation=np.zeros_like(r.activation)) for r in maps(default, store)]
    assert shift_difference(default, opened, nothing, 0.5) == {"shift_difference": None, "shift_samples": 0}


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("array") / "data"
    write_phantom(
        PhantomOptions(path, train=60, val=16, test=20, phantom=PhantomConfig(size=48, channels=64))
    )
    return path


@pytest.mark.slow
@pytest.mark.optimised
@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"paper2019"}))
def test_no_recipe_but_the_papers_leaves_a_comb(recipe, array, tmp_path):
    model = trained(array, tmp_path / recipe, recipe, epochs=30)
    assert worst(model, array).spread <= TOLERATED


def test_every_recipe_but_the_papers_goes_up_without_a_comb():
    """What the trained networks above rest on, told without training."""
    for name, recipe in RECIPES.items():
        assert (recipe.network.way_up == "transposed") == (name == "paper2019")
    assert Network().way_up == "transposed", "configurations of earlier versions say nothing of it"
