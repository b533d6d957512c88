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
from store_example import as_written_before_hashes, write_store

from compseg_jax.cli.main import main
from compseg_jax.runtime.csv_tables import csv_rows, csv_text
from compseg_jax.store import checksums
from compseg_jax.store.check import check_values, describe
from compseg_jax.store.checksums import Sealed, arrays_without, have_checksums, is_proven, seal
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import StoreWriter

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
    assert seal(store.path) == Sealed(0, 0, False)
    assert sorted(p.name for p in (tmp_path / "s" / "cubes" / "s0.zarr").iterdir()) == [
        "0",
        "labels",
        "zarr.json",
    ]


def test_stores_of_version_1_are_sealed_as_they_are_cut(tmp_path: Path) -> None:
    shutil.copytree(STORE_V1, tmp_path / "s")
    store = Store.open(tmp_path / "s")
    before = [store.read(sample.id) for sample in store.samples]
    assert seal(store.path) == Sealed(len(arrays_of(store)), len(store.samples), False)
    assert all(is_proven(sample) for sample in Store.open(store.path).samples)
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
        seal(store.path)
    assert check_values(store)[0].problems == []
    monkeypatch.setattr(checksums, "_write_with_checksums", write)
    assert seal(store.path).arrays == len(arrays_of(store)) - 2
    # Killed between the two renames of one array: it lies aside.
    array = arrays_of(store)[0]
    aside = array.with_name(f".0.{'0' * 8}-1-0-0.replaced")
    array.rename(aside)
    for path in (aside, *aside.rglob("*")):
        os.utime(path, (0, 0))
    assert seal(store.path).arrays == 0
    assert array.is_dir()


def test_damage_is_never_sealed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train", "val"])
    as_written_before_hashes(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    array = tmp_path / "s" / "cubes" / "s1.zarr" / "0"
    without_checksums(array)
    other = zarr.open_array(str(array), mode="r+")
    other[0, 2, 2] += 1
    assert check_values(store)[0].problems == []
    (problem,) = check_values(store, deep=True)[0].problems
    assert problem.startswith(
        f"sample 's1' is not what was ingested: {array} and the hash in samples.csv differ"
    )
    with pytest.raises(StoreError, match="is not what was ingested"):
        seal(store.path)
    assert len(arrays_without(store)) == 1
    assert not is_proven(Store.open(store.path).samples[1])


def test_a_deep_check_reads_the_metadata_of_viewers(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train", "val"])
    group = Path(str(store.path)) / "cubes" / "s1.zarr" / "labels" / "zarr.json"
    group.write_text(group.read_text()[:-30])
    assert not any(str(group) in problem for problem in check_values(store)[0].problems)
    assert any(str(group) in problem for problem in check_values(store, deep=True)[0].problems)


ARRAYS = ("", "0", "labels/tissue", "labels/reference")


@pytest.mark.parametrize("part", ARRAYS)
def test_what_is_swapped_with_another_sample_is_found(
    tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"pixel_size_um": 1.0, "background": "none", "created_by": "a test"}
    with StoreWriter(tmp_path / "s", channels=2, wavenumbers_cm1=None, **common) as writer:  # type: ignore[arg-type]
        for number in range(4):
            absorbance, tissue, reference = np.random.default_rng(number).uniform(0, 1, (3, 7, 9))
            masks = tissue > 0.2, (reference > 0.5) & (tissue > 0.2) if number % 2 else None
            sample = Sample(
                f"s{number}", number % 2, ("train", "val")[number // 2], f"p{number}", 7, 9, number % 2 == 1
            )
            writer.add(sample, np.dstack([absorbance] * 2), *masks)
    one, other = (tmp_path / "s" / "cubes" / f"{each}.zarr" / part for each in ("s1", "s3"))
    shutil.move(one, tmp_path / "aside")
    shutil.move(other, one)
    shutil.move(tmp_path / "aside", other)
    assert main(["check", str(tmp_path / "s")]) == 1
    said = capsys.readouterr().err
    assert "another hash than samples.csv states for 's1'" in said
    assert "another hash than samples.csv states for 's3'" in said
    if part != "labels/reference":
        with pytest.raises(StoreError, match=r"another hash than samples\.csv states for 's1'"):
            PreparedStore(Store.open(tmp_path / "s")).read("s1")
    assert main(["check", "--seal", str(tmp_path / "s")]) == 1, "a replaced array is not accepted by it"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("samples.csv", "s1,1,train", "s1,0,train"), ("dataset.json", "1650.0", "1650.5")],
)
def test_an_edited_table_is_refused_until_it_is_accepted(
    tmp_path: Path, file: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "s"
    write_store(place, sizes=[(7, 9)], splits=["train", "val"])
    text = (place / file).read_bytes().decode()
    (place / file).write_bytes(text.replace(old, new, 1).encode())
    for command in ("check", "train"):
        assert main([command, *(["--data"] if command == "train" else []), str(place)]) == 1
        said = capsys.readouterr().err
        assert f"accept it: compseg check --seal {place}" in said, said
    assert main(["check", "--seal", str(place)]) in (0, 1)  # the label leaves no diseased training sample
    assert "samples.csv and dataset.json are accepted as they are now" in capsys.readouterr().out
    store = Store.open(place)
    assert store.samples[1].label == (0 if file == "samples.csv" else 1)


def test_a_table_that_a_spreadsheet_saved_anew_is_the_same(tmp_path: Path) -> None:
    place = tmp_path / "s"
    before = write_store(place, sizes=[(7, 9)], splits=["train"]).samples
    rows = list(csv_rows((place / "samples.csv").read_bytes().decode()))
    columns = ["note", *reversed(rows[0])]
    text = csv_text(columns, [{**row, "note": "seen twice"} for row in rows])
    (place / "samples.csv").write_text(text, encoding="utf-8-sig")
    assert Store.open(place).samples == before
    (place / "samples.csv").write_text(text[: text.rindex("seen twice")], encoding="utf-8-sig")
    with pytest.raises(StoreError, match=r"samples\.csv: its rows have the hash .* edited or damaged"):
        Store.open(place)


def test_a_sealed_store_of_earlier_releases_is_proven(tmp_path: Path) -> None:
    place = tmp_path / "s"
    write_store(place, sizes=[(7, 9)], splits=["train", "val"])
    as_written_before_hashes(place)
    (note,) = [note for note in check_values(Store.open(place))[0].notes if "hashes" in note]
    assert note.startswith("samples.csv states no hashes of 4 samples, the first 's0'")
    assert seal(place) == Sealed(0, 4, False)
    assert not [note for note in check_values(Store.open(place))[0].notes if "hashes" in note]
    (place / "samples.csv").write_bytes((place / "samples.csv").read_bytes().replace(b"s1,1,", b"s1,0,"))
    with pytest.raises(StoreError, match="accept it"):
        Store.open(place)
