"""Checksums of what a store holds: CRC-32C as the last codec of each array, checked at every read.

What checksums cannot tell is whether a whole array is another sample's, and whether a table was edited: samples.csv
states hashes of what each sample's arrays hold, dataset.json one of samples.csv, and one of itself.

Stores of earlier releases, and of other writers, may hold arrays without: altered bytes are then read as other numbers.
:func:`seal` adds all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.config.locations import Location
from compseg_jax.runtime.csv_tables import csv_rows, csv_text
from compseg_jax.runtime.files import atomic_folder, json_text, remove_leftovers, wait_for_disk
from compseg_jax.store.fingerprint import content_of, mask_of, values_of
from compseg_jax.store.kvstore import array_answer, open_array, read_bytes, read_many, write_bytes
from compseg_jax.store.ome import CHECKSUM
from compseg_jax.store.read import DESCRIPTION, HASHES, Sample, Store, StoreError, damaged, samples_sha256

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


@dataclass(frozen=True)
class Sealed:
    """What sealing a store changed.

    Attributes:
      arrays: that were given checksums.
      samples: whose hashes were added to samples.csv.
      accepted: whether samples.csv or dataset.json were not what dataset.json stated, and are now.
    """

    arrays: int
    samples: int
    accepted: bool


def seal(place: Location, progress: Callable[[int, int], None] = lambda done, total: None) -> Sealed:
    """Takes a store as it is: arrays get checksums, samples hashes, and its tables are those that people edited.

    Arrays without checksums are written anew with them, one after the other. Their values, chunks and other codecs stay
    as they are. Each is written beside its place and renamed when its values were read back; a run that was killed goes
    on where it was. Hashes that samples.csv states already are not replaced: an array that has another stays refused.

    Args:
      place: of the store.
      progress: called with the arrays that are done and their number.

    Raises:
      StoreError: when an array behind a URL has no checksums, or one is damaged or replaced already.
    """
    store = Store.open(place, as_edited=True)
    arrays = _seal_arrays(store, progress)
    added = _add_hashes(store)
    return Sealed(arrays, added, _seal_tables(place) and not added)


def is_proven(sample: Sample) -> bool:
    """Whether samples.csv states what all arrays of a sample hold."""
    stated = [
        sample.cube_hash,
        sample.tissue_hash,
        *([sample.reference_hash] if sample.has_reference else []),
    ]
    return all(stated)


def _add_hashes(store: Store) -> int:
    """Adds the hashes of samples that lack some to samples.csv; other columns stay as they are."""
    found: dict[str, dict[str, str]] = {}
    for sample in store.samples:
        if is_proven(sample):
            continue
        absorbance, tissue = store.read(sample.id), store.tissue(sample.id)
        _refuse_altered(store, sample, absorbance)
        store.refuse_other_values(sample.id, absorbance, tissue)
        found[sample.id] = {
            "cube_hash": values_of(absorbance, tissue),
            "tissue_hash": mask_of(tissue),
            "reference_hash": mask_of(store.reference(sample.id)) if sample.has_reference else "",
        }
    if found:
        path = store.path / "samples.csv"
        rows = list(csv_rows((read_bytes(path) or b"").decode("utf-8-sig")))
        columns = dict.fromkeys([*(name for row in rows for name in row), *HASHES])
        table = csv_text(list(columns), [row | found.get(row["id"], {}) for row in rows], line_end="\r\n")
        write_bytes(path, table.encode(), durable=True)
    return len(found)


def _seal_tables(place: Location) -> bool:
    """States the hashes of the tables as they are in dataset.json; returns whether it stated others or none."""
    path = place / "dataset.json"
    before = DESCRIPTION.parsed(read_bytes(path) or b"", path, as_edited=True)
    values = {
        name: value for name, value in before.items() if name not in ("format", "version", DESCRIPTION.seal)
    }
    values["samples_sha256"] = samples_sha256(Store.open(place, as_edited=True).samples)
    after = DESCRIPTION.stamped(values)
    if after == before:
        return False
    write_bytes(path, json_text(after).encode(), durable=True)
    return True


def _refuse_altered(store: Store, sample: Sample, absorbance: np.ndarray) -> None:
    if altered(store, sample, absorbance):
        raise StoreError(
            f"{store.cube_folder(sample.id) / '0'}: the cube is not what was ingested (samples.csv states its hash). "
            "It was damaged or changed: ingest it again."
        )


def _seal_arrays(store: Store, progress: Callable[[int, int], None]) -> int:
    chosen = arrays_without(store)
    if not isinstance(store.path, Path):
        if chosen:
            raise StoreError(
                f"{store.path}: {len(chosen)} cubes and masks hold no checksums, which are added in a folder only, as "
                "an object store renames nothing. Copy it to a folder with `compseg copy`, seal it there, and copy it "
                "back under another name."
            )
        return 0
    for sample in store.samples:
        for place in _arrays_of(store, sample):
            assert isinstance(place, Path)
            remove_leftovers(place.parent, place.name)
    chosen = arrays_without(store)
    for done, (sample, place) in enumerate(chosen):
        assert isinstance(place, Path)
        progress(done, len(chosen))
        if place.parent == store.cube_folder(sample.id):
            _refuse_altered(store, sample, store.read(sample.id))
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
