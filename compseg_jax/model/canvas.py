"""Few sizes for images of any: each lies in the top left corner of a canvas, and each canvas has one program.

Compiling takes seconds, computing an image of a hundred pixels a side less than one; so sizes are rounded up, further
where images are small. What is computed beyond the image is never seen (`networks.extent`); an image that fills its
canvas has a program without masks.
"""

from __future__ import annotations

import numpy as np

from compseg_jax.networks.build import Module
from compseg_jax.networks.extent import Extent, takes_extent

FINEST_STEP_PX = 32
STEPS_AN_OCTAVE = 4
SHORTEST_HALF_PX = 128
LARGEST_PX = 512 * 512
"""Pixels of a canvas; larger images are so much work that compiling for their own size is little beside it."""


def canvas_px(shape_px: tuple[int, int], network: Module) -> tuple[int, int]:
    """Rows and columns of the canvas on which a network sees an image.

    The longer side is rounded up to a multiple of 32 pixels up to 256, of 64 up to 512, and so on: by less than a
    quarter where it is above 128 pixels. The shorter side is the longer one, halved as often as the image still fits
    and 128 pixels are left. So images of up to 256 pixels a side share ten sizes, those of an array of cores two or
    three. Where the canvas would have more than 512 × 512 pixels, or the network is one of the user's own, it is the
    image.
    """
    longer = _rounded_up(max(shape_px))
    sides = []
    for length in shape_px:
        side = longer
        while side % 2 == 0 and length <= side // 2 >= SHORTEST_HALF_PX:
            side //= 2
        sides.append(side)
    height, width = sides
    return (height, width) if takes_extent(network) and height * width <= LARGEST_PX else shape_px


def extent_of(shape_px: tuple[int, int], canvas: tuple[int, int], images: int = 1) -> Extent | None:
    """What a network is told of images of one size on their canvases; None where they fill them."""
    if shape_px == canvas:
        return None
    rows, columns = (np.full(images, length, np.int32) for length in shape_px)
    return Extent(rows, columns)


def on_canvas(image: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """An image (y, x) or (y, x, c) with zeros below and beside it; itself where it has that size."""
    if image.shape[:2] == size_px:
        return image
    canvas = np.zeros((*size_px, *image.shape[2:]), image.dtype)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def _rounded_up(length: int) -> int:
    octave = 1 << (length - 1).bit_length()  # the power of two that is not below it
    step = max(octave // (2 * STEPS_AN_OCTAVE), FINEST_STEP_PX)
    return -(-length // step) * step
