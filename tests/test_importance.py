"""Importance of bands where the answer is known: linear networks, and tissue that differs in known bands only."""

from __future__ import annotations

import csv
import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.evaluation import evaluate as evaluation
from compseg_jax.evaluation.report import report_folder as folder
from compseg_jax.evaluation.report.importance_figure import (
    importance_csv,
    importance_figure,
    strongest_text,
)
from compseg_jax.evaluation.scores import SampleResult, evaluate_samples
from compseg_jax.ingest.phantom.bands import BANDS
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ExtractedNetwork, Model, ModelError, importance
from compseg_jax.model.importance import (
    BandWidth,
    band_importance,
    covering_windows,
    importance_flops,
    strongest_bands,
)
from compseg_jax.readers import Cube
from compseg_jax.spectra.scaling import Scaling
from compseg_jax.store.read import Store

WEIGHTS = np.random.default_rng(0).normal(0, 1, 9)
ONE_CHANNEL = BandWidth(cm1=1.0)


def linear(weights: np.ndarray, axis: np.ndarray | None, *, bias: float = 0.0) -> Model:
    """A network of one 1×1 convolution behind a scaling that is not trivial."""
    c = len(weights)
    kernel = jnp.asarray(weights, jnp.float32)[:, None]
    scaling = Scaling(np.linspace(0.2, 0.6, c, dtype=np.float32), np.linspace(0.5, 2, c, dtype=np.float32))
    variables = {"params": {"kernel": kernel, "bias": jnp.full(1, bias, jnp.float32)}}
    return Model.of(ExtractedNetwork(nn.Dense(1), variables, scaling, axis, 0.5, "none", {}))


