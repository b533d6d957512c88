"""A portable network as a model package of bioimage.io: weights, a test image with its result, the model card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.model_card import card, channels_in_words, out_of_scope, steps_in_words
from compseg_jax.model.portable import onnx_file, torchscript
from compseg_jax.model.portable.comparison import (
    TOLERANCE,
    expected_activation,
    random_cubes,
    refuse_disagreement,
)
from compseg_jax.model.portable.description import PortableError, describe
from compseg_jax.model.portable.facts import facts, instructions
from compseg_jax.model.portable.libraries import library
from compseg_jax.model.portable.operations import PortableNetwork
from compseg_jax.runtime.extras import install_line

TEST_SIZE = (1, 48, 32)
LEAST_SIZE_PX = 16
ONNX, TORCHSCRIPT = "network.onnx", "network.pt"
NO_TORCHSCRIPT = (
    "It holds ONNX alone, as it was written without PyTorch: QuPath and deepImageJ run TorchScript."
)
INPUT, OUTPUT = PortableNetwork.INPUT, PortableNetwork.OUTPUT
CITED = {
    "CompSegNet": (
        "Schuhmacher, Gerwert and Mosig: A Generic Neural Network Approach to Infer Segmenting Classifiers for "
        "Disease-Associated Regions in Medical Images",
        "10.1101/2020.02.27.20028845",
    ),
    "UNet": (
        "Ronneberger, Fischer and Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "10.1007/978-3-319-24574-4_28",
    ),
    "SegNet": (
        "Badrinarayanan, Kendall and Cipolla: SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image "
        "Segmentation",
        "10.1109/TPAMI.2016.2644615",
    ),
}


@dataclass(frozen=True)
class Publication:
    """What a package has to say that no model knows.

    Attributes:
      name: letters, digits, spaces and _ + - ( ), 5 to 128 of them.
      authors: who made the model.
      license: SPDX identifier.
    """

    name: str
    authors: tuple[str, ...]
    license: str


def write(path: Path, folder: Path, model: ExtractedNetwork, publication: Publication) -> str:
    """Writes a package, validates it and runs its test.

    Args:
      path: zip file to write.
      folder: where its files may be put; they are of no use afterwards.
      model: the model.
      publication: name, authors and licence.

    Returns:
      what was checked, in words.

    Raises:
      PortableError: when a library is missing, the network disagrees with the model, or the validator or the test
        of bioimage.io refuses the package, with what it says.
    """
    spec, core = library("bioimageio.spec", "bioimageio"), library("bioimageio.core", "bioimageio")
    has_torch = find_spec("torch") is not None
    metadata = facts(
        model, "onnx", "onnxruntime", "bioimageio.spec", "bioimageio.core", *(["torch"] if has_torch else [])
    )
    network = describe(model)
    onnx_file.write(folder / ONNX, network, metadata)
    difference = refuse_disagreement(model, onnx_file.runner(folder / ONNX), "bioimageio")
    weights = {"onnx": f"onnxruntime {version('onnxruntime')}"}
    if has_torch:
        torchscript.write(folder / TORCHSCRIPT, network, json.dumps(metadata, indent=1))
        runner = torchscript.runner(folder / TORCHSCRIPT)
        difference = max(difference, refuse_disagreement(model, runner, "bioimageio"))
        weights["torchscript"] = f"torch {version('torch')}"
    cubes = random_cubes(model, *TEST_SIZE)
    np.save(folder / "test_input.npy", cubes)
    np.save(folder / "test_output.npy", expected_activation(model, cubes))
    readme = _readme(model, publication, has_torchscript=has_torch)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / "compseg.json").write_text(
        json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    with _quiet():
        try:
            description = _description(spec.model.v0_5, folder, model, publication)
            spec.save_bioimageio_package(description, output_path=path)
        except ValueError as error:
            raise PortableError(f"bioimage.io does not accept the package: {error}") from error
        for name in weights:
            summary = core.test_model(path, weight_format=name, stop_early=True)
            if summary.status != "passed":
                raise PortableError(
                    f"the package does not pass the test of bioimage.io ({name}):\n{summary.format()}"
                )
    without = "" if has_torch else f". {NO_TORCHSCRIPT} Install it for both with: {install_line('torch')}"
    return (
        f"accepted by bioimageio.spec {version('bioimageio.spec')}, its test passed by bioimageio.core "
        f"{version('bioimageio.core')}; differs from the model by {difference:.1g} at most on random cubes "
        f"({', '.join(weights.values())}){without}"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """bioimage.io's tools log every step; what matters is in their result."""
    logger = library("loguru", "bioimageio").logger
    logger.disable("bioimageio")
    try:
        yield
    finally:
        logger.enable("bioimageio")


