"""One image in several rows: refused where its labels or splits differ, else a group, so that one split gets it."""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.ingest.table import Row, several
from compseg_jax.readers import CubeError, recognise

ENDS_BYTES = 65_536
"""Files of one size are compared by their two ends first: most differ there, and few are read whole."""
MARKS = {"envi": (".",), "imzml": (".",), "slide": (".",), "agilent": (".", "_")}
"""Reader of images of several files, and what follows their common name in each; a folder may have it, too."""
LOOKED_INTO = 8
"""Files of a folder whose ends are compared, the largest."""
_SHOWN = 3


def join_same_images(table: Path, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Puts rows of one image into one group, and notes of it; nothing is read as an image.

    An image is one with another when their paths lead to the same file, or their files hold the same bytes; a core
    when it is the same core of such a scan.

    Raises:
      IngestError: when rows of one image have different labels, or splits of the table.
    """
    contents = _contents(sorted({row.path for row in rows}))
    by_image: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        by_image.setdefault((contents[row.path], row.core), []).append(row)
    same = [each for each in by_image.values() if len(each) > 1]
    problems = [problem for each in same if (problem := disagreement(each))]
    if problems:
        raise IngestError(several(table, problems))
    return _joined(rows, same), _notes(same)


def disagreement(rows: Sequence[Row]) -> str:
    """Why rows of one image cannot stay, in words; '' where they can."""
    if len({row.label for row in rows}) == 1 and len({row.split for row in rows}) == 1:
        return ""
    of_table = all(row.line for row in rows)
    where = ("rows " if of_table else "") + _few(
        [f"{row.line} ({row.id})" if of_table else row.id for row in rows]
    )
    files = _few([*dict.fromkeys(row.source() for row in rows)])
    if len({row.label for row in rows}) > 1:
        labels = " and ".join(dict.fromkeys("diseased" if row.label else "healthy" for row in rows))
        return f"{where} are one image ({files}), labelled {labels}. Correct the path or the label."
    splits = " and ".join(dict.fromkeys(row.split for row in rows))
    return f"{where} are one image ({files}), in {splits}. Give them one split or one group, or keep one of them."


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _notes(same: Sequence[Sequence[Row]]) -> list[str]:
    if not same:
        return []
    shown = _few([f"{' = '.join(row.id for row in rows)} ({rows[0].source()})" for rows in same])
    return [f"one image under several ids, kept in one split: {shown}"]


def _joined(rows: Sequence[Row], same: Iterable[Sequence[Row]]) -> list[Row]:
    """The rows, with one group for all that share an image, or share a group with one that does."""
    leads: dict[str, str] = {}

    def leader(group: str) -> str:
        while group in leads:
            group = leads[group]
        return group

    for each in same:
        # A group that the table names goes before one that is only the name of a sample.
        groups = sorted(
            {leader(row.group) for row in each}, key=lambda group: (group in {r.id for r in each}, group)
        )
        leads.update(dict.fromkeys(groups[1:], groups[0]))
    return [replace(row, group=leader(row.group)) for row in rows]


def _contents(paths: Sequence[Path]) -> dict[Path, int]:
    """A number for each path; the same where they lead to one file, or to files of the same bytes."""
    by_file: dict[Hashable, list[Path]] = {}
    for path in paths:
        by_file.setdefault(_file(path), []).append(path)
    files = _Files()
    classes = [[each[0] for each in by_file.values()]]
    for key in (files.sizes, files.ends, files.bytes):
        classes = [part for each in classes for part in _parted(each, key)]
    numbers = {path: number for number, each in enumerate(classes) for path in each}
    return {path: numbers[each[0]] for each in by_file.values() for path in each}


def _file(path: Path) -> Hashable:
    """What stays the same of a file by whatever path, link or case of letters it is named."""
    try:
        found = path.stat()
    except OSError:
        return path
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _parted(paths: list[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """The paths by a key; one that cannot be read is like no other, which its reader will say."""
    if len(paths) == 1:
        return [paths]
    parts: dict[Hashable, list[Path]] = {}
    for path in paths:
        try:
            parts.setdefault(key(path), []).append(path)
        except OSError:
            parts[path] = [path]
    return list(parts.values())


class _Files:
    """What the files of images hold: of one, of a header with its data, or of a folder."""

    def __init__(self) -> None:
        self._beside: dict[Path, list[str]] = {}
        self._known: dict[Path, list[tuple[str, Path]]] = {}

    def sizes(self, path: Path) -> Hashable:
        return tuple((name, file.stat().st_size) for name, file in self._parts(path))

    def ends(self, path: Path) -> Hashable:
        largest = sorted(self._parts(path), key=lambda part: (-part[1].stat().st_size, part[0]))[:LOOKED_INTO]
        return tuple(_ends(file) for _, file in largest)

    def bytes(self, path: Path) -> Hashable:
        return tuple(_digest(file) for _, file in self._parts(path))

    def _parts(self, path: Path) -> list[tuple[str, Path]]:
        """The files of an image, each with what tells it from the image's others."""
        if path not in self._known:
            self._known[path] = self._found(path)
        return self._known[path]

    def _found(self, path: Path) -> list[tuple[str, Path]]:
        if path.is_dir():
            return [(str(each.relative_to(path)), each) for each in sorted(path.rglob("*")) if each.is_file()]
        try:
            module = recognise(path).module
        except CubeError:
            module = ""  # its reader will say why
        marks = MARKS.get(module)
        if marks is None:
            return [("", path)]
        if path.parent not in self._beside:
            self._beside[path.parent] = sorted(each.name for each in path.parent.iterdir())
        names = self._beside[path.parent]
        beginning = names[bisect.bisect_left(names, path.stem) :]
        belonging = takewhile(lambda name: name.startswith(path.stem), beginning)
        parts = [(name[len(path.stem) :], path.with_name(name)) for name in belonging]
        folder = path.with_suffix("")
        inside = folder.rglob("*") if folder != path and folder.is_dir() else ()
        parts = [(end, each) for end, each in parts if end.startswith(marks)]
        parts += sorted((str(each.relative_to(folder)), each) for each in inside)
        return [(end, each) for end, each in parts if each.is_file()]


def _ends(file: Path) -> bytes:
    with file.open("rb") as stream:
        first = stream.read(ENDS_BYTES)
        stream.seek(max(0, file.stat().st_size - ENDS_BYTES))
        return hashlib.blake2b(first + stream.read()).digest()


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()


class SameValues:
    """Finds samples that hold the same values although their files differ, such as copies in another format."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._seen: dict[str, list[Row]] = {}

    def add(self, row: Row, content: str) -> None:
        """Takes the hash of the next sample's image (``store.fingerprint``).

        Raises:
          IngestError: where an earlier one has its values, but another label or split.
        """
        rows = self._seen.setdefault(content, [])
        rows.append(row)
        problem = disagreement(rows)
        if problem:
            raise IngestError(several(self._table, [problem]))
