"""The rows of the table that lists samples: labels, files, groups and splits, checked before any image is opened."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compseg_jax.ingest.columns import SPLIT_NAMES, Columns, expected_names, find_columns
from compseg_jax.ingest.groups import GroupPattern
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.sample_files import (
    IMAGES,
    MASKS,
    Listing,
    SampleFiles,
    composed,
    of_sample,
)
from compseg_jax.ingest.spreadsheet import Line, Spreadsheet, read_spreadsheet
from compseg_jax.store.read import SPLITS
from compseg_jax.store.sample_names import LONGEST_ID_BYTES, names_a_file, same_file
from compseg_jax.store.splits import SplitError, leaking_groups, make_splits

MAX_PROBLEMS_SHOWN = 10
NOTHING = frozenset(("", "na", "n/a", "n.a.", "<na>", "nan", "none", "null", "-", "--", "–", "—", ".", "?"))
"""What cells hold, in small letters, where something is not known."""


@dataclass(frozen=True)
class Row:
    """One checked row of the table, or an image of a folder (line 0)."""

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

    @property
    def name(self) -> str:
        """Its row and id; the id alone where no table names it."""
        return f"row {self.line} ({self.id})" if self.line else self.id

    def place(self) -> str:
        """Where a problem with this row is."""
        core = f", core {self.core}" if self.core else ""
        return f"{self.name}, {self.path}{core}"

    def source(self) -> str:
        """Name of the file, and of the core where it is one."""
        return f"{self.path.name} {self.core}".strip()


@dataclass(frozen=True)
class Table:
    """The checked rows of a table, and what was assumed while reading it, a line each."""

    rows: list[Row]
    notes: list[str]


def read_table(table: Path, options: IngestOptions) -> Table:
    """Reads and checks a table, all rows at once; rows without a split have '' until ``with_splits``.

    Raises:
      IngestError: naming every row at fault (the first ten), before any image is opened.
    """
    _check_options(options)
    sheet = read_spreadsheet(table, options.sheet, expected_names(options))
    columns = find_columns(table, sheet, options)
    rows = _Rows(table, columns, options, sheet)
    problems: list[str] = []
    checked: list[Row] = []
    seen: dict[str, tuple[int, str]] = {}
    unknown: dict[str, list[str]] = {}
    for line in sheet.lines:
        sample_id = line.cells.get(columns.names["id"], "")
        try:
            row = rows.check(line)
            if row is None:
                continue
            checked.append(row)
        except IngestError as problem:
            where = f"row {line.number}" + (f" ({sample_id})" if names_a_file(sample_id) else "")
            if isinstance(problem, UnknownLabelError):
                unknown.setdefault(problem.label, []).append(f"{where}: {problem}")
            else:
                problems.append(f"{where}: {problem}")
        number, other = seen.setdefault(same_file(sample_id), (line.number, sample_id))
        if sample_id and number != line.number:
            as_well = (
                "" if other == sample_id else f", as {other!r}, which is the same file on Windows and macOS"
            )
            problems.append(
                f"row {line.number}: id {sample_id!r} was used in row {number} already{as_well}; make it unique."
            )
    if any(len(each) > 1 for each in unknown.values()):
        problems.insert(0, rows.labels_to_name(sheet, [*unknown]))
    else:
        problems += [each for listed in unknown.values() for each in listed]
    problems += rows.pattern.problems(len(sheet.lines))
    if problems:
        raise IngestError(several(table, problems))
    if not checked:
        raise IngestError(f"{table}: no samples are left. Check the table and --exclude.")
    checked, notes = _one_spelling(checked)
    if "group" not in columns.names:
        notes += rows.pattern.notes([row.group for row in checked])
    return Table(checked, [*sheet.notes, *columns.notes, *rows.notes(), *notes])


def check_label_names(options: IngestOptions) -> None:
    """Raises IngestError where a label is to mean two things."""
    lists = (options.positive, options.negative, options.exclude)
    names = Counter(name for listed in lists for name in {as_label(name) for name in listed})
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise IngestError(
            f"label name {', '.join(map(repr, sorted(twice)))} is listed more than once in --positive, --negative "
            "and --exclude; list it in one of them."
        )


def _check_options(options: IngestOptions) -> None:
    check_label_names(options)
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
    options.check_resize()


class UnknownLabelError(IngestError):
    """A label that nobody says the meaning of."""

    def __init__(self, label: str, message: str) -> None:
        super().__init__(message)
        self.label = label


class _Rows:
    """Checks the rows of one table and counts what it assumes."""

    def __init__(self, table: Path, columns: Columns, options: IngestOptions, sheet: Spreadsheet) -> None:
        self.columns, self.options = columns, options
        self.files = SampleFiles(table)
        self.folders: dict[str, Listing] = {
            name: self.files.in_folder(folder, option, suffixes)
            for name, folder, option, suffixes in (
                ("path", options.images, "--images", IMAGES),
                ("reference", options.references, "--references", MASKS),
                ("tissue", options.tissues, "--tissues", MASKS),
            )
            if folder is not None
        }
        self.positive, self.negative, self.exclude = (
            {as_label(name) for name in names}
            for names in (options.positive, options.negative, options.exclude)
        )
        self.has_splits = any(
            split in line.faults or line.cells.get(split, "").lower() not in NOTHING
            for split in filter(None, [columns.get("split")])
            for line in sheet.lines
        )
        self.pattern = GroupPattern.of(options.group_pattern)
        if options.group_pattern and columns.get("group"):
            raise IngestError(
                f"--group-pattern: {table} has the column {columns.get('group')!r} for groups. Leave one of them out."
            )
        self.without_group: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()

    def check(self, line: Line) -> Row | None:
        """The row of a line, None where its label is excluded; raises IngestError without naming the row."""
        sample_id = line.value(self.columns.names["id"])
        if not names_a_file(sample_id):
            raise IngestError(
                f"id {sample_id!r} cannot name a file on every system; use letters, digits, '_', '-', '.', not first "
                f"or last a '.', no name of a device such as CON, at most {LONGEST_ID_BYTES} bytes."
            )
        if line.surplus:
            raise IngestError(
                "more values than columns; remove what stands beside the table, or put a value with a comma into "
                "double quotes."
            )
        label = as_label(line.value(self.columns.names["label"]))
        if label in self.exclude:
            self.excluded[label] += 1
            return None
        meaning = self._label(label)
        return Row(
            line=line.number,
            id=sample_id,
            label=meaning,
            split=self._split(line),
            path=self._scan(line) if self.options.scans else self._file(line, sample_id, "path", "image"),
            reference=self._mask(line, sample_id, "reference", is_healthy=meaning == 0),
            tissue=self._mask(line, sample_id, "tissue"),
            core=(self._value(line, "core") or sample_id) if self.options.scans else "",
            group=self._group(line, sample_id),
        )

    def notes(self) -> list[str]:
        """What was assumed of the rows, a line each."""
        notes = []
        if "split" in self.columns.names and not self.has_splits:
            notes.append(f"column {self.columns.names['split']} is empty: splits are made")
        if self.excluded:
            counts = ", ".join(f"{name} {number}" for name, number in self.excluded.items())
            notes.append(f"rows excluded by label: {counts}")
        if self.without_group:
            held = ", ".join(f"{cell or 'empty'} {number}" for cell, number in self.without_group.items())
            notes.append(
                f"{self.without_group.total()} samples have no {self.columns.names['group']} ({held}): each counts as "
                "a group of its own"
            )
        if self.files.otherwise:
            notes.append(
                f"{len(self.files.otherwise)} path(s) were found by another case of letters, the first "
                f"{self.files.otherwise[0]}"
            )
        return notes

    def labels_to_name(self, sheet: Spreadsheet, unknown: Sequence[str]) -> str:
        """All labels with their counts, those whose meaning is not said, and the options that say it."""
        column = self.columns.names["label"]
        counts = Counter(as_label(line.cells.get(column, "")) for line in sheet.lines)
        listed = ", ".join(f"{name or '(empty)'} {number}" for name, number in counts.items())
        missing = ", ".join(name or "(empty)" for name in unknown)
        now = [f"{option} {','.join(names)}" for option, names in self._meanings().items() if names]
        return (
            f"column {column} holds the labels {listed} (rows each); what {missing} mean{'s' * (len(unknown) == 1)} is "
            f"not said. Name each in --positive (diseased), --negative (healthy) or --exclude; now: {' '.join(now)}."
        )

    def _meanings(self) -> dict[str, tuple[str, ...]]:
        given = self.options
        return {"--positive": given.positive, "--negative": given.negative, "--exclude": given.exclude}

    def _value(self, line: Line, name: str) -> str:
        return line.value(self.columns.get(name))

    def _label(self, label: str) -> int:
        if label in self.positive | self.negative:
            return int(label in self.positive)
        raise UnknownLabelError(
            label,
            f"label {label!r} is listed neither as positive ({','.join(self.options.positive)}) nor negative "
            f"({','.join(self.options.negative)}).{self._near_label(label)} Name it in --positive, --negative or "
            "--exclude.",
        )

    def _near_label(self, label: str) -> str:
        if not label:
            return " Give it, or remove the row."
        known = [*self.options.positive, *self.options.negative, *self.options.exclude]
        alike = [name for name in known if name.casefold() == label.casefold()]
        near = alike or difflib.get_close_matches(label, known, n=1, cutoff=0.8)
        return f" Did you mean {near[0]!r}?" if near else ""

    def _split(self, line: Line) -> str:
        if not self.has_splits:
            return ""
        split = self._value(line, "split").lower()
        if split in NOTHING:
            raise IngestError(
                f"split {split!r}, while other rows have one; give it one of {', '.join(SPLITS)}. Remove the column to "
                "have splits made."
            )
        if split not in SPLIT_NAMES:
            raise IngestError(
                f"split {split!r}; required is one of {', '.join(SPLITS)}. Remove the column to have splits made."
            )
        return SPLIT_NAMES[split]

    def _group(self, line: Line, sample_id: str) -> str:
        if "group" not in self.columns.names:
            return self.pattern.group(sample_id, sample_id)
        group = as_label(self._value(line, "group"))
        if group.lower() in NOTHING:
            self.without_group[group] += 1
            return sample_id
        return group

    def _scan(self, line: Line) -> Path:
        """The scan that a row's core lies on, by the column 'array'."""
        by_name = {path.stem: path for path in self.options.scans}
        name = self._value(line, "array") or (self.options.scans[0].stem if len(by_name) == 1 else "")
        if name not in by_name:
            raise IngestError(f"array {name!r} is none of the scans {', '.join(by_name)}; name one of them.")
        return by_name[name]

    def _file(self, line: Line, sample_id: str, name: str, what: str) -> Path:
        """A file named in the table, or found in a folder by the sample's id."""
        if name in self.folders:
            return of_sample(self.folders[name], sample_id, what, IMAGES if name == "path" else MASKS)
        return self.files.named(self._value(line, name), what)

    def _mask(self, line: Line, sample_id: str, name: str, *, is_healthy: bool = False) -> Path | None:
        if name not in self.folders and self._value(line, name).lower() in NOTHING:
            return None
        if (
            name == "reference"
            and is_healthy
            and composed(sample_id) not in self.folders.get(name, {sample_id: ()})
        ):
            return None
        return self._file(line, sample_id, name, f"{name} mask")


