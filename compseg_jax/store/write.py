"""Writing a store: cubes once, sharded, complete or not at all.

In a folder it is written beside its place, and renamed. Object stores rename nothing: there ``samples.csv`` is written
last, without which it is no store, and a key says meanwhile that a writer is at work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from compseg_jax.config.locations import Location, Url, location
from compseg_jax.readers.cube import Background
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.runtime.files import begin_staging, json_text, put_new, remove, remove_leftovers
from compseg_jax.store import ome
from compseg_jax.store.fingerprint import content_of, mask_of, values_of
from compseg_jax.store.kvstore import (
    LocationError,
    array_answer,
    delete,
    delete_below,
    exist,
    joined,
    open_array,
    refuse_read_only,
    write_new,
    write_together,
)
from compseg_jax.store.read import DESCRIPTION, Sample, StoreError, samples_sha256
from compseg_jax.store.sample_names import names_a_file, same_file

WRITER_AT_WORK = ".compseg-writing"
"""Key of a store behind a URL that is not finished."""


SAME_PIXELS = 0.01
"""Relative difference up to which pixel sizes are one: stages and cameras state slightly different numbers."""


class StoreWriter:
    """Writes a store, which is one when everything is in it.

    Use as a context manager; after an error or Ctrl-C nothing is left.

    Args:
      path: directory, or URL as text; nothing may be there.
    """

    def __init__(
        self,
        path: Location | str,
        *,
        channels: int,
        wavenumbers_cm1: np.ndarray | None,
        pixel_size_um: float | None,
        background: Background,
        created_by: str,
        preparation: list[dict[str, Any]] | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = location(path)
        refuse_existing(self.path)
        self._staging: Location
        self._new_parents: list[Path] = []
        self._others: list[str] = []
        self._begun: list[str] = []
        self._samples: dict[str, Sample] = {}
        self._names: set[str] = set()
        self._channels = channels
        self._pixel_size_um = pixel_size_um
        self._wavenumbers_cm1 = wavenumbers_cm1
        self._description: dict[str, Any] = {
            "channels": channels,
            "wavenumbers_cm1": None if wavenumbers_cm1 is None else [float(v) for v in wavenumbers_cm1],
            "pixel_size_um": pixel_size_um,
            "background": background,
            "created_by": created_by,
        }
        if preparation is not None:
            self._description["preparation"] = preparation
        if reading:
            self._description["reading"] = dict(reading)

    def __enter__(self) -> StoreWriter:
        if isinstance(self.path, Url):
            self._staging = self.path
            if not write_new(self.path / WRITER_AT_WORK, b""):
                if not exist([self.path / WRITER_AT_WORK])[0]:  # as S3 answers where there is no bucket
                    raise LocationError(f"{self.path}: nothing can be written there. Make the bucket first.")
                raise StoreError(
                    f"{self.path}: another process is writing a store there, or was killed while it did. Wait for it, "
                    "or remove all that lies below it, or choose another --out."
                )
            return self
        self._new_parents = [folder for folder in self.path.absolute().parents if not folder.exists()]
        self._staging = begin_staging(self.path)
        (self._staging / "cubes").mkdir(parents=True)
        return self

    def add(
        self,
        sample: Sample,
        absorbance: np.ndarray,
        tissue: np.ndarray,
        reference: np.ndarray | None,
    ) -> None:
        """Writes one sample: absorbance (y, x, c), tissue (y, x) and, where known, its reference mask.

        Raises:
          StoreError: when the id is taken or cannot name a file, or arrays and sample do not fit together.
        """
        masks = {
            name: mask.astype(np.uint8)
            for name, mask in (("tissue", tissue), ("reference", reference))
            if mask is not None
        }
        self._check(sample, absorbance, masks)
        self._begun.append(sample.id)
        with _interrupted_afterwards():
            self._write(sample, absorbance, masks)
        self._samples[sample.id] = dataclasses.replace(
            self._with_content(sample, absorbance),
            cube_hash=values_of(absorbance, masks["tissue"].astype(bool)),
            tissue_hash=mask_of(masks["tissue"].astype(bool)),
            reference_hash=mask_of(masks["reference"].astype(bool)) if "reference" in masks else "",
        )
        self._names.add(same_file(sample.id))

    def _with_content(self, sample: Sample, absorbance: np.ndarray) -> Sample:
        # Of prepared spectra, only who prepared them knows what they were made of.
        if sample.content or "preparation" in self._description:
            return sample
        return dataclasses.replace(sample, content=content_of(absorbance, self._wavenumbers_cm1))

    def add_file(self, name: str, content: str | bytes) -> None:
        """Puts a file of any other kind into the store; ``name`` may hold folders."""
        self._others.append(name)
        self._put({name: content.encode() if isinstance(content, str) else content})

    def _put(self, contents: Mapping[str, bytes]) -> None:
        if isinstance(self._staging, Url):
            write_together(self._staging, contents)
            return
        # Nobody looks into this folder before it is renamed, so none of its files has to be whole at every moment.
        for name, content in contents.items():
            place = os.path.join(self._staging, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(content)

    def _write(self, sample: Sample, absorbance: np.ndarray, masks: dict[str, np.ndarray]) -> None:
        image = f"cubes/{sample.id}.zarr"
        size_um = self._pixel_size_um if sample.pixel_size_um is None else sample.pixel_size_um
        cube = absorbance.astype(np.float32, copy=False).transpose(2, 0, 1)
        described = _described(cube.shape, tuple(masks), size_um)
        texts = {f"{image}/{name}/zarr.json": text for name, (_, text) in described.items()}
        self._put({f"{image}/zarr.json": json_text(ome.image_group(sample.id, size_um)).encode(), **texts})
        arrays = {"0": cube, **{f"labels/{name}/0": mask for name, mask in masks.items()}}
        writes = []
        for name, values in arrays.items():
            place = joined(self._staging, f"{image}/{name}")
            # Every chunk is written, also one of zeros, so that a missing one is known to be damage.
            spec = {"metadata": described[name][0], "store_data_equal_to_fill_value": True}
            try:
                array = open_array(place, spec=spec, open=True, assume_metadata=True, write=True)
            except ValueError as error:
                raise StoreError(f"{place} cannot be written ({error}). Choose another --out.") from error
            writes.append((place, array.write(values).commit))
        for place, future in writes:
            array_answer(future, place)

    def _check(self, sample: Sample, absorbance: np.ndarray, masks: dict[str, np.ndarray]) -> None:
        if not names_a_file(sample.id) or same_file(sample.id) in self._names:
            raise StoreError(
                f"{self.path}: id {sample.id!r} is taken or cannot name a file; give each sample its own."
            )
        size = (sample.height, sample.width)
        shapes = {"absorbance": absorbance.shape} | {name: mask.shape for name, mask in masks.items()}
        required = {"absorbance": (*size, self._channels)} | dict.fromkeys(masks, size)
        if shapes != required or sample.has_reference != ("reference" in masks):
            raise StoreError(
                f"{self.path}: sample {sample.id!r} has arrays of shapes {shapes}; required are {required}, and "
                f"a reference mask only where has_reference, which is {sample.has_reference}. Mend the sample."
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = False
        try:
            with _interrupted_afterwards():
                if kind is None:
                    self._finish()
                    finished = True
        finally:
            if isinstance(self._staging, Url):
                with _interrupted_afterwards():
                    self._leave(self._staging, finished=finished)
            else:
                remove(self._staging)
            for folder in self._new_parents:
                with contextlib.suppress(OSError):  # it holds the finished store, or something of another's
                    folder.rmdir()

    def _finish(self) -> None:
        table = csv_text(
            [field.name for field in dataclasses.fields(Sample)],
            [
                {**dataclasses.asdict(sample), "has_reference": int(sample.has_reference)}
                for sample in self._samples.values()
            ],
            line_end="\r\n",
        )
        refuse_existing(self.path)
        self._description["pixel_size_um"] = self._common_pixel_size_um()
        self._description["samples_sha256"] = samples_sha256(self._samples.values())
        self._put({"dataset.json": json_text(DESCRIPTION.stamped(self._description)).encode()})
        self._put({"samples.csv": table.encode()})
        if isinstance(self.path, Path) and isinstance(self._staging, Path):
            if hasattr(os, "sync"):
                os.sync()
            put_new(self._staging, self.path)

    def _common_pixel_size_um(self) -> float | None:
        """The pixel size of all samples; None where it differs or one of them is unknown."""
        own = [each.pixel_size_um for each in self._samples.values()]
        sizes = [self._pixel_size_um if each is None else each for each in own]
        first = sizes[0] if sizes else self._pixel_size_um
        if first is None or any(each is None or abs(each / first - 1) > SAME_PIXELS for each in sizes):
            return None
        return first

    def _leave(self, url: Url, *, finished: bool) -> None:
        """Takes away what is no part of a finished store, and that is all where it was not finished."""
        if not finished:
            for sample_id in self._begun:
                delete_below(url / "cubes" / f"{sample_id}.zarr")
            for name in [*self._others, "dataset.json"]:
                delete(joined(url, name))
        delete(url / WRITER_AT_WORK)


@lru_cache(maxsize=64)
def _described(
    shape: tuple[int, int, int], masks: tuple[str, ...], size_um: float | None
) -> Mapping[str, tuple[dict[str, Any], bytes]]:
    """What zarr.json says below an image of this shape (c, y, x), which samples share, and its text."""
    below = {"0": ome.cube_array(shape), "labels": ome.labels_group(sorted(masks))}
    for name in masks:
        below[f"labels/{name}"] = ome.mask_group(name, size_um)
        below[f"labels/{name}/0"] = ome.mask_array(shape[1:])
    return {name: (each, json_text(each).encode()) for name, each in below.items()}


@contextlib.contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block: TensorStore goes on with a write that nobody waits for
    any more, and would put files back into a folder that is being removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    received: list[int] = []
    before = {
        each: signal.signal(each, lambda number, frame: received.append(number))
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if received:
            signal.raise_signal(received[0])


def refuse_existing(path: Location) -> None:
    """Raises StoreError where something is in the place of a store to be written, LocationError where none can be."""
    if isinstance(path, Url):
        refuse_read_only(path)
        there = any(exist([path / "dataset.json", path / "samples.csv"]))
    else:
        remove_leftovers(path.parent, path.name)
        there = path.exists() or path.is_symlink()
    if there:
        raise StoreError(f"{path} exists already. Remove it, or choose another --out.")
