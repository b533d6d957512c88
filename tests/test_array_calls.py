"""A tissue array end to end: a row a core, calls and the chance they rest on, outlines in the scan's coordinates."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import instrument_files as files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.config import Network, from_json
from compseg_jax.ingest.cores.core_map import VERMILION, YELLOW, Marks, core_map_png
from compseg_jax.ingest.cores.grid import Core, CoreGrid
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.to_store import ingest
from compseg_jax.model import load_model
from compseg_jax.model.call_chance import VALIDATION_AREAS, chance_of, validation_areas
from compseg_jax.model.model_files import save_network
from compseg_jax.prediction import geojson_to_mask, open_maps, read_predictions
from compseg_jax.prediction.array_calls import STYLES, rule_of
from compseg_jax.prediction.inputs import InputError
from compseg_jax.prediction.predict import predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.readers.cube import Cube
from compseg_jax.readers.scan import CubeScan, ScanPart
from compseg_jax.viewer.predictions_source import PredictionsSource
from tests.model_example import write_model

AXIS = np.linspace(1800.0, 1600.0, 5)
PITCH, ROWS, COLUMNS = 32, 2, 4
MISSING = (1, 2)


def write_array(folder: Path, name: str, seed: int, edge: int = 12) -> Path:
    """A scan of 2 × 4 round cores without B3; the first row and column leave it where ``edge`` is small."""
    rng = np.random.default_rng(seed)
    shape = (ROWS * PITCH + edge - 10, COLUMNS * PITCH + edge - 12, AXIS.size)
    scan = rng.normal(0.0, 0.004, shape).astype(np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for row in range(ROWS):
        for column in range(COLUMNS):
            centre = np.array([row, column]) * PITCH + edge + rng.uniform(-2, 2, 2)
            inside = np.hypot(y - centre[0], x - centre[1]) < 10
            if (row, column) != MISSING:
                scan[inside, 2:] += rng.uniform(0.2, 1.0, (int(inside.sum()), 3)).astype(np.float32)
    files.envi(folder, scan, AXIS)
    for part in ("cube.hdr", "cube.dat"):
        (folder / part).rename(folder / f"{name}{Path(part).suffix}")
    return folder / f"{name}.hdr"


def with_calls(folder: Path, **description) -> Path:
    """The model with a cut-off between the areas of its validation samples."""
    (network,) = load_model(folder).networks
    config = from_json(Network, network.description["network"])
    save_network(
        folder, dataclasses.replace(network, description={**network.description, **description}), config
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_model(
        tmp_path_factory.mktemp("model") / "model", channels=5, axis=AXIS, choice={"rule": "validation"}
    )
    areas = {"diseased": [0.7, 0.8, 0.9], "healthy": [0.0, 0.1, 0.2, 0.6]}
    return with_calls(folder, area_cut=0.45, **{VALIDATION_AREAS: areas})


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return write_array(tmp_path_factory.mktemp("scan"), "tma", 0)


@pytest.fixture(scope="module")
def predicted(model, scan, tmp_path_factory):
    """The folder of a prediction, with a threshold of the model's own at which cores differ."""
    out = tmp_path_factory.mktemp("predicted") / "out"
    report = predict(PredictOptions((), model, out, scans=(scan,), min_area_um2=0))
    return out, report


def rows_of(out: Path, name: str = "tma") -> dict[str, dict[str, str]]:
    with (out / "arrays" / name / "calls.csv").open(encoding="utf-8") as file:
        return {row["core"]: row for row in csv.DictReader(file)}


# --- the chance


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_a_chance_is_reached_no_more_often_than_it_says(areas, level):
    """Whichever of n + 1 healthy samples is the new one: at most a part α of them gets a chance of α or less."""
    few = 0
    for at, own in enumerate(areas):
        kept = {VALIDATION_AREAS: {"diseased": [], "healthy": areas[:at] + areas[at + 1 :]}}
        found = chance_of(kept, "diseased", own)
        few += found is not None and found.value <= level
    assert few <= level * len(areas) + 1e-9


def test_what_a_model_keeps_and_what_follows():
    kept = {VALIDATION_AREAS: validation_areas(np.array([0.5, 0.1, 0.30000004, 0.2]), np.array([1, 0, 1, 0]))}
    assert kept == {VALIDATION_AREAS: {"diseased": [0.3, 0.5], "healthy": [0.1, 0.2]}}
    assert chance_of(kept, "diseased", 0.25).value == 1 / 3
    assert chance_of(kept, "diseased", 0.15).value == 2 / 3
    assert chance_of(kept, "healthy", 0.4).value == 2 / 3
    assert "0 of 2 healthy" in chance_of(kept, "diseased", 0.9).in_words()
    assert chance_of(kept, "undecided", 0.9) is chance_of({}, "diseased", 0.9) is None


# --- parts of scans


