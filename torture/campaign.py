"""The parts of the campaign, each run in a process of its own, and the table, which grows row by row."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
    "browsing": 100,
    "viewing": 1000,
    "bombs": 44,
    "kills": 200,
    "room": 60,
    "twice": 12,
    "scale": 100,
}
"""Each part, which is the module of its name, and how many cases it tries when not told."""

Done = Callable[[Row], None]


def in_a_process(
    name: str, n: int, seed: int, done: Done | None = None, only: Sequence[str] = ()
) -> list[Row]:
    """The same in a process of its own, whose death is a row, too."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(run, name, n, seed, done, only).result()
        except BrokenProcessPool:
            row = Row(f"{name}: the process that tried", seed)
            row.count(
                0, name, Outcome("crash", "it was ended by a signal; its last case is the last line printed")
            )
            if done is not None:
                done(row)
            return [row]


def run(name: str, n: int, seed: int, done: Done | None = None, only: Sequence[str] = ()) -> list[Row]:
    """About n cases of a part, in this process.

    Args:
      name: of the part.
      n: about so many cases, of all commands.
      seed: of all that is drawn.
      done: takes each row as it is finished.
      only: titles of the commands that are tried, in a part that tries commands; all when empty.
    """
    module = import_module(f"torture.{name}")
    rows: Callable[..., Iterator[Row]] = module.rows
    how = {"only": only} if only else {}
    found = []
    with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
        began = time.monotonic()
        for row in rows(Path(folder), n, seed, **how):
            row.seconds = round(time.monotonic() - began, 1)
            began = time.monotonic()
            print(json.dumps(row.to_json()), flush=True)
            if done is not None:
                done(row)
            found.append(row)
    return found


def write(folder: Path, rows: list[Row], command: str) -> Path:
    """Puts rows into the table of today, in Markdown, and the same for programs beside it.

    A row takes the place of one of the same name, so that parts can be run one after the other, or at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    path = folder / f"torture-{today}.md"
    kept = path.with_suffix(".json")
    with (folder / ".torture.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.is_file() else []
        values = {each["name"]: each for each in before}
        values |= {row.name: row.to_json() | {"command": command} for row in rows}
        text = json.dumps({"date": today, "rows": list(values.values())}, indent=1, ensure_ascii=False) + "\n"
        kept.write_text(text, encoding="utf-8")
        every = [Row.from_json(each) for each in values.values()]
        commands = ", ".join(
            f"`{each}`" for each in dict.fromkeys(each["command"] for each in values.values())
        )
        path.write_text(f"# Under fire\n\n{today}, {commands}.\n\n{table(every)}\n", encoding="utf-8")
    return path


def put(folder: Path, command: str, row: Row) -> None:
    """Puts one row into the table of today."""
    write(folder, [row], command)