def _description(v0_5: Any, folder: Path, model: ExtractedNetwork, publication: Publication) -> Any:
    """The contents of rdf.yaml."""
    kind = type(model.network).__name__
    expected = np.load(folder / "test_output.npy")
    # More than a hundredth of the largest value is not allowed.
    absolute = float(min(TOLERANCE, 0.009 * expected.max()))
    tolerance = v0_5.ReproducibilityTolerance(absolute_tolerance=absolute)

    def file(name: str) -> Any:
        return v0_5.FileDescr(source=folder / name)

    return v0_5.ModelDescr(
        name=publication.name,
        description=f"Segments diseased regions in images of {channels_in_words(model)} (CompSegNet).",
        authors=[v0_5.Author(name=name) for name in publication.authors],
        license=publication.license,
        cite=[v0_5.CiteEntry(text=text, doi=doi) for text, doi in (CITED["CompSegNet"], CITED[kind])],
        documentation=file("README.md"),
        attachments=[file("compseg.json")],
        tags=["semantic-segmentation", "2d", "tissue", "other", "compsegnet", kind.lower(), "spectroscopy"],
        inputs=[_input(v0_5, model, file("test_input.npy"))],
        outputs=[_output(v0_5, file("test_output.npy"))],
        weights=_weights(v0_5, folder),
        config=v0_5.Config(
            bioimageio=v0_5.BioimageioConfig(
                reproducibility_tolerance=[tolerance],
                architecture_type=kind,
                task="semantic segmentation",
                model_parameter_count=sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"])),
                out_of_scope_use=out_of_scope(model),
            ),
            compseg={"threshold": float(model.threshold), "background": model.background},
        ),
    )


def _weights(v0_5: Any, folder: Path) -> Any:
    """ONNX, and what was converted to TorchScript beside it."""
    scripted = folder / TORCHSCRIPT
    return v0_5.WeightsDescr(
        onnx=v0_5.OnnxWeightsDescr(source=folder / ONNX, opset_version=onnx_file.OPSET),
        torchscript=v0_5.TorchscriptWeightsDescr(
            source=scripted, parent="onnx", pytorch_version=version("torch").partition("+")[0]
        )
        if scripted.is_file()
        else None,
    )


def _input(v0_5: Any, model: ExtractedNetwork, test: Any) -> Any:
    before = steps_in_words(model)
    size = v0_5.ParameterizedSize(min=LEAST_SIZE_PX, step=1)
    return v0_5.InputTensorDescr(
        id=INPUT,
        description="Absorbance, unscaled." + (f" Before it: {'; '.join(before)}."[:900] if before else ""),
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=_channel_names(model)),
            v0_5.SpaceInputAxis(id="y", size=size),
            v0_5.SpaceInputAxis(id="x", size=size),
        ],
        test_tensor=test,
    )


def _channel_names(model: ExtractedNetwork) -> list[str]:
    """One a channel; bioimage.io before 0.5.12 wants names as programs have them."""
    if model.wavenumbers_cm1 is None:
        return [f"channel_{number}" for number in range(len(model.scaling.mean))]
    numbers = (f"{each:.10g}".replace(".", "_").replace("-", "minus_") for each in model.wavenumbers_cm1)
    return [f"wavenumber_{number}_cm1" for number in numbers]


def _output(v0_5: Any, test: Any) -> Any:
    return v0_5.OutputTensorDescr(
        id=OUTPUT,
        description="Activation map, 0 to 1; config.compseg.threshold states above which value a pixel is segmented.",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=["activation"]),
            *(
                v0_5.SpaceOutputAxis(id=name, size=v0_5.SizeReference(tensor_id=INPUT, axis_id=name))
                for name in ("y", "x")
            ),
        ],
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
        test_tensor=test,
    )


def _readme(model: ExtractedNetwork, publication: Publication, *, has_torchscript: bool) -> str:
    """The model card, and what a program that runs the package has to do."""
    text = card(
        model,
        title=publication.name,
        licence=publication.license,
        use=instructions(model),
    )
    return f"""{text}
- Weights: {"ONNX and TorchScript" if has_torchscript else f"ONNX. {NO_TORCHSCRIPT}"}
- Height and width: any from {LEAST_SIZE_PX} on.
- `compseg.json` holds the axis, the fitted steps that come before the network, and the versions it was written with.
  The Python package compseg_jax applies these steps.

## Validation

On samples of other patients and, better, another instrument, none of them used in training: compare the share of tissue
above the threshold between diseased and healthy samples (area under the ROC curve), and the segmented region with masks
drawn by experts (Dice). The test tensors are simulated: they show that a program computes the network right, and
nothing about its quality.
"""
