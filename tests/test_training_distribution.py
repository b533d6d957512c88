"""What a network was trained on: laws of T² and Q, limits on new samples, what must be outside, and old models."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.config import Network, from_json
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.model import Departure, ModelError, TrainingDistribution, load_model
from compseg_jax.model.distribution_fit import TrainingImage, drawn, fit_distribution, usual_range
from compseg_jax.model.model_files import save_network
from compseg_jax.model.training_distribution import UNKNOWN_DISTRIBUTION
from compseg_jax.prediction import read_predictions
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter
from tests.model_example import write_model
from tests.store_example import WAVENUMBERS_CM1

SHAPE = (12, 15)
CHANNELS = 20


def sample(rng, *, channels=CHANNELS, gain=1.0, shift=0.0):
    """Spectra of three constituents with noise, a strength of their own, and a frame of background."""
    axis = np.linspace(0, 1, channels)
    bands = np.stack([np.exp(-(((axis - centre - shift) / 0.12) ** 2)) for centre in (0.2, 0.5, 0.8)])
    strength = gain * np.exp(0.1 * rng.standard_normal())
    amounts = strength * np.exp(0.3 * rng.standard_normal((*SHAPE, 3)))
    cube = amounts @ bands + 0.03 * rng.standard_normal((*SHAPE, channels))
    tissue = np.zeros(SHAPE, bool)
    tissue[1:-1, 2:-1] = True
    return np.where(tissue[..., None], cube - 0.6, 0).astype(np.float32), tissue


def images(seed, n, **kind):
    rng = np.random.default_rng(seed)
    return [TrainingImage(*sample(rng, **kind), f"s{number}") for number in range(n)]


def fitted(training, validation=(), *, is_spectral=True):
    pixels = [[drawn(image, is_spectral=is_spectral) for image in part] for part in (training, validation)]
    found = fit_distribution(*(lambda part=part: part for part in pixels))
    assert found is not None
    return found


def departure(distribution, image):
    found = distribution.departure(distribution.look(image.scaled, image.tissue)[0])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def known() -> TrainingDistribution:
    return fitted(images(0, 30), images(1, 8))


def test_t2_of_the_training_pixels_has_the_mean_that_theory_gives(known):
    """Of n pixels, k components fitted on them: the mean of T² is k, that of Q the variance left over."""
    pixels = np.concatenate([each.scaled[each.tissue] for each in images(0, 30)])
    _, t2, q = known.components.scores(pixels)
    assert t2.mean() == pytest.approx(known.components.variances.size, rel=1e-3)
    variances = np.linalg.eigvalsh(np.cov(pixels.T, bias=True))[::-1]
    assert q.mean() == pytest.approx(variances[known.components.variances.size :].sum(), rel=1e-2)


@given(order=st.permutations(range(CHANNELS)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_channels_says_nothing(order):
    training, other = images(0, 8), images(3, 1)[0]
    turned = [each._replace(scaled=each.scaled[..., order]) for each in training]
    plain = departure(fitted(training), other)
    same = departure(fitted(turned), other._replace(scaled=other.scaled[..., order]))
    assert (same.t2, same.q) == pytest.approx((plain.t2, plain.q), rel=1e-3)


def test_new_samples_of_the_same_kind_are_inside(known):
    found = [departure(known, each) for each in images(7, 200)]
    assert np.mean([each.is_outside for each in found]) <= 0.02
    assert 0.002 < np.mean([each.outside_fraction for each in found]) < 0.04


@pytest.mark.parametrize("kind", [{"gain": 2.0}, {"gain": 0.4}, {"shift": 0.04}, {"shift": -0.04}], ids=str)
def test_samples_of_another_kind_are_outside(known, kind):
    found = [departure(known, each).is_outside for each in images(8, 40, **kind)]
    assert np.mean(found) >= 0.9


@pytest.mark.parametrize("n", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 20))])
def test_limits_of_few_samples_hold(n):
    """Of twelve training sets each, all new samples together: limits from fitted samples would be too narrow."""
    outside = [
        departure(distribution, each).is_outside
        for seed in range(12)
        for distribution in [fitted(images(100 + seed, n))]
        for each in images(200 + seed, 15)
    ]
    assert np.mean(outside) <= 0.05


@pytest.mark.slow
def test_a_usual_range_holds_the_next_value_at_its_rate():
    rng = np.random.default_rng(0)
    draws = np.exp(0.5 * rng.standard_normal((4000, 13)))
    inside = [low <= last <= high for *known, last in draws for low, high in [usual_range(np.array(known))]]
    assert np.mean(inside) > 0.997


def test_one_broken_spectrum_does_not_put_a_sample_outside(known):
    image = images(9, 1)[0]
    scaled = image.scaled.copy()
    scaled[5, 5] = 1e6
    found = departure(known, image._replace(scaled=scaled))
    assert not found.is_outside
    assert found.outside_fraction > departure(known, image).outside_fraction


def texture(rng, width):
    """A grey picture whose grains are so many pixels wide."""
    side = 40
    coarse = rng.standard_normal((side // width + 2, side // width + 2))
    picture = np.kron(coarse, np.ones((width, width)))[:side, :side]
    picture += 0.1 * rng.standard_normal(picture.shape)
    picture = (picture - picture.mean()) / picture.std()
    return TrainingImage(
        picture[..., None].astype(np.float32), np.ones((side, side), bool), str(rng.random())
    )


@pytest.mark.slow
def test_pictures_of_another_scale_are_outside():
    """Their colours are the same: only with its neighbourhood does a pixel say something."""
    rng = np.random.default_rng(0)
    known = fitted([texture(rng, 4) for _ in range(40)], is_spectral=False)
    assert known.texture is not None
    assert np.mean([departure(known, texture(rng, 4)).is_outside for _ in range(60)]) <= 0.05
    for width in (2, 8):
        assert np.mean([departure(known, texture(rng, width)).is_outside for _ in range(20)]) >= 0.9


def test_parts_of_an_image_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    known = fitted([texture(rng, 4) for _ in range(8)], is_spectral=False)
    image = texture(rng, 3)
    whole, ratio = known.look(image.scaled, image.tissue)
    parts = [
        known.look(image.scaled[rows], image.tissue[rows], (core, slice(None)))
        for rows, core in (
            (slice(0, 23), slice(0, 20)),
            (slice(17, 40), slice(3, 23)),
        )
    ]
    total = parts[0][0] + parts[1][0]
    assert (total.pixels, total.outside) == (whole.pixels, whole.outside)
    assert (total.t2, total.q) == pytest.approx((whole.t2, whole.q))
    np.testing.assert_allclose(np.concatenate([each[1] for each in parts]), ratio, rtol=1e-3)
    assert not ratio[:3].any()  # the neighbourhood leaves the image


def test_most_of_the_networks_decide():
    inside, outside = (Departure(x, x, None, x / 10, is_outside=x > 1) for x in (0.5, 2.0))
    assert Departure.of_members([None, None]) is None
    assert Departure.of_members([None, outside]) == outside
    assert not Departure.of_members([inside, outside]).is_outside  # type: ignore[union-attr]
    found = Departure.of_members([outside, None, inside, outside])
    assert found is not None
    assert (found.t2, found.q, found.is_outside) == (2.0, 2.0, True)
    assert found.outside_fraction == pytest.approx(0.15)


def test_too_few_samples_say_nothing():
    few = [drawn(image, is_spectral=True) for image in images(0, 3)]
    assert fit_distribution(lambda: few, list) is None


# From a model folder to the tables


def spectra(seed, factor=1.0):
    """Absorbances that the scaling of the tests' model brings to mean 0 and standard deviation 1."""
    rng = np.random.default_rng(seed)
    tissue = np.zeros((14, 19), bool)
    tissue[2:12, 3:16] = True
    return (factor * rng.normal(5.0, 2.0, (*tissue.shape, 3)) * tissue[..., None]).astype(np.float32), tissue


