"""The folder of a prediction: what it was started with, and its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compseg_jax.config import to_json
from compseg_jax.config.locations import absolute
from compseg_jax.model.model import Model
from compseg_jax.prediction.array_calls import ArrayCalls, calls_of
from compseg_jax.prediction.array_cores import OpenedArray
from compseg_jax.prediction.formats import (
    Predictions,
    SamplePrediction,
    read_sample,
    write_predictions,
    write_sample,
)
from compseg_jax.prediction.inputs import Task
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.sample import ENTRY, SAMPLES
from compseg_jax.readers.reading_options import READING, in_command_words
from compseg_jax.runtime.files import JsonFormat, json_text, put_new_file, remove_leftovers, write_text
from compseg_jax.runtime.versions import versions

RUN_FILE = "run.json"
FAILED = "failed.json"
MAY_CHANGE = frozenset(
    {
        "inputs",
        "scans",
        "cores",
        "model",
        "out",
        "split",
        "network",
        "memory_gib",
        "tile_px",
        "shard",
        "ray",
        "merge",
    }
)


class FolderError(ValueError):
    """A folder holds something else than predictions, or those of another model or other options."""


RUN = JsonFormat(
    "compseg-predict-run",
    version=1,
    absent="Choose another --out.",
    again="choose another --out",
    error=FolderError,
)


class PredictionFolder:
    """OUT: begun or gone on with, for one model and one set of options.

    Attributes:
      path: the folder.
      samples: where samples lie.
    """

    def __init__(self, options: PredictOptions, model: Model, arrays: Sequence[OpenedArray] = ()) -> None:
        self.path = options.out
        self.samples = options.out / SAMPLES
        self._model, self._options, self._arrays = model, options, arrays
        self._asked = {
            "model": model.digest(),
            "threshold": model.threshold,
            **{
                name: value
                for name, value in to_json(options).items()
                if name not in (*MAY_CHANGE, *READING, "threshold")
            },
            "reading": options.instructions.to_json(),
        }

    def begin(self) -> None:
        """Makes the folder, or checks that it was begun with the same model and options.

        Raises:
          FolderError: when it was not, or holds something else.
        """
        run_file = self.path / RUN_FILE
        if self.path.exists() and not (self.path.is_dir() and self._may_begin(run_file)):
            raise FolderError(f"{self.path} is there and holds no predictions. Choose another --out.")
        self.samples.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.samples):
            remove_leftovers(folder)
        put_new_file(run_file, json_text(RUN.stamped(self._asked)))
        self._check(run_file)

    def _may_begin(self, run_file: Path) -> bool:
        """Whether the folder was begun, or holds at most what a process that begins it makes first."""
        others = [
            path
            for path in self.path.iterdir()
            if not path.name.startswith(f".{RUN_FILE}.") and (path != self.samples or any(path.iterdir()))
        ]
        return not others or run_file.exists()

    def _check(self, run_file: Path) -> None:
        begun = RUN.read(run_file)
        wanted = json.loads(json.dumps(self._asked))
        if begun.get("reading") != wanted["reading"] and not any(self.samples.glob(f"*/{ENTRY}")):
            # Nothing could be read as it was said before, so nothing here depends on it.
            begun = {**begun, "reading": wanted["reading"]}
            write_text(run_file, json_text(RUN.stamped(begun)))
        changed = [
            f"{name.replace('_', '-')} {_shown(begun.get(name))} → {_shown(value)}"
            for name, value in wanted.items()
            if begun.get(name) != value and (name in begun or value)  # earlier releases knew fewer options
        ]
        if changed:
            raise FolderError(
                f"{self.path} was begun with another model or other options ({'; '.join(changed)}). Go on with those "
                "it was begun with, or choose another --out."
            )

    def sample(self, sample_id: str) -> SamplePrediction | None:
        """A finished sample; None where it is not finished."""
        return _read(self.samples / sample_id / ENTRY)

    def failure(self, sample_id: str) -> tuple[SamplePrediction, float] | None:
        """A sample that failed, and when it did by the clock of the file system."""
        path = self.samples / f".{sample_id}.{FAILED}"
        found = _read(path)
        try:
            return None if found is None else (found, path.stat().st_mtime)
        except FileNotFoundError:  # another process tries the sample again
            return None

    def is_settled(self, sample_id: str) -> bool:
        """Whether a sample is finished or has failed, without reading it."""
        finished, failed = self.samples / sample_id / ENTRY, self.samples / f".{sample_id}.{FAILED}"
        return finished.exists() or failed.exists()

    def put_failure(self, sample: SamplePrediction) -> None:
        """Notes that a sample failed, for the tables and for other processes."""
        write_sample(self.samples / f".{sample.id}.{FAILED}", sample)

    def forget_failure(self, sample_id: str) -> None:
        """Removes the note, before a sample is tried again."""
        (self.samples / f".{sample_id}.{FAILED}").unlink(missing_ok=True)

    def all_samples(self) -> tuple[SamplePrediction, ...]:
        """All samples in the folder that are finished or failed, by id."""
        found = {path.parent.name: _read(path) for path in self.samples.glob(f"*/{ENTRY}")}
        for path in self.samples.glob(f".*.{FAILED}"):
            found.setdefault(path.name[1 : -len(FAILED) - 1], _read(path))
        return tuple(sample for _, sample in sorted(found.items()) if sample is not None)

    def write_tables(self) -> tuple[ArrayCalls, ...]:
        """Writes predictions.json and .csv of everything that is there, and what is called on each array.

        Another process may finish a sample meanwhile, so it is looked again after the last write.

        Returns:
          the calls of each array that was given.
        """
        model = {
            "path": absolute(self._options.model),
            "weights_sha256": self._model.weights_sha256,
            "recipe": self._model.description.get("recipe"),
        }
        written: tuple[SamplePrediction, ...] | None = None
        while (samples := self.all_samples()) != written:
            predictions = Predictions(
                model=model,
                threshold=self._model.threshold,
                samples=samples,
                options=to_json(self._options),
                versions=versions(),
            )
            write_predictions(self.path, predictions)
            written = samples
        found = tuple(calls_of(array, written or (), self._model) for array in self._arrays)
        for calls in found:
            calls.write(self.path)
        return found


def failed_sample(task: Task, error: BaseException) -> SamplePrediction:
    """A sample that could not be predicted."""
    expected = str(error) and isinstance(error, ValueError | OSError)
    return SamplePrediction(
        id=task.id,
        source=task.place,
        store_id=task.store_id,
        status="failed",
        error=in_command_words(str(error) if expected else repr(error)),
        label=None if task.sample is None else task.sample.label,
    )


def _read(path: Path) -> SamplePrediction | None:
    try:
        return read_sample(path)
    except ValueError as error:
        # Not a second look whether it is there: another process may have put it there meanwhile.
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}…"
