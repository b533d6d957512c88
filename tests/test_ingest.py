from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.sample_files import IMAGES, SampleFiles, of_sample
from compseg_jax.ingest.to_store import ingest
from compseg_jax.store.check import check_table, check_values
from compseg_jax.store.read import Store, StoreError

Rows = Sequence[Mapping[str, object]]
SIZE = (6, 9)
AS_IT_IS = IngestOptions()
AXIS_CM1 = np.array([1700.0, 1650.0, 1100.0])


def write_table(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of three channels, a.npy … f.npy, and the masks of a."""
    rng = np.random.default_rng(0)
    for name in "abcdef":
        np.save(tmp_path / f"{name}.npy", rng.uniform(1, 2, (*SIZE, 3)).astype(np.float32))
    mask = np.zeros(SIZE, np.uint8)
    mask[2:4, 3:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def good_rows() -> list[dict[str, object]]:
    splits = ("train", "train", "val", "val", "test", "test")
    return [
        {"id": name, "path": f"{name}.npy", "label": number % 2, "split": split}
        for number, (name, split) in enumerate(zip("abcdef", splits, strict=True))
    ]


def changed(row: int, **values: object) -> list[dict[str, object]]:
    rows = good_rows()
    rows[row] |= values
    return rows


def refusal(table: Path, options: IngestOptions = AS_IT_IS) -> str:
    """The message with which a table is refused, after which nothing new lies in its folder."""
    before = sorted(table.parent.rglob("*"))
    with pytest.raises(IngestError) as caught:
        ingest(table, table.parent / "made" / "store", options)
    assert sorted(table.parent.rglob("*")) == before
    return str(caught.value)


def test_a_good_table_becomes_a_store(folder: Path) -> None:
    rows = changed(1, group="p1", reference="mask.png", tissue="mask.png")
    ingest(write_table(folder / "table.csv", rows), folder / "made" / "store", IngestOptions())
    store = Store.open(folder / "made" / "store")
    assert [(s.id, s.label, s.split, s.group, s.source) for s in store.samples[:2]] == [
        ("a", 0, "train", "a", "a.npy"),
        ("b", 1, "train", "p1", "b.npy"),
    ]
    np.testing.assert_array_equal(store.read("b"), np.load(folder / "b.npy"))
    mask = np.asarray(Image.open(folder / "mask.png")) > 0
    np.testing.assert_array_equal(store.reference("b"), mask)
    np.testing.assert_array_equal(store.tissue("b"), mask)
    assert store.tissue("a").all()
    assert store.background == "none"
    assert check_table(store).problems == []
    assert sorted(path.name for path in (folder / "made").iterdir()) == ["store"]


def test_a_table_of_test_rows_alone_becomes_a_store_without_complaint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(folder / "table.csv", [{**row, "split": "test"} for row in good_rows()])
    assert main(["ingest", str(table), "--out", str(folder / "store")]) == 0
    assert "no problems found" in capsys.readouterr().out
    assert {sample.split for sample in Store.open(folder / "store").samples} == {"test"}


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (changed(2, id="a"), ["row 4", "id 'a' was used in row 2 already", "make it unique"]),
        (changed(3, path="gone.npy"), ["row 5 (d)", "gone.npy does not exist", "Correct the path or remove"]),
        (changed(3, path=""), ["row 5 (d)", "names no image"]),
        (changed(0, label="NAT"), ["row 2 (a)", "label 'NAT'", "--positive, --negative or --exclude"]),
        (changed(0, label=""), ["row 2 (a)", "label ''"]),
        (
            changed(5, split="hold-out"),
            ["row 7 (f)", "split 'hold-out'", "train, val, test", "Remove the column"],
        ),
        (changed(5, split=""), ["row 7 (f)", "split ''"]),
        (changed(1, id="../b"), ["row 3", "'../b' cannot name a file"]),
        (changed(1, id=""), ["row 3", "'' cannot name a file"]),
        (changed(1, id="ä" * 101), ["row 3", "at most 200 bytes"]),
        (changed(4, reference="no.png"), ["row 6 (e)", "reference mask", "no.png does not exist"]),
        (changed(4, tissue="no.png"), ["row 6 (e)", "tissue mask", "no.png does not exist"]),
    ],
)
def test_a_bad_row_is_named(folder: Path, rows: Rows, parts: list[str]) -> None:
    message = refusal(write_table(folder / "table.csv", rows))
    assert "table.csv: 1 problem(s), nothing was written" in message
    for part in parts:
        assert part in message


def test_a_group_in_two_splits_is_named_with_its_rows(folder: Path) -> None:
    rows = good_rows()
    for index in (1, 2):
        rows[index]["patient"] = "Kay"
    message = refusal(write_table(folder / "t.csv", rows), IngestOptions(group="patient"))
    assert "group 'Kay' is in train and val (rows 3, 4)" in message
    assert "Move its rows to one" in message
    # A column of another name does not say what belongs together.
    ingest(folder / "t.csv", folder / "s", IngestOptions())


def test_all_bad_rows_are_named_at_once_up_to_ten(folder: Path) -> None:
    rows = [{"id": f"x{n}", "path": "no.npy", "label": 1} for n in range(13)]
    message = refusal(write_table(folder / "t.csv", rows))
    assert "13 problem(s)" in message
    assert message.count("does not exist") == 10
    assert "and 3 more" in message


def test_a_row_may_have_several_problems(folder: Path) -> None:
    message = refusal(write_table(folder / "t.csv", changed(2, id="a", path="gone.npy")))
    assert "2 problem(s)" in message
    assert "row 4 (a): image" in message
    assert "row 4: id 'a' was used in row 2 already" in message


def test_ids_of_excluded_rows_do_not_count(folder: Path) -> None:
    rows = [*good_rows(), {"id": "a", "path": "gone.npy", "label": "NAT", "split": "train"}]
    ingest(write_table(folder / "t.csv", rows), folder / "s", IngestOptions(exclude=("NAT",)))
    assert len(Store.open(folder / "s").samples) == 6


def with_array(folder: Path, name: str, values: np.ndarray, **arrays: np.ndarray) -> Path:
    if arrays:
        np.savez(folder / f"{name}.npz", absorbance=values, **arrays)
    else:
        np.save(folder / f"{name}.npy", values)
    suffix = "npz" if arrays else "npy"
    return write_table(folder / "t.csv", changed("abcdef".index(name), path=f"{name}.{suffix}"))


def test_another_number_of_channels_is_refused(folder: Path) -> None:
    message = refusal(with_array(folder, "c", np.ones((*SIZE, 4))))
    assert f"row 4 (c), {folder / 'c.npy'} has 4 channels, row 2 (a), {folder / 'a.npy'} has 3" in message
    assert "Ingest them separately" in message


def test_other_wavenumbers_are_refused(folder: Path) -> None:
    rows = good_rows()
    for row in rows:
        np.savez(
            folder / f"{row['id']}.npz",
            absorbance=np.load(folder / str(row["path"])),
            wavenumbers_cm1=AXIS_CM1,
        )
        row["path"] = f"{row['id']}.npz"
    table = write_table(folder / "t.csv", rows)
    ingest(table, folder / "s", IngestOptions())
    store = Store.open(folder / "s")
    assert store.wavenumbers_cm1 is not None
    np.testing.assert_array_equal(store.wavenumbers_cm1, AXIS_CM1)
    assert store.background == "zero"

    np.savez(folder / "e.npz", absorbance=np.ones((*SIZE, 3)), wavenumbers_cm1=AXIS_CM1 + 0.25)
    message = refusal(table)
    assert "wavenumbers of row 6 (e)" in message
    assert "by up to 0.25 cm⁻¹" in message
    assert "Resample" in message
    np.savez(folder / "e.npz", absorbance=np.ones((*SIZE, 3)))
    message = refusal(table)
    assert "only one of row 2 (a)" in message
    assert "row 6 (e)" in message


def test_another_pixel_size_is_refused_unless_resized(folder: Path) -> None:
    rows = good_rows()
    for row, size in zip(rows, (5.5, 5.5, 5.52, 5.5, 1.1, 5.5), strict=True):
        values = np.load(folder / str(row["path"]))
        row["path"] = f"{row['id']}.npz"
        np.savez(folder / str(row["path"]), absorbance=values, pixel_size_um=size)
    table = write_table(folder / "t.csv", rows)
    message = refusal(table)
    assert "a pixel of row 6 (e)" in message
    assert "measures 1.1 µm" in message
    ingest(table, folder / "s", IngestOptions(resize=4))
    assert Store.open(folder / "s").pixel_size_um is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    values = np.ones((*SIZE, 3))
    values[2, 5, 1] = values[4, 4, 0] = value
    message = refusal(with_array(folder, "d", values))
    assert f"row 5 (d), {folder / 'd.npy'}: 2 values" in message
    assert "the first at pixel (y=2, x=5), channel 1" in message
    assert "Repair those pixels" in message


def test_a_sample_without_tissue_is_refused(folder: Path) -> None:
    table = with_array(folder, "f", np.zeros((*SIZE, 3)))
    message = refusal(table, IngestOptions(background="zero"))
    assert f"row 7 (f), {folder / 'f.npy'}: the sample is all background" in message
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(folder / "empty.png")
    message = refusal(write_table(folder / "t.csv", changed(2, tissue="empty.png")))
    assert "row 4 (c)" in message
    assert "all background" in message


@pytest.mark.parametrize("column", ["reference", "tissue"])
def test_a_mask_of_another_size_is_refused_unless_resized(folder: Path, column: str) -> None:
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(folder / "small.png")
    table = write_table(folder / "t.csv", changed(3, **{column: "small.png"}))
    message = refusal(table)
    assert "row 5 (d)" in message
    assert f"the mask {folder / 'small.png'} has 4×6 pixels, the image 6×9" in message
    assert "Use --resize" in message
    ingest(table, folder / "s", IngestOptions(resize=5))
    assert Store.open(folder / "s").tissue("d").shape == (5, 5)


def test_a_file_that_is_no_image_is_refused(folder: Path) -> None:
    (folder / "e.npy").write_bytes(b"\x93NUMPY\x01\x00")
    message = refusal(write_table(folder / "t.csv", good_rows()))
    assert f"row 6 (e): {folder / 'e.npy'}" in message
    (folder / "broken.png").write_text("nothing")
    message = refusal(write_table(folder / "t.csv", changed(1, reference="broken.png")))
    assert f"row 3 (b): {folder / 'broken.png'}" in message


def test_an_existing_store_is_never_touched(folder: Path) -> None:
    table = write_table(folder / "t.csv", good_rows())
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("kept")
    with pytest.raises(StoreError, match="out exists already"):
        ingest(table, folder / "out", IngestOptions())
    assert [path.name for path in (folder / "out").iterdir()] == ["mine"]
    assert not list(folder.glob(".out*"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name,path\na,a.npy\n", ["found the columns name, path; id, label missing", "Rename or add"]),
        ("id,label\na,1\n", ["path missing", "--images"]),
        ("id:path:label\na:a.npy:1\n", ["separated by commas, semicolons, tabs or bars", "CSV UTF-8"]),
        ("id,path,label,label\na,a.npy,1,0\n", ["column label occurs more than once"]),
        ("id,path,label\na,a.npy,1,extra\n", ["row 2 (a): more values than columns"]),
        ("", ["found the columns none"]),
        ("id,path,label\n", ["no samples are left"]),
        (b"id,path,label\n\x8d,a.npy,1\n", ["cannot be read", "CSV UTF-8"]),
        ("id,path,label\na,a.npy,1\n".encode("utf-16")[:-1], ["cannot be read", "CSV UTF-8"]),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(folder: Path, text: str | bytes, parts: list[str]) -> None:
    (folder / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refusal(folder / "t.csv")
    assert "t.csv" in message
    for part in parts:
        assert part in message


def test_a_missing_table_or_column_is_refused(folder: Path) -> None:
    assert "none.csv: no such file" in refusal(folder / "none.csv")
    message = refusal(write_table(folder / "t.csv", good_rows()), IngestOptions(group="patient"))
    assert "patient missing" in message


def test_a_table_as_spreadsheets_write_it_is_read(folder: Path) -> None:
    lines = [
        "id , path, label,split",
        *[f"{r['id']}, {r['path']} ,{r['label']},Train" for r in good_rows()],
        "",
    ]
    (folder / "t.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    ingest(folder / "t.csv", folder / "s", IngestOptions())
    assert [sample.split for sample in Store.open(folder / "s").samples] == ["train"] * 6


def test_paths_are_relative_to_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = good_rows()
    for row in rows:
        row["path"] = f"../{row['path']}"
    rows[0]["path"] = str(folder / "a.npy")
    table = write_table(folder / "tables" / "t.csv", rows)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    ingest(table, Path("store"), IngestOptions())
    assert len(Store.open(folder / "elsewhere" / "store").samples) == 6
    monkeypatch.chdir(folder / "tables")
    ingest(Path("t.csv"), Path("store"), IngestOptions())
    assert Store.open("store").read("b").shape == (*SIZE, 3)


def test_named_labels_and_validation_by_another_name(folder: Path) -> None:
    rows = good_rows()
    for row, label in zip(rows, ("N", "T", "N", "TI-III", "NAT", "M"), strict=True):
        row["label"] = label
        row["split"] = "validation" if row["split"] == "val" else row["split"]
    options = IngestOptions(positive=("T", "TI-III", "M"), negative=("N",), exclude=("NAT",))
    table = write_table(folder / "t.csv", rows)
    ingest(table, folder / "s", options)
    samples = Store.open(folder / "s").samples
    assert [(s.id, s.label) for s in samples] == [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("f", 1)]
    assert [s.split for s in samples] == ["train", "train", "val", "val", "test"]
    message = refusal(table, replace(options, exclude=()))
    assert "row 6 (e): label 'NAT' is listed neither as positive (T,TI-III,M) nor negative (N)" in message
    message = refusal(table, replace(options, negative=("N", "T")))
    assert "'T' is listed more than once" in message


@pytest.fixture
def image_set(tmp_path: Path) -> Path:
    """A labels.csv beside folders of images and masks, as image sets are shared."""
    rng = np.random.default_rng(1)
    for name in ("images", "masks", "tissue"):
        (tmp_path / name).mkdir()
    rows = []
    for number, split in enumerate(("train", "train", "val", "val", "test", "test")):
        identity = f"slice.{number}"
        grey = rng.integers(0, 255, (12, 20), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "images" / f"{identity}.{'PNG' if number % 2 else 'png'}")
        mask = np.zeros((12, 20), np.uint8)
        mask[:, :7] = 255 * (number % 2)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{identity}.png")
        Image.fromarray(np.full((12, 20), 1, np.uint8)).save(tmp_path / "tissue" / f"{identity}.png")
        rows.append({"id": identity, "label": number % 2, "split": split, "patient": f"p{number}"})
    write_table(tmp_path / "labels.csv", rows)
    return tmp_path


@pytest.mark.parametrize("where", ["beside the table", "from here", "absolute"])
def test_folders_of_images_and_masks(image_set: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"beside the table": Path(), "from here": Path(image_set.name), "absolute": image_set}[where]
    monkeypatch.chdir(image_set.parent if where == "from here" else image_set / "masks")
    options = IngestOptions(
        images=base / "images",
        references=base / "masks",
        tissues=base / "tissue",
        group="patient",
    )
    ingest(image_set / "labels.csv", image_set / "s", options)
    store = Store.open(image_set / "s")
    assert [sample.group for sample in store.samples] == [f"p{number}" for number in range(6)]
    assert store.channels == 1
    for number, sample in enumerate(store.samples):
        assert sample.has_reference
        assert store.reference(sample.id).mean() == 0.35 * (number % 2)
        original = next((image_set / "images").glob(f"{sample.id}.*"))
        np.testing.assert_array_equal(store.read(sample.id)[..., 0], np.asarray(Image.open(original)))


def test_resizing_averages_and_enlarges(image_set: Path) -> None:
    options = IngestOptions(images=Path("images"), references=Path("masks"), resize=4)
    ingest(image_set / "labels.csv", image_set / "small", options)
    store = Store.open(image_set / "small")
    original = np.asarray(Image.open(image_set / "images" / "slice.0.png"), np.float32)
    # 12 × 20 to 4 × 4: each new pixel is the mean of 3 × 5 old ones.
    expected = original.reshape(4, 3, 4, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(store.read("slice.0")[..., 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(store.reference("slice.1"), np.tile([True, False, False, False], (4, 1)))
    ingest(image_set / "labels.csv", image_set / "large", replace(options, resize=40))
    large = Store.open(image_set / "large").read("slice.0")
    assert large.shape == (40, 40, 1)
    assert abs(large.mean() - original.mean()) < 0.02 * original.mean()
    message = refusal(image_set / "labels.csv", replace(options, resize=-1))
    assert "--resize -1: 1 to 8192 pixels are possible" in message


def test_text_beside_an_image_is_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("a.wdf", "a.txt", "b.txt", "c.doc"):
        (tmp_path / name).touch()
    listing = SampleFiles(tmp_path / "table.csv").in_folder(tmp_path, "--images", IMAGES)
    assert of_sample(listing, "a", "image", IMAGES).name == "a.wdf"
    assert of_sample(listing, "b", "image", IMAGES).name == "b.txt"
    with pytest.raises(IngestError, match="no image c"):
        of_sample(listing, "c", "image", IMAGES)


def test_images_missing_or_ambiguous_in_their_folder(image_set: Path) -> None:
    options = IngestOptions(images=Path("images"), references=Path("masks"))
    (image_set / "masks" / "slice.1.png").unlink()
    message = refusal(image_set / "labels.csv", options)
    assert "row 3 (slice.1): no reference mask slice.1.*" in message
    assert "Add the file or remove the row" in message
    Image.fromarray(np.ones((12, 20), np.uint8)).save(image_set / "masks" / "slice.1.tif")
    Image.fromarray(np.ones((12, 20), np.uint8)).save(image_set / "images" / "slice.3.jpg")
    message = refusal(image_set / "labels.csv", options)
    assert "row 5 (slice.3): several files could be its image" in message
    assert "slice.3.jpg" in message
    message = refusal(image_set / "labels.csv", replace(options, images=Path("picturs")))
    assert "--images picturs: no such folder, here or beside" in message


def test_every_kind_of_file_gives_the_same_image(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 255, (7, 5, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tiff", values, photometric="rgb")
    Image.fromarray(values).save(tmp_path / "c.tif")
    np.save(tmp_path / "d.npy", values)
    np.savez(tmp_path / "e.npz", picture=values)
    np.savez(tmp_path / "f.npz", absorbance=values.astype(np.float64), other=values)
    Image.fromarray(np.full((7, 5, 3), 90, np.uint8)).save(tmp_path / "g.jpg")
    np.save(tmp_path / "mask.npy", values[..., 0] > 99)
    rows = [
        {"id": path.stem, "path": path.name, "label": 0, "split": "train", "reference": "mask.npy"}
        for path in sorted(tmp_path.glob("?.*"))
    ]
    ingest(write_table(tmp_path / "t.csv", rows), tmp_path / "s", IngestOptions())
    store = Store.open(tmp_path / "s")
    assert [sample.id for sample in store.samples] == list("abcdefg")
    for name in "abcdef":
        np.testing.assert_array_equal(store.read(name), values.astype(np.float32))
    assert np.abs(store.read("g") - 90).max() <= 2
    np.testing.assert_array_equal(store.reference("a"), values[..., 0] > 99)


def unsplit_rows(folder: Path, n_patients: int) -> list[dict[str, Any]]:
    rows = [
        {"id": f"i{p}-{k}", "path": f"i{p}-{k}.npy", "label": p % 2, "patient": f"p{p}"}
        for p in range(n_patients)
        for k in range(1 + p % 3)
    ]
    for number, row in enumerate(rows):
        np.save(folder / row["path"], np.full((2, 3, 1), number))
    return rows


def test_missing_splits_are_made_by_group_and_label_with_a_seed(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", unsplit_rows(tmp_path, 24))
    splits = []
    for name, seed in (("s0", 0), ("again", 0), ("s1", 1)):
        ingest(table, tmp_path / name, IngestOptions(group="patient", seed=seed))
        store = Store.open(tmp_path / name)
        assert check_table(store).problems == []
        for label in (0, 1):
            counts = [sum(s.label == label for s in store.split(split)) for split in ("train", "val", "test")]
            assert np.abs(np.array(counts) / sum(counts) - [0.65, 0.15, 0.2]).max() < 0.06
        splits.append([sample.split for sample in store.samples])
    assert splits[0] == splits[1] != splits[2]


def test_too_few_samples_to_split_are_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", unsplit_rows(tmp_path, 4))
    message = refusal(table, IngestOptions(group="patient"))
    assert "t.csv: no healthy sample (label 0) is left for the" in message
    assert "in 2 group(s)" in message
    assert "'split' column" in message
    message = refusal(table, IngestOptions(val_fraction=0.5, test_fraction=0.5))
    assert "leave something for training" in message


def test_progress_counts_samples(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    table = write_table(folder / "t.csv", good_rows())
    ingest(table, folder / "s", IngestOptions(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 6) for number in range(7)]


@pytest.mark.slow
def test_the_ultrasound_set_is_ingested_as_it_is(shared_data: Path, tmp_path: Path) -> None:
    options = IngestOptions(images=Path("images"), references=Path("masks"), group="patient", resize=32)
    ingest(shared_data / "busi_ultrasound" / "labels.csv", tmp_path / "s", options)
    store = Store.open(tmp_path / "s")
    findings, _ = check_values(store)
    assert findings.problems == []
    assert findings.counts == {
        ("train", 0): 85,
        ("train", 1): 81,
        ("val", 0): 18,
        ("val", 1): 17,
        ("test", 0): 28,
        ("test", 1): 33,
    }
    assert {(s.height, s.width) for s in store.samples} == {(32, 32)}
    assert all(s.has_reference for s in store.samples)
    healthy = next(s for s in store.samples if not s.label)
    assert not store.reference(healthy.id).any()


def test_an_axis_that_runs_the_other_way_is_turned(tmp_path: Path) -> None:
    """Half of the files fall and half rise, as two programs export them; nothing is resampled for that."""
    wavenumbers = np.array([1800.0, 1600.0, 1300.0, 1000.0])
    values = np.random.default_rng(0).uniform(1, 2, (4, 3, 5, 4)).astype(np.float32)
    for number, cube in enumerate(values):
        way = slice(None, None, -1 if number % 2 else 1)
        np.savez(tmp_path / f"{number}.npz", absorbance=cube[..., way], wavenumbers_cm1=wavenumbers[way])
    rows = [
        {"id": f"s{at}", "path": f"{at}.npz", "label": at // 2, "split": "train" if at % 2 else "val"}
        for at in range(4)
    ]
    ingest(write_table(tmp_path / "t.csv", rows), tmp_path / "s", IngestOptions())
    store = Store.open(tmp_path / "s")
    np.testing.assert_array_equal(store.wavenumbers_cm1, wavenumbers)
    for number, cube in enumerate(values):
        np.testing.assert_array_equal(store.read(f"s{number}"), cube)
    assert "channels reversed, as the first sample's run" in (tmp_path / "s" / "summary.csv").read_text(
        "utf-8"
    )
