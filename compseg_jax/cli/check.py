"""`compseg check STORE`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.cli.next_steps import after_store, print_next
from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.cli.quiet import tell
from compseg_jax.config.locations import Location
from compseg_jax.store.check import check_values, describe, refuse_problems
from compseg_jax.store.read import Store

PAGE = HelpPage(
    "check",
    text="Say what is wrong or remarkable with a store: counts, leakage, value ranges.",
    example="compseg check data",
    groups={"options": ("data",)},
    positional=("data", "[STORE]"),
)


@dataclass(frozen=True)
class CheckOptions:
    """What to check."""

    data: Location = Path("data")
    """Store, directory or URL."""


def run(arguments: list[str]) -> None:
    """Says what is wrong or remarkable with a store."""
    path = parse(CheckOptions, arguments, PAGE).data
    check(path)
    print_next(after_store(path))


def check(path: Location) -> None:
    """Prints what was found in a store.

    Raises:
      StoreError: when there is no store, or something is wrong with it.
    """
    store = Store.open(path)
    findings, ranges = check_values(store)
    counts = {split: {"diseased": 0, "healthy": 0} for split, _ in findings.counts}
    for (split, label), number in findings.counts.items():
        counts[split]["diseased" if label else "healthy"] = number
    tell(store=path, counts=counts, problems=findings.problems, notes=findings.notes)
    print(describe(store, findings, ranges))
    refuse_problems(store, findings)
