"""The list of preparation steps: as text, as JSON, fitted on training samples, applied the same everywhere."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from compseg_jax.ingest.phantom.spots import PhantomConfig, simulate_spot
from compseg_jax.spectra.preparation import (
    STEPS,
    Image,
    KeptChunks,
    Preparation,
    PreparationError,
    chunks,
    fit_preparation,
    help_text,
    parse_steps,
    step_words,
)

pytestmark = pytest.mark.optimised  # the Mie correction
CONFIG = PhantomConfig(size=16, channels=220)
AXIS = np.linspace(1800.0, 948.0, 220)
# Every step by its shortest useful text; `asls` needs a library and has a test of its own.
TEXTS = {
    "tissue": "tissue",
    "quality": "quality:max_vapour=none,min_snr=none",
    "foreground": "foreground",
    "zscore": "zscore",
    "cut": "cut:first=1750,last=1000",
    "resample": "resample:points=90",
    "co2": "co2",
    "vapour": "vapour:spectrum=vapour.csv",
    "mie": "mie:components=5",
    "rmies": "rmies:iterations=2,components=3",
    "emsc": "emsc:interferents=vapour.csv",
    "rubberband": "rubberband",
    "polynomial": "polynomial:order=1,iterations=5",
    "derivative": "derivative:order=1,window=7",
    "vector": "vector:centre=yes",
    "snv": "snv",
    "amide1": "amide1:by=height",
    "area": "area",
    "pca": "pca:components=4",
    "mnf": "mnf:components=4",
    "cosmic": "cosmic",
    "asls": "asls",
}


def image(index: int = 0, axis: np.ndarray = AXIS) -> Image:
    spot = simulate_spot(CONFIG, seed=3, index=index, diseased=False, array=0)
    order = np.argsort(AXIS)
    spectra = np.interp(axis, AXIS[order], np.arange(AXIS.size)[order])
    low = np.clip(np.floor(spectra).astype(int), 0, AXIS.size - 2)
    share = (spectra - low).astype(np.float32)
    cube = spot.absorbance[..., low] * (1 - share) + spot.absorbance[..., low + 1] * share
    return Image.of(cube, axis, spot.tissue)


def training() -> list[Image]:
    return [image(1), image(2)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of the images here all fill up to 64 spectra, so each correction is compiled once."""
    monkeypatch.setattr(chunks, "CHUNK_SPECTRA", 51)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A vapour spectrum in the current folder, so that texts can name it."""
    monkeypatch.chdir(tmp_path)
    axis = np.linspace(2000, 900, 600)
    lines = sum(np.exp(-(((axis - at) / 3) ** 2)) for at in (1717, 1734, 1772, 1508, 1340))
    rows = np.stack([axis, lines], axis=1)
    np.savetxt(tmp_path / "vapour.csv", rows, delimiter=",", header="wavenumber,vapour", comments="")


def fitted(*texts: str) -> Preparation:
    return fit_preparation(parse_steps(texts), AXIS, training)


def test_every_step_has_a_text_here():
    assert set(TEXTS) == set(STEPS)


@pytest.mark.parametrize(
    "name",
    [
        # Mie corrections compile for ten seconds; they are repeated from the same kind of state as `emsc`.
        pytest.param(name, marks=pytest.mark.slow if name in ("mie", "rmies") else ())
        for name in STEPS
        if name != "asls"
    ],
)
def test_a_step_repeats_itself_from_json(name):
    preparation = fitted(TEXTS[name])
    again = Preparation.from_json(json.loads(json.dumps(preparation.to_json())))
    one, other = preparation(image()), again(image())
    assert len(one.spectra) > 0.5 * image().mask.sum()
    np.testing.assert_array_equal(one.spectra, other.spectra)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.wavenumbers_cm1, preparation.wavenumbers_cm1)
    assert one.spectra.dtype == np.float32
    assert one.absorbance.shape == (16, 16, preparation.wavenumbers_cm1.size)


def test_steps_do_not_care_about_the_direction_of_the_axis():
    texts = ("tissue", "derivative", "rubberband", "vector")
    rising = fit_preparation(parse_steps(texts), AXIS[::-1].copy(), training)
    one = fitted(*texts)(image())
    other = rising(Image.of(image().absorbance[..., ::-1], AXIS[::-1].copy(), image().mask))
    np.testing.assert_allclose(other.spectra[:, ::-1], one.spectra, atol=2e-5)


def test_presets_stand_for_their_steps():
    for name, words in step_words.PRESETS.items():
        assert parse_steps([name]) == parse_steps(words)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vectr", "Did you mean 'vector'"),
        ("mie:speed=3", "it has reference, components, stop, max_iterations"),
        ("derivative:order=second", "found 'second'; required is int"),
        ("derivative:order", "a setting is written name=value, for example derivative:order=2"),
        ("resample:points=1", "give 2 or more points"),
        ("vapour", "vapour:spectrum=FILE"),
        ("mie:stop=never", "must be 'matlab', 'tolerance'"),
        ("tissue:floor=-1", "floor: found -1.0"),
        ("vector:centre=perhaps", "required is yes or no"),
        ("derivative:window=none", "required is int"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(PreparationError, match=message):
        parse_steps([text])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["resample:first=2000"], "step 'resample'.*1800"),
        (["cut:first=3000,last=2500"], "step 'cut'"),
        (["cut:first=1500", "tissue"], "step 'tissue'.*amide I"),
        (["resample:points=40", "quality"], "quality:.*=none"),
        (["emsc:reference=none.csv"], "there is no file none.csv"),
        (["cut:first=1800,last=1000", "resample"], "step 'resample'"),
        (["derivative:window=8"], "step 'derivative'"),
        (["resample:points=90", "mie"], "step 'mie'.*finer axis"),
    ],
)
def test_steps_that_do_not_fit_the_axis_are_refused_before_any_work(texts, message):
    def no_training():
        raise AssertionError("the training samples were read")

    with pytest.raises(PreparationError, match=message):
        fit_preparation(parse_steps(["pca", *texts]), AXIS, no_training)


def test_help_explains_every_step_and_setting():
    text = help_text()
    for name, step in STEPS.items():
        assert f"  {name}" in text
        documented = step_words.field_docs(step)
        assert set(documented) == {each.name for each in fields(step)}, name


def test_the_page_for_spectroscopists_names_every_step():
    page = (Path(__file__).parents[1] / "docs" / "spectra.md").read_text(encoding="utf-8")
    for name in STEPS:
        assert f"`{name}`" in page, name


def test_what_is_learnt_comes_from_the_training_samples_behind_the_steps_before():
    preparation = fitted("tissue", "vector", "emsc")
    images = [fitted("tissue", "vector")(each) for each in training()]
    mean = np.concatenate([each.spectra for each in images]).mean(axis=0)
    np.testing.assert_allclose(preparation.steps[2].fitted["reference"], mean, rtol=1e-5)
    components = fitted("pca:components=3").steps[0].fitted
    assert components["analysis"].shape == (220, 3)


def test_pixels_without_a_result_are_dropped_with_their_reason():
    raw = image()
    spectra = raw.spectra.copy()
    spectra[0, 5] = np.nan
    spectra[1] = 0.0
    spectra[2] += 3.0
    one = Image(spectra, raw.wavenumbers_cm1, raw.mask, raw.reason)
    done = fitted("quality:max_vapour=none,min_snr=none,min_amide_i=none", "vector")(one)
    assert done.counts() == {
        "NaN or infinite values": 1,
        "saturated": 1,
        "vector: no finite result": 1,
    }
    assert len(done.spectra) == raw.mask.sum() - 3
    ys, xs = np.nonzero(raw.mask)
    for number, why in enumerate(("NaN or infinite values", "vector: no finite result", "saturated")):
        assert done.reasons[done.reason[ys[number], xs[number]]] == why
    assert not done.absorbance[~done.mask].any()


def test_mie_drops_and_names_what_does_not_converge():
    done = fitted("mie:components=5,max_iterations=3")(image())
    kept, lost = len(done.spectra), done.counts().get("mie: not converged", 0)
    assert kept + lost == image().mask.sum()
    assert lost > 0


def test_an_image_without_tissue_goes_through_every_step():
    empty = Image.of(np.zeros((5, 7, 220), np.float32), AXIS, np.zeros((5, 7), bool))
    texts = ("tissue", "quality:max_vapour=none", "resample:first=1790,points=220", "mie:components=5", "pca")
    done = fitted(*texts)(empty)
    assert done.absorbance.shape == (5, 7, 220)
    assert not done.mask.any()


def test_no_training_tissue_is_an_error_that_says_so():
    def nothing():
        return [Image.of(np.zeros((5, 7, 220), np.float32), AXIS, np.zeros((5, 7), bool))]

    with pytest.raises(PreparationError, match="learns from the training samples"):
        fit_preparation(parse_steps(["pca"]), AXIS, nothing)


def test_spectra_do_not_depend_on_the_chunks_they_come_in(monkeypatch):
    preparation = fitted("tissue", "mie:components=5", "rubberband")
    shares = []
    parts = preparation(image(), progress=shares.append)
    monkeypatch.setattr(chunks, "CHUNK_SPECTRA", 8192)
    whole = preparation(image())
    np.testing.assert_array_equal(parts.mask, whole.mask)
    np.testing.assert_allclose(parts.spectra, whole.spectra, atol=2e-3)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_kept_chunks_are_found_again_and_only_for_the_same_work(tmp_path):
    preparation = fitted("tissue", "mie:components=5")
    first = KeptChunks(tmp_path / "kept")
    done = preparation(image(), kept=first)
    number = len(list((tmp_path / "kept").iterdir()))
    assert (first.found, number) == (0, -(-int(done.mask.sum()) // chunks.CHUNK_SPECTRA))

    again = KeptChunks(tmp_path / "kept")
    repeated = preparation(image(), kept=again)
    assert again.found == number
    np.testing.assert_array_equal(repeated.spectra, done.spectra)

    other = KeptChunks(tmp_path / "kept")
    fitted("tissue", "mie:components=5,max_iterations=3")(image(), kept=other)
    preparation(image(1), kept=other)
    assert other.found == 0

    damaged = next((tmp_path / "kept").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    mended = KeptChunks(tmp_path / "kept")
    np.testing.assert_array_equal(preparation(image(), kept=mended).spectra, done.spectra)
    mended.remove()
    assert not (tmp_path / "kept").exists()


def test_a_stopped_run_goes_on_at_the_next_chunk(tmp_path):
    preparation = fitted("mie:components=5")
    calls = []

    def stop(share: float) -> None:
        calls.append(share)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preparation(image(), kept=KeptChunks(tmp_path / "kept"), progress=stop)
    resumed = KeptChunks(tmp_path / "kept")
    done = preparation(image(), kept=resumed)
    assert resumed.found == 2
    np.testing.assert_array_equal(done.spectra, preparation(image()).spectra)


def test_another_raw_axis_needs_resampling_first():
    finer = np.linspace(1850.0, 940.0, 300)
    with pytest.raises(PreparationError, match="Put the step `resample` before"):
        fitted("emsc")(image(axis=finer))
    preparation = fitted("tissue", "resample:points=90", "emsc")
    one, other = preparation(image()), preparation(image(axis=finer))
    assert preparation.axis_after(finer).size == 90
    np.testing.assert_array_equal(one.wavenumbers_cm1, other.wavenumbers_cm1)


def test_an_image_on_its_own_scale():
    done = fitted("zscore")(image())
    np.testing.assert_allclose(done.spectra.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(done.spectra.std(axis=0), 1.0, atol=1e-5)
    raw = image()
    brighter = Image(3 * raw.spectra + 1, raw.wavenumbers_cm1, raw.mask, raw.reason)
    np.testing.assert_allclose(fitted("zscore")(brighter).spectra, done.spectra, atol=1e-4)
    flat = Image(np.full_like(raw.spectra, 7.3), raw.wavenumbers_cm1, raw.mask, raw.reason)
    assert not fitted("zscore")(flat).spectra.any()


@pytest.mark.parametrize("side", ["bright", "dark"])
def test_foreground_of_an_ordinary_image(side):
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 30), bool)
    truth[5:15, 8:24] = True
    inside, outside = (180, 20) if side == "bright" else (90, 240)
    picture = np.where(truth[..., None], inside, outside) + rng.normal(0, 8, (20, 30, 3))
    axis = np.arange(3.0)
    raw = Image.of(picture.astype(np.float32), axis, np.ones((20, 30), bool))
    done = fit_preparation(parse_steps([f"foreground:side={side}"]), axis, training)(raw)
    np.testing.assert_array_equal(done.mask, truth)


def test_raman_baseline_through_pybaselines():
    library = pytest.importorskip("pybaselines")
    preparation = fitted("asls:smoothness=1e5")
    done = preparation(image())
    fitter = library.Baseline()
    expected = image().spectra[3] - fitter.asls(image().spectra[3].astype(float), lam=1e5, p=0.01)[0]
    np.testing.assert_allclose(done.spectra[3], expected, atol=1e-4)
