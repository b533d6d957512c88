"""`compseg copy SOURCE --out TARGET`."""

from __future__ import annotations

from dataclasses import dataclass

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.config.locations import Location

PAGE = HelpPage(
    "copy",
    text="Copy a store, predictions, or the model of a run, between folders and object stores (s3://, gs://).",
    example="compseg copy runs/mine --out s3://lab/models/mine",
    groups={"options": ("source", "out")},
    positional=("source", "SOURCE"),
)


@dataclass(frozen=True)
class CopyOptions:
    """What to copy, and where to."""

    source: Location
    """Store, predictions, model folder (RUN/model), or RUN, of which the model is copied."""
    out: Location
    """Folder or URL to write; nothing may be there."""


def run(arguments: list[str]) -> None:
    """Copies a store or a model."""
    options = parse(CopyOptions, arguments, PAGE)
    from compseg_jax.model.model_copies import copy

    found = copy(options.source, options.out)
    print(f"copied: {found.place} to {options.out}, {len(found.names) + 1} files")
