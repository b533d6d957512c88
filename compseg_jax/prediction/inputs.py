"""From the inputs of a command to samples: files, what a folder holds, and the samples of stores."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from compseg_jax.config.locations import Location, Url, absolute
from compseg_jax.model.seen import Seen, Sighting, Sightings
from compseg_jax.model.specimen import Specimen, StoreScan
from compseg_jax.prediction.array_cores import ArrayCore, OpenedArray
from compseg_jax.readers import recognise
from compseg_jax.readers.cube import Background, CubeError
from compseg_jax.readers.reading_again import open_as_trained
from compseg_jax.readers.reading_options import NOTHING_SAID, Instructions
from compseg_jax.readers.recognition import module_of
from compseg_jax.readers.scan import ROWS_AT_ONCE, Scan
from compseg_jax.store.fingerprint import content_of_bands
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.sample_names import LONGEST_ID_BYTES, as_file_name, names_a_file, same_file

HASH_DIGITS = 12
ROOM_BYTES = 50
"""Of an id, for what tells equal names apart."""


class InputError(ValueError):
    """An input is not there, or holds nothing to predict on."""


@dataclass(frozen=True, eq=False)
class Opened:
    """An image that is predicted on.

    Attributes:
      specimen: the image.
      instructions: by which its file is read.
      notes: what of that was repeated from training, in words.
    """

    specimen: Specimen
    instructions: Instructions = NOTHING_SAID
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    """One sample to predict.

    Attributes:
      id: its name in the folder of the predictions.
      source: its file, or its store, which may be a URL.
      store: its store; None for a file.
      sample: its row in the store.
      core: the core of a tissue array that it is; None for whole images.
    """

    id: str
    source: Location
    store: Store | None = None
    sample: Sample | None = None
    core: ArrayCore | None = None

    @property
    def place(self) -> str:
        """File or store, from the root."""
        return absolute(self.source)

    @property
    def store_id(self) -> str | None:
        """Its id in its store; None for a file."""
        return None if self.sample is None else self.sample.id

    def identity(self) -> dict[str, Any]:
        """What tells whether a sample in progress is of the same data."""
        if self.core is not None:
            whole = {"source": self.place, "store_id": None, "stamp": _stamp(self.source)}
            return {**whole, **self.core.identity()}
        if self.store is not None and self.sample is not None:
            place = self.store.cube_folder(self.sample.id) / "zarr.json"
            return {"source": self.place, "store_id": self.sample.id, "stamp": _stamp(place)}
        return {"source": self.place, "store_id": None, "stamp": _stamp(self.source)}

    def opened(self, background: Background, given: Instructions, trained: Instructions) -> Opened:
        """The image, not read yet where its format can be read by windows.

        Args:
          background: how tissue is recognised in images without a mask.
          given: what is said of the files.
          trained: what was said of the files that the model was trained on.

        Raises:
          CubeError, StoreError, OSError: when it cannot be read.
        """
        if self.store is not None and self.sample is not None:
            shape = self.sample.height, self.sample.width, self.store.channels
            scan = StoreScan(self.store, self.sample.id, shape)
            applied = tuple(self.store.preparation or ())
            return Opened(Specimen(scan, self.store.background, self.store.tissue(self.sample.id), applied))
        if self.core is not None:
            found = self.core.array
            return Opened(self.core.specimen(background), found.instructions, found.notes)
        assert isinstance(self.source, Path)  # only stores are read from URLs
        opened = open_as_trained(self.source, given, trained)
        return Opened(Specimen(opened.scan, background), opened.instructions, opened.notes)


def sighting_of(seen: Seen, task: Task, scan: Scan) -> Sighting | None:
    """What a model saw of a sample; its image is read for that where one of its size was seen and no store knows it."""
    if task.sample is not None and task.sample.content:
        return seen.how(task.sample.content, task.sample.id, task.sample.group)
    height, width, _ = scan.shape
    content = None
    if (height, width) in seen.sizes_px:
        bands = (
            scan.window(slice(top, min(top + ROWS_AT_ONCE, height)), slice(0, width))
            for top in range(0, height, ROWS_AT_ONCE)
        )
        content = content_of_bands(bands, scan.shape, scan.wavenumbers_cm1)
    if task.sample is None:
        return seen.how(content, task.id)
    return seen.how(content, task.sample.id, task.sample.group)


def sightings_of_stores(seen: Seen, tasks: Sequence[Task]) -> Sightings | None:
    """What a model saw of samples of stores, before any is read; None where their stores do not tell."""
    found = [
        seen.how(each.content, each.id, each.group)
        for task in tasks
        if (each := task.sample) and each.content
    ]
    return Sightings(tuple(found)) if found and len(found) == len(tasks) else None


@dataclass(frozen=True)
class Found:
    """The samples of all inputs, and the files of folders that are none.

    Attributes:
      tasks: samples, ids unique.
      left_out: files in folders that are not read as images.
    """

    tasks: tuple[Task, ...]
    left_out: tuple[Path, ...] = ()


def find_tasks(inputs: Sequence[Location], split: str = "", arrays: Sequence[OpenedArray] = ()) -> Found:
    """The samples of files, folders, stores and tissue arrays, in order.

    Args:
      inputs: what was named.
      split: of stores, only this split; all samples where empty.
      arrays: scans of tissue arrays, whose cores are samples.

    Raises:
      InputError: when an input is not there or holds no sample.
      StoreError: when a store cannot be opened, or a URL names none.
    """
    tasks: list[Task] = []
    left_out: list[Path] = []
    for path in inputs:
        if isinstance(path, Url):
            tasks += _of_store(path, split)
            continue
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder. Correct the path.")
        if (path / "dataset.json").is_file():
            tasks += _of_store(path, split)
        elif path.is_dir() and not _is_zarr(path):
            files, others = _of_folder(path)
            if not files:
                raise InputError(
                    f"{path}: no image of a readable format in this folder ({len(others)} other files). Name the "
                    "files, or see `compseg info FILE`."
                )
            tasks += [Task(_id(file), file) for file in files]
            left_out += others
        else:
            tasks.append(Task(_id(path), path))
    for array in arrays:
        tasks += [
            Task(_allowed(f"{array.name}_{core.core.name}"), array.array.path, core=core)
            for core in array.cores
        ]
    unique = {(task.place, task.store_id, task.core and task.core.core.name): task for task in tasks}
    return Found(tuple(_with_own_ids([*unique.values()])), tuple(left_out))


def _of_store(path: Location, split: str) -> list[Task]:
    store = Store.open(path)
    samples = store.split(split) if split else store.samples
    if not samples:
        known = sorted({sample.split for sample in store.samples})
        raise InputError(
            f"{path}: no samples in the split {split!r}, only in {', '.join(known)}. Choose one with --split."
        )
    return [Task(sample.id, path, store, sample) for sample in samples]


def _of_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Images in a folder and its subfolders, and files that are none; hidden ones are passed over."""
    images: list[Path] = []
    others: list[Path] = []
    for path in _walked(folder):
        try:
            found = recognise(path)
        except (CubeError, OSError):
            others.append(path)
            continue
        stem = path.with_suffix("")
        agilent = any((stem.with_suffix(suffix)).is_file() for suffix in (".bsp", ".BSP"))
        if found.stands_beside or (agilent and path.suffix.lower() in (".hdr", ".dat")):
            continue
        # A document or a program's file may begin like an archive of arrays.
        named = path.is_dir() or any(fnmatchcase(path.suffix.lower(), each) for each in found.suffixes)
        (images if named and hasattr(module_of(found), "read") else others).append(path)
    return images, others


