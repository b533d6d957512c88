"""An extracted model as one safetensors file, and back: every bit of it, for this package and for others.

Tensors are the variables of the Flax module, named by their path (``params/down_0/Conv_0/kernel``), and the scaling
(``scaling/mean``, ``scaling/sd``); the metadata holds model.json. docs/portable.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.model import Model
from compseg_jax.model.model_files import NETWORK_JSON, description_text, network_of, weights_sha256
from compseg_jax.model.portable.description import PortableError
from compseg_jax.model.portable.libraries import library
from compseg_jax.model.seen import Seen

SCALING = "scaling"
MODEL = "model"


def write(path: Path, model: ExtractedNetwork, facts: Mapping[str, str]) -> None:
    """Writes a model that was loaded from its folder.

    Raises:
      PortableError: where the package safetensors is missing, or the model has no description.
    """
    numpy_file = library("safetensors.numpy", "safetensors")
    if "network" not in model.description:
        raise PortableError(
            "the model has no description; save it with save_network and load it with load_model."
        )
    axis = model.wavenumbers_cm1
    values = {
        **model.description,
        # Names of samples and patients stay where the model was trained.
        "seen": Seen.of_description(model.description).nameless().to_json(),
        "threshold": float(model.threshold),
        "background": model.background,
        "wavenumbers_cm1": None if axis is None else axis.tolist(),
        "scaling": {name: getattr(model.scaling, name).tolist() for name in ("mean", "sd")},
        "weights_sha256": weights_sha256(model.variables),
    }
    tensors = {name: np.array(leaf, order="C") for name, leaf in _flat(model.variables).items()}
    tensors |= {f"{SCALING}/{name}": np.array(getattr(model.scaling, name)) for name in ("mean", "sd")}
    metadata = {**facts, "format": NETWORK_JSON.name, MODEL: description_text(values)}
    # Its own save_file makes files that only their owner may read.
    path.write_bytes(numpy_file.save(tensors, metadata=metadata))


def load_safetensors(path: Path | str, *, network: str = "") -> Model:
    """The model that `compseg export --format safetensors` wrote; its parameters are equal bit for bit.

    Args:
      path: the file.
      network: the one network of your own that may be imported for it, as in ``load_model``.

    Raises:
      ModelError: when the file is damaged, of another kind or of a newer version, or its weights were changed; when it
        needs code that is not allowed.
      PortableError: where the package safetensors is missing.

    >>> activation = load_safetensors("tumour.safetensors")(store.cube("a1"))  # doctest: +SKIP
    """
    safetensors = library("safetensors", "safetensors")
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file. `compseg export --format safetensors` writes one.")
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} cannot be read ({error}). Copy or export the model again.") from error
    if MODEL not in metadata:
        raise ModelError(
            f"{path}: its metadata has no {MODEL!r}, so it was not written by `compseg export`; found "
            f"{', '.join(sorted(metadata)) or 'none'}. Give an exported model."
        )
    values = NETWORK_JSON.parsed(metadata[MODEL], path)
    values["scaling"] = {name: tensors.pop(f"{SCALING}/{name}", None) for name in ("mean", "sd")}
    missing = [name for name, array in values["scaling"].items() if array is None]
    if missing:
        raise ModelError(f"{path}: {SCALING}/{missing[0]} missing. Copy or export the model again.")
    return Model.of(network_of(values, _tree(tensors), path, network))


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{name}/")
        else:
            flat[f"{path}{name}"] = value
    return flat


def _tree(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in tensors.items():
        *folders, name = path.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = jnp.asarray(array)
    return tree
