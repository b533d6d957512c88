"""`compseg compare`: paired differences of the same samples, and a warning before figures of different ones."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import HOSTILE, Page
from runs_example import results, write_a_report, write_a_run
from store_example import write_store

from compseg_jax.cli.main import main
from compseg_jax.config import recipe
from compseg_jax.evaluation.report import report_folder
from compseg_jax.evaluation.report.report_source import ReportSource
from compseg_jax.evaluation.run_records import RunFolderError
from compseg_jax.evaluation.run_records.comparison import compare
from compseg_jax.evaluation.run_records.comparison_page import write_comparison
from compseg_jax.evaluation.run_records.comparison_text import comparison_text
from compseg_jax.evaluation.run_records.same_samples import same_samples
from compseg_jax.evaluation.run_records.scores_record import Scores
from compseg_jax.evaluation.scores import evaluate_samples
from compseg_jax.store.checksums import seal
from compseg_jax.store.read import Store
from tools.browser import find_chromium, open_page

SHIFT = 0.25


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Runs a and b with reports of the same samples, b's activations higher; c of others; d without a report."""
    top = tmp_path_factory.mktemp("compared")
    data = top / "store"
    data.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_folder, "report_page", lambda *_: f"<html>{report_folder.GENERATOR}</html>")
        for name, options, kinds in (
            ("a", {}, {}),
            (
                "b",
                {"seed": 4, "objective": replace(recipe("default").objective, alpha=0.2)},
                {"shift": SHIFT},
            ),
            ("c", {}, {"ids": "t"}),
        ):
            write_a_run(top / name, data, model=False, **options)
            write_a_report(top / name / "report", top / name, data, **kinds)
        write_a_run(top / "d", data, model=False)
    return top


def areas(label: int, shift: float = 0.0) -> np.ndarray:
    rows = evaluate_samples(results(shift), threshold=0.35, n_bootstrap=2).samples
    return np.array([row["area_fraction"] for row in rows if row["label"] == label])


def test_differences_are_paired_and_of_the_same_samples(written):
    found = compare([written / "a", written / "b" / "report"])
    assert found.warnings == ()
    assert [side.name for side in found.sides] == ["a", "b/report"]
    assert {name: values for name, values in found.settings.items() if name != "data"} == {
        "objective.alpha": (0.1, 0.2),
        "seed": (0, 4),
    }
    by_name = {each.measure: each for each in found.differences}
    change = areas(1, SHIFT) - areas(1)
    area = by_name["area, diseased"]
    assert area.value == pytest.approx(change.mean())
    assert (area.higher, area.lower, area.n) == ((change > 0).sum(), (change < 0).sum(), 3)
    assert area.ci95 is not None
    assert change.min() <= area.ci95[0] <= area.value <= area.ci95[1] <= change.max()
    activation = by_name["mean activation, healthy"]
    pairs = zip(results(), results(SHIFT), strict=True)
    changes = [b.activation.mean() - a.activation.mean() for a, b in pairs if not a.label]
    assert activation.value == pytest.approx(np.mean(changes), abs=1e-6)
    for name, key in (("AUC, area", "auc_area"), ("AUC, mean activation", "auc_mean_activation")):
        values = [side.scores.metrics[key] for side in found.scored if side.scores]
        assert (by_name[name].first, by_name[name].other) == pytest.approx(values)
    text = comparison_text(found)
    assert "of the same 6 samples, by id, of one store" in text
    assert f"{area.value:+.3f}" in text


def test_a_run_held_against_itself_differs_in_nothing(written, tmp_path):
    shutil.copytree(written / "a", tmp_path / "a")
    shutil.copytree(written / "store", tmp_path / "store")
    found = compare([written / "a" / "report", tmp_path / "a" / "report"])
    assert all(each.value == 0 and each.ci95 == [0, 0] for each in found.differences)
    assert len(found.differences) > 5
    # Another place: nobody says that it is the same store, so the samples' pixels are held against one another.
    assert "numbers of pixels" in str(found.same and found.same.by)


