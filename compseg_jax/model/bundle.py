"""The extracted network: parameters, scaling, wavenumbers and threshold, loadable alone.

``RUN/model/`` holds ``params`` (restores with plain Orbax), ``collections`` for networks that have other
variables, and ``model.json``, which describes everything else; docs/format.md writes it down.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from compseg_jax.config import Network, from_json
from compseg_jax.model.parameters import restore_tree, save_tree
from compseg_jax.networks.build import Module, Variables, build_network
from compseg_jax.objective.activation import activation_map
from compseg_jax.readers.cube import Background
from compseg_jax.spectra.preparation import Preparation
from compseg_jax.spectra.scaling import Scaling, standardise
from compseg_jax.store.read import Store

FORMAT = "compseg-model"
VERSION = 1
REQUIRED_KEYS = ("network", "maps", "wavenumbers_cm1", "threshold", "background", "weights_sha256", "scaling")
AXIS_TOLERANCE_CM1 = 0.01


class ModelError(ValueError):
    """A model is missing or damaged, or does not fit the cube it is given."""


@dataclass(frozen=True, eq=False)
class SegmentingModel:
    """An extracted network: call it with a cube, get its activation map.

    It can be passed to ``jax.jit``, ``jax.vmap`` and ``jax.grad`` like any function.

    Attributes:
      network: Flax module.
      variables: its parameters and other collections.
      scaling: standardisation that was fitted on the training tissue.
      wavenumbers_cm1: the axis it was trained on (c,), or None for ordinary images.
      threshold: activation above which a pixel is segmented.
      background: how the tissue is told apart when no mask is given ('zero' or 'none').
      description: everything else in model.json.
    """

    network: Module
    variables: Variables
    scaling: Scaling
    wavenumbers_cm1: np.ndarray | None
    threshold: float
    background: Background
    description: Mapping[str, Any]

    def __call__(
        self,
        cube: Float[Array, "*b y x c"] | np.ndarray,
        *,
        tissue: Bool[Array, "*b y x"] | np.ndarray | None = None,
        wavenumbers_cm1: np.ndarray | None = None,
    ) -> Float[Array, "*b y x"]:
        """Activation map in [0, 1] of one cube (y, x, c) or a batch (b, y, x, c), 0 outside the tissue.

        Compiled once a shape. Scaling is done inside: give absorbances as they come from the store.

        Args:
          cube: absorbance with the channels the network was trained on, in the same order.
          tissue: tissue mask; by the rule of the training data when None.
          wavenumbers_cm1: the cube's axis, compared with the model's when given.

        Raises:
          ModelError: when channels or wavenumbers are not those of the model, or the mask not of the cube.
        """
        cube = jnp.asarray(cube)
        self.check_channels(cube.shape, wavenumbers_cm1)
        if tissue is None:
            kept = jnp.any(cube != 0, axis=-1)
            tissue = kept if self.background == "zero" else jnp.ones_like(kept)
        tissue = jnp.asarray(tissue, bool)
        if tissue.shape != cube.shape[:-1]:
            raise ModelError(
                f"the tissue mask has shape {tissue.shape}, the cube {cube.shape}; required is {cube.shape[:-1]}. "
                "Give the mask of this cube."
            )
        batched = cube.ndim == 4
        activation = _activation(
            self.network,
            self.variables,
            jnp.asarray(self.scaling.mean),
            jnp.asarray(self.scaling.sd),
            cube if batched else cube[None],
            tissue if batched else tissue[None],
        )
        return activation if batched else activation[0]

    @property
    def preparation(self) -> Preparation | None:
        """Steps that raw spectra go through before the network; None where it was trained on raw ones."""
        steps = self.description.get("preparation")
        return None if steps is None else Preparation.from_json(steps)

    def preparation_behind(self, store: Store) -> Preparation | None:
        """The steps that cubes of a store still have to go through; None where there are none.

        Raises:
          ModelError: when the store was prepared by other steps than the model's.
        """
        steps, applied = self.description.get("preparation") or [], store.preparation or []
        if steps[: len(applied)] != applied:
            raise ModelError(
                f"{store.path} was prepared by {', '.join(each['step'] for each in applied)}, fitted for itself; the "
                f"model needs {', '.join(each['step'] for each in steps) or 'raw cubes'}, as fitted on its training "
                "samples. Ingest the files without --prepare: the model prepares them itself."
            )
        rest = steps[len(applied) :]
        return Preparation.from_json(rest) if rest else None

    def check_channels(self, shape: tuple[int, ...], wavenumbers_cm1: np.ndarray | None = None) -> None:
        """Raises ModelError unless a cube of this shape and axis fits the model."""
        channels = len(self.scaling.mean)
        own = self.wavenumbers_cm1
        axis = "" if own is None else f" ({own[0]:g} … {own[-1]:g} cm⁻¹)"
        if len(shape) not in (3, 4) or shape[-1] != channels:
            raise ModelError(
                f"the cube has shape {shape}; this model needs (y, x, {channels}) or (b, y, x, {channels}), the "
                f"last axis being its {channels} channels{axis}. Bring the cube to that axis first."
            )
        if wavenumbers_cm1 is None or own is None:
            return
        given = np.asarray(wavenumbers_cm1, np.float64)
        if given.shape != own.shape or not np.allclose(given, own, rtol=0, atol=AXIS_TOLERANCE_CM1):
            raise ModelError(
                f"the cube's wavenumbers ({given[0]:g} … {given[-1]:g} cm⁻¹, {given.size} of them) are not the "
                f"model's{axis}, {own.size} of them. Resample the cube to the model's axis first."
            )


@partial(jax.jit, static_argnums=0)
def _activation(
    network: Module,
    variables: Variables,
    mean: Float[Array, " c"],
    sd: Float[Array, " c"],
    cube: Float[Array, "b y x c"],
    tissue: Bool[Array, "b y x"],
) -> Float[Array, "b y x"]:
    activation = activation_map(network, variables, standardise(cube, tissue, mean, sd), tissue)
    return jnp.where(tissue, activation, 0.0)


def weights_sha256(variables: Variables) -> str:
    """Hash of all parameters: names, shapes, dtypes and bytes in a fixed order."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, leaf in sorted(leaves, key=lambda item: jax.tree_util.keystr(item[0])):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_model(folder: Path, model: SegmentingModel, network: Network) -> None:
    """Writes a model into a hidden folder beside its place and renames it; an older model is replaced."""
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    replaced = staging.with_name(f"{staging.name}.old")
    staging.mkdir(parents=True)
    try:
        save_tree(staging / "params", model.variables["params"])
        others = {name: tree for name, tree in model.variables.items() if name != "params"}
        if others:
            save_tree(staging / "collections", others)
        axis = model.wavenumbers_cm1
        values = {
            "format": FORMAT,
            "version": VERSION,
            "network": vars(network),
            "maps": getattr(model.network, "maps", 1),
            "channels": len(model.scaling.mean),
            "wavenumbers_cm1": None if axis is None else axis.tolist(),
            "threshold": float(model.threshold),
            "background": model.background,
            "weights_sha256": weights_sha256(model.variables),
            "scaling": {"mean": model.scaling.mean.tolist(), "sd": model.scaling.sd.tolist()},
        }
        # A model that was loaded and changed describes its old self under the same keys.
        values |= {name: value for name, value in model.description.items() if name not in values}
        text = json.dumps(values, indent=1, default=_plain, ensure_ascii=False)
        (staging / "model.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(replaced)
        staging.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)


