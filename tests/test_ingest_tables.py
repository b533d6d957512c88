"""Tables as people and spreadsheets write them: what is read, what is said, and what is refused."""

from __future__ import annotations

import csv
import datetime
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compseg_jax.cli.main import main
from compseg_jax.ingest import same_images
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.spreadsheet import read_spreadsheet
from compseg_jax.ingest.table import Row, read_table
from compseg_jax.ingest.to_store import ingest
from compseg_jax.store.read import Store

AS_IT_IS = IngestOptions()
Lines = Sequence[Sequence[object]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve different pictures, images/a0.png … a11.png."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(12):
        picture = Image.fromarray(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8))
        picture.save(tmp_path / "images" / f"a{number}.png")
    return tmp_path


def lines(**columns: Sequence[object]) -> list[list[object]]:
    """The names id, path, label and others, and twelve rows below them."""
    head = ["id", "path", "label", *columns]
    return [
        head,
        *(
            [f"a{n}", f"images/a{n}.png", n % 2, *(values[n] for values in columns.values())]
            for n in range(12)
        ),
    ]


def renamed(listed: Lines, **names: str) -> list[list[object]]:
    return [[names.get(str(name), name) for name in listed[0]], *map(list, listed[1:])]


def text(listed: Lines, delimiter: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(listed)
    return stream.getvalue()


def write(folder: Path, content: Lines | str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    if not isinstance(content, str | bytes):
        content = text(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(table: Path, options: IngestOptions = AS_IT_IS) -> list[Row]:
    return read_table(table, options).rows


def notes_of(table: Path, options: IngestOptions = AS_IT_IS) -> list[str]:
    return read_table(table, options).notes


def refusal(table: Path, options: IngestOptions = AS_IT_IS) -> str:
    with pytest.raises(IngestError) as caught:
        ingest(table, table.parent / "made", options)
    assert not (table.parent / "made").exists()
    return str(caught.value)


PATIENTS = [f"p{n // 4}" for n in range(12)]
SPLITS = ["test"] * 8 + ["train"] * 2 + ["val"] * 2


# Text: delimiters, encodings, line ends


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with its mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_a_table_is_read_whatever_separates_and_encodes_it(
    folder: Path, delimiter: str, encoding: str, end: str
) -> None:
    content = text(lines(notiz=[f"Grün {n}, {n};5" for n in range(12)]), delimiter).replace("\n", end)
    raw = content.encode(encoding) if "mark" not in encoding else b"\xff\xfe" + content.encode("utf-16-le")
    table = write(folder, raw)
    rows = rows_of(table)
    assert [(row.id, row.label) for row in rows] == [(f"a{n}", n % 2) for n in range(12)]
    assert [row.path for row in rows] == [folder / "images" / f"a{n}.png" for n in range(12)]
    assert notes_of(table)[-1] == "column not used: notiz"


def test_the_delimiter_is_said_unless_it_is_the_comma(folder: Path) -> None:
    assert notes_of(write(folder, text(lines()))) == []
    assert notes_of(write(folder, text(lines(), ";"))) == ["columns separated by semicolons"]


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
def test_excels_line_of_the_separator_is_followed(folder: Path, first: str) -> None:
    content = f"{first}\r\n" + text(lines(weight=[f"{n},5" for n in range(12)]), ";")
    rows = rows_of(write(folder, content))
    assert len(rows) == 12
    assert rows[0].line == 3


def test_what_is_empty_around_the_table_is_left_out(folder: Path) -> None:
    content = "\n;;;;\n" + text([[*line, "", ""] for line in lines()], ";") + ";;;;\n\n;;;;\n"
    rows = rows_of(write(folder, content))
    assert [row.line for row in rows] == list(range(4, 16))


def test_text_that_is_not_utf_8_is_read_as_windows_1252_and_said(folder: Path) -> None:
    listed = lines(group=["Müller", "Müller", *(f"p{n}" for n in range(10))])
    table = write(folder, text(listed).encode("cp1252"))
    assert rows_of(table)[1].group == "Müller"
    assert "text read as Windows-1252, as it is not UTF-8, such as 'Müller' in row 2" in notes_of(table)


def test_quotes_hold_what_separates(folder: Path) -> None:
    listed = lines(note=['x, "y"; z', *[""] * 11])
    assert len(rows_of(write(folder, listed))) == 12
    assert "quotes do not match" in refusal(write(folder, text(lines()).replace("a3,", '"a3,')))


def test_row_names_of_pandas_and_r_are_left_out_and_said(folder: Path) -> None:
    listed = lines()
    for head in ("", "Unnamed: 0"):
        numbered = [[head, *listed[0]], *([n, *row] for n, row in enumerate(listed[1:]))]
        table = write(folder, numbered)
        assert [row.id for row in rows_of(table)] == [f"a{n}" for n in range(12)]
        assert notes_of(table) == ["the first column has no name and is left out (row names of pandas or R)"]
    indexed = [["", "path", "label"], *listed[1:]]
    message = refusal(write(folder, indexed))
    assert "found the columns path, label; id missing. The first column has no name: name it id" in message
    # R's write.table names one column less than it writes.
    assert "more values than columns" in refusal(
        write(folder, [listed[0], *([n, *row] for n, row in enumerate(listed[1:]))])
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, ["Excel 97 to 2003 (.xls)", "Save it as .xlsx"]),
        (b"<html><table><tr><td>id", ["web page or XML", "Save it as .xlsx"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\r", ["binary data", "'CSV UTF-8' or .xlsx"]),
        (b"PK\x03\x04cut", ["workbook is damaged"]),
    ],
)
def test_what_only_looks_like_a_table_is_named(folder: Path, content: bytes, words: Sequence[str]) -> None:
    message = refusal(write(folder, content))
    for word in words:
        assert word in message
    assert "is a folder" in refusal(folder / "images")


def test_names_below_a_title_are_pointed_at(folder: Path) -> None:
    message = refusal(write(folder, "Biopsies of 2024;;\n\n" + text(lines(), ";")))
    assert "The names stand in row 3: remove what is above them." in message


# Names of columns


@pytest.mark.parametrize(
    "names", [("ID", "Path", "LABEL"), ("Id ", " path_", "Label"), ("#id", "P A T H", "\ufefflabel")]
)
def test_names_of_columns_differ_in_case_and_marks_at_will(folder: Path, names: Sequence[str]) -> None:
    listed = renamed(lines(Group=PATIENTS), **dict(zip(("id", "path", "label"), names, strict=True)))
    table = write(folder, listed)
    assert [row.group for row in rows_of(table)] == PATIENTS
    assert notes_of(table) == []


@pytest.mark.parametrize("name", ["Split", "SPLIT", "split "])
def test_splits_of_the_table_are_never_made_anew(folder: Path, name: str) -> None:
    words = {"test": "TEST", "train": "Training", "val": "Val"}
    listed = renamed(lines(split=[words[split] for split in SPLITS]), split=name)
    ingest(write(folder, listed), folder / "s", AS_IT_IS)
    assert [sample.split for sample in Store.open(folder / "s").samples] == SPLITS


def test_other_names_are_read_where_they_are_usual_and_said(folder: Path) -> None:
    listed = renamed(lines(subset=SPLITS), id="Sample ID", path="filename", label="Class")
    table = write(folder, listed)
    assert [row.split for row in rows_of(table)] == SPLITS
    assert notes_of(table) == [
        "column Sample ID is read as id",
        "column filename is read as path",
        "column Class is read as label",
        "column subset is read as split",
    ]
    # A name that is there goes before; another is then only named.
    assert notes_of(write(folder, renamed(lines(x=PATIENTS), x="class"))) == ["column not used: class"]
    message = refusal(write(folder, renamed(lines(diagnosis=[1] * 12), label="class")))
    assert "column label is missing, and 'class' and 'diagnosis' could be it" in message


def test_a_column_of_splits_by_another_name_is_pointed_at(folder: Path) -> None:
    (note,) = notes_of(write(folder, lines(phase=SPLITS)))
    assert "phase (rename it to split to keep these splits)" in note


@pytest.mark.parametrize(
    "name", ["patient", "Patient_ID", "case", "subjectNo", "donor", "slide", "Patienten-Nr", "lesion_id"]
)
def test_what_belongs_together_is_never_guessed(folder: Path, name: str) -> None:
    table = write(folder, renamed(lines(x=PATIENTS), x=name))
    assert [row.group for row in rows_of(table)] == [f"a{n}" for n in range(12)]
    assert notes_of(table) == [f"column not used: {name} (--group {name} keeps its samples together)"]
    given = IngestOptions(group=name.upper().replace("_", " "))
    assert [row.group for row in rows_of(table, given)] == PATIENTS
    assert notes_of(table, given) == []


def test_a_group_by_a_name_with_spaces_can_be_copied_to_the_command(folder: Path) -> None:
    (note,) = notes_of(write(folder, renamed(lines(x=PATIENTS), x="Patient No")))
    assert "--group 'Patient No' keeps" in note


def test_every_column_that_is_not_used_is_named_once(folder: Path) -> None:
    listed = renamed(
        lines(a=PATIENTS, b=["m.png"] * 12, c=["m.png"] * 12, d=range(12), e=["A1"] * 12),
        a="patient", b="references", c="mask", d="weight", e="core",
    )  # fmt: skip
    assert notes_of(write(folder, listed)) == [
        "columns not used: patient (--group patient keeps its samples together), references (did you mean reference?), "
        "mask (rename it to reference where it marks disease, to tissue where it marks tissue), "
        "core (it needs --scans), weight"
    ]
    (note,) = notes_of(write(folder, lines()), IngestOptions(images=Path("images")))
    assert note == "column not used: path (--images is given)"


def test_two_columns_of_one_name_are_refused_where_it_is_used(folder: Path) -> None:
    message = refusal(write(folder, renamed(lines(x=[0] * 12), x="Label")))
    assert "columns 'label' and 'Label' have the same name but for case and marks; keep one" in message
    for names in ({"x": "T 1", "y": "t1"}, {"x": "T", "y": "T"}):
        assert len(rows_of(write(folder, renamed(lines(x=[0] * 12, y=[0] * 12), **names)))) == 12


def test_what_may_be_the_name_of_samples_is_pointed_at(folder: Path) -> None:
    listed = renamed(lines(remark=["x"] * 12), id="core code")
    assert "Each row has its own 'core code': rename it to id" in refusal(write(folder, listed))
    # A table without names.
    assert "'images/a0.png' is no name of a column: put a row with the names above" in refusal(
        write(folder, lines()[1:])
    )


def test_many_columns_are_counted_where_nothing_is_to_be_said_of_them(folder: Path) -> None:
    many = {f"gene{n}": [n] * 12 for n in range(40)}
    (note,) = notes_of(write(folder, lines(**many, patient=PATIENTS)))
    assert note.startswith("columns not used: patient (--group patient keeps its samples together), gene0, ")
    assert note.endswith("gene19 and 20 more")


def test_a_slip_in_a_needed_name_is_pointed_at(folder: Path) -> None:
    message = refusal(write(folder, renamed(lines(), label="lable")))
    assert "label missing. Rename or add the columns. Did you mean 'lable' by label?" in message


# Cells: groups, labels, splits


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "NaN", "-", "None", "?", "<NA>"])
def test_a_group_that_is_not_known_is_no_group(folder: Path, cell: str) -> None:
    table = write(folder, lines(patient=[*PATIENTS[:8], *[cell] * 4]))
    given = IngestOptions(group="patient")
    assert [row.group for row in rows_of(table, given)][7:] == ["p1", "a8", "a9", "a10", "a11"]
    assert notes_of(table, given) == [
        f"4 samples have no patient ({cell or 'empty'} 4): each counts as a group of its own"
    ]


def test_groups_that_differ_in_case_alone_are_one(folder: Path) -> None:
    table = write(folder, lines(group=["P1", "p1", "P 1", "2.0", "2", *(f"q{n}" for n in range(7))]))
    assert [row.group for row in rows_of(table)][:5] == ["P1", "P1", "P1", "2", "2"]
    assert notes_of(table) == ["groups that differ in case or spaces alone are one: p1 = P1, P 1 = P1"]


@pytest.mark.parametrize("cell", ["1.0", " 1 ", "1.", "1,00", "\u00a01"])
def test_whole_numbers_are_labels_however_they_are_written(folder: Path, cell: str) -> None:
    listed = lines()
    listed[4][2] = cell
    rows = rows_of(write(folder, listed))
    assert [row.label for row in rows] == [n % 2 for n in range(12)]


def test_labels_are_never_guessed(folder: Path) -> None:
    listed = [lines()[0], *([a, b, "NT"[int(str(c))]] for a, b, c in lines()[1:])]
    listed[4][2] = "t"
    options = IngestOptions(positive=("T",), negative=("N",))
    message = refusal(write(folder, listed), options)
    assert (
        "row 5 (a3): label 't' is listed neither as positive (T) nor negative (N). Did you mean 'T'?"
        in message
    )
    listed[4][2] = ""
    assert "row 5 (a3): label ''" in refusal(write(folder, listed), options)
    listed[4][2] = "#N/A"
    message = refusal(write(folder, listed), options)
    assert "row 5 (a3): column 'label' holds #N/A, the error of a formula" in message
    listed[4][2] = "NAT"
    table = write(folder, listed)
    options = IngestOptions(positive=("T",), negative=("N",), exclude=("NAT",))
    assert notes_of(table, options) == ["rows excluded by label: NAT 1"]


def test_splits_are_given_for_all_rows_or_made(folder: Path) -> None:
    message = refusal(write(folder, lines(split=[*SPLITS[:10], "", "NA"])))
    assert "2 problem(s)" in message
    assert "row 12 (a10): split '', while other rows have one; give it one of train, val, test" in message
    table = write(folder, lines(split=[""] * 12))
    assert notes_of(table) == ["column split is empty: splits are made"]
    ingest(table, folder / "s", AS_IT_IS)
    assert {sample.split for sample in Store.open(folder / "s").samples} == set(SPLITS)


# Paths


@pytest.mark.skipif(os.sep != "/", reason="backslashes and drives are the paths of this system")
def test_paths_of_windows_are_read_or_explained(folder: Path) -> None:
    listed = lines()
    listed[1][1] = "images\\a0.png"
    listed[2][1] = ".\\images\\a1.png"
    assert [row.path for row in rows_of(write(folder, listed))][:2] == [
        folder / "images" / "a0.png",
        folder / "images" / "a1.png",
    ]
    for path in ("C:\\data\\a0.png", "d:/data/a0.png", "\\\\server\\share\\a0.png"):
        listed[1][1] = path
        message = refusal(write(folder, listed))
        assert "row 2 (a0): image" in message
        assert "is a path of Windows. Copy the files beside the table" in message


def test_paths_in_quotes_at_home_and_as_addresses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    listed = lines()
    listed[1][1] = '"images/a0.png"'
    listed[2][1] = "~/images/a1.png"
    listed[3][1] = (folder / "images" / "a2.png").as_uri()
    listed[4][1] = "“images/a3.png”"
    expected = [folder / "images" / f"a{n}.png" for n in range(4)]
    assert [row.path for row in rows_of(write(folder, listed))][:4] == expected
    listed[1][1] = "https://example.org/a0.png"
    assert "is an address of the web" in refusal(write(folder, listed))
    listed[1][1] = "images/a10.pgn"
    assert "Did you mean a10.png?" in refusal(write(folder, listed))
    listed[1][1] = "images/" + "x" * 5000 + "\0.png"
    assert "does not exist" in refusal(write(folder, [listed[0], listed[1]])) or "binary" in refusal(
        write(folder, listed)
    )


def test_paths_are_found_by_another_case_and_composition(folder: Path) -> None:
    (folder / "images" / "a0.png").rename(folder / "images" / "a\u0308.png")
    listed = lines()
    listed[1][1] = "images/\u00e4.png"
    listed[2][1] = "Images/A1.PNG"
    table = write(folder, listed)
    rows = rows_of(table)
    assert rows[1].path.samefile(folder / "images" / "a1.png")
    assert rows[0].path.samefile(folder / "images" / "a\u0308.png")
    if not (folder / "IMAGES").exists():
        assert notes_of(table) == [
            "2 path(s) were found by another case of letters, the first images/\u00e4.png"
        ]
        (folder / "images" / "a1.PNG").write_bytes(b"")
        listed[2][1] = "images/A1.PNG"
        write(folder, listed)
        assert "Did you mean a1.PNG or a1.png?" in refusal(table)


def test_files_of_a_folder_are_found_with_and_without_suffix(folder: Path) -> None:
    listed = [["id", "label"], *([f"a{n}{'.png' * (n % 2)}", n % 2] for n in range(12))]
    rows = rows_of(write(folder, listed), IngestOptions(images=Path("images")))
    assert [row.path.name for row in rows] == [f"a{n}.png" for n in range(12)]
    np.savez(folder / "images" / "b0.npz", x=np.ones((2, 3, 4)))
    (folder / "images" / "c0.mat").write_bytes(b"")
    (folder / "images" / "a0.mat").write_bytes(b"")
    listed = [["id", "label"], ["b0", 1], ["c0", 0], ["a0", 0]]
    rows = rows_of(write(folder, listed), IngestOptions(images=Path("images")))
    # A picture goes before files of other kinds that are named like it.
    assert [row.path.name for row in rows] == ["b0.npz", "c0.mat", "a0.png"]


# Excel


def workbook(folder: Path, listed: Lines, name: str = "t.xlsx") -> tuple[Any, Path]:
    openpyxl = pytest.importorskip(
        "openpyxl", reason="the extra 'tables' is not installed: no workbook was read"
    )
    book = openpyxl.Workbook()
    for line in listed:
        book.active.append(list(line))
    book.save(folder / name)
    return book, folder / name


def test_a_workbook_is_read_as_excel_shows_it(folder: Path) -> None:
    listed = lines(group=[1, 1.0, 2, 2, *[datetime.datetime(2024, 5, 1)] * 2, "x", *[None] * 5])
    listed[1][0] = 7
    book, path = workbook(folder, listed)
    sheet = book.active
    sheet["A3"].value, sheet["A3"].number_format = 8, "000"
    sheet["C4"].value = 0.0
    sheet["H40"].value = " "
    book.save(path)
    rows = rows_of(path)
    assert [row.id for row in rows][:3] == ["7", "008", "a2"]
    assert [row.label for row in rows] == [n % 2 for n in range(12)]
    assert [row.group for row in rows][:7] == ["1", "1", "2", "2", "2024-05-01", "2024-05-01", "x"]
    assert [row.line for row in rows] == list(range(2, 14))
    ingest(path, folder / "s", IngestOptions(group="group", seed=1))
    # The name of the file tells nothing.
    path.rename(folder / "t.csv")
    assert len(rows_of(folder / "t.csv")) == 12


def test_of_several_sheets_one_is_named(folder: Path) -> None:
    book, path = workbook(folder, lines())
    book.create_sheet("empty")
    hidden = book.create_sheet("lists")
    hidden["A1"], hidden.sheet_state = "T", "hidden"
    book.save(path)
    assert "sheet 'Sheet' of the workbook" in notes_of(path)
    book.create_sheet("Remarks")["B2"] = "nothing"
    book.save(path)
    message = refusal(path)
    assert (
        "2 sheets hold something ('Sheet', 'Remarks'); name the one with the samples: --sheet NAME" in message
    )
    assert len(rows_of(path, IngestOptions(sheet="sheet"))) == 12
    assert "--sheet other: the sheets that hold something are 'Sheet', 'lists', 'Remarks'" in refusal(
        path, IngestOptions(sheet="other")
    )
    assert "which has no sheets" in refusal(write(folder, lines()), IngestOptions(sheet="x"))


def test_formulas_count_by_the_value_that_excel_kept(folder: Path) -> None:
    book, path = workbook(folder, lines(note=["=1+1", *[""] * 11]))
    # In a column that nobody uses, nothing is missing.
    assert len(rows_of(path)) == 12
    book.active["C3"] = "=1+0"
    book.active["C4"] = "#N/A"
    book.save(path)
    message = refusal(path)
    assert "row 3 (a1): column 'label' holds a formula without a value. Open the workbook in Excel" in message
    assert "row 4 (a2): column 'label' holds #N/A, the error of a formula" in message


def test_merged_cells_count_for_each_of_their_rows(folder: Path) -> None:
    book, path = workbook(folder, lines(group=PATIENTS))
    for first in (2, 6, 10):
        book.active.merge_cells(f"D{first}:D{first + 3}")
    book.save(path)
    assert [row.group for row in rows_of(path)] == PATIENTS
    assert "3 merged cells (the first D2:D5): what they show counts for each of their rows" in notes_of(path)
    book.active.merge_cells("A13:C13")
    book.save(path)
    assert "row 13 (a11): column 'label' holds part of the merged cells A13:C13. Unmerge them." in refusal(
        path
    )


def test_hidden_rows_are_read_and_said(folder: Path) -> None:
    book, path = workbook(folder, lines())
    book.active.row_dimensions[5].hidden = True
    book.save(path)
    assert len(rows_of(path)) == 12
    assert "1 hidden row(s) of the sheet are read too, the first row 5" in notes_of(path)


def test_a_stray_cell_far_away_is_named_and_takes_no_memory(folder: Path) -> None:
    book, path = workbook(folder, lines())
    book.active["XFD1048576"] = "x"
    book.save(path)
    message = refusal(path)
    assert "1 problem(s)" in message
    assert "row 1048576: id ''" in message


def rewritten(path: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a part of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name == part else content)


@pytest.mark.parametrize("row", ["1048577", "999999999999"])
def test_a_forged_row_takes_no_memory(folder: Path, row: str) -> None:
    _, path = workbook(folder, lines())
    sheet = "xl/worksheets/sheet1.xml"
    rewritten(path, sheet, lambda content: content.replace(b'<row r="13"', f'<row r="{row}"'.encode()))
    assert "cells beyond row 1048576 or column XFD" in refusal(path)
    _, path = workbook(folder, lines())
    rewritten(path, sheet, lambda content: content.replace(b'r="C13"', b'r="ZZZZZZ13"'))
    assert "cells beyond row 1048576 or column XFD" in refusal(path)


def test_a_workbook_whose_drawing_is_missing_is_read(folder: Path) -> None:
    """As R's openxlsx writes it; its sheets state their extent as A1, too."""
    _, path = workbook(folder, lines())
    rewritten(path, "xl/worksheets/sheet1.xml", lambda content: content.replace(b'ref="A1:C13"', b'ref="A1"'))
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/drawing"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(
            "xl/worksheets/_rels/sheet1.xml.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{kind}" Target="../drawings/drawing1.xml"/></Relationships>',
        )
    assert len(rows_of(path)) == 12


