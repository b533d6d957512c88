"""The folder of outlines that are drawn in the viewer: one GeoJSON a sample, read back, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.drawing import style
from compseg_jax.prediction.formats.outlines import trace
from compseg_jax.prediction.formats.smoothing import smoothed_rings
from compseg_jax.readers import drawn_outlines
from compseg_jax.readers.drawn_outlines import DISEASED, HEALTHY
from compseg_jax.runtime.files import atomic_file
from compseg_jax.store.sample_names import is_file_name
from compseg_jax.viewer.source import SampleView, ViewError

MOST_POINTS = 200_000
"""Of all outlines of a sample: more than a page can draw."""
CLASSES = (DISEASED, HEALTHY)

Outline = dict[str, Any]
"""``class``, one of `CLASSES`, and ``rings``: the outer one and its holes, lists of [x, y] in pixels, not closed."""


class ConflictError(Exception):
    """The file in the folder is not the one that was opened; the message says what to do."""


@dataclass(frozen=True)
class Drawn:
    """The outlines of a sample.

    Attributes:
      outlines: in the order of the file.
      version: hash of the file; '' where there is none.
    """

    outlines: list[Outline]
    version: str = ""


@dataclass(frozen=True)
class DrawnFolder:
    """Where outlines are kept, ``<id>.geojson`` each: what `compseg ingest --references` takes."""

    folder: Path

    def path(self, sample_id: str) -> Path:
        """The file of a sample; raises ViewError for an id that would leave the folder."""
        if not is_file_name(sample_id):
            raise ViewError(f"the id {sample_id!r} cannot name a file.")
        return self.folder / f"{sample_id}.geojson"

    def read(self, sample_id: str) -> Drawn:
        """What was drawn of a sample, nothing where there is no file.

        Raises:
          ViewError: when the file is damaged, or holds other classes than the viewer draws.
        """
        path = self.path(sample_id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return Drawn([])
        elsewhere = "It stays as it is: name another folder with --outlines, or move it away."
        try:
            geojson = json.loads(content)
            found = {name: drawn_outlines.polygons(geojson, name) for name in _known(geojson)}
        except ValueError as error:
            raise ViewError(f"{path} cannot be shown: {error} {elsewhere}") from error
        outlines = [
            {"class": name, "rings": [ring[:-1].tolist() for ring in rings]}
            for name, each in found.items()
            for rings in each
        ]
        return Drawn(outlines, _version(content))

    def write(self, sample_id: str, outlines: Any, version: str, *, shape_px: tuple[int, int]) -> Drawn:
        """Writes what was drawn; what is there is replaced only where it is the version that was opened.

        Args:
          sample_id: of the sample.
          outlines: of it, as `Drawn.outlines`.
          version: of the file that was read or written last; '' for none.
          shape_px: rows and columns of the image.

        Raises:
          ViewError: for outlines that are none, or lie outside of the image.
          ConflictError: when another file is there.
        """
        path = self.path(sample_id)
        checked = _checked(outlines, shape_px)
        there = _version(path.read_bytes()) if path.exists() else ""
        if there != version:
            raise ConflictError(
                f"{path} was written by someone else since it was opened here."
                if there
                else f"{path} is gone since it was opened here."
            )
        content = json.dumps(_geojson(sample_id, checked, shape_px), ensure_ascii=False, indent=1).encode()
        with atomic_file(path) as partial:
            partial.write_bytes(content)
        return Drawn(checked, _version(content))


def outlines_of_mask(mask: np.ndarray, *, least_px: float) -> list[Outline]:
    """Outlines around the regions of a mask (y, x), with few corners and yet every pixel on its side."""
    traced = trace(mask)
    areas = np.bincount(traced.labels.ravel(), minlength=traced.count + 1)
    regions = [number for number in range(1, traced.count + 1) if areas[number] >= least_px]
    outlines = [
        {"class": DISEASED, "rings": [ring.tolist() for ring in rings]}
        for rings in smoothed_rings(traced, regions=regions)
    ]
    points = sum(len(ring) for outline in outlines for ring in outline["rings"])
    if points > MOST_POINTS:
        raise ViewError(
            f"the outlines have {points:,} points, at most {MOST_POINTS:,} can be changed here. Choose a higher "
            "threshold, or correct segmentation.geojson in QuPath."
        )
    return outlines


def segmentation_of(view: SampleView, threshold: float) -> np.ndarray:
    """Tissue pixels above a threshold, in full resolution."""
    mask = np.zeros(view.shape_px, bool)
    columns = slice(0, view.shape_px[1])
    for rows, activation in view.activation.strips():
        mask[rows] = activation > np.float32(threshold)
        if view.tissue is not None:
            mask[rows] &= view.tissue.levels[0].read(rows, columns) > 0
    return mask


def _known(geojson: Any) -> list[str]:
    others = [name for name in drawn_outlines.classes(geojson) if name not in CLASSES]
    if others:
        raise ValueError(
            f"it holds {drawn_outlines.listed(geojson)}; the viewer draws {DISEASED} and {HEALTHY} alone."
        )
    return [name for name in CLASSES if name in drawn_outlines.classes(geojson)]


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checked(outlines: Any, shape_px: tuple[int, int]) -> list[Outline]:
    """The same outlines without anything else."""
    if not isinstance(outlines, list):
        raise ViewError(f"outlines are a {type(outlines).__name__}, required is a list.")
    height, width = shape_px
    checked: list[Outline] = []
    for outline in outlines:
        rings = outline.get("rings") if isinstance(outline, Mapping) else None
        if not isinstance(rings, list) or not rings or outline.get("class") not in CLASSES:
            raise ViewError(f"an outline needs a class of {', '.join(CLASSES)} and rings.")
        kept = []
        for ring in rings:
            points = [_point(each, width, height) for each in ring] if isinstance(ring, list) else []
            if len(points) < 3:
                raise ViewError(f"a ring has {len(points)} points, at least 3 are required.")
            kept.append(points)
        checked.append({"class": outline["class"], "rings": kept})
    return checked


def _point(point: Any, width: int, height: int) -> list[float]:
    is_point = isinstance(point, list) and len(point) == 2
    if not is_point or not all(
        isinstance(part, int | float)
        and not isinstance(part, bool)
        and math.isfinite(part)
        and 0 <= part <= most
        for part, most in zip(point, (width, height), strict=True)
    ):
        raise ViewError(
            f"found the point {point}, required are x from 0 to {width} and y from 0 to {height}."
        )
    return [float(part) for part in point]


def _geojson(sample_id: str, outlines: Sequence[Outline], shape_px: tuple[int, int]) -> dict[str, Any]:
    return {
        "type": "FeatureCollection",
        **drawn_outlines.stating_size(sample_id, shape_px),
        "features": [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[*ring, ring[0]] for ring in outline["rings"]],
                },
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": outline["class"], "color": list(style.rgb(outline["class"]))},
                },
            }
            for outline in outlines
        ],
    }
