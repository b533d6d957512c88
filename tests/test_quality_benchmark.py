"""The table of the quality benchmark: every cell counted once, the row to beat always there."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import quality
from compseg_jax.config import RECIPES


def row(recipe: str, seed: int, dice: float | None, *, failed: bool = False) -> quality.Row:
    return {
        "recipe": recipe,
        "dataset": "phantom_easy",
        "seed": seed,
        "epochs": 2,
        "auc": 0.9,
        "dice": dice,
        "pxap": 0.5,
        "false_positive_area": 0.01,
        "dice_predict_everything": 0.45,
        "failed": failed,
        "seconds": 10.0,
    }


def test_table_has_means_spreads_and_the_row_to_beat():
    rows = [row("default", 0, 0.8), row("default", 1, 0.6), row("cam", 0, None, failed=True)]
    lines = quality.table(quality.with_everything(rows)).splitlines()
    assert (
        lines[2]
        == "| phantom_easy | default | 0.90 ± 0.00 | 0.70 ± 0.10 | 0.50 ± 0.00 | 0.01 ± 0.00 | 0 of 2 | 10 |"
    )
    assert lines[3] == "| phantom_easy | cam | 0.90 | – | 0.50 | 0.01 | 1 of 1 | 10 |"
    assert lines[4].startswith("| phantom_easy | predict everything | 0.50 | 0.45 |")


def test_all_recipes_are_compared_at_one_size_with_one_preparation():
    options = argparse.Namespace(epochs=3, out=Path("out"))
    for name in RECIPES:
        config = quality.configuration(name, "lgg_mri", 5, 3e-4, options)
        assert (config.network.base, config.network.depth) == (8, 1)
        assert (config.epochs, config.seed, config.prepare) == (3, 5, ("auto",))
        assert config.threshold == ("reference" if name == "supervised" else "validation")
        assert config.optimiser.learning_rate == 3e-4
        assert config.objective == RECIPES[name].objective
    assert quality.configuration("paper2019", "phantom_hard", 0, None, options).prepare == ()
    assert quality.configuration("default", "phantom_hard", 0, None, options).optimiser.learning_rate == 1e-3


def test_learning_rates_are_searched_once_and_never_for_default():
    rows = [row("cam", 0, 0.5) | {"learning_rate": 3e-3}]
    assert quality.rates_to_try("cam", "phantom_easy", rows) == (3e-3,)
    assert quality.rates_to_try("cam", "lgg_mri", rows) == quality.LEARNING_RATES
    assert quality.rates_to_try("default", "phantom_easy", rows) == (None,)
    never_trained = [row("cam", 0, None, failed=True)]
    assert quality.rates_to_try("cam", "phantom_easy", never_trained) == quality.LEARNING_RATES
