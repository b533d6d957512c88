"""A folder of predictions as a source: pyramids on disk, spectra from the file or store that was predicted on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.config.locations import Location, is_url, location
from compseg_jax.evaluation.report.report_tables import threshold_story
from compseg_jax.prediction.formats.ome_zarr import open_maps
from compseg_jax.prediction.formats.prediction_tables import (
    FILE,
    Predictions,
    SamplePrediction,
    read_predictions,
)
from compseg_jax.prediction.formats.thumbnail import Overview, open_overview
from compseg_jax.readers.reading_options import NOTHING_SAID, Instructions
from compseg_jax.readers.scan import Scan
from compseg_jax.store.kvstore import exist, read_together
from compseg_jax.store.pyramid import Level as StoredLevel
from compseg_jax.store.read import Store
from compseg_jax.store.sample_names import is_file_name
from compseg_jax.viewer.image_layers import Pyramid
from compseg_jax.viewer.source import ListedSample, SampleView, Spectra, ViewError, named


@dataclass(frozen=True)
class StoreSpectra:
    """A cube of a store, read by crops."""

    store: Store
    sample_id: str
    shape: tuple[int, int, int]

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part (y, x, c)."""
        return self.store.read_crop(self.sample_id, rows, columns)


@dataclass(frozen=True)
class FileSpectra:
    """The cube of a file, opened when the first part of it is asked for.

    Attributes:
      path: the file.
      shape_px: rows and columns of the image that was predicted on.
      given: how it was read.
      place_px: first row and column of a core in the scan that the file is; None for whole images.
    """

    path: Path
    shape_px: tuple[int, int]
    given: Instructions = NOTHING_SAID
    place_px: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the opened file."""
        return self.scan.shape

    @cached_property
    def scan(self) -> Scan:
        """The opened file; raises ViewError where it is no longer the image that was predicted on."""
        from compseg_jax.readers.scan import ScanPart, open_scan

        scan = open_scan(self.path, **self.given.keywords())
        if self.place_px is not None:
            (top, left), (height, width) = self.place_px, self.shape_px
            return ScanPart(scan, slice(top, top + height), slice(left, left + width))
        if scan.shape[:2] != self.shape_px:
            raise ViewError(
                f"{self.path} holds {_shape(scan.shape[:2])} pixels, the prediction was made on "
                f"{_shape(self.shape_px)}: the file was changed. Predict again."
            )
        return scan

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part (y, x, c)."""
        return self.scan.window(rows, columns)


