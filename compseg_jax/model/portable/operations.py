"""A network as a list of plain operations on named images, each with NumPy weights.

Images are (b, c, y, x) here, as ONNX and PyTorch order them; kernels keep the order of Flax, (y, x, in, out). Every
operation says what it computes; what writes a format turns one after the other into its own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from numpy import ndarray

ActivationKind = Literal["softplus", "relu", "gelu", "elu", "sigmoid", "tanh"]


@dataclass(frozen=True, eq=False)
class Operation:
    """One step: reads the images ``inputs``, makes the image ``output``."""

    output: str
    inputs: tuple[str, ...]


class TissueOf(Operation):
    """(b, 1, y, x), true where any channel of a pixel is not 0."""


class ZeroOutside(Operation):
    """The first image where the second is true, 0 elsewhere."""


@dataclass(frozen=True, eq=False)
class Standardise(Operation):
    """(x − mean)/sd, a number a channel."""

    mean: Float[ndarray, " c"]
    sd: Float[ndarray, " c"]


@dataclass(frozen=True, eq=False)
class Convolution(Operation):
    """3×3 or 1×1 convolution with stride 1, zeros around the image ('same')."""

    kernel: Float[ndarray, "n n c k"]
    bias: Float[ndarray, " k"] | None


@dataclass(frozen=True, eq=False)
class UpConvolution(Operation):
    """2×2 transposed convolution with stride 2: height and width double."""

    kernel: Float[ndarray, "2 2 c k"]
    bias: Float[ndarray, " k"]


class BilinearDoubling(Operation):
    """Twice as many rows and columns, each ¾ of the nearest and ¼ of the next; edges are repeated."""


@dataclass(frozen=True, eq=False)
class Activation(Operation):
    """A function of each number; 'gelu' is the form with tanh, 'elu' has α = 1."""

    kind: ActivationKind


class MaxPool(Operation):
    """2×2 maximum with stride 2; an odd last row or column forms cells of its own."""


@dataclass(frozen=True, eq=False)
class MaxPoolWithPlaces(Operation):
    """The same, and under the name ``places`` where each maximum was, the first of equals row by row."""

    places: str


class Unpool(Operation):
    """Puts each number of the first image where the second (places) says, zeros elsewhere, as large as the third."""


class CropTo(Operation):
    """The top left part of the first image, as large as the second."""


class Concatenate(Operation):
    """The channels of all inputs, one after the other."""


class Multiply(Operation):
    """The product of two images."""


@dataclass(frozen=True, eq=False)
class Normalise(Operation):
    """Mean 0 and variance 1 over each of ``groups`` of channels, then a scale and shift a channel.

    Over all pixels of an image (``per_pixel`` false) or over the channels of each pixel alone.
    """

    groups: int
    per_pixel: bool
    epsilon: float
    scale: Float[ndarray, " c"]
    shift: Float[ndarray, " c"]


class ShareOfHighest(Operation):
    """exp(x − highest x of the image); the highest of the tissue where a second input says what that is."""


@dataclass(frozen=True, eq=False)
class GaussianMean(Operation):
    """Mean of the first image over the pixels around each, zeros around the image ('same').

    Weighted by the outer product of ``weights`` with itself; of tissue alone where a second input says what that is.
    """

    weights: Float[ndarray, " n"]


@dataclass(frozen=True, eq=False)
class PortableNetwork:
    """A network with its scaling and its reading: prepared absorbance → activation map.

    Attributes:
      operations: in order; each reads ``absorbance`` or what an earlier one made, the last one makes ``activation``.
      channels: channels of ``absorbance``, a float32 image (b, c, y, x).
    """

    operations: tuple[Operation, ...]
    channels: int

    INPUT = "absorbance"
    OUTPUT = "activation"
