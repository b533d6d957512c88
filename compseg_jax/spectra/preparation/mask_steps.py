"""Steps that decide which pixels are kept: tissue, and spectra good enough. They belong on raw absorbance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from compseg_jax.spectra.preparation.chunks import in_chunks
from compseg_jax.spectra.preparation.step import BACKGROUND, Image, MaskStep, PreparationError
from compseg_jax.spectra.quality import REASONS, QualityLimits, quality, supported
from compseg_jax.spectra.tissue import TissueOptions, amide_i_map, tissue_mask


@dataclass(frozen=True)
class Tissue(TissueOptions, MaskStep):
    """Keeps tissue, by a robust threshold on the height of amide I."""

    name: ClassVar[str] = "tissue"

    def axis_after(self, wavenumbers_cm1: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
        """Checks that the axis holds amide I and its baseline."""
        try:
            amide_i_map(jnp.zeros((1, wavenumbers_cm1.size)), wavenumbers_cm1)
        except ValueError as error:
            raise PreparationError(f"step 'tissue': {error}") from error
        return wavenumbers_cm1

    def keep(self, image: Image) -> Image:
        """The image without background."""
        if not image.mask.any():
            return image
        tissue = tissue_mask(image.absorbance, image.wavenumbers_cm1, options=self)
        return image.dropped(tissue[image.mask], BACKGROUND)


@dataclass(frozen=True)
class Quality(QualityLimits, MaskStep):
    """Drops spectra that are saturated, too thin, too thick, too noisy, or full of water vapour."""

    name: ClassVar[str] = "quality"

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

    def keep(self, image: Image) -> Image:
        """The image without the spectra that fail a test, each dropped for the first one it fails."""
        if not len(image.spectra):
            return image
        axis = image.wavenumbers_cm1
        reason = in_chunks(image.spectra, lambda part: quality(jnp.asarray(part), axis, self).reason)
        for number, why in enumerate(REASONS[1:], 1):
            image = image.dropped(reason != number, why)
            reason = reason[reason != number]
        return image
