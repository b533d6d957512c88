"""What is called on a tissue array: a row a core, a picture, a page, and outlines of cores and regions for QuPath.

The layout of the files is written down in docs/outputs.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool

from compseg_jax.config.locations import absolute
from compseg_jax.drawing.document import page
from compseg_jax.ingest.cores.core_map import BLUE, PALE, VERMILION, YELLOW, Marks, RingStyle, core_map_png
from compseg_jax.ingest.cores.cores_csv import write_cores_csv
from compseg_jax.ingest.cores.grid import Core
from compseg_jax.ingest.tissue_arrays import TissueArray
from compseg_jax.model.call_chance import VALIDATION_AREAS
from compseg_jax.model.model import Model
from compseg_jax.prediction.array_cores import OpenedArray
from compseg_jax.prediction.formats.ome_zarr import open_maps
from compseg_jax.prediction.formats.prediction_tables import SamplePrediction
from compseg_jax.readers.scan import finest_per_pixel_xy
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.runtime.files import atomic_file, write_text

ARRAYS = "arrays"
LEFT_OUT = "left out"
STYLES: Mapping[str, RingStyle] = MappingProxyType(
    {
        "diseased": RingStyle(VERMILION, 1, 1.0),
        "healthy": RingStyle(BLUE, 6, 0.75),
        "undecided": RingStyle(YELLOW, 14, 0.55),
        LEFT_OUT: RingStyle(PALE, 28, 0.3),
    }
)
"""Told apart by their dashes, too."""
CORNERS = 64
"""Of the polygon that stands for the circle of a core."""


@dataclass(frozen=True, kw_only=True)
class CoreCall:
    """What is said of one position of an array; a row of calls.csv. Numbers are None where they do not exist."""

    core: str
    """Its name, such as B3."""
    row: int
    """Counted from 0."""
    column: int
    """Counted from 0."""
    y_px: float
    """Centre, in pixels of the scan; 0 is the centre of the first."""
    x_px: float
    """The same along x."""
    radius_px: float
    """Radius."""
    status: str
    """'present', 'broken' or 'missing'."""
    call: str
    """'diseased', 'healthy', 'undecided', or 'left out'."""
    why: str
    """What the call rests on, or why there is none."""
    chance: float | None = None
    """How often a core of the other label would get such an area, at most."""
    score: float | None = None
    """Mean activation in the tissue, 0 to 1."""
    area_fraction: float | None = None
    """Part of the tissue that is segmented, 0 to 1."""
    area_low: float | None = None
    """Lower end of the interval of the diseased part."""
    area_high: float | None = None
    """Upper end of it."""
    tissue_px: int | None = None
    """Pixels of tissue that the network saw."""
    tissue_of_core: float | None = None
    """The same as part of a full core's area; the rest is glass, or was left out by the preparation."""
    outside: bool | None = None
    """Whether it lies outside of what the model was trained on; None where the model cannot say."""
    t2: float | None = None
    """Mean of Hotelling's T² by its limit; above 1 outside."""
    q: float | None = None
    """Mean residual by its limit; above 1 outside."""
    texture: float | None = None
    """Of images of few channels, the distance of its texture by its limit."""
    outside_fraction: float | None = None
    """Part of the judged pixels that lie outside."""
    seen: str | None = None
    """What the model saw of it before."""
    sample: str = ""
    """Its id in predictions.csv."""


