"""`compseg ingest TABLE.csv`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from compseg_jax.cli.check import check
from compseg_jax.cli.next_steps import after_store, print_next
from compseg_jax.cli.parsing import HelpPage, asks_for_steps, parse, progress_bar
from compseg_jax.config.locations import Location
from compseg_jax.ingest.ingest_options import IngestOptions, split_commas
from compseg_jax.ingest.to_store import ingest, kept_folder
from compseg_jax.readers.reading_options import READING

PAGE = HelpPage(
    "ingest",
    text="Make a store from a table of labels and the images, arrays or scans it names, or from a folder that holds "
    "one of images for each label (diseased/, healthy/; masks in masks/ beside images/).",
    example="compseg ingest spots.csv --out store --positive T,M --negative N",
    groups={
        "options": ("table", "sheet", "out", "images", "references", "tissues"),
        "label and split": (
            "positive", "negative", "exclude", "group", "group_pattern", "val_fraction", "test_fraction", "seed",
        ),
        "mask": ("mask_values", "mask_threshold", "reference_names", "tissue_names"),
        "array": ("scans", "cores", "margin"),
        "reading": READING,
        "image": ("resize", "background", "prepare", "least_tissue"),
    },
    positional=("table", "TABLE|FOLDER"),
)  # fmt: skip


@dataclass(frozen=True)
class IngestCommand(IngestOptions):
    """How a table is read, which one, and where to."""

    table: Path = field(kw_only=True)
    """Table, as text (commas, semicolons or tabs) or .xlsx, with the columns id, label, path (relative to the table;
    not needed with --images or --scans) and, where known, split, group, reference and tissue (paths of masks). Or a
    folder with one of images for each label."""
    out: Location = Path("data")
    """Store to write, a directory or a URL (s3://, gs://); it must not exist."""


def run(arguments: list[str]) -> None:
    """Makes a store and says what is remarkable with it."""
    if asks_for_steps(arguments):
        return
    options = parse(IngestCommand, split_commas(arguments), PAGE)
    try:
        with progress_bar("samples") as progress:
            ingest(options.table, options.out, options, progress=progress, say=print)
    except BaseException:
        kept = kept_folder(options.out)
        if kept.is_dir():
            print(f"\ncorrected spectra are kept in {kept}; the same command goes on there.", file=sys.stderr)
        raise
    print(f"summary: {options.out / 'summary.html'}")
    check(options.out)
    print_next(after_store(options.out))
