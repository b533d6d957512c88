"""Which column of a table is which: names that are known, usual other names of them, and what nobody uses."""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.spreadsheet import Spreadsheet, folded
from compseg_jax.store.read import SPLITS
from compseg_jax.store.sample_names import names_a_file

KNOWN = ("id", "path", "label", "split", "group", "reference", "tissue", "array", "core")
SYNONYMS = {
    "id": ("sample", "sampleid", "samplename", "imageid", "spotid"),
    "path": ("file", "filename", "filepath", "image", "imagefile", "imagepath"),
    "label": ("labels", "class", "diagnosis"),
    "split": ("splits", "subset", "set", "partition"),
}
"""Other names, folded, that are read where a name is missing: only what every table needs, and splits where every
value is one. What belongs together, and which mask means what, is never guessed."""
GROUP_WORDS = (
    "patient", "case", "subject", "donor", "participant", "individual", "person", "animal", "mouse", "rat", "slide",
    "biopsy", "specimen", "block", "mrn",
)  # fmt: skip
"""Beginnings of names of what several samples may come from."""
FILE_WORDS = {"file", "filename", "path", "image", "tumor", "tumour", "lesion"}
MASK_WORDS = {"mask", "masks", "annotation", "annotations", "segmentation", "groundtruth", "roi"}
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "testing": "test",
}
COLUMNS_SHOWN = 20
MOST_LABELS = 5
"""Different words of a column that may be labels though its name does not say so."""
NEAR = 0.8
"""Likeness (difflib) from which a name may be a slip of another: 'references', 'lable', 'tisue'."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are used.

    Attributes:
      names: the column as it is written, by the name known here.
      notes: what was assumed and what is not used, a line each.
    """

    names: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> str | None:
        """The column as it is written; None where the table lacks it."""
        return self.names.get(name)


def expected_names(options: IngestOptions) -> set[str]:
    """Folded names that the header of a table may hold."""
    return {*KNOWN, *(name for names in SYNONYMS.values() for name in names), folded(options.group)}


def find_columns(table: Path, sheet: Spreadsheet, options: IngestOptions) -> Columns:
    """Finds the columns that are used.

    Raises:
      IngestError: when one is missing, or two could be it.
    """
    written: dict[str, list[str]] = {}
    for name in sheet.columns:
        written.setdefault(folded(name), []).append(name)
    wanted = {name: folded(options.group) if name == "group" else name for name in _usable(options)}
    for fold in wanted.values():
        names = written.get(fold, [])
        if len(set(names)) < len(names):
            raise IngestError(f"{table}: column {names[0]} occurs more than once; keep one of each.")
        if len(names) > 1:
            listed = " and ".join(map(repr, names))
            raise IngestError(
                f"{table}: columns {listed} have the same name but for case and marks; keep one."
            )
    found = {name: written[fold][0] for name, fold in wanted.items() if fold in written}
    needed = _needed(options)
    notes = []
    for name in SYNONYMS:
        if name in found or (name != "split" and name not in needed):
            continue
        others = [each for fold in SYNONYMS[name] for each in written.get(fold, ())]
        if name == "split":
            others = [each for each in others if _holds_splits(sheet, each)]
        if len(others) > 1:
            raise IngestError(
                f"{table}: column {name} is missing, and {' and '.join(map(repr, others))} could be it; rename "
                f"one of them to {name}."
            )
        if others:
            found[name] = others[0]
            notes.append(f"column {others[0]} is read as {name}")
    missing = [options.group if name == "group" else name for name in needed if name not in found]
    if missing:
        raise IngestError(
            f"{table}: found the columns {_first(sheet.columns) or 'none'}; {', '.join(missing)} missing. "
            f"{_advice(sheet, missing, found)}"
        )
    unused = [name for name in sheet.columns if name not in found.values()]
    if unused:
        ways = {name: _way_to_use(name, sheet, found, options) for name in unused}
        explained = [f"{_quoted(name)} ({way})" for name, way in ways.items() if way]
        words = ", ".join([*explained, _first([_quoted(name) for name, way in ways.items() if not way])])
        words = words.removesuffix(", ")
        notes.append(f"column{'s' * (len(unused) > 1)} not used: {words}")
    return Columns(found, tuple(notes))


def _needed(options: IngestOptions) -> list[str]:
    needed = ["id", "label"] + ([] if options.images or options.scans else ["path"])
    needed += ["array"] if len(options.scans) > 1 else []
    return needed + (["group"] if folded(options.group) != "group" else [])


def _usable(options: IngestOptions) -> list[str]:
    """Names that are used with these options; a folder of masks or images stands instead of their column."""
    instead = {
        "path": options.images or options.scans,
        "reference": options.references,
        "tissue": options.tissues,
    }
    only_cores = ("array", "core")
    return [name for name in KNOWN if not instead.get(name) and (options.scans or name not in only_cores)]


def _holds_splits(sheet: Spreadsheet, column: str) -> bool:
    values = {line.cells.get(column, "").casefold() for line in sheet.lines}
    return bool(values) and values <= SPLIT_NAMES.keys()