def as_label(text: str) -> str:
    """A name as it stands in a cell; a whole number without the '.0' that spreadsheets and pandas give it."""
    number = re.fullmatch(r"([+-]?\d+)[.,]0*", text.strip())
    return number[1] if number else text.strip()


def _one_spelling(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows with groups that differ in case and spaces alone as one, and a note of them."""
    first: dict[str, str] = {}
    joined: dict[str, str] = {}
    spelled = []
    for row in rows:
        group = row.group
        if group != row.id:
            group = first.setdefault("".join(group.casefold().split()), group)
        if group != row.group:
            joined[row.group] = group
        spelled.append(replace(row, group=group))
    if not joined:
        return spelled, []
    shown = ", ".join(f"{other} = {group}" for other, group in list(joined.items())[:3])
    return spelled, [f"groups that differ in case or spaces alone are one: {shown}"]


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
            several(
                table,
                [
                    f"group {group!r} is in {' and '.join(sorted(splits))} "
                    f"({_named([row for row in rows if row.group == group])}); a group must stay in one split. "
                    f"Move its {'rows' if rows[0].line else 'images'} to one."
                    for group, splits in leaks.items()
                ],
            )
        )
    return rows


def _named(rows: Sequence[Row]) -> str:
    if all(row.line for row in rows):
        return f"rows {', '.join(str(row.line) for row in rows)}"
    return ", ".join(row.source() for row in rows[:MAX_PROBLEMS_SHOWN])


def several(table: Path, problems: Sequence[str]) -> str:
    """One message of many problems, the first ten shown."""
    shown = "\n  ".join(problems[:MAX_PROBLEMS_SHOWN])
    more = len(problems) - MAX_PROBLEMS_SHOWN
    return f"{table}: {len(problems)} problem(s), nothing was written.\n  {shown}" + (
        f"\n  … and {more} more." if more > 0 else ""
    )
