"""What every page owes its readers: text from outside stays text, nothing is left out silently, phones can show it."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import jinja2
import numpy as np
import pytest
from html_page import HOSTILE, SHOWN, Page
from PIL import Image
from test_report import samples, write

import compseg_jax
from compseg_jax.drawing import document
from compseg_jax.ingest.how_read import compare
from compseg_jax.ingest.records import SampleRecord
from compseg_jax.ingest.summary_page import SummaryContent, summary_page
from compseg_jax.viewer import texts
from tools.browser import find_chromium, open_page

PACKAGE = Path(compseg_jax.__file__).parent
AXIS = np.linspace(1800.0, 950.0, 9)


def summary() -> str:
    """Of five samples, one dropped, one on an array and read as no other; every name is hostile."""
    reason = np.tile([-1, 0, 1], (4, 2))
    spectrum = (AXIS, np.ones(9))
    records = [
        SampleRecord(
            HOSTILE, 1, HOSTILE, split="train", tissue=8, dropped={HOSTILE: 8}, reason=reason,
            reasons=("background", HOSTILE), raw=spectrum, prepared=spectrum, marked=3,
            reading={"format": HOSTILE, "pixels": "4 × 6"},
        ),
        SampleRecord("b", 0, "b.npy", kept=False, why=HOSTILE),
        *(SampleRecord(name, 0, name, reading={"format": "PNG", "pixels": "4 × 6"}) for name in "cde"),
    ]  # fmt: skip
    picture = io.BytesIO()
    Image.new("L", (900, 300)).save(picture, "PNG")
    readings = compare({record.id: record.reading for record in records if record.reading})
    steps, arrays = [(HOSTILE, "x" * 200)], [(HOSTILE, picture.getvalue())]
    content = SummaryContent(HOSTILE, steps, arrays, [HOSTILE], readings)
    return summary_page(records, content)


def test_the_summary_of_an_ingest_escapes_all_text():
    text = summary()
    page = Page(text)
    assert HOSTILE not in text
    assert len(page.all("script")) == 1
    # Title twice, note, exception with its sample, array, key, tile, heading of the column, row, source.
    assert page.words.count(SHOWN) == 11
    assert any(word.strip() == f"dropped: {SHOWN}" for word in page.words)
    assert {image["alt"] for image in page.all("img")} >= {
        f"Quality map of {SHOWN}",
        f"Array {SHOWN} with its cores",
    }


def test_names_cannot_turn_the_text_around_them(tmp_path):
    """Each stands in an element that keeps its direction to itself."""
    path, _ = write(tmp_path / "report", samples(count=4))
    for text in (path.read_text(), summary()):
        assert text.count("<bdi") > 1
    assert '<b dir="auto">' in texts.waiting_text(HOSTILE)


def test_texts_of_the_viewer_are_escaped():
    for text in (
        texts.waiting_text(HOSTILE),
        texts.failure_text(HOSTILE, HOSTILE),
        texts.story_text(HOSTILE, 0.5),
    ):
        assert HOSTILE not in text
        assert not Page(text).all("script")
        assert any(SHOWN in word for word in Page(text).words)


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        document.page("summary", records=[])


def test_a_wheel_holds_every_file_of_the_package():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]
    held = {
        path
        for package, names in patterns.items()
        for name in names
        for path in PACKAGE.parent.joinpath(*package.split(".")).glob(name)
    }
    others = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {"style.css", "report.html.j2"} <= {path.name for path in others}
    assert others <= held


@pytest.mark.slow
@pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium on the path and no $CHROMIUM: no page was looked at"
)
def test_no_page_scrolls_sideways_on_a_phone(tmp_path):
    report, _ = write(tmp_path / "report", samples(groups=True))
    (tmp_path / "summary.html").write_text(summary())
    with open_page(str(find_chromium()), width=390) as page:
        for path in (report, tmp_path / "summary.html"):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == 390