def sample(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tissue = rng.random(shape[:2]) < 0.8
    return np.where(tissue[..., None], rng.normal(0.5, 1, shape), 0).astype(np.float32), tissue


def on(axis: np.ndarray | None, *samples: tuple[np.ndarray, np.ndarray]) -> list[tuple[Cube, np.ndarray]]:
    """Samples as cubes on an axis, with their tissue."""
    return [(Cube(cube, axis), tissue) for cube, tissue in samples]


@pytest.mark.parametrize("axis", [np.linspace(1800, 1000, 9), np.linspace(1000, 1800, 9), None])
def test_a_linear_network_is_its_weights_times_its_input(axis):
    """Gradient × input is w·mean(z) of the segmented pixels, and so is occlusion of single channels."""
    model = linear(WEIGHTS, axis)
    scaling = model.networks[0].scaling
    samples = [sample((6, 5, 9), 1), sample((4, 7, 9), 2)]
    expected, absolute, spectra = [], [], []
    for cube, tissue in samples:
        scaled = (cube[tissue] - scaling.mean) / scaling.sd
        chosen = scaled @ WEIGHTS > 0
        expected.append(WEIGHTS * scaled[chosen].mean(axis=0))
        absolute.append(np.abs(WEIGHTS) * np.abs(scaled[chosen]).mean(axis=0))
        spectra.append(cube[tissue][chosen].mean(axis=0))
    found = band_importance(model, on(axis, *samples), width=ONE_CHANNEL)
    assert found.gradient.dtype == np.float32
    assert (found.samples, found.left_out) == (2, 0)
    near = {"rtol": 1e-4, "atol": 1e-5}
    for name, values in (
        ("gradient", expected), ("occlusion_logit", expected), ("gradient_absolute", absolute),
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(found, name), np.mean(values, axis=0), **near)
        np.testing.assert_allclose(getattr(found, f"{name}_sd"), np.std(values, axis=0, ddof=1), **near)
    np.testing.assert_allclose(found.spectrum, np.mean(spectra, axis=0), **near)
    np.testing.assert_array_equal(found.baseline, scaling.mean)


def test_occlusion_is_the_fall_of_the_activation_without_the_band():
    axis = np.linspace(1800, 1000, 9)  # 100 apart: 450 cm⁻¹ hold 5
    model = linear(WEIGHTS, axis, bias=0.3)
    scaling = model.networks[0].scaling
    cube, tissue = sample((6, 5, 9), 3)
    scaled = (cube[tissue] - scaling.mean) / scaling.sd
    chosen = scaled[scaled @ WEIGHTS + 0.3 > 0]
    before = 1 / (1 + np.exp(-(chosen @ WEIGHTS + 0.3)))
    expected = []
    for channel in range(9):
        without = chosen.copy()
        without[:, max(channel - 2, 0) : channel + 3] = 0
        expected.append((before - 1 / (1 + np.exp(-(without @ WEIGHTS + 0.3)))).mean())
    found = band_importance(model, on(axis, (cube, tissue)), width=BandWidth(cm1=450))
    middles, _ = covering_windows(9, axis, BandWidth(cm1=450))
    assert 1 < len(middles) < 9
    np.testing.assert_allclose(found.occlusion[middles], np.array(expected)[middles], atol=1e-5)
    between = np.interp(np.arange(9), middles, np.array(expected)[middles])
    np.testing.assert_allclose(found.occlusion, between, atol=1e-5)
    np.testing.assert_array_equal(found.occlusion_sd, 0)


def test_how_many_windows_are_predicted_together_changes_nothing(monkeypatch):
    model = linear(WEIGHTS, None)
    samples = on(None, sample((6, 5, 9), 4))
    whole = band_importance(model, samples)
    monkeypatch.setattr(importance, "MOST_AT_ONCE", 4)
    parts = band_importance(model, samples)
    np.testing.assert_allclose(parts.occlusion, whole.occlusion, atol=1e-6)
    assert importance_flops(model, (6, 5)) > 0
    assert importance_flops(model, (12, 5)) == pytest.approx(2 * importance_flops(model, (6, 5)), rel=0.1)


def test_what_cannot_be_explained_is_refused():
    model = linear(np.ones(4), None, bias=-50.0)
    with pytest.raises(ValueError, match=r"none of 2 samples has tissue whose activation exceeds 0\.5"):
        band_importance(model, on(None, sample((3, 4, 4), 0), sample((3, 4, 4), 1)))
    with pytest.raises(ModelError, match="found 5 channels; the model needs 4"):
        band_importance(model, on(None, sample((3, 4, 5), 0)))
    with pytest.raises(ValueError, match="odd number of channels"):
        BandWidth(channels=2)
    silent = (np.full((3, 4, 4), -100, np.float32), np.ones((3, 4), np.bool_))
    loud = (-silent[0], silent[1])
    found = band_importance(linear(np.ones(4), None), on(None, silent, loud))
    assert (found.samples, found.left_out) == (1, 1)


class Pixel(nn.Module):
    """The least network that is not linear."""

    @nn.compact
    def __call__(self, cube):
        return nn.Dense(1)(nn.softplus(nn.Dense(6)(cube)))


def tissue_cube(rng: np.random.Generator, axis: np.ndarray, changed: dict[str, float]):
    """Amide bands of varying thickness everywhere; the tumour, a third of the pixels, differs in `changed` only."""
    truth = rng.random((14, 11)) < 0.33

    def shape(name):
        distance = (axis - BANDS[name].position_cm1) / BANDS[name].fwhm_cm1
        return np.exp(-4 * np.log(2) * distance**2)

    spectrum = shape("amide I") + 0.6 * shape("amide II") + 0.2 * shape("carboxylate")
    cube = rng.normal(1, 0.1, (*truth.shape, 1)) * spectrum + rng.normal(0, 0.03, (*truth.shape, len(axis)))
    for name, height in changed.items():
        cube += height * truth[..., None] * shape(name)
    return cube.astype(np.float32), truth


@pytest.mark.parametrize(
    ("changed", "rising"),
    [
        ({"phosphate as": 0.12, "glycogen 1028": -0.1}, False),
        ({"amide I beta": 0.12, "CH2 bending": 0.12}, True),
    ],
)
def test_a_trained_network_uses_the_bands_that_differ(changed, rising):
    axis = np.linspace(1000, 1800, 41)[:: 1 if rising else -1]
    rng = np.random.default_rng(5)
    cubes, truths = map(np.stack, zip(*(tissue_cube(rng, axis, changed) for _ in range(6)), strict=True))
    everywhere = np.ones(truths.shape[1:], np.bool_)
    scaling = Scaling.fit((cube, everywhere) for cube in cubes)
    scaled = jnp.asarray((cubes - scaling.mean) / scaling.sd)
    network = Pixel()
    variables = jax.jit(network.init)(jax.random.key(0), scaled)

    def loss(variables):
        logits = network.apply(variables, scaled)[..., 0]
        decay = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(variables))
        return jnp.mean(jax.nn.softplus(logits) - truths.astype(np.float32) * logits) + 1e-3 * decay

    step = jax.jit(lambda v: jax.tree.map(lambda leaf, slope: leaf - 0.5 * slope, v, jax.grad(loss)(v)))
    for _ in range(150):
        variables = step(variables)
    model = Model.of(ExtractedNetwork(network, variables, scaling, axis, 0.5, "none", {}))
    found = band_importance(model, on(axis, *((cube, everywhere) for cube in cubes)))

    distance = np.min([np.abs(axis - BANDS[name].position_cm1) for name in changed], axis=0)
    own, other = distance <= 15, distance >= 60
    for curve in (found.gradient, found.occlusion, found.occlusion_logit):
        assert curve[own].min() > np.abs(curve[other]).max()
    for name in changed:
        assert min(abs(axis[found.strongest(2)] - BANDS[name].position_cm1)) <= 20


