"""Outlines drawn in QuPath and other programs (GeoJSON, RFC 7946), as masks.

Coordinates are pixels of the image from its top left corner, x to the right and y downwards: the pixel in row r and
column c is the square from (c, r) to (c + 1, r + 1). What QuPath writes of an object stands in its
qupath-core/src/main/java/qupath/lib/io/QuPathTypeAdapters.java: version 0.2 the kind of object as its `id` and a list
of features without a collection, later ones `objectType`; a derived class, 'Tumor: Positive', as `names`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

Rings = list[np.ndarray]
"""One polygon: its outer ring and its holes, each (points, 2) as x, y, the last point the first."""

DISEASED, HEALTHY = "diseased", "healthy"
"""Classes of what is drawn in the viewer: healthy outlines are cut out of the diseased."""
UNCLASSIFIED = "unclassified"
"""What an object without a class is called in messages."""
# Properties that name a class: QuPath's first, then those of other programs where it is a text.
_CLASS_KEYS = ("classification", "class", "class_name", "label", "category")
_ROOTS = ("root", "PathRootObject")
_CORES = ("tmaCore", "tma_core", "TMACoreObject")


class NoneOfClassError(ValueError):
    """Annotations are there, but none of a class that is taken."""


def geojson_to_mask(
    geojson: Mapping[str, Any] | Sequence[Any],
    shape: tuple[int, int],
    *,
    classification: str | Sequence[str] | None = None,
) -> Bool[np.ndarray, "y x"]:
    """Pixels whose centre lies inside a polygon of a GeoJSON: the reverse of `segmentation_to_geojson`.

    Also takes what was drawn or changed in QuPath, so that a pathologist's annotations can serve as reference
    masks: areas at any coordinates. Overlapping features are united. The cores of a tissue array, which QuPath
    exports beside what was drawn in them, are no annotations and left out.

    Args:
      geojson: as ``json.load`` returns it.
      shape: rows and columns of the image; what lies outside of it is cut off.
      classification: takes only features of this class, or of these, and of classes derived from it: 'Tumor' is
        also 'Tumor: Positive'; None takes all.

    Raises:
      ValueError: if no feature has the class (the message lists those found), a feature that is taken is no area,
        or its coordinates are no closed rings of numbers.
    """
    mask = np.zeros(shape, np.bool_)
    for rings in polygons(geojson, classification):
        _fill(mask, rings)
    return mask


def polygons(
    geojson: Mapping[str, Any] | Sequence[Any], classification: str | Sequence[str] | None = None
) -> list[Rings]:
    """The areas that `geojson_to_mask` fills, with its arguments and errors."""
    features = _features_of(geojson)
    wanted = (classification,) if isinstance(classification, str) else classification
    found: list[Rings] = []
    is_there = dict.fromkeys(wanted or (), False)
    for number, feature in enumerate(features):
        if _is_core(feature):
            continue
        matching = [name for name in is_there if _is_of(_class_of(feature), name)]
        if wanted is None or matching:
            is_there |= dict.fromkeys(matching, True)
            found += [[_ring(ring, number) for ring in rings] for rings in _areas(feature, number)]
    missing = [name for name, there in is_there.items() if not there]
    if missing and features:
        kind = ValueError if any(is_there.values()) else NoneOfClassError
        raise kind(
            f"no annotation is of the class {' or '.join(map(repr, missing))}; found are {listed(geojson)}. Name one "
            "of these, or export those that are missing."
        )
    return found


def disease_mask(
    geojson: Mapping[str, Any] | Sequence[Any], shape: tuple[int, int]
) -> Bool[np.ndarray, "y x"]:
    """Pixels inside an outline of 'diseased' and in none of 'healthy'; errors as `geojson_to_mask`."""
    found = classes(geojson)
    masks = [
        geojson_to_mask(geojson, shape, classification=name) if name in found else np.zeros(shape, np.bool_)
        for name in (DISEASED, HEALTHY)
    ]
    return masks[0] & ~masks[1]


def stating_size(sample_id: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Members of a FeatureCollection that say of which sample and size of its image (rows, columns) it is."""
    return {"compseg": {"sample": sample_id, "height_px": shape[0], "width_px": shape[1]}}


def stated_size(geojson: Mapping[str, Any] | Sequence[Any]) -> tuple[int, int] | None:
    """Rows and columns of the image that outlines were drawn on, where `stating_size` said it."""
    said = geojson.get("compseg") if isinstance(geojson, Mapping) else None
    if not isinstance(said, Mapping):
        return None
    size = (said.get("height_px"), said.get("width_px"))
    return size if all(isinstance(each, int) and each > 0 for each in size) else None  # type: ignore[return-value]


def classes(geojson: Mapping[str, Any] | Sequence[Any]) -> dict[str, int]:
    """How many annotations there are of each class, the most frequent first; cores of an array are none."""
    names = [_class_of(feature) for feature in _features_of(geojson) if not _is_core(feature)]
    return dict(Counter(": ".join(name) or UNCLASSIFIED for name in names).most_common())


