"""What a portable network needs to be known of it: stored in the file as metadata, and said to people."""

from __future__ import annotations

import json
from importlib.metadata import version

import jax.numpy as jnp

from compseg_jax.model.extracted import ExtractedNetwork
from compseg_jax.model.model_card import LICENCE, NOT_STATED, card, channels_in_words, steps_in_words
from compseg_jax.model.model_files import weights_sha256
from compseg_jax.model.portable.comparison import TOLERANCE
from compseg_jax.runtime.versions import __version__

INPUT_AXES = "b c y x"
READINGS = {
    "probability": "probability of each pixel, 0 to 1",
    "attention": "probability of each pixel times its attention, as a share of the highest of the image, 0 to 1",
    "saliency": "how much the spectrum of each pixel moves the score of the image, 0 to 1",
}


def facts(model: ExtractedNetwork, *libraries: str) -> dict[str, str]:
    """Metadata by name, all texts; structures are JSON. docs/portable.md explains each.

    Args:
      model: the model that is written.
      libraries: distributions whose versions belong to the file.
    """
    axis = model.wavenumbers_cm1
    description = model.description
    values = {
        "format": "compseg-portable",
        "version": "1",
        "input": f"prepared absorbance, unscaled, finite; {background_in_words(model)}",
        "input_axes": INPUT_AXES,
        "channels": str(len(model.scaling.mean)),
        "wavenumbers_cm1": json.dumps(None if axis is None else axis.tolist()),
        "background": model.background,
        "output": READINGS[activation_map_of(model)],
        "output_axes": INPUT_AXES,
        "threshold": repr(float(model.threshold)),
        "precision": "float32",
        "preparation": json.dumps(description.get("preparation") or []),
        "preparation_in_words": "\n".join(steps_in_words(model)),
        "recipe": str(description.get("recipe", "")),
        "pixel_size_um": json.dumps(description.get("pixel_size_um")),
        "licence": str(description.get(LICENCE, NOT_STATED)),
        "card": card(model),
        "weights_sha256": weights_sha256(model.variables),
        "tolerance": f"{TOLERANCE:g}",
        "versions": json.dumps(
            {"compseg_jax": __version__, **{name: version(name) for name in ("jax", *libraries)}}
        ),
    }
    return {name: value for name, value in values.items() if value}


def activation_map_of(model: ExtractedNetwork) -> str:
    """How the model's logits are read: 'probability' where a user's own network does not say."""
    return getattr(model.network, "activation_map", "probability")


def background_in_words(model: ExtractedNetwork) -> str:
    """Which pixels count as background."""
    if model.background == "zero":
        return "pixels whose channels are all 0 are background and get 0"
    return "every pixel counts as tissue"


def instructions(model: ExtractedNetwork) -> str:
    """What to do before the network and with its result, for a terminal or a README."""
    steps = steps_in_words(model)
    before = (
        ["before it, and not part of it, in this order:", *(f"  {step}" for step in steps)]
        if steps
        else ["before it: nothing; the network takes the spectra as they were measured"]
    )
    computes_in = jnp.dtype(getattr(model.network, "dtype", jnp.float32)).name
    rounded = (
        []
        if computes_in == "float32"
        else [
            f"  in float32; the model itself computes in {computes_in}, which moves its maps in the third digit"
        ]
    )
    return "\n".join(
        [
            f"input: float32 ({INPUT_AXES.replace(' ', ', ')}), absorbance at {channels_in_words(model)}, unscaled;",
            f"  channels in that order; {background_in_words(model)}",
            *before,
            f"output: float32 (b, 1, y, x), {READINGS[activation_map_of(model)]}",
            *rounded,
            f"  pixels above the threshold of {model.threshold:.4g} are segmented",
        ]
    )
