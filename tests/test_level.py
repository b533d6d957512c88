"""Maps of another array: brought to the level of the training's, alike in evaluation, prediction and viewer."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from compseg_jax.cli.main import main
from compseg_jax.config import Network
from compseg_jax.evaluation.cross_validation import result_of
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.evaluation.matching import dice_without
from compseg_jax.model import Model, load_model
from compseg_jax.model.level import (
    FEWEST_GROUPS,
    MOVED_PART,
    VALIDATION_LEVELS,
    Match,
    at_odds,
    level_of,
    levels_by_group,
)
from compseg_jax.model.model_files import load_network, save_network
from compseg_jax.prediction import read_predictions
from compseg_jax.prediction.formats.ome_zarr import MapArrays
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.viewer.model_source import ModelSource
from tests.model_example import write_model
from tests.store_example import write_store

LOWER = 2.0
N = 6
"""Samples of each label and split."""


def logit(activation):
    return np.log(activation / (1 - activation))


def levels_around(mean, *, sd=0.3, n=10, seed=0):
    return (mean + sd * np.random.default_rng(seed).standard_normal(n)).tolist()


@given(st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=20), st.floats(-6, 6))
def test_odds_move_logits(values, by):
    activation = np.array(values)
    moved = at_odds(activation, math.exp(by))
    np.testing.assert_allclose(logit(moved), logit(activation) + by, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(at_odds(moved, math.exp(-by)), activation, rtol=1e-6)
    order = np.argsort(activation, kind="stable")
    assert (np.diff(moved[order]) >= 0).all()


def test_odds_keep_the_ends_the_dtype_and_what_is_not_moved():
    activation = np.array([0.0, 0.25, 1.0], np.float32)
    assert at_odds(activation, 1.0) is activation
    assert at_odds(activation, 3.0).tolist() == [0.0, 0.5, 1.0]
    assert at_odds(activation, 3.0).dtype == np.float32
    found = jax.jit(lambda a: at_odds(a, 3.0))(jnp.asarray(activation))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [0, 0.5, 1], atol=1e-7)


def test_the_level_is_the_lower_quartile_of_what_is_not_segmented():
    activation = np.linspace(0.1, 0.4, 101).reshape(1, -1)
    tissue = np.ones_like(activation, bool)
    tissue[0, :51] = False
    wanted = logit(activation[0, 51 + 12])
    assert level_of(activation[None], tissue, 0.5) == pytest.approx(wanted)
    # A lesion beside it does not count, and neither does what is no tissue.
    beside = np.concatenate([activation, np.full((1, 40), 0.9)], axis=1)
    known = np.concatenate([tissue, np.ones((1, 40), bool)], axis=1)
    assert level_of(beside[None], known, 0.5) == pytest.approx(wanted)


def test_a_sample_that_is_segmented_whole_has_a_level_and_so_has_an_empty_map():
    tissue = np.ones((10, 10), bool)
    activation = np.linspace(0.6, 0.9, 100).reshape(10, 10)
    assert level_of(activation[None], tissue, 0.5) == pytest.approx(logit(activation.ravel()[1]))
    assert level_of(np.zeros((1, 10, 10), np.float32), tissue, 0.5) == pytest.approx(math.log(1e-7), abs=1e-3)
    assert math.isfinite(level_of(np.ones((1, 10, 10), np.float32), tissue, 0.5))


@given(st.floats(-4, 4))
def test_levels_move_with_the_logits(by):
    rng = np.random.default_rng(0)
    activation = 1 / (1 + np.exp(-rng.normal(-3, 1, (16, 16))))
    tissue = rng.uniform(size=(16, 16)) < 0.7
    moved = at_odds(activation, math.exp(by))
    threshold = at_odds(0.5, math.exp(by))
    assert level_of(moved[None], tissue, threshold) == pytest.approx(
        level_of(activation[None], tissue, 0.5) + by
    )


def test_the_level_of_several_networks_is_the_mean_of_theirs():
    rng = np.random.default_rng(0)
    maps = 1 / (1 + np.exp(-rng.normal(-4, 1, (2, 16, 16))))
    maps[1] = at_odds(maps[1], math.exp(3))
    tissue = np.ones((16, 16), bool)
    each = [level_of(one[None], tissue, 0.9) for one in maps]
    assert level_of(maps, tissue, 0.9) == pytest.approx(np.mean(each))
    # That of their mean map is nearly that of the higher one.
    assert level_of(maps.mean(0)[None], tissue, 0.9) > np.mean(each) + 0.7


def test_samples_of_a_patient_count_once():
    assert levels_by_group([("a", -3.0), ("b", -1.0), ("a", -2.0)]) == (-2.5, -1.0)


def test_maps_are_moved_where_levels_differ_by_more_than_chance():
    match = Match.of(levels_around(-3), levels_around(-5, seed=1))
    assert match.is_applied
    assert math.log(match.odds) == pytest.approx(-MOVED_PART * match.difference)
    assert match.difference == pytest.approx(-2, abs=0.4)
    assert 0.05 < match.standard_error < 0.3
    assert "lower" in match.why
    assert "higher" in Match.of(levels_around(-5), levels_around(-3, seed=1)).why


@pytest.mark.parametrize(
    ("own", "found", "why"),
    [
        (None, levels_around(-5), "keeps no levels"),
        (levels_around(-3, n=FEWEST_GROUPS - 1), levels_around(-5), "7 of validation samples"),
        (levels_around(-3), levels_around(-5, n=FEWEST_GROUPS - 1), "7 of these samples"),
        (levels_around(-3, sd=4), levels_around(-4, sd=4, seed=1), "but for chance"),
        ([-16.1] * 10, [-16.1] * 9, "but for chance"),
    ],
)
def test_maps_stay_as_they_are(own, found, why):
    match = Match.of(own, found)
    assert not match.is_applied
    assert why in match.why


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "data", sizes=[(12, 20)] * N)


@pytest.fixture(scope="module")
def before(store, tmp_path_factory):
    """A model that keeps no levels."""
    return write_model(tmp_path_factory.mktemp("before") / "model")


@pytest.fixture(scope="module")
def model(before, store, tmp_path_factory):
    """The same, whose validation samples lay two higher than these test samples do."""
    network = load_network(before)
    plain = load_model(before)
    levels = [
        level_of(found.activations, found.tissue, plain.threshold) + LOWER
        for _, _, found in plain.predict_store(store, store.split("test"))
    ]
    folder = tmp_path_factory.mktemp("model") / "model"
    description = {**network.description, VALIDATION_LEVELS: levels}
    save_network(folder, dataclasses.replace(network, description=description), Network(base=2, depth=1))
    return folder


def evaluated(model, store, out, **options):
    page, numbers = evaluate(
        EvaluateOptions(model=model, data=store.path, out=out, bootstrap=20, importance="no", **options)
    )
    return json.loads((page.parent / "metrics.json").read_text()), numbers, page.read_text()


def test_a_report_says_that_maps_were_moved(model, before, store, tmp_path):
    metrics, numbers, page = evaluated(model, store, tmp_path / "report")
    match = metrics["match"]
    assert match["is_applied"]
    assert match["difference"] == pytest.approx(-LOWER)
    assert match["n"] == 2 * N
    assert "+1.5: they lie 2.0" in numbers
    assert "Maps were moved by +1.5 towards the level of the training" in page
    plain, numbers, page = evaluated(before, store, tmp_path / "plain")
    assert not plain["match"]["is_applied"]
    assert "they lie" not in numbers
    assert "towards the level" not in page
    assert match["dice_without"] == pytest.approx(plain["dice_mean"])
    assert metrics["dice_mean"] > plain["dice_mean"] + 0.05
    assert metrics["pxap"] == pytest.approx(plain["pxap"], abs=1e-3)  # but for ties


def test_of_several_networks_the_dice_without_is_that_of_the_mean_of_their_maps(before, store):
    network = load_network(before)
    plain = Model((network, network.smoothed_by(1.5)), 0.35, network.description)
    moved = plain.with_odds(7.0)
    for sample, _, found in moved.predict_store(store, store.split("test")):
        result = result_of(sample, found, store)
        own = plain.predict(store.cube(sample.id), tissue=store.tissue(sample.id))
        wanted = dice_without(result_of(sample, own, store), own, plain)
        assert dice_without(result, found, moved) == pytest.approx(wanted, nan_ok=False)
        if sample.label:
            mask = own.tissue & (own.activation > 0.35)
            assert wanted == pytest.approx(f1_score(result.reference.ravel(), mask.ravel()))
        else:
            assert wanted is None


@pytest.mark.parametrize("options", [{"match": "no"}, {"threshold": 0.45}])
def test_maps_are_left_alone_where_that_is_asked_for(model, before, store, tmp_path, options):
    metrics, _, _ = evaluated(model, store, tmp_path / "report", **options)
    plain, _, _ = evaluated(before, store, tmp_path / "plain")
    assert not metrics["match"]["is_applied"]
    assert metrics["dice_mean"] == plain["dice_mean"]


def predicted(model, store, out, **options):
    chosen = PredictOptions((store.path,), model=model, out=out, split="test", outputs=("zarr",), **options)
    assert not predict(chosen).failed
    places = {
        each.id: out / "samples" / each.id / "activation.ome.zarr" for each in read_predictions(out).samples
    }
    return {
        name: np.asarray(MapArrays.at(place, _shape(store, name)).activation[:, :])
        for name, place in places.items()
    }


def _shape(store, name):
    sample = next(each for each in store.samples if each.id == name)
    return sample.height, sample.width


def test_prediction_evaluation_and_viewer_move_alike(model, before, store, tmp_path):
    maps = predicted(model, store, tmp_path / "predictions")
    metrics, _, _ = evaluated(model, store, tmp_path / "report")
    plain = predicted(before, store, tmp_path / "plain")
    odds = metrics["match"]["odds"]
    rows = {
        row["id"]: row
        for row in csv.DictReader((tmp_path / "report" / "samples.csv").read_text().splitlines())
    }
    viewer = ModelSource.of_report(tmp_path / "report")
    assert len(maps) == 2 * N
    for name, activation in maps.items():
        assert activation.tobytes() == at_odds(plain[name], odds).tobytes()
        tissue = store.tissue(name)
        area = (activation[tissue] > metrics["threshold"]).mean()
        assert float(rows[name]["area_fraction"]) == pytest.approx(area)
    name = next(iter(maps))
    np.testing.assert_array_equal(viewer.open(name).activation.levels[0].values, maps[name])


def test_a_prediction_goes_on_with_the_level_it_was_begun_with(model, store, tmp_path, capsys):
    out = tmp_path / "out"
    maps = predicted(model, store, out)
    assert json.loads((out / "predictions.json").read_text())["model"]["maps_matched"]["odds"] > 1
    # Now with all samples of the store, whose level is another one.
    assert (
        main(["predict", str(store.path), "--model", str(model), "--out", str(out), "--outputs", "zarr"]) == 0
    )
    assert "towards the level" in capsys.readouterr().out
    plan = load_model(model).with_odds(json.loads((out / "run.json").read_text())["maps_matched"]["odds"])
    sample = store.split("train")[0]
    wanted = plan(store.cube(sample.id), tissue=store.tissue(sample.id))
    found = MapArrays.at(
        out / "samples" / sample.id / "activation.ome.zarr", _shape(store, sample.id)
    ).activation
    np.testing.assert_array_equal(np.asarray(found[:, :]), wanted)
    assert len(maps) == 2 * N


def test_a_traced_call_is_moved_too(model, store):
    moved = load_model(model).with_odds(3.0)
    sample = store.split("test")[0]
    cube = store.read(sample.id)
    tissue = store.tissue(sample.id)
    traced = jax.jit(lambda x, m: moved(x, tissue=m, prepared=True))(jnp.asarray(cube), jnp.asarray(tissue))
    plain = load_model(model)(cube, tissue=tissue, prepared=True)
    np.testing.assert_allclose(traced, at_odds(plain, 3.0), atol=1e-6)
    assert moved.digest() != load_model(model).digest()


def test_a_prediction_of_an_earlier_release_goes_on_with_maps_as_they_are(model, before, store, tmp_path):
    out = tmp_path / "out"
    plain = predicted(model, store, out, match="no")
    begun = json.loads((out / "run.json").read_text())
    del begun["match"], begun["maps_matched"]
    (out / "run.json").write_text(json.dumps(begun))
    assert predicted(model, store, out).keys() == plain.keys()
    assert json.loads((out / "predictions.json").read_text())["model"]["maps_matched"]["odds"] == 1
