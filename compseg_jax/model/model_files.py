"""Models on disk: an extracted network in its folder, and the list of an ensemble's.

``RUN/model/`` holds ``params`` (restores with plain Orbax), ``collections`` for networks that have other variables,
``distribution.npz``, the training distribution, ``model.json``, which describes everything else, and ``README.md``, the
model card; ``RUN/ensemble.json`` lists the members of an ensemble, each an ordinary model folder. docs/format.md writes
all down.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

from compseg_jax.config import Network, from_json
from compseg_jax.config.locations import Location, Url, location
from compseg_jax.config.network import refuse_foreign
from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.model import Model
from compseg_jax.model.model_card import CARD, card, with_evaluation
from compseg_jax.model.model_copies import DESCRIPTION, ENSEMBLE, FILES, local_model
from compseg_jax.model.model_description import SEAL, EnsembleDescription, ModelDescription
from compseg_jax.model.parameters import restore_tree, save_tree
from compseg_jax.model.training_distribution import TrainingDistribution
from compseg_jax.networks.build import Variables, build_network
from compseg_jax.runtime.files import JsonFormat, atomic_folder, file_sha256, json_text, write_text
from compseg_jax.spectra.scaling import Scaling

MEMBERS = "members"
FILES_HASHES = "files_sha256"
DISTRIBUTION, DISTRIBUTION_HASH = "distribution.npz", "distribution_sha256"
NETWORK_JSON = JsonFormat(
    "compseg-model",
    version=1,
    required=("network", "maps", "wavenumbers_cm1", "threshold", "background", "weights_sha256", "scaling"),
    absent="Give the run that `compseg train` finished, or its folder model.",
    again="copy or extract the model again",
    error=ModelError,
    schema=ModelDescription,
    seal=SEAL,
)
ENSEMBLE_JSON = JsonFormat(
    "compseg-ensemble",
    version=1,
    required=("members", "threshold", "area_cut", "prepared_steps"),
    absent="Give the folder of a finished `compseg train --folds K --seeds N`. An unfinished one goes on by --resume; "
    "a single network is RUN/model.",
    again="finish the run with --resume, or copy the whole of it again",
    error=ModelError,
    schema=EnsembleDescription,
    seal=SEAL,
)


def weights_sha256(variables: Variables) -> str:
    """Hash of all parameters: names, shapes, dtypes and bytes in a fixed order."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, leaf in sorted(leaves, key=lambda item: jax.tree_util.keystr(item[0])):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_network(folder: Path, extracted: ExtractedNetwork, config: Network) -> None:
    """Writes an extracted network, whole or not at all; an older one is replaced."""
    with atomic_folder(folder) as staging:
        save_tree(staging / "params", extracted.variables["params"])
        others = {name: tree for name, tree in extracted.variables.items() if name != "params"}
        if others:
            save_tree(staging / "collections", others)
        axis = extracted.wavenumbers_cm1
        values: dict[str, Any] = {
            "format": NETWORK_JSON.name,
            "version": NETWORK_JSON.version,
            "network": vars(config) | {"smoothing_px": extracted.smoothing_px},
            "maps": getattr(extracted.network, "maps", 1),
            "channels": len(extracted.scaling.mean),
            "wavenumbers_cm1": None if axis is None else axis.tolist(),
            "threshold": float(extracted.threshold),
            "background": extracted.background,
            "weights_sha256": weights_sha256(extracted.variables),
            "scaling": {"mean": extracted.scaling.mean.tolist(), "sd": extracted.scaling.sd.tolist()},
        }
        # Orbax tells of damaged files in many ways, some of them on the terminal: they are told from this first.
        stored = sorted(path for path in staging.rglob("*") if path.is_file())
        values[FILES_HASHES] = {path.relative_to(staging).as_posix(): file_sha256(path) for path in stored}
        (staging / CARD).write_text(card(extracted), encoding="utf-8")
        distribution = extracted.distribution
        if distribution is not None:
            np.savez(staging / DISTRIBUTION, allow_pickle=False, **distribution.to_arrays())
        values[DISTRIBUTION_HASH] = None if distribution is None else distribution.sha256()
        # Web servers list nothing, so that the description says what belongs to it.
        files = [path for path in staging.rglob("*") if path.is_file()]
        values[FILES] = sorted(path.relative_to(staging).as_posix() for path in files)
        # A model that was loaded and changed describes its old self under the same keys.
        values |= {name: value for name, value in extracted.description.items() if name not in values}
        (staging / DESCRIPTION).write_text(description_text(values), encoding="utf-8")


def add_evaluation(folder: Path, model: ExtractedNetwork, figures: Mapping[str, Any]) -> None:
    """Keeps the figures of an evaluation in model.json and in the card of a model folder.

    Args:
      folder: the model's.
      model: what was evaluated.
      figures: as ``model_card.figures_of`` makes them.

    Raises:
      ModelError: when the folder holds other weights by now.
      OSError: where it cannot be written.
    """
    values = read_description(folder)
    if values["weights_sha256"] != model.description["weights_sha256"]:
        raise ModelError(f"{folder}: the network was replaced while it was evaluated. Evaluate it again.")
    changed = with_evaluation(replace(model, description=values), figures)
    listed = {FILES: sorted({*values[FILES], CARD})} if FILES in values else {}
    write_text(folder / DESCRIPTION, description_text({**changed.description, **listed}))
    write_text(folder / CARD, card(changed))


