"""A CSV of cores is of the scan that it is given with: by the scan that it names, and by where tissue lies."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.cli.main import main
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.to_store import ingest
from compseg_jax.store.read import Store

AXIS = np.linspace(1800.0, 1600.0, 5)
PITCH, ROWS, COLUMNS = 32, 3, 4


def write_array(folder: Path, seed: int) -> Path:
    """A scan of 3 × 4 round cores that lie up to a tenth of their distance off their places."""
    rng = np.random.default_rng(seed)
    shape = (ROWS * PITCH + 9, COLUMNS * PITCH + 5, AXIS.size)
    scan = rng.normal(0.0, 0.004, shape).astype(np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for row in range(ROWS):
        for column in range(COLUMNS):
            off_y, off_x = rng.uniform(-3, 3, 2)
            centre = row * PITCH + 20 + off_y, column * PITCH + 18 + off_x
            scan[np.hypot(y - centre[0], x - centre[1]) < 10, 2:] += 0.5
    folder.mkdir(parents=True)
    files.envi(folder, scan, AXIS)
    for part in ("cube.hdr", "cube.dat"):
        (folder / part).rename(folder / f"{folder.name}{Path(part).suffix}")
    return folder / f"{folder.name}.hdr"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two scans, each with the CSV of its cores beside it."""
    folder = tmp_path_factory.mktemp("scans")
    scans = [write_array(folder / name, seed) for seed, name in enumerate(("tma", "tmb"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert all(main(["dearray", str(scan)]) == 0 for scan in scans)
    return scans


@pytest.fixture
def arrays(found: list[Path], tmp_path: Path) -> tuple[list[Path], list[Path], Path]:
    """The scans, the CSV of each, which may be edited, and a table of all their cores."""
    cores = [tmp_path / f"{scan.stem}_cores.csv" for scan in found]
    for path in cores:
        shutil.copy(found[0].parents[1] / path.name, path)
    rows = [
        f"{scan.stem}-{'ABC'[row]}{column + 1},{scan.stem},{'ABC'[row]}{column + 1},{column % 2}"
        for scan in found
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    table = tmp_path / "spots.csv"
    table.write_text("id,array,core,label\n" + "\n".join(rows), encoding="utf-8")
    return found, cores, table


def edited(path: Path, change: Callable[[dict[str, str]], None]) -> Path:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def nameless(row: dict[str, str]) -> None:
    row["scan"] = ""


def refusal(table: Path, scans: list[Path], cores: list[Path]) -> str:
    with pytest.raises(IngestError) as refused:
        ingest(table, table.parent / "store", IngestOptions(scans=tuple(scans), cores=tuple(cores)))
    assert not (table.parent / "store").exists()
    return str(refused.value)


def test_cores_in_the_order_of_the_scans_are_taken_without_a_word(arrays):
    scans, cores, table = arrays
    said: list[str] = []
    ingest(
        table, table.parent / "store", IngestOptions(scans=tuple(scans), cores=tuple(cores)), say=said.append
    )
    assert len(Store.open(table.parent / "store").samples) == 24
    assert not any("cores" in line for line in said)


def test_swapped_cores_are_refused_with_the_right_order(arrays):
    scans, cores, table = arrays
    message = refusal(table, scans, cores[::-1])
    assert "its cores are those of tmb.hdr, but it was given with" in message
    assert message.endswith(f"--cores {cores[0]} {cores[1]}")


def test_swapped_cores_that_name_no_scan_are_told_by_their_tissue(arrays):
    scans, cores, table = arrays
    for path in cores:
        edited(path, nameless)
    message = refusal(table, scans, cores[::-1])
    assert f"its cores lie on the tissue of {scans[1]}" in message
    assert "in the same order" in message


def test_cores_of_another_scan_are_refused_by_its_name(arrays):
    scans, cores, table = arrays
    table.write_text("id,core,label\na,A1,0\nb,A2,1\n", encoding="utf-8")
    message = refusal(table, scans[:1], cores[1:])
    assert "those of the scan tmb.hdr, but" in message
    assert f"compseg dearray {scans[0]}" in message
    assert "write tma.hdr into the column scan" in message


@pytest.mark.parametrize(
    "name", ["C:\\scans\\TMA.hdr", "/data/tma.hdr", "tma.dmt"], ids=["windows", "folder", "suffix"]
)
def test_a_scan_keeps_its_cores_in_another_folder_and_format(arrays, name):
    scans, cores, table = arrays
    few = "a,tma,A1,0,train\nb,tma,A2,1,train\nc,tmb,A1,0,val\nd,tmb,A2,1,val\n"
    table.write_text(f"id,array,core,label,split\n{few}", encoding="utf-8")
    edited(cores[0], lambda row: row.update(scan=name))
    ingest(table, table.parent / "store", IngestOptions(scans=tuple(scans), cores=tuple(cores)))


def test_cores_beside_the_tissue_are_refused_and_those_moved_by_hand_are_not(arrays):
    scans, cores, table = arrays
    table.write_text("id,core,label,split\na,A1,0,train\nb,A2,1,train\n", encoding="utf-8")

    def moved(row: dict[str, str], by: float) -> None:
        nameless(row)
        row.update(x_px=str(float(row["x_px"]) - by), y_px=str(float(row["y_px"]) - by))

    edited(cores[0], lambda row: moved(row, 4.0))
    said: list[str] = []
    options = IngestOptions(scans=tuple(scans[:1]), cores=tuple(cores[:1]))
    ingest(table, table.parent / "moved", options, say=said.append)
    assert any("its cores lie off the tissue of tma.hdr" in line for line in said)
    assert "its cores lie off the tissue" in (table.parent / "moved/summary.html").read_text("utf-8")
    edited(cores[0], lambda row: moved(row, 12.0))
    assert "8 of its 12 cores to be kept have no tissue at their place" in refusal(
        table, scans[:1], cores[:1]
    )
