"""The quality benchmark: every cell counted once, the row to beat always there; semi-real arrays as promised."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality, quality_page, semi_real
from benchmarks.semi_real_layout import TISSUES
from benchmarks.semi_real_recipes import ARRAYS, recipe_of
from compseg_jax.config import RECIPES
from compseg_jax.store.read import Store


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
    assert lines[0].startswith(
        "| data set | recipe | AUC | Dice | at the best threshold | PxAP | AUC inside spots |"
    )
    middle = "| – " * 5 + "| 0.01"
    assert lines[2] == (
        "| phantom_easy | default | 0.90 ± 0.00 | 0.70 ± 0.10 | – | 0.50 ± 0.00 "
        f"{middle} ± 0.00 | 0 of 2 | 10 |"
    )
    assert lines[3] == f"| phantom_easy | cam | 0.90 | – | – | 0.50 {middle} | 1 of 1 | 10 |"
    assert lines[4].startswith("| phantom_easy | predict everything | 0.50 | 0.45 |")


def test_all_recipes_are_compared_at_one_size_with_one_preparation():
    options = argparse.Namespace(epochs=3, out=Path("out"))
    for name in RECIPES:
        config = quality.configuration(name, "lgg_mri", 5, 3e-4, options)
        assert (config.network.base, config.network.depth) == ((16 if name == "texture" else 8), 1)
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
    assert quality.rates_to_try("cam", "lgg_mri", rows, own_rate=True) == (None,)
    never_trained = [row("cam", 0, None, failed=True)]
    assert quality.rates_to_try("cam", "phantom_easy", never_trained) == quality.LEARNING_RATES


PLAN = semi_real.Plan(size=32, channels=48, train=4, val=2, test=4)


@pytest.fixture
def measured_spectra(shared_data, monkeypatch):
    monkeypatch.setenv("COMPSEG_SHARED_DATA", str(shared_data))


def spots(name: str, count: int = 4, **options) -> list[semi_real.Spot]:
    return [spot for _, spot in semi_real.simulate(name, PLAN, range(count), **options)]


@pytest.mark.usefixtures("measured_spectra")
def test_semi_real_spots_are_the_same_whenever_asked_for_and_differ_between_arrays():
    first, again = spots("array_tune_1"), spots("array_tune_1")
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.absorbance, other.absorbance)
        np.testing.assert_array_equal(one.tumour, other.tumour)
    label, alone = next(semi_real.simulate("array_tune_1", PLAN, range(3, 4)))
    assert label == 1
    np.testing.assert_array_equal(alone.absorbance, first[3].absorbance)
    assert not np.array_equal(first[1].tumour, spots("array_tune_2")[1].tumour)
    assert not np.array_equal(first[1].tumour, spots("array_tune_1", test=True)[1].tumour)


@pytest.mark.usefixtures("measured_spectra")
@pytest.mark.parametrize("name", ARRAYS)
def test_semi_real_spots_look_like_measured_tissue(name):
    low, high = recipe_of(name).layout.tumour_share
    axis = PLAN.wavenumbers_cm1
    for index, spot in enumerate(spots(name, 6)):
        assert 0.5 < spot.tissue.mean() < 0.8
        assert not spot.absorbance[~spot.tissue].any()
        assert not (spot.tumour & ~spot.tissue).any()
        pixels = 1.5 / spot.tissue.sum()
        share = spot.tumour.sum() / spot.tissue.sum()
        assert low - pixels <= share <= high + pixels if index % 2 else share == 0
        mean = spot.absorbance[spot.tissue].mean(axis=0)
        assert 1640 < axis[mean.argmax()] < 1670  # amide I
        amide_i = mean.max() - mean[0]
        assert 0.4 < amide_i < 2.0
        amide_ii = mean[(axis > 1530) & (axis < 1560)].max() - mean[0]
        assert 0.4 < amide_ii / amide_i < 0.85


def test_recipes_for_reporting_lie_outside_those_for_tuning():
    recipes = {name: recipe_of(name) for name in ARRAYS}
    tuning = [recipe for name, recipe in recipes.items() if name.startswith("array_tune")]
    reporting = [recipe for name, recipe in recipes.items() if name.startswith("array_report")]
    assert (len(tuning), len(reporting)) == (2, 18)
    assert len({recipe.tumour_change for recipe in recipes.values()}) == len(ARRAYS)
    assert not {*tuning[0].tumour_bands, *tuning[1].tumour_bands} & {
        band for recipe in reporting for band in recipe.tumour_bands
    }
    for measure in (
        lambda recipe: recipe.scatter,
        lambda recipe: -recipe.noise,
        lambda recipe: recipe.layout.crypt_um,
        lambda recipe: recipe.layout.tumour_share[0],
        lambda recipe: -recipe.layout.tumour_share[1],
    ):
        assert max(map(measure, tuning)) < min(map(measure, reporting))
    for recipe in recipes.values():
        np.testing.assert_allclose(recipe.mixtures().sum(axis=1), 1.0)
        *healthy, tumour = recipe.mixtures()
        assert 0.01 < np.abs(tumour - healthy[TISSUES.index("epithelium")]).max() < 0.2


@pytest.mark.usefixtures("measured_spectra")
def test_semi_real_stores_hold_both_labels_in_every_split_and_the_same_spots_measured_wrongly(tmp_path):
    semi_real.write_array(tmp_path / "right", "array_tune_1", PLAN)
    store = Store.open(tmp_path / "right")
    assert {split: [sample.label for sample in store.split(split)] for split in ("train", "val", "test")} == {
        "train": [0, 1, 0, 1],
        "val": [0, 1],
        "test": [0, 1, 0, 1],
    }
    arrays = {split: {sample.source for sample in store.split(split)} for split in ("train", "val", "test")}
    assert arrays == {"train": {"array_tune_1-a"}, "val": {"array_tune_1-a"}, "test": {"array_tune_1-b"}}
    right = store.split("test")[1]
    tissue = store.tissue(right.id)
    axis = PLAN.wavenumbers_cm1

    def mean_of(measured: str) -> np.ndarray:
        semi_real.variant(tmp_path / measured, "array_tune_1", measured, PLAN)
        wrong = Store.open(tmp_path / measured)
        assert len(wrong.samples) == PLAN.test
        sample = wrong.samples[1]
        if measured != semi_real.PHANTOM:
            np.testing.assert_array_equal(wrong.tissue(sample.id), tissue)
            np.testing.assert_array_equal(wrong.reference(sample.id), store.reference(right.id))
        return wrong.read(sample.id)[wrong.tissue(sample.id)].mean(axis=0)

    own = mean_of("own")
    np.testing.assert_array_equal(own, store.read(right.id)[tissue].mean(axis=0))
    np.testing.assert_allclose(mean_of("gain"), 1.6 * own, rtol=0.01)
    near = (axis > 1600) & (axis < 1720)

    def centre(spectrum: np.ndarray) -> float:
        band = np.clip(spectrum[near] - spectrum[near].min(), 0, None)
        return float((band * axis[near]).sum() / band.sum())

    assert centre(mean_of("shifted")) - centre(own) > 5
    assert (mean_of("no_scatter") < own).all()
    assert np.abs(mean_of(semi_real.PHANTOM) - own).max() > 0.1


def test_semi_real_arrays_say_what_they_need(monkeypatch):
    monkeypatch.delenv("COMPSEG_SHARED_DATA", raising=False)
    with pytest.raises(ValueError, match="COMPSEG_SHARED_DATA: found ''; required is the folder"):
        spots("array_tune_1")


def test_the_page_compares_where_default_and_a_rival_ran():
    alone = [{**row("default", seed, 0.9), "dataset": "phantom_96"} for seed in (0, 1)]
    both = [row("default", 0, 0.8), row("default", 1, 0.6), row("cam", 0, 0.5), row("cam", 1, 0.78)]
    kept = quality_page.compared([*alone, *both])
    assert kept == both
    lines = quality_page.against_the_best(kept).splitlines()
    assert lines[2] == "| phantom_easy | Dice | 0.700 | cam 0.640 | +0.060 ± 0.172 | yes |"
    (one,) = quality_page.against_the_best([both[0], {**both[2], "dice": 0.9}]).splitlines()[2:3]
    assert one.endswith("| -0.100 | behind, one seed |")
