"""`compseg doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.runtime.self_check import describe, refuse_wrong_results, self_check
from compseg_jax.runtime.versions import versions

PAGE = HelpPage(
    "doctor",
    text="Show devices, versions and XLA flags, and compare convolutions and known bad patterns with NumPy.",
    example="compseg doctor",
    groups={},
)


@dataclass(frozen=True)
class DoctorOptions:
    """No options."""


def run(arguments: list[str]) -> None:
    """Shows devices, versions and flags, and checks that they compute right."""
    parse(DoctorOptions, arguments, PAGE)
    print(describe(self_check(), versions()))
    refuse_wrong_results()
