"""A portable network as TorchScript, and its run by PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compseg_jax.model.portable.libraries import library
from compseg_jax.model.portable.operations import (
    Activation,
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
from compseg_jax.networks.smoothing import least_total

METADATA = "compseg.json"
"""Name of the metadata inside the file, for ``torch.jit.load(…, _extra_files={"compseg.json": ""})``."""
POOL = (
    [2, 2],
    [2, 2],
    [0, 0],
    [1, 1],
    True,
)  # window, stride, padding, dilation, cells of their own at the end
Images = dict[str, Any]


def write(path: Path, network: PortableNetwork, metadata: str) -> None:
    """Writes a traced module: prepared absorbance (b, c, y, x) → activation map (b, 1, y, x), any b, y, x.

    Raises:
      PortableError: where PyTorch is missing.
    """
    torch = library("torch", "torch")
    module = _module(torch, network)
    # Sizes are read from the images while running, so one odd size stands for all (docs/portable.md, tested).
    example = torch.ones(2, network.channels, 19, 13)
    with torch.no_grad(), deprecation_of_torchscript_ignored():
        traced = torch.jit.trace(module, example, check_trace=False)
        torch.jit.save(traced, str(path), _extra_files={METADATA: metadata})


def runner(path: Path) -> Callable[[Float[np.ndarray, "b c y x"]], Float[np.ndarray, "b 1 y x"]]:
    """The file as PyTorch computes it on the CPU."""
    torch = library("torch", "torch")
    with deprecation_of_torchscript_ignored():
        module = torch.jit.load(str(path), map_location="cpu")

    def run(absorbance: Float[np.ndarray, "b c y x"]) -> Float[np.ndarray, "b 1 y x"]:
        with torch.no_grad():
            return module(torch.from_numpy(absorbance)).numpy()

    return run


@contextmanager
def deprecation_of_torchscript_ignored() -> Iterator[None]:
    """PyTorch 2.9 and newer advise against TorchScript; it is the format that was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning
        )
        yield


def _module(torch: Any, network: PortableNetwork) -> Any:
    """A module that keeps the weights as buffers and runs one operation after the other."""

    class Portable(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for operation in network.operations:
                for name, array in _weights(operation).items():
                    self.register_buffer(_buffer(operation, name), torch.from_numpy(array))

        def forward(self, absorbance: Any) -> Any:
            images = {network.INPUT: absorbance}
            for operation in network.operations:
                weights = {name: getattr(self, _buffer(operation, name)) for name in _weights(operation)}
                images[operation.output] = _apply(torch, operation, images, weights)
            return images[network.OUTPUT]

    return Portable().eval()


def _buffer(operation: Operation, name: str) -> str:
    return f"{operation.output}_{name}".replace(".", "_")


def _weights(operation: Operation) -> dict[str, np.ndarray]:
    """Arrays of an operation in the order of PyTorch, by name."""
    match operation:
        case Convolution():
            arrays = {"kernel": operation.kernel.transpose(3, 2, 0, 1)}
            if operation.bias is not None:
                arrays["bias"] = operation.bias
        case UpConvolution():
            arrays = {"kernel": operation.kernel.transpose(2, 3, 0, 1), "bias": operation.bias}
        case Standardise():
            arrays = {name: getattr(operation, name).reshape(1, -1, 1, 1) for name in ("mean", "sd")}
        case Normalise():
            arrays = {"scale": operation.scale, "shift": operation.shift}
        case GaussianMean():
            arrays = {"kernel": np.outer(operation.weights, operation.weights)[None, None]}
        case _:
            arrays = {}
    return {name: np.array(array, np.float32, order="C") for name, array in arrays.items()}


def _apply(torch: Any, operation: Operation, images: Images, weights: Mapping[str, Any]) -> Any:
    """The output of an operation."""
    functional = torch.nn.functional
    inputs = [images[name] for name in operation.inputs]
    x = inputs[0]
    match operation:
        case Convolution():
            padding = operation.kernel.shape[0] // 2
            return functional.conv2d(x, weights["kernel"], weights.get("bias"), padding=padding)
        case UpConvolution():
            return functional.conv_transpose2d(x, weights["kernel"], weights["bias"], stride=2)
        case BilinearDoubling():
            return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        case Activation():
            return _activation(torch, operation.kind, x)
        case Standardise():
            return (x - weights["mean"]) / weights["sd"]
        case TissueOf():
            return (x != 0).any(1, True)
        case ZeroOutside():
            return torch.where(inputs[1], x, 0.0)
        case MaxPool():
            return torch.ops.aten.max_pool2d(x, *POOL)
        case MaxPoolWithPlaces():
            pooled, images[operation.places] = torch.ops.aten.max_pool2d_with_indices(x, *POOL)
            return pooled
        case Unpool():
            # Tracing would freeze the size that max_unpool2d is given.
            _, places, like = inputs
            empty = torch.zeros_like(like).flatten(2)
            return empty.scatter(2, places.flatten(2), x.flatten(2)).view_as(like)
        case CropTo():
            return x[:, :, : inputs[1].shape[2], : inputs[1].shape[3]]
        case Concatenate():
            return torch.cat(inputs, 1)
        case Multiply():
            return x * inputs[1]
        case Normalise():
            return _normalised(torch, operation, x, weights)
        case ShareOfHighest():
            lowest = torch.finfo(torch.float32).min
            seen = torch.where(inputs[1], x, lowest) if len(inputs) > 1 else x
            # Outside the tissue the difference may be above 0, and is not looked at.
            return torch.exp(torch.clamp(x - seen.amax((1, 2, 3), True), max=0.0))
        case GaussianMean():
            counted = inputs[1].to(x.dtype) if len(inputs) > 1 else torch.ones_like(x)
            total = _sum_around(torch, counted, weights["kernel"])
            return _sum_around(torch, counted * x, weights["kernel"]) / total.clamp_min(
                least_total(operation.weights)
            )
    raise TypeError(f"PyTorch's word for {operation!r} is not known")


def _sum_around(torch: Any, x: Any, kernel: Any) -> Any:
    return torch.nn.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


def _activation(torch: Any, kind: str, x: Any) -> Any:
    functional = torch.nn.functional
    if kind == "gelu":
        return functional.gelu(x, approximate="tanh")
    return {
        "softplus": functional.softplus,
        "relu": functional.relu,
        "elu": functional.elu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }[kind](x)


def _normalised(torch: Any, operation: Normalise, x: Any, weights: Mapping[str, Any]) -> Any:
    scale, shift = weights["scale"], weights["shift"]
    if not operation.per_pixel:
        return torch.group_norm(x, operation.groups, scale, shift, operation.epsilon, True)
    pixels = x.permute(0, 2, 3, 1)
    return torch.layer_norm(pixels, scale.shape, scale, shift, operation.epsilon).permute(0, 3, 1, 2)
