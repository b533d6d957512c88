"""What steps that see a whole image must know of it, gathered part by part: images larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from compseg_jax.spectra.preparation.step_kinds import BACKGROUND, ApplyToPart, Image
from compseg_jax.spectra.scaling import BandMoments, merged_moments
from compseg_jax.spectra.tissue import (
    SILENT_CM1,
    TissueOptions,
    amide_i_map,
    band_channels,
    map_noise,
    mask_from_amide_i,
    noise_stride,
)

CONSTANT = 1e-7
"""Share of its largest value below which a channel's standard deviation is rounding alone."""


class TissueSurvey:
    """The amide I map of a whole image, and its noise; what `tissue.tissue_mask` needs."""

    def __init__(self, options: TissueOptions, shape_px: tuple[int, int]) -> None:
        self._options = options
        self._amide_i = np.zeros(shape_px, np.float32)
        self._silent: list[np.ndarray] = []
        self._axis: np.ndarray | None = None

    def add(self, part: Image, rows: slice, columns: slice) -> None:
        """Takes in the heights of a part and the spectra of it that measure the noise."""
        axis = self._axis = part.wavenumbers_cm1
        absorbance = part.absorbance
        self._amide_i[rows, columns] = amide_i_map(jnp.asarray(absorbance), axis)
        height, width = self._amide_i.shape
        y, x = (np.arange(size)[each] for size, each in ((height, rows), (width, columns)))
        measured = (y[:, None] * width + x[None, :]) % noise_stride(height * width) == 0
        self._silent.append(absorbance[..., band_channels(axis, SILENT_CM1, "silent band")][measured])

    def settled(self) -> ApplyToPart:
        """Drops what is background in the mask of the whole image."""
        assert self._axis is not None, "an image has at least one part"
        noise = map_noise(np.concatenate(self._silent), self._axis)
        mask = mask_from_amide_i(self._amide_i, noise=noise, options=self._options)

        def apply(part: Image, rows: slice, columns: slice) -> Image:
            return part.dropped(mask[rows, columns][part.mask], BACKGROUND)

        return apply


class LevelSurvey:
    """The mean of the channels of every pixel kept in a whole image, from which a threshold is found."""

    def __init__(
        self,
        level: Callable[[Image], Float[np.ndarray, " n"]],
        cut: Callable[[Float[np.ndarray, " n"]], float],
    ) -> None:
        self._level, self._cut = level, cut
        self._levels: list[np.ndarray] = []

    def add(self, part: Image, rows: slice, columns: slice) -> None:
        """Takes in the levels of a part."""
        self._levels.append(self._level(part))

    def settled(self) -> ApplyToPart:
        """Drops the pixels of a part by their levels and those of the whole image."""
        levels = np.concatenate(self._levels)
        cut = self._cut(levels) if levels.size else 0.0

        def apply(part: Image, rows: slice, columns: slice) -> Image:
            return part.dropped(self._level(part) > cut, BACKGROUND) if len(part.spectra) else part

        return apply


class ScaleSurvey:
    """Mean, standard deviation and largest value of each channel over the tissue of a whole image."""

    def __init__(self) -> None:
        self._moments: BandMoments = (0, np.zeros(1), np.zeros(1))
        self._largest = np.zeros(1)

    def add(self, part: Image, rows: slice, columns: slice) -> None:
        """Takes in the spectra of a part."""
        if len(part.spectra):
            self._moments = merged_moments([self._moments, channel_moments(part.spectra)])
            self._largest = np.maximum(self._largest, np.abs(part.spectra).max(axis=0))

    def settled(self) -> ApplyToPart:
        """Brings a part to the scale of the whole image."""
        count, mean, squares = self._moments
        sd = np.sqrt(squares / max(count, 1))
        constant = sd <= CONSTANT * self._largest

        def apply(part: Image, rows: slice, columns: slice) -> Image:
            if not len(part.spectra):
                return part
            centred = part.spectra.astype(np.float64) - mean
            scaled = np.where(constant, 0.0, centred / np.where(constant, 1.0, sd))
            return replace(part, spectra=scaled.astype(np.float32))

        return apply


def channel_moments(spectra: Float[np.ndarray, "n c"]) -> BandMoments:
    """Number, mean and sum of squared deviations of each channel, in float64."""
    values = spectra.astype(np.float64)
    mean = values.mean(axis=0)
    return len(values), mean, np.sum((values - mean) ** 2, axis=0)
