"""`compseg start PATH`: looks at what is there, and prints the commands to type next."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.cli.next_steps import (
    after_store,
    evaluate_run,
    predict_with,
    run_of,
    train_on,
    view,
)
from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.cli.quiet import tell
from compseg_jax.config.locations import Location, location
from compseg_jax.runtime.typed import typed

PAGE = HelpPage(
    "start",
    text="Look at a folder or file (pictures, table, scan, store, run, report, predictions) and print the commands to "
    "type next, filled in. Nothing is written.",
    example="compseg start pictures/",
    groups={"options": ("path",)},
    positional=("path", "[PATH]"),
)
TABLES = (".csv", ".tsv", ".xlsx", ".xlsm")
MOST_LABELS = 8
_SHOWN = 4
_LEAST_POINTS = 3
"""Titles of columns that are numbers, from which on a table is one of spectra."""


@dataclass(frozen=True)
class StartOptions:
    """Where to look."""

    path: Path = Path()
    """Folder or file to look at; the current folder if not given."""


class StartError(ValueError):
    """Nothing is found that a command takes."""


@dataclass(frozen=True)
class Advice:
    """What was found, and what to do with it.

    Attributes:
      found: what lies there, in words.
      steps: command lines to type in this order.
      remark: what has to be known before.
    """

    found: str
    steps: tuple[str, ...]
    remark: str = ""

    def text(self) -> str:
        """What is printed."""
        lines = [self.found, *([self.remark] if self.remark else [])]
        return "\n".join(
            [*lines, "next:" if self.steps else "", *(f"  {step}" for step in self.steps)]
        ).rstrip()


def run(arguments: list[str]) -> None:
    """Says what is there and what to type next."""
    advice = look(parse(StartOptions, arguments, PAGE).path)
    tell(found=advice.found, remark=advice.remark, next=advice.steps)
    print(advice.text())


def look(path: Path) -> Advice:
    """What a path holds and the commands for it.

    Raises:
      StartError: where there is nothing that a command takes.
      CubeError: where a file cannot be read.
    """
    if not path.exists():
        raise StartError(f"{path}: there is no such file or folder. Correct the path.")
    if path.is_file() and path.suffix.lower() in TABLES:
        advice = _of_table(path) or _of_table_with_other_names(path)
        if advice is not None:
            return advice
    if path.is_file() or path.suffix.lower() == ".zarr":
        return _of_file(path)
    return _of_ours(path) or _of_folder(path)


def _of_ours(folder: Path) -> Advice | None:
    """What a command of this program wrote; None where it is nothing of that kind."""
    if (folder / "dataset.json").is_file():
        return _of_store(folder)
    if (folder / "predictions.json").is_file():
        return _of_predictions(folder)
    if (folder / "metrics.json").is_file():
        return Advice(f"{folder}: a report of compseg evaluate", (view(folder),))
    if (folder / "model.json").is_file() and folder.name == "model":
        folder = folder.parent
    if (folder / "ensemble.json").is_file() or (folder / "model" / "model.json").is_file():
        kind = "an ensemble" if (folder / "ensemble.json").is_file() else "a trained network"
        report = (view(folder / "report"),) if (folder / "report" / "metrics.json").is_file() else ()
        evaluated = (evaluate_run(folder, _data_of(folder)), view(folder / "report"))
        return Advice(
            f"{folder}: {kind}" + (" with a report" if report else ""),
            (*(report or evaluated), predict_with(folder, folder / "predictions")),
            "" if report else "FILES stands for files, folders or stores of your own.",
        )
    if (folder / "config.json").is_file():
        return Advice(
            f"{folder}: a training that is not finished",
            (
                typed("train", "--out", folder, "--resume"),
                evaluate_run(folder, _data_of(folder)),
            ),
        )
    return None


def _data_of(run_folder: Path) -> Location:
    """The store that a run was trained on; STORE where it does not say so."""
    for name in ("config.json", "ensemble.json"):
        try:
            data = json.loads((run_folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = data.get("data") or data.get("config", {}).get("data")
        if found:
            return location(str(found))
    return Path("STORE")


def _of_store(folder: Path) -> Advice:
    from compseg_jax.store.read import Store

    store = Store.open(folder)
    counts = Counter(sample.label for sample in store.samples)
    found = f"{folder}: a store of {counts[1]} diseased and {counts[0]} healthy samples, {store.channels} channels"
    first = after_store(folder)
    steps = [typed("check", folder), first]
    if first == train_on(folder):
        run_folder = run_of(folder)
        steps += [evaluate_run(run_folder, folder), view(run_folder / "report")]
        return Advice(found, tuple(steps))
    return Advice(found, tuple(steps), "All are test samples. RUN stands for the folder of a training.")


def _of_predictions(folder: Path) -> Advice:
    from compseg_jax.prediction.formats import read_predictions

    samples = [sample for sample in read_predictions(folder).samples if sample.status == "done"]
    places = [folder / "samples" / sample.id / "segmentation.geojson" for sample in samples]
    outlines = [path for path in places if path.is_file()]
    remark = f"QuPath: open the image and drag {outlines[0]} onto it" if outlines else ""
    return Advice(f"{folder}: predictions of {len(samples)} samples", (view(folder),), remark)


def _of_file(path: Path) -> Advice:
    from compseg_jax.readers import recognise
    from compseg_jax.readers.info.inspection import LARGE_SCAN_PIXELS
    from compseg_jax.readers.reading_options import in_command_words
    from compseg_jax.readers.scan import open_scan

    found = recognise(path)
    try:
        scan = open_scan(path)
    except ValueError as error:  # info says what is missing, and the option that helps
        why = in_command_words(str(error).removeprefix(f"{path}: "))
        return Advice(f"{path}: {found.name}, no image as it is: {why}", (typed("info", path),))
    height, width, channels = scan.shape
    size = f"{path}: {found.name} of {height:,} × {width:,} pixels and {channels:,} channels"
    if scan.wavenumbers_cm1 is not None and height * width >= LARGE_SCAN_PIXELS:
        return Advice(f"{size}, large enough for a scan of a tissue array", _for_scans([path]))
    return Advice(
        f"{size}: one sample",
        (typed("info", path), predict_with(Path("RUN"), Path("runs/predictions"), path)),
        "A training takes many samples of two labels: put the images of each label into a folder of its own, or list "
        "them in a table (id, label, path). RUN stands for the folder of a training.",
    )


def _scans(entries: Sequence[Path]) -> list[Path]:
    """Mosaics, or else images with an ENVI header: Agilent's mosaics have headers beside them."""
    kinds = ([path for path in entries if path.suffix.lower() == suffix] for suffix in (".dmt", ".hdr"))
    return next(filter(None, kinds), [])


