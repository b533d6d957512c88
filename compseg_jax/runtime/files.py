"""The one keeper of files: whole or absent, old until the new is there, JSON that states its format and version.

What is being written lies beside its place under a hidden name that says which process writes it,

    .<name>.<machine>-<pid>-<start>-<number>.partial      being written
    .<name>.<machine>-<pid>-<start>-<number>.replaced     kept aside until the new one is in its place

so that the next writer of the same place removes what a killed process left there, and never what a living one is
writing. What another machine left is removed when nothing in it was touched for a week: whether its process lives
cannot be asked from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from compseg_jax.config.file_schema import values_of
from compseg_jax.config.locations import Location
from compseg_jax.config.regular_files import refuse_special
from compseg_jax.runtime.processes import has_ended, machine, process_start
from compseg_jax.runtime.typed import typed

ABANDONED_S = 7 * 24 * 3600.0
_NAME = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-\d+\.(?P<kind>partial|replaced)",
    re.DOTALL,
)
_numbers = itertools.count()


@contextlib.contextmanager
def atomic_file(path: Path | str, *, durable: bool = False) -> Iterator[Path]:
    """Place to write a file to, which becomes ``path`` at the end of the block; a file that is there is replaced.

    After an error nothing is left of it, and what was at ``path`` before is still there.

    Args:
      path: the file.
      durable: waits for the disk, so that a power cut leaves the old file or the new one, never an empty one.
    """
    with staging_place(path) as staging:
        yield staging
        if durable:
            wait_for_disk(staging)
        put(staging, Path(path))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wait_for_disk(path: Path) -> None:
    """Returns when the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Empty folder to fill, which becomes ``path`` at the end of the block.

    A folder that is there is replaced: it is kept aside until the new one is in its place, and comes back where that
    fails. After an error nothing is left of the new one.
    """
    with staging_place(path) as staging:
        staging.mkdir()
        yield staging
        put(staging, Path(path))


@contextlib.contextmanager
def staging_place(path: Path | str) -> Iterator[Path]:
    """As `begin_staging`; what lies there at the end of the block is removed."""
    staging = begin_staging(path)
    try:
        yield staging
    finally:
        remove(staging)


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Empty folder among the temporary files of this machine, gone at the end of the block.

    What killed processes left of the same name is removed first.
    """
    with staging_place(Path(tempfile.gettempdir()) / f"compseg-{name}") as folder:
        folder.mkdir(mode=0o700)
        yield folder


def begin_staging(path: Path | str) -> Path:
    """Hidden place beside ``path`` at which nothing is; whoever asks for it removes what he puts there.

    Missing parents are made. What killed writers of ``path`` left is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    return _hidden(path, "partial")


def resumable_place(path: Path) -> Path:
    """Hidden place beside ``path`` of work that the next process goes on with, whoever began it.

    Nobody removes it but those who go on or find ``path`` finished; that one process works there at a time is theirs to
    see to.
    """
    return path.with_name(f".{path.name}.partial")


def put(new: Path, path: Path) -> None:
    """Puts a file or a folder in the place of ``path``; a folder there is kept aside until that has worked."""
    if not (new.is_dir() and path.is_dir()):
        os.replace(new, path)
        return
    aside = _hidden(path, "replaced")
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        if not path.exists():
            aside.rename(path)
        raise
    remove(aside)


def put_new(new: Path, path: Path) -> None:
    """Puts a folder where nothing is; raises OSError where another process was first."""
    new.rename(path)


def put_new_file(path: Path, text: str) -> bool:
    """Writes a file where none is; False, and nothing is changed, where another process was first."""
    with staging_place(path) as staging:
        staging.write_text(text, encoding="utf-8")
        try:
            os.link(staging, path)  # unlike a rename it fails where something is
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            os.replace(staging, path)
        return True


def remove(path: Path) -> None:
    """Removes a file or a folder with all it holds, where there is one, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes what killed processes were writing in a folder; what they had put aside comes back where nothing is.

    Args:
      folder: where to look, not below it.
      name: only what was to get this name; everything when None.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if not found or name not in (None, found["name"]) or not _is_abandoned(Path(entry.path), found):
                continue
            place = Path(folder) / found["name"]
            if found["kind"] == "replaced" and not place.exists():
                Path(entry.path).rename(place)
            else:
                remove(Path(entry.path))


def _hidden(path: Path, kind: str) -> Path:
    pid = os.getpid()
    owner = f"{machine()}-{pid}-{process_start(pid) or 0}-{next(_numbers)}"
    return path.with_name(f".{path.name}.{owner}.{kind}")


