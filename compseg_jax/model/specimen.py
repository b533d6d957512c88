"""Images of any size as a network takes them: read, resampled and prepared a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from compseg_jax.model.extracted import ModelError
from compseg_jax.model.left_out import BROKEN, LARGEST, NOT_FINITE, SMALLEST, TOO_LARGE, TOO_SMALL, added
from compseg_jax.readers.cube import Background
from compseg_jax.readers.scan import CubeScan, Scan
from compseg_jax.spectra.preparation import Image, Preparation, axis_of_steps
from compseg_jax.spectra.preparation.piecewise import PiecewisePreparation, steps_that_need_the_whole
from compseg_jax.spectra.scaling import Scaling, put_standardised
from compseg_jax.spectra.tissue import tissue_from_background
from compseg_jax.store.read import Store

PIECE_BYTES = 2 * 2**20
"""Of a scan that are looked at and scaled at once: rows of it, one after the other."""
CACHE_BYTES = 4 * 2**20
"""Of a scan that are prepared at once, so that they need not be fetched from memory for each step."""
BAND_BYTES = 32 * 2**20
"""The same where rows of chunks are longer: steps hold several copies of it."""
CHUNK_ROWS = 32
"""Bands begin and end at multiples of it, so that chunks of a store are not decoded twice."""
WHOLE_COPIES = 4
"""Of a whole image that a preparation holds at most: read, spectra in the mask, after a step, and the cube."""


@dataclass(frozen=True)
class StoreScan:
    """A sample of a store as a scan; only the chunks that a window touches are read."""

    store: Store
    sample_id: str
    shape: tuple[int, int, int]

    @property
    def wavenumbers_cm1(self) -> np.ndarray | None:
        """Axis in cm⁻¹."""
        return self.store.wavenumbers_cm1

    @property
    def pixel_size_um(self) -> float | None:
        """Edge length of a pixel in µm."""
        return self.store.pixel_size_of(self.sample_id)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return {"source": f"{self.store.path}: {self.sample_id}", "format": "compseg store"}

    def window(self, rows: slice, columns: slice, channels: slice = slice(None)) -> np.ndarray:
        """A part as a new array (y, x, c)."""
        return self.store.read_crop(self.sample_id, rows, columns)[..., channels]


class Band(NamedTuple):
    """Some rows of an image.

    Attributes:
      absorbance: raw spectra (y, x, c), as `Specimen.bands` or `Specimen.pieces` say where they are broken.
      tissue: pixels that may hold tissue (y, x).
      broken: why a pixel cannot be used (y, x), 1 + its place in `BROKEN`, 0 where it can; None where all can.
      rows: of the image.
    """

    absorbance: Float[np.ndarray, "y x c"]
    tissue: Bool[np.ndarray, "y x"]
    broken: Int[np.ndarray, "y x"] | None
    rows: slice


@dataclass(frozen=True, eq=False)
class Specimen:
    """An image to predict on.

    Attributes:
      scan: its spectra, read by windows.
      background: how its tissue is distinguished where it has no mask.
      tissue: its mask (y, x), or None.
      steps: preparation that its spectra have been through, as JSON values; empty as measured.
    """

    scan: Scan
    background: Background
    tissue: Bool[np.ndarray, "y x"] | None = None
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return str(self.scan.provenance.get("source", "the image"))

    @property
    def shape_px(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width, _ = self.scan.shape
        return height, width

    def bands(self, rows: slice, columns: slice, at_once: int | None = None) -> Iterator[Band]:
        """A part, a few rows at a time.

        Spectra with NaN, infinite or impossibly large values are no tissue and come as 0.
        """
        for band in _parted(rows, self._rows_of_a_band(columns) if at_once is None else at_once):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is no tissue
                absorbance = np.require(self.scan.window(band, columns), np.float32, "W")
            yield self._band(absorbance, band, columns, mend=True)

    def pieces(self, rows: slice, columns: slice) -> Iterator[Band]:
        """The same as `bands`, fewer rows at a time, to be read only: as they lie in a file, if they lie there so.

        Broken spectra are no tissue, but come as they are.
        """
        row_bytes = self._row_bytes(columns)
        at_once = max(1, PIECE_BYTES // row_bytes)
        is_mapped = isinstance(self.scan, CubeScan)
        bands = _parted(rows, max(1, BAND_BYTES // row_bytes) if is_mapped else self._rows_of_a_band(columns))
        for band in bands:
            # What lies in a file goes from there straight into the cache, without a copy of the band.
            look = self.scan.look if isinstance(self.scan, CubeScan) else self.scan.window
            window = np.asarray(look(band, columns))
            for piece in _parted(band, at_once):
                absorbance = window[piece.start - band.start : piece.stop - band.start]
                if absorbance.dtype != np.float32 or absorbance.strides[-1] != absorbance.itemsize:
                    with np.errstate(over="ignore"):
                        absorbance = np.array(absorbance, np.float32, order="C")
                yield self._band(absorbance, piece, columns)

    def broken_px(self) -> dict[str, int]:
        """Pixels that cannot be used, by reason; reads the whole image."""
        height, width = self.shape_px
        everything = slice(0, height), slice(0, width)
        return added([_counted(band, None, *everything) for band in self.bands(*everything)])

    def _row_bytes(self, columns: slice) -> int:
        return 4 * (columns.stop - columns.start) * self.scan.shape[2]

    def _rows_of_a_band(self, columns: slice) -> int:
        row_bytes = self._row_bytes(columns)
        at_once = max(1, min(BAND_BYTES, max(CACHE_BYTES, CHUNK_ROWS * row_bytes)) // row_bytes)
        return at_once - (at_once % CHUNK_ROWS if at_once > CHUNK_ROWS else 0)

    def _band(self, absorbance: np.ndarray, rows: slice, columns: slice, *, mend: bool = False) -> Band:
        """Spectra as they are, or with 0 for those that are broken (``mend``)."""
        own = None if self.tissue is None else self.tissue[rows, columns]
        mask, broken = _tissue_of(absorbance, self.background, own)
        if broken is not None:
            if mend:
                absorbance[broken > 0] = 0
            if own is not None:
                broken[~own] = 0
        return Band(absorbance, mask, broken, rows)


def _parted(rows: slice, at_once: int) -> Iterator[slice]:
    """Rows in parts that begin and end at multiples of ``at_once``, or where the rows do."""
    edges = [*range(rows.start - rows.start % at_once, rows.stop, at_once), rows.stop]
    for top, bottom in pairwise([rows.start, *edges[1:]]):
        yield slice(top, bottom)


def _tissue_of(
    absorbance: Float[np.ndarray, "y x c"], background: Background, given: Bool[np.ndarray, "y x"] | None
) -> tuple[Bool[np.ndarray, "y x"], Int[np.ndarray, "y x"] | None]:
    """The mask given, or that of the rule, without broken spectra; and why spectra are broken, in it or not.

    The sum of a spectrum is finite and of a possible size only if all its values are, and not 0 only if one of them
    is: so most pixels need no look at every value.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = absorbance @ np.ones(absorbance.shape[-1], np.float32)
        size = np.abs(total)
        doubtful = ~(size <= LARGEST) | ((size < SMALLEST) & (total != 0))
    mask = total != 0 if given is None else given.copy()
    unclear = ~mask
    if given is None and unclear.any():
        mask[unclear] = tissue_from_background(absorbance[unclear][None], background)[0]
        if background == "zero":
            doubtful |= unclear & mask  # values of which the sum is 0
    broken = None
    if doubtful.any():
        broken = np.zeros(total.shape, np.int8)
        broken[doubtful] = _reasons(absorbance[doubtful])
        mask &= broken == 0
    return mask, broken


