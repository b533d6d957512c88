"""The page of a comparison: one file, every picture inside, the maps of the same samples side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from compseg_jax.config.locations import Location
from compseg_jax.drawing import document
from compseg_jax.drawing.numbers import number, percent
from compseg_jax.drawing.pictures import activation_ramp
from compseg_jax.drawing.plots import DISEASED, HEALTHY, NEUTRAL, new_figure, svg_text
from compseg_jax.evaluation.evaluate import preview
from compseg_jax.evaluation.report.report_folder import picture_name
from compseg_jax.evaluation.report.tiles import SHEET_BYTES, Tile, contact_sheet
from compseg_jax.evaluation.run_records.comparison import Comparison, Side
from compseg_jax.evaluation.run_records.comparison_text import difference_rows, figure_rows, setting_rows
from compseg_jax.evaluation.run_records.scores_record import Row, Scores
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.runtime.files import write_text
from compseg_jax.store.kvstore import LocationError
from compseg_jax.store.read import Store, StoreError

GREY = 0.5
SCATTERED = (("area_fraction", "segmented area"), ("dice", "Dice"))


class _Shown(NamedTuple):
    """A side's map of a sample, and what stands below it."""

    letter: str
    tile: Tile
    said: str


class _Sample(NamedTuple):
    """A sample with the maps of all sides."""

    id: str
    group: str
    label: int
    maps: list[_Shown]


class _Scatter(NamedTuple):
    title: str
    svg: str
    alt: str


def check_page(out: Path) -> None:
    """Refuses a place that holds something else than a page of ours; call it before the work.

    Raises:
      FileExistsError: a folder, or a file that is no page of compseg_jax.
    """
    if not out.exists():
        return
    if out.is_file():
        with out.open(encoding="utf-8", errors="replace") as stream:
            if document.GENERATOR in stream.read(1000):
                return
    raise FileExistsError(f"{out} is no page of compseg_jax, so it is left alone. Choose another --out.")


def write_comparison(out: Path, found: Comparison, *, samples: int = 24) -> Path:
    """Writes the page and returns its path.

    Args:
      out: the page, a file.
      found: what is compared.
      samples: how many samples are shown with their maps: those whose segmented areas differ most.

    Raises:
      FileExistsError: as of `check_page`.
      ValueError: where a map of a report cannot be read.
    """
    check_page(out)
    shown = _samples(found, samples)
    text = document.page(
        "compare",
        title=f"Comparison of {len(found.sides)} runs",
        found=found,
        settings_rows=setting_rows(found),
        figure_rows=figure_rows(found),
        difference_rows=difference_rows(found.differences),
        scatters=_scatters(found),
        samples=shown,
        has_outlines=any(each.tile.outline for sample in shown for each in sample.maps),
        ramp=activation_ramp(),
    )
    write_text(out, text, durable=False)
    return out


def _samples(found: Comparison, most: int) -> list[_Sample]:
    """The shared samples whose areas differ most between any two sides, in the order of the first report."""
    if found.same is None or not found.same.n:
        return []
    areas = np.array([[float(row["area_fraction"]) for row in rows] for rows in found.same.rows])
    order = np.argsort(-np.ptp(areas, axis=0), kind="stable")[:most]
    chosen = sorted(order.tolist())
    pictures = _Pictures()
    maps = [
        _maps(side, [rows[place] for place in chosen], pictures, len(found.scored))
        for side, rows in zip(found.scored, found.same.rows, strict=True)
    ]
    first = found.same.rows[0]
    return [
        _Sample(
            first[place]["id"], first[place]["group"], int(first[place]["label"]), [each[at] for each in maps]
        )
        for at, place in enumerate(chosen)
    ]


