"""Writing a store: cubes once, sharded, complete or not at all."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tensorstore as ts

from compseg_jax.readers.cube import Background
from compseg_jax.runtime.files import begin_staging, json_text, put_new, remove
from compseg_jax.store import ome
from compseg_jax.store.fingerprint import content_of
from compseg_jax.store.read import DESCRIPTION, Sample, StoreError, array_spec, names_a_file


class StoreWriter:
    """Writes a store beside its place and puts it there when everything is in it.

    Use as a context manager; after an error or Ctrl-C nothing is left.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        channels: int,
        wavenumbers_cm1: np.ndarray | None,
        pixel_size_um: float | None,
        background: Background,
        created_by: str,
        preparation: list[dict[str, Any]] | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        refuse_existing(self.path)
        self._staging: Path
        self._new_parents: list[Path] = []
        self._samples: dict[str, Sample] = {}
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
        masks = {"tissue": tissue} if reference is None else {"tissue": tissue, "reference": reference}
        self._check(sample, absorbance, masks)
        with _interrupted_afterwards():
            self._write(sample, absorbance, masks)
        self._samples[sample.id] = self._with_content(sample, absorbance)

    def _with_content(self, sample: Sample, absorbance: np.ndarray) -> Sample:
        # Of prepared spectra, only who prepared them knows what they were made of.
        if sample.content or "preparation" in self._description:
            return sample
        return dataclasses.replace(sample, content=content_of(absorbance, self._wavenumbers_cm1))

    def add_file(self, name: str, content: str | bytes) -> None:
        """Puts a file of any other kind into the store; ``name`` may hold folders."""
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def _write(self, sample: Sample, absorbance: np.ndarray, masks: dict[str, np.ndarray]) -> None:
        folder = self._staging / "cubes" / f"{sample.id}.zarr"
        _write_json(folder / "zarr.json", ome.image_group(sample.id, self._pixel_size_um))
        cube = absorbance.astype(np.float32, copy=False).transpose(2, 0, 1)
        _write_array(folder / "0", cube, ome.cube_array(cube.shape))
        _write_json(folder / "labels" / "zarr.json", ome.labels_group(sorted(masks)))
        for name, mask in masks.items():
            _write_json(folder / "labels" / name / "zarr.json", ome.mask_group(name, self._pixel_size_um))
            _write_array(folder / "labels" / name / "0", mask.astype(np.uint8), ome.mask_array(mask.shape))

    def _check(self, sample: Sample, absorbance: np.ndarray, masks: dict[str, np.ndarray]) -> None:
        if not names_a_file(sample.id) or sample.id in self._samples:
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
        try:
            with _interrupted_afterwards():
                if kind is None:
                    self._finish()
        finally:
            remove(self._staging)
            for folder in self._new_parents:
                with contextlib.suppress(OSError):  # it holds the finished store, or something of another's
                    folder.rmdir()

    def _finish(self) -> None:
        with (self._staging / "samples.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Sample)])
            writer.writeheader()
            for sample in self._samples.values():
                writer.writerow({**dataclasses.asdict(sample), "has_reference": int(sample.has_reference)})
        _write_json(self._staging / "dataset.json", DESCRIPTION.stamped(self._description))
        refuse_existing(self.path)
        if hasattr(os, "sync"):
            os.sync()
        put_new(self._staging, self.path)


@contextlib.contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block: TensorStore goes on with a write that nobody waits for any
    more, and would put files back into a folder that is being removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C reaches the main thread only
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            signal.raise_signal(signal.SIGINT)


def refuse_existing(path: Path) -> None:
    """Raises StoreError where something is in the place of a store to be written."""
    if path.exists() or path.is_symlink():
        raise StoreError(f"{path} exists already. Remove it, or choose another --out.")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(values), encoding="utf-8")


def _write_array(path: Path, values: np.ndarray, metadata: dict[str, Any]) -> None:
    """Writes every chunk, also one of zeros, so that a missing one is known to be damage."""
    spec = {**array_spec(path), "metadata": metadata, "store_data_equal_to_fill_value": True}
    # Waiting for the disk after every file takes ten times as long as writing; the whole store is synced once.
    spec["context"] = {"file_io_sync": False}
    ts.open(spec, create=True, write=True).result().write(values).result()
