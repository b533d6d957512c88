"""How `compseg ingest` reads a table, and the error of everything that cannot become a store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from compseg_jax.config.ranges import Range, Seed, Share, check_ranges
from compseg_jax.readers import MaskRule
from compseg_jax.readers.reading_options import ReadingOptions

MaskKind = Literal["reference", "tissue"]
_LISTS = ("--positive", "--negative", "--exclude", "--mask-values", "--reference-names", "--tissue-names")


MOST_RESIZED_PX = 8192


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
    """Folder of reference masks (inside = diseased), each named after its id; healthy samples need none."""
    tissues: Path | None = None
    """Folder of tissue masks (inside = tissue), each named after its id."""
    mask_values: tuple[str, ...] = ()
    """Values (255) or colours ('#ff0000') that lie inside masks, separated by commas; without it a mask has two
    values, one of them 0, and the other is inside."""
    mask_threshold: float | None = None
    """Values of masks above it lie inside, such as 127 for masks saved as JPEG."""
    reference_names: tuple[str, ...] = ()
    """Classes of annotations (GeoJSON) that are the reference, or the array of a file that holds several, separated
    by commas."""
    tissue_names: tuple[str, ...] = ()
    """The same for tissue masks."""
    group: str = "group"
    """Column that says what belongs together, such as a patient; a group is never split. Cells NA, '-' or empty: the
    sample belongs to no other."""
    group_pattern: str = ""
    r"""Regular expression that finds what belongs together in the names of the samples (of a folder: in paths below
    it), where no column says it: '(patient\d+)' finds patient7 in patient7_a."""
    positive: tuple[str, ...] = ("1",)
    """Label names, or folders, that mean diseased, separated by commas."""
    negative: tuple[str, ...] = ("0",)
    """Label names, or folders, that mean healthy, separated by commas; of two folders the other one."""
    exclude: tuple[str, ...] = ()
    """Label names whose samples are left out, separated by commas."""
    resize: int = 0
    """Height and width in pixels that all images are resized to, up to 8192 (0: as they are)."""
    background: Literal["auto", "zero", "none"] = "auto"
    """Tissue where no tissue mask is given. 'zero': pixels whose channels are all 0 are background. 'none':
    every pixel is tissue. 'auto': 'none' for ordinary images, 'zero' for cubes with wavenumbers or above 4 channels."""
    val_fraction: float = 0.15
    """Share of the samples for validation, when the table has no 'split' column."""
    test_fraction: float = 0.2
    """Share of the samples for the test, when the table has no 'split' column."""
    seed: Seed = 0
    """Seed of the splits, when the table has no 'split' column."""
    scans: tuple[Path, ...] = ()
    """Scans of tissue arrays whose cores are the samples. The table then names cores in a column 'core' (the id
    where there is none) and, for several scans, the file's name without suffix in a column 'array'."""
    cores: tuple[Path, ...] = ()
    """CSV of `compseg dearray` for each scan, in their order, edited or not; found anew when not given."""
    margin: Annotated[float, Range(0, 1)] = 0.1
    """Rim around a core that is cut with it, as a share of its diameter."""
    prepare: tuple[str, ...] = ()
    """Preparation steps in order, such as: tissue quality resample mie:reference=matrigel.csv vector.
    `--prepare help` explains all of them."""
    least_tissue: Share = 0.02
    """Share of an image that must be tissue after the preparation; samples with less are dropped and listed."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def mask_rule(self, kind: MaskKind) -> MaskRule:
        """What counts in masks of a kind."""
        names = self.reference_names if kind == "reference" else self.tissue_names
        return MaskRule(self.mask_values, self.mask_threshold, names, is_of_disease=kind == "reference")

    def check_resize(self) -> None:
        """Raises IngestError for a size that no image is to have."""
        if not 0 <= self.resize <= MOST_RESIZED_PX:
            raise IngestError(
                f"--resize {self.resize}: 1 to {MOST_RESIZED_PX} pixels are possible, or 0 to keep sizes. Give one of "
                "these; larger images are predicted as they are."
            )

    @staticmethod
    def in_mask_words(message: str, kind: MaskKind) -> str:
        """A message of ``readers.read_mask`` with the options of this command in place of the fields of its rule.

        >>> IngestOptions.in_mask_words("Say so with mask_values=255.", "tissue")
        'Say so with --mask-values 255.'
        """
        options = {
            "mask_values": "--mask-values",
            "mask_threshold": "--mask-threshold",
            "mask_names": f"--{kind}-names",
        }
        words = re.sub(r"\b(mask_\w+)=(?=[^\s,;.])", lambda match: f"{options[match[1]]} ", message)
        return re.sub(r"\b(mask_\w+)=", lambda match: options[match[1]], words)


def split_commas(arguments: list[str]) -> list[str]:
    """--positive T,TI-III,M as tyro takes it: one value after the other."""
    spread: list[str] = []
    names_follow = False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        is_list = option in _LISTS
        if is_list:
            spread += [option, *_names(value)]
        else:
            spread += _names(argument) if names_follow else [argument]
        names_follow = is_list and not equals
    return spread


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