_Picture = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class _Pictures:
    """Images and masks of samples, each store opened once; grey where a store is not there."""

    def __init__(self) -> None:
        self._stores: dict[Location, Store | None] = {}

    def of(self, data: Location | None, sample_id: str, shape: tuple[int, ...]) -> _Picture:
        """Preview, tissue (y, x), and reference mask or None; all of the shape, or grey and everything tissue."""
        store = None if data is None else self._store(data)
        try:
            if store is not None:
                cube, tissue = store.cube(sample_id), store.tissue(sample_id)
                known = {sample.id: sample for sample in store.samples}[sample_id]
                reference = store.reference(sample_id) if known.has_reference else None
                if tissue.shape == shape:
                    return preview(cube.absorbance, tissue, cube.wavenumbers_cm1), tissue, reference
        except (StoreError, LocationError):
            pass  # a store that changed since shows no image; figures and maps are the report's own
        return np.full(shape, GREY), np.ones(shape, np.bool_), None

    def _store(self, data: Location) -> Store | None:
        if data not in self._stores:
            try:
                self._stores[data] = Store.open(data)
            except (StoreError, LocationError):
                self._stores[data] = None
        return self._stores[data]


def _maps(side: Side, rows: Sequence[Row], pictures: _Pictures, n_sides: int) -> list[_Shown]:
    assert side.scores is not None
    scores, threshold = side.scores, float(side.scores.metrics["threshold"])
    results = [_result(scores, row, pictures) for row in rows]
    tiles = contact_sheet(results, threshold, max_bytes=SHEET_BYTES // n_sides)
    return [_Shown(side.letter, tile, _said(row)) for tile, row in zip(tiles, rows, strict=True)]


def _result(scores: Scores, row: Row, pictures: _Pictures) -> SampleResult:
    path = scores.folder / "activation" / picture_name(row["id"])
    try:
        activation = np.asarray(Image.open(path), np.float32) / 255
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error}). Evaluate again with `compseg evaluate`."
        ) from error
    image, tissue, reference = pictures.of(scores.data, row["id"], activation.shape)
    return SampleResult(row["id"], int(row["label"]), row["group"], activation, tissue, reference, image)


def _said(row: Row) -> str:
    dice = f", Dice {number(float(row['dice']), 2)}" if row.get("dice") else ""
    return f"area {percent(float(row['area_fraction']))}{dice}"


def _scatters(found: Comparison) -> list[_Scatter]:
    """Each side against the first, a point a sample."""
    if found.same is None or not found.same.n:
        return []
    first, made = found.same.rows[0], []
    for side, rows in zip(found.scored[1:], found.same.rows[1:], strict=True):
        for column, title in SCATTERED:
            pairs = [both for both in zip(first, rows, strict=True) if all(row.get(column) for row in both)]
            if pairs:
                axes = found.scored[0].letter, side.letter
                svg = _scatter(
                    [(int(a["label"]), float(a[column]), float(b[column])) for a, b in pairs], title, axes
                )
                alt = f"{title} of each sample, {axes[1]} against {axes[0]}: {len(pairs)} samples."
                made.append(_Scatter(f"{title}: {axes[1]} against {axes[0]}", svg, alt))
    return made


def _scatter(points: Sequence[tuple[int, float, float]], title: str, letters: tuple[str, str]) -> str:
    values = np.array(points)
    with new_figure(4.4, 3.9) as figure:
        axes = figure.add_subplot()
        top = max(float(values[:, 1:].max()) * 1.05, 0.05)
        axes.plot([0, top], [0, top], ":", color=NEUTRAL, linewidth=1, label="equal")
        for label, name, colour, marker in ((1, "diseased", DISEASED, "o"), (0, "healthy", HEALTHY, "D")):
            own = values[values[:, 0] == label]
            if len(own):
                axes.plot(own[:, 1], own[:, 2], marker, color=colour, markersize=5, alpha=0.7, label=name)
        axes.set(xlabel=f"{title}, {letters[0]}", ylabel=f"{title}, {letters[1]}")
        axes.set_xlim(-0.02 * top, top)
        axes.set_ylim(-0.02 * top, top)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=9)
        return svg_text(figure)
