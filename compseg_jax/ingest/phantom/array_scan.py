"""Simulated tissue arrays with known cores: a picture of one, or a whole scan that is computed by windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from compseg_jax.ingest.cores.grid import CoreGrid
from compseg_jax.ingest.cores.layout import ArrayLayout, ArrayPhantom, simulate_layout
from compseg_jax.ingest.phantom.bands import TISSUE_TYPES, constituent_spectra, tissue_concentrations
from compseg_jax.ingest.phantom.spots import wavenumber_axis

__all__ = ["ArrayPhantom", "ArrayScan", "simulate_array_picture", "simulate_array_scan"]

_PICTURE_STREAM = 14
_TYPES = tuple(TISSUE_TYPES.index(name) for name in ("epithelium", "stroma", "tumour"))


def simulate_array_picture(config: ArrayPhantom, seed: int) -> tuple[Float[np.ndarray, "y x"], CoreGrid]:
    """A picture of a simulated array as `dearray.tissue_picture` would make it, and its true cores.

    Args:
      config: what kind of array.
      seed: names the array; 0 or more.

    Returns:
      float32 picture (y, x), about 1 in tissue and 0 between, and the truth.

    Raises:
      ValueError: if ``seed`` is negative.
    """
    layout = simulate_layout(config, seed)
    picture = np.zeros(layout.truth.shape_px, np.float32)
    for patch in (*layout.patches.values(), *layout.debris):
        height, width = patch.thickness.shape
        place = picture[patch.top : patch.top + height, patch.left : patch.left + width]
        np.maximum(place, patch.thickness, out=place)
    picture += _uneven(config, seed, (slice(0, picture.shape[0]), slice(0, picture.shape[1])), picture.shape)
    rng = np.random.default_rng([_PICTURE_STREAM, seed, 1])
    picture += np.float32(config.noise) * rng.standard_normal(picture.shape, np.float32)
    return picture, layout.truth


@dataclass(frozen=True)
class ArrayScan:
    """A simulated scan of a whole array; any window of it is computed when it is asked for.

    Attributes:
      config: what kind of array.
      seed: names the array.
      channels: number of wavenumbers from 1800 down to 948 cm⁻¹.
      layout: its cores, their tissue and the debris.
    """

    config: ArrayPhantom
    seed: int
    channels: int
    layout: ArrayLayout

    @property
    def truth(self) -> CoreGrid:
        """The true cores."""
        return self.layout.truth

    @property
    def labels(self) -> Mapping[str, int]:
        """1 (diseased) or 0 (healthy) for the name of every core that is not missing."""
        return self.layout.labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c) of the whole scan."""
        return *self.layout.truth.shape_px, self.channels

    @cached_property
    def wavenumbers_cm1(self) -> Float[np.ndarray, " c"]:
        """Axis in cm⁻¹."""
        return wavenumber_axis(self.channels)

    @property
    def pixel_size_um(self) -> float:
        """Edge length of a pixel in µm."""
        return self.config.pixel_size_um

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the scan comes from."""
        return {"source": f"phantom array {self.seed}", "format": "simulated"}

    def window(
        self, rows: slice, columns: slice, channels: slice = slice(None)
    ) -> Float[np.ndarray, "y x c"]:
        """Absorbance of a part, float32; the same for a pixel whatever the window."""
        part = self._inside(rows, columns)
        spectra = tissue_concentrations()[list(_TYPES)] @ constituent_spectra(self.wavenumbers_cm1[channels])
        absorbance = self._amounts(part) @ spectra.astype(np.float32)
        absorbance += _uneven(self.config, self.seed, part, self.shape[:2])[:, :, None]
        absorbance += np.float32(self.config.noise) * self._noise(part, channels)
        return absorbance

    def tumour(self, rows: slice, columns: slice) -> Bool[np.ndarray, "y x"]:
        """The reference mask of a part: where there is tumour."""
        return self._amounts(self._inside(rows, columns))[..., 2] > 0

    def _inside(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        height, width, _ = self.shape
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def _amounts(self, part: tuple[slice, slice]) -> Float[np.ndarray, "y x 3"]:
        """Thickness of epithelium, stroma and tumour; where patches overlap, of the thickest."""
        rows, columns = part
        amounts = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 3), np.float32)
        pieces = [(patch, bool(self.labels[name])) for name, patch in self.layout.patches.items()]
        for patch, diseased in [*pieces, *((speck, False) for speck in self.layout.debris)]:
            height, width = patch.thickness.shape
            top, bottom = max(rows.start, patch.top), min(rows.stop, patch.top + height)
            left, right = max(columns.start, patch.left), min(columns.stop, patch.left + width)
            if top >= bottom or left >= right:
                continue
            own = slice(top - patch.top, bottom - patch.top), slice(left - patch.left, right - patch.left)
            place = amounts[
                top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
            ]
            thickness, tumour = patch.thickness[own], patch.tumour[own] & diseased
            shares = np.stack([patch.epithelium[own], 1 - patch.epithelium[own]], axis=-1)
            shares = np.concatenate([shares * ~tumour[..., None], tumour[..., None]], axis=-1)
            thicker = thickness > place.sum(axis=-1)
            place[thicker] = (thickness[..., None] * shares)[thicker]
        return amounts

    def _noise(self, part: tuple[slice, slice], channels: slice) -> Float[np.ndarray, "y x c"]:
        """Uniform noise of variance 1 by hashing the place of each value, so that windows agree.

        Source: C. Wellons, "Prospecting for Hash Functions" (2018), the function lowbias32.
        """
        _, width, count = self.shape
        y, x = (np.arange(one.start, one.stop, dtype=np.uint32) for one in part)
        c = np.arange(count, dtype=np.uint32)[channels]
        pixel = y[:, None] * np.uint32(width) + x[None, :]
        bits = pixel[:, :, None] * np.uint32(count) + c[None, None, :]
        bits ^= np.uint32(np.random.default_rng([_PICTURE_STREAM, self.seed, 2]).integers(2**32))
        bits ^= bits >> np.uint32(16)
        bits *= np.uint32(0x7FEB352D)
        bits ^= bits >> np.uint32(15)
        bits *= np.uint32(0x846CA68B)
        bits ^= bits >> np.uint32(16)
        return (bits.astype(np.float32) * np.float32(2.0**-32) - np.float32(0.5)) * np.float32(12**0.5)


def simulate_array_scan(config: ArrayPhantom, seed: int, channels: int) -> ArrayScan:
    """A simulated scan with known cores and labels, of which no more than a window is ever in memory.

    Spectra are mixtures of colon epithelium, stroma and, in parts of diseased cores, tumour (`bands`), times
    the thickness of the tissue, on an uneven offset and noise.

    Args:
      config: what kind of array.
      seed: names the array; 0 or more.
      channels: number of wavenumbers from 1800 down to 948 cm⁻¹, at least 2.

    Raises:
      ValueError: if ``seed`` or ``channels`` is too small.
    """
    if channels < 2:
        raise ValueError(f"array phantom channels: found {channels}; required 2 or more. Change channels.")
    return ArrayScan(config, seed, channels, simulate_layout(config, seed))


def _uneven(
    config: ArrayPhantom, seed: int, part: tuple[slice, slice], shape_px: tuple[int, ...]
) -> Float[np.ndarray, "y x"]:
    """The background of a part: a curved surface over the scan, its height as configured."""
    a, b, c, d = np.random.default_rng([_PICTURE_STREAM, seed, 0]).uniform(-1, 1, 4)

    def surface(v: np.ndarray, u: np.ndarray) -> Float[np.ndarray, "y x"]:
        return a * v + b * u + c * v * u + d * (v * v + u * u) / 2

    ends = np.linspace(-1, 1, 9)
    whole = surface(ends[:, None], ends[None, :])
    v, u = (
        np.arange(one.start, one.stop) / max(1, length - 1) * 2 - 1
        for one, length in zip(part, shape_px, strict=True)
    )
    scaled = (surface(v[:, None], u[None, :]) - whole.min()) / np.ptp(whole)
    return (0.1 + config.unevenness * scaled).astype(np.float32)
