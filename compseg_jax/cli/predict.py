"""`compseg predict`: a line per sample, a bar with the time left, and what failed at the end."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from compseg_jax.cli.next_steps import print_next, view
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.cli.processes import apart, without_options
from compseg_jax.cli.quiet import is_quiet, tell
from compseg_jax.config.locations import Location, Url
from compseg_jax.model import Sightings
from compseg_jax.model.scale import is_other_scale
from compseg_jax.model.seen import SAW
from compseg_jax.prediction.array_calls import ArrayCalls
from compseg_jax.prediction.formats import SamplePrediction
from compseg_jax.prediction.predict import Listener, Report, Shares, predict
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.prediction_folder import RUN_FILE
from compseg_jax.prediction.shard import Shard
from compseg_jax.readers.reading_options import READING
from compseg_jax.runtime import cache_compilations
from compseg_jax.runtime.interrupts import Interrupted, stop_requests
from compseg_jax.runtime.jobs import Job, JobEnd
from compseg_jax.runtime.ray_jobs import ray_cluster
from compseg_jax.runtime.typed import typed
from compseg_jax.store.kvstore import joined

NAMES_SHOWN = 5
SHARDS_A_SLOT = 4
"""Of a Ray cluster: samples differ in size, so who is done early takes another shard; each costs a start."""
LOOKED_EVERY_S = 3.0
"""Looking which samples are there asks a shared file system for each of them."""
LOGS = "logs"
PAGE = HelpPage(
    "predict",
    text="Activation maps and masks of images of any size: files, folders of files, stores, or the cores of scans of "
    "tissue arrays (--scans), which are called diseased, healthy or undecided.\n\n"
    "Several processes may be started with the same --out: they share the samples. The same command goes on where a "
    "run was stopped or killed.",
    example="compseg predict slides/ --model runs/mine/model --out predictions",
    groups={
        "options": ("inputs", "model", "out", "outputs", "network"),
        "tissue arrays": ("scans", "cores"),
        "map": ("threshold", "match", "average_over", "to_training_scale"),
        "reading": ("split", *READING),
        "memory": ("memory_gib", "tile_px"),
        "GeoJSON": ("min_area_um2", "fill_holes", "smooth_um", "class_name"),
        "many samples": ("shard", "ray", "merge"),
    },
    positional=("inputs", "INPUT …"),
)


def run(arguments: list[str]) -> int:
    """Runs the command, each of several processes on its own devices; 1 where a sample failed."""
    return apart(_predict, arguments)


def _predict(arguments: list[str]) -> int:
    options = parse(PredictOptions, arguments, PAGE)
    cache_compilations()
    if options.ray:
        report = _on_ray(options, arguments)
    else:
        with _Terminal() as terminal:
            report = predict(options, terminal)
    tell(
        predictions=options.out,
        predicted=[sample.id for sample in report.done],
        arrays={calls.opened.name: [vars(row) for row in calls.rows] for calls in report.arrays},
        failed={sample.id: sample.error for sample in report.failed},
    )
    print(_summary(report))
    if report.missing and options.shard:
        print(
            "tables: none yet; the shard that finishes last writes them, or the same command with --merge instead of "
            "--shard"
        )
    else:
        for calls in report.arrays:
            print("\n".join(_called(calls, options.out)))
        print(f"predictions: {options.out / 'predictions.json'}")
        if report.done or report.before or not report.failed:
            print_next(view(options.out), *_for_qupath(options, report))
    for sample in report.failed:
        print(f"failed: {sample.id} ({sample.source}): {sample.error}", file=sys.stderr)
    return 1 if report.failed or ((options.merge or options.ray) and report.missing) else 0


def _on_ray(options: PredictOptions, arguments: list[str]) -> Report:
    """Lets a cluster predict the shards, each as the command that a job array would run, and joins their tables."""
    words = without_options(arguments, "--ray")
    # Beside an object store each node keeps what its own tasks say.
    logs, shared = Path(tempfile.gettempdir()) / f"compseg-{options.out.name}", None
    if isinstance(options.out, Path):
        logs, shared = options.out / LOGS, options.out / RUN_FILE
    # Ray forks, which jax must not have started for, and takes SIGTERM for itself, which asks to stop here.
    with ray_cluster(options.ray) as cluster, stop_requests() as stop, progress_bar("samples") as bar:
        shares = Shares.begun(options)
        of = min(len(shares.tasks), SHARDS_A_SLOT * cluster.slots)
        shards = {f"{number}/{of}": Shard(number, of) for number in range(1, of + 1)}
        missing = {name: len(shard.part(shares.tasks)) for name, shard in shards.items()}
        print(f"Ray: {len(shares.tasks)} samples in {of} shards, {cluster.slots} at once", flush=True)

        looked = [0.0]

        def ended(job: Job, end: JobEnd) -> None:
            missing[job.name] = left = shares.missing(shards[job.name])
            failed = f"failed ({end.error}); what it said: {job.log}" if end.code and left else "done"
            print(f"shard {job.name}: {failed}", flush=True)

        def watch() -> bool:
            if stop.requested:
                return True
            if time.monotonic() > looked[0] + LOOKED_EVERY_S:
                looked[0] = time.monotonic()
                for name in [name for name, left in missing.items() if left]:
                    missing[name] = shares.missing(shards[name])
                bar(len(shares.tasks) - sum(missing.values()), len(shares.tasks))
            return stop.requested

        done = cluster.run(
            [
                Job(
                    name,
                    ("predict", *words, "--shard", name),
                    logs / f"shard-{shard.number}-of-{shard.of}.log",
                )
                for name, shard in shards.items()
            ],
            shared,
            is_done=lambda job: not shares.missing(shards[job.name]),
            ended=ended,
            watch=watch,
        )
    report = predict(replace(options, ray="", merge=True))
    if not done:
        raise Interrupted(
            f"stopped; {len(shares.tasks) - report.missing} of {len(shares.tasks)} samples are finished, and the tiles "
            "of those in hand are kept. The same command goes on."
        )
    return report


def _for_qupath(options: PredictOptions, report: Report) -> list[str]:
    """Where the outlines of an array or a sample lie, and what to do with them."""
    if report.arrays:
        calls = report.arrays[0]
        outlines = joined(options.out, calls.folder.as_posix()) / "calls.geojson"
        return [f"open {calls.opened.array.path} in QuPath and drag {outlines} onto it"]
    done = [sample.id for sample in report.done]
    if "geojson" not in options.outputs or not done:
        return []
    if isinstance(options.out, Url):
        return [typed("copy", str(options.out), "--out", options.out.name) + "   (QuPath opens files)"]
    path = options.out / "samples" / done[0] / "segmentation.geojson"
    return [f"open the image in QuPath and drag {path} onto it"]


def _called(calls: ArrayCalls, out: Location) -> list[str]:
    """What is called on an array, by which rule, and where it lies."""
    counts = ", ".join(f"{number} {call}" for call, number in calls.counts.items())
    array = calls.opened.array
    notes = [array.note] if array.note else []
    return [
        *notes,
        f"{array.path.name}: {counts}",
        *calls.rule,
        f"calls: {joined(out, calls.folder.as_posix()) / 'calls.html'}",
    ]


class _Terminal(Listener):
    """A line for each finished sample, and a bar where there is a terminal; the pixels of a sample move it."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.fields[count]}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[sample]}"),
        )
        self._bar = Progress(*columns, console=console, disable=is_quiet() or not console.is_terminal)
        self._task = self._bar.add_task("", total=None, count="opening", sample="")
        self._samples = self._ended = self._pixels = self._done = 0
        self._remarks: list[str] = []

    def __enter__(self) -> _Terminal:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, samples: int) -> None:
        """The bar gets its length: one unit per sample."""
        self._samples = samples
        self._show("")

    def seen(self, found: Sightings) -> None:
        """Said before any number."""
        self._bar.console.print(f"seen before: {found.in_words()}", markup=False, soft_wrap=True)

    def begun(self, sample_id: str, pixels: int, done: int) -> None:
        """The bar stands at what is done of the sample."""
        self._pixels, self._done = pixels, done
        self._show(sample_id)

    def advanced(self, pixels: int) -> None:
        """The bar moves by a tile."""
        self._done += pixels
        self._bar.update(self._task, completed=self._ended + self._done / max(self._pixels, 1))

    def stated(self, sentence: str) -> None:
        """Said in a line of its own."""
        self._write(sentence)

    def remarked(self, sample_id: str, remark: str) -> None:
        """Said in the line of the sample."""
        self._remarks.append(remark)

    def ended(self, sample: SamplePrediction | None) -> None:
        """The line of a sample."""
        self._ended, self._pixels, self._done = self._ended + 1, 0, 0
        if sample is not None:
            self._write("; ".join([_line(sample), *self._remarks]))
        self._remarks = []
        self._show("")

    def _write(self, line: str) -> None:
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, sample_id: str) -> None:
        self._bar.update(
            self._task,
            total=self._samples,
            completed=self._ended + self._done / max(self._pixels, 1),
            count=f"{self._ended}/{self._samples} samples",
            sample=sample_id,
        )


