"""Preparation between store and scaling: fitted on training samples, repeated by the network wherever it goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compseg_jax.cli import main as cli
from compseg_jax.config import RECIPES, Training, from_json, to_json
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ModelError, load_model
from compseg_jax.spectra.preparation import Image, Preparation
from compseg_jax.store.input_preparation import fit_input_preparation
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Store
from compseg_jax.store.write import StoreWriter
from compseg_jax.training.run import train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "data"
    write_phantom(PhantomOptions(folder, train=8, val=6, test=4, phantom=PhantomConfig(size=16, channels=24)))
    return Store.open(folder)


def config(store: Store, out, *words: str) -> Training:
    recipe = RECIPES["default"]
    network = replace(recipe.network, base=2, depth=0)
    few = {"epochs": 2, "starts": 1, "self_check": False, "second_view": False, "augment": "none"}
    return replace(recipe, data=store.path, out=out, prepare=words, network=network, **few)


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    return load_model(train(config(store, tmp_path_factory.mktemp("run") / "out", "emsc", "vector")))


@pytest.mark.slow
def test_the_network_repeats_what_it_was_trained_behind(store, model):
    assert [each["step"] for each in model.description["preparation"]] == ["emsc", "vector"]
    for _, cube, found in model.predict_store(store, store.split("test")):
        assert cube.absorbance.max() > 1.5 * found.absorbance.max()
        norms = np.linalg.norm(found.absorbance[found.tissue], axis=1)
        np.testing.assert_allclose(norms, 1.0, atol=1e-5)
        np.testing.assert_array_equal(
            model(cube.absorbance, wavenumbers_cm1=store.wavenumbers_cm1), found.activation
        )


def test_learnt_on_training_samples_alone(store, model):
    spectra = np.concatenate([store.read(s.id)[store.tissue(s.id)] for s in store.split("train")])
    reference = model.description["preparation"][0]["fitted"]["reference"]
    np.testing.assert_allclose(reference, spectra.mean(axis=0), rtol=1e-5)


def prepared_store(store: Store, preparation: Preparation, path) -> Store:
    """The same samples behind a preparation, as `compseg ingest --prepare` writes them."""
    axis = preparation.wavenumbers_cm1
    writer = StoreWriter(
        path, channels=axis.size, wavenumbers_cm1=axis, pixel_size_um=store.pixel_size_um,
        background="zero", created_by="a test", preparation=preparation.to_json(),
    )  # fmt: skip
    with writer:
        for sample in store.samples:
            image = preparation(
                Image.of(store.read(sample.id), store.wavenumbers_cm1, store.tissue(sample.id))
            )
            writer.add(sample, image.absorbance, image.mask, store.reference(sample.id))
    return Store.open(path)


def test_a_store_is_taken_as_far_as_it_was_prepared(store, model, tmp_path):
    first = Preparation.from_json(model.description["preparation"][:1])
    half = prepared_store(store, first, tmp_path / "half")
    rest = model.networks[0].steps_after(half.preparation, "half")
    assert [each.step.name for each in rest.steps] == ["vector"]
    for one, other in zip(
        model.predict_store(store, store.samples[:3]),
        model.predict_store(half, half.samples[:3]),
        strict=True,
    ):
        np.testing.assert_array_equal(one[2].activation, other[2].activation)
    elsewhere = fit_input_preparation(PreparedStore(store), store.split("test"), ["emsc"])
    with pytest.raises(ModelError, match="Ingest the files without --prepare"):
        model(prepared_store(store, elsewhere, tmp_path / "other").cube(store.samples[0].id))


def test_auto_normalises_spectra_that_nothing_has_normalised(store, tmp_path):
    def steps(which: Store) -> list[str]:
        found = fit_input_preparation(PreparedStore(which), which.split("train"), ["auto"])
        return [] if found is None else [each.step.name for each in found.steps]

    assert steps(store) == ["emsc"]
    scaled = fit_input_preparation(PreparedStore(store), store.split("train"), ["vector"])
    assert steps(prepared_store(store, scaled, tmp_path / "vector")) == []
    cut = fit_input_preparation(PreparedStore(store), store.split("train"), ["cut:first=1700,last=1000"])
    assert steps(prepared_store(store, cut, tmp_path / "cut")) == ["emsc"]
    # Masses, or stains: each spectrum by itself, as an image's own scale would tell its label to all of them.
    assert steps(replace(store, wavenumbers_cm1=None)) == ["vector"]
    assert steps(replace(store, channels=3)) == []


@pytest.mark.slow
def test_a_run_resumes_and_goes_on_behind_the_same_steps(store, model, tmp_path):
    whole = config(store, tmp_path / "run", "emsc", "vector")
    train(whole)
    again = load_model(tmp_path / "run" / "model")
    assert again.description["weights_sha256"] == model.description["weights_sha256"]
    longer = replace(whole, out=tmp_path / "more", init_from=tmp_path / "run" / "model", prepare=(), epochs=1)
    tuned = load_model(train(longer))
    assert tuned.description["preparation"] == model.description["preparation"]


def test_steps_are_part_of_the_configuration(store, tmp_path):
    given = config(store, tmp_path, "emsc", "derivative:order=1")
    assert from_json(Training, to_json(given)) == given
    with pytest.raises(ValueError, match="Did you mean 'emsc'"):
        train(config(store, tmp_path / "run", "emcs"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="no wavenumbers, which emsc needs"):
        fit_input_preparation(
            PreparedStore(replace(store, wavenumbers_cm1=None)), store.split("train"), ["emsc"]
        )


def test_help_of_the_steps_is_at_hand(capsys):
    assert cli.main(["train", "--prepare", "help"]) == 0
    assert "rubberband" in capsys.readouterr().out
