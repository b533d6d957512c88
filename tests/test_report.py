"""The report folder and its page: complete, self-contained, escaped, never half-written."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from html_page import HOSTILE, SHOWN, Page
from PIL import Image

from compseg_jax.evaluation.report import report_folder as folder
from compseg_jax.evaluation.report.figures import spectra_figure
from compseg_jax.evaluation.report.report_folder import check_report_folder, picture_name, write_report
from compseg_jax.evaluation.report.report_tables import headline, threshold_origin, threshold_story
from compseg_jax.evaluation.report.tiles import contact_sheet
from compseg_jax.evaluation.scores import (
    PAPER_THRESHOLD,
    Evaluation,
    SampleResult,
    choose_threshold,
    evaluate_samples,
)

WAVENUMBERS_CM1 = np.linspace(1800, 948, 12)
HISTORY = [{"epoch": i + 1, "loss": 1 / (i + 1), "val_loss": abs(i - 3) + 0.5} for i in range(6)]
NASTY = HOSTILE + "/.."


def samples(
    *, references: bool = True, groups: bool = False, shape=(12, 9), count: int = 8
) -> list[SampleResult]:
    rng = np.random.default_rng(0)
    results = []
    for index in range(count):
        label = index % 2
        truth = np.zeros(shape, np.bool_)
        truth[2 : 2 + 5 * label, 1:6] = True
        tissue = np.ones(shape, np.bool_)
        tissue[:, -1] = False
        activation = np.clip(rng.normal(0.2 + 0.5 * truth, 0.15), 0, 1).astype(np.float32)
        sample_id = NASTY if index == 0 else f"spot {index}"
        results.append(
            SampleResult(
                id=sample_id,
                label=label,
                group=f"patient {index // 4}" if groups else sample_id,
                activation=activation,
                tissue=tissue,
                reference=truth if references else None,
                preview=rng.random((*shape, 3) if index % 3 == 0 else shape),
                spectrum_inside=rng.random(12) if label else None,
                spectrum_outside=rng.random(12),
            )
        )
    return results


def write(
    out: Path, results: list[SampleResult], *, threshold: float = 0.35, **options
) -> tuple[Path, Evaluation]:
    evaluation = evaluate_samples(results, threshold=threshold, n_bootstrap=50)
    options = {
        "model": {"threshold": 0.35, "recipe": "default", "config": {"alpha": 0.1, "note": "a<b"}},
        "history": HISTORY,
        "wavenumbers_cm1": WAVENUMBERS_CM1,
        "title": "Array B <held out>",
        "notes": ["Reversed <b>axis</b>.", "Resampled."],
        **options,
    }
    return write_report(out, results, evaluation, **options), evaluation


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, Evaluation]:
    """One report that several tests only read."""
    return write(tmp_path_factory.mktemp("plain") / "runs" / "report", samples(), threshold=0.4)


@pytest.fixture
def short_page(monkeypatch):
    """The folder alone is tested: its page is one line, quickly written."""
    monkeypatch.setattr(folder, "report_page", lambda *_: f"<html>{folder.GENERATOR}</html>")


def test_everything_is_written(plain):
    results, (page, evaluation) = samples(), plain
    out = page.parent
    assert sorted(p.name for p in out.iterdir()) == [
        "activation", "mask", "metrics.json", "report.html", "samples.csv",
    ]  # fmt: skip
    assert [p.name for p in out.parent.iterdir()] == ["report"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert {
        "auc_area", "auc_area_ci95", "auc_mean_activation", "dice_mean", "dice_sd", "pxap",
        "dice_predict_everything", "pixel_ap", "pixel_auc", "false_positive_area_healthy", "threshold",
        "n_diseased", "n_healthy", "by_group", "notes",
    } <= set(metrics)  # fmt: skip
    assert metrics["dice_mean"] == evaluation.metrics["dice_mean"]
    rows = list(csv.DictReader(io.StringIO((out / "samples.csv").read_text())))
    assert [row["id"] for row in rows] == [r.id for r in results]
    assert float(rows[1]["dice"]) == evaluation.samples[1]["dice"]
    assert rows[0]["dice"] == ""


def test_maps_and_masks_hold_the_prediction(plain):
    page, _ = plain
    for sample in samples():
        stored = np.asarray(Image.open(page.parent / "activation" / picture_name(sample.id)))
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored, np.rint(np.where(sample.tissue, sample.activation, 0) * 255))
        mask = np.asarray(Image.open(page.parent / "mask" / picture_name(sample.id)))
        np.testing.assert_array_equal(mask, 255 * ((sample.activation > 0.4) & sample.tissue))


def test_ids_become_file_names_that_stay_apart_and_inside():
    assert picture_name("spot 1") == "spot 1.png"
    assert "/" not in picture_name(NASTY)
    assert picture_name("a/b") != picture_name("a_b")
    assert picture_name("a/b") != picture_name("a%2Fb")


def test_page_fetches_nothing_and_escapes_text(plain):
    text = plain[0].read_text()
    page = Page(text)
    assert not page.all("link")
    assert len(page.all("script")) == 1
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (name, value[:60])
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:image/[^\"]*", "", text))
    assert "default-src 'none'" in text
    assert NASTY not in text
    assert NASTY.replace(HOSTILE, SHOWN) in page.words
    assert "Array B <held out>" in page.words
    assert "Reversed <b>axis</b>. Resampled." in page.words
    assert [a.get("class") for a in page.all("p")][:2] == ["sub", "adapted"]
    assert "a<b" in page.words
    assert all(attributes.get("alt") is not None for attributes in page.all("img"))
    assert all(a["href"][1:] in {t.get("id") for _, t in page.tags} for a in page.all("a"))


def test_every_sample_has_a_tile_diseased_first_by_area(plain):
    path, evaluation = plain
    tiles = Page(path.read_text()).all("figure", "tile")
    assert [t["class"] for t in tiles] == ["tile diseased"] * 4 + ["tile healthy"] * 4
    area = {f"s{i}": row["area_fraction"] for i, row in enumerate(evaluation.samples)}
    order = [area[t["id"]] for t in tiles]
    assert order == sorted(order[:4], reverse=True) + sorted(order[4:], reverse=True)


def test_figures_are_sound_svg_and_the_same_each_time(plain, tmp_path):
    first = plain[0]
    second, _ = write(tmp_path / "b", samples(), threshold=0.4)
    assert first.read_text() == second.read_text()
    sources = [str(a["src"]) for a in Page(first.read_text()).all("img")]
    figures = [s for s in sources if s.startswith("data:image/svg+xml;base64,")]
    assert len(figures) == 5
    assert all(b"</svg>" in base64.b64decode(s.split(",")[1]) for s in figures)


def test_what_is_missing_is_said(tmp_path):
    """Without references, history, spectra or a second label: no figure is drawn from nothing."""
    bare = [
        SampleResult(r.id, r.label, r.group, r.activation, r.tissue, None, r.preview)
        for r in samples(references=False)
        if r.label == 1
    ]
    path, _ = write(tmp_path / "report", bare, history=[], wavenumbers_cm1=None)
    page = Page(path.read_text())
    words = " ".join(page.words)
    for sentence in (
        "No diseased sample has a reference mask", "Undefined: only one label",
        "No training history", "No spectra came", "AUC is undefined", "nothing is said of pixels",
    ):  # fmt: skip
        assert sentence in words
    # What cannot be known has no card, no figure and no line.
    for absent in (
        "Dice in diseased samples",
        "Average precision of pixels",
        "Reliability",
        "reference outline",
    ):
        assert absent not in words
    assert "nan" not in words.lower().split()
    assert not page.all("img", "ref")


def test_groups_get_their_table(plain, tmp_path):
    path, _ = write(tmp_path / "report", samples(groups=True))
    page = Page(path.read_text())
    assert any(a.get("id") == "groups" for a in page.all("section"))
    assert "patient 1" in page.words
    assert not any(a.get("id") == "groups" for a in Page(plain[0].read_text()).all("section"))


def test_a_report_replaces_a_report_and_an_empty_folder(short_page, tmp_path):
    out = tmp_path / "report"
    out.mkdir()
    write(out, samples(count=8))
    write(out, samples(count=4))
    assert len(list((out / "mask").iterdir())) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_other_peoples_folders_are_left_alone(short_page, tmp_path):
    out = tmp_path / "report"
    out.mkdir()
    (out / "thesis.txt").write_text("ten years")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        write(out, samples())
    (out / "thesis.txt").unlink()
    (out / "report.html").write_text("<html>somebody else's</html>")
    with pytest.raises(FileExistsError, match="not of compseg_jax"):
        check_report_folder(out)
    (out / "report.html").unlink()
    write(out, samples(count=4))
    (out / "mask" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        write(out, samples())
    assert (out / "mask" / "notes.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="is a file"):
        write(out / "metrics.json", samples())


def test_a_failure_leaves_the_old_report_and_no_debris(short_page, tmp_path, monkeypatch):
    out = tmp_path / "report"
    path, _ = write(out, samples())
    before = path.read_bytes()
    monkeypatch.setattr(folder, "report_page", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(out, samples(count=4))
    assert path.read_bytes() == before
    assert len(list((out / "mask").iterdir())) == 8
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_results_and_evaluation_must_be_of_the_same_samples(tmp_path):
    evaluation = evaluate_samples(samples(), threshold=0.35, n_bootstrap=10)
    for results in (samples()[::-1], samples(count=4)):
        with pytest.raises(ValueError, match="ids or order"):
            write_report(
                tmp_path / "r", results, evaluation, model={}, history=[], wavenumbers_cm1=None, title=""
            )
    assert not list(tmp_path.iterdir())


def test_spectra_of_another_length_than_the_wavenumbers_are_refused():
    with pytest.raises(ValueError, match=r"lengths \[5, 12\]"):
        spectra_figure(samples(), WAVENUMBERS_CM1[:5])


def test_origin_of_the_threshold_is_told():
    few = choose_threshold([np.zeros((2, 2))], [np.ones((2, 2), np.bool_)], [1])
    told = threshold_story({"threshold": few}, PAPER_THRESHOLD)
    assert "Not chosen from data: 0 healthy and 1 diseased validation samples" in told
    assert told == threshold_story({"threshold": asdict(few)}, PAPER_THRESHOLD)
    assert threshold_origin({"threshold": few}, PAPER_THRESHOLD) == "the paper's value"
    own = {"threshold": few}
    assert threshold_story(own, 0.5) == "given for this evaluation; the model's own is 0.350"
    chosen = {"threshold": replace(few, threshold=0.5, supported=True, rule="a rule", interval=(0.4, 0.6))}
    assert threshold_story(chosen, 0.5) == "a rule; 95 % interval 0.400 to 0.600"
    assert threshold_origin(chosen, 0.5) == "chosen on validation labels"
    assert threshold_origin({"threshold": 0.35}, 0.35) == "stored with the model"


def test_contact_sheet_keeps_its_budget():
    rng = np.random.default_rng(0)
    noisy = [
        SampleResult(
            str(i), 1, str(i), rng.random((300, 200), np.float32), np.ones((300, 200), np.bool_),
            rng.random((300, 200)) < 0.5, rng.random((300, 200)),
        )
        for i in range(6)
    ]  # fmt: skip
    small = contact_sheet(noisy, 0.35, max_bytes=200_000)
    total = sum(
        len(t.preview) + len(t.activation) + len(t.segmentation) + len(t.outline or "") for t in small
    )
    assert 100_000 < total <= 200_000
    wide = contact_sheet(noisy[:1], 0.35)[0]
    assert Image.open(io.BytesIO(base64.b64decode(wide.preview.split(",")[1]))).size == (171, 256)
    assert wide.aspect == pytest.approx(2 / 3)


def test_outline_runs_along_the_inner_edge_of_the_reference():
    reference = np.zeros((16, 16), np.bool_)
    reference[4:12, 4:12] = True
    plain = np.zeros((16, 16), np.float32)
    tile = contact_sheet([SampleResult("a", 1, "a", plain, plain == 0, reference, plain)], 0.35)[0]
    image = Image.open(io.BytesIO(base64.b64decode(str(tile.outline).split(",")[1]))).convert("RGBA")
    drawn = np.asarray(image)
    zoom = drawn.shape[0] // 16
    cyan = (drawn[..., :3] == (0, 213, 255)).all(-1) & (drawn[..., 3] == 255)
    inside = np.kron(reference, np.ones((zoom, zoom), np.bool_))
    assert cyan.any()
    assert not cyan[~inside].any()
    assert cyan[4 * zoom, 4 * zoom : 12 * zoom].all()
    assert not cyan[8 * zoom, 8 * zoom]


def test_headline_is_aligned_and_honest():
    text = headline(evaluate_samples(samples(groups=True), threshold=0.35, n_bootstrap=50).metrics)
    lines = text.splitlines()
    assert 5 <= len(lines) <= 9
    starts = {re.match(r"\S+(?: \S+)*\s{2,}", line).end() for line in lines}
    assert len(starts) == 1
    assert "by group" in text
    blind = headline(evaluate_samples(samples(references=False), threshold=0.35, n_bootstrap=50).metrics)
    assert "no reference masks" in blind
    assert "nan" not in blind.lower()
