"""Colon glands under H&E, with pixel masks: malignant (adenocarcinoma) against benign (normal mucosa and polyps).

    COMPSEG_GLANDS=FOLDER python -m benchmarks.glands --out STORE --part tuning|reporting [--resize N]

The images are those of EBHI-Seg: L. Shi et al., 'EBHI-Seg: A novel enteroscope biopsy histopathological hematoxylin
and eosin image dataset for image segmentation tasks', Frontiers in Medicine 10 (2023) 1114673,
doi:10.3389/fmed.2023.1114673; licence CC BY 4.0; https://figshare.com/articles/dataset/EBHI-SEG/21540159 (copies on
GitHub, such as emhaihsan/EBHI-Segmentation). They are not part of this package. COMPSEG_GLANDS names the folder that
holds 'Adenocarcinoma', 'Normal' and 'Polyp', each with 'image' and 'label': 224×224 pixels at an objective of 400.

The masks outline glands; those of benign images are emptied, for nothing in them is diseased. What is chosen: at most
three images of a patient and class, malignant ones whose glands cover at most 70 % of the image (elsewhere 'everything
is diseased' is nearly right). Patients, read from the file names, are dealt into a part to tune on and one to report
on, and within each into training, validation and test; none is in two of them.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from compseg_jax.ingest.ingest_options import IngestOptions
from compseg_jax.ingest.to_store import ingest

Part = Literal["tuning", "reporting"]

ENVIRONMENT = "COMPSEG_GLANDS"
LABELS = {"Adenocarcinoma": 1, "Normal": 0, "Polyp": 0}
MOST_OF_A_PATIENT = 3
MOST_GLAND = 0.7
# Of each label: training, validation, test.
SIZES = {"train": 45, "val": 15, "test": 25}
_PATIENT = re.compile(r"(?:GT)+(?:XC|DC)?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class GlandImage:
    """An image of the set."""

    path: Path
    label: int
    patient: str

    @property
    def id(self) -> str:
        """Class and file name: the same number occurs in several classes."""
        return f"{self.path.parent.parent.name}-{self.path.stem}"

    @property
    def mask(self) -> np.ndarray:
        """Inside the glands (y, x)."""
        with Image.open(self.path.parent.parent / "label" / self.path.name) as opened:
            return np.asarray(opened.convert("L")) > 127


def folder_of_glands() -> Path | None:
    """Where the images lie, or None where the environment does not say."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else None


def choose(folder: Path, part: Part, seed: int = 0) -> dict[str, list[GlandImage]]:
    """The images of a part by split.

    Raises:
      FileNotFoundError: when the folder lacks a class.
      ValueError: when the folder holds too few images.
    """
    by_patient: dict[str, list[GlandImage]] = defaultdict(list)
    for name, label in LABELS.items():
        paths = sorted((folder / name / "image").glob("*.png"))
        if not paths:
            raise FileNotFoundError(
                f"{folder / name / 'image'}: no PNG here. {ENVIRONMENT} must name the folder of EBHI-Seg's classes."
            )
        of_patient: dict[str, list[GlandImage]] = defaultdict(list)
        for path in paths:
            found = _PATIENT.match(path.stem)
            if found is None:
                raise ValueError(
                    f"{path}: the name does not start with a patient's number, as GT2012149-… does."
                )
            of_patient[found[1]].append(GlandImage(path, label, found[1]))
        for patient, images in of_patient.items():
            fitting = (image for image in images if not label or image.mask.mean() <= MOST_GLAND)
            by_patient[patient] += [
                image for image, _ in zip(fitting, range(MOST_OF_A_PATIENT), strict=False)
            ]
    patients = np.random.default_rng(seed).permutation(sorted(by_patient))
    half = patients[::2] if part == "tuning" else patients[1::2]
    return _dealt([by_patient[patient] for patient in half])


def _dealt(patients: list[list[GlandImage]]) -> dict[str, list[GlandImage]]:
    """Whole patients into splits, each into the first split that still lacks images of its labels."""
    splits: dict[str, list[GlandImage]] = {name: [] for name in SIZES}

    def missing(split: str, label: int) -> int:
        return SIZES[split] - sum(image.label == label for image in splits[split])

    for images in patients:
        for split in SIZES:
            if any(missing(split, image.label) > 0 for image in images):
                for image in images:
                    if missing(split, image.label) > 0:
                        splits[split].append(image)
                break
    short = {
        f"{split}, label {label}": missing(split, label)
        for split in SIZES
        for label in (0, 1)
        if missing(split, label)
    }
    if short:
        raise ValueError(f"too few images of different patients; lacking: {short}.")
    return splits


def write_glands(out: Path, folder: Path, part: Part, *, resize: int = 0) -> None:
    """Makes a store of a part of the images, as `compseg ingest` does from a table with masks."""
    with tempfile.TemporaryDirectory() as scratch:
        masks = Path(scratch) / "masks"
        masks.mkdir()
        rows = []
        for split, images in choose(folder, part).items():
            for image in images:
                mask = image.mask if image.label else np.zeros_like(image.mask)
                Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(masks / f"{image.id}.png")
                rows.append((image.id, image.label, split, image.patient, image.path.absolute()))
        table = Path(scratch) / "glands.csv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "label", "split", "patient", "path"))
            writer.writerows(rows)
        ingest(table, out, IngestOptions(references=masks, group="patient", resize=resize))


def main() -> None:
    """Writes the store, or says why not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("tuning", "reporting"), default="tuning")
    parser.add_argument("--resize", type=int, default=0)
    options = parser.parse_args()
    folder = folder_of_glands()
    if folder is None:
        print(f"glands: left out, {ENVIRONMENT} does not say where the images are")
        return
    write_glands(options.out, folder, options.part, resize=options.resize)


if __name__ == "__main__":
    main()