@given(st.integers(-4, 9), st.integers(0, 9), st.integers(-4, 9), st.integers(0, 9), st.data())
def test_a_part_of_a_scan_is_the_padded_whole(top, height, left, width, data):
    whole = np.arange(1, 6 * 7 * 2 + 1, dtype=np.float32).reshape(6, 7, 2)
    scan = CubeScan(Cube(whole))
    part = ScanPart(scan, slice(top, top + height), slice(left, left + width))
    padded = np.pad(whole, ((4, 18), (4, 18), (0, 0)))[top + 4 :, left + 4 :][:height, :width]
    assert part.shape == padded.shape
    rows, columns = (
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in (height, width)
    )
    np.testing.assert_array_equal(part.window(rows, columns), padded[rows, columns])


@pytest.mark.slow
def test_beyond_the_edge_of_a_scan_there_is_no_tissue(model, tmp_path):
    scan = write_array(tmp_path, "cut", 3, edge=7)
    predict(PredictOptions((), model, tmp_path / "out", scans=(scan,), outputs=("zarr",)))
    sample = next(each for each in read_predictions(tmp_path / "out").samples if each.core == "A1")
    assert sample.top_px < 0
    tissue = open_maps(tmp_path / "out" / sample.files["activation_zarr"]).tissue[0][:]
    assert not tissue[: -sample.top_px].any()
    assert tissue[-sample.top_px].any()


# --- the array


def test_cores_are_predicted_as_samples_of_a_store_made_from_the_same_scan(model, scan, predicted, tmp_path):
    table = tmp_path / "labels.csv"
    cores = [f"{'AB'[row]}{column + 1}" for row in range(ROWS) for column in range(COLUMNS)]
    lines = [f"tma_{core},{core},{number % 2},test" for number, core in enumerate(cores)]
    table.write_text("id,core,label,split\n" + "\n".join(lines), encoding="utf-8")
    ingest(table, tmp_path / "store", IngestOptions(scans=(scan,)))
    predict(PredictOptions((tmp_path / "store",), model, tmp_path / "out", outputs=()))
    stored = {sample.id: sample for sample in read_predictions(tmp_path / "out").samples}
    own = {sample.id: sample for sample in read_predictions(predicted[0]).samples}
    assert set(own) == set(stored) == {f"tma_{core}" for core in cores if core != "B3"}
    for name, sample in own.items():
        for value in ("score", "area_fraction", "tissue_px", "call", "chance"):
            assert getattr(sample, value) == getattr(stored[name], value), (name, value)


def test_every_position_has_a_row(predicted):
    out, report = predicted
    rows = rows_of(out)
    assert list(rows) == ["A1", "A2", "A3", "A4", "B1", "B2", "B3", "B4"]
    assert (rows["B3"]["call"], rows["B3"]["why"]) == (
        "left out",
        "no tissue found at its place on the array",
    )
    assert rows["B3"]["score"] == rows["B3"]["sample"] == ""
    called = [row for row in rows.values() if row["call"] != "left out"]
    for row in called:
        area = float(row["area_fraction"])
        assert row["call"] == ("diseased" if area > 0.45 else "healthy")
        assert f"{area:.1%} of the tissue segmented" in row["why"]
        assert "validation samples reach it" in row["why"]
        assert 0 < float(row["chance"]) <= 1
        assert 0.7 < float(row["tissue_of_core"]) < 1.6
    (calls,) = report.arrays
    assert sum(calls.counts.values()) == len(rows)
    page = (out / "arrays/tma/calls.html").read_text(encoding="utf-8")
    assert "the cut-off of greatest sensitivity plus specificity on 3 diseased and 4 healthy" in page
    assert page.count("<tr><td><bdi>") == len(rows)


def test_outlines_lie_where_the_scan_has_them(predicted, scan):
    out, report = predicted
    drawn = json.loads((out / "arrays/tma/calls.geojson").read_text(encoding="utf-8"))
    grid = report.arrays[0].opened.array.grid
    expected = np.zeros(grid.shape_px, bool)
    for sample in read_predictions(out).samples:
        mask = open_maps(out / sample.files["activation_zarr"]).segmentation[0][:].astype(bool)
        y, x = np.nonzero(mask)
        expected[y + sample.top_px, x + sample.left_px] = True
    assert expected.any()
    np.testing.assert_array_equal(geojson_to_mask(drawn, grid.shape_px, classification="Tumor"), expected)
    circles = {each["properties"]["name"]: each for each in drawn["features"] if "name" in each["properties"]}
    assert sorted(circles) == ["A1", "A2", "A3", "A4", "B1", "B2", "B4"]
    for name, circle in circles.items():
        core, corners = grid.core(name), np.array(circle["geometry"]["coordinates"][0])
        np.testing.assert_allclose(corners[:-1].mean(axis=0), [core.x_px + 0.5, core.y_px + 0.5], atol=0.01)
        assert (corners[0] == corners[-1]).all()
        assert circle["properties"]["isLocked"]
    own = json.loads((out / "samples/tma_A2/segmentation.geojson").read_text(encoding="utf-8"))
    assert all(feature in drawn["features"] for feature in own["features"])


