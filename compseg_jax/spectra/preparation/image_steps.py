"""Steps that see a whole image: tissue, foreground, spectra good enough, and the image's own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from compseg_jax.spectra.preparation.chunks import in_chunks
from compseg_jax.spectra.preparation.step_kinds import BACKGROUND, Image, ImageStep, PreparationError, Survey
from compseg_jax.spectra.preparation.surveys import LevelSurvey, ScaleSurvey, TissueSurvey
from compseg_jax.spectra.quality import REASONS, QualityLimits, quality, supported
from compseg_jax.spectra.tissue import TissueOptions, amide_i_map, otsu, tissue_mask


@dataclass(frozen=True)
class Tissue(TissueOptions, ImageStep):
    """Keeps tissue, by a robust threshold on the height of amide I."""

    name: ClassVar[str] = "tissue"

    def axis_after(self, wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
        """Checks that the axis holds amide I and its baseline."""
        try:
            amide_i_map(jnp.zeros((1, wavenumbers_cm1.size)), wavenumbers_cm1)
        except ValueError as error:
            raise PreparationError(f"step 'tissue': {error}") from error
        return wavenumbers_cm1

    def applied(self, image: Image) -> Image:
        """The image without background."""
        if not image.mask.any():
            return image
        tissue = tissue_mask(image.absorbance, image.wavenumbers_cm1, options=self)
        return image.dropped(tissue[image.mask], BACKGROUND)

    def survey(self, shape_px: tuple[int, int]) -> Survey:
        """The amide I map."""
        return TissueSurvey(self, shape_px)


@dataclass(frozen=True)
class Quality(QualityLimits, ImageStep):
    """Drops spectra that are saturated, too thin, too thick, too noisy, or full of water vapour."""

    name: ClassVar[str] = "quality"
    by_pixel: ClassVar[bool] = True

    def axis_after(self, wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
        """Checks that the axis supports every test that is not switched off."""
        try:
            _, missing = supported(self, wavenumbers_cm1)
        except ValueError as error:
            raise PreparationError(f"step 'quality': {error}") from error
        if missing:
            off = ",".join(f"{name}=none" for name in missing)
            raise PreparationError(
                f"step 'quality': the axis ({wavenumbers_cm1[0]:g} … {wavenumbers_cm1[-1]:g} cm⁻¹) cannot support "
                f"{', '.join(missing)}. Measure on a wider or finer axis, or switch off: quality:{off}."
            )
        return wavenumbers_cm1

    def applied(self, image: Image) -> Image:
        """The image without the spectra that fail a test, each dropped for the first one it fails."""
        if not len(image.spectra):
            return image
        axis = image.wavenumbers_cm1
        reason = in_chunks(image.spectra, lambda part: quality(jnp.asarray(part), axis, self).reason)
        for number, why in enumerate(REASONS[1:], 1):
            image = image.dropped(reason != number, why)
            reason = reason[reason != number]
        return image


@dataclass(frozen=True)
class Foreground(ImageStep):
    """Ordinary images: keeps the bright or the dark part, by Otsu's threshold on the mean of the channels."""

    name: ClassVar[str] = "foreground"
    needs_wavenumbers: ClassVar[bool] = False
    side: Literal["bright", "dark"] = "bright"
    """Which part holds tissue: bright (radiology, fluorescence) or dark (stained sections)."""
    share: float = 0.5
    """Where between the darkest (brightest) value and Otsu's threshold the cut lies, 0 to 1; 1 is Otsu's own."""

    def __post_init__(self) -> None:
        if self.side not in ("bright", "dark") or not 0 < self.share <= 1:
            raise ValueError(
                f"side={self.side!r}, share={self.share}; give bright or dark, and a share above 0 up to 1."
            )

    def applied(self, image: Image) -> Image:
        """The image without its background."""
        if not len(image.spectra):
            return image
        levels = self._levels(image)
        return image.dropped(levels > self._cut(levels), BACKGROUND)

    def survey(self, shape_px: tuple[int, int]) -> Survey:
        """The mean of the channels of every pixel."""
        return LevelSurvey(self._levels, self._cut)

    def _levels(self, image: Image) -> Float[np.ndarray, " n"]:
        return image.spectra.mean(axis=1, dtype=np.float64) * (1 if self.side == "bright" else -1)

    def _cut(self, levels: Float[np.ndarray, " n"]) -> float:
        lowest = float(levels.min())
        return lowest + self.share * (otsu(levels) - lowest)


@dataclass(frozen=True)
class ZScore(ImageStep):
    """Brings every channel of an image to mean 0 and standard deviation 1 over its own tissue."""

    name: ClassVar[str] = "zscore"
    needs_wavenumbers: ClassVar[bool] = False

    def applied(self, image: Image) -> Image:
        """The image on its own scale; a channel that never changes becomes 0."""
        if not len(image.spectra):
            return image
        survey = self.survey(image.mask.shape)
        everything = slice(0, image.mask.shape[0]), slice(0, image.mask.shape[1])
        survey.add(image, *everything)
        return survey.settled()(image, *everything)

    def survey(self, shape_px: tuple[int, ...]) -> Survey:
        """Mean and standard deviation of each channel."""
        return ScaleSurvey()
