"""Ensembles: folds that do not leak, members equal to networks trained alone, resuming, maps and their report."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from compseg_jax import load_model
from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Ensemble, Network, Training, from_json, to_json
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model import Model, ModelError
from compseg_jax.model.model_files import is_ensemble_run, load_network
from compseg_jax.runtime import data_mesh
from compseg_jax.runtime.interrupts import Interrupted, StopRequest
from compseg_jax.store.folds import as_configured, fold_of_samples, holding_out
from compseg_jax.store.read import Store
from compseg_jax.training import ensemble, loop, side_by_side
from compseg_jax.training.checkpoint import Checkpoints
from compseg_jax.training.ensemble import member_runs, train_ensemble
from compseg_jax.training.loop import Run
from compseg_jax.training.programs import Programs
from compseg_jax.training.progress import Progress
from compseg_jax.training.run import RunError, set_up, train
from compseg_jax.training.side_by_side import Member, how_many_fit, members_that_fit, train_side_by_side

CHANNELS = 8
MESH = data_mesh(2)


@pytest.fixture(scope="module", autouse=True)
def on_one_device():
    """Fewer fake devices than other tests use: programs of many networks compile faster."""
    mesh = data_mesh
    with pytest.MonkeyPatch.context() as patch:
        for module in ("run", "ensemble"):
            patch.setattr(f"compseg_jax.training.{module}.data_mesh", lambda: mesh(1))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=16, channels=CHANNELS, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=8, val=4, test=4, phantom=config))
    return path


def small(store: Path, out: Path, ensemble: Ensemble | None = None, **changes) -> Training:
    ensemble = ensemble or Ensemble(folds=2, seeds=2)
    values = {"epochs": 2, "batch_size": 4, "self_check": False, "ensemble": ensemble, **changes}
    network = Network(base=4, depth=0, head_bias=-1.0, convolution="plain")
    return dataclasses.replace(RECIPES["default"], data=store, out=out, network=network, **values)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory) -> Path:
    """Two folds, two seeds, all four networks side by side."""
    return train_ensemble(small(store, tmp_path_factory.mktemp("run") / "e", Ensemble(2, 2, side_by_side=4)))


def losses(run: Path) -> np.ndarray:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return np.array([[record["loss"], record["val_loss"]] for record in records])


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


def hashes(run: Path) -> list[str]:
    return [entry["weights_sha256"] for entry in json.loads((run / "ensemble.json").read_text())["members"]]


def test_no_group_is_on_both_sides_of_a_fold_and_the_test_split_is_left_alone(store):
    opened = Store.open(store)
    patients = tuple(
        dataclasses.replace(s, group=f"{s.split == 'test'}{index // 2}")
        for index, s in enumerate(opened.samples)
    )
    opened = dataclasses.replace(opened, samples=patients)
    fold_of = fold_of_samples(opened, Ensemble(folds=3))
    held_out: list[str] = []
    for fold in range(3):
        own = holding_out(opened, fold_of, fold)
        assert not {s.group for s in own.split("train")} & {s.group for s in own.split("val")}
        assert {s.label for s in own.split("val")} == {0, 1}
        assert own.split("test") == opened.split("test")
        held_out += [s.id for s in own.split("val")]
    assert sorted(held_out) == sorted(s.id for s in opened.samples if s.split != "test")
    assert fold_of_samples(opened, Ensemble(seeds=2)) == {s.id: 0 for s in opened.split("val")}


def test_networks_side_by_side_are_those_trained_alone(trained, store, tmp_path):
    for member in (member_runs(small(store, trained))[i] for i in (0, 3)):
        alone = dataclasses.replace(member.config, out=tmp_path / member.name)
        train(alone)
        np.testing.assert_allclose(losses(alone.out), losses(member.config.out), rtol=1e-5)
        a, b = load_network(alone.out / "model"), load_network(member.model)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), a.variables, b.variables
        )
        np.testing.assert_array_equal(a.scaling.mean, b.scaling.mean)
        assert a.threshold == pytest.approx(b.threshold, abs=1e-3)


@pytest.mark.slow
def test_side_by_side_in_one_dispatch_is_the_same(store, tmp_path):
    config = small(store, tmp_path, epochs=1, microbatch=2)
    setups = [set_up(member.config) for member in member_runs(config)[1:3]]
    expected = []
    for on_device in (False, True):
        members = []
        for setup in setups:
            own = dataclasses.replace(setup.config, out=tmp_path / f"{on_device}" / setup.config.out.name)
            own.out.mkdir(parents=True)
            validation = setup.run.val_samples
            shapes = setup.training.shapes, validation.shapes
            programs = Programs.of(own, *shapes, MESH, on_device=on_device)
            run = Run.prepare(own, setup.training, validation, programs)
            state = jax.tree.map(lambda leaf: leaf.copy(), setup.state)
            members.append(Member(run, state, Progress([]), Checkpoints(own.out / "checkpoints"), own.out))
        train_side_by_side(members, MESH)
        for member in members:
            with member.checkpoints:
                pass
        expected.append(np.stack([losses(member.folder) for member in members]))
    np.testing.assert_allclose(expected[0], expected[1], rtol=1e-5)
    assert not np.allclose(expected[0][0], expected[0][1])


def test_scaling_comes_from_a_members_own_training_samples(trained, store):
    opened = Store.open(store)
    for member in member_runs(small(store, trained)):
        own = as_configured(opened, member.config.ensemble).split("train")
        values = np.concatenate([opened.read(s.id)[opened.tissue(s.id)] for s in own])
        scaling = load_network(member.model).scaling
        np.testing.assert_allclose(scaling.mean, values.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_the_map_is_mean_and_spread_of_the_members(trained, store):
    loaded, opened = load_model(trained), Store.open(store)
    cube = opened.read(opened.samples[1].id)
    maps = np.stack([Model.of(network)(cube, prepared=True) for network in loaded.networks])
    result = loaded.predict(cube, prepared=True)
    assert len(loaded.networks) == 4
    np.testing.assert_array_equal(result.activations, maps)
    np.testing.assert_allclose(result.activation, maps.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(result.spread, maps.std(axis=0))
    assert 0 < float(result.spread.max()) <= 0.5
    for same in (
        jax.jit(partial(loaded, prepared=True))(cube),
        loaded(np.stack([cube, cube]), prepared=True)[1],
    ):
        np.testing.assert_allclose(same, result.activation, atol=1e-5)
    ((_, _, predicted),) = loaded.predict_store(opened, opened.samples[1:2])
    np.testing.assert_array_equal(predicted.activation, result.activation)
    with pytest.raises(ModelError, match=r"required is \(y, x, 8\)"):
        loaded(cube[..., :5], prepared=True)


@pytest.mark.slow
def test_members_prepare_cubes_each_as_its_own_training_samples_were(store, tmp_path):
    config = small(store, tmp_path / "e", Ensemble(folds=2), epochs=1, prepare=("emsc",))
    loaded, opened = load_model(train_ensemble(config)), Store.open(store)
    fitted = [network.description["preparation"] for network in loaded.networks]
    assert fitted[0] != fitted[1]
    ((_, cube, predicted),) = loaded.predict_store(opened, opened.samples[1:2])
    tissue, axis = opened.tissue(opened.samples[1].id), opened.wavenumbers_cm1
    assert_equal = np.testing.assert_array_equal
    assert_equal(loaded(cube.absorbance, tissue=tissue, wavenumbers_cm1=axis), predicted.activation)
    batch = loaded(cube.absorbance[None], tissue=tissue[None], wavenumbers_cm1=axis)
    assert_equal(batch[0], predicted.activation)
    assert predicted.spread.max() > 0
    with pytest.raises(ModelError, match="prepared differently"):
        loaded(cube.absorbance, prepared=True)


def stopping_after(looks: int):
    """Stands for Ctrl-C that comes when the loop has asked so often."""

    @dataclasses.dataclass
    class Counting(StopRequest):
        left: int = looks

        @property
        def requested(self):
            self.left -= 1
            return self.left < 0

        @requested.setter
        def requested(self, value):
            pass

    @contextmanager
    def requests():
        yield counter

    counter = Counting()
    return requests


@pytest.mark.parametrize(("at_once", "looks"), [(1, 14), pytest.param(2, 5, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_where_it_stood(trained, store, tmp_path, at_once, looks):
    options = Ensemble(2, 2, side_by_side=at_once)
    config = small(store, tmp_path / "stopped", options)
    with pytest.MonkeyPatch.context() as patch:
        requests = stopping_after(looks)
        for module in (loop, side_by_side, ensemble):
            patch.setattr(module, "stop_requests", requests)
        with pytest.raises(Interrupted, match=r"of 4 networks are trained.*--resume --out"):
            train_ensemble(config)
    assert is_ensemble_run(config.out)
    finished = [m for m in member_runs(config) if m.is_finished()]
    begun = [m for m in member_runs(config) if (m.config.out / "checkpoints").is_dir()]
    assert len(finished) == (1 if at_once == 1 else 0)
    assert len(begun) == 2
    before = {m.name: (m.model / "model.json").stat().st_mtime_ns for m in finished}
    train_ensemble(dataclasses.replace(config, resume=True))
    assert before == {m.name: (m.model / "model.json").stat().st_mtime_ns for m in finished}
    for member in member_runs(config):
        other = trained / "members" / member.name
        np.testing.assert_allclose(losses(member.config.out), losses(other), rtol=1e-5)


@pytest.mark.slow
def test_more_seeds_are_added_to_what_is_there(trained, store, tmp_path):
    copy = tmp_path / "e"
    shutil.copytree(trained, copy)
    config = small(store, copy, Ensemble(2, 3), resume=True)
    train_ensemble(config)
    entries = json.loads((copy / "ensemble.json").read_text())["members"]
    assert [(e["fold"], e["seed"]) for e in entries] == [(f, s) for f in (0, 1) for s in (0, 1, 2)]
    kept = [e["weights_sha256"] for e in entries if e["seed"] < 2]
    assert kept == hashes(trained)


def test_a_run_goes_on_with_its_own_options_alone(trained, store, tmp_path):
    copy = tmp_path / "e"
    shutil.copytree(trained, copy)
    with pytest.raises(RunError, match="holds a run already"):
        train_ensemble(small(store, copy))
    with pytest.raises(RunError, match="holds an ensemble"):
        train(small(store, copy, Ensemble()))
    with pytest.raises(RunError, match="no ensemble to resume"):
        train_ensemble(small(store, tmp_path / "none", resume=True))
    with pytest.raises(RunError, match=r"other options \(ensemble.folds 2 → 3\)"):
        train_ensemble(small(store, copy, Ensemble(3, 2), resume=True))
    with pytest.raises(RunError, match="train_ensemble"):
        train(small(store, tmp_path / "none"))
    folds = copy / "folds.csv"
    folds.write_text(folds.read_text().replace(",1,", ",0,", 1))
    with pytest.raises(RunError, match="does not hold the samples"):
        train_ensemble(small(store, copy, resume=True))
    assert not (tmp_path / "none").exists()


def test_a_damaged_ensemble_is_refused(trained, tmp_path):
    with pytest.raises(ModelError, match=r"no model\.json"):
        load_model(tmp_path)
    shutil.copytree(trained, tmp_path / "e")
    path = tmp_path / "e" / "ensemble.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "threshold": values["threshold"] / 2}))
    with pytest.raises(ModelError, match="edited or damaged"):
        load_model(tmp_path / "e")
    del values["description_sha256"]
    for change, message in (
        ({"threshold": 2}, r"threshold = 2: must be"),
        ({"version": 2}, "version 1 to 1"),
        ({"members": []}, "members missing"),
        ({"members": [{**values["members"][0], "weights_sha256": "0" * 64}]}, "lists 000000000000"),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "e")
    path.write_text("{")
    with pytest.raises(ModelError, match="found a damaged file"):
        load_model(tmp_path / "e")


@pytest.mark.slow
def test_the_report_tells_spread_agreement_and_cross_validation(trained, store, tmp_path, capsys):
    report = tmp_path / "report"
    arguments = ["evaluate", "--model", str(trained), "--data", str(store), "--out", str(report)]
    assert main(arguments) == 0
    assert "out of fold: AUC" in capsys.readouterr().out
    metrics = json.loads((report / "metrics.json").read_text())
    listed = json.loads((trained / "ensemble.json").read_text())
    assert metrics["cross_validation"] == listed["cross_validation"]
    assert metrics["cross_validation"]["n_diseased"] + metrics["cross_validation"]["n_healthy"] == 12
    assert metrics["threshold"] == listed["threshold"]
    assert metrics["ensemble"]["n_members"] == 4
    rows = rows_of(report / "samples.csv")
    assert all(float(row["area_spread"]) >= 0 and 0.5 <= float(row["label_agreement"]) <= 1 for row in rows)
    loaded, opened = load_model(trained), Store.open(store)
    spread = loaded.predict(opened.cube(rows[1]["id"]), tissue=opened.tissue(rows[1]["id"])).spread
    picture = np.asarray(Image.open(report / "spread" / f"{rows[1]['id']}.png"))
    np.testing.assert_allclose(picture / 510, spread, atol=0.6 / 510)
    page = (report / "report.html").read_text()
    assert 'id="view-spread"' in page
    assert 'id="cross-validation"' in page
    out_of_fold = rows_of(trained / "out_of_fold.csv")
    assert {row["fold"] for row in out_of_fold} == {"0", "1"}
    assert len(out_of_fold) == 12
    assert main([*arguments, "--threshold", "0.2", "--split", "val"]) == 0
    assert all(row["label_agreement"] == "" for row in rows_of(report / "samples.csv"))
    assert "may have trained on" in (report / "report.html").read_text()


def test_out_of_fold_maps_come_from_networks_that_did_not_see_the_sample(trained, store):
    row = rows_of(trained / "out_of_fold.csv")[0]
    opened = Store.open(store)
    models = [load_network(m.model) for m in member_runs(small(store, trained)) if m.fold == int(row["fold"])]
    for model in models:
        kept = as_configured(opened, from_json(Training, model.description["config"]).ensemble)
        assert row["id"] in {sample.id for sample in kept.split("val")}
    cube, tissue = opened.cube(row["id"]), opened.tissue(row["id"])
    mean = np.mean([Model.of(model)(cube, tissue=tissue)[tissue].mean() for model in models])
    assert float(row["mean_activation"]) == pytest.approx(mean, abs=1e-5)


@pytest.mark.slow
def test_the_command_trains_and_one_fold_alone_is_its_member(trained, store, tmp_path, capsys):
    alone = tmp_path / "alone"
    recipe = tmp_path / "my.toml"
    recipe.write_text('[network]\nhead_bias = -1.0\nconvolution = "plain"\n[ensemble]\nfolds = 2\nfold = 1\n')
    arguments = ["train", "--data", str(store), "--out", str(alone), "--recipe", str(recipe)]
    arguments += ["--base", "4", "--depth", "0", "--epochs", "2", "--batch-size", "4"]
    assert main([*arguments, "--seed", "1"]) == 0
    np.testing.assert_allclose(losses(alone), losses(trained / "members" / "fold1-seed1"), rtol=1e-5)
    assert main([*arguments, "--folds", "9"]) == 1
    error = capsys.readouterr().err
    assert "Choose fewer --folds" in error


def test_configurations_survive_json_and_nonsense_is_refused():
    config = dataclasses.replace(RECIPES["default"], ensemble=Ensemble(5, 3, side_by_side=2))
    assert from_json(Training, to_json(config)) == config
    assert (config.ensemble.n_members, Ensemble(5, fold=2).n_members) == (15, 1)
    for values, message in (
        ({"folds": 0}, "at least 1"), ({"folds": 2, "fold": 2}, r"0 … 1"),
        ({"folds": 2, "fold": 1, "seeds": 2}, "one network"), ({"side_by_side": 0}, "'auto'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Ensemble(**values)


def test_networks_at_once_are_bounded_by_memory_and_one_on_cpus(store, tmp_path):
    assert [how_many_fit(10e9, each, 15) for each in (1e6, 3e9, 2e10)] == [15, 3, 1]
    setup = set_up(member_runs(small(store, tmp_path))[0].config)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        member = Member(setup.run, setup.state, Progress([]), checkpoints, tmp_path)
        assert members_that_fit(member, 15) == 1
