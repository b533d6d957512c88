"""Folders of predictions, reports and runs as sources of the viewer; what cannot be shown says why."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import ButtonClick
from bokeh.models import Slider
from predictions_example import OVERVIEW_PX, write_predictions, write_sample, write_slide
from store_example import WAVENUMBERS_CM1, write_store

from compseg_jax.cli.main import main
from compseg_jax.config import Network, Training
from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
from compseg_jax.evaluation.report.report_source import ReportSource, read_source
from compseg_jax.model import ExtractedNetwork
from compseg_jax.model.model_files import save_network
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.runtime.extras import install_line
from compseg_jax.spectra.scaling import Scaling
from compseg_jax.store.read import Store
from compseg_jax.training.loop import write_config
from compseg_jax.viewer.image_figure import ImageFigure
from compseg_jax.viewer.image_layers import Window
from compseg_jax.viewer.library import Latest, Library
from compseg_jax.viewer.opening import open_source
from compseg_jax.viewer.source import ListedSample, ViewError, score_order
from compseg_jax.viewer.viewer_page import Page

THRESHOLD = 0.40625
SHAPE = (12, 20)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A store, a network on it, a run and a report, beside each other."""
    import jax

    folder = tmp_path_factory.mktemp("viewer")
    store = write_store(folder / "data", sizes=(SHAPE, SHAPE, SHAPE))  # one shape: one compilation
    config = Network(base=2, depth=1)
    network = build_network(config, 1)
    variables = init_variables(network, jax.random.key(0), 3)
    model = ExtractedNetwork(
        network, variables, Scaling(np.full(3, 5, np.float32), np.ones(3, np.float32)), store.wavenumbers_cm1,
        THRESHOLD, "zero", {"recipe": "default"},
    )  # fmt: skip
    save_network(folder / "run" / "model", model, config)
    write_config(folder / "run", Training(data=folder / "data", out=folder / "run"))
    options = EvaluateOptions(
        folder / "run" / "model", folder / "data", folder / "report", bootstrap=10, importance="no"
    )
    with pytest.MonkeyPatch.context() as patch:  # its figures take seconds, and are tested with the report
        patch.setattr("compseg_jax.evaluation.report.report_folder.report_page", lambda *_: "<html>")
        evaluate(options)
    return folder


@pytest.fixture(scope="module")
def predictions(place, tmp_path_factory) -> Path:
    """Predictions on a sample of the store, on a file, on a file that is gone, and one that failed."""
    folder = tmp_path_factory.mktemp("predictions")
    store = Store.open(place / "data")
    sample = next(each for each in store.samples if each.has_reference and (each.height, each.width) == SHAPE)
    rng = np.random.default_rng(5)
    activation = rng.random(SHAPE, np.float32)
    tissue = store.tissue(sample.id)
    cube = store.read(sample.id)
    np.savez(folder / "cube.npz", absorbance=cube, wavenumbers_cm1=WAVENUMBERS_CM1)
    shared = {"channels": 3, "threshold": THRESHOLD}
    entries = [
        write_sample(folder, "stored", activation, tissue, source=str(place / "data"), store_id=sample.id,
                     pixel_size_um=5.5, label=1, **shared),
        write_sample(folder, "file", activation * 0.5, tissue, source=str(folder / "cube.npz"), **shared),
        write_sample(folder, "gone", activation * 0.1, tissue, source="gone.dms",
                     overview=np.moveaxis(cube[:6, :10], -1, 0), wavenumbers_cm1=WAVENUMBERS_CM1.tolist(), **shared),
        {"id": "broken", "status": "failed", "error": "cannot be read", "source": "x"},
    ]  # fmt: skip
    return write_predictions(folder, entries, threshold=THRESHOLD)


def test_predictions_list_scores_and_failures(predictions):
    source = open_source(predictions)
    rows = {row.id: row for row in source.samples()}
    assert list(rows) == ["stored", "file", "gone", "broken"]
    assert rows["broken"].failure == "cannot be read"
    assert [row.id for row in score_order(list(rows.values()))] == ["stored", "file", "gone", "broken"]
    assert source.threshold == THRESHOLD
    with pytest.raises(ViewError, match="could not be predicted: cannot be read"):
        source.open("broken")
    with pytest.raises(ViewError, match=r"no sample '\.\./x'"):
        source.open("../x")