def _walked(folder: Path) -> Iterator[Path]:
    for at, folders, files in os.walk(folder):
        here = Path(at)
        zarrs = [name for name in folders if _is_zarr(here / name)]
        folders[:] = sorted(name for name in folders if name not in zarrs and not name.startswith("."))
        yield from (here / name for name in sorted([*files, *zarrs]) if not name.startswith("."))


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup"))


def _id(path: Path) -> str:
    """The name of a file without its suffix, as a name of a folder."""
    name = path.resolve().name
    for suffix in (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz", path.suffix):
        if suffix and name.lower().endswith(suffix.lower()):
            name = name[: -len(suffix)]
            break
    return _allowed(name)


def _allowed(name: str) -> str:
    kept = as_file_name(name)
    while len(kept.encode()) > LONGEST_ID_BYTES - ROOM_BYTES:
        kept = kept[:-1]
    return kept if names_a_file(kept) else f"sample_{kept}"


def _with_own_ids(tasks: list[Task]) -> list[Task]:
    """The tasks with ids that differ: equal ones carry the names of their folders, or of their stores."""
    for level in range(4):
        counts = Counter(same_file(task.id) for task in tasks)
        if max(counts.values(), default=1) == 1:
            return tasks
        tasks = [_named_further(task, level) if counts[same_file(task.id)] > 1 else task for task in tasks]
    counts = Counter(same_file(task.id) for task in tasks)
    return [_named_by_hash(task) if counts[same_file(task.id)] > 1 else task for task in tasks]


def _named_by_hash(task: Task) -> Task:
    """A name for what its folders do not tell apart: long names that begin alike, or differ in what no id holds."""
    source = (
        os.fsencode(task.source.resolve()) if isinstance(task.source, Path) else str(task.source).encode()
    )
    within = f"\0{task.store_id}\0{task.core and task.core.core.name}".encode()
    return replace(task, id=f"{task.id}_{hashlib.sha256(source + within).hexdigest()[:HASH_DIGITS]}")


def _named_further(task: Task, level: int) -> Task:
    source = task.source.resolve() if isinstance(task.source, Path) else task.source
    folders: list[Location] = [*source.parents]
    if task.sample is not None:
        folders.insert(0, source)
    elif level == 3:
        return replace(task, id=_allowed(f"{task.id}_{source.name.rpartition('.')[2]}"))
    return replace(task, id=_allowed(f"{folders[min(level, len(folders) - 1)].name}_{task.id}"))


def _stamp(path: Location) -> list[int]:
    """What changes when a file does; nothing behind a URL, where a store is written once."""
    if isinstance(path, Url):
        return []
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