def _for_scans(scans: Sequence[Path], table: Path | None = None) -> tuple[str, ...]:
    csvs = [f"{scan.stem}_cores.csv" for scan in scans]
    listed = table if table is not None else "LABELS.csv"
    return (
        *(typed("dearray", scan) for scan in scans),
        typed(
            "ingest",
            listed,
            "--scans",
            *scans,
            "--cores",
            *csvs,
            "--out",
            "store",
            "--positive",
            "NAME",
            "--negative",
            "NAME",
        ),
        train_on(Path("store")),
    )


def _of_table(path: Path, beside: Sequence[Path] = ()) -> Advice | None:
    """A table that lists samples; None where it is none, such as one of spectra or of cores."""
    from compseg_jax.ingest.columns import SYNONYMS, likely_group_column
    from compseg_jax.ingest.ingest_options import IngestError
    from compseg_jax.ingest.spreadsheet import folded, read_spreadsheet
    from compseg_jax.ingest.table import as_label

    try:
        sheet = read_spreadsheet(path, "", {"id", "label", "path", "group", "array", "core"})
    except IngestError:
        return None
    columns = {folded(name): name for name in sheet.columns}

    def column(name: str) -> str | None:
        return next((columns[each] for each in (name, *SYNONYMS.get(name, ())) if each in columns), None)

    label = column("label")
    if label is None or column("id") is None:
        return None
    counts = Counter(as_label(line.cells.get(label, "")) for line in sheet.lines)
    if len(counts) > MOST_LABELS:
        return None
    listed = ", ".join(f"{name or '(empty)'} {number}" for name, number in counts.most_common())
    found = f"{path}: a table of {len(sheet.lines)} samples with the labels {listed}"
    scans = _scans(beside)
    if column("path") is None and scans:
        return Advice(
            found, _for_scans(scans, path), "NAME stands for the labels that mean diseased and healthy."
        )
    words = (
        [] if counts.keys() <= {"0", "1"} else _meanings([name for name, _ in counts.most_common() if name])
    )
    images: list[object] = []
    if column("path") is None:
        folder = next(
            (path.parent / name for name in ("images", "pictures") if (path.parent / name).is_dir()), None
        )
        images = ["--images", folder if folder is not None else "IMAGES"]
    masks = path.parent / "masks"
    if masks.is_dir() and column("reference") is None:
        images += ["--references", masks]
    group = None if "group" in columns else likely_group_column(sheet)
    more = [*images, *(("--group", group) if group else ())]
    store = Path(path.stem + "_store")
    steps = [typed("ingest", path, *more, "--out", store, *choice) for choice in words or [()]]
    remark = "Type the line that names as positive what is diseased." if len(steps) > 1 else ""
    if group:
        remark += (
            f" --group keeps samples of one {group} together; leave it out where it means something else."
        )
    return Advice(found, (*steps, *_after(store)), remark.strip())


