"""Outlines drawn in the viewer: written whole, never over another's, and the same pixels when they are ingested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy import ndimage

from compseg_jax.cli.main import main
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.readers.masks import read_mask
from compseg_jax.store.read import Store
from compseg_jax.viewer.drawn_folder import ConflictError, DrawnFolder, outlines_of_mask
from compseg_jax.viewer.source import ViewError

SHAPE = (9, 13)
TRIANGLE = [[1.25, 0.5], [12.0, 3.875], [3.5, 8.75]]
HOLE = [[4.0, 3.0], [4.0, 5.0], [6.0, 5.0], [6.0, 3.0]]
CUT = [[7.25, 0.0], [13.0, 0.0], [13.0, 9.0], [7.25, 9.0]]
DRAWN = [{"class": "diseased", "rings": [TRIANGLE, HOLE]}, {"class": "healthy", "rings": [CUT]}]


def centres_inside(polygon: shapely.Polygon, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre a polygon holds, asked one by one of another library."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return shapely.contains_xy(polygon, x, y)


def write_arrays(folder: Path, ids: dict[str, int], shape: tuple[int, int]) -> Path:
    """Images of a shape and the table of their labels."""
    rows = ["id,label,path,split"]
    for at, (name, label) in enumerate(ids.items()):
        np.save(folder / f"{name}.npy", np.random.default_rng(at).random((*shape, 3)).astype(np.float32))
        rows.append(f"{name},{label},{name}.npy,test")
    (folder / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "t.csv"


def test_what_is_written_is_read_again_and_replaced_by_who_saw_it_alone(tmp_path):
    folder = DrawnFolder(tmp_path / "drawn")
    assert folder.read("a") == folder.read("b")
    first = folder.write("a", DRAWN, "", shape_px=SHAPE)
    assert folder.read("a") == first
    with pytest.raises(ConflictError, match="written by someone else"):
        folder.write("a", DRAWN[:1], "", shape_px=SHAPE)
    second = folder.write("a", DRAWN[:1], first.version, shape_px=SHAPE)
    with pytest.raises(ConflictError, match="written by someone else"):
        folder.write("a", DRAWN, first.version, shape_px=SHAPE)
    assert folder.read("a") == second
    folder.path("a").unlink()
    with pytest.raises(ConflictError, match="is gone"):
        folder.write("a", DRAWN, second.version, shape_px=SHAPE)
    assert list(folder.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("outlines", "message"),
    [
        ([{"class": "diseased", "rings": [TRIANGLE[:2]]}], "2 points, at least 3"),
        ([{"class": "Tumor", "rings": [TRIANGLE]}], "a class of diseased, healthy"),
        ([{"class": "diseased", "rings": [[*TRIANGLE, [13.5, 1]]]}], "x from 0 to 13"),
        ([{"class": "diseased", "rings": [[*TRIANGLE, [float("nan"), 1]]]}], "found the point"),
        ([{"class": "diseased", "rings": [[*TRIANGLE, [True, 1]]]}], "found the point"),
        ({}, "required is a list"),
    ],
)
def test_what_is_no_outline_leaves_no_file(tmp_path, outlines, message):
    folder = DrawnFolder(tmp_path / "drawn")
    with pytest.raises(ViewError, match=message):
        folder.write("a", outlines, "", shape_px=SHAPE)
    assert not folder.folder.exists()


@pytest.mark.parametrize("sample_id", ["../a", "a/b", "", ".hidden", "a\\b"])
def test_no_id_leads_out_of_the_folder(tmp_path, sample_id):
    with pytest.raises(ViewError, match="cannot name a file"):
        DrawnFolder(tmp_path / "drawn").write(sample_id, DRAWN, "", shape_px=SHAPE)


def test_files_of_others_stay_as_they_are(tmp_path):
    folder = DrawnFolder(tmp_path)
    folder.write("a", DRAWN, "", shape_px=SHAPE)
    others = folder.path("a").read_text(encoding="utf-8").replace('"healthy"', '"Stroma"')
    folder.path("a").write_text(others, encoding="utf-8")
    with pytest.raises(ViewError, match=r"Stroma \(1\).*--outlines"):
        folder.read("a")
    folder.path("a").write_text("{", encoding="utf-8")
    with pytest.raises(ViewError, match="stays as it is"):
        folder.read("a")


def test_the_reference_of_an_ingested_sample_is_what_was_drawn(tmp_path):
    table = write_arrays(tmp_path, {"a": 1, "b": 0, "c": 1}, SHAPE)
    folder = DrawnFolder(tmp_path / "drawn")
    folder.write("a", DRAWN, "", shape_px=SHAPE)
    folder.write("b", DRAWN[1:], "", shape_px=SHAPE)  # of a healthy sample: nothing is diseased
    folder.write("c", [{"class": "diseased", "rings": [CUT]}], "", shape_px=SHAPE)
    words = ["ingest", str(table), "--out", str(tmp_path / "s"), "--references", str(folder.folder)]
    assert main(words) == 0
    store = Store.open(tmp_path / "s")
    drawn = centres_inside(shapely.Polygon(TRIANGLE, [HOLE]), SHAPE)
    cut = centres_inside(shapely.Polygon(CUT), SHAPE)
    assert (drawn & ~cut).any()
    assert (drawn & cut).any()
    np.testing.assert_array_equal(store.reference("a"), drawn & ~cut)
    assert not store.reference("b").any()
    np.testing.assert_array_equal(store.reference("c"), cut)


def test_a_segmentation_goes_through_outlines_to_a_reference_without_loss(tmp_path):
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((37, 53)), 1.2)
    mask = noise > 0.5 * noise.std()
    folder = DrawnFolder(tmp_path)
    folder.write("a", outlines_of_mask(mask, least_px=0), "", shape_px=mask.shape)
    rule = IngestOptions().mask_rule("reference")
    np.testing.assert_array_equal(read_mask(folder.path("a"), shape=mask.shape, rule=rule).inside, mask)
    # Specks are left out, everything else stays.
    labels, count = ndimage.label(mask)
    large = np.isin(labels, [n for n in range(1, count + 1) if (labels == n).sum() >= 4])
    assert 0 < large.sum() < mask.sum()
    version = folder.read("a").version
    folder.write("a", outlines_of_mask(mask, least_px=4), version, shape_px=mask.shape)
    np.testing.assert_array_equal(read_mask(folder.path("a"), shape=mask.shape, rule=rule).inside, large)


def test_outlines_say_what_size_of_the_image_they_were_drawn_on(tmp_path, capsys):
    table = write_arrays(tmp_path, {"a": 1}, (18, 26))
    folder = DrawnFolder(tmp_path / "drawn")
    size = (12, 12)
    square = [[2.0, 3.0], [9.0, 3.0], [9.0, 10.0], [2.0, 10.0]]
    folder.write("a", [{"class": "diseased", "rings": [square]}], "", shape_px=size)
    words = ["ingest", str(table), "--out", str(tmp_path / "s"), "--references", str(folder.folder)]
    assert main(words) == 1
    assert "has 12×12 pixels, the image 18×26" in capsys.readouterr().err
    assert main([*words, "--resize", "12"]) == 0
    reference = Store.open(tmp_path / "s").reference("a")
    np.testing.assert_array_equal(reference, centres_inside(shapely.Polygon(square), size))


def test_two_classes_of_a_tissue_mask_are_asked_for(tmp_path, capsys):
    table = write_arrays(tmp_path, {"a": 1}, SHAPE)
    DrawnFolder(tmp_path / "drawn").write("a", DRAWN, "", shape_px=SHAPE)
    words = ["ingest", str(table), "--out", str(tmp_path / "s"), "--tissues", str(tmp_path / "drawn")]
    assert main(words) == 1
    assert "--tissue-names diseased" in capsys.readouterr().err


def test_qupath_finds_a_class_and_a_colour(tmp_path):
    folder = DrawnFolder(tmp_path)
    folder.write("a", DRAWN, "", shape_px=SHAPE)
    written = json.loads(folder.path("a").read_text(encoding="utf-8"))
    assert [each["properties"]["classification"]["name"] for each in written["features"]] == [
        "diseased",
        "healthy",
    ]
    assert all(each["properties"]["objectType"] == "annotation" for each in written["features"])
    assert all(shapely.geometry.shape(each["geometry"]).is_valid for each in written["features"])
