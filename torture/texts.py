"""Hostile ids and texts through ingest and report to their pages, whose tags are those of plain texts."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from compseg_jax.cli.main import main
from tests.runs_example import write_a_report
from torture.outcomes import Row, digest, in_process

PARTS = (
    "<script>alert(1)<", "<img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "' autofocus onfocus='", "<!--",
    "]]>", "&amp;", "&#60;b&#62;", "{{ 7 * 7 }}", "{% raw %}", "${x}", "`", "=SUM(A1)", "+1", "@x", "\u202e", "\u2066",
    "<svg onload=alert(1)>", "<style>*{}", "javascript:alert(1)", "漢字", "é", "%00", "%3Cb%3E", " ", "a",
)  # fmt: skip
UNSEEN = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


Tried = Callable[[Path, list[str], int], str]
"""Takes a folder of its own, four texts and a seed; returns a page."""


class Tags(HTMLParser):
    """Counts the tags of a page, with the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Counts one."""
        self.found[tag, *sorted(name for name, _ in attrs)] += 1

    def handle_comment(self, data: str) -> None:
        """Counts a comment as a tag."""
        self.found["<!--",] += 1


class Refused(OSError):
    """What a command said in its sentence."""


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n cases, half of them through each command."""
    for name, tried in (("ingest, its summary", ingested), ("report", reported)):
        plain = _tags(tried(folder / f"plain {name}", ["plain"] * 4, seed))
        row = Row(f"hostile texts: {name}", seed, "the page parsed; tags as those of plain texts")
        for case, choose in row.choices(-(-n // 2)):
            texts = ["".join(choose.choices(PARTS, k=choose.randint(1, 4))) for _ in range(4)]
            place = folder / f"{case} {name}"
            row.count(case, repr(texts), in_process(partial(_page, tried, place, texts, seed), digest(plain)))
        yield row


def _page(tried: Tried, place: Path, texts: list[str], seed: int) -> object:
    return _tags(tried(place, texts, seed))


def _tags(page: str) -> object:
    unseen = UNSEEN.findall(page)
    return sorted(Tags(page).found.items()), unseen


def ingested(folder: Path, texts: list[str], seed: int) -> str:
    """Ids of the first text, groups, sources and columns of the others; the page of the store."""
    folder.mkdir()
    rng = random.Random(seed)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "path", "split", "group"])
        for number, split in enumerate(("train", "train", "val", "val", "test", "test")):
            values = np.random.default_rng(rng.randrange(99)).uniform(0.1, 1, (6, 7, 3)).astype(np.float32)
            name = f"{number}{texts[1].replace('/', '_')}".replace("\0", "")
            np.save(folder / f"{name}.npy", values)
            table.writerow(
                [f"{texts[0]} {number}".strip(), number % 2, f"{name}.npy", split, f"{texts[2]}{number}"]
            )
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["ingest", str(folder / "table.csv"), "--out", str(folder / "store")])
    if code:
        raise Refused(said.getvalue()) if "error: " in said.getvalue() else KeyError(said.getvalue())
    return (folder / "store" / "summary.html").read_text(encoding="utf-8")


def reported(folder: Path, texts: list[str], seed: int) -> str:
    """A store, a model and ids of the texts; the page of the report."""
    out = write_a_report(folder, Path(texts[1]), Path(texts[2]), ids=texts[0])
    return (out / "report.html").read_text(encoding="utf-8")
