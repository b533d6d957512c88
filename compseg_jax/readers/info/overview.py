"""A scan at a glance: a sample of its spectra, their statistics, and the image of one band.

Of a scan too large to be read whole, evenly spaced rows are read; ``Sample.note`` states which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from compseg_jax.readers.amide_i import AMIDE_I_CM1, AMIDE_I_FEET_CM1
from compseg_jax.readers.info.value_summary import mean_and_sd
from compseg_jax.readers.scan import ROWS_AT_ONCE, CubeScan, Scan
from compseg_jax.readers.transmittance import is_raman

SAMPLED_VALUES = 16_000_000  # values looked at of one scan; 64 MB as float32
FEWEST_ROWS = 48  # read of a large scan; where these are too long, columns are left out too
LONGEST_SIDE_PX = 1200  # of a band image; more than a screen shows of it
IMAGE_BYTES = 1_000_000_000  # read at most for a band image where a file holds pixel after pixel
# Where the height of amide I is taken, and the feet of the line below it; a channel further than the
# tolerance from its place is none of them. Position: `amide_i`.
FOOT_TOP_FOOT_CM1 = (AMIDE_I_FEET_CM1[0], AMIDE_I_CM1, AMIDE_I_FEET_CM1[1])
AMIDE_I_TOLERANCE_CM1 = 15.0
_QUANTITIES = {"A": "absorbance", "%T": "transmittance / %"}


@dataclass(frozen=True)
class Sample:
    """Spectra taken from a file to describe it.

    Attributes:
      spectra: (n, c) as stored.
      background: (n,) pixels whose channels are all 0.
      note: which part of the file this is; empty for all of it.
    """

    spectra: Shaped[np.ndarray, "n c"]
    background: Bool[np.ndarray, " n"]
    note: str = ""

    def shown(self) -> Shaped[np.ndarray, "m c"]:
        """The spectra that are not background; all of them where there is nothing else."""
        keep = ~self.background
        return self.spectra[keep] if keep.any() and not keep.all() else self.spectra


@dataclass(frozen=True)
class Band:
    """What a band image shows.

    Attributes:
      channels: one, or three for a height: a foot, the top and the other foot.
      positions: wavenumber in cm⁻¹ (number, where there is no axis) of each of the channels.
      name: what its values are, in words.
      sign: −1 where absorption makes values smaller (transmittance).
    """

    channels: tuple[int, ...]
    positions: tuple[float, ...]
    name: str
    sign: float = 1.0

    def of(self, values: Shaped[np.ndarray, "*p k"]) -> Float[np.ndarray, "*p"]:
        """Of values at its channels (last axis): the value, or the height above the line of the feet."""
        if len(self.channels) == 1:
            return values[..., 0].astype(np.float64)
        first, top, last = self.positions
        share = (top - first) / (last - first)
        taken = values.astype(np.float64)
        return self.sign * (taken[..., 1] - (1 - share) * taken[..., 0] - share * taken[..., 2])


def take_sample(scan: Scan, *, zero_is_background: bool = True) -> Sample:
    """All pixels of a scan, or those of evenly spaced rows where it has more than `SAMPLED_VALUES` values.

    Args:
      scan: what to look at.
      zero_is_background: whether pixels whose channels are all 0 are background; not so in ordinary images.
    """
    height, width, channels = scan.shape
    if height * width * channels <= SAMPLED_VALUES:
        tops = range(0, height, ROWS_AT_ONCE)
        parts = [scan.window(slice(top, min(top + ROWS_AT_ONCE, height)), slice(None)) for top in tops]
        note = ""
    else:
        number = min(height, max(FEWEST_ROWS, SAMPLED_VALUES // (width * channels)))
        step = math.ceil(number * width * channels / SAMPLED_VALUES)
        rows = ((np.arange(number) + 0.5) * height / number).astype(int)
        parts = [scan.window(slice(int(row), int(row) + 1), slice(None))[:, ::step] for row in rows]
        pixels = sum(part.shape[1] for part in parts)
        columns = f", every {step}. column" if step > 1 else ""
        note = f"{number} of {height:,} rows{columns}: {pixels:,} of {height * width:,} pixels, evenly spaced"
    spectra = np.concatenate([part.reshape(-1, channels) for part in parts])
    background = ~np.any(spectra != 0, axis=1) if zero_is_background else np.zeros(len(spectra), bool)
    return Sample(spectra, background, note)


def value_name(provenance: Mapping[str, Any]) -> str:
    """What the values of a file are, with their unit, as far as its reader states it."""
    quantity = provenance.get("quantity")
    if quantity is not None:
        return _QUANTITIES.get(str(quantity), str(quantity))
    return "Raman counts" if is_raman(provenance) else "value as stored"


def absorbs_downwards(provenance: Mapping[str, Any]) -> bool:
    """Whether values fall where the sample absorbs: transmittance, reflectance."""
    return value_name(provenance).startswith(("transmittance", "reflectance"))


def choose_band(scan: Scan, sample: Sample) -> Band:
    """Amide I where the axis covers it, else the channel of the strongest mean.

    Where values fall with absorption, amide I is the depth of its dip and the strongest channel the lowest.
    """
    axis, downwards = scan.wavenumbers_cm1, absorbs_downwards(scan.provenance)
    sign = -1.0 if downwards else 1.0
    if axis is not None:
        distances = np.abs(axis[np.newaxis] - np.array(FOOT_TOP_FOOT_CM1)[:, np.newaxis])
        channels = tuple(int(at) for at in np.argmin(distances, axis=1))
        if len(set(channels)) == 3 and np.all(distances.min(axis=1) <= AMIDE_I_TOLERANCE_CM1):
            positions = tuple(float(axis[at]) for at in channels)
            return Band(channels, positions, "amide I depth" if downwards else "amide I height", sign)
    mean, _ = mean_and_sd(sample.shown())
    strongest = int(np.argmax(np.nan_to_num(sign * mean, nan=-np.inf)))
    position = float(strongest if axis is None else axis[strongest])
    return Band((strongest,), (position,), "strongest band", sign)


def band_image(scan: Scan, channels: Sequence[int]) -> Shaped[np.ndarray, "y x k"]:
    """Channels of a scan as an image of at most `LONGEST_SIDE_PX` a side, by leaving out rows and columns.

    Where a file holds pixel after pixel, a channel cannot be read without the others, and rows are left
    out until `IMAGE_BYTES` or less are read.
    """
    height, width, depth = scan.shape
    step = math.ceil(max(height, width) / LONGEST_SIDE_PX)
    if _holds_whole_spectra(scan):
        row_bytes = width * depth * scan.window(slice(0, 1), slice(0, 1)).dtype.itemsize
        row_step = max(step, math.ceil(height * row_bytes / IMAGE_BYTES))
        span = slice(min(channels), max(channels) + 1)
        taken = [at - span.start for at in channels]
        rows = [
            scan.window(slice(y, y + 1), slice(None), span)[:, ::step] for y in range(0, height, row_step)
        ]
        return np.concatenate([row[..., taken] for row in rows])
    at_once = step * math.ceil(ROWS_AT_ONCE / step)
    blocks = []
    for top in range(0, height, at_once):
        rows_read = slice(top, min(top + at_once, height))
        parts = [scan.window(rows_read, slice(None), slice(at, at + 1)) for at in channels]
        blocks.append(np.concatenate([part[::step, ::step] for part in parts], axis=2))
    return np.concatenate(blocks)


def _holds_whole_spectra(scan: Scan) -> bool:
    """Whether the scan lies on disk with the channels of a pixel side by side."""
    if not isinstance(scan, CubeScan) or scan.path is None:
        return False
    along_y, along_x, along_c = np.abs(scan.cube.absorbance.strides)
    return bool(along_c < min(along_y, along_x))
