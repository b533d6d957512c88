"""What became of each case: refused with one sentence, equal, or bad; and the table of all."""

from __future__ import annotations

import hashlib
import random
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import compseg_jax

PACKAGE = str(Path(compseg_jax.__file__).parent)
HANG_S = 30
"""Seconds after which a case counts as hanging."""
EXAMPLES = 3
"""Bad cases of a row that are named."""


class Hanging(BaseException):
    """No `Exception`, which a library might swallow."""


@dataclass(frozen=True)
class Outcome:
    """Of one case.

    Attributes:
      kind: 'refused', 'equal', or what is bad: 'other result', 'crash', 'hang'.
      said: the sentence, or what is wrong.
    """

    kind: str
    said: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it is neither refused with one sentence nor equal."""
        return self.kind not in ("refused", "equal")


@dataclass
class Row:
    """A line of the table.

    Attributes:
      name: what was done to what.
      seed: of its case 0; case n has a generator of its own, of (seed, n).
      remark: how it was done, where that is not plain.
    """

    name: str
    seed: int
    remark: str = ""
    tried: int = 0
    refused: int = 0
    equal: int = 0
    bad: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def choices(self, n: int) -> Iterator[tuple[int, random.Random]]:
        """The numbers of n cases, each with its own generator."""
        for number in range(n):
            yield number, random.Random(f"{self.seed}-{number}")

    def count(self, case: int, what: str, outcome: Outcome) -> None:
        """Counts a case; the first bad ones are named."""
        self.tried += 1
        if outcome.is_bad:
            self.bad += 1
            if len(self.examples) < EXAMPLES:
                said = " ".join(outcome.said.split())
                self.examples.append(f"seed {self.seed} case {case}, {what}: {outcome.kind}: {said[:300]}")
        elif outcome.kind == "refused":
            self.refused += 1
        else:
            self.equal += 1

    def to_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """A row of the results; what else they say of it is left to others."""
        return cls(**{each.name: values[each.name] for each in fields(cls)})


def in_process(read: Callable[[], object], expected: str) -> Outcome:
    """What becomes of a call whose result, were nothing wrong, has the digest ``expected``."""
    try:
        with ended_after(HANG_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = digest(read())
    except Hanging:
        return Outcome("hang", f"no answer after {HANG_S} s")
    except Exception as error:  # which ones are sentences is what is asked
        return _refusal(error)
    return Outcome("equal") if found == expected else Outcome("other result", "read as something else")


def _refusal(error: Exception) -> Outcome:
    """A sentence of ours, or what leaks out of a library."""
    where = traceback.extract_tb(error.__traceback__)
    is_ours = type(error).__module__.startswith("compseg_jax") or (
        isinstance(error, ValueError | OSError | RuntimeError)
        and bool(where)
        and where[-1].filename.startswith(PACKAGE)
    )
    said = str(error)
    if (is_ours or isinstance(error, OSError)) and said and "Traceback" not in said:
        return Outcome("refused", said)
    last = f" ({Path(where[-1].filename).name}:{where[-1].lineno})" if where else ""
    return Outcome("crash", f"{type(error).__module__}.{type(error).__name__}: {said}{last}")


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raises Hanging in the midst of what takes longer."""

    def end(number: int, frame: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def digest(value: object) -> str:
    """SHA-256 of nested tuples, lists, mappings, arrays and what has a faithful `repr`."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: object) -> None:
    if isinstance(value, dict):
        value = [(str(key), value[key]) for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        found.update(f"[{len(value)}".encode())
        for each in value:
            _feed(found, each)
    elif isinstance(value, bytes):
        found.update(value)
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        array = np.asarray(value)
        found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    else:
        found.update(repr(value).encode(errors="surrogateescape"))


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, and the bad cases below."""
    lines = [
        "| what was done | tried | refused | equal | bad | refused or equal | seed |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        share = f"{100 * (row.tried - row.bad) / row.tried:.4g} %" if row.tried else "–"
        remark = f" ({row.remark})" if row.remark else ""
        counts = " | ".join(f"{number:,}" for number in (row.tried, row.refused, row.equal, row.bad))
        lines.append(f"| {row.name}{remark} | {counts} | {share} | {row.seed} |")
    named = [f"- {row.name}: `{_plain(example)}`" for row in rows for example in row.examples]
    return "\n".join([*lines, *(["", "First bad cases of each row:", "", *named] if named else [])])


def _plain(text: str) -> str:
    return text.replace("`", "'").replace("|", "/")