def description_text(values: Mapping[str, Any]) -> str:
    """The text of a model.json, checked and sealed; raises ValueError where values do not fit."""
    # JSON has no NaN, such as the AUC of an epoch whose validation samples have one label.
    plain = json.loads(json.dumps(values, default=_plain), parse_constant=lambda _: None)
    return json_text(NETWORK_JSON.stamped(plain))


def _plain(value: object) -> object:
    """What json itself cannot write: arrays and NumPy numbers as lists and numbers, paths as text."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"model.json cannot hold {value!r} of type {type(value).__name__}.")


def load_model(path: Location | str, *, network: str = "") -> Model:
    """Loads a trained model; neither training data nor optimiser state is needed.

    Args:
      path: run of `compseg train`, of one network or an ensemble, or the ``model`` folder of such a run; a folder,
        or a URL as text (``s3://``, ``gs://``, ``http(s)://``).
      network: the one network of your own, 'package.module:Class', that may be imported for it. A model is data that
        others may have made, so it runs no code that is neither ours nor named here.

    Returns:
      A :class:`Model`, callable with a cube.

    Raises:
      ModelError: when the folder holds no finished model, one of a newer version, or weights that are not the ones
        that were written; when it needs code that is not allowed.
      LocationError: when a URL refuses or does not answer.

    >>> model = load_model("runs/demo/train/model")  # doctest: +SKIP
    >>> activation = model(store.cube("a1"))  # doctest: +SKIP
    """
    folder = location(path)
    if isinstance(folder, Url):
        with local_model(folder) as copied:
            return load_model(copied, network=network)
    if is_ensemble_run(folder):
        return _load_ensemble(folder, network)
    if not (folder / DESCRIPTION).is_file() and (folder / "model" / DESCRIPTION).is_file():
        folder = folder / "model"
    return Model.of(load_network(folder, network))


def load_network(folder: Path, allowed: str = "") -> ExtractedNetwork:
    """Loads one extracted network from its folder; arguments and errors as of :func:`load_model`."""
    values = read_description(folder)
    _refuse_damaged_files(folder, values.get(FILES_HASHES) or {})
    variables: dict[str, Any] = {"params": restore_tree(folder / "params")}
    if (folder / "collections").is_dir():
        variables |= restore_tree(folder / "collections")
    network = network_of(values, variables, folder, allowed)
    return replace(network, distribution=_load_distribution(folder, values.get(DISTRIBUTION_HASH)))


def _refuse_damaged_files(folder: Path, stated: Mapping[str, str]) -> None:
    for name, sha256 in stated.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            what = "is not what was written" if path.is_file() else "is missing"
            raise ModelError(f"{path} {what}. The files were changed or damaged: copy the model again.")


def _load_distribution(folder: Path, stated: str | None) -> TrainingDistribution | None:
    """What a network was trained on; None where its folder keeps none, as those of earlier releases."""
    if stated is None:
        return None
    path = folder / DISTRIBUTION
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = TrainingDistribution.of_arrays(dict(arrays))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ModelError(
            f"{path} cannot be read ({error!r}), and {DESCRIPTION} states one. Copy the model again."
        ) from error
    if found.sha256() != stated:
        raise ModelError(
            f"{path} has the hash {found.sha256()[:12]}…, {DESCRIPTION} states {stated[:12]}…. The files were changed "
            "or damaged: copy the model again."
        )
    return found


def network_of(
    values: Mapping[str, Any], variables: Variables, place: Path, allowed: str = ""
) -> ExtractedNetwork:
    """The network that a description and variables make; ``place`` is where they lie.

    Raises:
      ModelError: when the weights are not those of the description, or it needs code that is not allowed.
    """
    refuse_foreign(str(values["network"]["network"]), allowed, place, error=ModelError)
    found = weights_sha256(variables)
    if found != values["weights_sha256"]:
        raise ModelError(
            f"{place}: the weights have the hash {found[:12]}…, the description states "
            f"{values['weights_sha256'][:12]}…. The files were changed or damaged: copy the model again."
        )
    axis = values["wavenumbers_cm1"]
    return ExtractedNetwork(
        network=build_network(from_json(Network, values["network"]), values["maps"]),
        variables=variables,
        scaling=Scaling(*(np.asarray(values["scaling"][name], np.float32) for name in ("mean", "sd"))),
        wavenumbers_cm1=None if axis is None else np.asarray(axis, np.float64),
        threshold=values["threshold"],
        background=values["background"],
        description=values,
    )


def read_description(folder: Path) -> dict[str, Any]:
    """What model.json says, checked for format and version; raises ModelError."""
    return NETWORK_JSON.read(folder / DESCRIPTION)


def is_ensemble_run(folder: Path) -> bool:
    """Whether a folder is the run of an ensemble, finished or not."""
    return (folder / ENSEMBLE).is_file() or (folder / MEMBERS).is_dir()


def _load_ensemble(folder: Path, allowed: str) -> Model:
    values = ENSEMBLE_JSON.read(folder / ENSEMBLE)
    networks = []
    for entry in values["members"]:
        network = load_network(folder / entry["model"], allowed)
        if network.description["weights_sha256"] != entry["weights_sha256"]:
            raise ModelError(
                f"{folder / entry['model']} holds the weights {network.description['weights_sha256'][:12]}…, "
                f"{ENSEMBLE} lists {entry['weights_sha256'][:12]}…. Finish the run with --resume, or copy the whole of "
                "it again."
            )
        networks.append(network)
    return Model(tuple(networks), values["threshold"], values)
