"""The files that a table names: paths as any system writes them, and folders searched by the names of samples."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from compseg_jax.ingest.ingest_options import IngestError
from compseg_jax.readers import FORMATS

Listing = Mapping[str, Sequence[Path]]
Suffixes = Sequence[Sequence[str]]
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz")
TEXT = (".txt", ".csv", ".tsv", ".dat", ".asc", ".xyz", ".dpt")
"""Suffixes that notes and exports have, too."""
_DATA = {suffix for each in FORMATS if each.stands_beside for suffix in each.suffixes}
"""Of files that a header leads to."""
_OTHERS = {".zarr"} | {
    suffix for each in FORMATS if each.module != "jcamp" for suffix in each.suffixes if "[" not in suffix
}
IMAGES = (PICTURES, tuple(sorted(_OTHERS - {*PICTURES, *TEXT, *_DATA})), TEXT)
"""Suffixes of a sample's image in a folder; a later group where no file of those before has the sample's name."""
MASKS = (PICTURES, (".bmp", ".geojson", ".json", ".mat", ".h5", ".hdf5"))
"""The same of masks."""
_QUOTES = "\"'“”„«»‘’"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class SampleFiles:
    """Finds files as a table names them.

    Attributes:
      table: relative paths start in its folder, or in itself where it is one.
      otherwise: paths found although upper and lower case or the composition of accents differ, as written.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self._base = table if table.is_dir() else table.parent
        self.otherwise: list[str] = []
        self._beside: dict[Path, dict[str, list[Path]]] = {}

    def named(self, value: str, what: str) -> Path:
        """The file of a cell.

        Args:
          value: a path of this or of another system, with quotes around it or not, relative to the table or absolute.
          what: what it should be, for the error.

        Raises:
          IngestError: when it is empty or there is no such file; without the row.
        """
        text = value.strip().strip(_QUOTES).strip()
        if not text:
            raise IngestError(f"it names no {what}. Add the path or remove the row.")
        if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
            parts = urlsplit(text)
            if parts.scheme.lower() != "file":
                raise IngestError(f"{what} {text} is an address of the web. Load it down and name the file.")
            text = unquote(parts.path)
        path = self._base / _expanded(text)
        if _exists(path):
            return path
        if "\\" in text and os.sep == "/":
            path = self._base / _expanded(text.replace("\\", "/"))
            if not _DRIVE.match(text) and _exists(path):
                return path
        found = None if _DRIVE.match(text) and os.sep == "/" else self._whatever_case(path)
        if found is None:
            raise IngestError(f"{what} {path} does not exist{self._why_not(text, path)}")
        self.otherwise.append(text)
        return found

    def _whatever_case(self, path: Path) -> Path | None:
        """The only file whose name differs in case or composition alone."""
        found = Path(path.anchor)
        for part in path.parts[1:] if path.anchor else path.parts:
            exact = found / part
            if part == ".." or _exists(exact):
                found = exact
                continue
            alike = self._entries(found).get(_alike(part), [])
            if len(alike) != 1:
                return None
            found = alike[0]
        return found

    def _entries(self, folder: Path) -> dict[str, list[Path]]:
        """What lies in a folder, by names without case."""
        if folder not in self._beside:
            entries: dict[str, list[Path]] = {}
            try:
                for entry in sorted(folder.iterdir()):
                    entries.setdefault(_alike(entry.name), []).append(entry)
            except OSError:
                pass  # no folder, or none that may be read: nothing is found in it
            self._beside[folder] = entries
        return self._beside[folder]

    def _why_not(self, text: str, path: Path) -> str:
        if _DRIVE.match(text) and os.sep == "/":
            return ": it is a path of Windows. Copy the files beside the table and name them relative to it."
        alike = [each.name for each in self._entries(path.parent).get(_alike(path.name), [])]
        near = alike or difflib.get_close_matches(
            path.name, [each.name for found in self._entries(path.parent).values() for each in found], n=1
        )
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return f" (paths are relative to the table).{hint} Correct the path or remove the row."

    def in_folder(self, folder: Path, option: str, suffixes: Suffixes) -> Listing:
        """Files of a folder by their name, with and without suffix; the folder as given, or else beside the table.

        Args:
          folder: where they lie.
          option: that named it.
          suffixes: ``IMAGES`` or ``MASKS``.

        Raises:
          IngestError: when there is no such folder.
        """
        places = [place for place in (_expanded(str(folder)), self._base / folder) if place.is_dir()]
        if not places:
            raise IngestError(
                f"{option} {folder}: no such folder, here or beside {self.table}. Correct the path."
            )
        entries = [path for path in sorted(places[0].iterdir()) if not path.name.startswith(".")]
        listing: dict[str, list[Path]] = {}
        for group in reversed(suffixes):
            listing |= by_name(entries, group)
        return listing


def by_name(entries: Iterable[Path], suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """Entries of some suffixes by their name, with and without suffix."""
    found: dict[str, list[Path]] = {}
    for path in entries:
        if path.suffix.lower() in suffixes:
            for name in {path.name, path.stem, path.stem.removesuffix(".ome").removesuffix(".nii")}:
                found.setdefault(composed(name), []).append(path)
    for name, paths in found.items():
        # Agilent's files have a header for ENVI beside them, which knows less.
        found[name] = [path for path in paths if path.suffix.lower() != ".hdr"] or paths
    return found


def of_sample(listing: Listing, sample_id: str, what: str, suffixes: Suffixes) -> Path:
    """The file of a folder that is named after a sample.

    Raises:
      IngestError: when there is none, or several; without the row.
    """
    found = listing.get(composed(sample_id), ())
    if len(found) == 1:
        return found[0]
    if found:
        raise IngestError(
            f"several files could be its {what}, {' and '.join(map(str, found))}; keep one, or name it in the table."
        )
    near = difflib.get_close_matches(composed(sample_id), listing, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise IngestError(
        f"no {what} {sample_id}.* in the folder given; its suffix must be one of {', '.join(suffixes[0])}, or that of "
        f"another format that is read.{hint} Add the file or remove the row."
    )


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)  # the home of a user who is none


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # too long or of characters that no name can have


def composed(name: str) -> str:
    """Accents as one character each; file systems of Apple store two."""
    return unicodedata.normalize("NFC", name)


def _alike(name: str) -> str:
    return composed(name).casefold()
