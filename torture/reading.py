"""Fuzz of every reader: small files of each format, cut and changed; the right shape and axis, or one sentence."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compseg_jax.readers.cube import Cube
from tests.damaged_files import WRITTEN, Sample, changes, difference, written
from torture.outcomes import Outcome, Row, digest, in_process

_TRUE = digest(True)

PER_FILE = 20
"""Changes to one file before the next."""


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n cases, over all formats in turn."""
    row = Row(
        "files of every format, read", seed, f"{len(WRITTEN)} kinds of files; changed values cannot be seen"
    )
    wholes: dict[str, tuple[Sample, Cube]] = {}
    for number in range(-(-n // PER_FILE)):
        kind = WRITTEN[number % len(WRITTEN)]
        if kind not in wholes:
            place = Path(tempfile.mkdtemp(dir=folder))
            try:
                sample = written(kind, place)
            except pytest.skip.Exception:  # a library that is not here
                continue
            wholes[kind] = sample, sample.reader(sample.opened)
        sample, whole = wholes[kind]
        choose = random.Random(f"{seed}-{number}")
        path = choose.choice(sample.damaged)
        content = path.read_bytes()
        for what, changed in changes(content, choose, PER_FILE, flips=sample.flips):
            path.unlink()  # a new file, for the old one may still be mapped
            path.write_bytes(changed)
            row.count(number, f"{kind}: {path.name} {what}", _read(sample, whole))
        path.unlink()
        path.write_bytes(content)
    yield row


def _read(sample: Sample, whole: Cube) -> Outcome:
    found: list[str] = []

    def read() -> object:
        found.append(difference(sample, whole, sample.reader(sample.opened)))
        return True

    outcome = in_process(read, _TRUE)
    return Outcome("other result", found[0]) if found and found[0] else outcome
