"""Cores out of a scan of a tissue array: a picture of the tissue, the cores in it, and their names.

The way through: `tissue_picture` → `find_cores` → a CSV that a person may edit (`core_table`) → one cube
per core (`core_window`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from compseg_jax.drawing.pictures import colours_shown
from compseg_jax.ingest.cores.core_tissue import blobs, core_diameter, picture_mask
from compseg_jax.ingest.cores.cores_csv import read_cores_csv, write_cores_csv
from compseg_jax.ingest.cores.grid import Core, CoreGrid, DearrayOptions, Status, core_name
from compseg_jax.ingest.cores.lattice import fit_lattice
from compseg_jax.ingest.cores.positions import Points, Positions, cleaned, measure_positions
from compseg_jax.ingest.cores.window import core_window, cut_core, own_tissue
from compseg_jax.readers.amide_i import AMIDE_I_TOP_CM1
from compseg_jax.readers.info.overview import band_image
from compseg_jax.readers.scan import ROWS_AT_ONCE, Scan, band_mean

__all__ = [
    "Core",
    "CoreGrid",
    "DearrayOptions",
    "core_window",
    "cut_core",
    "find_cores",
    "own_tissue",
    "read_cores_csv",
    "shown_picture",
    "tissue_picture",
    "write_cores_csv",
]

BASELINE_CM1 = (1760.0, 1800.0)  # between the ester C=O and the ends of common axes tissue does not absorb
FULL_ENOUGH = 0.5  # blobs at least as full as this carry the grid; debris is emptier


def tissue_picture(
    scan: Scan,
    *,
    band_cm1: tuple[float, float] = AMIDE_I_TOP_CM1,
    baseline_cm1: tuple[float, float] | None = BASELINE_CM1,
) -> Float[np.ndarray, "y x"]:
    """A picture in which tissue is bright, read a few rows at a time.

    For spectral scans the mean absorbance of a band, less that of a baseline band where the axis has one.
    For ordinary images (no wavenumbers) darkness: the brightest mean over the channels minus the mean.
    Pixels whose channels are all 0 hold no measurement and become 0.

    Args:
      scan: the whole array.
      band_cm1: lowest and highest wavenumber of a band that tissue absorbs, amide I by default.
      baseline_cm1: of a band that tissue does not absorb; None takes no baseline off.

    Returns:
      float32 picture of shape (y, x).

    Raises:
      ValueError: if no channel lies in the band.
    """
    axis = scan.wavenumbers_cm1
    if axis is None:
        return _darkness(scan)
    picture = band_mean(scan, *band_cm1)
    if baseline_cm1 is not None and np.any((axis >= baseline_cm1[0]) & (axis <= baseline_cm1[1])):
        picture -= band_mean(scan, *baseline_cm1)
    return picture


def shown_picture(
    scan: Scan, picture: Float[np.ndarray, "y x"]
) -> Float[np.ndarray, "y x"] | Float[np.ndarray, "y x 3"]:
    """What a person is shown of a scan: the colours of an ordinary image from 0 to 1, else its tissue picture."""
    if scan.wavenumbers_cm1 is not None or scan.shape[2] != 3:
        return picture
    return colours_shown(band_image(scan, range(3)))


def find_cores(
    picture: Float[np.ndarray, "y x"],
    *,
    pixel_size_um: float | None = None,
    options: DearrayOptions | None = None,
) -> CoreGrid:
    """Finds the cores of a tissue array and names them by row and column.

    Rows may be turned by up to 10° against the picture, rows and columns may be differently far apart,
    cores may lie off their positions by up to 15 % of the distance. An outer row or column without any core
    cannot be seen.

    Args:
      picture: larger where there is tissue, as of `tissue_picture`, shape (y, x); NaN and exact 0 where
        nothing was measured.
      pixel_size_um: edge length of a pixel in µm; needed where the options state a core diameter.
      options: what is known of the array, and how cores are named; default `DearrayOptions()`.

    Returns:
      Every position between the outermost cores, with its state. What is missing is not to be kept.

    Raises:
      ValueError: if the picture shows no cores, or other rows or columns than the options state.
    """
    options = options or DearrayOptions()
    if picture.ndim != 2 or 0 in picture.shape:
        raise ValueError(
            f"picture: found shape {picture.shape}; required (y, x). Make it with tissue_picture."
        )
    mask, factor = picture_mask(picture)
    diameter = _diameter(mask, factor, pixel_size_um, options)
    mask = cleaned(mask, diameter)
    centres, fill = blobs(mask, diameter)
    if not len(fill):
        raise ValueError("no patch of tissue is as large as a core; check the core diameter, or the band.")
    points = Points(centres, fill, min(FULL_ENOUGH, float(fill.max())))
    solid = fill >= points.solid_fill
    lattice = fit_lattice(centres[solid], fill[solid], diameter)
    positions = measure_positions(mask, lattice, points, diameter, options)
    rows, columns = (int(n) for n in positions.numbers.max(axis=0) + 1)
    _check_count("rows", rows, options.rows)
    _check_count("columns", columns, options.columns)
    pitch = lattice.pitch_px if len(positions.numbers) > 1 else (positions.diameter, positions.diameter)
    return CoreGrid(
        cores=_named(positions, factor, options),
        angle_deg=lattice.angle_deg if len(positions.numbers) > 1 else 0.0,
        pitch_px=(pitch[0] * factor, pitch[1] * factor),
        core_diameter_px=positions.diameter * factor,
        shape_px=(picture.shape[0], picture.shape[1]),
    )


def _darkness(scan: Scan) -> Float[np.ndarray, "y x"]:
    height, width, _ = scan.shape
    brightness = np.empty((height, width), np.float32)
    measured = np.empty((height, width), bool)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, min(top + ROWS_AT_ONCE, height))
        values = scan.window(rows, slice(0, width))
        brightness[rows] = values.mean(axis=-1)
        measured[rows] = np.any(values != 0, axis=-1)
    finite = brightness[measured & np.isfinite(brightness)]
    brightest = finite.max() if finite.size else np.float32(0)
    return np.where(measured, brightest - brightness, np.float32(0))


def _diameter(mask: np.ndarray, factor: int, pixel_size_um: float | None, options: DearrayOptions) -> float:
    if not options.core_diameter_um:
        return core_diameter(mask)
    if pixel_size_um is None or not pixel_size_um > 0:
        raise ValueError(
            f"core_diameter_um={options.core_diameter_um:g} needs the size of a pixel; found "
            f"pixel_size_um={pixel_size_um}. State it in µm, or set core_diameter_um=0 to have it found."
        )
    return options.core_diameter_um / pixel_size_um / factor


def _check_count(what: str, seen: int, stated: int) -> None:
    if stated and seen > stated:
        raise ValueError(
            f"{what}={stated}, but the cores found need {seen} {what}. Correct the number, or leave it out "
            f"({what}=0) and remove what is no core from the CSV."
        )
    if stated and seen < stated:
        raise ValueError(
            f"{what}={stated}, but {seen} {what} of cores were seen, and outer {what} without any core cannot be. "
            f"Leave the number out ({what}=0) and shift the names in the CSV if the first are missing."
        )


def _named(positions: Positions, factor: int, options: DearrayOptions) -> tuple[Core, ...]:
    last_row, last_column = positions.numbers.max(axis=0)
    from_bottom, from_right = "bottom" in options.origin, "right" in options.origin
    cores = []
    for (i, j), centre, fraction, radius in zip(
        positions.numbers.tolist(), positions.centres, positions.fractions, positions.radii, strict=True
    ):
        row = int(last_row) - i if from_bottom else i
        column = int(last_column) - j if from_right else j
        status = _status(fraction, options)
        # Averaging moves the centre of the first pixel of a square to that of the square.
        y, x = (float(part) * factor + (factor - 1) / 2 for part in centre)
        cores.append(
            Core(
                name=core_name(row, column, letters=options.letters),
                row=row,
                column=column,
                y_px=y,
                x_px=x,
                radius_px=factor * (positions.diameter / 2 if status == "missing" else float(radius)),
                status=status,
                tissue_fraction=float(fraction),
                keep=status != "missing",
            )
        )
    return tuple(sorted(cores, key=lambda core: (core.row, core.column)))


def _status(fraction: float, options: DearrayOptions) -> Status:
    if fraction < options.missing_below:
        return "missing"
    return "broken" if fraction < options.broken_below else "present"
