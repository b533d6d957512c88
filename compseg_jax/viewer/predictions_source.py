"""A folder of predictions as a source: pyramids on disk, spectra from the file or store that was predicted on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compseg_jax.report.tables import threshold_story
from compseg_jax.store import Store, names_a_file
from compseg_jax.store_pyramid import StoredImage, label_names, open_image
from compseg_jax.viewer.layers import Pyramid
from compseg_jax.viewer.source import ListedSample, SampleView, Spectra, ViewError, named

if TYPE_CHECKING:
    from compseg_jax.spectra.scan import Scan

FILE = "predictions.json"
FORMAT = "compseg-predictions"
VERSION = 1


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
    """The cube of a file, opened when the first part of it is asked for."""

    path: Path
    shape: tuple[int, int, int]

    @cached_property
    def scan(self) -> Scan:
        """The opened file; raises ViewError where it is no longer the image that was predicted on."""
        from compseg_jax.spectra.scan import open_scan

        scan = open_scan(self.path)
        if scan.shape != self.shape:
            raise ViewError(
                f"{self.path} holds {_shape(scan.shape)}, the prediction was made on {_shape(self.shape)}: the file "
                "was changed. Predict again."
            )
        return scan

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part (y, x, c)."""
        return self.scan.window(rows, columns)


@dataclass(frozen=True, eq=False)
class PredictionsSource:
    """What `compseg predict` wrote.

    Attributes:
      folder: its folder.
      description: predictions.json.
    """

    folder: Path
    description: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> PredictionsSource:
        """Opens a folder of predictions; raises ViewError where it is damaged or of a later version."""
        path = folder / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            name, version = values["format"], values["version"]
            if name != FORMAT or type(version) is not int or not 1 <= version <= VERSION:
                raise ValueError(
                    f"found format {name!r} version {version!r}; this release reads {FORMAT!r} version 1 to {VERSION}"
                )
            float(values["threshold"])
            for entry in values["samples"]:
                if not names_a_file(entry["id"]):
                    raise ValueError(f"the id {entry['id']!r} cannot name a folder")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ViewError(
                f"{path} cannot be read ({error}). Predict again with `compseg predict`."
            ) from error
        return cls(folder, values)

    @property
    def title(self) -> str:
        """Heading of the page."""
        return f"Predictions in {self.folder.resolve().name}"

    @property
    def threshold(self) -> float:
        """Activation above which a pixel is segmented."""
        return float(self.description["threshold"])

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """model.json (or ensemble.json) of the network, where it is still there and the same; else nothing."""
        stated = self.description.get("model") or {}
        for name in ("model.json", "ensemble.json"):
            path = Path(stated.get("path") or "") / name
            if stated.get("path") and path.is_file():
                values: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                if values.get("weights_sha256") == stated.get("weights_sha256"):
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
                id=entry["id"],
                failure="" if entry["status"] == "done" else str(entry.get("error") or "not finished"),
                **{
                    name: entry.get(name)
                    for name in ("score", "area_fraction", "area_low", "area_high", "label", "dice")
                },
            )
            for entry in self.description["samples"]
        ]

    def open(self, sample_id: str) -> SampleView:
        """Opens a sample: only metadata are read."""
        row = named(self.samples(), sample_id)
        if row.failure:
            raise ViewError(f"{sample_id} could not be predicted: {row.failure}")
        entry = next(entry for entry in self.description["samples"] if entry["id"] == sample_id)
        folder = self.folder / "samples" / sample_id
        image = folder / "activation.ome.zarr"
        if not image.is_dir():
            raise ViewError(
                f"{image} is missing: the viewer needs activation maps as OME-Zarr. Predict again with that output."
            )
        stored = open_image(image)
        activation = _pyramid(stored)
        if activation.shape_px != (entry["height_px"], entry["width_px"]):
            raise ViewError(
                f"{image} is {activation.shape_px} pixels, {FILE} states {(entry['height_px'], entry['width_px'])}. "
                "Predict again."
            )
        tissue = "tissue" in label_names(image)
        coarse = folder / "overview.ome.zarr"
        thumbnail = open_image(coarse) if coarse.is_dir() else None
        overview = None if thumbnail is None else Pyramid(thumbnail.levels, activation.shape_px)
        spectra, store, note = self._spectra(entry)
        return SampleView(
            row=row,
            activation=activation,
            tissue=_pyramid(open_image(image / "labels" / "tissue")) if tissue else None,
            reference=_reference(store, entry),
            overview=overview,
            spectra=spectra,
            spectra_note=note,
            wavenumbers_cm1=self._axis(entry, thumbnail, spectra),
            pixel_size_um=entry.get("pixel_size_um"),
            thresholds=(self.threshold,),
        )

    def _spectra(self, entry: Mapping[str, Any]) -> tuple[Spectra | None, Store | None, str]:
        """The cube that was predicted on, its store, and what is said about it."""
        path = self._place(entry["source"])
        shape = (entry["height_px"], entry["width_px"], entry["channels"])
        if path is None:
            return None, None, f"{entry['source']} is no longer there, so spectra are those of the overview"
        if entry.get("store_id") is None:
            return FileSpectra(path, shape), None, f"as measured, from {path.name}"
        store = Store.open(path)
        return StoreSpectra(store, entry["store_id"], shape), store, f"as stored in {path.name}"

    def _place(self, source: str) -> Path | None:
        """Where a source is: as it was named, or beside the folder of predictions."""
        places = [Path(source), self.folder / source]
        return next((path for path in places if path.exists()), None)

    def _axis(
        self, entry: Mapping[str, Any], thumbnail: StoredImage | None, spectra: Spectra | None
    ) -> np.ndarray | None:
        """Wavenumbers of the cube, from the first place that states as many as it has channels."""
        if isinstance(spectra, StoreSpectra):
            return spectra.store.wavenumbers_cm1
        stated: list[Any] = [entry.get("wavenumbers_cm1")]
        if thumbnail is not None:
            stated.append((thumbnail.attributes.get("compseg") or {}).get("wavenumbers_cm1"))
        if not self.model.get("preparation"):
            stated.append(self.model.get("wavenumbers_cm1"))
        for axis in stated:
            if axis is not None and len(axis) == entry["channels"]:
                return np.asarray(axis, np.float64)
        return spectra.scan.wavenumbers_cm1 if isinstance(spectra, FileSpectra) else None


def _pyramid(image: StoredImage) -> Pyramid:
    height, width = image.levels[0].shape[-2:]
    return Pyramid(tuple(_Plane.of(level) for level in image.levels), (height, width))


@dataclass(frozen=True)
class _Plane:
    """The first channel of a level (c, y, x), or a level (y, x) as it is."""

    level: Any
    shape: tuple[int, ...]

    @classmethod
    def of(cls, level: Any) -> _Plane:
        return cls(level, tuple(level.shape[-2:]))

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        part: np.ndarray = self.level.read(rows, columns)
        return part if part.ndim == 2 else part[0]


def _reference(store: Store | None, entry: Mapping[str, Any]) -> Pyramid | None:
    """The reference mask of a store's sample."""
    if store is None:
        return None
    sample = next((sample for sample in store.samples if sample.id == entry["store_id"]), None)
    if sample is None or not sample.has_reference:
        return None
    return Pyramid.of_array(store.reference(sample.id))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