def store_writer(path):
    return StoreWriter(
        path,
        channels=3,
        wavenumbers_cm1=WAVENUMBERS_CM1,
        pixel_size_um=5.5,
        background="zero",
        created_by="a test",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "data"
    with store_writer(path) as writer:
        for number in range(6):
            cube, tissue = spectra(number)
            writer.add(
                Sample(f"s{number}", number % 2, "test", f"s{number}", 14, 19, False, "made"),
                cube,
                tissue,
                None,
            )
    return Store.open(path)


def with_distribution(folder, factor):
    """The untrained model of the tests, made for spectra of the store's kind times a factor."""
    write_model(folder)
    (network,) = load_model(folder).networks
    pictures = []
    for number in range(20):
        cube, tissue = spectra(100 + number, factor)
        pictures.append(TrainingImage(np.where(tissue[..., None], (cube - 5) / 2, 0), tissue, str(number)))
    network = dataclasses.replace(network, distribution=fitted(pictures))
    save_network(folder, network, from_json(Network, network.description["network"]))
    return folder


@pytest.mark.parametrize(
    ("factor", "is_outside"),
    [pytest.param(1.0, False, marks=pytest.mark.slow), (3.0, True)],
    ids=["same", "other"],
)
def test_tables_and_outlines_say_what_is_outside(tmp_path, store, factor, is_outside):
    model = with_distribution(tmp_path / "model", factor)
    page, said = evaluate(
        EvaluateOptions(model=model, data=store.path, out=tmp_path / "report", threshold=0.3, importance="no")
    )
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    n = len(store.split("test"))
    assert metrics["outside_training"]["n_outside"] == (n if is_outside else 0)
    assert f"{n if is_outside else 0} of {n} samples" in said
    assert any("undecided" in note for note in metrics["notes"]) == is_outside
    with (tmp_path / "report" / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["outside"] for row in rows} == {str(is_outside)}
    assert all((max(float(row["t2"]), float(row["q"])) > 1) == is_outside for row in rows)
    assert ("chip outside" in page.read_text()) == is_outside
    assert 'id="view-unfamiliar"' in page.read_text()
    for row in rows:
        picture = np.asarray(Image.open(tmp_path / "report" / "unfamiliar" / f"{row['id']}.png"))
        tissue = store.tissue(row["id"])
        assert np.mean(picture[tissue] > 50) == pytest.approx(float(row["outside_fraction"]))
        assert not picture[~tissue].any()

    predict(PredictOptions(inputs=(store.path,), model=model, out=tmp_path / "predicted", threshold=0.0))
    predicted = read_predictions(tmp_path / "predicted").samples
    by_id = {row["id"]: row for row in rows}
    for each in predicted:
        assert each.outside is is_outside
        assert each.call == ("undecided" if is_outside else None)
        if each.id in by_id:
            assert each.t2 == pytest.approx(float(by_id[each.id]["t2"]), rel=1e-5)
            assert each.outside_fraction == pytest.approx(float(by_id[each.id]["outside_fraction"]))
        drawn = json.loads((tmp_path / "predicted" / each.files["geojson"]).read_text())
        assert drawn["features"]
        for feature in drawn["features"]:
            assert ("name" in feature["properties"]) == is_outside


@pytest.mark.slow
def test_tiles_say_what_the_whole_image_says(tmp_path):
    rng = np.random.default_rng(3)
    cube = rng.normal(5.0, 2.0, (70, 76, 3)).astype(np.float32)
    tissue = np.zeros((70, 76), bool)
    tissue[5:60, 9:70] = True
    tissue[30:45, 30:50] = False
    path = tmp_path / "data"
    with store_writer(path) as writer:
        writer.add(Sample("a", 1, "test", "a", 70, 76, False, "made"), cube * tissue[..., None], tissue, None)
    model = with_distribution(tmp_path / "model", 1.0)
    found = []
    for name, tile_px in (("whole", None), ("tiles", 40)):
        out = tmp_path / name
        predict(PredictOptions(inputs=(path,), model=model, out=out, outputs=(), tile_px=tile_px))
        found += read_predictions(out).samples
    whole, tiled = found
    assert (whole.error, tiled.error) == (None, None)
    assert tiled.outside is whole.outside is False
    assert (tiled.t2, tiled.q) == pytest.approx((whole.t2, whole.q), rel=1e-5)
    assert tiled.outside_fraction == pytest.approx(whole.outside_fraction)


@pytest.mark.slow
def test_a_model_without_it_still_predicts_and_says_so(tmp_path, store):
    model = write_model(tmp_path / "model")
    values = json.loads((model / "model.json").read_text())
    del values["distribution_sha256"], values["description_sha256"]  # as earlier releases wrote it
    (model / "model.json").write_text(json.dumps(values))
    _, said = evaluate(
        EvaluateOptions(model=model, data=store.path, out=tmp_path / "report", importance="no")
    )
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["outside_training"] is None
    assert any(UNKNOWN_DISTRIBUTION[1:] in note for note in metrics["notes"])
    assert "outside" not in said
    predict(PredictOptions(inputs=(store.path,), model=model, out=tmp_path / "predicted", outputs=()))
    assert all(each.outside is each.call is None for each in read_predictions(tmp_path / "predicted").samples)


def test_a_damaged_distribution_is_refused(tmp_path):
    model = with_distribution(tmp_path / "model", 1.0)
    assert load_model(model).keeps_distribution
    other = with_distribution(tmp_path / "other", 3.0)
    shutil.copy(other / "distribution.npz", model / "distribution.npz")
    with pytest.raises(ModelError, match="copy the model again"):
        load_model(model)
    (model / "distribution.npz").unlink()
    with pytest.raises(ModelError, match="Copy the model again"):
        load_model(model)