def _plain(value: object) -> object:
    """What json itself cannot write: arrays and NumPy numbers as lists and numbers, paths as text."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"model.json cannot hold {value!r} of type {type(value).__name__}.")


def load_model(folder: Path | str) -> SegmentingModel:
    """Loads an extracted network; neither training data nor optimiser state is needed.

    Args:
      folder: ``RUN/model`` of a training run.

    Returns:
      A :class:`SegmentingModel`, callable with a cube.

    Raises:
      ModelError: when the folder holds no model, one of a newer version, or weights that are not the ones
        that were written.

    >>> activation = load_model("runs/demo/train/model")(cube)  # doctest: +SKIP
    """
    folder = Path(folder)
    values = read_description(folder)
    variables: dict[str, Any] = {"params": restore_tree(folder / "params")}
    if (folder / "collections").is_dir():
        variables |= restore_tree(folder / "collections")
    return model_of(values, variables, folder)


def model_of(values: Mapping[str, Any], variables: Variables, place: Path) -> SegmentingModel:
    """The model that a description and variables make; ``place`` is where they lie.

    Raises:
      ModelError: when the weights are not those of the description.
    """
    found = weights_sha256(variables)
    if found != values["weights_sha256"]:
        raise ModelError(
            f"{place}: the weights have the hash {found[:12]}…, the description states "
            f"{values['weights_sha256'][:12]}…. The files were changed or damaged: copy the model again."
        )
    axis = values["wavenumbers_cm1"]
    return SegmentingModel(
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
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(
            f"{folder}: no model.json found. Give the RUN/model folder that `compseg train` wrote."
        )
    return described(path.read_bytes(), path)


def described(text: bytes | str, place: Path) -> dict[str, Any]:
    """What the text of a model.json says, checked as by :func:`read_description`; ``place`` is where it was found."""
    try:
        values: dict[str, Any] = json.loads(text)
        name, version = values.get("format"), values.get("version")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{place} cannot be read ({error}). Copy or extract the model again.") from error
    if name != FORMAT or type(version) is not int or not 1 <= version <= VERSION:
        raise ModelError(
            f"{place}: found format {name!r} version {version!r}; this release reads {FORMAT!r} version 1 to "
            f"{VERSION}. Update compseg_jax or extract the model again."
        )
    missing = [key for key in REQUIRED_KEYS if key not in values]
    if missing:
        raise ModelError(f"{place}: {', '.join(missing)} missing. Copy or extract the model again.")
    return values