def test_different_test_samples_are_said_before_any_figure(written, capsys):
    found = compare([written / "a", written / "c"])
    assert found.differences == ()
    assert "Different test samples" in found.warnings[0]
    assert "cannot be held against one another" in found.warnings[0]
    assert main(["compare", str(written / "a"), str(written / "c")]) == 0
    assert capsys.readouterr().out.startswith("warning: Different test samples")
    assert main(["compare", str(written / "a"), str(written / "c"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["is_one_set"], told["shared_samples"], told["differences"]) == (False, 0, [])


def scores(store: Store, labels: dict[str, int]) -> Scores:
    source = ReportSource(store.path, store.path, "test", None, "", "")
    rows = [
        {"id": each.id, "label": str(labels.get(each.id, each.label)), "tissue_pixels": "5"}
        for each in store.samples
    ]
    return Scores(Path(str(store.path)), "test", {"auc_area": 1.0}, rows, source)


def test_samples_of_two_stores_are_recognised_by_their_content(tmp_path):
    """Equal images under other ids are the same ones; one of another label is left out, and said."""
    stores = [
        write_store(tmp_path / name, sizes=((7, 9),), splits=("test", "val")) for name in ("one", "other")
    ]
    table = tmp_path / "other" / "samples.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    contents = [*(stores[0].content(each.id) for each in stores[0].samples[:3]), "of another image"]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys([*rows[0], "content"])))
        writer.writeheader()
        writer.writerows(row | {"id": f"x{n}", "content": contents[n]} for n, row in enumerate(rows))
    seal(tmp_path / "other")
    first, other = scores(stores[0], {}), scores(Store.open(tmp_path / "other"), {"x1": 0})
    found = same_samples([first, other])
    assert found.by == "by the content of their images"
    assert [[row["id"] for row in each] for each in found.rows] == [["s0", "s2"], ["x0", "x2"]]
    assert (found.relabelled, found.alone) == (1, (1, 1))
    assert "1 are labelled differently" in found.warning("AB")


def test_what_cannot_be_compared_is_refused(written, tmp_path):
    with pytest.raises(RunFolderError, match="two or more"):
        compare([written / "a"])
    with pytest.raises(RunFolderError, match="given twice"):
        compare([written / "a", written / "c" / ".." / "a"])
    shutil.copytree(written, tmp_path / "w")
    shutil.copytree(tmp_path / "w" / "a" / "report", tmp_path / "w" / "a" / "report2")
    with pytest.raises(RunFolderError, match="2 reports of the split 'test'"):
        compare([tmp_path / "w" / "a", tmp_path / "w" / "b"])
    found = compare([written / "a", written / "d"])
    assert [side.letter for side in found.scored] == ["A"]
    assert found.warnings[0].startswith("B: no report of the split 'test'")
    mine = tmp_path / "notes.html"
    mine.write_text("mine")
    with pytest.raises(FileExistsError, match="left alone"):
        write_comparison(mine, found)
    assert mine.read_text() == "mine"


def test_the_page_shows_the_same_samples_side_by_side(written, tmp_path):
    folder = tmp_path / HOSTILE.replace("/", "_")
    shutil.copytree(written / "b", folder)
    page = write_comparison(tmp_path / "page.html", compare([written / "a", folder / "report"]), samples=4)
    text = page.read_text()
    parsed = Page(text)
    assert len(parsed.all("figure", "tile")) == 4
    assert len(parsed.all("img", "act")) == 8
    assert len(parsed.all("script")) == 1
    assert "<script>alert" not in text
    first = [image["alt"] for image in parsed.all("img") if (image["alt"] or "").startswith("Sample")]
    assert [alt.partition(",")[0] for alt in first[::2]] == [alt.partition(",")[0] for alt in first[1::2]]
    if (chromium := find_chromium()) is not None:
        with open_page(chromium, width=390) as browser:
            browser.goto(page.as_uri())
            assert browser.evaluate("document.documentElement.scrollWidth") == 390
