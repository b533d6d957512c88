"""Networks with random weights, prepared and scaled as training prepares and scales: models without the wait."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax

from compseg_jax.config import RECIPES
from compseg_jax.model import ExtractedNetwork
from compseg_jax.model.model_files import save_network
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.store import Sample, Store
from compseg_jax.store.input_preparation import fit_input_preparation
from compseg_jax.store.prepared import PreparedStore, axis_after, fit_scaling


def write_untrained(name: str, store: Store, samples: tuple[Sample, ...], folder: Path, seed: int = 0) -> str:
    """A network of a recipe with random weights, its preparation and scaling fitted as training does; its hash."""
    recipe = RECIPES[name]
    config = dataclasses.replace(recipe.network, base=2, depth=min(recipe.network.depth, 1), front=0)
    steps = fit_input_preparation(PreparedStore(store), samples, recipe.prepare)
    axis = axis_after(store, steps)
    module = build_network(config, recipe.objective.n_maps)
    variables = init_variables(module, jax.random.key(seed), axis.size, recipe.objective.n_maps)
    own = [] if steps is None else steps.to_json()
    applied = store.preparation or []
    description = {
        "recipe": name,
        "preparation": [*applied, *own] or None,
        "prepared_steps": len(applied),
        "pixel_size_um": store.pixel_size_um,
    }
    network = ExtractedNetwork(
        module,
        variables,
        fit_scaling(PreparedStore(store, steps), samples),
        axis,
        0.3,
        store.background,
        description,
    )
    save_network(folder, network, config)
    return json.loads((folder / "model.json").read_text())["weights_sha256"]


def write_ensemble(name: str, store: Store, folder: Path) -> None:
    """Three networks: two share their preparation, the third learnt another one on other samples."""
    train = store.split("train")
    members = []
    for seed, samples in enumerate((train[:4], train[:4], train[4:])):
        place = f"members/fold{seed}/model"
        digest = write_untrained(name, store, samples, folder / place, seed)
        members.append({"model": place, "weights_sha256": digest})
    values = {
        "format": "compseg-ensemble",
        "version": 1,
        "threshold": 0.3,
        "area_cut": 0.1,
        "prepared_steps": 0,
    }
    (folder / "ensemble.json").write_text(json.dumps({**values, "members": members}))
