"""Cubes on disk: one OME-Zarr image per sample, a table of samples and a description of the data set.

The layout is written down in docs/format.md. Cubes are read lazily through TensorStore: a
crop reads the tiles it touches and nothing else. write.py writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorstore as ts

from compseg_jax.config.file_schema import Axis, refuse_axis
from compseg_jax.config.locations import Location, location
from compseg_jax.config.ranges import Positive, Range, check_ranges
from compseg_jax.readers.cube import Background, Cube
from compseg_jax.runtime.csv_tables import csv_rows
from compseg_jax.runtime.files import JsonFormat, sha256_of
from compseg_jax.runtime.typed import typed
from compseg_jax.spectra.preparation.kept_steps import KeptStep, refuse_steps
from compseg_jax.store.fingerprint import content_of, mask_of, values_of
from compseg_jax.store.kvstore import array_answer, open_array, read_together
from compseg_jax.store.sample_names import is_file_name

SPLITS = ("train", "val", "test")
"""The names of the parts of a store."""


class StoreError(ValueError):
    """A store is missing, damaged or of another version; the message says where and what to do."""


@dataclass(frozen=True)
class StoreDescription:
    """dataset.json; docs/format.md says what each key means."""

    channels: Annotated[int, Range(1)]
    wavenumbers_cm1: Axis | None
    pixel_size_um: Positive | None
    background: Background
    preparation: tuple[KeptStep, ...] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = ""
    samples_sha256: str = ""

    def __post_init__(self) -> None:
        refuse_axis(self.wavenumbers_cm1, self.channels)
        refuse_steps(self.preparation)


DESCRIPTION = JsonFormat(
    "compseg-store",
    version=1,
    required=("channels", "wavenumbers_cm1", "pixel_size_um", "background"),
    absent="It is no store. Make one with `compseg ingest TABLE.csv --out STORE` or `compseg phantom --out STORE`.",
    again="ingest again",
    error=StoreError,
    schema=StoreDescription,
    seal="description_sha256",
    accept=("check", "--seal"),
)


@dataclass(frozen=True)
class Sample:
    """One row of samples.csv.

    Attributes:
      id: unique name; also the name of its cube.
      label: 1 diseased, 0 healthy.
      split: 'train', 'val' or 'test'.
      group: what must not be in two splits (a patient); the id where there is none.
      height: rows.
      width: columns.
      has_reference: whether a reference mask is stored.
      source: file the cube came from.
      content: what its image is recognised by (``store.fingerprint``), of the image as it was read, before it was
        resized and prepared; '' where unknown.
      pixel_size_um: edge of a pixel; None: that of the store.
      cube_hash: what its cube and tissue mask hold as they are stored (``store.fingerprint.values_of``); '' where
        unknown.
      tissue_hash: the same of its tissue mask (``store.fingerprint.mask_of``).
      reference_hash: the same of its reference mask.
    """

    id: str
    label: int
    split: str
    group: str
    height: Annotated[int, Range(1)]
    width: Annotated[int, Range(1)]
    has_reference: bool
    source: str = ""
    content: str = field(default="", compare=False)
    pixel_size_um: Positive | None = None
    cube_hash: str = field(default="", compare=False)
    tissue_hash: str = field(default="", compare=False)
    reference_hash: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_ranges(self)


HUGE_PAGE_BYTES = 2 * 2**20
"""What is smaller gains nothing from memory that asks for them."""


@dataclass(frozen=True)
class PendingRead:
    """A cube that is being read in the background."""

    path: Location
    values: np.ndarray | None
    future: ts.Future

    @classmethod
    def of(cls, path: Location, array: ts.TensorStore) -> PendingRead:
        """Begins to read an array whole."""
        if array.size * array.dtype.numpy_dtype.itemsize < HUGE_PAGE_BYTES:
            return cls(path, None, array.read(order="C"))
        # NumPy asks for huge pages, TensorStore does not: that saves what checksums cost (docs/decisions/57).
        values = np.empty(array.shape, array.dtype.numpy_dtype)
        begun = ts.array(values, copy=False, write=True).write(array[ts.d[:].translate_to[0]])
        return cls(path, values, begun.commit)

    def result(self) -> np.ndarray:
        """The values, once they are there; raises StoreError where the file is damaged, LocationError out of reach."""
        try:
            answer = array_answer(self.future, self.path)
        except ValueError as error:
            raise damaged(self.path, error) from error
        return answer if self.values is None else self.values


@dataclass(frozen=True)
class Store:
    """An opened data set: its samples, its axis, and lazy reading.

    Attributes:
      path: directory or URL of the store.
      samples: all samples, in the order of samples.csv.
      channels: number of channels of every cube.
      wavenumbers_cm1: the axis shared by all cubes (c,), or None for ordinary images.
      pixel_size_um: edge of a pixel in µm; None where it is unknown, or differs between samples.
      background: how the tissue was recognised where no tissue mask was given: 'zero' means that pixels
        whose channels are all 0 are background, 'none' that every pixel is tissue.
      preparation: steps that the raw spectra went through, as ``spectra.preparation`` writes them; None where
        the cubes are as they were measured.
      reading: what was said of the files at ingest (``readers.reading_options.Instructions`` as JSON).
    """

    path: Location
    samples: tuple[Sample, ...]
    channels: int
    wavenumbers_cm1: np.ndarray | None
    pixel_size_um: float | None
    background: Background
    preparation: list[dict[str, Any]] | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Location | str, *, as_edited: bool = False) -> Store:
        """Opens a store: a directory, or a URL as text (``s3://``, ``gs://``, ``http(s)://``).

        Args:
          path: its place.
          as_edited: whether its tables are read although they are not those that were written.

        Raises:
          StoreError: when ``path`` is no store, a damaged or edited one, or one of a version this release cannot read.
          LocationError: when a URL refuses or does not answer.
        """
        path = location(path)
        description, table = read_together([path / "dataset.json", path / "samples.csv"])
        values = _read_description(path / "dataset.json", description, as_edited=as_edited)
        samples = _read_samples(path / "samples.csv", table)
        stated = values.get("samples_sha256", "")
        if stated and not as_edited and (found := samples_sha256(samples)) != stated:
            raise StoreError(
                f"{path / 'samples.csv'}: its rows have the hash {found[:12]}…, dataset.json states {stated[:12]}…. "
                "The table was edited or damaged. If the edit was meant, as of a label, accept it: "
                f"{typed('check', '--seal', path)}; else copy the table anew, or ingest again."
            )
        axis = values["wavenumbers_cm1"]
        return cls(
            path=path,
            samples=samples,
            channels=values["channels"],
            wavenumbers_cm1=None if axis is None else np.asarray(axis, np.float64),
            pixel_size_um=values["pixel_size_um"],
            background=values["background"],
            preparation=values.get("preparation"),
            reading=values.get("reading", {}),
        )

    @property
    def name(self) -> str:
        """Last part of its place."""
        return self.path.resolve().name if isinstance(self.path, Path) else self.path.name

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in the order of the table."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def read(self, sample_id: str) -> np.ndarray:
        """Absorbance (y, x, c) of a sample, float32; raises StoreError where it is missing or damaged."""
        return self.read_later(sample_id).result()

    def read_later(self, sample_id: str) -> PendingRead:
        """The same in the background: the read goes on until its ``result()`` is asked for."""
        path, array = self._cube(sample_id)
        return PendingRead.of(path, array)

    def cube(self, sample_id: str) -> Cube:
        """A sample with its axis, its pixel size and the steps that the store's spectra have been through."""
        return self.as_cube(sample_id, self.read(sample_id))

    def as_cube(self, sample_id: str, absorbance: np.ndarray) -> Cube:
        """What was read of a sample (y, x, c) as a cube."""
        return Cube(
            absorbance,
            self.wavenumbers_cm1,
            self.pixel_size_of(sample_id),
            {"source": f"{self.path}: {sample_id}", "format": "compseg store"},
            tuple(self.preparation or ()),
        )

    def read_crop(self, sample_id: str, y: slice, x: slice) -> np.ndarray:
        """Absorbance (y, x, c) of a part of a sample; only the tiles it touches are read.

        Slices count as numpy's do: from the end where negative, clipped to the image.
        """
        path, array = self._cube(sample_id)
        height, width, _ = array.shape
        rows, columns = slice(*y.indices(height)), slice(*x.indices(width))
        return PendingRead.of(path, array[rows, columns]).result()

    def refuse_other_values(self, sample_id: str, absorbance: np.ndarray, tissue: np.ndarray) -> None:
        """Raises StoreError where a cube (y, x, c) or its tissue (y, x) is not what samples.csv states was stored."""
        self.refuse_another(sample_id, values_of(absorbance, tissue))

    def refuse_another(self, sample_id: str, found: str) -> None:
        """The same where ``store.fingerprint.values_of`` was found already."""
        sample, image = self._image(sample_id)
        if sample.cube_hash not in ("", found):
            raise _replaced(image / "0", sample, "its cube and tissue mask have")

    def content(self, sample_id: str) -> str:
        """What its image is recognised by: as the table states it, else the hash of the cube, which is read for it."""
        stated = self._image(sample_id)[0].content
        return stated or content_of(self.read(sample_id), self.wavenumbers_cm1)

    def pixel_size_of(self, sample_id: str) -> float | None:
        """Edge of a pixel of a sample in µm; None where unknown."""
        own = self._image(sample_id)[0].pixel_size_um
        return self.pixel_size_um if own is None else own

    def tissue(self, sample_id: str) -> np.ndarray:
        """Tissue mask (y, x), bool."""
        return self._mask(sample_id, "tissue")

    def reference(self, sample_id: str) -> np.ndarray:
        """Reference mask (y, x), bool; raises StoreError where none is stored."""
        return self._mask(sample_id, "reference")

    @cached_property
    def _by_id(self) -> dict[str, Sample]:
        return {sample.id: sample for sample in self.samples}

    def cube_folder(self, sample_id: str) -> Location:
        """Where the image of a sample lies."""
        return self.path / "cubes" / f"{sample_id}.zarr"

    def _image(self, sample_id: str) -> tuple[Sample, Location]:
        if sample_id not in self._by_id:
            raise StoreError(
                f"{self.path}: samples.csv lists no sample {sample_id!r}. Give one that it lists."
            )
        return self._by_id[sample_id], self.cube_folder(sample_id)

    def _cube(self, sample_id: str) -> tuple[Location, ts.TensorStore]:
        """The array of a sample as (y, x, c), not read yet."""
        sample, image = self._image(sample_id)
        axes = {"c": self.channels, "y": sample.height, "x": sample.width}
        array = _open_array(image / "0", axes)
        if array.dtype != ts.float32:
            raise damaged(image / "0", f"found {array.dtype.name} values, required float32")
        return image / "0", array[ts.d["y", "x", "c"].transpose[:]]

    def _mask(self, sample_id: str, name: str) -> np.ndarray:
        sample, image = self._image(sample_id)
        path = image / "labels" / name / "0"
        if name == "reference" and not sample.has_reference:
            raise StoreError(
                f"{path}: sample {sample_id!r} holds no {name} mask. Ingest it with that column."
            )
        array = _open_array(path, {"y": sample.height, "x": sample.width})
        mask = PendingRead.of(path, array).result().astype(bool)
        stated = {"tissue": sample.tissue_hash, "reference": sample.reference_hash}[name]
        if stated and mask_of(mask) != stated:
            raise _replaced(path, sample, "it has")
        return mask


def _replaced(path: Location, sample: Sample, what_has: str) -> StoreError:
    return StoreError(
        f"{path}: {what_has} another hash than samples.csv states for {sample.id!r}. It was replaced, as by that of "
        "another sample: copy it anew, or ingest again."
    )


def samples_sha256(samples: Iterable[Sample]) -> str:
    """Hash of the rows of samples.csv by what they say, not how they are written."""
    return sha256_of({"samples": [[getattr(sample, name) for name in _COLUMNS] for sample in samples]})


_COLUMNS = tuple(each.name for each in fields(Sample))
HASHES = ("cube_hash", "tissue_hash", "reference_hash")
"""Columns of what arrays hold as they are stored."""


def damaged(path: Location, what: object) -> StoreError:
    """The error for a file of a store that its reader sees to be damaged."""
    said = str(what)
    if _OTHER_CHECKSUM in said:
        said = "its values are not those that were written: their checksum differs"
    return StoreError(
        f"{path} cannot be read ({said}). The store is damaged: ingest it again, or copy it anew."
    )


_OTHER_CHECKSUM = "Digest mismatch"
"""In TensorStore's words."""


def _read_description(path: Location, content: bytes | None, *, as_edited: bool) -> dict[str, Any]:
    if content is None:
        raise DESCRIPTION.missing(path)
    return DESCRIPTION.parsed(content, path, as_edited=as_edited)


def _read_samples(path: Location, content: bytes | None) -> tuple[Sample, ...]:
    if content is None:
        raise damaged(path, "it is missing")
    samples: list[Sample] = []
    lines: dict[str, int] = {}
    try:
        rows = list(csv_rows(content.decode("utf-8-sig")))  # as spreadsheets save it
    except ValueError as error:
        raise damaged(path, error) from error
    for line, row in enumerate(rows, start=2):
        try:
            samples.append(_sample_from_row(row))
            if (first := lines.setdefault(samples[-1].id, line)) != line:
                raise ValueError(f"id {samples[-1].id!r} stands in row {first} already; list a sample once")
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"row {line}: {error!r}") from error
    return tuple(samples)


def _sample_from_row(row: dict[str, str]) -> Sample:
    if not is_file_name(row["id"]):
        raise ValueError(f"id {row['id']!r} cannot name a file")
    return Sample(
        id=row["id"],
        label=int(row["label"]),
        split=row["split"],
        group=row["group"],
        height=int(row["height"]),
        width=int(row["width"]),
        has_reference=bool(int(row["has_reference"])),
        source=row.get("source") or "",
        content=row.get("content") or "",
        pixel_size_um=float(row["pixel_size_um"]) if row.get("pixel_size_um") else None,
        **{name: row.get(name) or "" for name in HASHES},
    )


def _open_array(path: Location, axes: dict[str, int]) -> ts.TensorStore:
    """An array with these axes and sizes, not read yet; a chunk that is missing counts as damage."""
    try:
        array = open_array(path, spec={"fill_missing_data_reads": False}, open=True, read=True)
    except ValueError as error:
        raise damaged(path, error) from error
    found = dict(zip(array.domain.labels, array.shape, strict=True))
    if found != axes or list(found) != list(axes):
        raise damaged(path, f"found the axes {found}, required {axes}")
    return array
