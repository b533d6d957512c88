"""The linear projection of each spectrum before a network: folded into the first convolution, and its start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from compseg_jax.networks.build import NetworkError, Variables

FIRST_BLOCKS = ("down_0", "bottleneck")


def fold_front(variables: Variables) -> Variables:
    """Variables of the same network without its front: the first convolution takes all channels.

    Args:
      variables: those of a U-Net or SegNet with ``front`` features.

    Returns:
      Variables for the network with ``front=0`` that gives the same logits, up to rounding.

    Raises:
      NetworkError: when the variables hold no front.
    """
    params = dict(variables["params"])
    if "front" not in params:
        raise NetworkError(
            f"these variables hold {', '.join(sorted(params))} and no 'front'; only networks with front > 0 have "
            "one to fold."
        )
    projection = params.pop("front")["kernel"][0, 0]
    first = next(name for name in FIRST_BLOCKS if name in params)
    block = dict(params[first])
    convolution = dict(block["Conv_0"])
    convolution["kernel"] = jnp.einsum(
        "cf,ijfk->ijck", projection, convolution["kernel"], precision=jax.lax.Precision.HIGHEST
    )
    params[first] = {**block, "Conv_0": convolution}
    return {**variables, "params": params}


def front_from_principal_components(variables: Variables, spectra: Float[Array, "n c"]) -> Variables:
    """Variables whose front projects onto the leading principal components of ``spectra``, each to variance 1.

    A start that keeps most of what the spectra differ by; training may leave it.

    Args:
      variables: those of a network with ``front`` features.
      spectra: standardised spectra of training tissue, more of them than features.

    Raises:
      NetworkError: when the variables hold no front, or one of other channels.
    """
    front = variables["params"].get("front")
    if front is None or front["kernel"].shape[2] != spectra.shape[1]:
        found = "no front" if front is None else f"a front of {front['kernel'].shape[2]} channels"
        raise NetworkError(f"the network has {found}; one of {spectra.shape[1]} channels is needed.")
    centred = spectra - jnp.mean(spectra, axis=0, keepdims=True)
    covariance = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / spectra.shape[0]
    variances, directions = jnp.linalg.eigh(covariance)
    n_features = front["kernel"].shape[3]
    # Ascending order: the last ones lead. Directions without variance would be scaled to noise.
    least = 1e-6 * variances[-1]
    scale = 1.0 / jnp.sqrt(jnp.maximum(variances[-n_features:], least))
    kernel = (directions[:, -n_features:] * scale[None, :])[:, ::-1]
    params = {**variables["params"], "front": {"kernel": kernel[None, None].astype(jnp.float32)}}
    return {**variables, "params": params}