def _reasons(spectra: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """1 + the place in `BROKEN` of what is wrong with each spectrum, 0 where nothing is."""
    with np.errstate(invalid="ignore"):
        largest = np.abs(spectra).max(axis=-1)  # NaN where one of them is
    reasons = np.zeros(len(spectra), np.int8)
    reasons[largest < SMALLEST] = 1 + BROKEN.index(TOO_SMALL)
    reasons[largest > LARGEST] = 1 + BROKEN.index(TOO_LARGE)
    reasons[~np.isfinite(largest)] = 1 + BROKEN.index(NOT_FINITE)
    return reasons


def _counted(band: Band, image: Image | None, rows: slice, columns: slice) -> dict[str, int]:
    """Pixels of a band that are left out, by reason.

    Args:
      band: before its preparation.
      image: after it; None where there is none.
      rows: of the image that are looked at.
      columns: of the band that are.
    """
    first, last = (at - band.rows.start for at in _overlap(rows, band.rows))
    part = slice(first, last), columns
    found = {}
    if band.broken is not None:
        own = np.bincount(band.broken[part].ravel(), minlength=1 + len(BROKEN))
        found = dict(zip(BROKEN, own[1:].tolist(), strict=True))
    if image is not None and len(image.reasons) > 1:
        reason = image.reason[part]
        found |= {name: int(np.sum(reason == at)) for at, name in enumerate(image.reasons) if at}
    return {why: number for why, number in found.items() if number}


@dataclass(frozen=True, eq=False)
class PreparedSpecimen:
    """An image after the preparation of a network, read tile by tile.

    Attributes:
      specimen: the image.
      preparation: settled for this image; None where its spectra are taken as they are.
      whole: where a step needed all of it at once, its prepared spectra, and what became of its pixels.
    """

    specimen: Specimen
    preparation: PiecewisePreparation | None = None
    whole: tuple[Band, Image] | None = None

    @classmethod
    def of(
        cls, specimen: Specimen, preparation: Preparation | None, *, most_bytes: float = math.inf
    ) -> PreparedSpecimen:
        """Makes the surveys that steps need; reads the image once for each.

        Raises:
          ModelError: when a step needs the whole image at once and it takes more than ``most_bytes``.
          PreparationError: when the axis does not fit a step.
        """
        if preparation is None:
            return cls(specimen)
        height, width, channels = specimen.scan.shape
        axis = axis_of_steps(specimen.scan.wavenumbers_cm1, channels)

        def parts() -> Iterator[tuple[Image, slice, slice]]:
            columns = slice(0, width)
            for band in specimen.bands(slice(0, height), columns):
                yield Image.of(band.absorbance, axis, band.tissue), band.rows, columns

        whole_steps = steps_that_need_the_whole(preparation)
        if not whole_steps:
            return cls(specimen, PiecewisePreparation.of(preparation, (height, width), parts))
        taken = WHOLE_COPIES * 4 * height * width * channels
        if taken > most_bytes:
            raise ModelError(
                f"{specimen.source}: step {whole_steps[0]!r} of the model's "
                f"preparation needs the whole image at once, {taken / 2**30:.1f} GiB; allowed are "
                f"{most_bytes / 2**30:.1f}. Raise --memory-gib, or cut the image (`compseg dearray`)."
            )
        [band] = specimen.bands(slice(0, height), slice(0, width), at_once=height)
        image = preparation(Image.of(band.absorbance, axis, band.tissue))
        bare = replace(image, spectra=image.spectra[:0])
        return cls(specimen, whole=(band._replace(absorbance=image.absorbance), bare))

    def read_into(
        self,
        rows: slice,
        columns: slice,
        absorbance: Float[np.ndarray, "y x k"],
        tissue: Bool[np.ndarray, "y x"],
        scaling: Scaling | None = None,
        counted: tuple[slice, slice] | None = None,
    ) -> dict[str, int]:
        """Fills in the prepared spectra of a window, and its tissue.

        Args:
          rows: of the window.
          columns: of the window.
          absorbance: takes the spectra; what it holds outside the tissue is not said.
          tissue: takes the tissue.
          scaling: applied to the spectra inside the tissue, which are 0 outside it then.
          counted: rows and columns of the image, within the window, of which pixels left out are counted; the window
            when None.

        Returns:
          those pixels by reason, background not among them.
        """
        counted_rows, counted_columns = counted or (rows, columns)
        if self.whole is not None:
            band, image = self.whole
            tissue[...] = image.mask[rows, columns]
            _put(band.absorbance[rows, columns], tissue, absorbance, scaling)
            return _counted(band, image, slice(*_overlap(counted_rows, rows)), counted_columns)
        steps = self.preparation
        inside = slice(counted_columns.start - columns.start, counted_columns.stop - columns.start)
        left_out = []
        for band in (self.specimen.pieces if steps is None else self.specimen.bands)(rows, columns):
            at = slice(band.rows.start - rows.start, band.rows.stop - rows.start)
            spectra, mask, part = band.absorbance, band.tissue, None
            if steps is not None:
                axis = axis_of_steps(self.specimen.scan.wavenumbers_cm1, spectra.shape[2])
                part = steps(Image.of(spectra, axis, mask), band.rows, columns)
                spectra, mask = part.absorbance, part.mask
            left_out.append(_counted(band, part, counted_rows, inside))
            tissue[at] = mask
            _put(spectra, mask, absorbance[at], scaling)
        return added(left_out)


def _overlap(a: slice, b: slice) -> tuple[int, int]:
    """What two ranges share; an empty one where they share nothing."""
    first = max(a.start, b.start)
    return first, max(first, min(a.stop, b.stop))


def _put(values: np.ndarray, tissue: np.ndarray, place: np.ndarray, scaling: Scaling | None) -> None:
    """Copies spectra, or writes them standardised, while they are in the processor's cache."""
    if scaling is None:
        place[...] = values
    else:
        # Broken spectra may be infinite, and are 0 afterwards.
        with np.errstate(over="ignore", invalid="ignore"):
            put_standardised(values, tissue, scaling, place)
