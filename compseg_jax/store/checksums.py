"""Checksums of what a store holds: CRC-32C as the last codec of each array, checked at every read.

Stores of earlier releases, and of other writers, may hold arrays without: altered bytes are then read as other numbers.
:func:`seal` adds them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.config.locations import Location
from compseg_jax.runtime.files import atomic_folder, remove_leftovers, wait_for_disk
from compseg_jax.store.fingerprint import content_of
from compseg_jax.store.kvstore import array_answer, open_array, read_many
from compseg_jax.store.ome import CHECKSUM
from compseg_jax.store.read import Sample, Store, StoreError, damaged

Codecs = Sequence[dict[str, Any]]
SHARDING = "sharding_indexed"


def have_checksums(codecs: Codecs) -> bool:
    """Whether every byte that codecs of an array write is covered.

    >>> have_checksums([{"name": "bytes"}, {"name": "zstd"}])
    False
    >>> have_checksums([{"name": "bytes"}, {"name": "zstd"}, {"name": "crc32c"}])
    True
    """
    names = [codec.get("name") for codec in codecs]
    if CHECKSUM["name"] in names:
        return True
    parts = [codec["configuration"] for codec in codecs if codec.get("name") == SHARDING]
    return bool(parts) and all(
        have_checksums(part["codecs"]) and have_checksums(part["index_codecs"]) for part in parts
    )


def with_checksums(codecs: Codecs) -> list[dict[str, Any]]:
    """The same codecs with a checksum over each inner chunk and over the index of each shard, or over each chunk.

    >>> [codec["name"] for codec in with_checksums([{"name": "bytes"}, {"name": "zstd"}])]
    ['bytes', 'zstd', 'crc32c']
    """
    if have_checksums(codecs):
        return list(codecs)
    if not any(codec["name"] == SHARDING for codec in codecs):
        return [*codecs, CHECKSUM]
    return [_sharding_with_checksums(codec) if codec["name"] == SHARDING else codec for codec in codecs]


def _sharding_with_checksums(codec: dict[str, Any]) -> dict[str, Any]:
    part = codec["configuration"]
    inner = {name: with_checksums(part[name]) for name in ("codecs", "index_codecs")}
    return {**codec, "configuration": {**part, **inner}}


def arrays_without(store: Store) -> list[tuple[Sample, Location]]:
    """The arrays that hold no checksums, with their samples; those whose metadata cannot be read are left to others."""
    arrays = [(sample, place) for sample in store.samples for place in _arrays_of(store, sample)]
    texts = read_many([place / "zarr.json" for _, place in arrays])
    return [each for each, text in zip(arrays, texts, strict=True) if _lacks_checksums(text)]


def _arrays_of(store: Store, sample: Sample) -> Iterator[Location]:
    image = store.cube_folder(sample.id)
    yield image / "0"
    for mask in ("tissue", "reference") if sample.has_reference else ("tissue",):
        yield image / "labels" / mask / "0"


def _lacks_checksums(text: bytes | None) -> bool:
    try:
        return text is not None and not have_checksums(json.loads(text)["codecs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def altered(store: Store, sample: Sample, absorbance: np.ndarray) -> bool:
    """Whether a cube (y, x, c) that was stored as it was measured is known not to be what it was then."""
    size = "x".join(map(str, absorbance.shape))
    if store.preparation is not None or not sample.content.startswith(f"{size}-"):
        return False  # prepared or resized after it was hashed
    return content_of(absorbance, store.wavenumbers_cm1) != sample.content


def seal(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Writes arrays without checksums anew with them, one after the other; returns how many.

    Their values, chunks and other codecs stay as they are. Each is written beside its place and renamed when its values
    were read back; a run that was killed goes on where it was.

    Args:
      store: in a folder.
      progress: called with the arrays that are done and their number.

    Raises:
      StoreError: when the store lies behind a URL, or an array is damaged already.
    """
    if not isinstance(store.path, Path):
        raise StoreError(
            f"{store.path}: only a store in a folder is sealed, as an object store renames nothing. Copy it to a "
            "folder with `compseg copy`, seal it there, and copy it back under another name."
        )
    for sample in store.samples:
        for place in _arrays_of(store, sample):
            assert isinstance(place, Path)
            remove_leftovers(place.parent, place.name)
    chosen = arrays_without(store)
    for done, (sample, place) in enumerate(chosen):
        assert isinstance(place, Path)
        progress(done, len(chosen))
        if place.parent == store.cube_folder(sample.id) and altered(store, sample, store.read(sample.id)):
            raise StoreError(
                f"{place}: the cube is not what was ingested (samples.csv states its hash). It was damaged or changed: "
                "ingest it again."
            )
        _write_with_checksums(place)
    progress(len(chosen), len(chosen))
    return len(chosen)


def _write_with_checksums(place: Path) -> None:
    metadata = json.loads((place / "zarr.json").read_text(encoding="utf-8"))
    metadata["codecs"] = with_checksums(metadata["codecs"])
    with atomic_folder(place) as staging:
        try:
            old = open_array(place, spec={"fill_missing_data_reads": False}, open=True, read=True)
            values = array_answer(old.read(), place)
            spec = {"metadata": metadata, "store_data_equal_to_fill_value": True}
            new = open_array(staging, spec=spec, create=True, open=True, read=True, write=True)
            array_answer(new.write(values).commit, staging)
            again = array_answer(
                open_array(staging, spec={"fill_missing_data_reads": False}, open=True, read=True).read(),
                staging,
            )
        except ValueError as error:
            raise damaged(place, error) from error
        if again.tobytes() != values.tobytes():
            raise StoreError(
                f"{place}: what was written is not what is read. Check the disk, and seal it again."
            )
        for path in staging.rglob("*"):
            if path.is_file():
                wait_for_disk(path)
