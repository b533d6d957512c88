"""GeoJSON for QuPath: outlines along pixel edges that are valid polygons, and the same mask back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from compseg_jax.prediction.formats import (
    Annotation,
    geojson_to_mask,
    segmentation_features,
    segmentation_to_geojson,
    write_geojson,
)
from compseg_jax.prediction.formats.outlines import trace
from compseg_jax.prediction.formats.smoothing import LOSSLESS_PX, ring_area, smoothed_rings

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
masks = hnp.arrays(np.bool_, shapes, fill=st.nothing())  # without a fill value every pixel is drawn


def picture(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


RING_TOUCHING_ITSELF = picture("###", "#.#", "##.")
ISLAND_IN_A_HOLE = picture("#####", "#...#", "#.#.#", "#...#", "#####")
HOLE_TOUCHING_A_HOLE = picture("####", "#.##", "##.#", "####")
CHECKERS = picture("#.#.", ".#.#", "#.#.")
INSIDE_THE_FRAME_OF_A_LATER_ONE = picture(".#.#", "...#", "####")


@settings(max_examples=3 * settings().max_examples)
@given(masks)
@example(RING_TOUCHING_ITSELF)
@example(ISLAND_IN_A_HOLE)
@example(HOLE_TOUCHING_A_HOLE)
@example(CHECKERS)
@example(INSIDE_THE_FRAME_OF_A_LATER_ONE)
@example(np.ones((1, 1), np.bool_))
def test_polygons_are_valid_and_give_the_mask_back(mask):
    geojson = segmentation_to_geojson(mask)
    labels, count = ndimage.label(mask)
    assert len(geojson["features"]) == count
    for number, feature in enumerate(geojson["features"], start=1):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        assert polygon.area == (labels == number).sum()
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)
        assert (geojson_to_mask(feature, mask.shape) == (labels == number)).all()
    assert (geojson_to_mask(geojson, mask.shape) == mask).all()


@given(masks)
def test_every_corner_of_a_ring_is_a_turn(mask):
    outlines = trace(mask)
    for region in range(1, outlines.count + 1):
        for ring in outlines.rings(region):
            steps = np.diff(ring, axis=0, append=ring[:1])
            is_horizontal = steps[:, 1] == 0
            assert (is_horizontal != (steps[:, 0] == 0)).all(), "an edge is neither or both"
            assert (is_horizontal != np.roll(is_horizontal, 1)).all(), "two edges in one line"


def test_one_pixel():
    (feature,) = segmentation_features(
        picture("...", "..#"), np.full((2, 3), 0.75, np.float32), pixel_size_um=2.0
    )
    assert feature == {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[2, 1], [3, 1], [3, 2], [2, 2], [2, 1]]]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": "Tumor", "color": [200, 0, 0]},
            "measurements": {"Area µm^2": 4.0, "Mean activation": 0.75},
        },
    }


def test_a_ring_that_would_touch_itself_becomes_a_ring_and_a_hole():
    (feature,) = segmentation_features(RING_TOUCHING_ITSELF)
    outer, hole = feature["geometry"]["coordinates"]
    assert outer == [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3], [0, 0]]
    assert sorted(hole[:-1]) == [[1, 1], [1, 2], [2, 1], [2, 2]]


@given(masks.filter(np.any), st.integers(0, 2**32 - 1))
def test_measurements_are_those_of_the_pixels(mask, seed):
    activation = np.random.default_rng(seed).random(mask.shape, np.float32)
    labels, count = ndimage.label(mask)
    numbers = range(1, count + 1)
    measured = [f["properties"]["measurements"] for f in segmentation_features(mask, activation)]
    assert [m["Area px^2"] for m in measured] == ndimage.sum_labels(mask, labels, numbers).tolist()
    np.testing.assert_allclose(
        [m["Mean activation"] for m in measured], ndimage.mean(activation, labels, numbers), rtol=1e-6
    )


def test_small_regions_can_be_left_out():
    mask = picture("##.#", "##..", "...#", "...#")
    kept = [
        geojson_to_mask(
            segmentation_to_geojson(mask, annotation=Annotation(minimum_area_px=n)), mask.shape
        ).sum()
        for n in (0, 1, 2, 3, 5)
    ]
    assert kept == [7, 7, 6, 4, 0]


def test_the_file_holds_the_collection(tmp_path):
    annotation = Annotation("Stroma", (1, 2, 3))
    count = write_geojson(tmp_path / "s.geojson", ISLAND_IN_A_HOLE, pixel_size_um=0.5, annotation=annotation)
    assert count == 2
    assert json.loads((tmp_path / "s.geojson").read_text(encoding="utf-8")) == segmentation_to_geojson(
        ISLAND_IN_A_HOLE, pixel_size_um=0.5, annotation=annotation
    )
    assert write_geojson(tmp_path / "none.geojson", np.zeros((3, 4), np.bool_)) == 0
    empty = json.loads((tmp_path / "none.geojson").read_text(encoding="utf-8"))
    assert empty == {"type": "FeatureCollection", "features": []}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "s.geojson"
    write_geojson(path, CHECKERS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN or Inf in rows 0 to 2"):
        write_geojson(path, CHECKERS, np.full(CHECKERS.shape, np.nan, np.float32))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((2, 2, 1), np.bool_), {}, r"shape \(2, 2, 1\), required \(y, x\)"),
        (np.full((2, 2), 255, np.uint8), {}, "uint8 values; required True"),
        (np.zeros((2, 2), np.float32), {}, "float32 values; required True"),
        (np.zeros((2, 2), np.bool_), {"pixel_size_um": 0.0}, "pixel_size_um is 0.0"),
        (np.zeros((2, 2), np.bool_), {"activation": np.zeros((2, 3))}, r"shape \(2, 3\), the mask \(2, 2\)"),
        (np.zeros((2, 2), np.bool_), {"annotation": Annotation(colour=(0, 0, 256))}, "from 0 to 255"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(mask, options, message):
    with pytest.raises(ValueError, match=message):
        segmentation_features(mask, **options)


corners = st.tuples(st.integers(-5, 15), st.integers(-5, 15))


@given(st.lists(corners, min_size=3, max_size=6, unique=True), st.sampled_from([0.0, 0.2137]))
def test_drawn_polygons_cover_the_pixels_whose_centre_they_hold(points, shift):
    polygon = shapely.Polygon([(x + shift, y + shift) for x, y in points])
    if not polygon.is_valid:
        return
    y, x = np.mgrid[:9, :11] + 0.5
    inside, touching = shapely.contains_xy(polygon, x, y), shapely.intersects_xy(polygon.boundary, x, y)
    found = geojson_to_mask({"type": "Feature", "geometry": polygon.__geo_interface__}, (9, 11))
    on_no_edge = ~(touching | (polygon.boundary.distance(shapely.points(x, y)) < 1e-9))
    assert (found == inside)[on_no_edge].all()


def test_annotations_are_united_and_chosen_by_class():
    def square(x, name):
        ring = [[x, 0], [x + 2, 0], [x + 2, 2], [x, 2], [x, 0]]
        return {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": [[ring], [[[c + 4, r] for c, r in ring]]]},
            "properties": {"classification": {"name": name}} if name else {},
        }

    drawn = {
        "type": "FeatureCollection",
        "features": [square(0, "Tumor"), square(1, "Stroma"), square(9, None)],
    }
    assert geojson_to_mask(drawn, (2, 8)).tolist() == [[True] * 3 + [False] + [True] * 3 + [False]] * 2
    chosen = geojson_to_mask(drawn, (2, 8), classification="Stroma")
    assert np.flatnonzero(chosen[0]).tolist() == [1, 2, 5, 6]


def drawn(x: int, **properties) -> dict:
    """A square of two pixels, as QuPath writes an object."""
    ring = [[x, 0], [x + 2, 0], [x + 2, 2], [x, 2], [x, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": "PathAnnotationObject", "geometry": geometry, "properties": properties}


CLASSES = [
    drawn(0, classification={"name": "Tumor", "color": [200, 0, 0]}),
    drawn(2, classification={"names": ["Tumor", "Positive"], "color": [200, 50, 50]}),
    drawn(4, classification={"name": "Tumor: Negative", "colorRGB": -3670016}),
    drawn(6, classification="Stroma"),
    drawn(8, classification="Tumorous"),
    drawn(10),
    drawn(12, classification=None),
    {**drawn(14, name="A-1", isMissing=True), "id": "TMACoreObject"},
    drawn(16, objectType="tmaCore", classification={"name": "Tumor"}),
]


@pytest.mark.parametrize("collected", [True, False], ids=["collection", "list of QuPath 0.2"])
def test_classes_as_qupath_and_others_write_them(collected):
    geojson = {"type": "FeatureCollection", "features": CLASSES} if collected else CLASSES

    def first_pixels(classification):
        found = geojson_to_mask(geojson, (2, 20), classification=classification)
        return np.flatnonzero(found[0])[::2].tolist()

    assert first_pixels("Tumor") == [0, 2, 4]
    assert first_pixels("Tumor: Positive") == [2]
    assert first_pixels("Tumor: Negative") == [4]
    assert first_pixels("Stroma") == [6]
    assert first_pixels(["Stroma", "Tumorous"]) == [6, 8]
    assert first_pixels("unclassified") == [10, 12]
    assert first_pixels(None) == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(
        ValueError, match=r"class 'tumor'; found are unclassified \(2\), Tumor \(1\), Tumor: Positive"
    ):
        geojson_to_mask(geojson, (2, 20), classification="tumor")


@pytest.mark.parametrize("key", ["classification", "class", "class_name", "label", "category"])
def test_classes_under_the_names_of_other_programs(key):
    features = [drawn(0, **{key: "Tumor"}), drawn(4, **{key: "Stroma"}), drawn(6, **{key: 7})]
    geojson = {"type": "FeatureCollection", "features": features}
    assert np.flatnonzero(geojson_to_mask(geojson, (2, 8), classification="Stroma")[0]).tolist() == [4, 5]
    assert np.flatnonzero(geojson_to_mask(geojson, (2, 8), classification="unclassified")[0]).tolist() == [
        6,
        7,
    ]


def test_objects_nested_in_others_are_found():
    nested = drawn(0, classification="Tumor", childObjects=[drawn(4, classification="Stroma")])
    root = {
        "type": "Feature",
        "geometry": None,
        "properties": {"objectType": "root", "childObjects": [nested]},
    }
    geojson = {"type": "FeatureCollection", "features": [root]}
    assert np.flatnonzero(geojson_to_mask(geojson, (2, 8))[0]).tolist() == [0, 1, 4, 5]
    assert np.flatnonzero(geojson_to_mask(geojson, (2, 8), classification="Stroma")[0]).tolist() == [4, 5]


def test_a_collection_of_nothing_is_an_empty_mask():
    empty = {"type": "FeatureCollection", "features": []}
    assert not geojson_to_mask(empty, (2, 3), classification="Tumor").any()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("geojson", "message"),
    [
        ({"type": "Topology"}, "type Topology, required FeatureCollection or Feature"),
        ([], "type list"),
        (
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
            "feature 0 .* is a Point",
        ),
        ({"type": "Feature", "geometry": None}, "is a None"),
        (
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}},
            "at least four",
        ),
        (
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [["a", "b"]]}},
            "a list of at least four",
        ),
    ],
)
def test_what_is_no_area_is_refused(geojson, message):
    with pytest.raises(ValueError, match=message):
        geojson_to_mask(geojson, (3, 3))


def polygons(geojson: dict) -> list[shapely.Polygon]:
    return [shapely.geometry.shape(feature["geometry"]) for feature in geojson["features"]]


@settings(deadline=None, max_examples=60)
@given(masks)
@example(RING_TOUCHING_ITSELF)
@example(ISLAND_IN_A_HOLE)
@example(HOLE_TOUCHING_A_HOLE)
@example(CHECKERS)
def test_without_loss_smooth_outlines_are_valid_and_give_the_same_mask(mask):
    drawn = segmentation_to_geojson(mask, annotation=Annotation(smoothing_px=LOSSLESS_PX))
    np.testing.assert_array_equal(
        geojson_to_mask(drawn, mask.shape) if drawn["features"] else mask * False, mask
    )
    found = polygons(drawn)
    assert all(each.is_valid for each in found)
    assert all(not one.intersects(other) for i, one in enumerate(found) for other in found[:i])


def test_smoothing_keeps_to_its_distance_areas_and_holes():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((90, 120)), 3)
    mask = noise > 0.3 * noise.std()
    exact = polygons(segmentation_to_geojson(mask))
    corners = [
        sum(len(ring) for rings in smoothed_rings(trace(mask), px) for ring in rings) for px in (0.35, 1, 2)
    ]
    assert len(trace(mask).points) > 1.5 * corners[0] > 1.5 * 1.2 * corners[1]
    for tolerance in (1.0, 2.0, 30.0):  # the last one is more than any region bears
        smooth = polygons(segmentation_to_geojson(mask, annotation=Annotation(smoothing_px=tolerance)))
        assert len(smooth) == len(exact)
        for before, after in zip(exact, smooth, strict=True):
            assert after.is_valid
            assert len(after.interiors) == len(before.interiors)
            rings = 1 + len(before.interiors)
            if abs(after.area - before.area) > 0.02 * before.area + 0.5 * rings:
                # Too small for that: smoothed as far as every pixel's centre stays on its side.
                y, x = np.mgrid[:90, :120] + 0.5
                np.testing.assert_array_equal(
                    shapely.contains_xy(after, x, y), shapely.contains_xy(before, x, y)
                )
            # Midpoints lie at most half a pixel from the edges' corners.
            assert after.boundary.hausdorff_distance(before.boundary) <= tolerance + 0.5**0.5
        assert all(not one.intersects(other) for i, one in enumerate(smooth) for other in smooth[:i])


def test_smoothing_changes_a_ring_of_stairs_to_a_line_and_half_a_pixel():
    stairs = np.tri(20, dtype=bool)
    (rings,) = smoothed_rings(trace(stairs))
    assert ring_area(rings[0]) == stairs.sum() - 0.5
    assert len(trace(stairs).points) == 42
    assert len(rings[0]) <= 8
