"""What a prediction folder says of its samples: sample.json, predictions.json and predictions.csv.

The layout of the folder and every key are written down in docs/outputs.md.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compseg_jax.prediction.formats.picture_files import whole_or_absent

FORMAT, SAMPLE_FORMAT = "compseg-predictions", "compseg-prediction"
VERSION = 1
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
    height_px: int | None = None
    """Rows."""
    width_px: int | None = None
    """Columns."""
    pixel_size_um: float | None = None
    """Edge of a pixel in µm."""
    channels: int | None = None
    """Channels that the network saw."""
    score: float | None = None
    """Mean activation in the tissue, 0 to 1."""
    area_fraction: float | None = None
    """Part of the tissue that is segmented, 0 to 1."""
    area_low: float | None = None
    """Lower end of its interval."""
    area_high: float | None = None
    """Upper end of its interval."""
    tissue_px: int | None = None
    """Pixels of tissue."""
    label: int | None = None
    """1 diseased, 0 healthy, where it is known."""
    dice: float | None = None
    """Agreement with a reference mask, where there is one."""
    seconds: float | None = None
    """Time that the prediction took."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Kind (see FILE_KINDS) → path relative to the prediction folder, with '/'; those that were written."""


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


def write_sample(path: Path | str, sample: SamplePrediction) -> None:
    """Writes a sample.json, whole or not at all; raises ValueError for a number that is NaN or out of range."""
    _write_json(Path(path), {"format": SAMPLE_FORMAT, "version": VERSION, **_plain(sample)})


def read_sample(path: Path | str) -> SamplePrediction:
    """Reads a sample.json; raises ValueError where it is damaged, no such file, or of a newer version."""
    path = Path(path)
    return _sample(path, _read(path, SAMPLE_FORMAT))


def write_predictions(folder: Path | str, predictions: Predictions) -> None:
    """Writes predictions.csv, then predictions.json, each whole or not at all.

    Raises:
      ValueError: if an id occurs twice, or a number is NaN or out of range.
    """
    folder = Path(folder)
    times = Counter(sample.id for sample in predictions.samples)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{folder}: the id {twice[0]!r} occurs twice; give every sample its own.")
    samples = [_plain(sample) for sample in predictions.samples]
    values = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(predictions, name) for name in ("model", "threshold", "options", "versions")},
        "samples": samples,
    }
    text = _as_json(folder / "predictions.json", values)
    with whole_or_absent(folder / "predictions.csv") as partial:
        partial.write_text(_as_csv(samples), encoding="utf-8", newline="")
    with whole_or_absent(folder / "predictions.json") as partial:
        partial.write_text(text, encoding="utf-8")


def read_predictions(folder: Path | str) -> Predictions:
    """Reads the predictions.json of a folder.

    Raises:
      ValueError: if there is none, or it is damaged or of a version that this release cannot read.
    """
    path = Path(folder) / "predictions.json"
    values = _read(path, FORMAT)
    try:
        samples = tuple(_sample(path, sample) for sample in values["samples"])
        return Predictions(
            model=values["model"],
            threshold=float(values["threshold"]),
            samples=samples,
            options=values.get("options", {}),
            versions=values.get("versions", {}),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(path, repr(error)) from error


def _plain(sample: SamplePrediction) -> dict[str, Any]:
    """The values as JSON has them, checked."""
    values = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)} | {
        "files": dict(sample.files)
    }
    values = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()
    }
    where = f"sample {sample.id!r}"
    if sample.status not in ("done", "failed") or (sample.status == "failed") != (sample.error is not None):
        raise ValueError(
            f"{where}: status is {sample.status!r} and error {sample.error!r}; required 'done' without an error, "
            "or 'failed' with one."
        )
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}: {name} is {value}; give None where it does not exist.")
    for name in ("score", "area_fraction", "area_low", "area_high", "dice"):
        value = values[name]
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{where}: {name} is {value}, required a number from 0 to 1, or None.")
    if sample.label not in (0, 1, None):
        raise ValueError(f"{where}: label is {sample.label!r}, required 0 (healthy), 1 (diseased) or None.")
    return values


def _as_csv(samples: list[dict[str, Any]]) -> str:
    names = [f.name for f in dataclasses.fields(SamplePrediction) if f.name != "files"]
    kinds = sorted({kind for sample in samples for kind in sample["files"]})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*names, *kinds], restval="")
    writer.writeheader()
    for sample in samples:
        writer.writerow({name: sample[name] for name in names} | sample["files"])
    return buffer.getvalue()


def _as_json(path: Path, values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: a value cannot be written as JSON ({error}). Give finite numbers, text, lists and mappings."
        ) from error


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = _as_json(path, values)
    with whole_or_absent(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _read(path: Path, expected: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        name, version = values.get("format"), values.get("version")
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} does not exist. Give a folder that `compseg predict` has finished writing."
        ) from error
    except (ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    if name != expected or type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"{path}: found format {name!r} version {version!r}; this release reads {expected!r} version 1 to "
            f"{VERSION}. Update compseg_jax or predict again."
        )
    return dict(values)


def _sample(path: Path, values: Mapping[str, Any]) -> SamplePrediction:
    known = {f.name for f in dataclasses.fields(SamplePrediction)}
    try:
        sample = SamplePrediction(**{name: value for name, value in values.items() if name in known})
        _plain(sample)
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    return sample


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} cannot be read ({what}). It is damaged: predict again.")
