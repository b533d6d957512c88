"""`compseg predict`: every kind of input, going on after a kill, and what is reported."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import instrument_files as files
import numpy as np
import pytest
import science_files
from PIL import Image

from compseg_jax.cli import main as cli
from compseg_jax.config import Network
from compseg_jax.model import Model, ModelError, load_model
from compseg_jax.model.diseased_area import AreaRule
from compseg_jax.model.model_files import load_network
from compseg_jax.networks.build import build_network
from compseg_jax.networks.receptive_field import receptive_field
from compseg_jax.prediction import claims
from compseg_jax.prediction.formats import open_maps, open_overview, read_predictions
from compseg_jax.prediction.inputs import InputError, find_tasks
from compseg_jax.prediction.measures import measured
from compseg_jax.prediction.predict import Listener, predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import FolderError
from compseg_jax.prediction.tiles.plan import TilePlan
from compseg_jax.prediction.working import Finished, WorkingMaps
from compseg_jax.runtime.interrupts import Interrupted
from tests.model_example import write_model
from tests.store_example import CHANNELS, WAVENUMBERS_CM1, write_store

KEYS = {
    "id", "source", "store_id", "status", "error", "height_px", "width_px", "pixel_size_um", "channels", "score",
    "area_fraction", "area_low", "area_high", "tissue_px", "label", "dice", "seconds", "reading", "files",
    "outside", "t2", "q", "texture", "outside_fraction", "call", "seen",
    "scale", "rescaled", "chance", "left_out_px", "left_out_why", "core", "top_px", "left_px", "files_sha256",
    "images_sha256",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "data")


def envi(path, cube, axis):
    """An ENVI cube, pixel after pixel, in two files."""
    height, width, channels = cube.shape
    cube.astype("<f4").tofile(path.with_suffix(".img"))
    listed = ", ".join(map(str, axis))
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {channels}\ndata type = 4\ninterleave = bip\n"
        f"byte order = 0\nwavelength units = Wavenumber\nwavelength = {{{listed}}}\npixel size = {{2e-6, 2e-6}}\n"
    )


def cube_of(height, width, seed=0):
    cube = np.random.default_rng(seed).normal(5.0, 2.0, (height, width, CHANNELS)).astype(np.float32)
    cube[: height // 3, : width // 3] = 0
    return cube


def index_of(out):
    return json.loads((out / "predictions.json").read_text(encoding="utf-8"))


# --- stores


def test_a_store_is_predicted_as_by_evaluation(model, store, tmp_path, capsys):
    out = tmp_path / "out"
    words = [
        str(store.path),
        "--model",
        str(model),
        "--out",
        str(out),
        "--outputs",
        "zarr",
        "png",
        "geojson",
        "tiff",
    ]
    assert cli.main(["predict", *words, "--split", "test"]) == 0
    printed = capsys.readouterr()
    assert "samples: 6 predicted" in printed.out
    assert printed.out.count("of the tissue segmented, score 0.") == 6
    index = index_of(out)
    assert (index["format"], index["version"], index["threshold"]) == ("compseg-predictions", 1, 0.45)
    assert index["model"]["weights_sha256"] == load_model(model).description["weights_sha256"]
    expected = {
        sample.id: (sample, found)
        for sample, _, found in load_model(model).predict_store(store, store.split("test"))
    }
    assert [entry["id"] for entry in index["samples"]] == sorted(expected)
    for entry in index["samples"]:
        sample, found = expected[entry["id"]]
        values = found.activation[found.tissue]
        segmented = found.tissue & (found.activation > 0.45)
        assert set(entry) == KEYS
        assert (entry["status"], entry["store_id"], entry["label"]) == (
            "done",
            entry["id"],
            sample.label,
        )
        assert (entry["height_px"], entry["width_px"]) == found.tissue.shape
        assert entry["score"] == pytest.approx(values.mean(), abs=1e-5)
        assert entry["area_fraction"] == pytest.approx(segmented.sum() / values.size)
        assert entry["area_low"] is entry["area_high"] is None  # a threshold of unknown origin
        if sample.has_reference:
            truth = store.reference(entry["id"])
            dice = 2 * (segmented & truth).sum() / (segmented.sum() + truth.sum())
            assert entry["dice"] == pytest.approx(dice)
        else:
            assert entry["dice"] is None
        maps = open_maps(out / entry["files"]["activation_zarr"])
        np.testing.assert_allclose(np.asarray(maps.activation[0][:]), found.activation, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(maps.tissue[0][:]), found.tissue)
        np.testing.assert_array_equal(np.asarray(maps.segmentation[0][:]), segmented)
        picture = np.asarray(Image.open(out / entry["files"]["activation_png"]))
        np.testing.assert_allclose(picture, np.rint(found.activation * 255), atol=1)
        assert all((out / file).exists() for file in entry["files"].values())
        assert len(entry["files"]) == 6
    rows = list(csv.DictReader((out / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == sorted(expected)
    assert float(rows[0]["score"]) == index["samples"][0]["score"]
    assert not list(out.glob("samples/.*"))


@pytest.mark.slow
def test_nothing_is_redone_and_other_options_are_refused(model, store, tmp_path):
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",))
    assert len(predict(options).done) == len(store.samples)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "samples").rglob("*")}
    again = predict(options)
    assert (again.done, again.before) == ([], len(store.samples))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "samples").rglob("*")}
    for changed, words in (
        ({"threshold": 0.3}, r"threshold 0.45 → 0.3"),
        ({"average_over": "flips"}, "average-over"),
    ):
        with pytest.raises(FolderError, match=words):
            predict(replace(options, **changed))
    with pytest.raises(FolderError, match="begun with another model"):
        predict(replace(options, model=write_model(tmp_path / "other", seed=1)))
    with pytest.raises(FolderError, match="holds no predictions"):
        predict(replace(options, out=store.path))


def test_an_ensemble_gives_its_mean(store, tmp_path):
    run = tmp_path / "run"
    models = [
        load_network(write_model(run / "members" / f"m{seed}" / "model", seed=seed)) for seed in range(2)
    ]
    members = [
        {"model": f"members/m{seed}/model", "weights_sha256": each.description["weights_sha256"]}
        for seed, each in enumerate(models)
    ]
    values = {
        "format": "compseg-ensemble",
        "version": 1,
        "threshold": 0.4,
        "area_cut": 0.1,
        "prepared_steps": 0,
    }
    (run / "ensemble.json").write_text(json.dumps({**values, "members": members}))
    predict(PredictOptions((store.path,), run, tmp_path / "out", outputs=("zarr",), split="val"))
    assert index_of(tmp_path / "out")["threshold"] == 0.4
    for sample in store.split("val"):
        cube, tissue = store.read(sample.id), store.tissue(sample.id)
        mean = np.mean([Model.of(each)(cube, tissue=tissue, prepared=True) for each in models], axis=0)
        maps = open_maps(tmp_path / "out" / "samples" / sample.id / "activation.ome.zarr")
        np.testing.assert_allclose(np.asarray(maps.activation[0][:]), mean, atol=1e-5)


# --- files and folders


@pytest.fixture
def folder(tmp_path):
    """Two images that fit, one that does not, one that cannot be read, and files that are none."""
    place = tmp_path / "scans"
    (place / "deeper").mkdir(parents=True)
    envi(place / "one", cube_of(20, 31), WAVENUMBERS_CM1)
    np.savez(place / "deeper" / "two.npz", absorbance=cube_of(9, 12), wavenumbers_cm1=WAVENUMBERS_CM1)
    np.savez(place / "narrow.npz", absorbance=cube_of(9, 12), wavenumbers_cm1=[1700.0, 1650.0, 1300.0])
    (place / "torn.npz").write_bytes(b"PK\x03\x04 no archive")
    (place / "labels.csv").write_text("id,label\none,1\n")
    (place / "notes.docx").write_bytes(b"PK\x03\x04 no archive")
    return place


def test_a_folder_of_files_and_what_fails_in_it(model, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["predict", str(folder), "--model", str(model), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    by_id = {entry["id"]: entry for entry in index_of(out)["samples"]}
    assert {name: entry["status"] for name, entry in by_id.items()} == {
        "one": "done", "two": "done", "narrow": "failed", "torn": "failed",
    }  # fmt: skip
    assert by_id["one"]["pixel_size_um"] == 2.0
    assert by_id["one"]["label"] is by_id["one"]["dice"] is None
    assert (
        "cover 1700 … 1300 cm⁻¹ in 3 points, the model was trained on 1700.25 … 1100.5"
        in by_id["narrow"]["error"]
    )
    assert "failed: narrow" in printed.err
    assert "failed: torn" in printed.err
    assert "2 predicted, 2 failed, 2 other files passed over (" in printed.out
    overview = open_overview(out / by_id["one"]["files"]["overview_zarr"])
    np.testing.assert_allclose(np.asarray(overview.bands[:]), cube_of(20, 31).transpose(2, 0, 1))
    expected = load_model(model)(cube_of(20, 31), wavenumbers_cm1=WAVENUMBERS_CM1)
    maps = open_maps(out / "samples" / "one" / "activation.ome.zarr")
    np.testing.assert_allclose(np.asarray(maps.activation[0][:]), np.asarray(expected), atol=1e-5)
    # Mended, only the failed one is done.
    np.savez(folder / "narrow.npz", absorbance=cube_of(9, 12), wavenumbers_cm1=WAVENUMBERS_CM1)
    (folder / "torn.npz").unlink()
    report = predict(PredictOptions((folder,), model, out))
    assert ([sample.id for sample in report.done], report.before, report.failed) == (["narrow"], 2, [])


def test_inputs_that_are_not_there(model, store, tmp_path):
    (tmp_path / "empty").mkdir()
    options = PredictOptions((tmp_path / "gone",), model, tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        predict(options)
    with pytest.raises(InputError, match="no image of a readable format"):
        predict(replace(options, inputs=(tmp_path / "empty",)))
    with pytest.raises(InputError, match="no samples in the split 'tset', only in test, train, val"):
        predict(replace(options, inputs=(store.path,), split="tset"))
    with pytest.raises(ModelError, match=r"no model\.json found"):
        predict(replace(options, inputs=(store.path,), model=tmp_path / "gone"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no input"):
        PredictOptions(())


def test_files_of_one_image_are_one_sample_and_spectra_are_none(tmp_path):
    """What another file stands for is passed over, and so is a file that holds no image; a compressed volume is named
    without both of its suffixes."""
    values = np.ones((3, 4, 5), np.float32)
    header = files.envi(tmp_path, values, np.linspace(1800, 1000, 5))
    science_files.imzml(tmp_path, values, 100.0 + np.arange(5))
    (tmp_path / "spectra.csv").write_text("1000,1\n1010,2\n1020,3\n", encoding="utf-8")
    (tmp_path / "peak.jdx").write_text("##TITLE= x\n##JCAMP-DX= 4.24\n##END=\n", encoding="utf-8")
    (tmp_path / "brain.nii.gz").write_bytes(gzip.compress(b"\x5c\x01\0\0" + bytes(348)))
    found = find_tasks((tmp_path,))
    assert sorted(task.id for task in found.tasks) == sorted(["brain", "image", header.stem])
    assert sorted(path.name for path in found.left_out) == ["peak.jdx", "spectra.csv"]


def test_equal_names_carry_those_of_their_folders(tmp_path):
    for name in ("a/scan.npy", "b/scan.npy", "b/other.npy", "scan.npz", ".hidden/scan.npy"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        (np.save if path.suffix == ".npy" else np.savez)(path, np.zeros((3, 4, CHANNELS), np.float32))
    found = find_tasks([tmp_path, tmp_path / "a" / "scan.npy"])
    assert sorted(task.id for task in found.tasks) == ["a_scan", "b_scan", "other", f"{tmp_path.name}_scan"]


def test_a_name_is_not_given_to_another_file(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "x.npz", absorbance=cube_of(8, 9), wavenumbers_cm1=WAVENUMBERS_CM1)
    options = PredictOptions((tmp_path / "a" / "x.npz",), model, tmp_path / "out", outputs=("png",))
    predict(options)
    with pytest.raises(InputError, match=r"holds 'x' of .*a/x\.npz, which is not .*b/x\.npz"):
        predict(replace(options, inputs=(tmp_path / "b" / "x.npz",)))


def test_an_axis_given_for_plain_arrays(model, tmp_path):
    np.save(tmp_path / "plain.npy", cube_of(10, 11))
    np.savetxt(tmp_path / "axis.txt", WAVENUMBERS_CM1)
    options = PredictOptions((tmp_path / "plain.npy",), model, tmp_path / "out", outputs=("png",))
    assert "only the model states wavenumbers" in predict(options).failed[0].error
    given = replace(options, axis=tmp_path / "axis.txt", out=tmp_path / "given")
    assert predict(given).done[0].tissue_px == cube_of(10, 11).any(axis=-1).sum()


# --- stopped, killed


class Counting(Listener):
    """Pixels found done and pixels computed, sample by sample."""

    def __init__(self, after=None):
        self.already, self.computed, self.after, self.remarks = 0, 0, after, []

    def remarked(self, sample_id, remark):
        self.remarks.append(remark)

    def begun(self, sample_id, pixels, done):
        self.already += done

    def advanced(self, pixels):
        self.computed += pixels
        if self.after is not None:
            os.kill(os.getpid(), signal.SIGINT)
            self.after = None


def slide_options(model, tmp_path, out="out", size=(150, 131)) -> PredictOptions:
    path = tmp_path / "slide.npz"
    if not path.exists():
        np.savez(path, absorbance=cube_of(*size), wavenumbers_cm1=WAVENUMBERS_CM1)
    return PredictOptions((path,), model, tmp_path / out, outputs=("zarr",), tile_px=24)


def map_of(out):
    return np.asarray(open_maps(out / "samples" / "slide" / "activation.ome.zarr").activation[0][:])


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_next_tile(model, tmp_path):
    options = slide_options(model, tmp_path)
    with pytest.raises(Interrupted, match=r"0 of 1 samples are finished, and the tiles .* are kept"):
        predict(options, Counting(after=1))
    assert not (options.out / "samples" / "slide").exists()
    assert index_of(options.out)["samples"] == []
    second = Counting()
    predict(options, second)
    assert 0 < second.already < 150 * 131
    assert second.already + second.computed == 150 * 131
    whole = replace(options, out=tmp_path / "whole", tile_px=None)
    predict(whole)
    np.testing.assert_allclose(map_of(options.out), map_of(whole.out), atol=1e-5)


def test_a_killed_run_goes_on_where_it_was(model, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "STALE_S", 0.5)
    options = slide_options(model, tmp_path, size=(230, 221))
    words = [str(options.inputs[0]), "--model", str(model), "--out", str(options.out), "--tile-px", "24"]
    process = subprocess.Popen(
        [sys.executable, "-m", "compseg_jax.cli", "predict", *words, "--outputs", "zarr"],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
    )
    journal = options.out / "samples" / ".slide.partial" / "journal.txt"
    while process.poll() is None and not (journal.exists() and journal.read_text().count("\n") > 20):
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = journal.read_text().count("\n") - 1
    assert kept >= 20
    assert list(journal.parent.parent.glob(".slide.claim.0"))
    resumed = Counting()
    predict(options, resumed)
    assert resumed.already >= 20 * 8 * 8
    assert resumed.already + resumed.computed == 230 * 221
    assert sorted(os.listdir(options.out / "samples")) == ["slide"]
    assert not list(options.out.rglob("*lock*")), "TensorStore's own half-written files"
    model_ = load_model(model)
    np.testing.assert_allclose(map_of(options.out), model_(cube_of(230, 221), prepared=True), atol=1e-5)


def test_a_torn_journal_counts_whole_lines_of_the_same_purpose(tmp_path):
    plan = TilePlan((40, 50), (24, 24), receptive_field(build_network(Network(depth=1))))
    with WorkingMaps.begun(tmp_path / "w", plan, {"model": "a"}) as maps:
        for tile in plan.tiles[:3]:
            height, width = tile.y.last - tile.y.first, tile.x.last - tile.x.first
            maps.write(
                tile, np.full((height, width), tile.number / 4, np.float32), np.ones((height, width), bool)
            )
    with (tmp_path / "w" / "journal.txt").open("a") as file:
        file.write("1")
    assert WorkingMaps.continued(tmp_path / "w", (40, 50), {"model": "a"}) == (
        (24, 24),
        {0: ((), {}), 1: ((), {}), 2: ((), {})},
    )
    assert WorkingMaps.continued(tmp_path / "w", (40, 50), {"model": "b"}) is None
    assert WorkingMaps.continued(tmp_path / "w", (50, 40), {"model": "a"}) is None
    with WorkingMaps(tmp_path / "w", plan, dict.fromkeys(range(3), Finished((), {}))) as maps:
        first, second = plan.tiles[:2]
        np.testing.assert_array_equal(maps.activation()[first.y.core, first.x.core], 0)
        np.testing.assert_array_equal(maps.activation(second.y.core, second.x.core), 0.25)
        assert maps.tissue().sum() == sum(tile.core_px for tile in plan.tiles[:3])
    (tmp_path / "w" / "finished").mkdir()  # killed between the last two renames
    (tmp_path / "w" / "activation.ome.zarr").rename(tmp_path / "w" / "finished" / "activation.ome.zarr")
    assert WorkingMaps.continued(tmp_path / "w", (40, 50), {"model": "a"}) == (
        (24, 24),
        {0: ((), {}), 1: ((), {}), 2: ((), {})},
    )
    shutil.rmtree(tmp_path / "w" / "activation.ome.zarr")
    assert WorkingMaps.continued(tmp_path / "w", (40, 50), {"model": "a"}) is None


def test_maps_that_were_gone_on_with_are_those_of_an_uninterrupted_run_byte_for_byte(tmp_path):
    shape = (530, 620)  # four chunks, and tiles across their edges
    rng = np.random.default_rng(0)
    activation, tissue = rng.random(shape, np.float32), rng.random(shape) < 0.7
    plan = TilePlan(shape, (200, 200), receptive_field(build_network(Network(depth=1))))

    def put(maps, tiles):
        for tile in tiles:
            core = tile.y.core, tile.x.core
            maps.write(tile, activation[core], tissue[core])

    def files(maps):
        image = maps.finished(0.4, 5.5).path
        return {path.relative_to(image): path.read_bytes() for path in image.rglob("*") if path.is_file()}

    with WorkingMaps.begun(tmp_path / "whole", plan, {}) as maps:
        put(maps, plan.tiles)
        whole = files(maps)
    with WorkingMaps.begun(tmp_path / "killed", plan, {}) as maps:
        put(maps, plan.tiles[:7])
        torn = plan.tiles[7]
        maps.write(
            torn, np.zeros_like(activation[torn.y.core, torn.x.core]), tissue[torn.y.core, torn.x.core]
        )
    journal = tmp_path / "killed" / "journal.txt"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:8]))
    size_px, done = WorkingMaps.continued(tmp_path / "killed", shape, {})
    assert (size_px, set(done)) == (plan.size_px, set(range(7)))
    with WorkingMaps(tmp_path / "killed", plan, done) as maps:
        put(maps, plan.tiles[:6:-1])
        assert files(maps) == whole
        assert files(maps) == whole, "a process killed while it finishes is gone on with"
    np.testing.assert_array_equal(maps.activation(), activation)
    np.testing.assert_array_equal(maps.tissue(), tissue)


# --- numbers


@pytest.mark.parametrize("block_px", [(3, 11), (512, 512)])
def test_measures_are_those_of_the_whole_map(tmp_path, monkeypatch, block_px):
    monkeypatch.setattr("compseg_jax.prediction.working.BLOCK_PX", block_px)
    rng = np.random.default_rng(0)
    activation = rng.beta(0.5, 2, (30, 37)).astype(np.float32)
    tissue, reference = rng.uniform(size=(2, 30, 37)) < 0.6
    rule = AreaRule(np.sort(rng.uniform(0.05, 0.9, (5, 40)), axis=0)[[1, 0, 3, 2, 0]])
    rule.replicates[0, :3] = activation[tissue][:3]  # a threshold that equals a value does not lie below it
    plan = TilePlan((30, 37), (30, 37))
    with WorkingMaps.begun(tmp_path / "w", plan, {}) as maps:
        maps.write(plan.tiles[0], activation, tissue)
        found = measured(maps, 0.3, rule, reference.__getitem__)
        without = measured(maps, 0.3, AreaRule(None))
    segmented = tissue & (activation > 0.3)
    assert found.score == pytest.approx(activation[tissue].mean(dtype=np.float64))
    assert found.area_fraction == segmented.sum() / tissue.sum()
    assert (found.area_low, found.area_high) == pytest.approx(rule.interval(activation[tissue]))
    assert found.area_low < found.area_high
    assert found.dice == pytest.approx(
        2 * (segmented & reference).sum() / (segmented.sum() + reference.sum())
    )
    assert without.area_low is without.area_high is without.dice is None


def test_intervals_come_from_the_models_own_threshold(store, tmp_path):
    replicates = {"low_threshold": [0.45], "low_healthy_tail": [0.1], "low_diseased_tail": [0.8],
                  "high_threshold": [0.5], "high_healthy_tail": [0.1]}  # fmt: skip
    choice = {"supported": True, "reason": "", "interval": [0.4, 0.5], "replicates": replicates}
    model = write_model(tmp_path / "model", choice=choice)
    options = PredictOptions((store.path,), model, tmp_path / "out", outputs=("png",), split="test")
    for sample in predict(options).done:
        assert 0 <= sample.area_low <= sample.area_high <= 1
    moved = replace(options, out=tmp_path / "moved", threshold=0.2)
    assert all(sample.area_low is None for sample in predict(moved).done)


def test_ordinary_images_and_samples_without_tissue(tmp_path):
    model = write_model(tmp_path / "model", axis=None)
    Image.fromarray(np.zeros((12, 13, 3), np.uint8)).save(tmp_path / "black.png")
    np.save(tmp_path / "wide.npy", np.ones((5, 6, 4), np.float32))
    options = PredictOptions((tmp_path / "black.png", tmp_path / "wide.npy"), model, tmp_path / "out")
    listener = Counting()
    report = predict(options, listener)
    assert not report.done
    black, wide = report.failed
    assert "no pixel is left to predict: all 156 lie outside the tissue" in black.error
    assert (black.left_out_px, black.score) == (0, None)
    assert "found 4 channels; the model needs 3" in wide.error


def test_help_and_wrong_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    text = capsys.readouterr().out
    for word in ("INPUT", "--average-over {none,flips,dihedral}", "--outputs", "the same command goes on"):
        assert word.lower() in text.lower().replace("\n", " ")
    with pytest.raises(SystemExit):
        cli.main(["predict", "x", "--outputs", "gif"])


def test_outlines_of_a_coarse_level_lie_on_the_slide(tmp_path):
    pytest.importorskip("imagecodecs")
    model = write_model(tmp_path / "model", channels=3, axis=None)
    fine = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    path = science_files.pyramid(tmp_path, [fine, fine[::2, ::2]])
    extents = {}
    for level in (0, 1):
        out = tmp_path / f"out{level}"
        # Every pixel is segmented, so that the outline is that of the image.
        predict(PredictOptions((path,), model, out, outputs=("geojson",), threshold=0.0, level=level))
        geojson = json.loads((out / "samples" / "pyramid" / "segmentation.geojson").read_text())
        corners = np.concatenate([np.array(f["geometry"]["coordinates"][0]) for f in geojson["features"]])
        extents[level] = corners.max(axis=0).tolist()
        assert index_of(out)["samples"][0]["height_px"] == 64 // (level + 1)
    assert extents[0] == extents[1] == [96, 64]


# --- job arrays


def test_shards_share_the_samples_and_the_last_one_writes_the_tables(model, store, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    words = ["predict", str(store.path), "--model", str(model), "--outputs", "png", "--out"]
    assert cli.main([*words, str(whole)]) == 0
    ids = [entry["id"] for entry in index_of(whole)["samples"]]
    done = {}
    for number in (2, 1, 3):  # array tasks end in any order
        assert not (out / "predictions.json").exists()
        assert cli.main([*words, str(out), "--shard", f"{number}/3"]) == 0
        printed = capsys.readouterr().out
        done[number] = {path.name for path in (out / "samples").iterdir()} - set().union(*done.values())
        assert ("tables: none yet" in printed) == (number != 3)
    assert [len(done[number]) for number in (1, 2, 3)] == [len(ids[number::3]) for number in range(3)]
    assert set().union(*done.values()) == set(ids)
    assert [entry["id"] for entry in index_of(out)["samples"]] == ids
    for one, other in zip(index_of(whole)["samples"], index_of(out)["samples"], strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k != "seconds"
        }


def test_merging_says_what_is_missing_and_writes_what_is_there(model, store, tmp_path, capsys):
    words = [
        "predict",
        str(store.path),
        "--model",
        str(model),
        "--outputs",
        "png",
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main([*words, "--shard", "1/4"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--merge"]) == 1
    n = len(store.samples)
    own = -(-n // 4)
    assert f"{own} finished before, {n - own} not there yet" in capsys.readouterr().out
    assert len(index_of(tmp_path / "out")["samples"]) == own


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0"])
def test_a_shard_is_a_part_of_a_whole(shard, tmp_path):
    with pytest.raises(ValueError, match=r"I/N is required, I from 1 to N"):
        PredictOptions((tmp_path,), shard=shard)
    with pytest.raises(ValueError, match="leave out --shard"):
        PredictOptions((tmp_path,), shard="1/2", merge=True)


# --- regions for QuPath


def regions_of(out):
    return json.loads((out / "samples" / "slide" / "segmentation.geojson").read_text())["features"]


def test_specks_are_left_out_of_the_outlines_and_kept_in_the_mask(model, tmp_path):
    options = replace(
        slide_options(model, tmp_path), outputs=("zarr", "geojson", "png"), tile_px=None, pixel_size=2.0
    )
    values = np.sort(load_model(model)(cube_of(150, 131), prepared=True).ravel())
    options = replace(options, threshold=float(values[-2000]))  # many small regions
    found = {}
    for name, changes in {
        "usual": {},
        "exact": {"min_area_um2": 0.0},
        "large": {"min_area_um2": 12 * 4.0, "class_name": "Stroma", "fill_holes": True},
    }.items():
        predict(replace(options, out=tmp_path / name, **changes))
        found[name] = regions_of(tmp_path / name)
    areas = {
        name: [
            next(v for k, v in each["properties"]["measurements"].items() if k.startswith("Area"))
            for each in own
        ]
        for name, own in found.items()
    }
    mask = np.asarray(Image.open(tmp_path / "usual" / "samples" / "slide" / "mask.png")) > 0
    unit = 4.0  # µm² in a pixel
    assert sum(areas["exact"]) == pytest.approx(mask.sum() * unit)
    depth = load_model(model).networks[0].network.depth
    assert min(areas["exact"]) < 4**depth * unit <= min(areas["usual"])
    assert len(areas["large"]) < len(areas["usual"]) < len(areas["exact"])
    assert min(areas["large"]) >= 12 * unit
    assert all(len(each["geometry"]["coordinates"]) == 1 for each in found["large"])
    assert {each["properties"]["classification"]["name"] for each in found["large"]} == {"Stroma"}


def test_an_area_needs_a_pixel_size_and_says_so_before_the_work(model, tmp_path, capsys):
    np.save(tmp_path / "slide.npy", cube_of(20, 22))
    axis = tmp_path / "axis.txt"
    axis.write_text("\n".join(map(str, WAVENUMBERS_CM1)))
    words = ["predict", str(tmp_path / "slide.npy"), "--axis", str(axis), "--model", str(model)]
    words += ["--out", str(tmp_path / "out"), "--min-area-um2", "50"]
    assert cli.main(words) == 1
    assert (
        "--min-area-um2 50.0: the image states no pixel size. Give it with --pixel-size"
        in capsys.readouterr().err
    )


def test_a_deep_check_names_what_was_replaced_in_predictions(model, tmp_path, capsys):
    for name in ("a", "b"):
        np.savez(
            tmp_path / f"{name}.npz", absorbance=ramp((9, 12), ord(name)), wavenumbers_cm1=WAVENUMBERS_CM1
        )
    out = tmp_path / "out"
    predict(PredictOptions((tmp_path / "a.npz", tmp_path / "b.npz"), model, out, outputs=("zarr", "png")))
    assert cli.main(["check", str(out), "--deep"]) == 0
    capsys.readouterr()
    one, other = out / "samples" / "a", out / "samples" / "b"
    for file in ("activation.png", "activation.ome.zarr/0/c/0/0", "activation.ome.zarr", "sample.json"):
        swapped(one / file, other / file)
        assert cli.main(["check", str(out), "--deep"]) == 1, file
        said = capsys.readouterr().err
        assert str(one) in said, said
        assert "predict that sample again" in said, said
        swapped(one / file, other / file)
    entry, found = out / "predictions.json", read_predictions(out)
    entry.write_text(entry.read_text().replace(f'"threshold": {found.threshold}', '"threshold": 0.25'))
    assert cli.main(["check", str(out)]) == 1
    assert "The file was edited or damaged: predict again" in capsys.readouterr().err


def swapped(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def ramp(size, seed):
    return np.random.default_rng(seed).normal(5, 2, (*size, CHANNELS)).astype(np.float32)