@dataclass(frozen=True, eq=False)
class ArrayCalls:
    """The calls of one array.

    Attributes:
      opened: the array.
      rows: of every position, in the order of the grid.
      samples: what was predicted, by the name of the core.
      rule: how cores are called, in sentences.
    """

    opened: OpenedArray
    rows: tuple[CoreCall, ...]
    samples: Mapping[str, SamplePrediction]
    rule: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its files lie, below the folder of the predictions."""
        return Path(ARRAYS) / self.opened.name

    @property
    def counts(self) -> dict[str, int]:
        """How many cores got each call."""
        return {call: sum(row.call == call for row in self.rows) for call in STYLES}

    def write(self, out: Path) -> None:
        """Writes calls.csv, .png, .geojson and .html, and cores.csv; each whole or not at all."""
        folder, array = out / self.folder, self.opened.array
        folder.mkdir(parents=True, exist_ok=True)
        write_cores_csv(folder / "cores.csv", array.grid, array.path.name)
        write_text(folder / "calls.csv", self._csv())
        write_text(folder / "calls.geojson", self._geojson(out))
        marks = Marks(STYLES, [row.call for row in self.rows], segmented=self._segmented(out))
        picture = core_map_png(array.shown, array.grid, marks)
        with atomic_file(folder / "calls.png") as partial:
            partial.write_bytes(picture)
        text = page(
            "array_calls",
            title=f"Calls on {array.path.name}",
            picture=picture,
            counts=self.counts,
            rows=self.rows,
            rule=self.rule,
            notes=[note for note in (array.note, *self.opened.notes) if note],
            judged=any(row.outside is not None for row in self.rows),
        )
        write_text(folder / "calls.html", text)

    def _csv(self) -> str:
        return csv_text([each.name for each in fields(CoreCall)], map(vars, self.rows), line_end="\r\n")

    def _segmented(self, out: Path) -> Bool[np.ndarray, "y x"] | None:
        """Segmented pixels of the whole scan; None where no maps are kept."""
        height, width = self.opened.array.grid.shape_px
        found = None
        for sample in self.samples.values():
            if "activation_zarr" not in sample.files or sample.top_px is None or sample.left_px is None:
                continue
            found = np.zeros((height, width), bool) if found is None else found
            image = out / sample.files["activation_zarr"]
            maps = open_maps(image, sample.images_sha256.get("activation_zarr", ""))
            mask = maps.segmentation[0][:].astype(bool)
            top, left = sample.top_px, sample.left_px
            rows, columns = _inside(top, mask.shape[0], height), _inside(left, mask.shape[1], width)
            found[rows, columns] |= mask[_moved(rows, -top), _moved(columns, -left)]
        return found

    def _geojson(self, out: Path) -> str:
        features = [*self._cores(), *self._regions(out)]
        lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in features]
        return '{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n"

    def _cores(self) -> Iterator[dict[str, Any]]:
        """A locked circle for every core, so that a click in QuPath takes the regions in it."""
        scale = np.array(finest_per_pixel_xy(self.opened.array.scan))
        angles = np.linspace(0, 2 * math.pi, CORNERS + 1)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        circle[-1] = circle[0]
        for row in self.rows:
            if row.call == LEFT_OUT:
                continue
            centre = np.array([row.x_px, row.y_px]) + 0.5
            corners = np.round((centre + row.radius_px * circle) * scale, 2)
            measured = {
                "Score": row.score,
                "Chance": row.chance,
                "Segmented part of the tissue": row.area_fraction,
                "Diseased part, lower end": row.area_low,
                "Diseased part, upper end": row.area_high,
            }
            yield {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [corners.tolist()]},
                "properties": {
                    "objectType": "annotation",
                    "name": row.core,
                    "isLocked": True,
                    "classification": {
                        "name": row.call.capitalize(),
                        "color": list(STYLES[row.call].colour),
                    },
                    "measurements": {
                        name: round(value, 6) for name, value in measured.items() if value is not None
                    },
                    "metadata": {"call": row.call, "why": row.why},
                },
            }

    def _regions(self, out: Path) -> Iterator[dict[str, Any]]:
        """The segmented regions of all cores, where they were asked for."""
        for sample in self.samples.values():
            if "geojson" in sample.files:
                text = (out / sample.files["geojson"]).read_text(encoding="utf-8")
                yield from json.loads(text)["features"]


def calls_of(opened: OpenedArray, samples: Sequence[SamplePrediction], model: Model) -> ArrayCalls:
    """What is called on an array.

    Args:
      opened: the array.
      samples: all that are in the folder of the predictions.
      model: that they were predicted with, with the threshold in use.
    """
    array = opened.array
    own = {
        sample.core: sample
        for sample in samples
        if sample.core is not None and sample.source == absolute(array.path)
    }
    rows = tuple(_row(core, own.get(core.name), array, model) for core in array.grid.cores)
    done = {name: sample for name, sample in own.items() if sample.status == "done"}
    return ArrayCalls(opened, rows, done, rule_of(model))


def rule_of(model: Model) -> tuple[str, ...]:
    """How cores are called and what the chance is, in sentences."""
    if model.without_calls:
        return (f"No core is called diseased or healthy: {model.without_calls}. Scores and areas stand.",)
    cut, kept = model.area_cut_in_use, model.description.get(VALIDATION_AREAS)
    number = f"{len(kept['diseased'])} diseased and {len(kept['healthy'])} healthy" if kept else "its"
    called = (
        f"A core is called diseased where more than {cut:.1%} of its tissue is segmented (activation above "
        f"{model.threshold:.3g}), else healthy: the cut-off of greatest sensitivity plus specificity on {number} "
        "validation samples of the model. It is undecided where it lies outside of what the model was trained on, and "
        "left out where no pixel of it is left."
    )
    if not kept:
        return (called, "The model keeps no areas of its validation samples, so that no chance is known.")
    return (
        called,
        "The chance says how often, at most, a core of the other label would look as much like it: one more than the "
        "validation samples of that label that do, by one more than all of them. The same samples chose the epoch and "
        "the threshold, so it is somewhat too small; how often calls are right is measured by `compseg evaluate` on "
        "samples that had no say.",
    )


def _row(core: Core, sample: SamplePrediction | None, array: TissueArray, model: Model) -> CoreCall:
    place = {name: getattr(core, name) for name in ("row", "column", "y_px", "x_px", "radius_px", "status")}
    reason = _left_out(core, sample)
    if reason or sample is None:
        return CoreCall(core=core.name, **place, call=LEFT_OUT, why=reason)
    own = (
        "score", "area_fraction", "area_low", "area_high", "tissue_px", "outside", "t2", "q", "texture",
        "outside_fraction", "seen", "chance",
    )  # fmt: skip
    full = math.pi * (array.grid.core_diameter_px / 2) ** 2
    return CoreCall(
        core=core.name,
        **place,
        call=sample.call or "undecided",
        why=_why(sample, model),
        tissue_of_core=None if sample.tissue_px is None else sample.tissue_px / full,
        sample=sample.id,
        **{name: getattr(sample, name) for name in own},
    )


def _left_out(core: Core, sample: SamplePrediction | None) -> str:
    if core.status == "missing":
        return "no tissue found at its place on the array"
    if not core.keep:
        return "marked not to be kept"
    if sample is None:
        return "not predicted yet"
    return f"failed: {sample.error}" if sample.status == "failed" else ""


def _why(sample: SamplePrediction, model: Model) -> str:
    if sample.outside:
        return "outside of what the model was trained on"
    if sample.area_fraction is None:
        return "no tissue is left by the preparation"
    if sample.call not in ("diseased", "healthy"):
        return model.without_calls
    relation = "above" if sample.call == "diseased" else "not above"
    said = f"{sample.area_fraction:.1%} of the tissue segmented, {relation} {model.area_cut_in_use:.1%}"
    chance = model.chance(sample.call, sample.area_fraction)
    return said if chance is None else f"{said}; {chance.in_words()}"


def _inside(begin: int, length: int, whole: int) -> slice:
    return slice(max(begin, 0), min(begin + length, whole))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
