"""Many samples at once: ingest of 5,000 rows, predict of 10,000 samples, evaluate of 1,000."""

from __future__ import annotations

import csv
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from compseg_jax.prediction.formats import read_predictions
from compseg_jax.store.read import Sample, Store
from compseg_jax.store.write import StoreWriter
from tests.model_example import write_model
from tests.store_example import CHANNELS, WAVENUMBERS_CM1
from torture.commands import begun, ended
from torture.outcomes import Outcome, Row, digest

INGESTED, PREDICTED, EVALUATED = 5000, 10_000, 1000
FULL = 100
"""Cases of which these are; fewer are as many percent of the samples."""
ENDS_WITHIN_S = {"ingest": 60.0}
"""As asked for, at full size."""
SIZE = (8, 9)
HANGS_AFTER_S = 3600.0


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """One case a command, of n percent of the samples."""
    rng = np.random.default_rng(seed)
    model = str(write_model(folder / "model"))
    share = min(1.0, n / FULL)
    ingested, predicted, evaluated = (
        max(20, round(share * most)) for most in (INGESTED, PREDICTED, EVALUATED)
    )
    files = folder / "files"
    files.mkdir()
    lines = ["id,label,path,split,group"]
    for number in range(max(ingested, predicted)):
        cube = rng.normal(5.0, 2.0, (*SIZE, CHANNELS)).astype(np.float32)
        np.savez(files / f"s{number}.npz", absorbance=cube, wavenumbers_cm1=WAVENUMBERS_CM1)
        if number < ingested:
            split = ("train", "train", "val", "test")[number // 2 % 4]
            lines.append(f"s{number},{number % 2},s{number}.npz,{split},p{number}")
        if number >= predicted:
            (files / f"s{number}.npz").rename(folder / f"s{number}.npz")
    (files / "table.csv").write_text("\n".join(lines) + "\n")
    out = folder / "store"
    words = ["ingest", str(files / "table.csv"), "--out", str(out)]
    yield _row(
        seed, share, f"ingest of {ingested:,} rows", words, lambda: len(Store.open(out).samples) == ingested
    )
    predictions = folder / "predicted"
    words = ["predict", str(files), "--model", model, "--out", str(predictions)]
    yield _row(
        seed, share, f"predict of {predicted:,} samples", words, lambda: _done(predictions) == predicted
    )
    report = folder / "report"
    data = _store(folder / "evaluated", evaluated, rng)
    words = ["evaluate", "--model", model, "--data", str(data), "--out", str(report), "--importance", "no"]
    yield _row(seed, share, f"evaluate of {evaluated:,} samples", words, lambda: _scored(report) == evaluated)


def _row(seed: int, share: float, what: str, words: list[str], is_whole: Callable[[], bool]) -> Row:
    began, before_s = time.monotonic(), _processor_s()
    ran = ended(begun(words), HANGS_AFTER_S)
    seconds, busy_s = time.monotonic() - began, _processor_s() - before_s
    outcome = ran.outcome(is_whole, digest(True))
    most_s = ENDS_WITHIN_S.get(words[0])
    if not outcome.is_bad and share == 1 and most_s is not None and min(seconds, busy_s) > most_s:
        outcome = Outcome(
            "too slow", f"{seconds:.0f} s, {busy_s:.0f} s of a processor; asked for are {most_s:g} s"
        )
    if outcome.kind == "refused":
        outcome = Outcome("crash", outcome.said)
    row = Row(what, seed, f"{seconds:.0f} s, {busy_s:.0f} s of a processor")
    row.count(0, " ".join(words), outcome)
    return row


def _processor_s() -> float:
    """Of processes that were started here and have ended. On a machine that others use it says more than a clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _store(path: Path, n: int, rng: np.random.Generator) -> Path:
    common = {"pixel_size_um": 5.5, "background": "none", "created_by": "torture"}
    with StoreWriter(path, channels=CHANNELS, wavenumbers_cm1=WAVENUMBERS_CM1, **common) as writer:  # type: ignore[arg-type]
        for number in range(n):
            cube = rng.normal(5.0, 2.0, (*SIZE, CHANNELS)).astype(np.float32)
            truth = rng.uniform(size=SIZE) < 0.5
            label = number % 2
            sample = Sample(f"s{number}", label, "test", f"p{number}", *SIZE, bool(label))
            writer.add(sample, cube, np.ones(SIZE, bool), truth if label else None)
    return path


def _done(predictions: Path) -> int:
    return sum(sample.status == "done" for sample in read_predictions(predictions).samples)


def _scored(report: Path) -> int:
    with (report / "samples.csv").open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.DictReader(file))