@given(data=st.data())
def test_damaged_tables_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    listed = [["id", "path", "label"], ["a", "t.csv", 1], ["b", "t.csv", 0]]
    kind = data.draw(st.sampled_from(["text", "wide", "workbook"]))
    if kind == "workbook":
        raw = bytearray(workbook(folder, listed)[1].read_bytes())
    else:
        raw = bytearray(text(listed).encode("utf-8" if kind == "text" else "utf-16"))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = write(folder, bytes(raw[: data.draw(st.integers(1, len(raw)))]))
    try:
        sheet = read_spreadsheet(path, "", {"id", "path", "label"})
    except IngestError as refused:
        message = str(refused)
        sheet = None
    assert sheet or str(path) in message


# One image in several rows


def put(folder: Path, name: str, values: np.ndarray) -> str:
    np.save(folder / name, values)
    return name


def test_one_image_with_two_labels_is_refused(folder: Path) -> None:
    table = write(
        folder, [["id", "path", "label"], *([f"s{n}", f"images/a{n // 2}.png", n % 2] for n in range(12))]
    )
    message = refusal(table)
    assert "6 problem(s)" in message
    assert "rows 2 (s0), 3 (s1) are one image (a0.png), labelled healthy and diseased" in message


def copied(folder: Path, how: str) -> str:
    """Another name of images/a0.png."""
    first, other = folder / "images" / "a0.png", folder / "images" / "other.png"
    if how == "copy":
        other.write_bytes(first.read_bytes())
    elif how == "link":
        other.symlink_to(first)
    elif how == "hard link":
        other.hardlink_to(first)
    elif how == "detour":
        return "images/../images/a0.png"
    elif how == "the same":
        return "images/a0.png"
    return "images/other.png"


