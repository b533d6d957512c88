"""A portable network as a model package of bioimage.io: ONNX weights, a test image with its result, a README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.portable import onnx_file
from compseg_jax.model.portable.comparison import (
    TOLERANCE,
    expected_activation,
    random_cubes,
    refuse_disagreement,
)
from compseg_jax.model.portable.description import PortableError, describe
from compseg_jax.model.portable.facts import channels_in_words, facts, instructions, steps_in_words
from compseg_jax.model.portable.libraries import library
from compseg_jax.model.portable.operations import PortableNetwork

TEST_SIZE = (1, 48, 32)
LEAST_SIZE_PX = 16
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
LEARNT_FROM = {
    "label": "Labels of whole samples trained it, and no mask: it marks what tells diseased samples from healthy ones "
    "in its training data, which may be something other than the disease.",
    "reference": "Reference masks trained it: it marks what resembles the masked regions of its training data.",
}
NO_DEVICE = "It is for research and no medical device."


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
    metadata = facts(model, "onnx", "onnxruntime", "bioimageio.spec", "bioimageio.core")
    weights = folder / "network.onnx"
    onnx_file.write(weights, describe(model), metadata)
    difference = refuse_disagreement(model, onnx_file.runner(weights), "bioimageio")
    cubes = random_cubes(model, *TEST_SIZE)
    np.save(folder / "test_input.npy", cubes)
    np.save(folder / "test_output.npy", expected_activation(model, cubes))
    (folder / "README.md").write_text(_readme(model, publication), encoding="utf-8")
    (folder / "compseg.json").write_text(
        json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    with _quiet():
        try:
            description = _description(spec.model.v0_5, folder, model, publication)
            spec.save_bioimageio_package(description, output_path=path)
        except ValueError as error:
            raise PortableError(f"bioimage.io does not accept the package: {error}") from error
        summary = core.test_model(path, weight_format="onnx", stop_early=True)
    if summary.status != "passed":
        raise PortableError(f"the package does not pass the test of bioimage.io:\n{summary.format()}")
    return (
        f"accepted by bioimageio.spec {version('bioimageio.spec')}, its test passed by bioimageio.core "
        f"{version('bioimageio.core')}; differs from the model by {difference:.1g} at most on random cubes "
        f"(onnxruntime {version('onnxruntime')})"
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
        weights=v0_5.WeightsDescr(
            onnx=v0_5.OnnxWeightsDescr(source=folder / "network.onnx", opset_version=onnx_file.OPSET)
        ),
        config=v0_5.Config(
            bioimageio=v0_5.BioimageioConfig(
                reproducibility_tolerance=[tolerance],
                architecture_type=kind,
                task="semantic segmentation",
                model_parameter_count=sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"])),
                out_of_scope_use=_limits(model),
            ),
            compseg={"threshold": float(model.threshold), "background": model.background},
        ),
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


def _limits(model: ExtractedNetwork) -> str:
    """What the network learnt from, where its model.json says so, and what it is not for."""
    target = model.description.get("config", {}).get("objective", {}).get("target")
    return " ".join([*([LEARNT_FROM[target]] if target in LEARNT_FROM else []), NO_DEVICE])


def _readme(model: ExtractedNetwork, publication: Publication) -> str:
    pixel = model.description.get("pixel_size_um")
    recipe = model.description.get("recipe")
    return f"""# {publication.name}

A {type(model.network).__name__} that segments diseased regions, trained with compseg_jax\
{f" (recipe `{recipe}`)" if recipe else ""}.

## Use

```
{instructions(model)}
```

- Height and width: any from {LEAST_SIZE_PX} on. Pixels of the training images: \
{"unknown size" if pixel is None else f"{pixel:g} µm"}.
- `compseg.json` holds the axis, the fitted steps that come before the network, and the versions it was written with.
  The Python package compseg_jax applies these steps.

## Limits

{_limits(model)}

## Validation

On samples of other patients and, better, another instrument, none of them used in training: compare the share of tissue
above the threshold between diseased and healthy samples (area under the ROC curve), and the segmented region with masks
drawn by experts (Dice). The test tensors are simulated: they show that a program computes the network right, and
nothing about its quality.
"""
