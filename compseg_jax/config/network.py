"""The segmenting network and how its output is read."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal

from compseg_jax.config.ranges import Range, check_ranges

MOST_FEATURES = 65_536
"""Features of the deepest level: a 3×3 kernel between two such levels holds 144 GiB."""


@dataclass(frozen=True)
class Network:
    """The segmenting network."""

    network: str = "unet"
    """'unet', 'segnet', or package.module:Class, a Flax linen module of your own. Of the fields below those
    that your class has are passed on, and 'maps', the number of logits per pixel."""
    base: Annotated[int, Range(1, 1024)] = 16
    """Features of the first level; each deeper level doubles them (the paper: 64)."""
    depth: Annotated[int, Range(0, 8)] = 4
    """Number of 2×2 poolings."""
    activation: Literal["softplus", "relu", "gelu", "elu"] = "softplus"
    """Activation of every hidden layer."""
    kernel_init: Literal["glorot_uniform", "glorot_normal", "he_normal", "lecun_normal"] = "glorot_uniform"
    """Initialiser of the kernels."""
    way_up: Literal["transposed", "bilinear"] = "transposed"
    """From a level of the U-Net to the one above: 'transposed', the paper's 2×2 up-convolution, whose four pixels of a
    cell learn apart, so that maps can be combed; 'bilinear', a 1×1 convolution and bilinear doubling."""
    normalisation: Literal["none", "batch", "group", "layer"] = "none"
    """After every hidden convolution: over the batch, over groups of features of a sample, or over the features
    of a pixel."""
    dropout: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Share of features dropped after the encoder's convolutions from the second level on."""
    head_bias: Annotated[float, Range(-100, 100)] = 0.0
    """Starting bias of the logits; −3 starts the activation map at 5 %, where labels carry information."""
    head_norm: bool = False
    """Normalise the logits over the batch, so that they start with standard deviation 1."""
    attention_features: Annotated[int, Range(0, 4096)] = 0
    """Hidden features of the gated attention that makes the second map (0: a linear second map)."""
    front: Annotated[int, Range(0, 4096)] = 0
    """Features that a linear projection of each spectrum makes before the network (0: none); left out of cubes of fewer
    than four times as many channels. Once trained it can be folded into the first convolution."""
    front_start: Literal["random", "principal_components"] = "random"
    """Where that projection starts: at random, or at the leading principal components of the training tissue's spectra,
    each to variance 1."""
    activation_map: Literal["probability", "attention", "saliency"] = "probability"
    """What a prediction shows: the probability of each pixel, that times its attention (the second map), or the
    gradient of the sample's score by the pixel's spectrum."""
    smoothing_px: Annotated[float, Range(0, 16)] = 0.0
    """Standard deviation in pixels of the Gaussian mean over tissue that a finished map goes through (0: none). It
    changes no logit, so nothing of the training; `smooth_maps` chooses it afterwards."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision inside the network; parameters, logits, pooling and loss are float32 either way."""
    remat: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    convolution: Literal["fast", "plain"] = "fast"
    """'fast': 3×3 convolutions written out for CPUs where a shape gains from it. 'plain': XLA's own everywhere."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.base * 2**self.depth > MOST_FEATURES:
            raise ValueError(
                f"base={self.base} and depth={self.depth}: the deepest level has base·2^depth features, which must be "
                f"at most {MOST_FEATURES:,}."
            )

    @property
    def is_foreign(self) -> bool:
        """Whether it is code of the user's own, package.module:Class."""
        return ":" in self.network


def refuse_foreign(
    name: str, allowed: str, place: PurePath | str, *, error: type[ValueError] = ValueError
) -> None:
    """Refuses a network of somebody's own that the caller has not named.

    Recipes, runs and models are data that others may have made: none runs code because it names some.

    Args:
      name: the network that a file asks for.
      allowed: the one that the caller names; empty where none.
      place: the file, for the message.
      error: what is raised.
    """
    if ":" in name and name != allowed:
        raise error(
            f"{place}: asks for the network {name!r}, which is none of compseg's: importing it would run code on this "
            f"machine. Where you trust it, allow it by its name: {shlex.join(['--network', name])} (in Python, "
            f"network={name!r})."
        )
