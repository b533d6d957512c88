"""Pages with hostile ids and texts in a real browser: no script runs, nothing is fetched, no tag is another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torture.outcomes import Row, digest, in_process
from torture.texts import PARTS, Tried, ingested, reported

NO_BROWSER = "skipped: no Chromium is on the path and $CHROMIUM names none"
NO_PLAYWRIGHT = "skipped: playwright is not installed"
NOTES = "window.called = []; for (const name of ['alert', 'print', 'open']) window[name] = () => called.push(name);"
"""Before anything of a page runs: what it calls of a script that got in."""
TAGS = """() => [...document.querySelectorAll('*')]
  .map(each => [each.localName, ...each.getAttributeNames().sort()].join(' ')).sort()"""


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n pages, half of them of each command; a row that says why where there is no browser."""
    pages, why = opened_browser()
    with pages as browser:
        for name, tried in (("ingest, its summary", ingested), ("report", reported)):
            row = Row(
                f"hostile texts in a browser: {name}",
                seed,
                why or "tags as those of plain texts, no call, no request",
            )
            if browser is not None:
                plain = digest(_looked_at(browser, tried, folder / f"plain {name}", ["plain"] * 4, seed))
                for case, choose in row.choices(-(-n // 2)):
                    texts = ["".join(choose.choices(PARTS, k=choose.randint(1, 4))) for _ in range(4)]
                    place = folder / f"{case} {name}"
                    look = partial(_looked_at, browser, tried, place, texts, seed)
                    row.count(case, repr(texts), in_process(look, plain))
            yield row


def opened_browser() -> tuple[AbstractContextManager[Any], str]:
    """A browser that ends with the block, or None and why there is none."""
    if find_spec("playwright") is None:
        return nullcontext(), NO_PLAYWRIGHT
    from tools.browser import find_chromium, open_browser

    executable = find_chromium()
    return (nullcontext(), NO_BROWSER) if executable is None else (open_browser(executable), "")


def _looked_at(browser: Any, tried: Tried, place: Path, texts: list[str], seed: int) -> object:
    """Tags of a page as a browser has them, and what it called and fetched."""
    text = tried(place, texts, seed)
    shown = place / "shown.html"
    shown.write_text(text, encoding="utf-8")
    page = browser.new_page()
    fetched: list[str] = []
    try:
        page.add_init_script(NOTES)
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(shown.absolute().as_uri())
        foreign = [
            url for url in fetched if not url.startswith(("data:", "blob:", place.absolute().as_uri()))
        ]
        return page.evaluate(TAGS), page.evaluate("() => called"), foreign
    finally:
        page.close()
