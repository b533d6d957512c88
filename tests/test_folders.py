"""Folders are labels: what may lie where, what is asked, and groups out of names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.ingest.folders import find_label_folders, read_folders
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.table import Row, read_table
from compseg_jax.ingest.to_store import ingest
from compseg_jax.store.check import check_table
from compseg_jax.store.one_patient import likely_pattern
from compseg_jax.store.read import Store

TUMOUR = IngestOptions(positive=("tumour",))


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng([seed, *path.as_posix().encode()]).integers(
        0, 255, (6, 8, 3), dtype=np.uint8
    )
    Image.fromarray(values).save(path)
    return path


def mask(path: Path, marked: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((6, 8), np.uint8)
    values[:, :marked] = 255
    Image.fromarray(values).save(path)
    return path


def pictures(root: Path, names: tuple[str, str] = ("tumour", "normal"), number: int = 9) -> Path:
    for name in names:
        for at in range(number):
            picture(root / name / f"{name[0]}{at}.png")
    return root


def refusal(root: Path, options: IngestOptions = TUMOUR) -> str:
    with pytest.raises(IngestError) as refused:
        read_folders(root, options)
    return str(refused.value)


def by_id(root: Path, options: IngestOptions = TUMOUR) -> dict[str, Row]:
    return {row.id: row for row in read_folders(root, options).rows}


def test_two_folders_become_a_store_by_one_command(tmp_path, capsys):
    root = pictures(tmp_path / "pictures")
    (root / "tumour" / "notes.txt").write_text("x", encoding="utf-8")
    (root / "normal" / ".DS_Store").write_text("x", encoding="utf-8")
    assert main(["ingest", str(root), "--out", str(tmp_path / "store"), "--positive", "tumour"]) == 0
    said = capsys.readouterr().out
    assert "pictures: folders are labels: normal/ 9 healthy, tumour/ 9 diseased" in said
    assert "1 other file(s) passed over: tumour/notes.txt" in said
    store = Store.open(tmp_path / "store")
    assert {sample.id: sample.label for sample in store.samples} == {
        f"{letter}{at}": int(letter == "t") for letter in "nt" for at in range(9)
    }
    assert {sample.split for sample in store.samples} == {"train", "val", "test"}
    np.testing.assert_array_equal(store.read("t3"), np.asarray(Image.open(root / "tumour" / "t3.png")))


def test_which_folder_means_diseased_is_asked_once_with_counts(tmp_path):
    root = pictures(tmp_path / "p")
    message = refusal(root, IngestOptions())
    assert "its folders are normal (9 images), tumour (9 images)" in message
    assert message.endswith("Which of them means diseased? Say --positive normal or --positive tumour.")
    assert "None is called cancer." in refusal(root, IngestOptions(positive=("cancer",)))
    assert {row.label for row in by_id(pictures(tmp_path / "q", ("1", "0")), IngestOptions()).values()} == {
        0,
        1,
    }
    for at in range(2):
        picture(root / "other" / f"o{at}.png")
    message = refusal(root)
    assert "other (2 images)" in message
    assert "Say what each of them means (so far: --positive tumour)" in message
    rows = by_id(root, IngestOptions(positive=("tumour",), exclude=("other",)))
    assert len(rows) == 18
    assert rows["n0"].label == 0


@pytest.mark.parametrize(
    "place",
    ["{label}/images/{name}.png {label}/masks/{name}.png", "images/{label}/{name}.png masks/{label}/{name}.png",
     "images/{label}/{name}.png masks/{name}.png", "{label}/{name}.png masks/{name}.png",
     "{label}/{name}.png {label}/masks/{name}.png", "{label}/{name}.png {label}/{name}_mask.png",
     "{label}/images/p1/{name}.png {label}/masks/p1/{name}.png"],
)  # fmt: skip
def test_masks_are_found_by_name(tmp_path, place):
    image, of_mask = place.split()
    for at in range(3):
        for label in ("tumour", "normal"):
            where = {"label": label, "name": f"{label[0]}{at}"}
            picture(tmp_path / image.format(**where))
            if label == "tumour" and at < 2:
                mask(tmp_path / of_mask.format(**where))
    table = read_folders(tmp_path, TUMOUR)
    found = {row.id: row.reference for row in table.rows}
    assert sorted(found) == ["n0", "n1", "n2", "t0", "t1", "t2"]
    for at in range(2):
        assert found[f"t{at}"] == tmp_path / of_mask.format(label="tumour", name=f"t{at}")
    assert [name for name, path in found.items() if path is None] == ["n0", "n1", "n2", "t2"]
    assert any("found for 2 of 3 diseased and 0 of 3 healthy samples" in note for note in table.notes)


def test_several_masks_of_one_image_are_named(tmp_path):
    root = pictures(tmp_path / "p")
    mask(root / "tumour" / "t1_mask.png")
    mask(root / "tumour" / "t1_mask_1.png")
    message = refusal(root)
    assert "tumour/t1.png: it has several masks, t1_mask.png, t1_mask_1.png; join them" in message


def test_healthy_samples_need_no_reference_in_a_folder_of_them(tmp_path):
    root = pictures(tmp_path / "p")
    for at in range(9):
        mask(tmp_path / "drawn" / f"t{at}.png")
    options = IngestOptions(positive=("tumour",), references=tmp_path / "drawn")
    rows = by_id(root, options)
    assert rows["t0"].reference == tmp_path / "drawn" / "t0.png"
    assert rows["n0"].reference is None
    (tmp_path / "drawn" / "t4.png").unlink()
    assert "tumour/t4.png: no reference mask t4.*" in refusal(root, options)
    # The same for a table.
    lines = ["id,label,path", *(f"{name[0]}{at},{name},p/{name}/{name[0]}{at}.png" for name in ("tumour", "normal")
                                for at in range(4))]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    options = IngestOptions(positive=("tumour",), negative=("normal",), references=tmp_path / "drawn")
    references = {row.id: row.reference for row in read_table(tmp_path / "t.csv", options).rows}
    assert references["n1"] is None
    assert references["t1"] == tmp_path / "drawn" / "t1.png"


def test_groups_come_from_a_pattern_and_never_unasked(tmp_path):
    for label in ("tumour", "normal"):
        for at in range(12):
            picture(tmp_path / "p" / label / f"patient{at // 3}_{label[0]}{at}.png")
    table = read_folders(tmp_path / "p", TUMOUR)
    assert {row.group for row in table.rows} == {row.id for row in table.rows}
    ingest(tmp_path / "p", tmp_path / "without", TUMOUR)
    notes = check_table(Store.open(tmp_path / "without")).notes
    assert any(r"or --group-pattern '(patient\d+)', which finds it in their names" in note for note in notes)
    options = IngestOptions(positive=("tumour",), group_pattern=r"(patient\d+)")
    table = read_folders(tmp_path / "p", options)
    assert {row.group for row in table.rows} == {f"patient{at}" for at in range(4)}
    assert "groups by --group-pattern: 4 of 24 samples (largest: patient0, 6)" in table.notes
    ingest(tmp_path / "p", tmp_path / "store", options)
    splits: dict[str, set[str]] = {}
    for sample in Store.open(tmp_path / "store").samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(each) == 1 for each in splits.values())
    picture(tmp_path / "p" / "normal" / "unknown.png")
    message = refusal(tmp_path / "p", options)
    assert "finds no group in 1 of 25 names: normal/unknown.png. Widen it" in message
    assert "it is no regular expression" in refusal(
        tmp_path / "p", IngestOptions(group_pattern="(", positive=("tumour",))
    )


def test_a_table_takes_groups_from_a_pattern_too(tmp_path):
    lines = ["id,label,path"]
    for at in range(4):
        picture(tmp_path / f"p{at}.png")
        lines.append(f"case {at // 2}-{at},{at % 2},p{at}.png")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    assert len({row.group for row in read_table(table, IngestOptions()).rows}) == 4
    rows = read_table(table, IngestOptions(group_pattern=r"(case \d+)")).rows
    assert [row.group for row in rows] == ["case 0", "case 0", "case 1", "case 1"]
    table.write_text("\n".join(["group," + lines[0], *("x," + line for line in lines[1:])]), encoding="utf-8")
    with pytest.raises(
        IngestError, match=r"t\.csv has the column 'group' for groups\. Leave one of them out"
    ):
        read_table(table, IngestOptions(group_pattern=r"(case \d+)"))


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["patient7_a", "patient7_b", "patient8_a"], r"(patient\d+)"),
        (["x_P-01_1", "x_P-01_2", "x_P-02_1"], r"(P-\d+)"),
        (["TCGA_CS_4941_1", "TCGA_CS_4941_2", "TCGA_CS_4942_1"], r"(TCGA[-_]\w\w[-_]\w{4})"),
        (["patient7", "patient8"], ""),  # none has several samples
        (["patient7_a", "patient7_b"], ""),  # all are of one
        (["patient7_a", "patient7_b", "b"], ""),
        (["map1_a", "map1_b", "map2_a"], ""),
        ([], ""),
    ],
)
def test_patterns_are_proposed_where_names_repeat_a_part(names, pattern):
    assert likely_pattern(names) == pattern


def test_folders_of_splits_are_splits(tmp_path):
    for split in ("train", "valid", "test"):
        for label in ("tumour", "normal"):
            for at in range(2):
                picture(tmp_path / "p" / split / label / f"{split[:2]}{label[0]}{at}.png")
    rows = by_id(tmp_path / "p")
    assert (rows["trt0"].split, rows["van1"].split, rows["ten0"].split) == ("train", "val", "test")
    assert (rows["trt0"].label, rows["trn0"].label) == (1, 0)


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path):
    for label in ("tumour", "normal"):
        for at in range(3):
            picture(tmp_path / label / f"{at}.png")
    assert sorted(by_id(tmp_path)) == [f"{label}_{at}" for label in ("normal", "tumour") for at in range(3)]
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "normal" / "1.jpg")
    assert "belong to several images, the first to normal/1.jpg, normal/1.png" in refusal(tmp_path)


def test_instrument_files_are_found_with_their_headers(tmp_path):
    for label in ("tumour", "normal"):
        (tmp_path / label).mkdir()
        for name in ("a.hdr", "a.dat", "b.npz", "notes.txt"):
            (tmp_path / label / f"{label[0]}{name}").touch()
    found = find_label_folders(tmp_path)
    assert sorted(picture.path.name for picture in found.pictures) == ["na.hdr", "nb.npz", "ta.hdr", "tb.npz"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no images lie in folders below it"),
        (("a.png", "b.png"), "2 images lie in it and none in folders, such as a.png"),
        (("x/a.png", "x/b.png"), "images lie in the one folder x/ alone"),
    ],
)
def test_a_folder_that_says_no_labels_is_explained(tmp_path, names, words):
    for name in names:
        picture(tmp_path / "p" / name)
    (tmp_path / "p").mkdir(exist_ok=True)
    message = refusal(tmp_path / "p")
    assert words in message
    assert "Put the images of each label into a folder of its own" in message


def test_options_of_tables_are_refused(tmp_path):
    root = pictures(tmp_path / "p")
    options = IngestOptions(positive=("tumour",), images=tmp_path)
    assert "--images belongs to a table" in refusal(root, options)


def test_labels_of_a_table_are_listed_once_with_counts(tmp_path):
    rows = [f"s{at},{'T' if at % 3 else 'N' if at % 2 else 'NAT'},s{at}.png" for at in range(12)]
    (tmp_path / "t.csv").write_text("id,label,path\n" + "\n".join(rows), encoding="utf-8")
    for at in range(12):
        picture(tmp_path / f"s{at}.png")
    with pytest.raises(IngestError) as refused:
        read_table(tmp_path / "t.csv", IngestOptions(positive=("T",)))
    message = str(refused.value)
    assert "1 problem(s)" in message
    assert (
        "column label holds the labels NAT 2, T 8, N 2 (rows each); what NAT, N mean is not said" in message
    )
    assert "--exclude; now: --positive T --negative 0" in message
