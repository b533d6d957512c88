"""All samples of a command, shared with other processes, gone on with after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from compseg_jax.model import Model, Sightings, load_model
from compseg_jax.model.level import Match
from compseg_jax.model.model_description import UNSEALED
from compseg_jax.prediction import claims
from compseg_jax.prediction.array_calls import ArrayCalls
from compseg_jax.prediction.array_cores import open_arrays_as_trained
from compseg_jax.prediction.claims import Claim, Claims
from compseg_jax.prediction.formats import SamplePrediction
from compseg_jax.prediction.inputs import Found, InputError, Task, find_tasks, sightings_of_stores
from compseg_jax.prediction.matching import match_for
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import PredictionFolder, failed_sample
from compseg_jax.prediction.sample import Predictor, Stopped, Watch
from compseg_jax.prediction.sample_places import SamplePlaces, sample_places
from compseg_jax.prediction.shard import Shard
from compseg_jax.runtime import data_mesh
from compseg_jax.runtime.files import remove
from compseg_jax.runtime.interrupts import Interrupted, stop_requests
from compseg_jax.store.kvstore import refuse_read_only


@dataclass
class Report:
    """How a run ended.

    Attributes:
      done: samples that this process finished.
      before: samples that were finished already.
      failed: samples that failed.
      elsewhere: ids of samples that other processes are working on.
      left_out: files in folders that are no images.
      arrays: tissue arrays whose cores are among the samples.
      missing: samples of other shards, or of all where tables are merged, that are neither finished nor failed. While
        there are any, a shard writes no tables.
    """

    done: list[SamplePrediction] = field(default_factory=list)
    before: int = 0
    failed: list[SamplePrediction] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    left_out: tuple[Path, ...] = ()
    arrays: tuple[ArrayCalls, ...] = ()
    missing: int = 0


class Listener:
    """What is told about a run while it goes on; the base class is silent."""

    def started(self, samples: int) -> None:
        """Called once, with the number of samples."""

    def seen(self, found: Sightings) -> None:
        """What the model saw of the samples before; called before the first where their stores tell."""

    def begun(self, sample_id: str, pixels: int, done: int) -> None:
        """A sample was opened: its pixels, and those that are done already."""

    def advanced(self, pixels: int) -> None:
        """So many pixels more are done."""

    def stated(self, sentence: str) -> None:
        """Something about all samples, before any of them."""

    def remarked(self, sample_id: str, remark: str) -> None:
        """Something about a sample that its reader should know."""

    def ended(self, sample: SamplePrediction | None) -> None:
        """A sample is finished or failed; None where it was before, or is another process's."""


def predict(options: PredictOptions, listener: Listener | None = None) -> Report:
    """Predicts every sample that is not finished, and writes the tables.

    A sample that cannot be read or does not fit the model is noted, and the others go on.

    Raises:
      ModelError, StoreError, InputError, FolderError: before any work, when model, inputs or folder are not right.
      LocationError: when --out cannot be written, or is not reached any more.
      Interrupted: after Ctrl-C or SIGTERM; finished samples and tiles are kept.
    """
    refuse_read_only(options.out)
    listener = listener or Listener()
    model, predictor, folder, found = _begun(options)
    if options.merge:
        return _merged(folder, found.tasks)
    tasks = Shard.parsed(options.shard).part(found.tasks) if options.shard else found.tasks
    _refuse_others(folder, tasks)
    report = Report(left_out=found.left_out)
    if not model.is_sealed:
        listener.remarked(str(options.model), UNSEALED)
    if folder.match.is_applied:
        listener.stated(folder.match.sentence)
    listener.started(len(tasks))
    if (sightings := sightings_of_stores(model.seen, tasks)) is not None:
        listener.seen(sightings)
    with stop_requests() as stop, sample_places(options.out) as places:
        claimed = Claims(folder.samples)
        run = _Run(folder, predictor, places, listener, report, claimed, lambda: stop.requested)
        try:
            held = run.others(run.all(tasks))
            report.elsewhere = [task.id for task in held]
        except Stopped:
            if not options.shard:
                folder.write_tables()
            kept = ", and the tiles of the one in hand are kept" if places.keeps_tiles else ""
            raise Interrupted(
                f"stopped; {len(report.done) + report.before} of {len(tasks)} samples are finished{kept}. The same "
                "command goes on."
            ) from None
        except Exception:
            # A full disk, say: what is finished has its tables all the same, if they can be written.
            if not options.shard:
                with suppress(ValueError, OSError):
                    folder.write_tables()
            raise
    if options.shard:
        # Each shard looks after its own samples are there, so the last one to look finds all.
        report.missing = _missing(folder, found.tasks)
    if not report.missing:
        report.arrays = folder.write_tables()
    return report


@dataclass(frozen=True)
class Shares:
    """The samples of a command whose shards other processes predict.

    Attributes:
      folder: of the predictions, begun.
      tasks: all samples.
    """

    folder: PredictionFolder
    tasks: tuple[Task, ...]

    @classmethod
    def begun(cls, options: PredictOptions) -> Shares:
        """Checks model, inputs and folder, and begins it; raises as `predict` does."""
        begun = _begun(options)
        _refuse_others(begun.folder, begun.found.tasks)
        return cls(begun.folder, tuple(begun.found.tasks))

    def missing(self, shard: Shard) -> int:
        """Samples of a shard that are neither finished nor failed."""
        return _missing(self.folder, shard.part(self.tasks))


