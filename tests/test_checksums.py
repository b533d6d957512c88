"""Flipped bits in stores: refused wherever cubes are read; old stores are sealed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from store_example import write_store

from compseg_jax.cli.main import main
from compseg_jax.store import checksums
from compseg_jax.store.check import check_values, describe
from compseg_jax.store.checksums import arrays_without, have_checksums, seal
from compseg_jax.store.read import Store, StoreError

STORE_V1 = Path(__file__).parent / "data" / "store_v1"
REFUSED = r"cannot be read \(.*\)\. The store is damaged: ingest it again, or copy it anew\.$"


def files_of(array: Path) -> list[Path]:
    return sorted(path for path in (array / "c").rglob("*") if path.is_file()) or [array / "c"]


def flip(path: Path, bit: int) -> bytes:
    """Flips a bit of a file; returns what it was."""
    before = path.read_bytes()
    after = bytearray(before)
    after[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(after))
    return before


def without_checksums(array: Path) -> None:
    """The array as earlier releases wrote it."""
    values = zarr.open_array(str(array), mode="r")[...]
    metadata = json.loads((array / "zarr.json").read_text())
    shutil.rmtree(array)
    parts = metadata["codecs"]
    inner = parts[0]["configuration"]["codecs"] if parts[0]["name"] == "sharding_indexed" else parts
    inner[:] = [codec for codec in inner if codec["name"] != "crc32c"]
    array.mkdir()
    (array / "zarr.json").write_text(json.dumps(metadata))
    zarr.open_array(str(array), mode="r+", config={"write_empty_chunks": True})[...] = values


def arrays_of(store: Store) -> list[Path]:
    return [path.parent for path in sorted(Path(str(store.path)).glob("cubes/**/0/zarr.json"))]


@pytest.mark.parametrize("array", ["0", "labels/tissue/0", "labels/reference/0"])
def test_no_flipped_bit_is_read_as_another_number(tmp_path: Path, array: str) -> None:
    store = write_store(tmp_path / "s", sizes=[(40, 50)], splits=["train"])
    read = {"0": store.read, "labels/tissue/0": store.tissue, "labels/reference/0": store.reference}[array]
    expected = read("s1")
    (file,) = [p for p in files_of(tmp_path / "s/cubes/s1.zarr" / array) if p.stat().st_size]
    rng = np.random.default_rng(0)
    said = []
    for bit in rng.choice(8 * file.stat().st_size, min(150, 8 * file.stat().st_size), replace=False):
        before = flip(file, int(bit))
        try:
            np.testing.assert_array_equal(read("s1"), expected)
        except StoreError as error:
            said.append(str(error))
        file.write_bytes(before)
    assert len(said) > 100
    named = str(tmp_path / "s/cubes/s1.zarr" / array)
    assert [text for text in said if named not in text or not re.search(REFUSED, text)] == []


def test_a_store_without_checksums_is_read_named_and_sealed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(40, 50)], splits=["train", "val"])
    whole = [(store.read(s.id), store.tissue(s.id)) for s in store.samples]
    assert arrays_without(store) == []
    for array in arrays_of(store):
        without_checksums(array)
    findings, ranges = check_values(store)
    (note,) = [note for note in findings.notes if "checksums" in note]
    assert note.startswith("10 cubes and masks hold no checksums, the first of sample 's0'")
    assert f"check --seal {tmp_path / 's'}" in note
    assert "no problems found" in describe(store, findings, ranges)

    chunks = [json.loads((array / "zarr.json").read_text())["chunk_grid"] for array in arrays_of(store)]
    assert main(["check", str(store.path), "--seal", "--deep"]) == 0
    assert [
        json.loads((array / "zarr.json").read_text())["chunk_grid"] for array in arrays_of(store)
    ] == chunks
    assert arrays_without(store) == []
    assert not [note for note in check_values(store)[0].notes if "checksums" in note]
    for sample, (absorbance, tissue) in zip(store.samples, whole, strict=True):
        np.testing.assert_array_equal(store.read(sample.id), absorbance)
        np.testing.assert_array_equal(store.tissue(sample.id), tissue)
    assert seal(store) == 0
    assert sorted(p.name for p in (tmp_path / "s" / "cubes" / "s0.zarr").iterdir()) == [
        "0",
        "labels",
        "zarr.json",
    ]


def test_stores_of_version_1_are_sealed_as_they_are_cut(tmp_path: Path) -> None:
    shutil.copytree(STORE_V1, tmp_path / "s")
    store = Store.open(tmp_path / "s")
    before = [store.read(sample.id) for sample in store.samples]
    assert seal(store) == len(arrays_of(store))
    for array in arrays_of(store):
        assert have_checksums(json.loads((array / "zarr.json").read_text())["codecs"])
        zarr.open_array(str(array), mode="r")[...]
    for sample, cube in zip(store.samples, before, strict=True):
        np.testing.assert_array_equal(store.read(sample.id), cube)


def test_a_killed_seal_leaves_a_whole_store_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train", "val"])
    for array in arrays_of(store):
        without_checksums(array)
    written = []

    def stopped(place: Path) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(place)
        write(place)

    write = checksums._write_with_checksums
    monkeypatch.setattr(checksums, "_write_with_checksums", stopped)
    with pytest.raises(KeyboardInterrupt):
        seal(store)
    assert check_values(store)[0].problems == []
    monkeypatch.setattr(checksums, "_write_with_checksums", write)
    assert seal(store) == len(arrays_of(store)) - 2
    # Killed between the two renames of one array: it lies aside.
    array = arrays_of(store)[0]
    aside = array.with_name(f".0.{'0' * 8}-1-0-0.replaced")
    array.rename(aside)
    for path in (aside, *aside.rglob("*")):
        os.utime(path, (0, 0))
    assert seal(store) == 0
    assert array.is_dir()


def test_damage_is_never_sealed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train", "val"])
    array = Path(str(store.path)) / "cubes" / "s1.zarr" / "0"
    without_checksums(array)
    other = zarr.open_array(str(array), mode="r+")
    other[0, 2, 2] += 1
    assert check_values(store)[0].problems == []
    (problem,) = check_values(store, deep=True)[0].problems
    assert problem.startswith(
        f"sample 's1' is not what was ingested: {array} and the hash in samples.csv differ"
    )
    with pytest.raises(StoreError, match="is not what was ingested"):
        seal(store)
    assert len(arrays_without(store)) == 1


def test_a_deep_check_reads_the_metadata_of_viewers(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train", "val"])
    group = Path(str(store.path)) / "cubes" / "s1.zarr" / "labels" / "zarr.json"
    group.write_text(group.read_text()[:-30])
    assert not any(str(group) in problem for problem in check_values(store)[0].problems)
    assert any(str(group) in problem for problem in check_values(store, deep=True)[0].problems)
