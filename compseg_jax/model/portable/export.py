"""`compseg export`: an extracted network in a format of other programs, checked before it takes its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from compseg_jax.config.locations import Location
from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.model_card import LICENCE, NOT_STATED
from compseg_jax.model.model_files import ENSEMBLE, load_model
from compseg_jax.model.portable import bioimageio_package, onnx_file, safetensors_file, torchscript
from compseg_jax.model.portable.bioimageio_package import Publication
from compseg_jax.model.portable.comparison import refuse_disagreement
from compseg_jax.model.portable.description import PortableError, describe, refuse_undescribable
from compseg_jax.model.portable.facts import facts, instructions
from compseg_jax.model.portable.libraries import library
from compseg_jax.runtime.files import put, remove_leftovers, staging_place

FormatName = Literal["onnx", "torchscript", "safetensors", "bioimageio"]


@dataclass(frozen=True)
class _Format:
    """Endings of its files, the libraries it needs, and the extra that brings them."""

    suffixes: tuple[str, ...]
    libraries: tuple[str, ...]
    extra: str


FORMATS: dict[str, _Format] = {
    "onnx": _Format((".onnx",), ("onnx", "onnxruntime"), "onnx"),
    "torchscript": _Format((".pt", ".ts"), ("torch",), "torch"),
    "safetensors": _Format((".safetensors",), ("safetensors",), "safetensors"),
    "bioimageio": _Format((".zip",), ("bioimageio.core", "onnx", "onnxruntime"), "bioimageio"),
}


@dataclass(frozen=True)
class ExportOptions:
    """Write an extracted network for other programs; each file is compared with the model before it is kept."""

    model: Location
    """RUN/model of a training run, a folder or a URL."""
    out: Path
    """File to write, ending with .onnx, .pt, .safetensors or .zip (bioimage.io) as the format asks; it must not
    exist."""
    format: FormatName = "onnx"
    """'onnx' for ONNX Runtime, 'torchscript' for PyTorch, 'safetensors' for the parameters and this package,
    'bioimageio' for a model package of bioimage.io (ImageJ, ilastik, QuPath and others)."""
    network: str = ""
    """Network of your own that the model may import, as package.module:Class; code that a model names is not run
    otherwise."""
    name: str = ""
    """Name of a bioimage.io package: letters, digits, spaces, _ + - ( ), 5 to 128 of them."""
    author: tuple[str, ...] = ()
    """Who made the model, for a bioimage.io package, each in quotes."""
    license: str = ""
    """SPDX name of the licence of a bioimage.io package, such as CC-BY-4.0; the model's own (train --licence) when not
    given."""


def export(options: ExportOptions) -> str:
    """Writes a model in another format.

    Returns:
      what was written and how it is used, for people.

    Raises:
      PortableError: before anything is written, when the format cannot hold the model, a library or an option is
        missing or the file exists; and when what was written does not compute what the model computes.
      ModelError: when the model is missing or damaged.
    """
    networks = load_model(options.model, network=options.network).networks
    if len(networks) > 1:
        raise PortableError(
            f"{options.model} is an ensemble, each of whose networks has scaling and preparation of its own. Export "
            f"them one at a time (the folders {ENSEMBLE} lists under 'model'), and average their activation maps."
        )
    model = networks[0]
    publication = _checked(options, model.description.get(LICENCE, NOT_STATED))
    checked = write_portable(model, options.out, options.format, publication)
    size = options.out.stat().st_size / 1e6
    return f"{options.out}: {options.format}, {size:.2f} MB; {checked}\n{instructions(model)}"


def write_portable(
    model: ExtractedNetwork, out: Path, format_name: FormatName, publication: Publication | None = None
) -> str:
    """Writes ``model`` to ``out`` in a format; the file appears when it is complete and has been checked.

    Returns:
      what was checked, in words.

    Raises:
      PortableError: as :func:`export` does.
    """
    if format_name != "safetensors":
        refuse_undescribable(model)
    for name in FORMATS[format_name].libraries:
        library(name, FORMATS[format_name].extra)
    with _complete_or_absent(out) as (partial, folder):
        if format_name == "safetensors":
            safetensors_file.write(partial, model, facts(model, "safetensors"))
            # It was loaded by whoever exports it, with its code; here the hash of all weights is compared.
            own = str(model.description["network"]["network"])
            safetensors_file.load_safetensors(partial, network=own)
            return "loaded again, every parameter is the same bit for bit"
        if format_name == "bioimageio":
            if publication is None:
                raise PortableError(
                    "a bioimage.io package needs name, author and licence: give a Publication."
                )
            return bioimageio_package.write(partial, folder, model, publication)
        network = describe(model)
        if format_name == "onnx":
            onnx_file.write(partial, network, facts(model, "onnx", "onnxruntime"))
            run, runtime = onnx_file.runner(partial), "onnxruntime"
        else:
            torchscript.write(partial, network, json.dumps(facts(model, "torch"), indent=1))
            run, runtime = torchscript.runner(partial), "torch"
        difference = refuse_disagreement(model, run, format_name)
    return (
        f"differs from the model by {difference:.1g} at most on random cubes ({runtime} {version(runtime)})"
    )


def _checked(options: ExportOptions, licence: str) -> Publication | None:
    """The publication, where the format is one; raises PortableError for options that do not fit.

    Args:
      options: what is asked for.
      licence: the model's own, which a package has where none is given.
    """
    suffixes = FORMATS[options.format].suffixes
    if options.out.suffix not in suffixes:
        raise PortableError(
            f"--out {options.out}: a file of --format {options.format} needs a name that ends with "
            f"{' or '.join(suffixes)}."
        )
    remove_leftovers(options.out.parent, options.out.name)
    if options.out.exists():
        raise PortableError(f"--out {options.out} exists already. Choose another name, or remove it.")
    given = {name: getattr(options, name) for name in ("name", "author", "license") if getattr(options, name)}
    if options.format != "bioimageio":
        if given:
            raise PortableError(
                f"--{' --'.join(given)}: only a bioimage.io package states these; leave them out with --format "
                f"{options.format}."
            )
        return None
    if licence != NOT_STATED:
        given = {"license": licence, **given}
    missing = [f"--{name}" for name in ("name", "author", "license") if name not in given]
    if missing:
        raise PortableError(
            f"a bioimage.io package states who made it, what it is called and under which licence: "
            f"{' and '.join(missing)} missing. Example: --name 'Tumour in FTIR spots' --author 'Jane Doe' "
            "--license CC-BY-4.0."
        )
    return Publication(options.name, options.author, given["license"])


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[tuple[Path, Path]]:
    """A path to write to, which becomes ``out`` at the end unless something failed, and the folder it is in."""
    with staging_place(out) as folder:
        folder.mkdir()
        partial = folder / out.name
        yield partial, folder
        put(partial, out)
