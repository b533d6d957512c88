"""How `compseg ingest` reads a table, and the error of everything that cannot become a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compseg_jax.readers.reading_options import ReadingOptions


class IngestError(ValueError):
    """A table or one of its files cannot become a store; the message names rows, files and what to do."""


@dataclass(frozen=True)
class IngestOptions(ReadingOptions):
    """How a table is read; the fields of `compseg ingest` beside table and store."""

    sheet: str = ""
    """Sheet of an Excel workbook that lists the samples, where several hold something."""
    images: Path | None = None
    """Folder of the images, each named after its id, for tables without a 'path' column."""
    references: Path | None = None
    """Folder of reference masks (non-zero = diseased), each named after its id."""
    tissues: Path | None = None
    """Folder of tissue masks (non-zero = tissue), each named after its id."""
    group: str = "group"
    """Column that says what belongs together, such as a patient; a group is never split. Cells NA, '-' or empty: the
    sample belongs to no other."""
    positive: tuple[str, ...] = ("1",)
    """Label names that mean diseased, separated by commas."""
    negative: tuple[str, ...] = ("0",)
    """Label names that mean healthy, separated by commas."""
    exclude: tuple[str, ...] = ()
    """Label names whose samples are left out, separated by commas."""
    resize: int = 0
    """Height and width in pixels that all images are resized to (0: as they are)."""
    background: Literal["auto", "zero", "none"] = "auto"
    """Tissue where no tissue mask is given. 'zero': pixels whose channels are all 0 are background. 'none':
    every pixel is tissue. 'auto': 'zero' for cubes with wavenumbers, 'none' for ordinary images."""
    val_fraction: float = 0.15
    """Share of the samples for validation, when the table has no 'split' column."""
    test_fraction: float = 0.2
    """Share of the samples for the test, when the table has no 'split' column."""
    seed: int = 0
    """Seed of the splits, when the table has no 'split' column."""
    scans: tuple[Path, ...] = ()
    """Scans of tissue arrays whose cores are the samples. The table then names cores in a column 'core' (the id
    where there is none) and, for several scans, the file's name without suffix in a column 'array'."""
    cores: tuple[Path, ...] = ()
    """CSV of `compseg dearray` for each scan, in their order, edited or not; found anew when not given."""
    margin: float = 0.1
    """Rim around a core that is cut with it, as a share of its diameter."""
    prepare: tuple[str, ...] = ()
    """Preparation steps in order, such as: tissue quality resample mie:reference=matrigel.csv vector.
    `--prepare help` explains all of them."""
    least_tissue: float = 0.02
    """Share of an image that must be tissue after the preparation; samples with less are dropped and listed."""


def split_commas(arguments: list[str]) -> list[str]:
    """--positive T,TI-III,M as tyro takes it: one value after the other."""
    spread: list[str] = []
    names_follow = False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        is_list = option in ("--positive", "--negative", "--exclude")
        if is_list:
            spread += [option, *_names(value)]
        else:
            spread += _names(argument) if names_follow else [argument]
        names_follow = is_list and not equals
    return spread


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
