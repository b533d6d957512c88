"""A report or a run as a source: samples of a store, predicted when they are selected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np

from compseg_jax.config.locations import Location
from compseg_jax.evaluation.report.report_source import read_source
from compseg_jax.evaluation.report.report_tables import threshold_story
from compseg_jax.evaluation.sightings import sighting_of
from compseg_jax.model import Model, ModelError, Prediction, load_model
from compseg_jax.model.run_folder import CONFIG, read_run
from compseg_jax.model.seen import Sighting
from compseg_jax.runtime.csv_tables import csv_rows
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.viewer.image_layers import Pyramid
from compseg_jax.viewer.source import ListedSample, SampleView, SpectraInMemory, ViewError, named

SPLITS_OF_A_RUN = ("test", "val")


@dataclass(frozen=True, eq=False)
class ModelSource:
    """A network and the samples of a store.

    Attributes:
      title: heading of the page.
      model: what predicts.
      store: the samples' store.
      threshold: activation above which a pixel is segmented.
      threshold_story: where it comes from.
      rows: the list, by id; numbers that are not known yet are filled in when a sample was predicted.
    """

    title: str
    model: Model
    store: Store
    threshold: float
    threshold_story: str
    rows: dict[str, ListedSample] = field(repr=False)

    @classmethod
    def of_report(
        cls, folder: Path, *, model: Location | None = None, data: Location | None = None, network: str = ""
    ) -> ModelSource:
        """The samples of a report, with the numbers that it states.

        Raises:
          ViewError, ModelError, StoreError: when the report, its model or its store are gone or others.
        """
        try:
            source = read_source(folder)
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            table = (folder / "samples.csv").read_text(encoding="utf-8")
            rows = [_row_of_report(row) for row in csv_rows(table)]
        except (ValueError, KeyError) as error:
            raise ViewError(f"{folder} cannot be shown: {error}") from error
        loaded = _load(model or source.model, f"the model of {folder}", "--model", allowed=network)
        found = loaded.weights_sha256
        if source.weights_sha256 is not None and found != source.weights_sha256:
            raise ViewError(
                f"{model or source.model} holds the weights {str(found)[:12]}…, {folder} was made with "
                f"{source.weights_sha256[:12]}…. Name the model of the report with --model, or evaluate again."
            )
        store = _open_store(data or source.data, f"the store of {folder}")
        known = {sample.id for sample in store.samples}
        lost = [row.id for row in rows if row.id not in known]
        if lost:
            raise ViewError(
                f"{store.path} has no sample {lost[0]!r}, which {folder} lists. Name the report's store with --data."
            )
        return cls(
            title=source.title,
            model=loaded.with_odds(source.odds),
            store=store,
            threshold=float(metrics["threshold"]),
            threshold_story=source.threshold_story,
            rows={row.id: row for row in rows},
        )

    @classmethod
    def of_run(cls, folder: Path, *, data: Location | None = None, network: str = "") -> ModelSource:
        """Test and validation samples of the store that a run was trained on; scores are not known yet.

        Raises:
          ViewError, ModelError, StoreError: when the run is not finished, or its store is gone.
        """
        model = _load(folder, f"the model of {folder}", None, allowed=network)
        if data is None:
            data = _data_of_run(folder)
        store = _open_store(data, f"the store of {folder}")
        chosen = [sample for split in SPLITS_OF_A_RUN for sample in store.split(split)]
        if not chosen:
            raise ViewError(
                f"{store.path} has neither test nor validation samples. Name another with --data."
            )
        return cls(
            title=f"Run {folder.resolve().name}: test and validation samples of {store.name}",
            model=model,
            store=store,
            threshold=model.threshold,
            threshold_story=threshold_story({"threshold": model.threshold_choice}, model.threshold),
            rows={sample.id: _row_of_run(model, sample) for sample in chosen},
        )

    def samples(self) -> Sequence[ListedSample]:
        """All samples."""
        return list(self.rows.values())

    def open(self, sample_id: str) -> SampleView:
        """Predicts a sample and keeps its numbers in the list."""
        row = named(self.samples(), sample_id)
        sample = next(sample for sample in self.store.samples if sample.id == sample_id)
        _, cube, prediction = next(self.model.predict_store(self.store, [sample]))
        if not prediction.tissue.any():
            raise ViewError(f"{sample_id} has no tissue left after the model's preparation: nothing to show.")
        row = self._with_numbers(row, prediction)
        if row.seen is None:
            row = replace(row, seen=sighting_of(self.model, sample, cube))
        reference = self.store.reference(sample_id) if sample.has_reference else None
        view = SampleView(
            row=row,
            activation=Pyramid.of_array(prediction.activation),
            tissue=Pyramid.of_array(prediction.tissue),
            reference=None if reference is None else Pyramid.of_array(reference),
            overview=None,
            spectra=SpectraInMemory(cube.absorbance),
            spectra_note=f"as stored in {self.store.name}",
            wavenumbers_cm1=self.store.wavenumbers_cm1,
            pixel_size_um=self.store.pixel_size_um,
            thresholds=(self.threshold,),
        )
        if row.dice is None and sample.label == 1:
            row = replace(row, dice=view.exact_counts().dice(self.threshold))
        self.rows[sample_id] = row
        return replace(view, row=row)

    def _with_numbers(self, row: ListedSample, prediction: Prediction) -> ListedSample:
        if prediction.departure is not None:
            row = replace(row, outside=prediction.departure.is_outside)
        if row.score is not None:
            return row
        activations = np.asarray(prediction.activation[prediction.tissue])
        rule = self.model.with_threshold(self.threshold).area_rule()
        low, high = rule.interval(activations) or (None, None)
        return replace(
            row,
            score=float(activations.mean(dtype=np.float64)),
            area_fraction=float((activations > self.threshold).mean()),
            area_low=low,
            area_high=high,
        )


def _row_of_run(model: Model, sample: Sample) -> ListedSample:
    """What is known before it is predicted; stores of earlier releases state no content to recognise it by."""
    seen = model.seen.how(sample.content, sample.id, sample.group) if sample.content else None
    return ListedSample(sample.id, label=sample.label, seen=seen)


def _row_of_report(row: dict[str, str]) -> ListedSample:
    def value(name: str) -> float | None:
        return float(row[name]) if row.get(name) else None

    return ListedSample(
        id=row["id"],
        score=value("mean_activation"),
        area_fraction=value("area_fraction"),
        area_low=value("area_low"),
        area_high=value("area_high"),
        label=int(row["label"]),
        dice=value("dice"),
        outside={"True": True, "False": False}.get(row.get("outside", "")),
        seen=next((name for name in get_args(Sighting) if name == row.get("seen")), None),
    )


def _data_of_run(folder: Path) -> Location:
    """The store that a run was trained on, by its config.json."""
    if not (folder / CONFIG).is_file():
        raise ViewError(f"{folder} does not say where its store is (no {CONFIG}). Name it with --data.")
    try:
        return read_run(folder).data
    except ModelError as error:
        raise ViewError(f"{error} Name its store with --data.") from error


def _load(path: Location, what: str, option: str | None, *, allowed: str) -> Model:
    try:
        return load_model(path, network=allowed)
    except ModelError as error:
        hint = f" If it was moved, name its place with {option}." if option else ""
        raise ViewError(f"{what} cannot be opened: {error}{hint}") from error


def _open_store(path: Location, what: str) -> Store:
    try:
        return Store.open(path)
    except StoreError as error:
        raise ViewError(
            f"{what} cannot be opened: {error} If it was moved, name its place with --data."
        ) from error