@pytest.mark.parametrize(
    ("name", "words"), [("stored", "as stored in data"), ("file", "as measured, from cube.npz")]
)
def test_spectra_come_from_where_the_prediction_was_made(place, predictions, name, words):
    view = open_source(predictions).open(name)
    store = Store.open(place / "data")
    sample_id = json.loads((predictions / "samples" / "stored" / "sample.json").read_text())["store_id"]
    cube, tissue = store.read(sample_id), store.tissue(sample_id)
    assert view.spectra_note == words
    spectrum, factor = view.spectrum(3, 2)
    np.testing.assert_array_equal(spectrum, cube[3, 2])
    assert factor == 1
    np.testing.assert_allclose(view.wavenumbers_cm1, WAVENUMBERS_CM1)
    np.testing.assert_array_equal(view.band_layer(1).values, cube[..., 1])
    part = view.band_layer(2, Window(2.5, 6, 1, 9.5))
    np.testing.assert_array_equal(part.values, cube[2:6, 1:10, 2])
    layer = view.activation_layer()
    np.testing.assert_array_equal(np.isfinite(layer.values), tissue)
    mask = tissue & (np.nan_to_num(layer.values) > 0.2)
    means = view.mean_spectra()
    np.testing.assert_allclose(means.inside(0.2), cube[mask].mean(axis=0), rtol=1e-5)
    assert view.activation_at(0, 0) is None
    assert view.activation_at(3, 2) == layer.values[3, 2]


def test_dice_is_told_where_the_store_has_a_reference(place, predictions):
    view = open_source(predictions).open("stored")
    sample_id = json.loads((predictions / "samples" / "stored" / "sample.json").read_text())["store_id"]
    reference = Store.open(place / "data").reference(sample_id)
    mask = np.nan_to_num(view.activation_layer().values) > THRESHOLD
    expected = 2 * (mask & reference).sum() / (mask.sum() + reference.sum())
    for counts in (view.overview_counts(), view.exact_counts()):
        assert counts.dice(THRESHOLD) == pytest.approx(expected)
        assert counts.area_fraction(THRESHOLD) == pytest.approx(view.row.area_fraction)
    np.testing.assert_array_equal(view.reference_layer().values, reference)
    assert open_source(predictions).open("file").reference is None


def test_without_the_file_spectra_are_those_of_the_overview(predictions):
    view = open_source(predictions).open("gone")
    assert "no longer there" in view.spectra_note
    spectrum, factor = view.spectrum(11, 19)
    assert factor == 2
    np.testing.assert_array_equal(spectrum, view.overview.levels[0].read(slice(5, 6), slice(9, 10))[:, 0, 0])
    np.testing.assert_allclose(view.wavenumbers_cm1, WAVENUMBERS_CM1)
    assert view.mean_spectra().factor == 2
    assert view.channels == 3


def test_a_file_that_was_changed_is_refused(predictions, tmp_path):
    folder = shutil.copytree(predictions, tmp_path / "copy")
    np.savez(folder / "cube.npz", absorbance=np.ones((4, 4, 3), np.float32), wavenumbers_cm1=WAVENUMBERS_CM1)
    values = json.loads((folder / "predictions.json").read_text())
    values["samples"][1]["source"] = "cube.npz"
    (folder / "predictions.json").write_text(json.dumps(values))
    with pytest.raises(ViewError, match="holds 4×4 pixels, the prediction was made on 12×20"):
        open_source(folder).open("file").mean_spectra()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 2}, "reads 'compseg-predictions' version 1 to 1"), ({"threshold": None}, "found a damaged file"),
     ({"samples": [{"id": "../x", "source": "", "status": "done"}]}, "cannot name a folder")],
)  # fmt: skip
def test_damaged_predictions_are_refused(predictions, tmp_path, change, message):
    values = json.loads((predictions / "predictions.json").read_text()) | change
    (tmp_path / "predictions.json").write_text(json.dumps(values))
    with pytest.raises(ViewError, match=message):
        open_source(tmp_path)