def _of_table_with_other_names(path: Path) -> Advice | None:
    """A table of words whose columns are called otherwise than `compseg ingest` asks; None of spectra or cores."""
    from compseg_jax.ingest.columns import find_columns
    from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
    from compseg_jax.ingest.spreadsheet import folded, read_spreadsheet
    from compseg_jax.readers.text_lines import is_number

    try:
        sheet = read_spreadsheet(path, "", set())
    except IngestError:
        return None

    def is_words(cell: str) -> bool:
        return bool(cell) and not is_number(cell.replace(",", "."))

    of_spectra = sum(not is_words(name) for name in sheet.columns) >= _LEAST_POINTS
    of_numbers = not any(is_words(cell) for line in sheet.lines for cell in line.cells.values())
    if of_spectra or of_numbers or {"core", "keep"} <= {*map(folded, sheet.columns)}:
        return None
    try:
        find_columns(path, sheet, IngestOptions())
    except IngestError as error:
        found = f"{path}: a table of {len(sheet.lines)} rows, of which it is not clear which columns to use"
        return Advice(found, (typed("start", path),), str(error).removeprefix(f"{path}: "))
    return None


def _meanings(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The ways in which two labels may mean diseased and healthy; of more, one to complete."""
    if len(names) == 2:
        return [("--positive", one, "--negative", other) for one, other in (names, names[::-1])]
    return [("--positive", ",".join(names[:1]), "--negative", names[-1], "--exclude", ",".join(names[1:-1]))]


def _after(store: Path) -> tuple[str, ...]:
    run_folder = run_of(store)
    return train_on(store), evaluate_run(run_folder, store), view(run_folder / "report")


def _of_folder(folder: Path) -> Advice:
    from compseg_jax.ingest.folders import find_label_folders
    from compseg_jax.ingest.ingest_options import IngestError
    from compseg_jax.store.one_patient import likely_pattern

    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for table in (path for path in entries if path.suffix.lower() in TABLES):
        if (advice := _of_table(table, entries)) is not None:
            return advice
    ours = [path for path in entries if path.is_dir() and _of_ours(path) is not None]
    if ours:
        names = ", ".join(path.name for path in ours[:_SHOWN])
        return Advice(
            f"{folder}: holds {len(ours)} store(s), run(s) or results: {names}",
            tuple(typed("start", path) for path in ours[:_SHOWN]),
        )
    try:
        labelled = find_label_folders(folder)
    except IngestError as error:
        named = (_of_table_with_other_names(path) for path in entries if path.suffix.lower() in TABLES)
        if (unclear := next(filter(None, named), None)) is not None:
            return unclear
        scans = _scans(entries)
        if scans:
            return Advice(
                f"{folder}: holds {len(scans)} scan(s) or images of an instrument, and no table of labels",
                (*(typed("info", path) for path in scans[:_SHOWN]), *_for_scans(scans[:_SHOWN])),
                "LABELS.csv stands for a table of id, array, core and label; docs/tables.md describes it.",
            )
        raise StartError(str(error)) from error
    counts = labelled.counts
    store = Path(f"{folder.resolve().name}_store")
    pattern = likely_pattern([picture.stem for picture in labelled.pictures])
    groups = ("--group-pattern", pattern) if pattern else ()
    listed = ", ".join(f"{name}/ {number}" for name, number in counts.items())
    masks = "; masks lie with them" if labelled.has_masks else ""
    choices = [("--positive", name) for name in counts] if len(counts) == 2 else _meanings([*counts])
    remark = "Type the first line or the second: --positive names the folder of what is diseased."
    if len(counts) > 2:
        remark = (
            "Say what each folder means: diseased (--positive), healthy (--negative) or left out (--exclude)."
        )
    if pattern:
        remark += f" {shlex.quote(pattern)} keeps together what it finds in names; leave it out where it is no patient."
    return Advice(
        f"{folder}: folders of images, which can be labels: {listed}{masks}",
        (
            *(typed("ingest", folder, "--out", store, *each, *groups) for each in choices),
            *_after(store),
        ),
        remark,
    )
