"""A portable network as an ONNX model, and its run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from compseg_jax.runtime.versions import __version__

OPSET = 17
"""Operator set; ONNX Runtime reads it since 1.12 (2022). Nothing here needs a newer one."""
IR_VERSION = 8
PLAIN = {"softplus": "Softplus", "relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
LOWEST = float(np.finfo(np.float32).min)


def write(path: Path, network: PortableNetwork, metadata: Mapping[str, str]) -> None:
    """Writes and checks a model whose batch, height and width may be any.

    Raises:
      PortableError: where the package onnx is missing.
    """
    onnx = library("onnx", "onnx")
    graph = _Graph(onnx.helper, onnx.numpy_helper)
    for operation in network.operations:
        graph.add(operation)
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    shape = ("batch", network.channels, "y", "x")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "compsegnet",
            [helper.make_tensor_value_info(network.INPUT, number, shape, metadata.get("input", ""))],
            [
                helper.make_tensor_value_info(
                    network.OUTPUT, number, ("batch", 1, "y", "x"), metadata.get("output", "")
                )
            ],
            graph.constants,
        ),
        producer_name="compseg_jax",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(path))


def runner(path: Path) -> Callable[[Float[np.ndarray, "b c y x"]], Float[np.ndarray, "b 1 y x"]]:
    """The model as ONNX Runtime computes it on the CPU."""
    runtime = library("onnxruntime", "onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda absorbance: session.run(None, {PortableNetwork.INPUT: absorbance})[0]


FLOAT32 = 1
"""onnx.TensorProto.FLOAT."""


class _Graph:
    """Nodes and constants of an ONNX graph, one operation after the other."""

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._named: set[str] = set()
        self._helper, self._numpy_helper = helper, numpy_helper

    def node(self, kind: str, inputs: tuple[str, ...], *outputs: str, **attributes: Any) -> str:
        self.nodes.append(self._helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """An initialiser; the same name is the same value."""
        if name not in self._named:
            self._named.add(name)
            array = np.array(value, dtype, order="C")
            self.constants.append(self._numpy_helper.from_array(array, name))
        return name

    def per_channel(self, name: str, values: Float[np.ndarray, " c"]) -> str:
        return self.constant(name, values.reshape(1, -1, 1, 1))

    def add(self, operation: Operation) -> None:
        """Adds the nodes of an operation; the last one makes its output."""
        out, inputs = operation.output, operation.inputs
        match operation:
            case Convolution():
                self._convolution(operation)
            case UpConvolution():
                weights = self.constant(f"{out}.kernel", operation.kernel.transpose(2, 3, 0, 1))
                bias = self.constant(f"{out}.bias", operation.bias)
                self.node("ConvTranspose", (*inputs, weights, bias), out, kernel_shape=[2, 2], strides=[2, 2])
            case BilinearDoubling():
                scales = self.constant("doubling", [1, 1, 2, 2])
                mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
                self.node("Resize", (*inputs, "", scales), out, **mode)
            case Activation(kind="gelu"):
                self._gelu(inputs[0], out)
            case Activation():
                self.node(PLAIN[operation.kind], inputs, out)
            case Standardise():
                centred = self.node(
                    "Sub", (*inputs, self.per_channel("scaling.mean", operation.mean)), f"{out}.centred"
                )
                self.node("Div", (centred, self.per_channel("scaling.sd", operation.sd)), out)
            case TissueOf():
                size = self.node("Abs", inputs, f"{out}.absolute")
                largest = self.node("ReduceMax", (size,), f"{out}.largest", axes=[1], keepdims=1)
                self.node("Greater", (largest, self.constant("zero", 0.0)), out)
            case ZeroOutside():
                image, tissue = inputs
                self.node("Where", (tissue, image, self.constant("zero", 0.0)), out)
            case MaxPool():
                self.node("MaxPool", inputs, out, **POOL, ceil_mode=1)
            case MaxPoolWithPlaces():
                self.node("MaxPool", (self._even(inputs[0], out),), out, operation.places, **POOL)
            case Unpool():
                image, places, like = inputs
                whole = self.node("MaxUnpool", (image, places), f"{out}.whole", **POOL)
                self._crop(whole, like, out)
            case CropTo():
                self._crop(inputs[0], inputs[1], out)
            case Concatenate():
                self.node("Concat", inputs, out, axis=1)
            case Multiply():
                self.node("Mul", inputs, out)
            case Normalise():
                self._normalise(operation)
            case ShareOfHighest():
                self._share_of_highest(operation)
            case GaussianMean():
                self._gaussian_mean(operation)
            case _:
                raise TypeError(f"no ONNX nodes are known for {operation!r}")

    def _convolution(self, operation: Convolution) -> None:
        kernel, out = operation.kernel, operation.output
        inputs = (*operation.inputs, self.constant(f"{out}.kernel", kernel.transpose(3, 2, 0, 1)))
        if operation.bias is not None:
            inputs = (*inputs, self.constant(f"{out}.bias", operation.bias))
        self.node("Conv", inputs, out, kernel_shape=kernel.shape[:2], pads=[kernel.shape[0] // 2] * 4)

    def _crop(self, image: str, like: str, out: str) -> None:
        size = self.node("Shape", (like,), f"{out}.size", start=2)
        start, axes = self.constant("start", [0, 0], np.int64), self.constant("image_axes", [2, 3], np.int64)
        self.node("Slice", (image, start, size, axes), out)

    def _even(self, x: str, out: str) -> str:
        """One more row and column where either is odd: MaxUnpool only makes images of even size."""
        size = self.node("Shape", (x,), f"{out}.size", start=2)
        odd = self.node("Mod", (size, self.constant("two", [2, 2], np.int64)), f"{out}.odd")
        none = self.constant("no_padding", [0] * 6, np.int64)
        padding = self.node("Concat", (none, odd), f"{out}.padding", axis=0)
        return self.node("Pad", (x, padding, self.constant("lowest", LOWEST)), f"{out}.even")

    def _gelu(self, x: str, out: str) -> None:
        """x/2 · (1 + tanh(√(2/π) (x + .044715 x³))); the operator of that name came with set 20."""
        square = self.node("Mul", (x, x), f"{out}.square")
        cube = self.node("Mul", (square, x), f"{out}.cube")
        small = self.node("Mul", (cube, self.constant("gelu.cubic", 0.044715)), f"{out}.small")
        inner = self.node("Add", (x, small), f"{out}.inner")
        inner = self.node("Mul", (inner, self.constant("gelu.factor", np.sqrt(2 / np.pi))), f"{out}.scaled")
        curve = self.node("Tanh", (inner,), f"{out}.tanh")
        curve = self.node("Add", (curve, self.constant("one", 1.0)), f"{out}.curve")
        half = self.node("Mul", (x, self.constant("half", 0.5)), f"{out}.half")
        self.node("Mul", (half, curve), out)

    def _normalise(self, operation: Normalise) -> None:
        (x,), out = operation.inputs, operation.output
        grouped, axis = x, 1
        if not operation.per_pixel:
            shape = self.constant(f"{out}.shape", [0, operation.groups, -1], np.int64)
            grouped, axis = self.node("Reshape", (x, shape), f"{out}.grouped"), 2
        mean = self.node("ReduceMean", (grouped,), f"{out}.mean", axes=[axis])
        centred = self.node("Sub", (grouped, mean), f"{out}.centred")
        square = self.node("Mul", (centred, centred), f"{out}.square")
        variance = self.node("ReduceMean", (square,), f"{out}.variance", axes=[axis])
        raised = self.node(
            "Add", (variance, self.constant(f"{out}.epsilon", operation.epsilon)), f"{out}.raised"
        )
        sd = self.node("Sqrt", (raised,), f"{out}.sd")
        normal = self.node("Div", (centred, sd), f"{out}.normal")
        if not operation.per_pixel:
            normal = self.node("Reshape", (normal, self.node("Shape", (x,), f"{out}.size")), f"{out}.image")
        scaled = self.node(
            "Mul", (normal, self.per_channel(f"{out}.scale", operation.scale)), f"{out}.scaled"
        )
        self.node("Add", (scaled, self.per_channel(f"{out}.shift", operation.shift)), out)

    def _gaussian_mean(self, operation: GaussianMean) -> None:
        x, *tissue = operation.inputs
        out, weights = operation.output, operation.weights
        if tissue:
            counted = self.node("Cast", (*tissue,), f"{out}.counted", to=FLOAT32)
            x = self.node("Mul", (x, counted), f"{out}.of_tissue")
        else:
            # Ones of the size of the image: x·0 + 1.
            none = self.node("Mul", (x, self.constant("zero", 0.0)), f"{out}.none")
            counted = self.node("Add", (none, self.constant("one", 1.0)), f"{out}.counted")
        kernel = self.constant(f"{out}.kernel", np.outer(weights, weights)[None, None])
        around = {"kernel_shape": [weights.size] * 2, "pads": [weights.size // 2] * 4}
        total = self.node("Conv", (counted, kernel), f"{out}.total", **around)
        least = self.constant(f"{out}.least", least_total(weights))
        total = self.node("Max", (total, least), f"{out}.at_least")
        self.node("Div", (self.node("Conv", (x, kernel), f"{out}.sum", **around), total), out)

    def _share_of_highest(self, operation: ShareOfHighest) -> None:
        x, *tissue = operation.inputs
        out = operation.output
        seen = x
        if tissue:
            seen = self.node("Where", (*tissue, x, self.constant("lowest", LOWEST)), f"{out}.seen")
        highest = self.node("ReduceMax", (seen,), f"{out}.highest", axes=[1, 2, 3], keepdims=1)
        # Outside the tissue the difference may be above 0, and is not looked at.
        below = self.node("Sub", (x, highest), f"{out}.below")
        below = self.node("Min", (below, self.constant("zero", 0.0)), f"{out}.at_most_zero")
        self.node("Exp", (below,), out)