def _line(sample: SamplePrediction) -> str:
    if sample.status == "failed":
        return f"{sample.id}: failed ({sample.error})"
    seen = f"SEEN BEFORE ({SAW[sample.seen]}), " if sample.seen in SAW else ""
    size = f"{sample.id}: {seen}{sample.height_px}×{sample.width_px}"
    if sample.area_fraction is None:
        return size
    area = f"{100 * sample.area_fraction:.1f} % of the tissue segmented"
    if sample.area_low is not None and sample.area_high is not None:
        area += f" (diseased: {100 * sample.area_low:.0f} to {100 * sample.area_high:.0f} %)"
    if sample.core is not None and sample.call is not None:
        chance = "" if sample.chance is None else f" (chance {sample.chance:.0%})"
        area = f"{sample.call}{chance}, {area}"
    dice = "" if sample.dice is None else f", Dice {sample.dice:.2f}"
    return f"{size}, {area}, score {sample.score:.3f}{dice}, {sample.seconds:.1f} s"


def _summary(report: Report) -> str:
    sightings = Sightings(tuple(sample.seen for sample in report.done))
    parts = [f"{len(report.done)} predicted"]
    if report.before:
        parts.append(f"{report.before} finished before")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    if outside := [sample.id for sample in report.done if sample.outside]:
        parts.append(f"{len(outside)} outside of what the model was trained on ({_named(outside)})")
    if others := [sample.id for sample in report.done if is_other_scale(sample.scale)]:
        done = (
            "brought to it"
            if all(sample.rescaled for sample in report.done if sample.id in others)
            else "as it is"
        )
        parts.append(f"{len(others)} of another scale than the training, {done} ({_named(others)})")
    if partly := [sample.id for sample in report.done if sample.left_out_px]:
        parts.append(f"{len(partly)} with pixels left out ({_named(partly)})")
    if report.elsewhere:
        parts.append(f"{len(report.elsewhere)} in the hands of another process ({_named(report.elsewhere)})")
    if report.missing:
        parts.append(f"{report.missing} not there yet")
    if report.left_out:
        names = _named([path.name for path in report.left_out])
        parts.append(f"{len(report.left_out)} other files passed over ({names})")
    seen = [] if sightings.is_test else [f"seen before: {sightings.in_words()}"]
    return "\n".join([*seen, "samples: " + ", ".join(parts)])


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
