"""One way to predict: every public path gives the same map, bit for bit, of a store and of its raw files alike."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from compseg_jax import Model, load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import ModelError
from compseg_jax.prediction.formats import open_maps
from compseg_jax.readers import Cube, read
from compseg_jax.spectra.preparation import Image
from compseg_jax.store import Store
from compseg_jax.store.input_preparation import fit_input_preparation
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.write import StoreWriter
from compseg_jax.viewer.model_source import ModelSource
from tests.untrained_example import write_ensemble, write_untrained

CHANNELS = 24


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("store") / "data"
    phantom = PhantomConfig(size=16, channels=CHANNELS)
    write_phantom(PhantomOptions(path, train=8, val=4, test=2, phantom=phantom))
    return Store.open(path)


@pytest.fixture(scope="module")
def raw_files(store, tmp_path_factory) -> dict[str, Path]:
    """The test samples as files of their own, as an instrument would leave them."""
    folder = tmp_path_factory.mktemp("raw")
    for sample in store.split("test"):
        arrays = {"absorbance": store.read(sample.id), "wavenumbers_cm1": store.wavenumbers_cm1}
        np.savez(folder / f"{sample.id}.npz", **arrays)
    return {path.stem: path for path in sorted(folder.iterdir())}


QUICK = ("default",)
"""What differs between the other recipes is their networks, which other tests cover one by one."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in [*RECIPES, "ensemble"]
    ],
)
def run(request, store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / request.param
    if request.param == "ensemble":
        write_ensemble("default", store, out)
    else:
        write_untrained(request.param, store, store.split("train"), out / "model")
    (out / "config.json").write_text(json.dumps({"data": str(store.path)}))
    return out


def scored_maps(options: EvaluateOptions) -> dict[str, np.ndarray]:
    """The maps that an evaluation scores."""
    scored: dict[str, np.ndarray] = {}

    class Seen(Exception):
        pass

    def see(results, **_):
        scored.update({result.id: result.activation for result in results})
        raise Seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compseg_jax.evaluation.evaluate.evaluate_samples", see)
        with pytest.raises(Seen):
            evaluate(options)
    return scored


def predicted_map(out: Path, sample_id: str) -> np.ndarray:
    maps = open_maps(out / "samples" / sample_id / "activation.ome.zarr")
    return np.asarray(maps.activation[0][:, :])


def test_every_path_gives_the_same_map(run, store, raw_files, tmp_path):
    """`evaluate`, `predict` on the store and on raw files, the viewer, and the call with a cube in each state."""
    model = load_model(run)
    scored = scored_maps(EvaluateOptions(run, store.path, tmp_path / "report"))
    inputs = {
        "store": [str(store.path), "--split", "test"],
        "raw": [str(path) for path in raw_files.values()],
    }
    for name, paths in inputs.items():
        words = ["--model", str(run), "--out", str(tmp_path / name), "--outputs", "zarr"]
        assert main(["predict", *paths, *words]) == 0
    viewed = ModelSource.of_run(run)
    equal = np.testing.assert_array_equal
    for sample in store.split("test"):
        expected = scored[sample.id]
        assert 0 < expected.max() <= 1
        cube, tissue = store.cube(sample.id), store.tissue(sample.id)
        equal(model(cube, tissue=tissue), expected)
        equal(model(cube.absorbance, wavenumbers_cm1=cube.wavenumbers_cm1, tissue=tissue), expected)
        equal(model(cube.absorbance[None], wavenumbers_cm1=cube.wavenumbers_cm1)[0], expected)
        equal(model(read(raw_files[sample.id])), expected)
        equal(viewed.open(sample.id).activation.levels[0].values, expected)
        for name in inputs:
            equal(predicted_map(tmp_path / name, sample.id), expected)
        if len(model.networks) == 1:
            seen = model.predict(cube, tissue=tissue)
            equal(model(seen.absorbance, tissue=seen.tissue, prepared=True), expected)
            traced = jax.jit(partial(model, prepared=True))(seen.absorbance, tissue=seen.tissue)
            np.testing.assert_allclose(traced, expected, atol=1e-5)


@pytest.fixture(scope="module")
def model(store, tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("default") / "model"
    write_untrained("default", store, store.split("train"), folder)
    return load_model(folder)


def test_an_array_whose_state_is_not_stated_is_refused_with_the_ways_to_state_it(model, store):
    cube = store.cube(store.samples[0].id)
    with pytest.raises(ModelError, match=r"Give wavenumbers_cm1=.*prepared=True.*Store\.cube"):
        model(cube.absorbance)
    with pytest.raises(ModelError, match="carries its axis"):
        model(cube, wavenumbers_cm1=cube.wavenumbers_cm1)
    with pytest.raises(ModelError, match="its axis is not the model's"):
        model(cube.absorbance, wavenumbers_cm1=cube.wavenumbers_cm1[::-1], prepared=True)
    with pytest.raises(ModelError, match=r"required is \(y, x, 24\)"):
        model(cube.absorbance[..., :5], wavenumbers_cm1=cube.wavenumbers_cm1)
    with pytest.raises(ModelError, match="a batch of no cube"):
        model(cube.absorbance[None][:0], prepared=True)
    with pytest.raises(ModelError, match="only the model states wavenumbers"):
        model(cube.absorbance, prepared=False)


def test_masked_pixels_are_left_out_and_what_is_no_number_is_refused(model, store):
    cube = store.cube(store.samples[0].id)
    values, axis = np.array(cube.absorbance), cube.wavenumbers_cm1
    hidden = np.zeros(values.shape, bool)
    hidden[:2, :, 1] = True
    found = model.predict(np.ma.masked_array(values, hidden), wavenumbers_cm1=axis)
    assert not found.tissue[:2].any()
    assert not found.activation[:2].any()
    assert found.left_out == {"NaN or infinite values": 2 * values.shape[1]}
    as_batch = model(np.ma.masked_array(values, hidden)[None], wavenumbers_cm1=axis)
    np.testing.assert_array_equal(as_batch[0], found.activation)
    plain = np.ma.masked_array(values, np.zeros(values.shape, bool))
    whole = model(values.astype(np.float64)[..., ::-1], wavenumbers_cm1=axis[::-1])
    np.testing.assert_array_equal(model(plain, wavenumbers_cm1=axis), whole)
    for dtype in (complex, str, object):
        with pytest.raises(ModelError, match="real numbers"):
            model(values.astype(dtype), wavenumbers_cm1=axis)
    with pytest.raises(ModelError, match="mask holds NaN"):
        model(values, wavenumbers_cm1=axis, tissue=np.full(values.shape[:2], np.nan))


def test_an_axis_is_reversed_or_resampled_and_the_prediction_says_so(model, store):
    sample = store.split("test")[0]
    cube = store.cube(sample.id)
    own = model.predict(cube)
    axis = cube.wavenumbers_cm1
    turned = model.predict(cube.absorbance[..., ::-1], wavenumbers_cm1=axis[::-1])
    np.testing.assert_array_equal(turned.activation, own.activation)
    assert own.notes == ()
    assert len(turned.notes) == 1
    assert turned.notes[0].startswith("channels reversed from")
    finer = np.linspace(axis[0], axis[-1], 2 * axis.size - 1)
    between = (cube.absorbance[..., :-1] + cube.absorbance[..., 1:]) / 2
    spectra = np.empty((*cube.absorbance.shape[:2], finer.size), np.float32)
    spectra[..., ::2], spectra[..., 1::2] = cube.absorbance, between
    resampled = model.predict(spectra, wavenumbers_cm1=finer)
    np.testing.assert_allclose(resampled.activation, own.activation, atol=0.01)
    assert "spectra resampled from" in resampled.notes[0]
    shorter = axis[axis < 1500]
    with pytest.raises(ModelError, match="the spectra cover"):
        model(cube.absorbance[..., axis < 1500], wavenumbers_cm1=shorter)


def written_store(
    store: Store, path: Path, *, axis=None, pixel_size_um=None, prepare=None, turn=False
) -> Store:
    """The samples of a store on another axis, another pixel grid, or after a preparation of its own."""
    axis = store.wavenumbers_cm1 if axis is None else axis
    writer = StoreWriter(
        path, channels=axis.size, wavenumbers_cm1=axis, pixel_size_um=pixel_size_um or store.pixel_size_um,
        background="zero", created_by="a test", preparation=None if prepare is None else prepare.to_json(),
    )  # fmt: skip
    with writer:
        for sample in store.samples:
            absorbance, tissue = store.read(sample.id), store.tissue(sample.id)
            if prepare is not None:
                image = prepare(Image.of(absorbance, store.wavenumbers_cm1, tissue))
                absorbance, tissue = image.absorbance, image.mask
            absorbance = np.ascontiguousarray(absorbance[..., ::-1]) if turn else absorbance
            writer.add(sample, absorbance, tissue, store.reference(sample.id))
    return Store.open(path)


def test_external_validation_does_what_predict_does_and_says_what_was_adapted(store, tmp_path):
    """A model of a prepared store on one with a reversed axis, another pixel grid, and no preparation of its own."""
    steps = fit_input_preparation(PreparedStore(store), store.split("train"), ["emsc"])
    prepared = written_store(store, tmp_path / "prepared", prepare=steps)
    write_untrained("default", prepared, prepared.split("train"), tmp_path / "model")
    own = scored_maps(EvaluateOptions(tmp_path / "model", prepared.path, tmp_path / "r"))
    foreign = written_store(
        store, tmp_path / "foreign", axis=store.wavenumbers_cm1[::-1].copy(), pixel_size_um=50.0, turn=True
    )
    report = tmp_path / "report"
    found = scored_maps(EvaluateOptions(tmp_path / "model", foreign.path, report))
    for name, expected in own.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    words = [
        "evaluate",
        "--model",
        str(tmp_path / "model"),
        "--data",
        str(foreign.path),
        "--out",
        str(report),
    ]
    assert main([*words, "--importance", "no", "--bootstrap", "10"]) == 0
    notes = " ".join(json.loads((report / "metrics.json").read_text())["notes"])
    for said in (
        "prepared by the model, as its training store was: emsc",
        "channels reversed",
        "measures 50 µm",
    ):
        assert said in notes
        assert said in (report / "report.html").read_text()


def test_the_spread_of_one_network_is_none_and_cubes_of_a_store_carry_their_steps(model, store, tmp_path):
    steps = fit_input_preparation(PreparedStore(store), store.split("train"), ["emsc"])
    prepared = written_store(store, tmp_path / "prepared", prepare=steps)
    sample = store.split("test")[0].id
    cube = prepared.cube(sample)
    assert [each["step"] for each in cube.steps] == ["emsc"]
    prediction = model.predict(cube, tissue=prepared.tissue(sample))
    assert prediction.spread is None
    np.testing.assert_array_equal(
        prediction.activation, model(store.cube(sample), tissue=store.tissue(sample))
    )
    assert isinstance(cube, Cube)
