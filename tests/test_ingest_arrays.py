"""From the scan of a tissue array and a spreadsheet to a store, and from its model back to raw files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.cli import main as cli
from compseg_jax.config import RECIPES
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.phantom.spots import PhantomConfig, simulate_spot
from compseg_jax.ingest.to_store import ingest, kept_folder
from compseg_jax.readers import read
from compseg_jax.spectra.preparation import KeptChunks, Preparation, PreparationError, chunks
from compseg_jax.store.read import Store, StoreError
from compseg_jax.training.run import train

CONFIG = PhantomConfig(size=24, channels=220, difficulty=0.5)
AXIS = np.linspace(1800.0, 948.0, 220)
PITCH, ROWS, COLUMNS = 32, 3, 4
MISSING = (1, 2)
STEPS = ("tissue", "quality:max_vapour=none", "resample:points=210", "emsc", "vector")


def write_array(folder: Path, seed: int) -> Path:
    """An ENVI scan of 3 × 4 cores with noise between them and B3 missing; odd columns are diseased."""
    rng = np.random.default_rng(seed)
    shape = (ROWS * PITCH + 9, COLUMNS * PITCH + 5, CONFIG.channels)
    scan = rng.normal(0.0, 0.004, shape).astype(np.float32)
    for row in range(ROWS):
        for column in range(COLUMNS):
            if (row, column) == MISSING:
                continue
            index = row * COLUMNS + column
            spot = simulate_spot(CONFIG, seed=seed, index=index, diseased=column % 2 == 1, array=seed)
            top, left = row * PITCH + 8, column * PITCH + 6
            scan[top : top + 24, left : left + 24] += spot.absorbance
    folder.mkdir(parents=True)
    files.envi(folder, scan, AXIS, interleave="bil")
    for part in ("cube.hdr", "cube.dat"):
        (folder / part).rename(folder / f"{folder.name}{Path(part).suffix}")
    return folder / f"{folder.name}.hdr"


def write_labels(path: Path, cores: dict[str, str], **columns: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "core", "label", "split", *columns])
        for number, (core, label) in enumerate(cores.items()):
            split = ("train", "train", "val", "val")[number // 2 % 4]
            writer.writerow([f"s-{core}", core, label, split, *columns.values()])
    return path


def labels() -> dict[str, str]:
    return {f"{'ABC'[row]}{column + 1}": "NT"[column % 2] for row in range(ROWS) for column in range(COLUMNS)}


def options(scan: Path, **more) -> IngestOptions:
    given = {"scans": (scan,), "positive": ("T",), "negative": ("N",), "prepare": STEPS, **more}
    return IngestOptions(**given)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scan, its labels, and the store made from them."""
    folder = tmp_path_factory.mktemp("array")
    scan = write_array(folder / "tma", 1)
    table = write_labels(folder / "labels.csv", labels())
    ingest(table, folder / "store", options(scan))
    return scan, table, Store.open(folder / "store")


def test_cores_become_samples(made):
    scan, _, store = made
    assert [sample.id for sample in store.samples] == [f"s-{name}" for name in labels() if name != "B3"]
    assert {sample.label for sample in store.samples if sample.id.endswith(("2", "4"))} == {1}
    assert store.samples[0].source == "tma.hdr A1"
    np.testing.assert_allclose(store.wavenumbers_cm1, np.linspace(1800, 948, 210))
    assert store.background == "zero"
    for sample in store.samples:
        absorbance, tissue = store.read(sample.id), store.tissue(sample.id)
        row, column = "ABC".index(sample.id[2]), int(sample.id[3]) - 1
        truth = simulate_spot(CONFIG, seed=1, index=row * COLUMNS + column, diseased=column % 2 == 1, array=1)
        assert abs(int(tissue.sum()) - int(truth.tissue.sum())) < 0.1 * truth.tissue.sum()
        assert not absorbance[~tissue].any()
        np.testing.assert_allclose(np.linalg.norm(absorbance[tissue], axis=1), 1.0, atol=1e-4)
    assert scan.is_file()