@pytest.mark.slow
def test_what_the_command_predicts_can_be_viewed(place, tmp_path):
    out = tmp_path / "out"
    asked = ["--model", str(place / "run" / "model"), "--out", str(out), "--split", "test"]
    assert main(["predict", str(place / "data"), *asked]) == 0
    source = open_source(out)
    assert "rule not recorded" in source.threshold_story
    store = Store.open(place / "data")
    assert {row.id for row in source.samples()} == {sample.id for sample in store.split("test")}
    model = open_source(place / "run").model
    for sample, cube, prediction in model.predict_store(store, store.split("test")):
        view = source.open(sample.id)
        values, tissue = view.activation_layer().values, prediction.tissue
        np.testing.assert_array_equal(np.isfinite(values), tissue)
        np.testing.assert_allclose(values[tissue], prediction.activation[tissue], atol=1e-5)
        np.testing.assert_allclose(view.band_layer(1).values, cube.absorbance[..., 1], rtol=1e-6)
        np.testing.assert_allclose(view.wavenumbers_cm1, WAVENUMBERS_CM1)
        assert view.pixel_size_um == 5.5
        assert (view.reference is not None) == sample.has_reference
        counts = view.exact_counts()
        assert counts.area_fraction(THRESHOLD) == pytest.approx(view.row.area_fraction)
        assert counts.dice(THRESHOLD) == pytest.approx(view.row.dice)


def test_a_report_opens_the_samples_it_lists(place):
    source = open_source(place / "report")
    store = Store.open(place / "data")
    assert [row.id for row in source.samples()] == [sample.id for sample in store.split("test")]
    assert all(row.score is not None for row in source.samples())
    sample = next(each for each in store.split("test") if each.label == 1)
    view = source.open(sample.id)
    _, _, prediction = next(source.model.predict_store(store, [sample]))
    values = view.activation_layer().values
    np.testing.assert_array_equal(values[prediction.tissue], prediction.activation[prediction.tissue])
    counts = view.exact_counts()
    assert counts.area_fraction(THRESHOLD) == pytest.approx(view.row.area_fraction, abs=1e-6)
    assert counts.dice(THRESHOLD) == pytest.approx(view.row.dice, abs=1e-6)


def test_a_moved_report_finds_its_model_and_store(place, tmp_path):
    moved = shutil.copytree(place, tmp_path / "moved")
    source = read_source(moved / "report")
    assert source.model.resolve() == (moved / "run" / "model").resolve()
    alone = shutil.copytree(place / "report", tmp_path / "elsewhere" / "alone")
    assert read_source(alone).data == (place / "data").resolve()


def test_a_report_without_its_store_or_model_says_so(place, tmp_path):
    moved = shutil.copytree(place / "report", tmp_path / "report")
    values = json.loads((moved / "source.json").read_text())
    for name in ("model", "data"):
        gone = json.loads(json.dumps(values))
        gone[name] |= {"path": "/gone", "relative": "gone"}
        (moved / "source.json").write_text(json.dumps(gone))
        with pytest.raises(ViewError, match=f"--{name}"):
            open_source(moved)
        other = {name: place / ("data" if name == "data" else "run/model")}
        assert len(open_source(moved, **other).samples()) == 6
    values["model"]["weights_sha256"] = "0" * 64
    (moved / "source.json").write_text(json.dumps(values))
    with pytest.raises(ViewError, match="was made with 000000000000"):
        open_source(moved)
    (moved / "source.json").unlink()
    with pytest.raises(ViewError, match="earlier release"):
        open_source(moved)


def test_a_run_knows_its_numbers_once_a_sample_was_opened(place):
    for path in (place / "run", place / "run" / "model"):
        source = open_source(path)
        rows = source.samples()
        assert len(rows) == 12
        assert all(row.score is None for row in rows)
        view = source.open(rows[1].id)
        row = next(row for row in source.samples() if row.id == rows[1].id)
        assert row == view.row
        assert row.score == pytest.approx(float(np.nanmean(view.activation_layer().values)), rel=1e-5)
        assert row.dice is not None
        assert row.area_low is None


