"""The folder of a prediction: what it was started with, and its tables."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compseg_jax.config import to_json
from compseg_jax.experiment import versions
from compseg_jax.prediction.networks import Networks
from compseg_jax.prediction.options import PredictOptions
from compseg_jax.prediction.sample import ENTRY, SAMPLES

FORMAT = "compseg-predictions"
VERSION = 1
RUN_FILE, INDEX_FILE, TABLE_FILE = "run.json", "predictions.json", "predictions.csv"
FAILED = "failed.json"
MAY_CHANGE = frozenset({"inputs", "model", "out", "split", "memory_gib", "tile_px"})
NOT_IN_TABLE = ("files", "remarks", "error")
Entry = dict[str, Any]


class FolderError(ValueError):
    """A folder holds something else than predictions, or those of another model or other options."""


class PredictionFolder:
    """OUT: begun or gone on with, for one model and one set of options.

    Attributes:
      path: the folder.
      samples: where samples lie.
    """

    def __init__(self, options: PredictOptions, networks: Networks, axis_cm1: Sequence[float] | None) -> None:
        self.path = options.out
        self.samples = options.out / SAMPLES
        self._networks, self._options = networks, options
        self._asked = {
            "model": networks.digest(),
            "threshold": networks.threshold,
            **{
                name: value
                for name, value in to_json(options).items()
                if name not in (*MAY_CHANGE, "threshold")
            },
            "axis": None if axis_cm1 is None else list(axis_cm1),
        }

    def begin(self) -> None:
        """Makes the folder, or checks that it was begun with the same model and options.

        Raises:
          FolderError: when it was not, or holds something else.
        """
        run_file = self.path / RUN_FILE
        if self.path.exists() and (
            not self.path.is_dir() or (any(self.path.iterdir()) and not run_file.exists())
        ):
            raise FolderError(f"{self.path} is there and holds no predictions. Choose another --out.")
        self.samples.mkdir(parents=True, exist_ok=True)
        wanted = {"format": "compseg-predict-run", "version": VERSION, **self._asked}
        staged = self.path / f".{RUN_FILE}.{uuid.uuid4().hex}"
        staged.write_text(json.dumps(wanted, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            os.link(staged, run_file)  # unlike a rename it fails where another process was first
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not run_file.exists():
                os.replace(staged, run_file)
        finally:
            staged.unlink(missing_ok=True)
        self._check(run_file)

    def _check(self, run_file: Path) -> None:
        try:
            begun: Mapping[str, Any] = json.loads(run_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FolderError(f"{run_file} cannot be read ({error}). Choose another --out.") from error
        wanted = json.loads(json.dumps(self._asked))
        changed = [
            f"{name.replace('_', '-')} {_shown(begun.get(name))} → {_shown(value)}"
            for name, value in wanted.items()
            if begun.get(name) != value
        ]
        if changed:
            raise FolderError(
                f"{self.path} was begun with another model or other options ({'; '.join(changed)}). Go on with those "
                "it was begun with, or choose another --out."
            )

    def entry(self, sample_id: str) -> Entry | None:
        """The entry of a finished sample."""
        return _read(self.samples / sample_id / ENTRY)

    def failure(self, sample_id: str) -> tuple[Entry, float] | None:
        """The entry of a sample that failed, and when it did by the clock of the file system."""
        path = self.samples / f".{sample_id}.{FAILED}"
        found = _read(path)
        return None if found is None else (found, path.stat().st_mtime)

    def put_failure(self, entry: Entry) -> None:
        """Notes that a sample failed, for the tables and for other processes."""
        _write(self.samples / f".{entry['id']}.{FAILED}", _text(entry))

    def forget_failure(self, sample_id: str) -> None:
        """Removes the note, before a sample is tried again."""
        (self.samples / f".{sample_id}.{FAILED}").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """Of all samples in the folder that are finished or failed, by id."""
        found = {path.parent.name: _read(path) for path in self.samples.glob(f"*/{ENTRY}")}
        for path in self.samples.glob(f".*.{FAILED}"):
            found.setdefault(path.name[1 : -len(FAILED) - 1], _read(path))
        return [entry for _, entry in sorted(found.items()) if entry is not None]

    def write_tables(self) -> None:
        """Writes predictions.json and .csv of everything that is there.

        Another process may finish a sample meanwhile, so it is looked again behind the last write.
        """
        written: list[Entry] | None = None
        while (entries := self.entries()) != written:
            _write(self.path / TABLE_FILE, _csv(entries))
            _write(self.path / INDEX_FILE, _text(self._index(entries)))
            written = entries

    def _index(self, entries: list[Entry]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": {
                "path": str(self._networks.path),
                "weights_sha256": self._networks.weights_sha256(),
                "recipe": self._networks.description.get("recipe"),
            },
            "threshold": self._networks.threshold,
            "options": to_json(self._options),
            "versions": versions(),
            "samples": entries,
        }


def failed_entry(sample_id: str, source: Path, store_id: str | None, error: BaseException) -> Entry:
    """The entry of a sample that could not be predicted."""
    empty = (
        "height_px", "width_px", "pixel_size_um", "channels", "score", "area_fraction", "area_low", "area_high",
        "tissue_px", "dice", "label", "seconds",
    )  # fmt: skip
    return {
        "id": sample_id,
        "source": str(source.resolve()),
        "store_id": store_id,
        "status": "failed",
        "error": str(error) if str(error) and isinstance(error, ValueError | OSError) else repr(error),
        **dict.fromkeys(empty),
        "remarks": [],
        "files": {},
    }


def _csv(entries: list[Entry]) -> str:
    buffer = io.StringIO()
    columns = [name for name in (entries[0] if entries else {"id": ""}) if name not in NOT_IN_TABLE] + [
        "error"
    ]
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return buffer.getvalue()


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}…"


def _text(values: object) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> Entry | None:
    try:
        found: Entry = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found


def _write(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)
