"""From a configuration to a Flax module, the project's own or the user's, and its pure functions."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import math
import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from compseg_jax.config import Network
from compseg_jax.networks.extent import Extent
from compseg_jax.networks.layers import ACTIVATIONS, KERNEL_SPREADS
from compseg_jax.networks.part import Part
from compseg_jax.networks.segnet import SegNet
from compseg_jax.networks.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {"unet": UNet, "segnet": SegNet}

Module = nn.Module
"""What a network is, for signatures outside this room."""
Variables = Mapping[str, Any]


class NetworkError(ValueError):
    """A network cannot be built or does not keep the signature (b, y, x, c) → (b, y, x, maps)."""


def network_class(name: str) -> type[nn.Module]:
    """The class that 'unet', 'segnet' or 'package.module:Class' names.

    Raises:
      NetworkError: when there is no such class, or it is no Flax linen module.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise NetworkError(
            f"network {name!r}: expected one of {', '.join(NETWORKS)}, or package.module:Class for a Flax "
            "linen module of your own."
        )
    try:
        with _working_folder_on_path():
            found = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise NetworkError(
            f"network {name!r} cannot be imported ({error}). Run from the folder that holds {module_name}, "
            "or put it on PYTHONPATH."
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise NetworkError(
            f"network {name!r} is {found!r}; a class derived from flax.linen.Module is needed."
        )
    return found


@contextlib.contextmanager
def _working_folder_on_path() -> Iterator[None]:
    """Lets modules of the working folder be imported, as Python itself does, though behind everything installed."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    importlib.invalidate_caches()  # it may have been written a moment ago
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def build_network(config: Network, maps: int = 1) -> nn.Module:
    """The module that a configuration describes, with ``maps`` logits per pixel.

    A user's class is given those of ``maps`` and the configuration's fields that it declares; ``dtype``
    stands for ``compute_dtype``.
    """
    cls = network_class(config.network)
    values: dict[str, Any] = {
        "maps": maps,
        "base": config.base,
        "depth": config.depth,
        "activation": config.activation,
        "kernel_init": config.kernel_init,
        "head_bias": config.head_bias,
        "dtype": jnp.dtype(config.compute_dtype).type,
        "remat": config.remat,
        "convolution": config.convolution,
        "normalisation": config.normalisation,
        "dropout": config.dropout,
        "head_norm": config.head_norm,
        "attention_features": config.attention_features,
        "front": config.front,
        "activation_map": config.activation_map,
        "way_up": config.way_up,
        "smoothing_px": config.smoothing_px,
    }
    declared = {field.name for field in dataclasses.fields(cls)}
    if config.activation not in ACTIVATIONS:
        raise NetworkError(f"activation {config.activation!r}: expected one of {', '.join(ACTIVATIONS)}.")
    return cls(**{name: value for name, value in values.items() if name in declared})


def input_dtype(config: Network) -> Any:
    """Precision a network rounds its cubes to; float32 where a user's class does not say."""
    declares = "dtype" in {field.name for field in dataclasses.fields(network_class(config.network))}
    return jnp.dtype(config.compute_dtype if declares else "float32")


def init_variables(
    network: nn.Module, key: PRNGKeyArray, channels: int, maps: int = 1, size: tuple[int, int] = (16, 16)
) -> Variables:
    """Random variables of ``network`` for cubes of ``channels`` channels.

    Raises:
      NetworkError: when the network does not return logits (b, y, x, maps).
    """
    shape = (1, *size, channels)
    keys = {"params": key, "dropout": key}
    try:
        logits, variables = _shapes(network, shape)
    except (TypeError, ValueError) as error:
        raise NetworkError(
            f"{type(network).__name__} does not take a cube of shape {shape}: {error}"
        ) from error
    required = (1, *size, maps)
    if getattr(logits, "shape", None) != required:
        raise NetworkError(
            f"{type(network).__name__} returns {getattr(logits, 'shape', type(logits))} for a cube of shape "
            f"{shape}; logits of shape {required} are required. Return one logit per pixel and map."
        )
    if not hasattr(network, "kernel_init"):
        return jax.jit(lambda k: network.init(k, jnp.zeros(shape, jnp.float32)))(keys)
    return _draw_at_once(network, keys, variables, shape)


@lru_cache(maxsize=64)
def _shapes(network: nn.Module, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Shapes of the logits of a cube and of the variables; kept, as every start and member asks for the same."""

    def first(key: PRNGKeyArray) -> tuple[Any, Any]:
        return network.init_with_output({"params": key, "dropout": key}, jnp.zeros(shape, jnp.float32))

    return jax.eval_shape(first, jax.random.key(0))


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return bool(path[0].key == "params" and path[-1].key == "kernel")


@partial(jax.jit, static_argnums=(0, 2))
def _all_but_kernels(
    network: nn.Module, keys: dict[str, PRNGKeyArray], shape: tuple[int, ...]
) -> list[Array]:
    drawn = jax.tree.leaves_with_path(network.init(keys, jnp.zeros(shape, jnp.float32)))
    return [leaf for path, leaf in drawn if not _is_kernel(path)]


def _draw_at_once(
    network: nn.Module, keys: dict[str, PRNGKeyArray], variables: Variables, shape: tuple[int, ...]
) -> Variables:
    """What ``network.init`` draws, with all kernels cut from one random vector.

    XLA compiles every random array of ``init`` for about a second on CPU, a minute for the whole network; the
    distributions are the same (tested).
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    spread, draw = KERNEL_SPREADS[network.kernel_init]
    sizes = [leaf.size for path, leaf in leaves if _is_kernel(path)]
    numbers = iter(np.split(np.asarray(draw(keys["params"], sum(sizes))), np.cumsum(sizes)[:-1]))
    others = iter(_all_but_kernels(network, keys, shape))
    values = []
    for path, leaf in leaves:
        if not _is_kernel(path):
            values.append(next(others))
            continue
        field = math.prod(leaf.shape[:-2])
        values.append(
            jnp.asarray(
                next(numbers).reshape(leaf.shape) * spread(field * leaf.shape[-2], field * leaf.shape[-1])
            )
        )
    return jax.tree_util.tree_unflatten(structure, values)


def apply_network(
    network: nn.Module,
    variables: Variables,
    cube: Float[Array, "b y x c"],
    extent: Extent | None = None,
    part: Part | None = None,
) -> Float[Array, "b y x maps"]:
    """Logits of each pixel; a pure function of variables and cube, as used for validation and prediction.

    Images that do not fill their canvas have an ``extent`` and zeros beyond it; only networks that ``takes_extent``
    says so of can be given one. Where the map of a ``part`` alone counts, networks that ``takes_part`` says so of
    compute little more.
    """
    given = {"extent": extent, "part": part}
    return network.apply(variables, cube, **{name: each for name, each in given.items() if each is not None})


def apply_network_training(
    network: nn.Module, variables: Variables, cube: Float[Array, "b y x c"], key: PRNGKeyArray
) -> tuple[Float[Array, "b y x maps"], Variables]:
    """Logits with ``train=True`` where the network declares it, and its updated collections."""
    mutable = [name for name in variables if name != "params"]
    declared = inspect.signature(type(network).__call__).parameters
    options = {"train": True} if "train" in declared else {}
    return network.apply(variables, cube, rngs={"dropout": key}, mutable=mutable, **options)


def count_parameters(variables: Variables) -> int:
    """Number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
