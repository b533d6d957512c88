"""From an extracted U-Net or SegNet to the operations it consists of, scaling and reading included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.portable.operations import (
    Activation,
    ActivationKind,
    BilinearDoubling,
    Concatenate,
    Convolution,
    CropTo,
    GaussianMean,
    MaxPool,
    MaxPoolWithPlaces,
    Multiply,
    Normalise,
    Operation,
    PortableNetwork,
    ShareOfHighest,
    Standardise,
    TissueOf,
    Unpool,
    UpConvolution,
    ZeroOutside,
)
from compseg_jax.networks.normalisation import EPSILON, MOST_GROUPS
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.smoothing import gaussian_weights
from compseg_jax.networks.unet import UNet

Tree = Mapping[str, Any]
Path = tuple[str, ...]
INPUT, OUTPUT, TISSUE = PortableNetwork.INPUT, PortableNetwork.OUTPUT, "tissue"
# Of the second map, which an activation map read as probability does not look at.
MAY_BE_UNUSED = ("attention", "attention_content", "attention_gate")


class PortableError(ValueError):
    """A model cannot be written in a portable format; the message says why and what can be done."""


def refuse_undescribable(model: ExtractedNetwork) -> None:
    """Raises PortableError where a model is more than a list of plain operations."""
    network = model.network
    if type(network) not in (UNet, SegNet):
        raise PortableError(
            f"the network is {type(network).__module__}:{type(network).__qualname__}, a Flax module of your own; "
            "which operations it consists of is known for 'unet' and 'segnet' only. --format safetensors keeps its "
            "parameters, or write a converter with compseg_jax.model.portable.operations."
        )
    if network.activation_map == "saliency":
        raise PortableError(
            "the activation map of this model (activation_map='saliency') is a gradient of the network, and ONNX "
            "and TorchScript files hold its forward pass only. --format safetensors keeps the model whole for this "
            "package; a model with activation_map='probability' or 'attention' can be exported."
        )


def describe(model: ExtractedNetwork) -> PortableNetwork:
    """The operations of an extracted network, from prepared absorbance to its activation map, in float32.

    Scaling and the rule for tissue come first, the reading of the logits last; normalisation by statistics of the
    training is part of the convolution before it.

    Raises:
      PortableError: for a user's own module, a map that is a gradient, or parameters this release does not know.
    """
    refuse_undescribable(model)
    writer = _Writer(model.variables)
    tissue = (TISSUE,) if model.background == "zero" else ()
    x = INPUT
    if tissue:
        writer.add(TissueOf(TISSUE, (INPUT,)))
    x = writer.add(Standardise("standardised", (x,), model.scaling.mean, model.scaling.sd))
    if tissue:
        x = writer.add(ZeroOutside("scaled", (x, TISSUE)))
    network = model.network
    if network.front:
        front = writer.taken("params", "front", "kernel")
        x = writer.add(Convolution("front", (x,), front, None))
    body = _unet if type(network) is UNet else _segnet
    activation = _read(writer, network, body(writer, network, x), tissue)
    weights = gaussian_weights(network.smoothing_px)
    if weights.size > 1:
        activation = writer.add(GaussianMean("smoothed", (activation, *tissue), weights))
    if tissue:
        writer.add(ZeroOutside(OUTPUT, (activation, TISSUE)))
    writer.refuse_unused()
    return PortableNetwork(writer.finished(), len(model.scaling.mean))


class _Writer:
    """Operations written so far, and the variables of the network, each of which has to be taken."""

    def __init__(self, variables: Tree) -> None:
        self.leaves = dict(_leaves(variables))
        self.used: set[Path] = set()
        self.operations: list[Operation] = []

    def add(self, operation: Operation) -> str:
        self.operations.append(operation)
        return operation.output

    def finished(self) -> tuple[Operation, ...]:
        """The operations, the last of which makes the output."""
        *before, final = self.operations
        return (*before, dataclasses.replace(final, output=OUTPUT))

    def taken(self, *path: str) -> np.ndarray:
        self.used.add(path)
        return self.leaves[path]

    def has(self, *path: str) -> bool:
        return any(leaf[: len(path)] == path for leaf in self.leaves)

    def refuse_unused(self) -> None:
        unused = [path for path in self.leaves if path not in self.used and path[2] not in MAY_BE_UNUSED]
        if unused:
            raise PortableError(
                f"the network holds variables that this release has no operation for: {'/'.join(unused[0])} and "
                f"{len(unused) - 1} others. --format safetensors keeps them; please report it."
            )

    def linear(
        self, operation: type[Convolution] | type[UpConvolution], x: str, place: Path, norm: Path | None
    ) -> str:
        """A convolution, and in it the batch normalisation after it, if any: both are one linear map."""
        kernel, bias = self.taken("params", *place, "kernel"), self.taken("params", *place, "bias")
        if norm is not None and self.has("batch_stats", *norm):
            kernel, bias = _with_statistics(kernel, bias, *self.statistics(norm))
        return self.add(operation(".".join(place), (x,), kernel, bias))

    def statistics(self, norm: Path) -> tuple[np.ndarray, ...]:
        return (
            self.taken("params", *norm, "scale"),
            self.taken("params", *norm, "bias"),
            self.taken("batch_stats", *norm, "mean"),
            self.taken("batch_stats", *norm, "var"),
        )

    def normalised(self, x: str, place: Path, kind: str) -> str:
        """The normalisations that depend on the image itself; nothing for those that do not."""
        if kind not in ("group", "layer"):
            return x
        norm = (*place, f"{kind}_norm")
        scale, shift = (self.taken("params", *norm, name) for name in ("scale", "bias"))
        per_pixel = kind == "layer"
        groups = 1 if per_pixel else int(np.gcd(scale.size, MOST_GROUPS))
        return self.add(Normalise(".".join(norm), (x,), groups, per_pixel, EPSILON, scale, shift))

    def block(self, network: UNet | SegNet, x: str, name: str, n_convolutions: int = 2) -> str:
        """``n_convolutions`` times convolution, normalisation, activation."""
        for index in range(n_convolutions):
            norm = (name, f"Normalisation_{index}")
            x = self.linear(Convolution, x, (name, f"Conv_{index}"), (*norm, "batch_norm"))
            x = self.normalised(x, norm, network.normalisation)
            x = self.add(
                Activation(f"{name}.activation_{index}", (x,), cast(ActivationKind, network.activation))
            )
        return x


def _unet(writer: _Writer, network: UNet, x: str) -> str:
    skips = []
    for level in range(network.depth):
        skips.append(writer.block(network, x, f"down_{level}"))
        x = writer.add(MaxPool(f"pool_{level}", (skips[-1],)))
    x = writer.block(network, x, "bottleneck")
    for level, skip in reversed(list(enumerate(skips))):
        norm = (f"up_norm_{level}",)
        bilinear = network.way_up == "bilinear"
        x = writer.linear(
            Convolution if bilinear else UpConvolution, x, (f"up_{level}",), (*norm, "batch_norm")
        )
        if bilinear:
            x = writer.add(BilinearDoubling(f"doubled_{level}", (x,)))
        x = writer.normalised(x, norm, network.normalisation)
        x = writer.add(CropTo(f"cropped_{level}", (x, skip)))
        x = writer.add(Concatenate(f"joined_{level}", (skip, x)))
        x = writer.block(network, x, f"merge_{level}")
    return x


def _segnet(writer: _Writer, network: SegNet, x: str) -> str:
    whole = []
    for level in range(network.depth):
        x = writer.block(network, x, f"down_{level}", 2 if level < 2 else 3)
        whole.append(x)
        x = writer.add(MaxPoolWithPlaces(f"pool_{level}", (x,), f"places_{level}"))
    for level, before in reversed(list(enumerate(whole))):
        x = writer.add(Unpool(f"unpooled_{level}", (x, f"places_{level}", before)))
        x = writer.block(network, x, f"up_{level}", 1 if level < 2 else 2)
        x = writer.block(network, x, f"out_{level}", 1)
    return x


def _read(writer: _Writer, network: UNet | SegNet, x: str, tissue: tuple[str, ...]) -> str:
    """The head, and the activation map that predictions show."""
    place = ("params", "head", "Conv_0")
    kernel, bias = writer.taken(*place, "kernel"), writer.taken(*place, "bias")
    if network.head_norm:
        kernel, bias = _with_statistics(kernel, bias, *writer.statistics(("head", "BatchNorm_0")))
    logit = writer.add(Convolution("logit", (x,), kernel[..., :1], bias[:1]))
    probability = writer.add(Activation("probability", (logit,), "sigmoid"))
    if network.activation_map == "probability":
        return probability
    if network.attention_features:
        attention = _gated_attention(writer, x)
    else:
        attention = writer.add(Convolution("attention", (x,), kernel[..., 1:2], bias[1:2]))
    share = writer.add(ShareOfHighest("attention_share", (attention, *tissue)))
    return writer.add(Multiply("attended", (probability, share)))


def _gated_attention(writer: _Writer, x: str) -> str:
    """wᵀ(tanh(Vh) ⊙ sigmoid(Uh)), as in ``compseg_jax.networks.layers.Head``."""
    content = writer.linear(Convolution, x, ("head", "attention_content"), None)
    content = writer.add(Activation("content", (content,), "tanh"))
    gate = writer.linear(Convolution, x, ("head", "attention_gate"), None)
    gate = writer.add(Activation("gate", (gate,), "sigmoid"))
    gated = writer.add(Multiply("gated", (content, gate)))
    return writer.linear(Convolution, gated, ("head", "attention"), None)


def _with_statistics(
    kernel: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution and the batch normalisation after it; computed in double precision."""
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + EPSILON)
    return (kernel * factor).astype(np.float32), ((bias - mean) * factor + shift).astype(np.float32)


def _leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), np.asarray(value, np.float32)