@pytest.mark.parametrize("how", ["copy", "link", "hard link", "detour", "the same"])
def test_one_image_by_two_paths_stays_in_one_split(folder: Path, how: str) -> None:
    listed = lines()
    listed[11][1] = copied(folder, how)  # a10, of the same label
    said: list[str] = []
    ingest(write(folder, listed), folder / "s", AS_IT_IS, say=said.append)
    samples = {sample.id: sample for sample in Store.open(folder / "s").samples}
    assert samples["a0"].group == samples["a10"].group == "a0"
    assert samples["a0"].split == samples["a10"].split
    assert "t.csv: one image under several ids, kept in one split: a0 = a10 (a0.png)" in said
    listed[11][2] = 1
    assert "rows 2 (a0), 12 (a10) are one image" in refusal(write(folder, listed))
    listed[11][2] = 0
    split = [[*listed[0], "split"], *([*row, SPLITS[n]] for n, row in enumerate(listed[1:]))]
    message = refusal(write(folder, split))
    assert "in test and val. Give them one split or one group, or keep one of them." in message


def test_rows_of_one_image_join_the_groups_that_the_table_gives_them(folder: Path) -> None:
    listed = lines(patient=[f"p{n // 2}" for n in range(12)])
    listed[5][1] = "images/a0.png"  # a4, of p2
    ingest(write(folder, listed), folder / "s", IngestOptions(group="patient"))
    groups = {sample.id: sample.group for sample in Store.open(folder / "s").samples}
    assert {groups[name] for name in ("a0", "a1", "a4", "a5")} == {"p0"}
    assert groups["a2"] == "p1"


