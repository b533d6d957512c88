"""Trained networks leave no comb, those with the transposed way up do, and a shifted image has the shifted map."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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
from tests.untrained_example import write_untrained


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=32, channels=16, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=12, val=6, test=8, phantom=config))
    return path


def trained(store: Path, out: Path, recipe: str = "default", epochs: int = 30, **network) -> Model:
    config = RECIPES[recipe]
    return load_model(
        train(
            dataclasses.replace(
                config,
                data=store,
                out=out,
                epochs=epochs,
                second_view=False,
                grafting=False,
                smooth_maps="no",
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


def level_of(results: list[SampleResult]) -> float:
    """Median activation of the diseased samples' tissue: a comb does not wait for a good threshold."""
    return float(np.median(np.concatenate([r.activation[r.tissue] for r in results if r.label == 1])))


def worst(model: Model, store: Path) -> PhaseSpread:
    """Of all periods that the network can have."""
    results = maps(model, store)
    depth = max(1, getattr(model.networks[0].network, "depth", 1))
    spreads = phase_spreads(results, level_of(results), [2**each for each in range(1, depth + 1)])
    return max(spreads.values(), key=lambda each: each.spread)


@pytest.fixture(scope="module")
def default(store, tmp_path_factory) -> Model:
    return trained(store, tmp_path_factory.mktemp("default") / "run")


@pytest.fixture(scope="module")
def transposed(store, tmp_path_factory) -> Model:
    """The same run with the paper's way up."""
    return trained(store, tmp_path_factory.mktemp("transposed") / "run", way_up="transposed")


@pytest.mark.slow
def test_default_leaves_no_comb_where_the_transposed_way_up_does(default, transposed, store):
    for model in (default, transposed):
        assert model.description["best_epoch"]["val_auc"] > 0.9, (
            "a map that learnt nothing has no comb either"
        )
        assert worst(model, store).cells > 200
    assert worst(default, store).spread <= TOLERATED
    assert worst(transposed, store).spread > 2 * TOLERATED


@pytest.mark.slow
def test_a_map_without_a_comb_follows_a_shift_and_a_combed_one_does_not(default, transposed, store):
    def difference(model: Model) -> float:
        results = maps(model, store)
        found = shift_difference(model, Store.open(store), results, level_of(results))
        assert found["shift_samples"] == 4
        return found["shift_equivariance"]

    assert difference(default) < 0.05
    assert difference(transposed) > 0.2


def test_too_small_or_unsegmented_samples_tell_nothing_of_shifts(store, tmp_path):
    opened = Store.open(store)
    write_untrained("default", opened, opened.split("train"), tmp_path / "model")
    model = load_model(tmp_path / "model")
    nothing = [dataclasses.replace(r, activation=np.zeros_like(r.activation)) for r in maps(model, store)]
    assert shift_difference(model, opened, nothing, 0.5) == {"shift_equivariance": None, "shift_samples": 0}


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
