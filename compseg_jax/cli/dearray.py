"""`compseg dearray SCAN`."""

from __future__ import annotations

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.ingest.cores.core_search import DearrayScan, dearray
from compseg_jax.readers.reading_options import READING

PAGE = HelpPage(
    "dearray",
    text="Find the cores of a tissue-array scan; write a CSV to edit and a picture to check it by.",
    example="compseg dearray array1.dmt --rows 8 --columns 12",
    groups={
        "options": ("scan", "out", "replace"),
        "array": ("rows", "columns", "core_diameter_um", "letters", "origin"),
        "reading": READING,
        "core": ("broken_below", "missing_below"),
    },
    positional=("scan", "SCAN"),
)


def run(arguments: list[str]) -> None:
    """Finds the cores of a tissue-array scan."""
    print(dearray(parse(DearrayScan, arguments, PAGE)))