def test_files_of_one_size_are_told_apart_by_what_they_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_images, "ENDS_BYTES", 16)
    rng = np.random.default_rng(1)
    values = rng.uniform(size=(6, 5, 4, 3))
    values[1:4, 0], values[1:4, -1] = values[0, 0], values[0, -1]  # alike at both ends
    values[2] = values[1]
    names = [put(folder, f"c{n}.npy", each) for n, each in enumerate(values)]
    listed = [["id", "path", "label", "split"], *([f"c{n}", name, 0, "test"] for n, name in enumerate(names))]
    said: list[str] = []
    ingest(write(folder, listed), folder / "s", AS_IT_IS, say=said.append)
    assert "t.csv: one image under several ids, kept in one split: c1 = c2 (c1.npy)" in said


def test_a_header_tells_nothing_without_its_data(folder: Path) -> None:
    import instrument_files as files

    rng = np.random.default_rng(2)
    axis = np.linspace(1000.0, 1800.0, 8)
    cubes = rng.uniform(0.1, 1, (3, 5, 4, 8)).astype(np.float32)
    listed: list[list[object]] = [["id", "path", "label"]]
    for n, cube in enumerate([*cubes, cubes[0]]):
        (folder / f"e{n}").mkdir()
        files.envi(folder / f"e{n}", cube, axis, interleave="bip")
        listed.append([f"e{n}", f"e{n}/cube.hdr", int(n == 3)])
    assert len({(folder / f"e{n}" / "cube.hdr").read_bytes() for n in range(4)}) == 1
    message = refusal(write(folder, listed))
    assert "1 problem(s)" in message
    assert "rows 2 (e0), 5 (e3) are one image (cube.hdr), labelled healthy and diseased" in message
    # By its header and by its data.
    listed = [*listed[:-1], ["e3", "e1/cube.dat", 1]]
    assert "rows 3 (e1), 5 (e3) are one image" in refusal(write(folder, listed))