class _Begun(NamedTuple):
    model: Model
    predictor: Predictor
    folder: PredictionFolder
    found: Found


def _begun(options: PredictOptions) -> _Begun:
    model = load_model(options.model, network=options.network).with_threshold(options.threshold)
    given = options.instructions
    predictor = Predictor(model, options, given, data_mesh())
    arrays = open_arrays_as_trained(options.scans, options.cores, given, predictor.trained)
    found = find_tasks(options.inputs, options.split, arrays)
    if given.keywords() and any(task.store is not None for task in found.tasks):
        names = ", ".join(f"{name}=" for name in given.keywords())
        raise InputError(
            f"{names}: a store states how its samples are read. Leave it out, or name files alone."
        )
    folder = PredictionFolder(options, model, arrays)
    folder.begin(lambda: _match(options, predictor, found.tasks))
    matched = model.with_odds(folder.match.odds)
    return _Begun(matched, replace(predictor, model=matched), folder, found)


def _match(options: PredictOptions, predictor: Predictor, tasks: Sequence[Task]) -> Match:
    if options.match == "no" or options.threshold is not None:
        return Match.none("not asked for" if options.match == "no" else "a threshold was given")
    return match_for(
        predictor.model,
        tasks,
        predictor.given,
        predictor.trained,
        to_training_scale=options.to_training_scale,
    )


def _merged(folder: PredictionFolder, tasks: Sequence[Task]) -> Report:
    """Writes the tables of what is there."""
    arrays = folder.write_tables()
    known = {task.id for task in tasks}
    own = [sample for sample in folder.all_samples() if sample.id in known]
    failed = [sample for sample in own if sample.status == "failed"]
    missing = _missing(folder, tasks)
    return Report(before=len(own) - len(failed), failed=failed, arrays=arrays, missing=missing)


def _missing(folder: PredictionFolder, tasks: Iterable[Task]) -> int:
    settled = folder.settled_ids()
    return sum(task.id not in settled for task in tasks)


def _refuse_others(folder: PredictionFolder, tasks: Sequence[Task]) -> None:
    """Raises InputError where a finished sample has the name of another one that is to be predicted."""
    for task, found in zip(tasks, folder.finished([task.id for task in tasks]), strict=True):
        if found is None:
            continue
        core = (None, None, None) if task.core is None else tuple(task.core.place().values())
        if core != (found.core, found.top_px, found.left_px) and found.source == task.place:
            raise InputError(
                f"{folder.path} holds {task.id!r} at another place of its scan. The cores were moved since: choose "
                "another --out."
            )
        if (found.source, found.store_id) != (task.place, task.store_id):
            raise InputError(
                f"{folder.path} holds {task.id!r} of {found.source}, which is not {task.place}. Choose another --out, "
                "or rename the file."
            )


@dataclass(frozen=True, eq=False)
class _Run:
    folder: PredictionFolder
    predictor: Predictor
    places: SamplePlaces
    listener: Listener
    report: Report
    claims: Claims
    stop: Callable[[], bool]

    def all(self, tasks: Iterable[Task]) -> list[Task]:
        """Goes through samples; returns those that other processes hold."""
        held = []
        for task in tasks:
            if self.stop():
                raise Stopped
            if self._settled(task):
                continue
            claim = self.claims.take(task.id)
            if claim is None:
                held.append(task)
                continue
            with claim:
                # Another process may have finished it between the look and the claim.
                if not self._settled(task):
                    self.folder.forget_failure(task.id)
                    if not self._one(task, claim):
                        held.append(task)
        return held

    def others(self, held: Sequence[Task]) -> list[Task]:
        """Goes through what others held, until each is settled, or seen to be worked on; returns the latter.

        A process may have died meanwhile, of which its claim says nothing but that it stays the same.
        """
        elsewhere: list[Task] = []
        left = self.all(held)
        before = {task.id: self.claims.seen(task.id) for task in left}
        while left:
            time.sleep(claims.LOOK_S)
            left = self.all(left)
            elsewhere += [task for task in left if self.claims.seen(task.id) != before[task.id]]
            left = [task for task in left if self.claims.seen(task.id) == before[task.id]]
        return elsewhere

    def _settled(self, task: Task) -> bool:
        """Whether a sample is finished, or failed since this run began; it is counted then."""
        if self.folder.sample(task.id) is not None:
            remove(self.places.in_progress(task.id))
            self.report.before += 1
            self.listener.ended(None)
            return True
        failure = self.folder.failure(task.id)
        if failure is not None:
            self.report.failed.append(failure)
            self.listener.ended(None)
            return True
        return False

    def _one(self, task: Task, claim: Claim) -> bool:
        """Predicts a sample; False where another process took it over."""
        watch = Watch(
            begun=lambda pixels, done: self.listener.begun(task.id, pixels, done),
            advanced=self.listener.advanced,
            remarked=lambda remark: self.listener.remarked(task.id, remark),
            stop=lambda: self.stop() or claim.is_lost(),
        )
        try:
            sample = self.predictor.predict(task, watch, self.places)
        except Stopped:
            if not claim.is_lost():
                raise
            return False
        except Exception as error:  # whatever is wrong with one sample, the others go on
            if claim.is_lost():
                return False
            sample = failed_sample(task, error)
            if not isinstance(
                error, OSError
            ):  # a disk or network may come back, and the tiles are gone on with
                remove(self.places.in_progress(task.id))
            self.folder.put_failure(sample)
            self.report.failed.append(sample)
        else:
            self.report.done.append(sample)
        self.listener.ended(sample)
        return True
