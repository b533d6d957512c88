"""What a prediction folder says of its samples: sample.json, predictions.json and predictions.csv.

The layout of the folder and every key are written down in docs/outputs.md.
"""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal, get_args, get_type_hints

import numpy as np

from compseg_jax.config.file_schema import values_of
from compseg_jax.config.locations import Location, location
from compseg_jax.config.ranges import Count, Positive, Range, Share
from compseg_jax.model.seen import Sighting
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.runtime.files import JsonFormat, json_text
from compseg_jax.store.kvstore import delete, read_bytes, write_bytes

FILE, PARQUET = "predictions.json", "predictions.parquet"
ROWS_OF_CSV = 1000
"""Of more samples than these there is a Parquet table, too: smaller, typed, and read a column at a time."""


@dataclass(frozen=True)
class PredictionsFile:
    """predictions.json; its samples are :class:`SamplePrediction`."""

    model: Mapping[str, Any] | None
    threshold: Share
    samples: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any] | None = None
    versions: Mapping[str, Any] | None = None


TABLE = JsonFormat(
    "compseg-predictions",
    version=1,
    required=("model", "threshold", "samples"),
    absent="Give a folder that `compseg predict` has finished writing.",
    again="predict again",
    schema=PredictionsFile,
    seal="description_sha256",
)
SAMPLE = JsonFormat(
    "compseg-prediction",
    version=1,
    required=("id", "source", "status"),
    absent=TABLE.absent,
    again="predict again",
    seal="description_sha256",
)
FILE_KINDS = (
    "activation_zarr",
    "overview_zarr",
    "activation_png",
    "mask_png",
    "geojson",
    "activation_tiff",
    "mask_tiff",
)
"""Keys of ``SamplePrediction.files``; others are kept as they are."""


@dataclass(frozen=True, kw_only=True)
class SamplePrediction:
    """What was predicted of one sample. Numbers are None where they do not exist (a failed sample, say)."""

    id: str
    """Unique in the folder; also the name of the folder of its files."""
    source: str
    """File or store that it was read from."""
    status: Literal["done", "failed"]
    store_id: str | None = None
    """Id in that store, where the source is one."""
    error: str | None = None
    """Why it failed."""
    height_px: Count | None = None
    """Rows."""
    width_px: Count | None = None
    """Columns."""
    pixel_size_um: Positive | None = None
    """Edge of a pixel in µm."""
    scale: Positive | None = None
    """That by the edge of a pixel of the training images; None where one is unknown."""
    rescaled: bool | None = None
    """Whether it was brought to the training's pixels, and its map back."""
    channels: Count | None = None
    """Channels that the network saw."""
    score: Share | None = None
    """Mean activation in the tissue, 0 to 1."""
    area_fraction: Share | None = None
    """Part of the tissue that is segmented, 0 to 1."""
    area_low: Share | None = None
    """Lower end of its interval."""
    area_high: Share | None = None
    """Upper end of its interval."""
    tissue_px: Count | None = None
    """Pixels of tissue that were predicted."""
    left_out_px: Count | None = None
    """Pixels that no network saw though they are not background; None of tables of earlier releases."""
    left_out_why: str | None = None
    """Why, in words, each reason with its pixels; None where there are none."""
    label: Annotated[int, Range(0, 1)] | None = None
    """1 diseased, 0 healthy, where it is known."""
    dice: Share | None = None
    """Agreement with a reference mask, where there is one."""
    outside: bool | None = None
    """Whether it lies outside of what the model was trained on; None where the model cannot say."""
    t2: float | None = None
    """Mean of Hotelling's T² by its limit; above 1 outside."""
    q: float | None = None
    """Mean residual by its limit; above 1 outside."""
    texture: float | None = None
    """Of images of few channels, the distance of its texture by its limit."""
    outside_fraction: Share | None = None
    """Part of the judged pixels that lie outside, 0 to 1."""
    call: Literal["diseased", "healthy", "undecided"] | None = None
    """'undecided' outside; else by the area, where the model has a cut-off for it."""
    chance: Share | None = None
    """How often a validation sample of the other label would get such an area, at most (``model.call_chance``)."""
    core: str | None = None
    """Name of its core, where the source is the scan of a tissue array."""
    top_px: int | None = None
    """First row of the core's window in the scan; it may lie outside of it."""
    left_px: int | None = None
    """First column of it."""
    seen: Sighting | None = None
    """What the model saw of it before, 'no' for nothing; None where nobody knows."""
    seconds: float | None = None
    """Time that the prediction took."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """How its file was read where that was not left to the file (``readers.reading_options.Instructions`` as JSON)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Kind (see FILE_KINDS) → path relative to the prediction folder, with '/'; those that were written."""
    files_sha256: Mapping[str, str] = field(default_factory=dict)
    """Kind → hash of the file, or of all files of a folder (``prediction.prediction_check.hash_of_output``)."""
    images_sha256: Mapping[str, str] = field(default_factory=dict)
    """Kind → hash of the zarr.json of an OME-Zarr image, which states the checksums of all its chunks."""


_MAPPINGS = ("files", "files_sha256", "images_sha256", "reading")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A prediction folder: which model made it, how, and what came out."""

    model: Mapping[str, Any]
    """``path``, ``weights_sha256`` and ``recipe`` of the model."""
    threshold: float
    """Activation above which a pixel is segmented."""
    samples: tuple[SamplePrediction, ...]
    """In the order in which they were given."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How it was predicted."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Releases of the libraries."""


