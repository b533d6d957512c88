"""The folder of a prediction: what it was started with, and its tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from compseg_jax.config import to_json
from compseg_jax.config.locations import Location, Url, absolute, writable
from compseg_jax.model.left_out import NothingLeft, in_words, total
from compseg_jax.model.level import Match
from compseg_jax.model.model import Model
from compseg_jax.prediction.array_calls import ArrayCalls, calls_of
from compseg_jax.prediction.array_cores import OpenedArray
from compseg_jax.prediction.claims import remove_left_behind
from compseg_jax.prediction.formats import (
    Predictions,
    SamplePrediction,
    parsed_sample,
    write_predictions,
    write_sample,
)
from compseg_jax.prediction.inputs import Task
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.sample_places import ENTRY, SAMPLES
from compseg_jax.readers.reading_options import READING, in_command_words
from compseg_jax.runtime.files import JsonFormat, json_text, remove, remove_leftovers, resumable_place
from compseg_jax.runtime.versions import versions
from compseg_jax.store.kvstore import (
    delete,
    exist,
    names_below,
    names_like,
    read_bytes,
    read_many,
    write_bytes,
    write_new,
)

RUN_FILE = "run.json"
FAILED = "failed.json"
MATCH = "maps_matched"
"""Entry of run.json and of the model in predictions.json."""
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
    """OUT: begun or gone on with, for one model and one set of options; a folder, or below a URL.

    Attributes:
      path: the folder.
      samples: where samples lie.
      match: whether maps are brought to the level of the model, as whoever began it found.
    """

    def __init__(self, options: PredictOptions, model: Model, arrays: Sequence[OpenedArray] = ()) -> None:
        self.path = options.out
        self.samples = options.out / SAMPLES
        self._model, self._options, self._arrays = model, options, arrays
        self._failed_before: dict[str, bytes | None] = {}
        self.match = Match.none("not begun")
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

    def begin(self, match: Callable[[], Match]) -> None:
        """Makes the folder, or checks that it was begun with the same model and options.

        Args:
          match: finds whether maps are brought to the level of the model; called by who begins alone.

        Raises:
          FolderError: when it was not, or holds something else.
          LocationError: when a URL cannot be reached or written.
        """
        run_file = self.path / RUN_FILE
        if not self._may_begin(run_file):
            raise FolderError(f"{self.path} is there and holds no predictions. Choose another --out.")
        if isinstance(self.path, Path):
            (self.path / SAMPLES).mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.path / SAMPLES):
                remove_leftovers(folder)
            self._remove_finished_work(self.path / SAMPLES)
        if not exist([run_file])[0]:
            asked = {**self._asked, MATCH: asdict(match())}
            write_new(run_file, json_text(RUN.stamped(asked)).encode())
        self._check(run_file)
        (notes,) = names_like(self.samples, f".*.{FAILED}")
        texts = read_many(self.samples / name for name in notes)
        self._failed_before = dict(zip(notes, texts, strict=True))

    @staticmethod
    def _remove_finished_work(samples: Path) -> None:
        """Removes working maps of finished samples that nobody claims: their processes were killed at the last step."""
        for entry in samples.glob(f"*/{ENTRY}"):
            work = resumable_place(entry.parent)
            if work.exists() and not names_like(samples, f".{entry.parent.name}.claim.*")[0]:
                remove(work)

    def _may_begin(self, run_file: Location) -> bool:
        """Whether the folder was begun, or holds at most what a process that begins it makes first."""
        if isinstance(self.path, Url):
            return exist([run_file])[0] or set(names_below(self.path)) <= {RUN_FILE}
        if not self.path.exists():
            return True
        if not self.path.is_dir():
            return False
        others = [
            path
            for path in self.path.iterdir()
            if not path.name.startswith(f"{RUN_FILE}.") and (path != self.samples or any(path.iterdir()))
        ]
        return not others or exist([run_file])[0]

    def _check(self, run_file: Location) -> None:
        text = read_bytes(run_file)
        if text is None:
            raise RUN.missing(run_file)
        begun = RUN.parsed(text, run_file)
        # The first one's: others may have begun with more images since.
        found = begun.get(MATCH)
        self.match = Match.none("begun by an earlier release") if found is None else Match(**found)
        if found is None:  # it goes on with maps as they are, whatever is asked for now
            begun = {**begun, "match": self._asked["match"]}
        wanted = json.loads(json.dumps(self._asked))
        if begun.get("reading") != wanted["reading"] and not names_like(self.samples, f"*/{ENTRY}")[0]:
            # Nothing could be read as it was said before, so nothing here depends on it.
            begun = {**begun, "reading": wanted["reading"]}
            write_bytes(run_file, json_text(RUN.stamped(begun)).encode(), durable=True)
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

    def finished(self, sample_ids: Sequence[str]) -> list[SamplePrediction | None]:
        """Samples as they are finished; None for each that is not."""
        return self._read([self.samples / sample_id / ENTRY for sample_id in sample_ids])

    def sample(self, sample_id: str) -> SamplePrediction | None:
        """A finished sample; None where it is not finished."""
        return self.finished([sample_id])[0]

    def failure(self, sample_id: str) -> SamplePrediction | None:
        """A sample that failed since this run began; None where it did not, or another process tries it again."""
        place = self._note(sample_id)
        text = read_bytes(place)
        if text is None or text == self._failed_before.get(place.name):
            return None
        return parsed_sample(text, place)

    def put_failure(self, sample: SamplePrediction) -> None:
        """Notes that a sample failed, for the tables and for other processes."""
        write_sample(self._note(sample.id), sample)

    def forget_failure(self, sample_id: str) -> None:
        """Removes the note, before a sample is tried again."""
        delete(self._note(sample_id))

    def settled_ids(self) -> set[str]:
        """Ids of all samples that are finished or have failed; none is read."""
        finished, failed = self._names()
        return {*finished, *failed}

    def all_samples(self) -> tuple[SamplePrediction, ...]:
        """All samples in the folder that are finished or failed, by id."""
        finished, failed = self._names()
        places = {name: self._note(name) for name in failed} | {
            name: self.samples / name / ENTRY for name in finished
        }
        found = self._read([place for _, place in sorted(places.items())])
        return tuple(sample for sample in found if sample is not None)

    def _names(self) -> tuple[list[str], list[str]]:
        """Ids of the samples that are finished, and of those that failed."""
        finished, failed = names_like(self.samples, f"*/{ENTRY}", f".*.{FAILED}")
        return [name.partition("/")[0] for name in finished], [name[1 : -len(FAILED) - 1] for name in failed]

    def _note(self, sample_id: str) -> Location:
        return self.samples / f".{sample_id}.{FAILED}"

    @staticmethod
    def _read(places: Sequence[Location]) -> list[SamplePrediction | None]:
        found = [
            None if text is None else parsed_sample(text, place)
            for place, text in zip(places, read_many(places), strict=True)
        ]
        for place, sample in zip(places, found, strict=True):
            if sample is not None and place.name == ENTRY and place.parent.name != sample.id:
                raise FolderError(
                    f"{place} is that of {sample.id!r}, and lies in the folder of another sample. Put it back, or "
                    f"remove the folder {place.parent.name} and predict that sample again."
                )
        return found

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
            MATCH: asdict(self.match),
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
        remove_left_behind(self.samples, {sample.id for sample in written or () if sample.status == "done"})
        found = tuple(calls_of(array, written or (), self._model) for array in self._arrays)
        for calls in found:
            assert isinstance(self.path, Path)  # scans are refused with a URL
            calls.write(self.path)
        return found


def failed_sample(task: Task, error: BaseException) -> SamplePrediction:
    """A sample that could not be predicted."""
    left_out = error.left_out if isinstance(error, NothingLeft) else None
    expected = str(error) and isinstance(error, ValueError | OSError)
    return SamplePrediction(
        id=task.id,
        source=task.place,
        store_id=task.store_id,
        status="failed",
        error=writable(in_command_words(str(error) if expected else repr(error))),
        label=None if task.sample is None else task.sample.label,
        left_out_px=None if left_out is None else total(left_out),
        left_out_why=None if left_out is None else in_words(left_out) or None,
    )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}…"
