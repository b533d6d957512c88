"""How long a network trains where nobody says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compseg_jax.config import RECIPES, Ensemble, Training
from compseg_jax.training.epochs import with_epochs


@pytest.mark.parametrize(
    ("n_training", "batch_size", "epochs"),
    [(100, 7, 20), (80, 7, 20), (77, 7, 22), (21, 7, 80), (3, 7, 240), (1000, 7, 20), (100, 20, 48)],
)
def test_twenty_passes_or_240_steps(n_training, batch_size, epochs):
    config = Training(epochs=0, batch_size=batch_size)
    assert with_epochs(config, n_training, 20).epochs == epochs


def test_what_is_asked_for_is_kept_and_once_is_enough():
    asked = Training(epochs=3)
    assert with_epochs(asked, 100, 20) is asked
    once = with_epochs(Training(epochs=0), 30, 5)
    assert with_epochs(once, 300, 5) is once


def test_folds_are_counted_from_the_table_so_one_alone_trains_as_long_as_in_the_ensemble():
    ensemble = Training(epochs=0, ensemble=Ensemble(folds=4))
    alone = replace(ensemble, ensemble=Ensemble(folds=4, fold=2))
    # 48 of 64 train each network: 7 steps an epoch.
    assert with_epochs(ensemble, 50, 14).epochs == with_epochs(alone, 50, 14).epochs == 35


def test_only_default_leaves_its_epochs_open():
    assert [name for name, recipe in RECIPES.items() if not recipe.epochs] == ["default"]