@given(st.lists(st.floats(0.5, 60), min_size=1, max_size=40), st.floats(1, 120), st.booleans(), st.booleans())
def test_windows_cover_the_axis(steps, width, rising, is_spectral):
    axis = 1000 + np.cumsum(steps)[:: 1 if rising else -1]
    middles, holds = covering_windows(
        len(axis), axis if is_spectral else None, BandWidth(cm1=width, channels=3)
    )
    assert holds.any(axis=0).all()
    assert holds[np.arange(len(middles)), middles].all()
    assert (np.diff(middles) > 0).all()
    if is_spectral:
        np.testing.assert_array_equal(holds, np.abs(axis - axis[middles][:, None]) <= width / 2 * (1 + 1e-6))
    else:
        assert holds.sum(axis=1).max() <= 3


def test_peaks_are_found_by_size_and_kept_apart():
    axis = np.arange(1000.0, 1200.0, 5.0)
    curve = np.zeros(40)
    curve[[4, 7, 20, 30, 39]] = [3, 2.9, -4, 0.1, 1]  # 15 cm⁻¹ from the first to the second; .1 is too small
    assert strongest_bands(curve, axis) == [20, 4, 39]
    assert [39 - k for k in strongest_bands(curve[::-1], axis[::-1])] == [20, 4, 39]
    assert strongest_bands(curve, axis, most=1) == [20]
    assert strongest_bands(curve, None) == [20, 4, 7, 39]
    assert strongest_bands(np.zeros(5), None) == []


@pytest.fixture(scope="module")
def explained():
    axis = np.linspace(1800, 1000, 9)
    return band_importance(linear(WEIGHTS, axis), on(axis, sample((6, 5, 9), 1)))


def test_figure_and_table_tell_the_numbers(explained):
    svg = importance_figure(explained)
    assert svg == importance_figure(explained)
    assert svg.rstrip().endswith("</svg>")
    rows = list(csv.DictReader(io.StringIO(importance_csv(explained))))
    assert [float(row["wavenumber_cm1"]) for row in rows] == np.linspace(1800, 1000, 9).tolist()
    for name in ("gradient", "occlusion", "occlusion_logit_sd", "spectrum"):
        np.testing.assert_allclose([float(row[name]) for row in rows], getattr(explained, name), rtol=1e-5)
    first = explained.strongest()[0]
    sign = "for" if explained.occlusion_logit[first] > 0 else "against"
    assert f"cm⁻¹: {1800 - 100 * first} ({sign})" in strongest_text(explained)
    channels = band_importance(linear(np.ones(9), None), on(None, sample((6, 5, 9), 1)))
    assert importance_csv(channels).splitlines()[1].startswith("0,,")
    assert "occlusion" not in strongest_text(channels)
    assert importance_figure(channels)


@pytest.mark.parametrize("missing", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_report_shows_it_or_says_why_not(explained, missing, tmp_path):
    tissue = np.ones((4, 3), np.bool_)
    activation = np.full((4, 3), 0.7, np.float32)
    results = [SampleResult(f"s{i}", i, f"s{i}", activation * i, tissue, None, activation) for i in (0, 1)]
    page = folder.write_report(
        tmp_path / "report", results, evaluate_samples(results, threshold=0.5, n_bootstrap=10),
        model={}, history=[], wavenumbers_cm1=None, title="t",
        importance="Not computed: 3 < 4." if missing else explained,
    )  # fmt: skip
    text = page.read_text()
    assert "What the network segments by" in text
    assert ("Not computed: 3 &lt; 4." in text) == missing
    assert ("Strongest bands" in text) != missing
    assert (page.parent / "importance.csv").is_file() != missing
    folder.check_report_folder(page.parent)


def test_an_evaluation_explains_what_is_cheap(tmp_path, monkeypatch):
    config = PhantomConfig(size=16, channels=9, difficulty=0.0)
    write_phantom(PhantomOptions(out=tmp_path / "s", train=2, val=2, test=30, phantom=config))
    store = Store.open(tmp_path / "s")
    model = linear(np.ones(9), store.wavenumbers_cm1, bias=100.0)
    results = []
    for row in store.split("test"):
        tissue = store.tissue(row.id)
        results.append(SampleResult(row.id, row.label, row.id, tissue * 1.0, tissue, None, tissue * 1.0))

    def explain(asked, chosen=results, threshold=0.5):
        return evaluation._importance(model.with_threshold(threshold), store, chosen, asked=asked)

    assert explain("no") is None
    assert explain("auto").samples == 12
    assert "no diseased sample has segmented tissue" in explain("yes", [r for r in results if r.label == 0])
    assert "no diseased sample has segmented tissue" in explain("auto", threshold=1.0)
    monkeypatch.setattr(evaluation, "FLOPS_A_SECOND", {"cpu": 12 * importance_flops(model, (16, 16)) / 30})
    assert explain("auto").samples == 6
    monkeypatch.setattr(evaluation, "LONGEST_EXPLANATION_S", 1.0)
    assert "Not computed: about" in explain("auto")
    assert explain("yes").samples == 12
