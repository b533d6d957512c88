"""Which column of a table is which: names that are known, usual other names of them, and what nobody uses."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.spreadsheet import Spreadsheet, folded
from compseg_jax.store.read import SPLITS

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
        if len(written.get(fold, ())) > 1:
            names = " and ".join(map(repr, written[fold]))
            raise IngestError(
                f"{table}: columns {names} have the same name but for case and marks; keep one."
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
            f"{table}: found the columns {', '.join(sheet.columns) or 'none'}; {', '.join(missing)} missing. "
            f"{_advice(sheet, missing, found)}"
        )
    unused = [name for name in sheet.columns if name not in found.values()]
    if unused:
        words = ", ".join(_unused(name, sheet, found, options) for name in unused)
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
    near = _near(folds, (name for name in sheet.columns if name not in found.values()))
    hint = "".join(f" Did you mean {column!r} by {name}?" for name, column in near.items())
    if "path" in missing and len(missing) == 1:
        return f"Name the folder of the images with --images to do without 'path'.{hint}"
    return f"Rename or add the columns.{hint}"


def _near(folds: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """The column that a missing name may be a slip of."""
    by_fold = {folded(column): column for column in columns}
    near = {name: difflib.get_close_matches(name, by_fold, n=1, cutoff=NEAR) for name in sorted(folds)}
    return {name: by_fold[matches[0]] for name, matches in near.items() if matches}


def _unused(column: str, sheet: Spreadsheet, found: Mapping[str, str], options: IngestOptions) -> str:
    """The name of a column that is not used, and how it would be."""
    fold = folded(column)
    shown = repr(column) if re.search(r"[\s,;()]", column) else column
    option = {"path": options.images and "--images", "reference": options.references and "--references"}
    option |= {"tissue": options.tissues and "--tissues"}
    if option.get(fold):
        return f"{shown} ({option[fold]} is given)"
    if fold in ("path", "array", "core"):
        return f"{shown} (" + ("--scans is given)" if fold == "path" else "it needs --scans)")
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", column)}
    if "group" not in found and any(map(_names_a_group, words)) and _repeats(sheet, column):
        return f"{shown} (--group {shlex.quote(column)} keeps its samples together)"
    if "split" not in found and _holds_splits(sheet, column):
        return f"{shown} (rename it to split to keep these splits)"
    near = difflib.get_close_matches(fold, [name for name in _usable(options) if name not in found], 1, NEAR)
    if near:
        return f"{shown} (did you mean {near[0]}?)"
    if (
        words & MASK_WORDS
        and words <= MASK_WORDS | FILE_WORDS
        and not {"reference", "tissue"} <= found.keys()
    ):
        return f"{shown} (rename it to reference where it marks disease, to tissue where it marks tissue)"
    return shown


def _names_a_group(word: str) -> bool:
    return any(word == each or (len(each) > 3 and word.startswith(each)) for each in GROUP_WORDS)


def _repeats(sheet: Spreadsheet, column: str) -> bool:
    """Whether samples share values of a column, and not all the same."""
    values = [line.cells.get(column, "") for line in sheet.lines]
    return 1 < len(set(values)) < len(values)