def test_the_summary_says_what_was_kept_and_dropped(made):
    _, _, store = made
    page = (store.path / "summary.html").read_text()
    assert "11 of 12 samples kept" in page
    for text in ("no tissue found at its place on the array", "Quality maps", "tma.hdr", "5. vector"):
        assert text in page
    with (store.path / "summary.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["s-B3"]["status"] == "dropped"
    for sample in store.samples:
        assert int(rows[sample.id]["tissue_pixels"]) == int(store.tissue(sample.id).sum())
    assert not kept_folder(store.path).exists()


def test_the_same_preparation_is_repeated_on_raw_files(made):
    _, _, store = made
    preparation = Preparation.from_json(store.preparation)
    assert [each.step.name for each in preparation.steps] == [text.partition(":")[0] for text in STEPS]
    assert preparation.steps[3].fitted["reference"].shape == (210,)


@pytest.mark.slow
def test_a_model_predicts_raw_files_as_it_predicts_the_store(made, tmp_path):
    scan, table, store = made
    recipe = RECIPES["default"]
    few = {"epochs": 1, "starts": 1, "self_check": False, "second_view": False, "augment": "none"}
    network = replace(recipe.network, base=2, depth=0)
    config = replace(recipe, data=store.path, out=tmp_path / "run", network=network, **few)
    from compseg_jax.model import load_model

    model = load_model(train(config))
    raw_store = tmp_path / "raw"
    ingest(table, raw_store, options(scan, prepare=()))
    raw = Store.open(raw_store)
    from compseg_jax.readers.cube import Cube

    for sample, _, prediction in model.predict_store(store, store.samples[:2]):
        name = sample.id
        cube = Cube(raw.read(name), raw.wavenumbers_cm1)
        found = model.predict(cube, tissue=raw.tissue(name))
        np.testing.assert_array_equal(found.tissue, prediction.tissue)
        np.testing.assert_array_equal(found.absorbance, prediction.absorbance)
        np.testing.assert_array_equal(found.activation, prediction.activation)
    assert "preparation" in model.description


@pytest.mark.slow
@pytest.mark.optimised  # the Mie correction, whose chunks are kept
def test_a_killed_run_goes_on_and_gives_the_same_store(made, tmp_path, monkeypatch):
    scan, _, _ = made
    out = tmp_path / "store"
    monkeypatch.setattr(chunks, "CHUNK_SPECTRA", 256)
    table = write_labels(tmp_path / "labels.csv", dict(list(labels().items())[:6]))
    given = options(scan, prepare=tuple("mie:components=4" if step == "emsc" else step for step in STEPS))
    ingest(table, tmp_path / "whole", given)
    store = Store.open(tmp_path / "whole")

    def kill(done: float, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(table, out, given, progress=kill)
    assert not out.exists()
    number = len(list(kept_folder(out).iterdir()))
    assert number > 0
    found = []
    monkeypatch.setattr(
        KeptChunks, "get", lambda self, name, get=KeptChunks.get: found.append(get(self, name)) or found[-1]
    )
    ingest(table, out, given)
    assert sum(chunk is not None for chunk in found) >= number
    again = Store.open(out)
    for sample in store.samples:
        np.testing.assert_array_equal(again.read(sample.id), store.read(sample.id))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "store", "whole"]


def test_an_edited_core_table_is_followed(made, tmp_path, monkeypatch, capsys):
    scan, _, _ = made
    monkeypatch.chdir(tmp_path)
    assert cli.main(["dearray", str(scan)]) == 0
    said = capsys.readouterr().out
    assert "3 rows and 4 columns, A1 to C4" in said
    assert "11 present, 0 broken, 1 missing" in said
    assert (tmp_path / "tma_cores.png").read_bytes()[:4] == b"\x89PNG"
    table = tmp_path / "tma_cores.csv"
    assert cli.main(["dearray", str(scan)]) == 1
    assert "--replace" in capsys.readouterr().err

    with table.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["name"] == "A1":
            row["name"] = "first"
        if row["name"] == "A2":
            row["keep"] = "0"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    names = {("first" if name == "A1" else name): label for name, label in labels().items()}
    spots = write_labels(tmp_path / "spots.csv", names)
    more = {"cores": (table,), "prepare": ("tissue",), "val_fraction": 0.3}
    ingest(spots, tmp_path / "store", options(scan, **more))
    store = Store.open(tmp_path / "store")
    assert "s-first" in {sample.id for sample in store.samples}
    assert "s-A2" not in {sample.id for sample in store.samples}
    assert "marked not to be kept" in (tmp_path / "store" / "summary.csv").read_text()


@pytest.mark.slow
def test_two_arrays_are_told_apart_by_a_column(made, tmp_path):
    scan, _, _ = made
    other = write_array(tmp_path / "tmb", 2)
    table = tmp_path / "spots.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "array", "core", "label", "split"])
        for number, name in enumerate(("A1", "A2", "B1", "B2")):
            for array in ("tma", "tmb"):
                split = "train" if number < 2 else "val"
                writer.writerow([f"{array}-{name}", array, name, "NT"[number % 2], split])
    given = options(scan, scans=(scan, other), prepare=("tissue",))
    ingest(table, tmp_path / "store", given)
    store = Store.open(tmp_path / "store")
    assert [s.source for s in store.samples[:2]] == ["tma.hdr A1", "tmb.hdr A1"]
    assert not np.array_equal(store.read("tma-A1"), store.read("tmb-A1"))


@pytest.mark.parametrize(
    ("cores", "more", "message"),
    [
        ({"A1": "T", "Z9": "N"}, {}, "name a core that was not found, the first row 3.*A1 to C4"),
        ({"B3": "T"}, {}, "every core that it lists is missing"),
        ({"A1": "T", "A2": "X"}, {}, "label 'X'"),
        ({"A1": "T"}, {"resize": 8}, "--resize"),
        ({"A1": "T"}, {"cores": (Path("a.csv"), Path("b.csv"))}, "--cores: found 2 for 1 scans"),
        ({"A1": "T"}, {"images": Path("x")}, "--scans and --images"),
    ],
)
def test_bad_input_is_refused_before_any_work(made, tmp_path, cores, more, message):
    scan, _, _ = made
    table = write_labels(tmp_path / "labels.csv", cores)
    with pytest.raises(IngestError, match=message):
        ingest(table, tmp_path / "store", options(scan, **more))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_steps_are_refused_before_any_work(made, tmp_path):
    scan, table, _ = made
    for steps, message in (
        (("tisue",), "Did you mean 'tissue'"),
        (("resample:first=3000",), "step 'resample'"),
    ):
        with pytest.raises(PreparationError, match=message):
            ingest(table, tmp_path / "store", options(scan, prepare=steps))
    assert list(tmp_path.iterdir()) == []


def test_samples_without_tissue_are_dropped_and_listed(made, tmp_path):
    scan, table, _ = made
    ingest(table, tmp_path / "store", options(scan, prepare=("tissue:threshold=0.7",), least_tissue=0.2))
    kept = {sample.id for sample in Store.open(tmp_path / "store").samples}
    assert 0 < len(kept) < 11
    with (tmp_path / "store" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows if row["status"] == "kept"} == kept
    assert "required 20.0%" in next(row["why"] for row in rows if "required" in row["why"])
    with pytest.raises(IngestError, match="no sample is left after the preparation"):
        ingest(table, tmp_path / "none", options(scan, prepare=("tissue:threshold=9",)))
    assert not (tmp_path / "none").exists()


def test_images_without_wavenumbers_cannot_be_prepared(tmp_path):
    for number, name in enumerate("ab", 1):
        np.save(tmp_path / f"{name}.npy", np.full((4, 5, 3), number, np.float32))
    table = tmp_path / "table.csv"
    table.write_text("id,path,label,split\na,a.npy,1,train\nb,b.npy,0,train\n")
    with pytest.raises(PreparationError, match="no wavenumbers, which rubberband needs"):
        ingest(table, tmp_path / "store", IngestOptions(prepare=("zscore", "rubberband")))


def test_files_of_single_samples_are_prepared_too(made, tmp_path):
    _, _, store = made
    lines = ["id,path,label,split"]
    for number, sample in enumerate(store.samples[:4]):
        spot = simulate_spot(CONFIG, seed=1, index=number, diseased=number % 2 == 1, array=1)
        np.savez(tmp_path / f"f{number}.npz", absorbance=spot.absorbance, wavenumbers_cm1=AXIS)
        lines.append(f"f{number},f{number}.npz,{sample.label},{('train', 'val')[number // 2]}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    ingest(tmp_path / "table.csv", tmp_path / "store", IngestOptions(prepare=("derivative", "snv")))
    made_store = Store.open(tmp_path / "store")
    assert (made_store.path / "summary.html").is_file()
    tissue = made_store.tissue("f0")
    np.testing.assert_array_equal(
        tissue, simulate_spot(CONFIG, seed=1, index=0, diseased=False, array=1).tissue
    )


def test_the_command_line_lists_the_steps_and_keeps_what_was_corrected(made, tmp_path, capsys, monkeypatch):
    scan, table, _ = made
    assert cli.main(["ingest", "--prepare", "help"]) == 0
    assert "Mie-extinction EMSC" in capsys.readouterr().out
    assert cli.main(["info", str(scan), "--out", str(tmp_path / "look.png")]) == 0
    assert "1800 … 948 cm⁻¹" in capsys.readouterr().out
    monkeypatch.setattr(chunks, "CHUNK_SPECTRA", 256)
    words = ["ingest", str(table), "--scans", str(scan), "--positive", "T", "--negative", "N"]
    words += ["--out", str(tmp_path / "store"), "--prepare", "tissue", "vector"]
    assert cli.main(words) == 0
    assert f"summary: {tmp_path / 'store' / 'summary.html'}" in capsys.readouterr().out
    with pytest.raises(StoreError, match="exists already"):
        ingest(table, tmp_path / "store", options(scan))


def test_a_scan_is_never_read_whole(made, monkeypatch):
    scan, table, _ = made
    sizes = []
    from compseg_jax.readers.scan import CubeScan

    window = CubeScan.window

    def counted(self, *slices):
        values = window(self, *slices)
        sizes.append(values.size)
        return values

    monkeypatch.setattr(CubeScan, "window", counted)
    ingest(table, table.parent / "counted", options(scan, prepare=("tissue",)))
    assert max(sizes) < 0.3 * read(scan).absorbance.size