def _advice(sheet: Spreadsheet, missing: list[str], found: Mapping[str, str]) -> str:
    folds = {folded(name) for name in missing}
    for line in sheet.lines[:20]:
        if folds <= {folded(cell) for cell in (*line.cells.values(), *line.surplus)}:
            return f"The names stand in row {line.number}: remove what is above them."
    if len(sheet.columns) == 1 and re.search(r"[^\w]", sheet.columns[0]):
        return "Columns are separated by commas, semicolons, tabs or bars: save the table as 'CSV UTF-8'."
    if "id" in missing and sheet.has_row_names:
        return "The first column has no name: name it id if it is that."
    if any(re.search(r"\.[A-Za-z]{2,4}$", name) or re.fullmatch(r"[\d.]+", name) for name in sheet.columns):
        value = next(name for name in sheet.columns if re.search(r"\.[A-Za-z]{2,4}$|^[\d.]+$", name))
        return f"{value!r} is no name of a column: put a row with the names above the first."
    near = _near(folds, (name for name in sheet.columns if name not in found.values()))
    hint = "".join(f" Did you mean {column!r} by {name}?" for name, column in near.items())
    own = [name for name in sheet.columns if name not in found.values() and _names_samples(sheet, name)]
    if "id" in missing and "id" not in near and own:
        hint += f" Each row has its own {own[0]!r}: rename it to id if it names the samples."
    left = [name for name in sheet.columns if name not in found.values()]
    if (
        "path" in missing
        and "path" not in near
        and (files := [name for name in left if _names_files(sheet, name)])
    ):
        hint += f" {files[0]!r} names files: rename it to path if they are the images."
    if "label" in missing and "label" not in near:
        listed = [f"{name!r} ({', '.join(few)})" for name in left if (few := _few_words(sheet, name))]
        if listed:
            hint += f" Rename {' or '.join(listed)} to label if it says who is diseased."
    if "path" in missing and len(missing) == 1:
        return f"Name the folder of the images with --images to do without 'path'.{hint}"
    return f"Rename or add the columns.{hint}"


def _near(folds: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """The column that a missing name may be a slip of."""
    by_fold = {folded(column): column for column in columns}
    near = {name: difflib.get_close_matches(name, by_fold, n=1, cutoff=NEAR) for name in sorted(folds)}
    return {name: by_fold[matches[0]] for name, matches in near.items() if matches}


def _way_to_use(column: str, sheet: Spreadsheet, found: Mapping[str, str], options: IngestOptions) -> str:
    """How a column that is not used would be; '' where nobody knows."""
    fold = folded(column)
    instead = {
        "path": (options.images and "--images") or (options.scans and "--scans"),
        "reference": options.references and "--references",
        "tissue": options.tissues and "--tissues",
    }
    if instead.get(fold):
        return f"{instead[fold]} is given"
    if fold in ("array", "core"):
        return "it needs --scans"
    words = [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", column)]
    if "group" not in found and _names_a_group(words) and _repeats(sheet, column):
        return f"--group {shlex.quote(column)} keeps its samples together"
    if "split" not in found and _holds_splits(sheet, column):
        return "rename it to split to keep these splits"
    near = difflib.get_close_matches(fold, [name for name in _usable(options) if name not in found], 1, NEAR)
    if near:
        return f"did you mean {near[0]}?"
    names_a_mask = MASK_WORDS.intersection(words) and set(words) <= MASK_WORDS | FILE_WORDS
    if names_a_mask and not {"reference", "tissue"} <= found.keys():
        return "rename it to reference where it marks disease, to tissue where it marks tissue"
    return ""


def _quoted(column: str) -> str:
    return repr(column) if re.search(r"[\s,;()]", column) else column


def _first(columns: Sequence[str]) -> str:
    more = len(columns) - COLUMNS_SHOWN
    return ", ".join(columns[:COLUMNS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _names_a_group(words: Sequence[str]) -> bool:
    begins = any(
        word == each or (len(each) > 3 and word.startswith(each)) for word in words for each in GROUP_WORDS
    )
    return begins or (len(words) > 1 and words[-1] in ("id", "uid"))


def likely_group_column(sheet: Spreadsheet) -> str | None:
    """The first column whose name and values may say what belongs together; to propose, never to use unasked."""
    for name in sheet.columns:
        words = [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
        if folded(name) not in KNOWN and _names_a_group(words) and _repeats(sheet, name):
            return name
    return None


def _names_samples(sheet: Spreadsheet, column: str) -> bool:
    """Whether every row has another value, which can name a sample."""
    values = [line.cells.get(column, "") for line in sheet.lines]
    return len(set(values)) == len(values) > 1 and all(map(names_a_file, values))


def _names_files(sheet: Spreadsheet, column: str) -> bool:
    """Whether every cell ends like the name of a file."""
    values = [line.cells.get(column, "") for line in sheet.lines]
    return bool(values) and all(re.search(r"[^.\s]\.[A-Za-z]\w{1,4}$", value) for value in values)


def _few_words(sheet: Spreadsheet, column: str) -> list[str]:
    """The words of a column that holds few of them again and again, as labels are; empty of any other."""
    counts = Counter(line.cells.get(column, "") for line in sheet.lines)
    few = 1 < len(counts) <= MOST_LABELS and min(counts.values()) > 1
    return sorted(counts) if few and all(re.search(r"[^\W\d]", word) for word in counts) else []


def _repeats(sheet: Spreadsheet, column: str) -> bool:
    """Whether samples share values of a column, and not all the same."""
    values = [line.cells.get(column, "") for line in sheet.lines]
    return 1 < len(set(values)) < len(values)