def _is_abandoned(path: Path, found: re.Match[str]) -> bool:
    if found["machine"] == machine() and sys.platform != "win32":
        return has_ended(int(found["pid"]), found["start"] if found["start"] != "0" else None)
    newest = 0.0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, each.lstat().st_mtime)
    return time.time() - newest > ABANDONED_S


def json_text(values: Mapping[str, Any], *, default: Callable[[object], object] | None = None) -> str:
    """The text of a JSON file as the package writes it; raises ValueError for NaN and infinities."""
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=default) + "\n"


def sha256_of(values: Mapping[str, Any], without: str = "") -> str:
    """Hash of JSON values but for one key: of their text with sorted keys, no blanks and \\u escapes."""
    kept = {name: value for name, value in values.items() if name != without}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path | str, text: str, *, durable: bool = True) -> None:
    """Writes a text file, whole or not at all, and waits for the disk unless told not to (see `atomic_file`)."""
    with atomic_file(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


@dataclass(frozen=True)
class JsonFormat:
    """A JSON file of the package that states its format and version.

    Attributes:
      name: of the format, under the key ``format``.
      version: newest that this release reads, and the one it writes; it reads all from 1.
      required: keys without which a file is damaged.
      absent: the next step where there is no file, a sentence.
      again: the next step where one cannot be read, as in 'predict again'.
      error: what is raised.
      schema: dataclass of the values, which written and read ones have to fit.
      seal: key of a hash over all other keys, so that what was edited or damaged is known; files of earlier releases
        have none.
      accept: command that takes a file as it was edited, typed with the folder it lies in; '' where none does.
    """

    name: str
    version: int
    _: KW_ONLY
    required: tuple[str, ...] = ()
    absent: str
    again: str
    error: type[ValueError] = ValueError
    schema: type | None = None
    seal: str = ""
    accept: tuple[str, ...] = ()

    def stamped(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values after format and version, checked and sealed.

        Raises:
          ValueError: when they do not fit the schema; names key, value and what is allowed.
        """
        stamped = {"format": self.name, "version": self.version, **values}
        if self.schema is not None:
            values_of(self.schema, stamped)
        return stamped | {self.seal: sha256_of(stamped, self.seal)} if self.seal else stamped

    def read(self, path: Path) -> dict[str, Any]:
        """The values of a file.

        Raises:
          ValueError (`error`): when it is missing, damaged, or of a format or version that is not read.
        """
        refuse_special(path)
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.missing(path) from error
        return self.parsed(text, path)

    def missing(self, place: Location) -> ValueError:
        """The error for a place at which there is no file."""
        return self.error(f"{place.parent}: no {place.name} found. {self.absent}")

    def parsed(self, text: bytes | str, place: Location | str, *, as_edited: bool = False) -> dict[str, Any]:
        """The values of a text that was found at ``place``, whatever its hash ``as_edited``; raises as `read` does."""
        try:
            values = json.loads(text)
        except ValueError as error:  # no JSON, or not UTF-8
            raise self.damaged(place, error) from error
        if not isinstance(values, dict):
            raise self.damaged(place, f"a {type(values).__name__} instead of keys and values")
        name, version = values.get("format"), values.get("version")
        if name != self.name or type(version) is not int or not 1 <= version <= self.version:
            raise self._refused(place, f"format {name!r} version {version!r}", "update compseg_jax or ")
        if missing := [key for key in self.required if key not in values]:
            raise self.damaged(place, f"{', '.join(missing)} missing")
        if self.schema is not None:
            try:
                values_of(self.schema, values)
            except ValueError as error:
                raise self.damaged(place, error) from error
        if (
            self.seal in values
            and values[self.seal] != (found := sha256_of(values, self.seal))
            and not as_edited
        ):
            raise self.error(
                f"{place}: its values have the hash {found[:12]}…, {self.seal} states {str(values[self.seal])[:12]}…. "
                f"The file was edited or damaged: {self.again}{self._or_accept(place)}."
            )
        return values

    def _or_accept(self, place: Location | str) -> str:
        if not self.accept or isinstance(place, str):
            return ""
        return f", or, if the edit was meant, accept it: {typed(*self.accept, place.parent)}"

    def damaged(self, place: Location | str, what: object) -> ValueError:
        """The error for a file of which its reader sees that it is damaged."""
        return self._refused(place, f"a damaged file ({what})")

    def _refused(self, place: Location | str, found: str, first: str = "") -> ValueError:
        step = f"{first}{self.again}"
        return self.error(
            f"{place}: found {found}; this release reads {self.name!r} version 1 to {self.version}. "
            f"{step[0].upper()}{step[1:]}."
        )
