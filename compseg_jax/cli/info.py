"""`compseg info FILE`."""

from __future__ import annotations

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.readers.info.inspection import InfoOptions, inspect
from compseg_jax.readers.reading_options import READING, in_command_words

PAGE = HelpPage(
    "info",
    text="Say what a file holds: shape, axis, values, a text histogram and a picture.",
    example="compseg info spot.mat --variable cube",
    groups={"options": ("file",), "reading": READING, "picture": ("out", "no_picture")},
    positional=("file", "FILE"),
)


def run(arguments: list[str]) -> None:
    """Says what a file holds, and draws it."""
    print(in_command_words(inspect(parse(InfoOptions, arguments, PAGE))))
