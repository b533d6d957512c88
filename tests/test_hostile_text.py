"""Names and texts of other people: no formula in a table, nothing unseen on a page, no file that cannot be one."""

from __future__ import annotations

import csv
import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compseg_jax.cli.main import run_command
from compseg_jax.drawing.document import _environment
from compseg_jax.evaluation.report.report_tables import samples_csv
from compseg_jax.ingest.cores.cores_csv import read_cores_csv, write_cores_csv
from compseg_jax.ingest.cores.grid import Core, CoreGrid
from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.records import SampleRecord, records_csv
from compseg_jax.ingest.table import IngestError, read_table
from compseg_jax.prediction.formats.prediction_tables import Predictions, SamplePrediction, write_predictions
from compseg_jax.runtime.csv_tables import csv_rows, csv_text
from compseg_jax.runtime.visible import visible
from compseg_jax.store import Sample, Store
from compseg_jax.store.read import StoreError
from compseg_jax.store.sample_names import as_file_name, is_file_name, names_a_file, same_file
from compseg_jax.store.write import StoreWriter

FORMULAS = ("=SUM(A1;B1)", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "'=1", "''-a")
BEGIN_FORMULAS = tuple("=+-@\t\r＝＋－＠")


def is_harmless(cell: str) -> bool:
    return not cell.startswith(BEGIN_FORMULAS) or cell.lstrip("+-").replace(".", "").isdecimal()


@given(st.lists(st.lists(st.text("=+-@\t\r\n'1.5eE ;,\"aü＝"), min_size=2, max_size=2), max_size=4))
def test_every_text_comes_back_and_none_is_a_formula(rows):
    text = csv_text(("a", "=b"), rows)
    assert [list(row.values()) for row in csv_rows(text)] == [row for row in rows if row]
    for cells in csv.reader(io.StringIO(text, newline="")):
        for cell in cells:
            assert not cell.startswith(BEGIN_FORMULAS) or float(cell) is not None


def test_numbers_stay_numbers():
    text = csv_text(
        ("x",), [(-1.5,), ("-1.5",), ("+3",), ("-1e-05",), (np.float32(-0.25),), (None,), ("-inf",)]
    )
    assert text.splitlines() == ["x", "-1.5", "-1.5", "+3", "-1e-05", "-0.25", '""', "'-inf"]


@pytest.mark.parametrize("text", FORMULAS)
def test_tables_for_people_hold_no_formula_and_give_it_back(text, tmp_path):
    """Each table that takes texts from elsewhere, read as a spreadsheet reads it, and by us."""
    grid = CoreGrid(
        cores=(Core(text.strip(), 0, 0, 5.0, 5.0, 4.0, "present", 0.5, keep=True),),
        angle_deg=-1.5, pitch_px=(9.0, 9.0), core_diameter_px=8.0, shape_px=(10, 10), scan=text.strip(),
    )  # fmt: skip
    write_cores_csv(tmp_path / "cores.csv", grid, text.strip())
    back = read_cores_csv(tmp_path / "cores.csv")
    assert (back.cores[0].name, back.scan, back.angle_deg) == (text.strip(), text.strip(), -1.5)
    record = SampleRecord(id=text, label=1, split="test", source=text, why=text, reading={"format": text})
    sample = SamplePrediction(id=text, source=text, status="failed", error=text)
    write_predictions(tmp_path, Predictions(model={}, threshold=0.5, samples=(sample,)))
    tables = {
        "cores.csv": (tmp_path / "cores.csv").read_text(),
        "summary.csv": records_csv([record]),
        "samples.csv": samples_csv([{"id": text, "group": text, "area_low": -0.5}]),
        "predictions.csv": (tmp_path / "predictions.csv").read_bytes().decode(),
    }
    for name, table in tables.items():
        cells = [cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row]
        assert all(map(is_harmless, cells)), (name, cells)
        assert any(text.strip() in row.values() or text in row.values() for row in csv_rows(table)), name


def store_writer(path):
    return StoreWriter(
        path, channels=1, wavenumbers_cm1=None, pixel_size_um=None, background="none", created_by="a test"
    )


