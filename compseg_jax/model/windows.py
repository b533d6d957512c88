"""Windows along the spectral axis, and the strongest bands of a curve over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST_DISTANCE_CM1 = 20.0
LEAST_PART_OF_LARGEST = 0.1


@dataclass(frozen=True)
class BandWidth:
    """Width of a window: in cm⁻¹ where there are wavenumbers, in channels elsewhere."""

    cm1: float = 30.0
    """About that of the narrowest bands of tissue in the mid infrared (see `bands`)."""
    channels: int = 1
    """An odd number, so that a window has a channel in its middle."""

    def __post_init__(self) -> None:
        """Refuses windows without width or middle.

        Raises:
          ValueError: naming the values found and required.
        """
        if not self.cm1 > 0 or self.channels < 1 or self.channels % 2 == 0:
            raise ValueError(
                f"band width: found {self.cm1:g} cm⁻¹ and {self.channels} channels; required more than 0 cm⁻¹ and "
                "an odd number of channels. Choose another width."
            )


def covering_windows(
    channels: int, wavenumbers_cm1: Float[np.ndarray, " c"] | None, width: BandWidth
) -> tuple[Int[np.ndarray, " k"], Bool[np.ndarray, "k c"]]:
    """Windows that cover the whole axis, each half over the next where channels lie close enough.

    Args:
      channels: length of the axis.
      wavenumbers_cm1: (c,), rising or falling, gaps allowed; None where channels are not wavenumbers.
      width: of every window; a window holds the channels within half of it from its middle.

    Returns:
      Middle channel of each of k windows, and whether it holds each channel.
    """
    axis = np.arange(channels, dtype=np.float64) if wavenumbers_cm1 is None else wavenumbers_cm1
    half = (width.channels if wavenumbers_cm1 is None else width.cm1) / 2
    half *= 1 + 1e-6  # the rounding of an axis decides nothing
    middles = [0]
    for channel in range(1, channels):
        if channel == channels - 1 or abs(axis[channel + 1] - axis[middles[-1]]) > half:
            middles.append(channel)
    return np.array(middles), np.abs(axis[None] - axis[middles][:, None]) <= half


def strongest_bands(
    importance: Float[np.ndarray, " c"],
    wavenumbers_cm1: np.ndarray | None,
    *,
    most: int = 5,
    least_distance_cm1: float = LEAST_DISTANCE_CM1,
) -> list[int]:
    """Channels where the importance peaks, by size, at least so far apart; strongest first.

    A peak is a channel whose absolute importance is not below its neighbours' and is at least a tenth of the largest.

    Args:
      importance: (c,) of either sign.
      wavenumbers_cm1: (c,), rising or falling; without, any two peaks are far enough apart.
      most: largest number of bands.
      least_distance_cm1: between any two of them, cm⁻¹.
    """
    size = np.abs(importance)
    padded = np.concatenate(([-1.0], size, [-1.0]))
    is_peak = (
        (size >= padded[:-2]) & (size >= padded[2:]) & (size > LEAST_PART_OF_LARGEST * size.max(initial=0.0))
    )
    chosen: list[int] = []
    for channel in np.flatnonzero(is_peak)[np.argsort(-size[is_peak], kind="stable")].tolist():
        near = wavenumbers_cm1 is not None and any(
            abs(wavenumbers_cm1[channel] - wavenumbers_cm1[other]) < least_distance_cm1 for other in chosen
        )
        if not near and len(chosen) < most:
            chosen.append(channel)
    return chosen
