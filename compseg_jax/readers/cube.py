"""The one thing every reader returns and everything else starts from: a spectral cube.

A cube holds one sample's image. Its last axis is wavenumber for infrared and Raman images, or a plain
colour channel for ordinary images, in which case ``wavenumbers_cm1`` is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Background = Literal["zero", "none"]
"""What the pixels without tissue hold: 'zero' in every channel, or values like any other."""


MOST_COLOURS = 4
"""Channels of an ordinary image; more of them are a spectrum, or features."""


CHANNEL_NAME, CHANNEL_VALUES = "channel_name", "channel_values"
"""Keys of a provenance, where the channels are something else than wavenumbers: what, such as 'm/z', and of which
value each channel is."""


class CubeError(ValueError):
    """A file or array cannot be read as a cube; the message names it, what was found and what to do."""


@dataclass(frozen=True)
class Cube:
    """One sample's image with its spectral axis.

    Attributes:
      absorbance: array of shape (y, x, c), float32 or float64; absorbance, Raman counts or pixel values.
      wavenumbers_cm1: the spectral axis in cm⁻¹, shape (c,), float64, strictly monotonic in the direction
        in which the channels are stored; None when the channels are not wavenumbers (an ordinary image).
      pixel_size_um: edge length of a pixel in µm, None when unknown.
      provenance: where the cube comes from (``source`` is its file, other keys as the reader knows them).
      steps: preparation that its spectra have been through, as a store's dataset.json lists it; empty as measured.

    Raises:
      CubeError: if the shapes disagree or the axis is not finite and strictly monotonic.
    """

    absorbance: np.ndarray
    wavenumbers_cm1: np.ndarray | None = None
    pixel_size_um: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether it is an ordinary image, where a pixel of zeros is black and not a pixel that was not measured."""
        return self.wavenumbers_cm1 is None and self.absorbance.shape[2] <= MOST_COLOURS

    def __post_init__(self) -> None:
        source = self.provenance.get("source", "array")
        if self.absorbance.ndim != 3 or 0 in self.absorbance.shape:
            raise CubeError(
                f"{source}: found an array of shape {self.absorbance.shape}; a cube needs three "
                "non-empty axes (y, x, channel). Add the missing axis, or give an image."
            )
        axis = self.wavenumbers_cm1
        if axis is None:
            return
        if axis.shape != (self.absorbance.shape[2],):
            raise CubeError(
                f"{source}: found {axis.size} wavenumbers for {self.absorbance.shape[2]} channels; "
                "they must be as many. Give the axis that belongs to this cube."
            )
        steps = np.diff(axis)
        if not np.all(np.isfinite(axis)) or not (np.all(steps > 0) or np.all(steps < 0)):
            raise CubeError(
                f"{source}: the wavenumbers ({axis[0]:g} … {axis[-1]:g} cm⁻¹) are not finite and strictly "
                "rising or falling. Sort the channels along the axis and remove repeated ones."
            )