def write_sample(path: Location | str, sample: SamplePrediction) -> None:
    """Writes a sample.json, whole or not at all; raises ValueError for a number that is NaN or out of range."""
    place = location(path)
    # The maps beside it are not waited for either, and there may be thousands of samples.
    write_bytes(place, _as_json(place, SAMPLE, _plain(sample)))


def read_sample(path: Location | str) -> SamplePrediction:
    """Reads a sample.json; raises ValueError where it is damaged, no such file, or of a newer version."""
    place = location(path)
    text = read_bytes(place)
    if text is None:
        raise SAMPLE.missing(place)
    return parsed_sample(text, place)


def parsed_sample(text: bytes, place: Location) -> SamplePrediction:
    """The sample of a text that was found at a place; raises as `read_sample` does."""
    return _sample(SAMPLE, place, SAMPLE.parsed(text, place))


def write_predictions(folder: Location | str, predictions: Predictions) -> None:
    """Writes predictions.csv, then predictions.json, each whole or not at all.

    Above `ROWS_OF_CSV` samples predictions.parquet is written as well, where the extra 'parquet' is installed.

    Args:
      folder: of the predictions, or its URL.
      predictions: what came out.

    Raises:
      ValueError: if an id occurs twice, or a number is NaN or out of range.
      LocationError: if a URL cannot be written.
    """
    folder = location(folder)
    times = Counter(sample.id for sample in predictions.samples)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{folder}: the id {twice[0]!r} occurs twice; give every sample its own.")
    samples = [_plain(sample) for sample in predictions.samples]
    values = {name: getattr(predictions, name) for name in ("model", "threshold", "options", "versions")}
    text = _as_json(folder / FILE, TABLE, {**values, "samples": samples})
    write_bytes(folder / "predictions.csv", _as_csv(samples).encode(), durable=True)
    # One of fewer or other samples must not stay beside the new tables.
    delete(folder / PARQUET)
    if len(samples) > ROWS_OF_CSV and has_parquet():
        write_bytes(folder / PARQUET, _as_parquet(samples), durable=True)
    write_bytes(folder / FILE, text, durable=True)


def read_predictions(folder: Location | str) -> Predictions:
    """Reads the predictions.json of a folder, or of its URL.

    Raises:
      ValueError: if there is none, or it is damaged or of a version that this release cannot read.
      LocationError: if a URL cannot be reached.
    """
    place = location(folder) / FILE
    found = read_bytes(place)
    if found is None:
        raise TABLE.missing(place)
    values = TABLE.parsed(found, place)
    try:
        return Predictions(
            model=values["model"] or {},
            threshold=float(values["threshold"]),
            samples=tuple(_sample(TABLE, place, sample) for sample in values["samples"]),
            options=values.get("options") or {},
            versions=values.get("versions") or {},
        )
    except TypeError as error:
        raise TABLE.damaged(place, repr(error)) from error


def _plain(sample: SamplePrediction) -> dict[str, Any]:
    """The values as JSON has them, checked."""
    values = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)} | {
        name: dict(getattr(sample, name)) for name in _MAPPINGS
    }
    values = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()
    }
    where = f"sample {sample.id!r}"
    try:
        values_of(SamplePrediction, values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if sample.status not in ("done", "failed") or (sample.status == "failed") != (sample.error is not None):
        raise ValueError(
            f"{where}: status is {sample.status!r} and error {sample.error!r}; required 'done' without an error, "
            "or 'failed' with one."
        )
    return values


def _rows(samples: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns of a table and its rows: what has one value a sample, and the path of each kind of file."""
    names = [f.name for f in dataclasses.fields(SamplePrediction) if f.name not in _MAPPINGS]
    kinds = sorted({kind for sample in samples for kind in sample["files"]})
    rows = [{name: sample[name] for name in names} | sample["files"] for sample in samples]
    return [*names, *kinds], rows


def _as_csv(samples: Sequence[Mapping[str, Any]]) -> str:
    columns, rows = _rows(samples)
    return csv_text(columns, rows, line_end="\r\n")


def has_parquet() -> bool:
    """Whether the library that writes Parquet is installed."""
    return find_spec("pyarrow") is not None


def _as_parquet(samples: Sequence[Mapping[str, Any]]) -> bytes:
    """Columns by the types of :class:`SamplePrediction`, so that an empty one has its type as well."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    kinds = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    hints = get_type_hints(SamplePrediction)
    columns, rows = _rows(samples)
    schema = arrow.schema(
        [
            (name, next((kinds[part] for part in get_args(hints.get(name)) if part in kinds), arrow.string()))
            for name in columns
        ]
    )
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


def _as_json(place: Location, kind: JsonFormat, values: Mapping[str, Any]) -> bytes:
    try:
        json_text(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{place}: a value cannot be written as JSON ({error}). Give finite numbers, text, lists and mappings."
        ) from error
    return json_text(kind.stamped(values)).encode()


def _sample(kind: JsonFormat, place: Location, values: Mapping[str, Any]) -> SamplePrediction:
    try:
        sample = values_of(SamplePrediction, values)
        _plain(sample)
    except (TypeError, ValueError, AttributeError) as error:
        raise kind.damaged(place, error) from error
    return sample