def test_the_same_values_in_another_format_are_found_while_reading(folder: Path) -> None:
    listed = lines(split=SPLITS)
    values = np.asarray(Image.open(folder / "images" / "a0.png"))
    listed[3][1] = put(folder, "a0.npy", values)  # a2, of the same label and split
    ingest(write(folder, listed), folder / "s", AS_IT_IS)
    listed[3][2] = 1
    message = refusal(write(folder, listed))
    assert "rows 2 (a0), 4 (a2) are one image (a0.png, a0.npy), labelled healthy and diseased" in message
    listed[3][2:] = [0, "val"]
    assert "are one image (a0.png, a0.npy), in test and val" in refusal(write(folder, listed))


# What is said


def test_the_command_says_what_it_assumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(folder, lines(patient=PATIENTS))
    assert main(["ingest", str(table), "--out", str(folder / "s"), "--group", "Patient"]) == 0
    head, *_ = capsys.readouterr().out.partition("\n       diseased")
    assert head.splitlines()[0].startswith("12 samples read as: format PNG · pixels 5 × 7 · channels 3 ·")
    assert head.splitlines()[1] == f"summary: {folder / 's' / 'summary.html'}"


def test_the_summary_says_how_every_file_was_read(folder: Path) -> None:
    listed = lines(patient=PATIENTS, reference=["", "mask.png", *[""] * 10])
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:5] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    np.savez(folder / "odd.npz", picture=np.arange(5 * 7 * 3).reshape(5, 7, 3), pixel_size_um=5.5)
    listed[12][1] = "odd.npz"
    ingest(write(folder, listed), folder / "s", AS_IT_IS)
    with (folder / "s" / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    assert rows["a0"]["format"] == "PNG"
    assert rows["a0"]["pixels"] == "5 × 7"
    assert rows["a0"]["pixel_size"] == "not stated"
    assert rows["a11"]["format"] == "npz"
    assert rows["a11"]["variable"] == "picture"
    assert rows["a11"]["pixel_size"].startswith("5.5 µm")
    assert (rows["a0"]["reference_pixels"], rows["a1"]["reference_pixels"]) == ("", "6")
    page = (folder / "s" / "summary.html").read_text()
    assert "PNG (11 of 12 samples)" in page
    assert "column not used: patient (--group patient keeps its samples together)" in page
    exceptions = page.partition("Exceptions")[2].partition("Every sample")[0]
    for word in ("a11", "npz", "5.5 µm"):
        assert word in exceptions
    assert "picture (1 of 12 samples)" in page