def listed(geojson: Mapping[str, Any] | Sequence[Any]) -> str:
    """The classes with their numbers, in words."""
    found = classes(geojson)
    cores = sum(_is_core(feature) for feature in _features_of(geojson))
    words = [f"{name} ({number})" for name, number in found.items()]
    return ", ".join(words + ([f"cores of a tissue array ({cores})"] if cores else [])) or "none"


def _part(feature: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Properties or geometry of a feature; empty where it has none."""
    found = feature.get(name)
    return found if isinstance(found, Mapping) else {}


def _is_core(feature: Mapping[str, Any]) -> bool:
    known = _part(feature, "properties")
    kinds = (known.get("objectType"), known.get("object_type"), known.get("type"), feature.get("id"))
    return any(kind in _CORES for kind in kinds)


def _class_of(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """The class and those derived from it: ('Tumor', 'Positive') for 'Tumor: Positive'; () without one."""
    known = _part(feature, "properties")
    found = next((known[key] for key in _CLASS_KEYS if isinstance(known.get(key), str | Mapping)), None)
    if isinstance(found, Mapping):
        found = found.get("names") or found.get("name")
    names = [found] if isinstance(found, str) else found if isinstance(found, Sequence) else []
    return tuple(part.strip() for name in names for part in str(name).split(": ") if part.strip())


def _is_of(found: tuple[str, ...], wanted: str) -> bool:
    parts = tuple(part.strip() for part in wanted.split(": "))
    return found[: len(parts)] == parts or (not found and wanted == UNCLASSIFIED)


def _areas(feature: Mapping[str, Any], number: int) -> list[Any]:
    """The polygons of a feature, each a list of rings."""
    geometry = _part(feature, "geometry")
    kind, parts = geometry.get("type"), geometry.get("coordinates", geometry.get("geometries")) or []
    is_list = isinstance(parts, list | tuple)
    if kind == "Polygon" and is_list:
        return [parts] if parts else []
    if kind == "MultiPolygon" and is_list and all(isinstance(each, list | tuple) for each in parts):
        return [rings for rings in parts if rings]
    if kind == "GeometryCollection" and is_list:
        return [rings for part in parts for rings in _areas({"geometry": part}, number)]
    raise ValueError(
        f"feature {number} of the GeoJSON is a {kind}, required Polygon or MultiPolygon. Export areas only, "
        "or name a classification that has areas only."
    )


def _features_of(geojson: Mapping[str, Any] | Sequence[Any]) -> list[Mapping[str, Any]]:
    """Features of a collection, of a list as QuPath 0.2 wrote it, or the only one."""
    kind = geojson.get("type") if isinstance(geojson, Mapping) else type(geojson).__name__
    features: Any = None
    if kind == "Feature":
        features = [geojson]
    elif isinstance(geojson, Mapping) and kind == "FeatureCollection":
        features = geojson.get("features")
    elif isinstance(geojson, list) and geojson:
        features = geojson
    if not isinstance(features, list) or not all(
        isinstance(each, Mapping) and each.get("type") == "Feature" for each in features
    ):
        raise ValueError(
            f"found a GeoJSON of type {kind}, required FeatureCollection or Feature; export as those."
        )
    return list(_with_children(features))


def _with_children(features: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Objects with those that QuPath nests in them; the root of its hierarchy, which has no place, is left out."""
    for feature in features:
        known = _part(feature, "properties")
        if known.get("objectType") not in _ROOTS and feature.get("id") not in _ROOTS:
            yield feature
        children = known.get("childObjects")
        if isinstance(children, list):
            yield from _with_children([child for child in children if isinstance(child, Mapping)])


def _ring(ring: Any, number: int) -> np.ndarray:
    try:
        points = np.array(ring, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    is_ring = points.ndim == 2 and points.shape[0] >= 4 and points.shape[1] >= 2
    if not is_ring or not np.isfinite(points).all() or (points[0] != points[-1]).any():
        raise ValueError(
            f"feature {number} of the GeoJSON has a ring that is not a list of at least four (x, y) whose last is "
            "its first. Export it again."
        )
    return points[:, :2]


def _fill(mask: np.ndarray, rings: list[np.ndarray]) -> None:
    """Sets the pixels whose centre has an odd number of edges on its left, as the rings of one polygon have."""
    x0, y0 = np.concatenate([ring[:-1] for ring in rings]).T
    x1, y1 = np.concatenate([ring[1:] for ring in rings]).T
    height, width = mask.shape
    # An edge counts for the rows whose centre lies in its half-open span, so that a shared end counts once.
    top = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    crossed = np.maximum(bottom - top, 0)
    if not crossed.any():
        return
    edge = np.repeat(np.arange(len(x0)), crossed)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + top[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0)[edge] / (y1 - y0)[edge])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    first_row, first_column = row.min(), column.min()
    extent = (row.max() - first_row + 1, column.max() - first_column + 1)
    edges = np.bincount(
        (row - first_row) * extent[1] + column - first_column, minlength=extent[0] * extent[1]
    )
    inside = np.logical_xor.accumulate((edges & 1).astype(np.bool_).reshape(extent), axis=1)[:, :-1]
    area = mask[first_row : first_row + extent[0], first_column : first_column + extent[1] - 1]
    area |= inside
