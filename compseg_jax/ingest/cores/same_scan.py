"""Whether a CSV of cores is of the scan that it was given with: by the scan that it names, and by where tissue lies.

Arrays of one series are cut alike, so that the cores of one lie near those of another: a CSV given with the wrong
scan cuts whole spots, of other patients. What tells them apart is how far each core lies off its place on the grid.
"""

from __future__ import annotations

import math
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.spatial
from jaxtyping import Float

from compseg_jax.ingest.cores.core_tissue import TissueMask, picture_mask
from compseg_jax.ingest.cores.grid import CoreGrid
from compseg_jax.ingest.cores.positions import REACH, cleaned
from compseg_jax.ingest.ingest_options import IngestError

EMPTY_BELOW = 0.1
"""Share of a full core's area below which a place is empty."""
MOST_EMPTY = 0.5
"""Share of the cores to be kept that may be empty."""
DISTINCTLY = 0.5
"""A scan fits distinctly better than another where its departure is below this share of the other's."""
SAME_DEPARTURE = 0.05
"""Departure up to which cores are those of the scan whatever else fits: dearray writes its own to a thousandth."""
REMARKABLE_DEPARTURE = 0.15


@dataclass(frozen=True)
class Fit:
    """How the cores of a CSV lie on a scan.

    Attributes:
      kept: cores to be kept.
      empty: those of them without tissue at their place.
      departure: median over all cores of how far the centre of the tissue lies off the stated one, in core
        diameters, and how much its area differs from the stated one, in areas of a full core; 1 where there is none.
    """

    kept: int
    empty: int
    departure: float


@dataclass(frozen=True, eq=False)
class GivenCores:
    """A CSV of cores with the scan it was given with.

    Attributes:
      csv: the file.
      grid: what it holds.
      scan: the scan's file.
      picture: of the scan, tissue bright, (y, x).
    """

    csv: Path
    grid: CoreGrid
    scan: Path
    picture: Float[np.ndarray, "y x"]


def check_cores(given: Sequence[GivenCores]) -> dict[Path, str]:
    """Compares every CSV with its scan: the scan that it names, the extent, and the tissue.

    Returns:
      for scans of which something is to be said, what: cores that lie beside their tissue, or tissue not found.

    Raises:
      IngestError: where a CSV is of another scan.
    """
    _check_names(given)
    for each in given:
        if tuple(each.grid.shape_px) != each.picture.shape:
            found, required = each.grid.shape_px, each.picture.shape
            raise IngestError(
                f"{each.csv}: its cores lie on a scan of {found[0]}×{found[1]} pixels, {each.scan} has "
                f"{required[0]}×{required[1]}. Give --scans and --cores in the same order."
            )
    notes: dict[Path, str] = {}
    tissue: dict[Path, TissueMask] = {}
    for each in given:
        try:
            tissue[each.scan] = picture_mask(each.picture)
        except ValueError as error:
            notes[each.scan] = f"{each.csv}: not compared with the tissue of {each.scan.name}: {error}"
    for each in given:
        if each.scan in tissue:
            own = fit(each.grid, tissue[each.scan])
            _check_tissue(each, own, [other for other in given if other.scan in tissue], tissue)
            if own.departure > REMARKABLE_DEPARTURE:
                notes[each.scan] = (
                    f"{each.csv}: its cores lie off the tissue of {each.scan.name} (typically by "
                    f"{own.departure:.0%} of a core). Look at the picture of the array with its cores."
                )
    return notes


def fit(grid: CoreGrid, tissue: TissueMask) -> Fit:
    """How the cores of a grid lie on the tissue of a scan of the same extent."""
    factor = tissue.factor
    diameter = grid.core_diameter_px / factor
    centres = np.array([(core.y_px, core.x_px) for core in grid.cores]) / factor - (factor - 1) / (2 * factor)
    pixels = np.argwhere(cleaned(tissue.mask, diameter)).astype(float)
    _, owner = scipy.spatial.KDTree(centres).query(pixels, distance_upper_bound=REACH * diameter / 2)
    within = owner < len(centres)
    owner, pixels = owner[within], pixels[within]
    number = np.bincount(owner, minlength=len(centres))
    means = [np.bincount(owner, pixels[:, k], minlength=len(centres)) / np.maximum(number, 1) for k in (0, 1)]
    areas = number / (math.pi * diameter**2 / 4)
    off = np.linalg.norm(np.stack(means, axis=1) - centres, axis=1) / diameter
    stated = np.array([core.tissue_fraction for core in grid.cores])
    missing = np.array([core.status == "missing" for core in grid.cores])
    kept = np.array([core.keep for core in grid.cores]) & ~missing
    empty = areas < EMPTY_BELOW
    departure = np.where(missing, np.minimum(areas, 1.0), np.where(empty, 1.0, off + np.abs(areas - stated)))
    return Fit(int(kept.sum()), int((kept & empty).sum()), float(np.median(departure)))


def _check_tissue(
    given: GivenCores, own: Fit, others: Sequence[GivenCores], tissue: dict[Path, TissueMask]
) -> None:
    if own.empty > MOST_EMPTY * own.kept:
        raise IngestError(
            f"{given.csv}: {own.empty} of its {own.kept} cores to be kept have no tissue at their place in "
            f"{given.scan}. Give the CSV of this scan, or find its cores anew: compseg dearray "
            f"{shlex.quote(str(given.scan))}"
        )
    if own.departure <= SAME_DEPARTURE:
        return
    for other in others:
        if other.scan == given.scan or other.picture.shape != given.picture.shape:
            continue
        better = fit(given.grid, tissue[other.scan])
        if better.departure < DISTINCTLY * own.departure:
            raise IngestError(
                f"{given.csv}: its cores lie on the tissue of {other.scan} (typically {better.departure:.1%} of a core "
                f"off), not on that of {given.scan} ({own.departure:.1%}). Give --scans and --cores in the same order."
            )


def _check_names(given: Sequence[GivenCores]) -> None:
    by_name = {_name(each.scan.name): each for each in given}
    for each in given:
        found = each.grid.scan
        if not found or _name(found) == _name(each.scan.name):
            continue
        right = [one for scan in by_name for one in given if _name(one.grid.scan) == scan]
        if _name(found) in by_name and len(right) == len(given):
            order = " ".join(shlex.quote(str(one.csv)) for one in right)
            raise IngestError(
                f"{each.csv}: its cores are those of {found}, but it was given with {each.scan}. Give them in the "
                f"order of the scans: --cores {order}"
            )
        raise IngestError(
            f"{each.csv}: its cores are those of the scan {found}, but it was given with {each.scan}. Find "
            f"the cores of that scan: compseg dearray {shlex.quote(str(each.scan))}. If it is the same scan under "
            f"another name, write {each.scan.name} into the column scan."
        )


def _name(scan: str) -> str:
    """A file's name without folder, suffix and case; whole names may be paths of any system."""
    last = scan.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", Path(last).stem).casefold()