def test_what_is_no_source_is_told(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    for path, words in ((tmp_path, "found notes.txt"), (tmp_path / "none", "it does not exist")):
        assert main(["view", str(path), "--no-browser"]) == 1
        said = capsys.readouterr().err
        assert words in said
        assert "predictions.json (of `compseg predict`)" in said


def test_without_bokeh_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("compseg_jax.cli.view.find_spec", lambda _: None)
    assert main(["view", str(tmp_path)]) == 1
    assert install_line("viewer") in capsys.readouterr().err


def test_samples_without_a_number_come_last():
    rows = [ListedSample("a"), ListedSample("b", score=0.1), ListedSample("c", score=0.7, dice=0.2)]
    assert [row.id for row in score_order(rows)] == ["c", "b", "a"]
    assert [row.id for row in score_order(rows, "dice")] == ["c", "a", "b"]
    assert [row.id for row in score_order(rows[::-1], "id")] == ["a", "b", "c"]


def test_a_library_keeps_a_few_samples_open(predictions):
    library = Library(open_source(predictions))
    first = library.open("stored")
    assert library.open("stored") is first
    for name in ("file", "gone"):
        library.open(name)
    assert library.open("stored") is first
    library.close()


def test_of_the_same_work_only_the_last_counts(predictions):
    steps: list = []
    latest = Latest(steps.append)
    library = Library(open_source(predictions))
    shown: list = []
    for number in range(3):
        latest.run(library.prompt, "sample", lambda number=number: number, shown.append, shown.append)
    latest.run(library.prompt, "band", lambda: 1 / 0, shown.append, lambda error: shown.append(str(error)))
    library.prompt.shutdown(wait=True)
    for step in steps:
        step()
    assert shown == [2, "division by zero"]
    library.close()


def test_a_source_is_read_back_as_it_was_written(tmp_path):
    source = ReportSource(tmp_path / "m", tmp_path / "d", "test", None, "by eye", "Title")
    (tmp_path / "source.json").write_text(source.to_json(tmp_path))
    assert read_source(tmp_path) == source
    assert dataclasses.replace(source, title="x") != source


def work_off(document: Document, library: Library, until: Callable[[], bool]) -> None:
    """Runs what a page has scheduled, as the server would, until something is so."""
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        for callback in list(document.session_callbacks):
            document.remove_next_tick_callback(callback)
            callback.callback()
        time.sleep(0.005)


@pytest.mark.slow
def test_all_samples_of_a_run_are_scored_and_one_that_fails_stops_nothing(place, tmp_path):
    moved = shutil.copytree(place, tmp_path / "moved")
    source = open_source(moved / "run", data=moved / "data")
    broken = source.samples()[2].id
    shutil.rmtree(moved / "data" / "cubes" / f"{broken}.zarr")
    library, document = Library(source), Document()
    page = Page(document, library)
    widgets = page.widgets
    work_off(document, library, lambda: page.shown.means is not None)
    assert widgets.score_all.visible
    assert widgets.score_all.label == "Predict the 11 samples without a score"
    widgets.score_all._trigger_event(ButtonClick(widgets.score_all))
    work_off(document, library, lambda: not widgets.score_all.visible)
    scores = widgets.rows.data["score"]
    assert scores.count("–") == 1
    assert scores[-1] == "–"
    assert widgets.rows.data["id"][-1] == broken
    assert widgets.rows.data["label"][-1] == "failed"
    assert scores[:-1] == sorted(scores[:-1], reverse=True)
    # The failed sample says why, the page goes on.
    widgets.rows.selected.indices = [11]
    work_off(document, library, lambda: "cannot be read" in widgets.heading.text)
    widgets.rows.selected.indices = [0]
    work_off(document, library, lambda: "labelled" in widgets.heading.text)
    widgets.order.value = "id"
    assert widgets.rows.data["id"] == sorted(widgets.rows.data["id"])
    assert page.listed[widgets.rows.selected.indices[0]].id in widgets.heading.text
    library.close()


def test_the_picture_starts_at_the_chosen_threshold():
    image = ImageFigure()
    image.follow(
        Slider(start=0, end=1, value=0.375, step=0.001), Slider(start=0, end=1, value=0.85, step=0.05)
    )
    mapper = image.segmentation_mapper
    assert 0.375 < mapper.low < 0.375 + 1e-6
    assert len(mapper.palette) == 256 - round(0.375 * 255)


@pytest.mark.slow
def test_a_large_slide_opens_in_under_two_seconds(tmp_path):
    """4096×4096×64: all that the first picture needs, in a source that has just been opened."""
    folder = write_slide(tmp_path, 4096)
    start = time.perf_counter()
    source = open_source(folder)
    view = source.open("slide")
    layer, counts, band = view.activation_layer(), view.overview_counts(), view.band_layer(5)
    elapsed = time.perf_counter() - start
    assert layer.values.shape == (1024, 1024)
    assert band.values.shape == (OVERVIEW_PX, OVERVIEW_PX)
    assert counts.area_fraction(0.35) == pytest.approx(view.row.area_fraction, abs=0.1)
    assert elapsed < 2.0, f"{elapsed:.2f} s"
    exact = view.exact_counts()
    assert exact.tissue_px == 4096 * 3072
    assert exact.area_fraction(0.35) == pytest.approx(view.row.area_fraction, abs=1e-9)
    part = view.activation_layer(Window(2048, 2300, 2048, 2400))
    assert (part.values.shape, part.factor) == ((252, 352), 1)
    print(f"opened in {elapsed:.2f} s")