def colours_around(picture: bytes, grid: CoreGrid, core: Core) -> set[tuple[int, int, int]]:
    """Those of the square about a core in the picture of its array."""
    image = np.array(Image.open(io.BytesIO(picture)))
    zoom = image.shape[1] / grid.shape_px[1]
    y, x, reach = (round(zoom * value) for value in (core.y_px, core.x_px, 1.4 * core.radius_px))
    return {
        tuple(each)
        for each in image[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach].reshape(-1, 3)
    }


def test_the_picture_shows_calls_by_colour_and_the_colours_of_a_colour_scan(predicted):
    grid = predicted[1].arrays[0].opened.array.grid
    kinds = ["diseased" if core.name == "A2" else "undecided" for core in grid.cores]
    segmented = np.zeros(grid.shape_px, bool)
    segmented[: grid.shape_px[0] // 2, : PITCH // 2 + 4] = True
    green = np.broadcast_to(np.float32([0.2, 0.6, 0.2]), (20, 30, 3))
    picture = core_map_png(green, grid, Marks(STYLES, kinds, segmented=segmented))
    around = {core.name: colours_around(picture, grid, core) for core in grid.cores}
    assert VERMILION in around["A2"]
    assert YELLOW not in around["A2"]
    assert YELLOW in around["B4"]
    assert VERMILION not in around["B4"]
    assert (51, 153, 51) in around["B4"]
    red = [each for each in around["A1"] if each[0] > 100 and each[1] < 100 and each[2] < 60]
    assert red
    assert not [each for each in around["B2"] if each in red]


@pytest.mark.slow
def test_cores_of_another_scan_are_refused_and_so_is_a_folder_of_other_places(
    model, scan, predicted, tmp_path, capsys
):
    other = write_array(tmp_path, "other", 5)
    found = predicted[0] / "arrays/tma/cores.csv"
    words = ["predict", "--model", str(model), "--scans", str(other), "--cores", str(found)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "its cores are those of the scan tma.hdr" in capsys.readouterr().err
    lines = found.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    cells[3] = str(float(cells[3]) + 3)
    edited = tmp_path / "edited.csv"
    edited.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n", encoding="utf-8")
    options = PredictOptions((), model, predicted[0], scans=(scan,), cores=(edited,), min_area_um2=0)
    with pytest.raises(InputError, match="at another place of its scan"):
        predict(options)
    again = predict(dataclasses.replace(options, cores=(found,)))
    assert (again.before, again.done) == (7, [])


def test_a_scan_without_cores_says_what_to_do(model, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.01, (40, 50, 5)).astype(np.float32)
    path = files.envi(tmp_path, noise, AXIS)
    with pytest.raises(IngestError, match=r"cube.hdr: .*compseg dearray .*--rows N"):
        predict(PredictOptions((), model, tmp_path / "out", scans=(path,)))


def test_models_that_keep_less_say_so(model, scan, tmp_path):
    plain = write_model(tmp_path / "plain", channels=5, axis=AXIS)
    assert "gave the model no cut-off" in rule_of(load_model(plain))[0]
    assert "the threshold was given" in rule_of(load_model(model).with_threshold(0.3))[0]
    predict(PredictOptions((), plain, tmp_path / "out", scans=(scan,), outputs=()))
    rows = rows_of(tmp_path / "out")
    assert {row["call"] for row in rows.values()} == {"undecided", "left out"}
    assert all("no cut-off" in row["why"] for row in rows.values() if row["call"] == "undecided")
    earlier = with_calls(write_model(tmp_path / "earlier", channels=5, axis=AXIS), area_cut=0.45)
    assert rule_of(load_model(earlier))[1].startswith("The model keeps no areas")
    assert load_model(earlier).chance("diseased", 0.9) is None


def test_the_terminal_tells_the_calls(model, scan, tmp_path, capsys):
    words = ["predict", "--model", str(model), "--scans", str(scan), "--out", str(tmp_path / "out")]
    assert main([*words, "--outputs", "geojson"]) == 0
    said = capsys.readouterr().out
    assert "7 predicted" in said
    assert ", 1 left out\n" in said
    assert "A core is called diseased where more than 45.0%" in said
    assert said.count("(chance ") == 7
    assert "drag" in said.splitlines()[-1]
    assert "calls.geojson" in said.splitlines()[-1]


def test_the_viewer_shows_the_spectra_of_a_core(predicted):
    source = PredictionsSource.read(predicted[0])
    sample = next(each for each in source.predictions.samples if each.core == "B2")
    scan = predicted[1].arrays[0].opened.array.scan
    rows, columns = slice(2, 5), slice(1, 4)
    found = source.open(sample.id).spectra.window(rows, columns)
    top, left = sample.top_px, sample.left_px
    np.testing.assert_array_equal(found, scan.window(slice(top + 2, top + 5), slice(left + 1, left + 4)))
