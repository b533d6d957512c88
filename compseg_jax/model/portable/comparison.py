"""Does a portable network compute what the model computes? Asked of JAX and the other runtime on random cubes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.model import Model
from compseg_jax.model.portable.description import PortableError

TOLERANCE = 1e-4
SIZES = ((2, 31, 45), (1, 48, 32))
"""Batch, height and width of the cubes compared: one odd at every level, one even."""

Run = Callable[[Float[np.ndarray, "b c y x"]], Float[np.ndarray, "b 1 y x"]]


def random_cubes(
    model: ExtractedNetwork, batch: int, height: int, width: int
) -> Float[np.ndarray, "b c y x"]:
    """Spectra around the mean of the training tissue, a corner of background, the same in every call."""
    rng = np.random.default_rng([batch, height, width])
    mean, sd = (values.reshape(1, -1, 1, 1) for values in (model.scaling.mean, model.scaling.sd))
    # Neighbours resemble each other in tissue, and so do bands; white noise would leave deep levels at their mean.
    blocks = rng.normal(size=(batch, 1, -(-height // 8), -(-width // 8)))
    smooth = np.kron(blocks, np.ones((1, 1, 8, 8)))[..., :height, :width]
    cubes = mean + sd * (smooth + rng.normal(size=(batch, mean.size, height, width)))
    cubes[..., : height // 3, : width // 4] = 0
    return cubes.astype(np.float32)


def expected_activation(
    model: ExtractedNetwork, cubes: Float[np.ndarray, "b c y x"]
) -> Float[np.ndarray, "b 1 y x"]:
    """The model's own activation maps, computed in float32 throughout."""
    network = model.network.clone(dtype=jnp.float32) if hasattr(model.network, "dtype") else model.network
    exact = dataclasses.replace(model, network=network)
    with jax.default_matmul_precision("highest"):
        return np.asarray(Model.of(exact)(np.moveaxis(cubes, 1, -1), prepared=True))[:, None]


def refuse_disagreement(model: ExtractedNetwork, run: Run, format_name: str) -> float:
    """The largest difference of the activation maps between the model and what a format's runtime makes of it.

    Raises:
      PortableError: when it is above ``TOLERANCE``, or a map has another shape.
    """
    largest = 0.0
    for size in SIZES:
        cubes = random_cubes(model, *size)
        expected, found = expected_activation(model, cubes), run(cubes)
        if found.shape != expected.shape:
            raise PortableError(
                f"the {format_name} network returns {found.shape} for {cubes.shape}; nothing was kept."
            )
        # A difference that is no number is the largest of all.
        largest = max(largest, float(np.nan_to_num(np.max(np.abs(found - expected)), nan=np.inf)))
    if largest > TOLERANCE:
        raise PortableError(
            f"the {format_name} network differs from the model by {largest:.2g} on random cubes; at most "
            f"{TOLERANCE:g} is allowed, so nothing was kept. Please report it with model.json."
        )
    return largest