def test_a_store_gives_back_ids_and_groups_that_are_formulas(tmp_path):
    sample = Sample("=1+1", 1, "test", "@all", 2, 2, False, "-a.npy")
    with store_writer(tmp_path / "store") as writer:
        writer.add(sample, np.ones((2, 2, 1), np.float32), np.ones((2, 2), bool), None)
    assert "\r\n'=1+1,1,test,'@all," in (tmp_path / "store/samples.csv").read_bytes().decode()
    opened = Store.open(tmp_path / "store")
    assert opened.samples == (sample,)
    assert opened.read("=1+1").shape == (2, 2, 1)


@pytest.mark.parametrize(
    "name", ["CON", "con", "nul.tif", "COM1", "lpt9.a.b", "COM¹", "a.", "a ", "aux .x", "a\u202eb", "a\x07"]
)
def test_what_no_system_takes_for_a_file_is_refused(name, tmp_path):
    assert not names_a_file(name)
    assert names_a_file(as_file_name(name))
    sample = Sample(name, 1, "test", "g", 2, 2, False)
    with pytest.raises(StoreError, match="cannot name a file"), store_writer(tmp_path / "store") as writer:
        writer.add(sample, np.ones((2, 2, 1), np.float32), np.ones((2, 2), bool), None)
    (tmp_path / "table.csv").write_text(f'id,label,path\n"{name.strip()}",1,x.npy\n', encoding="utf-8")
    if not names_a_file(name.strip()):
        with pytest.raises(IngestError, match="cannot name a file on every system"):
            read_table(tmp_path / "table.csv", IngestOptions())


def test_stores_that_hold_such_names_are_still_read():
    assert is_file_name("CON")
    assert is_file_name("a.")
    assert names_a_file("console")
    assert names_a_file("a.b")
    assert not is_file_name("a/b")


def test_ids_that_differ_by_case_or_by_how_an_accent_is_written_are_one_file(tmp_path):
    assert same_file("Ä1") == same_file("a\u03081")
    np.save(tmp_path / "x.npy", np.ones((4, 4, 3), np.float32))
    rows = ["id,label,path,split", "Core,1,x.npy,test", "core,0,x.npy,test"]
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(
        IngestError, match="row 3: id 'core' was used in row 2 already, as 'Core', which is the same"
    ):
        read_table(tmp_path / "table.csv", IngestOptions())
    arrays = np.ones((2, 2, 1), np.float32), np.ones((2, 2), bool), None
    with store_writer(tmp_path / "store") as writer:
        writer.add(Sample("Core", 1, "test", "g", 2, 2, False), *arrays)
        with pytest.raises(StoreError, match="taken"):
            writer.add(Sample("core", 1, "test", "g", 2, 2, False), *arrays)


UNSEEN = "\u202e\u2066\u200f\u061c\ufeff\u200b\x07\x9b\U000e0041"


def test_what_cannot_be_seen_is_shown():
    shown = visible(f"a{UNSEEN}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert "\\u202e" in shown
    kept = "µm ±2 Ångström 漢字 بیمار\u200cها 👩\u200d🔬 \x1b[31mred\x1b[0m\n\tx"
    assert visible(kept) == kept
    assert visible("\x1b]0;title\x07") == "\\u001b]0;title\\u0007"


def test_pages_show_it(tmp_path):
    template = _environment().from_string("<b>{{ name }}</b>{{ safe|safe }}")
    text = template.render(name=f"x{UNSEEN}<i>", safe="<svg/>")
    assert text.startswith("<b>x\\u202e")
    assert not set(UNSEEN) & set(text)
    assert text.endswith("&lt;i&gt;</b><svg/>")


def test_the_terminal_shows_it(capsys):
    def command(arguments):
        print(f"read {arguments[0]}")
        print(f"note {arguments[0]}", file=sys.stderr)
        raise ValueError(f"{arguments[0]}: cannot be read")

    assert run_command(command, [f"a{UNSEEN}.npy"], keep_memory=False) == 1
    said = capsys.readouterr()
    assert said.out.startswith("read a\\u202e")
    assert "error: a\\u202e" in said.err
    assert not set(UNSEEN) & set(said.out + said.err)
