"""A spectral image read by windows, so that it may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from compseg_jax.readers.cube import Cube
from compseg_jax.readers.reading_options import NOTHING_SAID, Instructions
from compseg_jax.readers.recognition import keywords_for, module_of, read, recognise
from compseg_jax.readers.transmittance import (
    Kind,
    TransmittanceError,
    converted_provenance,
    looks_like,
    refuse_pictures,
    seen,
    settled,
    to_absorbance,
)

ROWS_AT_ONCE = 64
SPECTRA_LOOKED_AT = 4096


@runtime_checkable
class Scan(Protocol):
    """What every scan offers: its extent, its axis, and any part of it on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole scan."""

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹, shape (c,); None for ordinary images."""

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel in µm, None when unknown."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from, as of a ``Cube``."""

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c); slices as those of an array, step 1."""


@dataclass(frozen=True)
class CubeScan:
    """A cube as a scan. Files that can be mapped are mapped anew for each window, so none stay in memory."""

    cube: Cube
    path: Path | None = None
    """The file, where it is to be mapped anew."""
    given: Instructions = NOTHING_SAID
    """What the caller said of the file."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole scan."""
        height, width, channels = self.cube.absorbance.shape
        return height, width, channels

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.cube.wavenumbers_cm1

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel in µm."""
        return self.cube.pixel_size_um

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return self.cube.provenance

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c)."""
        return np.array(self.look(rows, columns, channels))

    def look(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as it lies in the cube or in its file (y, x, c), to be read only: no copy is made of it."""
        if self.path is None:
            return self.cube.absorbance[rows, columns, channels]
        given = replace(self.given, wavenumbers_cm1=self.wavenumbers_cm1)
        return read(self.path, **given.keywords()).absorbance[rows, columns, channels]


@dataclass(frozen=True, eq=False)
class ScanOfSize:
    """A scan whose pixels have the size that the caller states."""

    scan: Scan
    pixel_size_um: float
    """Edge length of a pixel in µm."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole scan."""
        return self.scan.shape

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.scan.wavenumbers_cm1

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return {**self.scan.provenance, "pixel_size": "given by the caller"}

    @property
    def finest_per_pixel_xy(self) -> tuple[float, float]:
        """As of the scan."""
        return finest_per_pixel_xy(self.scan)

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c)."""
        return self.scan.window(rows, columns, channels)


@dataclass(frozen=True, eq=False)
class ScanPart:
    """A rectangle of a scan as a scan of its own; where it leaves the scan there are zeros.

    Attributes:
      scan: the whole.
      rows: first row and the one after the last, in pixels of the whole; they may lie outside of it.
      columns: the same along x.
    """

    scan: Scan
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the part."""
        rows, columns = self.rows, self.columns
        return rows.stop - rows.start, columns.stop - columns.start, self.scan.shape[2]

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.scan.wavenumbers_cm1

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel in µm."""
        return self.scan.pixel_size_um

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from, with ``top_px`` and ``left_px`` of the part."""
        return {**self.scan.provenance, "top_px": self.rows.start, "left_px": self.columns.start}

    @property
    def finest_per_pixel_xy(self) -> tuple[float, float]:
        """As of the scan."""
        return finest_per_pixel_xy(self.scan)

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part of the part as a new array (y, x, c)."""
        inside, padding = [], []
        for asked, part, own, whole in zip(
            (rows, columns), (self.rows, self.columns), self.shape, self.scan.shape, strict=False
        ):
            first, last, _ = asked.indices(own)
            begin, length = part.start + first, max(last - first, 0)
            low, high = (min(max(edge, 0), whole) for edge in (begin, begin + length))
            before = min(max(-begin, 0), length)
            inside.append(slice(low, high))
            padding.append((before, length - before - (high - low)))
        values = self.scan.window(inside[0], inside[1], channels)
        return np.pad(values, (*padding, (0, 0))) if any(map(any, padding)) else values


@dataclass(frozen=True, eq=False)
class AbsorbanceScan:
    """A scan of transmittance, whose windows are absorbance."""

    scan: Scan
    kind: Kind
    """Its unit."""
    who: str
    """Who says so."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole scan."""
        return self.scan.shape

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.scan.wavenumbers_cm1

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel in µm."""
        return self.scan.pixel_size_um

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return converted_provenance(self.scan.provenance, self.kind, self.who)

    @property
    def finest_per_pixel_xy(self) -> tuple[float, float]:
        """As of the scan."""
        return finest_per_pixel_xy(self.scan)

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c)."""
        values = self.scan.window(rows, columns, channels)
        unmeasured = ~np.any(values != 0, axis=-1)
        if (
            values.shape[-1] < self.shape[2] and unmeasured.any()
        ):  # opaque in these channels, or never measured
            unmeasured = ~np.any(self.scan.window(rows, columns) != 0, axis=-1)
        return to_absorbance(values, self.kind, unmeasured)


