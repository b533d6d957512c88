"""Which pixels of a cube reach a pixel of the activation map: what makes tiles of it exact.

A tile gives the same map as the whole image wherever every pixel that matters lies in the tile and the 2×2 cells
of all poolings fall on the same pixels. Both are known exactly for the package's networks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import flax.linen as nn

from compseg_jax.networks.part import PART_LEVELS
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.smoothing import reach_px
from compseg_jax.networks.unet import UNet


@dataclass(frozen=True)
class ReceptiveField:
    """Reach of an encoder-decoder of 3×3 convolutions, 2×2 poolings and their inverse, along one axis.

    Attributes:
      encoder: convolutions of each level on the way down, the full-resolution level first.
      decoder: the same on the way up.
      bottom: convolutions below the last pooling.
      skips: whether a level's features also reach the decoder directly (U-Net); otherwise only the places of the
        maxima do (SegNet).
      doubling: pixels of the level below beside the own one that the way up takes in (1 for bilinear doubling).
      smoothing: pixels on each side that the map is smoothed over.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    bottom: int
    skips: bool
    doubling: int = 0
    smoothing: int = 0

    @property
    def multiple(self) -> int:
        """What a tile's start must be a multiple of, so that the cells of all poolings stay where they are."""
        return int(2 ** len(self.encoder))

    def needed(self, first: int, last: int, level: int = 0) -> tuple[int, int]:
        """First and last input pixel that outputs ``first`` to ``last`` depend on, on an axis without ends.

        Args:
          first: an output pixel; its place among the cells of the poolings counts.
          last: another one, not before it.
          level: poolings before both (for the recursion).
        """
        if level == 0:
            first, last = first - self.smoothing, last + self.smoothing
        if level == len(self.encoder):
            return first - self.bottom, last + self.bottom
        low, high = first - self.decoder[level], last + self.decoder[level]
        deeper = self.needed((low - self.doubling) // 2, (high + self.doubling) // 2, level + 1)
        places = (low, high) if self.skips else (2 * (low // 2), 2 * (high // 2) + 1)
        low, high = min(places[0], 2 * deeper[0]), max(places[1], 2 * deeper[1] + 1)
        return low - self.encoder[level], high + self.encoder[level]

    def window(self, first: int, last: int, length: int) -> tuple[int, int]:
        """Start and stop of the least tile in which outputs ``first`` to ``last`` (not included) are exact.

        It starts at a multiple of ``multiple`` and stops at one, or at the end of the axis.
        """
        low, high = self.needed(first, last - 1)
        multiple = self.multiple
        return max(0, low // multiple * multiple), min(length, -(-(high + 1) // multiple) * multiple)

    @property
    def blurred(self) -> int:
        """Pixels along the edge of a part (``networks.part``) that come out wrong: what its levels take in."""
        return self.smoothing + functools.reduce(
            lambda deeper, convolutions: 2 * deeper + self.doubling + convolutions,
            reversed(self.decoder[:PART_LEVELS]),
            0,
        )

    @property
    def part_multiple(self) -> int:
        """What the start of a part must be a multiple of."""
        return int(2 ** min(len(self.decoder), PART_LEVELS))

    @property
    def margin(self) -> int:
        """Pixels beside a stretch that begins and ends at multiples of ``multiple`` that reach into it."""
        return -self.needed(0, self.multiple - 1)[0]


def receptive_field(network: nn.Module) -> ReceptiveField | None:
    """The reach of a network at prediction; None where any pixel may reach any other (``why_not_local``)."""
    if why_not_local(network):
        return None
    depth = getattr(network, "depth", 0)
    smoothing = reach_px(getattr(network, "smoothing_px", 0.0))
    if isinstance(network, UNet):
        return ReceptiveField(
            (2,) * depth,
            (2,) * depth,
            bottom=2,
            skips=True,
            doubling=int(network.way_up == "bilinear"),
            smoothing=smoothing,
        )
    convolutions = tuple(2 if level < 2 else 3 for level in range(depth))
    return ReceptiveField(convolutions, convolutions, bottom=0, skips=False, smoothing=smoothing)


def why_not_local(network: nn.Module) -> str:
    """Why a network must see an image whole, in the middle of a sentence; empty where tiles are exact."""
    if type(network) not in (UNet, SegNet):
        return f"the reach of {type(network).__name__}, a network of your own, is not known"
    if getattr(network, "normalisation", "none") == "group":
        return "group normalisation takes its mean and variance from the whole image"
    reading = getattr(network, "activation_map", "probability")
    if reading == "attention":
        return "attention is scaled by its highest value in the image"
    if reading == "saliency":
        return "saliency is the gradient of the score of the whole image"
    return ""
