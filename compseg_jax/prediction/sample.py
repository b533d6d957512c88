"""One sample: predicted tile by tile into working maps, measured, written, and put in its place at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from jax.sharding import Mesh

from compseg_jax.model.adaptation import Adapted, adapted
from compseg_jax.model.left_out import LeftOut, NothingLeft, in_words, total
from compseg_jax.model.model import Model
from compseg_jax.model.scale import ToTrainingScale, scale_of
from compseg_jax.model.specimen import Specimen
from compseg_jax.prediction.familiarity import departure_of, familiarity
from compseg_jax.prediction.formats import Annotation, SamplePrediction, write_sample
from compseg_jax.prediction.inputs import Opened, Task, sighting_of
from compseg_jax.prediction.measures import measured
from compseg_jax.prediction.outputs import annotation_of, write_outputs, write_overview
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_check import hash_of_output
from compseg_jax.prediction.sample_places import ENTRY, SAMPLES, SamplePlaces
from compseg_jax.prediction.tiles.plan import TURNS, TilePlan
from compseg_jax.prediction.tiles.slide import Ahead
from compseg_jax.prediction.tiles.tile_memory import plan_for, reach_of
from compseg_jax.prediction.working import ACTIVATION, FINISHED, WorkingMaps
from compseg_jax.readers.reading_options import Instructions
from compseg_jax.runtime.files import file_sha256, put_new, remove


class Stopped(Exception):
    """The run was asked to stop between two tiles."""


@dataclass(frozen=True, eq=False)
class Watch:
    """How a run is followed and stopped.

    Attributes:
      begun: called with the pixels of a sample and those that are done already.
      advanced: called with the pixels of each finished tile.
      remarked: called with what is remarkable about a sample.
      stop: asked between tiles.
    """

    begun: Callable[[int, int], None] = lambda pixels, done: None
    advanced: Callable[[int], None] = lambda pixels: None
    remarked: Callable[[str], None] = lambda remark: None
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, eq=False)
class _Finishing:
    """What is said of a sample whose maps are there.

    Attributes:
      task: the sample.
      opened: its image.
      annotation: what its regions become in QuPath.
      notes: what was done to bring it to the model, in words.
      scale: edge of its pixel by that of the training images; None where unknown.
      left_out: pixels that no network saw though they are not background, by reason.
      started: when its prediction began.
      places: where it goes.
      rescaled: whether it was brought to the scale of the training.
    """

    task: Task
    opened: Opened
    annotation: Annotation
    notes: tuple[str, ...]
    scale: float | None
    left_out: LeftOut
    started: float
    places: SamplePlaces
    rescaled: bool = False


@dataclass(frozen=True, eq=False)
class Predictor:
    """Everything that is the same for all samples.

    Attributes:
      model: what predicts, with the threshold in use.
      options: as given.
      given: what is said of the files.
      mesh: devices.
    """

    model: Model
    options: PredictOptions
    given: Instructions
    mesh: Mesh

    def predict(self, task: Task, watch: Watch, places: SamplePlaces) -> SamplePrediction:
        """Predicts a sample, or goes on with it, and returns what came out; everything is in its folder then.

          Raises:
            Stopped: when asked to stop; finished tiles are kept.
            NothingLeft: when it has no pixel that can be predicted.
        ValueError, OSError: when the sample cannot be read or does not fit the model.
        """
        started = time.perf_counter()
        options, model = self.options, self.model
        opened = task.opened(model.networks[0].background, self.given, self.trained)
        own, description = opened.specimen, model.networks[0].description
        scale = scale_of(description, own.scan.pixel_size_um)
        scaled = ToTrainingScale.of(own, description) if options.to_training_scale else None
        specimen = own if scaled is None else scaled.specimen
        annotation = annotation_of(options, model, own.scan, 1.0 if scaled is None else scaled.scale)
        members = adapted(model.networks, specimen)
        partial = places.in_progress(task.id)
        purpose = self._purpose(task)
        found = WorkingMaps.continued(partial, specimen.shape_px, purpose)
        with (
            Ahead(members, specimen, self.mesh, self._memory_bytes) as ahead,
            (
                WorkingMaps.begun(partial, self._plan(members, specimen, ahead), purpose)
                if found is None
                else WorkingMaps(partial, self._same_plan(specimen, found[0]), found[1])
            ) as maps,
        ):
            done = frozenset(maps.done)
            pixels = math.prod(specimen.shape_px)
            watch.begun(pixels, sum(tile.core_px for tile in maps.plan.tiles if tile.number in done))
            if len(done) < len(maps.plan.tiles) and not ahead.slide_of(maps.plan).predict(
                maps, done=done, progress=watch.advanced, stop=watch.stop, judged=maps.judged
            ):
                raise Stopped
            notes = [*opened.notes, *members[0].notes]
            if options.to_training_scale and scale is None:
                notes.append("its pixel size, or the training's, is unknown: taken as if it were the same")
            left_out = maps.left_out() if scaled is None else scaled.left_out(maps.left_out())
            if not maps.has_tissue():
                remove(maps.folder)
                raise NothingLeft(left_out, math.prod(own.shape_px))
            finishing = _Finishing(task, opened, annotation, tuple(notes), scale, left_out, started, places)
            if scaled is None:
                return self._finished(finishing, maps, watch)
            with maps.at_own_pixels(own.shape_px) as at_own:
                notes = [*notes, scaled.in_words()]
                sample = self._finished(replace(finishing, notes=tuple(notes), rescaled=True), at_own, watch)
            remove(maps.folder)
            return sample

    @property
    def trained(self) -> Instructions:
        """What was said of the files that the model was trained on."""
        return Instructions.from_json(self.model.networks[0].description.get("reading", {}))

    @property
    def _memory_bytes(self) -> float:
        return self.options.memory_gib * 2**30

    def _purpose(self, task: Task) -> dict[str, Any]:
        return {
            "model": self.model.digest(),
            "average_over": self.options.average_over,
            "reading": self.given.to_json(),
            **task.identity(),
        }

    def _plan(self, members: Sequence[Adapted], specimen: Specimen, ahead: Ahead) -> TilePlan:
        turns = TURNS[self.options.average_over]
        tile_px, field = self.options.tile_px, reach_of(self.model.networks)
        if tile_px is None or field is None:
            memory = self._memory_bytes
            return plan_for(members, specimen, self.mesh, turns, memory_bytes=memory, compiling=ahead.begin)
        plan = TilePlan(specimen.shape_px, (tile_px, tile_px), field, turns)
        try:
            _ = plan.tiles
        except ValueError as error:
            raise ValueError(f"--tile-px: {error}") from error
        return plan

    def _same_plan(self, specimen: Specimen, size_px: tuple[int, int]) -> TilePlan:
        """The tiles that a sample was begun with, whatever memory and devices there are now."""
        turns = TURNS[self.options.average_over]
        return TilePlan(specimen.shape_px, size_px, reach_of(self.model.networks), turns)

    def _finished(self, finishing: _Finishing, maps: WorkingMaps, watch: Watch) -> SamplePrediction:
        """Gathers what was asked for beside the working maps, and renames it to the sample's place."""
        task, opened = finishing.task, finishing.opened
        folder = maps.folder / FINISHED
        remove(folder)
        folder.mkdir()
        threshold, scan = self.model.threshold, opened.specimen.scan
        departure = departure_of(self.model, maps.sums())
        annotation = replace(finishing.annotation, is_outside=departure is not None and departure.is_outside)
        reference = None
        if task.store is not None and task.sample is not None and task.sample.has_reference:
            reference = task.store.reference(task.sample.id).__getitem__
        with ThreadPoolExecutor(1, "compseg-finish") as beside:
            measuring = beside.submit(measured, maps, threshold, self.model.area_rule(), reference)
            overview: Future[dict[str, str]] | None = None
            if "zarr" in self.options.outputs and task.store is None:
                overview = beside.submit(write_overview, folder, scan)
            files = write_outputs(
                folder, maps, self.options.outputs, threshold=threshold, scan=scan, annotation=annotation
            )
            files |= {} if overview is None else overview.result()
            measures = measuring.result()
        if "zarr" in self.options.outputs:
            files = {"activation_zarr": ACTIVATION, **files}
        height, width, channels = scan.shape
        places = {
            name: (maps.folder if file == ACTIVATION else folder) / file for name, file in files.items()
        }
        sample = SamplePrediction(
            id=task.id,
            source=task.place,
            store_id=task.store_id,
            status="done",
            height_px=height,
            width_px=width,
            pixel_size_um=scan.pixel_size_um,
            scale=finishing.scale,
            rescaled=finishing.rescaled,
            channels=channels,
            left_out_px=total(finishing.left_out),
            left_out_why=in_words(finishing.left_out) or None,
            **({} if task.core is None else task.core.place()),
            label=None if task.sample is None else task.sample.label,
            seen=sighting_of(self.model.seen, task, scan),
            seconds=round(time.perf_counter() - finishing.started, 3),
            reading=opened.instructions.to_json(),
            files={name: f"{SAMPLES}/{task.id}/{file}" for name, file in files.items()},
            files_sha256={name: hash_of_output(place) for name, place in places.items()},
            images_sha256={
                name: file_sha256(place / "zarr.json")
                for name, place in places.items()
                if (place / "zarr.json").is_file()
            },
            **vars(measures),
            **vars(familiarity(self.model, departure, measures.area_fraction)),
        )
        write_sample(folder / ENTRY, sample)
        if "zarr" in self.options.outputs:
            put_new(maps.folder / ACTIVATION, folder / ACTIVATION)
        finishing.places.put(folder, task.id)
        remove(maps.folder)
        for remark in finishing.notes:
            watch.remarked(remark)
        if finishing.left_out:
            watch.remarked(f"{total(finishing.left_out)} pixels left out ({in_words(finishing.left_out)})")
        if sample.outside:
            watch.remarked("OUTSIDE of what the model was trained on: undecided")
        return sample