@dataclass(frozen=True, eq=False)
class PredictionsSource:
    """What `compseg predict` wrote.

    Attributes:
      folder: its folder, or URL.
      predictions: its predictions.json.
    """

    folder: Location
    predictions: Predictions

    @classmethod
    def read(cls, folder: Location) -> PredictionsSource:
        """Opens a folder of predictions; raises ViewError where it is damaged or of a later version."""
        try:
            predictions = read_predictions(folder)
        except ValueError as error:
            raise ViewError(str(error)) from error
        for sample in predictions.samples:
            if not is_file_name(sample.id):
                raise ViewError(f"{folder / FILE}: the id {sample.id!r} cannot name a folder. Predict again.")
        return cls(folder, predictions)

    @property
    def title(self) -> str:
        """Heading of the page."""
        n = len(self.predictions.samples)
        folder = self.folder.resolve() if isinstance(self.folder, Path) else self.folder
        return f"{folder.name}: {n} predicted sample{'' if n == 1 else 's'}"

    @property
    def threshold(self) -> float:
        """Activation above which a pixel is segmented."""
        return self.predictions.threshold

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """model.json (or ensemble.json) of the network, where it is still there and the same; else nothing."""
        stated = self.predictions.model
        if not stated.get("path"):
            return {}
        place = location(stated["path"])
        for text in read_together([place / "model.json", place / "ensemble.json"]):
            if text is not None:
                values: Mapping[str, Any] = json.loads(text)
                if _weights_sha256(values) == stated.get("weights_sha256"):
                    return values
        return {}

    @property
    def threshold_story(self) -> str:
        """Where the threshold comes from, in words."""
        if not self.model:
            return f"as stated in {FILE}; the model that it was predicted with is no longer in its place"
        choice = {"threshold": self.model["threshold"], **self.model.get("threshold_choice", {})}
        return threshold_story({"threshold": choice}, self.threshold).replace("evaluation", "prediction")

    def samples(self) -> Sequence[ListedSample]:
        """All samples, failed ones with their failure."""
        return [
            ListedSample(
                id=sample.id,
                score=sample.score,
                area_fraction=sample.area_fraction,
                area_low=sample.area_low,
                area_high=sample.area_high,
                label=sample.label,
                dice=sample.dice,
                failure=sample.error or "",
                outside=sample.outside,
                seen=sample.seen,
            )
            for sample in self.predictions.samples
        ]

    def open(self, sample_id: str) -> SampleView:
        """Opens a sample: only metadata are read."""
        row = named(self.samples(), sample_id)
        if row.failure:
            raise ViewError(f"{sample_id} could not be predicted: {row.failure}")
        sample = next(sample for sample in self.predictions.samples if sample.id == sample_id)
        folder = self.folder / "samples" / sample_id
        image = folder / "activation.ome.zarr"
        coarse = folder / "overview.ome.zarr"
        has_image, has_overview = exist([image / "zarr.json", coarse / "zarr.json"])
        if not has_image:
            raise ViewError(
                f"{image} is missing: the viewer needs activation maps as OME-Zarr. Predict again with that output."
            )
        stated = sample.images_sha256
        maps = open_maps(image, stated.get("activation_zarr", ""))
        if maps.shape != (sample.height_px, sample.width_px):
            raise ViewError(
                f"{image} is {_shape(maps.shape)} pixels, {FILE} states {sample.height_px}×{sample.width_px}. "
                "Predict again."
            )
        overview = open_overview(coarse, stated.get("overview_zarr", "")) if has_overview else None
        spectra, store, note = self._spectra(sample, maps.shape)
        return SampleView(
            row=row,
            activation=_pyramid(maps.activation),
            tissue=_pyramid(maps.tissue),
            reference=_reference(store, sample),
            overview=None if overview is None else Pyramid((_Stored(overview.bands),), maps.shape),
            spectra=spectra,
            spectra_note=note,
            wavenumbers_cm1=self._axis(overview, spectra),
            pixel_size_um=sample.pixel_size_um,
            thresholds=(self.threshold,),
        )

    def _spectra(
        self, sample: SamplePrediction, shape_px: tuple[int, int]
    ) -> tuple[Spectra | None, Store | None, str]:
        """The cube that was predicted on, its store, and what is said about it."""
        path = self._place(sample.source)
        if path is None:
            return None, None, f"{Path(sample.source).name} is no longer there"
        if sample.store_id is None and isinstance(path, Path):
            given = Instructions.from_json(sample.reading)
            place = (
                None if sample.top_px is None or sample.left_px is None else (sample.top_px, sample.left_px)
            )
            return FileSpectra(path, shape_px, given, place), None, f"as measured, from {path.name}"
        store = Store.open(path)
        spectra = StoreSpectra(store, sample.store_id or "", (*shape_px, store.channels))
        return spectra, store, f"as stored in {path.name}"

    def _place(self, source: str) -> Location | None:
        """Where a source is: as it was named, or beside the folder of predictions."""
        if is_url(source):
            return location(source)
        places = [Path(source), *([self.folder / source] if isinstance(self.folder, Path) else [])]
        return next((path for path in places if path.exists()), None)

    @staticmethod
    def _axis(overview: Overview | None, spectra: Spectra | None) -> np.ndarray | None:
        """Wavenumbers of the cube: what the store says, the overview, or the file, which is opened last."""
        if isinstance(spectra, StoreSpectra):
            return spectra.store.wavenumbers_cm1
        if overview is not None:
            return overview.wavenumbers_cm1
        return spectra.scan.wavenumbers_cm1 if isinstance(spectra, FileSpectra) else None


@dataclass(frozen=True)
class _Stored:
    """A level on disk, axes (y, x) or (c, y, x)."""

    level: StoredLevel

    @property
    def shape(self) -> tuple[int, ...]:
        return self.level.shape

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        index = (rows, columns) if len(self.shape) == 2 else (slice(None), rows, columns)
        return self.level[index]


def _pyramid(levels: Sequence[StoredLevel]) -> Pyramid:
    height, width = levels[0].shape
    return Pyramid(tuple(_Stored(level) for level in levels), (height, width))


def _weights_sha256(values: Mapping[str, Any]) -> str | None:
    """As predictions.json states it: of an ensemble the hash of its members' hashes."""
    if "members" not in values:
        return values.get("weights_sha256")
    return hashlib.sha256(" ".join(each["weights_sha256"] for each in values["members"]).encode()).hexdigest()


def _reference(store: Store | None, predicted: SamplePrediction) -> Pyramid | None:
    """The reference mask of a store's sample."""
    if store is None:
        return None
    sample = next((sample for sample in store.samples if sample.id == predicted.store_id), None)
    if sample is None or not sample.has_reference:
        return None
    return Pyramid.of_array(store.reference(sample.id))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