def finest_per_pixel_xy(scan: Scan) -> tuple[float, float]:
    """Pixels of the finest level along x and y that a pixel of a scan spans; (1, 1) where there are no levels."""
    found: tuple[float, float] = getattr(scan, "finest_per_pixel_xy", (1.0, 1.0))
    return found


def open_scan(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
    level: int | None = None,
    pixel_size_um: float | None = None,
    transmittance: Kind | None = None,
) -> Scan:
    """Opens a file of any readable format; a format whose module has `open_scan` is read by windows only, and so
    are arrays that can be mapped (ENVI, .npy).

    Raises:
      FileNotFoundError: if there is no such file.
      CubeError: as of ``readers.read``.
    """
    path = Path(path)
    given = Instructions(wavenumbers_cm1, variable, axes, level, pixel_size_um, transmittance)
    found = recognise(path)
    module = module_of(found)
    scan: Scan | None = None
    if hasattr(module, "open_scan"):
        scan = module.open_scan(path, **keywords_for(found, given, path))
        if scan is not None and pixel_size_um is not None:
            scan = ScanOfSize(scan, float(pixel_size_um))
    if scan is None:
        as_stored = replace(given, transmittance="none")
        cube = read(path, **as_stored.keywords())
        scan = CubeScan(cube, path if _is_mapped(cube.absorbance) else None, as_stored)
    opened = scan
    kind, who = settled(scan.provenance, transmittance, lambda: some_spectra(opened))
    if kind == "none":
        return scan
    refuse_pictures(scan.wavenumbers_cm1, scan.shape[2], path)
    return AbsorbanceScan(scan, kind, who)


def some_spectra(scan: Scan) -> Shaped[np.ndarray, "n c"]:
    """At most some thousand spectra of a scan, of evenly spaced rows."""
    height, width, channels = scan.shape
    rows = np.unique(
        np.linspace(0, height - 1, min(height, max(1, SPECTRA_LOOKED_AT // width), 64)).astype(int)
    )
    step = -(-len(rows) * width // SPECTRA_LOOKED_AT)
    parts = [scan.window(slice(int(row), int(row) + 1), slice(None))[0, ::step] for row in rows]
    return np.concatenate(parts).reshape(-1, channels)


def ask_for_transmittance(scan: Scan, said: Kind | None, path: Path) -> None:
    """Looks at some spectra of a file as it was read, unless the caller says what its values are.

    Raises:
      TransmittanceError: where they look like transmittance and neither file nor caller says what they are.
    """
    if said is not None or scan.wavenumbers_cm1 is None:
        return
    spectra = some_spectra(scan)
    kind = seen(spectra, scan.wavenumbers_cm1, scan.provenance)
    if kind == "none":
        return
    raise TransmittanceError(
        f"{path}: {looks_like(spectra, kind)}. Is it transmittance? Then say transmittance={kind!r}, and absorbance is "
        "made of it; if it is not, say transmittance='none'."
    )


def band_mean(scan: Scan, low_cm1: float, high_cm1: float) -> Float[np.ndarray, "y x"]:
    """Mean absorbance over the channels from ``low_cm1`` to ``high_cm1``, read a few rows at a time; float32.

    Raises:
      ValueError: if the scan states no wavenumbers, or none of them lies in the band.
    """
    height, width, _ = scan.shape
    channels = channels_between(scan, low_cm1, high_cm1)
    picture = np.empty((height, width), np.float32)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, min(top + ROWS_AT_ONCE, height))
        picture[rows] = scan.window(rows, slice(0, width), channels).mean(axis=-1)
    return picture


def channels_between(scan: Scan, low_cm1: float, high_cm1: float) -> slice:
    """Channels whose wavenumber lies in a band, both ends included; raises ValueError where there are none."""
    source = scan.provenance.get("source", "scan")
    axis = scan.wavenumbers_cm1
    if axis is None:
        raise ValueError(f"{source} states no wavenumbers, so it has no band; give a spectral image.")
    inside = np.flatnonzero((axis >= low_cm1) & (axis <= high_cm1))
    if not inside.size:
        raise ValueError(
            f"{source} covers {axis.min():g} to {axis.max():g} cm⁻¹, no channel lies in the band "
            f"{low_cm1:g} to {high_cm1:g} cm⁻¹; choose a band inside."
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _is_mapped(values: np.ndarray) -> bool:
    base: Any = values
    while base is not None:
        if isinstance(base, np.memmap):
            return True
        base = getattr(base, "base", None)
    return False
