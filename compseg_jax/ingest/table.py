"""The table that lists samples: its columns, labels, files and splits, checked before any image is opened."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.store.read import LONGEST_ID_BYTES, SPLITS, names_a_file
from compseg_jax.store.splits import SplitError, leaking_groups, make_splits

Listing = Mapping[str, Sequence[Path]]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz")
SPLIT_NAMES = {name: name for name in SPLITS} | {"training": "train", "validation": "val", "valid": "val"}
MAX_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """One checked row of the table."""

    line: int
    id: str
    path: Path
    label: int
    split: str
    group: str
    reference: Path | None
    tissue: Path | None
    core: str = ""
    """Name of the core where ``path`` is the scan of an array."""

    def place(self) -> str:
        """Where a problem with this row is."""
        core = f", core {self.core}" if self.core else ""
        return f"row {self.line} ({self.id}), {self.path}{core}"

    def source(self) -> str:
        """Name of the file, and of the core where it is one."""
        return f"{self.path.name} {self.core}".strip()


def read_table(table: Path, options: IngestOptions) -> list[Row]:
    """Reads and checks a table, all rows at once; rows without a split have '' until ``with_splits``.

    Raises:
      IngestError: naming every row at fault (the first ten), before any image is opened.
    """
    _check_options(options)
    columns, lines = _read_lines(table)
    needed = ["id", "label"] + ([] if options.images or options.scans else ["path"])
    needed += ["array"] if len(options.scans) > 1 else []
    if options.group != "group":
        needed.append(options.group)
    missing = [name for name in needed if name not in columns]
    if missing:
        hint = "Rename or add the columns."
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
            hint = "Columns must be separated by commas: save the table as 'CSV UTF-8'."
        elif missing == ["path"]:
            hint = "Name the folder of the images with --images to do without 'path'."
        raise IngestError(
            f"{table}: found the columns {', '.join(columns) or 'none'}; {', '.join(missing)} missing. {hint}"
        )
    folders = {
        name: _listing(table, folder, option)
        for name, folder, option in (
            ("path", options.images, "--images"),
            ("reference", options.references, "--references"),
            ("tissue", options.tissues, "--tissues"),
        )
        if folder is not None
    }
    problems: list[str] = []
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, row in lines:
        try:
            checked = _check_row(table, line, row, options, folders)
            if checked is None:
                continue
            rows.append(checked)
        except IngestError as problem:
            problems.append(str(problem))
        sample_id = (row["id"] or "").strip()
        if sample_id and sample_id in seen:
            problems.append(
                f"row {line}: id {sample_id!r} was used in row {seen[sample_id]} already; make it unique."
            )
        seen.setdefault(sample_id, line)
    if problems:
        raise IngestError(_several(table, problems))
    if not rows:
        raise IngestError(f"{table}: no samples are left. Check the table and --exclude.")
    return rows


def _check_options(options: IngestOptions) -> None:
    names = Counter([*set(options.positive), *set(options.negative), *set(options.exclude)])
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise IngestError(
            f"label name {', '.join(map(repr, sorted(twice)))} is listed more than once in --positive, --negative "
            "and --exclude; list it in one of them."
        )
    names = Counter(path.stem for path in options.scans)
    if names and names.most_common(1)[0][1] > 1:
        raise IngestError(f"--scans: two are named {names.most_common(1)[0][0]!r}; rename one of the files.")
    if options.cores and len(options.cores) != len(options.scans):
        raise IngestError(
            f"--cores: found {len(options.cores)} for {len(options.scans)} scans; give one for each, in their order."
        )
    if options.scans and options.images:
        raise IngestError("--scans and --images: samples are cores of scans or images of a folder; give one.")
    if options.scans and options.resize:
        raise IngestError("--resize: cores keep the pixels of their scan; leave it out with --scans.")
    if options.resize < 0:
        raise IngestError(f"--resize {options.resize}: give a size in pixels above 0, or 0 to keep sizes.")


def _read_lines(table: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Names of the columns, and the rows with their line numbers; what surrounds a name is stripped."""
    if not table.is_file():
        raise IngestError(f"{table}: no such file. Give a CSV table with the columns id, path, label.")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise IngestError(f"{table}: cannot be read ({error}). Save the table as 'CSV UTF-8'.") from error
    repeated = [name for name, times in Counter(columns).items() if times > 1]
    if repeated:
        raise IngestError(f"{table}: column {', '.join(repeated)} occurs more than once; keep one of each.")
    return columns, lines


