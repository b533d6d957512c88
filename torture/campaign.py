"""The parts of the campaign, each run in a process of its own, and the table that is written."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from importlib import import_module
from pathlib import Path

from torture.outcomes import Outcome, Row, table

CASES = {
    "stored": 6000,
    "reading": 20000,
    "texts": 300,
    "viewing": 1000,
    "kills": 40,
    "room": 40,
    "twice": 10,
}
"""Each part, which is the module of its name, and how many cases it tries when not told."""


def in_a_process(name: str, n: int, seed: int) -> list[Row]:
    """The same in a process of its own, whose death is a row, too."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(run, name, n, seed).result()
        except BrokenProcessPool:
            row = Row(f"{name}: the process that tried", seed)
            row.count(
                0, name, Outcome("crash", "it was ended by a signal; its last case is the last line printed")
            )
            return [row]


def run(name: str, n: int, seed: int) -> list[Row]:
    """About n cases of a part, in this process."""
    module = import_module(f"torture.{name}")
    rows: Callable[[Path, int, int], Iterator[Row]] = module.rows
    found = []
    with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
        began = time.monotonic()
        for row in rows(Path(folder), n, seed):
            row.seconds = round(time.monotonic() - began, 1)
            began = time.monotonic()
            print(json.dumps(row.to_json()), flush=True)
            found.append(row)
    return found


def write(folder: Path, rows: list[Row], command: str) -> Path:
    """The table in Markdown, and the same for programs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    path = folder / f"torture-{today}.md"
    records = {"date": today, "command": command, "rows": [row.to_json() for row in rows]}
    text = json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    path.write_text(f"# Under fire\n\n{today}, `{command}`.\n\n{table(rows)}\n", encoding="utf-8")
    return path
