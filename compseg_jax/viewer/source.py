"""What the viewer shows, wherever it comes from: a list of samples, and each sample's images and spectra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from compseg_jax.model.seen import Sighting
from compseg_jax.viewer.image_layers import MOST_PX, Layer, Pyramid, Window, nearest
from compseg_jax.viewer.threshold_counts import (
    Block,
    SpectraByThreshold,
    ThresholdCounts,
    count_thresholds,
    threshold_edges,
)

OVERVIEW_SHARE = 0.6
"""Part of an image from which on a window shows the overview of the cube, not the cube."""
MOST_VALUES = 64_000_000
"""Of a cube that is read at once: 256 MB in single precision."""


class ViewError(ValueError):
    """A folder cannot be shown; the message says what was found, what was looked for and what to do."""


@dataclass(frozen=True)
class ListedSample:
    """A row of the list of samples; None where a number is not known (yet).

    Attributes:
      id: unique name.
      score: mean activation in the tissue.
      area_fraction: part of the tissue above the threshold.
      area_low: lower end of the interval of the diseased part.
      area_high: its upper end.
      label: 1 diseased, 0 healthy.
      dice: agreement with the reference.
      failure: why there is nothing to show; empty where there is.
      outside: whether it lies outside of what the model was trained on; None where that is not known.
      seen: what the model saw of it before; None where that is not known.
    """

    id: str
    score: float | None = None
    area_fraction: float | None = None
    area_low: float | None = None
    area_high: float | None = None
    label: int | None = None
    dice: float | None = None
    failure: str = ""
    outside: bool | None = None
    seen: Sighting | None = None


@runtime_checkable
class Source(Protocol):
    """A folder of predictions, a report or a run."""

    @property
    def title(self) -> str:
        """Heading of the page."""

    @property
    def threshold(self) -> float:
        """Activation above which a pixel is segmented."""

    @property
    def threshold_story(self) -> str:
        """Where the threshold comes from, in words."""

    def samples(self) -> Sequence[ListedSample]:
        """All samples, in the order of the source."""

    def open(self, sample_id: str) -> SampleView:
        """Images and spectra of a sample, read as late as possible; raises ViewError, StoreError or ModelError."""


@runtime_checkable
class Spectra(Protocol):
    """A cube in full resolution, read by windows."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c)."""

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part (y, x, c)."""


@dataclass(frozen=True)
class SpectraInMemory:
    """A cube (y, x, c) in memory."""

    absorbance: Float[np.ndarray, "y x c"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, c)."""
        height, width, channels = self.absorbance.shape
        return height, width, channels

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A part, not copied."""
        return self.absorbance[rows, columns]


@dataclass(frozen=True, eq=False)
class SampleView:
    """One sample: activation, tissue, reference and spectra.

    Attributes:
      row: its row of the list.
      activation: pyramid of activations in [0, 1].
      tissue: pyramid of the tissue mask; None: every pixel is tissue.
      reference: pyramid of the reference mask; None where there is none.
      overview: mean-downsampled cube (c, y, x) as a pyramid of one level; None where there is none.
      spectra: the cube in full resolution; None where it cannot be read any more.
      spectra_note: what the spectra are, or why they are coarse or missing, in words.
      wavenumbers_cm1: (c,); None where channels are not wavenumbers.
      pixel_size_um: edge of a pixel; None where unknown.
      thresholds: at which numbers must be exact besides the slider's positions.
    """

    row: ListedSample
    activation: Pyramid
    tissue: Pyramid | None
    reference: Pyramid | None
    overview: Pyramid | None
    spectra: Spectra | None
    spectra_note: str
    wavenumbers_cm1: np.ndarray | None
    pixel_size_um: float | None
    thresholds: tuple[float, ...] = ()
    _read: dict[Window, Layer] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape_px(self) -> tuple[int, int]:
        """Rows and columns in full resolution."""
        return self.activation.shape_px

    @cached_property
    def channels(self) -> int:
        """Channels of the cube; 0 where no spectra are left."""
        if self.overview is not None:
            return self.overview.levels[0].shape[0]
        return 0 if self.spectra is None else self.spectra.shape[2]

    @property
    def in_colours(self) -> bool:
        """Whether it is an ordinary image in red, green and blue."""
        return self.wavenumbers_cm1 is None and self.channels == 3

    def activation_layer(self, window: Window | None = None, most_px: int = MOST_PX) -> Layer:
        """Activations of a window at the resolution of a screen; NaN outside the tissue."""
        layer = self.activation.read(window or self.activation.whole, most_px)
        values = layer.values.astype(np.float32)
        if self.tissue is not None:
            tissue = self._mask(self.tissue, layer)
            values = np.where(tissue, values, np.float32(np.nan))
        return Layer(values, layer.window, layer.factor)

    def reference_layer(self, window: Window | None = None, most_px: int = MOST_PX) -> Layer | None:
        """Reference mask of a window, bool; None where there is none."""
        if self.reference is None:
            return None
        layer = self.reference.read(window or self.reference.whole, most_px)
        return Layer(layer.values >= 0.5, layer.window, layer.factor)

    def band_layer(self, channel: int, window: Window | None = None) -> Layer | None:
        """One channel of the cube: of a window in full resolution where that is small enough, else of the overview.

        None where there is neither an overview nor a cube that is small enough.
        """
        cube = self.cube_layer(window or self.activation.whole)
        return None if cube is None else Layer(cube.values[channel], cube.window, cube.factor)

    def cube_layer(self, window: Window) -> Layer | None:
        """All channels (c, y, x), as `band_layer`; the last two are kept, so that other channels cost nothing."""
        if self.overview is not None and self._overview_serves(window):
            window, read = self.overview.whole, self.overview.overview
        elif self.spectra is not None and window.whole_px().n_px * self.channels <= MOST_VALUES:
            window, read = window.whole_px(), partial(_cut, self.spectra, window.whole_px())
        elif self.overview is not None:
            window, read = self.overview.whole, self.overview.overview
        else:
            return None
        layer = self._read.get(window)
        if layer is None:
            layer = read()
            for oldest in list(self._read)[:-1]:
                self._read.pop(oldest, None)
            self._read[window] = layer
        return layer

    def _overview_serves(self, window: Window) -> bool:
        """Whether the overview shows as much as a screen would, so that the cube need not be read."""
        coarse = self.overview is not None and self.overview.factor(0) > 1
        return not coarse or window.longest_px > OVERVIEW_SHARE * max(self.shape_px)

    def spectrum(self, row: int, column: int) -> tuple[np.ndarray, float] | None:
        """Spectrum (c,) at a pixel and the factor of the image it is from (1: the pixel itself); None: no spectra."""
        if self.spectra is not None:
            part = self.spectra.window(slice(row, row + 1), slice(column, column + 1))
            return np.asarray(part[0, 0]), 1.0
        if self.overview is None:
            return None
        layer = self.overview.read(Window(row, row + 1, column, column + 1))
        return np.asarray(layer.values[:, 0, 0]), layer.factor

    def activation_at(self, row: int, column: int) -> float | None:
        """Activation of a pixel; None outside the tissue."""
        rows, columns = slice(row, row + 1), slice(column, column + 1)
        if self.tissue is not None and not self.tissue.levels[0].read(rows, columns).any():
            return None
        return float(self.activation.levels[0].read(rows, columns)[0, 0])

    @cached_property
    def edges(self) -> np.ndarray:
        """Thresholds at which pixels are counted."""
        return threshold_edges(*self.thresholds)

    def overview_counts(self) -> ThresholdCounts:
        """Pixels above every threshold, of the resolution that a screen shows."""
        layer = self.activation_layer()
        reference = None
        if self.reference is not None:
            reference = self._mask(self.reference, layer)
        blocks = [(np.nan_to_num(layer.values), np.isfinite(layer.values), reference)]
        return count_thresholds(blocks, self.edges, factor=layer.factor)

    def exact_counts(self) -> ThresholdCounts:
        """Pixels above every threshold, of the full resolution, read some rows at a time."""
        return count_thresholds(self._blocks(), self.edges)

    def mean_spectra(self) -> SpectraByThreshold | None:
        """Mean spectra at every threshold, of the cube where it is small enough, else of its overview."""
        cube = self.cube_layer(self.activation.whole)
        if cube is None:
            return None
        shape = cube.values.shape[-2:]
        layer = self.activation.read(self.activation.whole, max(shape))
        activation = nearest(layer.values, shape).astype(np.float32)
        whole = Layer(activation, cube.window, cube.factor)
        tissue = np.ones(shape, bool) if self.tissue is None else self._mask(self.tissue, whole)
        by_pixel = np.moveaxis(cube.values, 0, -1)
        return SpectraByThreshold.of(by_pixel, activation, tissue, self.edges, factor=cube.factor)

    def _blocks(self) -> Iterator[Block]:
        width = self.shape_px[1]
        for rows, activation in self.activation.strips():
            columns = slice(0, width)
            masks = [
                None if each is None else each.levels[0].read(rows, columns) > 0
                for each in (self.tissue, self.reference)
            ]
            yield activation, masks[0], masks[1]

    @staticmethod
    def _mask(pyramid: Pyramid, layer: Layer) -> np.ndarray:
        """A mask on the pixels of a layer."""
        shape = layer.values.shape[-2:]
        found = pyramid.read(layer.window, max(shape))
        return nearest(found.values >= 0.5, shape)


def score_order(samples: Sequence[ListedSample], by: str = "score") -> list[ListedSample]:
    """Samples by falling ``score``, ``area_fraction`` or ``dice``, unknown ones last; or by ``id``, ascending."""
    if by == "id":
        return sorted(samples, key=lambda sample: sample.id)

    def key(sample: ListedSample) -> tuple[bool, float, str]:
        value = getattr(sample, by)
        return (value is None, 0.0 if value is None else -value, sample.id)

    return sorted(samples, key=key)


def named(samples: Sequence[ListedSample], sample_id: str) -> ListedSample:
    """The row of a sample; raises ViewError where none has that name."""
    rows: Mapping[str, ListedSample] = {sample.id: sample for sample in samples}
    if sample_id not in rows:
        raise ViewError(f"there is no sample {sample_id!r}; choose one of the {len(rows)} in the list.")
    return rows[sample_id]


def _cut(spectra: Spectra, window: Window) -> Layer:
    rows, columns = (
        slice(int(start), int(stop))
        for start, stop in ((window.top, window.bottom), (window.left, window.right))
    )
    return Layer(np.moveaxis(spectra.window(rows, columns), -1, 0), window, 1.0)