def _listing(table: Path, folder: Path, option: str) -> Listing:
    """Images of a folder by their name without suffix; the folder as given, or else beside the table."""
    places = [place for place in (folder, table.parent / folder) if place.is_dir()]
    if not places:
        raise IngestError(f"{option} {folder}: no such folder, here or beside {table}. Correct the path.")
    found: dict[str, list[Path]] = {}
    for path in sorted(places[0].iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return found


def _check_row(
    table: Path, line: int, row: dict[str, str], options: IngestOptions, folders: Mapping[str, Listing]
) -> Row | None:
    sample_id = (row["id"] or "").strip()
    if not names_a_file(sample_id):
        raise IngestError(
            f"row {line}: id {sample_id!r} cannot name a file; use letters, digits, '_', '-', '.', not first a "
            f"'.', at most {LONGEST_ID_BYTES} bytes."
        )
    if None in row:
        raise IngestError(
            f"row {line} ({sample_id}): more values than columns; put a value with a comma into double quotes."
        )
    label = (row["label"] or "").strip()
    if label in options.exclude:
        return None
    if label not in options.positive + options.negative:
        raise IngestError(
            f"row {line} ({sample_id}): label {label!r} is listed neither as positive "
            f"({','.join(options.positive)}) nor negative ({','.join(options.negative)}); name it in "
            "--positive, --negative or --exclude."
        )
    split = (row.get("split") or "").strip().lower()
    if "split" in row and split not in SPLIT_NAMES:
        raise IngestError(
            f"row {line} ({sample_id}): split {split!r}; required is one of {', '.join(SPLITS)}. "
            "Remove the column to have splits made."
        )
    return Row(
        line=line,
        id=sample_id,
        path=_scan_of(line, sample_id, row, options)
        if options.scans
        else _find(table, line, sample_id, row.get("path"), folders.get("path"), "image"),
        label=int(label in options.positive),
        split=SPLIT_NAMES.get(split, ""),
        group=(row.get(options.group) or "").strip() or sample_id,
        reference=_find_mask(table, line, sample_id, row, folders, "reference"),
        tissue=_find_mask(table, line, sample_id, row, folders, "tissue"),
        core=((row.get("core") or "").strip() or sample_id) if options.scans else "",
    )


def _scan_of(line: int, sample_id: str, row: dict[str, str], options: IngestOptions) -> Path:
    """The scan that a row's core lies on, by the column 'array'."""
    by_name = {path.stem: path for path in options.scans}
    name = (row.get("array") or "").strip() or (options.scans[0].stem if len(by_name) == 1 else "")
    if name not in by_name:
        raise IngestError(
            f"row {line} ({sample_id}): array {name!r} is none of the scans {', '.join(by_name)}; name one of them."
        )
    return by_name[name]


def _find(
    table: Path, line: int, sample_id: str, value: str | None, folder: Listing | None, what: str
) -> Path:
    """A file named in the table, relative to it, or found in a folder by the sample's id."""
    if folder is not None:
        found = folder.get(sample_id, ())
        if len(found) == 1:
            return found[0]
        if found:
            raise IngestError(
                f"row {line} ({sample_id}): several files could be its {what}, "
                f"{' and '.join(map(str, found))}; keep one, or name it in the table."
            )
        raise IngestError(
            f"row {line} ({sample_id}): no {what} {sample_id}.* in the folder given; its suffix must be one of "
            f"{', '.join(IMAGE_SUFFIXES)}. Add the file or remove the row."
        )
    if not (value or "").strip():
        raise IngestError(f"row {line} ({sample_id}): it names no {what}. Add the path or remove the row.")
    path = table.parent / (value or "").strip()
    if not path.exists():
        raise IngestError(
            f"row {line} ({sample_id}): {what} {path} does not exist (paths are relative to the table). "
            "Correct the path or remove the row."
        )
    return path


def _find_mask(
    table: Path, line: int, sample_id: str, row: dict[str, str], folders: Mapping[str, Listing], name: str
) -> Path | None:
    if name not in folders and not (row.get(name) or "").strip():
        return None
    return _find(table, line, sample_id, row.get(name), folders.get(name), f"{name} mask")


def with_splits(table: Path, rows: list[Row], options: IngestOptions) -> list[Row]:
    """The rows with their splits: those of the table where it has the column, else made group-wise and stratified.

    Raises:
      IngestError: when a group is in several splits, or there are too few groups to split.
    """
    labels, groups = [row.label for row in rows], [row.group for row in rows]
    if not all(row.split for row in rows):
        try:
            splits = make_splits(
                labels,
                groups,
                val_fraction=options.val_fraction,
                test_fraction=options.test_fraction,
                seed=options.seed,
            )
        except SplitError as error:
            raise IngestError(f"{table}: {error}") from error
        return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]
    leaks = leaking_groups(groups, [row.split for row in rows])
    if leaks:
        raise IngestError(
            _several(
                table,
                [
                    f"group {group!r} is in {' and '.join(sorted(splits))} (rows "
                    f"{', '.join(str(row.line) for row in rows if row.group == group)}); a group must stay in one "
                    "split. Move its rows to one."
                    for group, splits in leaks.items()
                ],
            )
        )
    return rows


def _several(table: Path, problems: Sequence[str]) -> str:
    shown = "\n  ".join(problems[:MAX_PROBLEMS_SHOWN])
    more = len(problems) - MAX_PROBLEMS_SHOWN
    return f"{table}: {len(problems)} problem(s), nothing was written.\n  {shown}" + (
        f"\n  … and {more} more." if more > 0 else ""
    )
