"""One extracted network: parameters, scaling, axis, and the steps that its training images went through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from compseg_jax.model.canvas import canvas_px, extent_of, on_canvas
from compseg_jax.model.level import at_odds
from compseg_jax.model.training_distribution import TrainingDistribution
from compseg_jax.networks.build import Module, Variables
from compseg_jax.networks.extent import Extent
from compseg_jax.networks.part import Part
from compseg_jax.objective.activation import activation_map
from compseg_jax.readers.cube import Background
from compseg_jax.spectra.preparation import Preparation
from compseg_jax.spectra.scaling import Scaling, standardise


class ModelError(ValueError):
    """A model is missing or damaged, or does not fit the image it is given."""


@dataclass(frozen=True, eq=False)
class ExtractedNetwork:
    """A trained network with all that its input must go through; a :class:`Model` holds one or several.

    Attributes:
      network: Flax module.
      variables: its parameters and other collections.
      scaling: standardisation that was fitted on the training tissue.
      wavenumbers_cm1: the axis it was trained on (c,), or None for ordinary images.
      threshold: activation above which a pixel is segmented.
      background: how tissue is distinguished where no mask is given ('zero' or 'none').
      description: everything else in model.json.
      distribution: what it was trained on; None where that was not kept.
      odds: factor on the odds of its activations (`level`); 1 for its maps as they are.
    """

    network: Module
    variables: Variables
    scaling: Scaling
    wavenumbers_cm1: np.ndarray | None
    threshold: float
    background: Background
    description: Mapping[str, Any]
    distribution: TrainingDistribution | None = None
    odds: float = 1.0

    @property
    def preparation(self) -> Preparation | None:
        """Steps that measured spectra go through before the network; None where it was trained on them as they are."""
        steps = self.description.get("preparation")
        return None if not steps else Preparation.from_json(steps)

    def steps_after(self, applied: Sequence[Mapping[str, Any]], source: str) -> Preparation | None:
        """The steps that spectra which went through ``applied`` have still to go through; None where there are none.

        Raises:
          ModelError: when they were prepared by other steps than those of the network's training.
        """
        steps = self.description.get("preparation") or []
        if list(steps[: len(applied)]) != list(applied):
            raise ModelError(
                f"{source} was prepared by {', '.join(each['step'] for each in applied)}, fitted for itself; the "
                f"model needs {', '.join(each['step'] for each in steps) or 'spectra as measured'}, as fitted on its "
                "training samples. Ingest the files without --prepare: the model prepares them itself."
            )
        rest = steps[len(applied) :]
        return Preparation.from_json(rest) if rest else None

    @property
    def smoothing_px(self) -> float:
        """Standard deviation of the Gaussian that its maps go through; 0 for none."""
        return float(getattr(self.network, "smoothing_px", 0.0))

    def smoothed_by(self, smoothing_px: float) -> ExtractedNetwork:
        """The same network, whose maps go through a Gaussian of that standard deviation (0: through none).

        Of a network of your own without ``smoothing_px`` there is 0 only: the network itself.
        """
        if smoothing_px == self.smoothing_px:
            return self
        return replace(self, network=self.network.clone(smoothing_px=smoothing_px))

    def activation_of_canvas(
        self, canvas: Float[np.ndarray, "v u c"], tissue: Bool[np.ndarray, "y x"]
    ) -> Float[np.ndarray, "y x"]:
        """Activation map of an image, 0 outside its tissue; the program that tiles go through, too.

        Args:
          canvas: standardised spectra of the image in its top left corner, 0 beyond it (`empty_canvas`).
          tissue: of the image.
        """
        size, shape = (canvas.shape[0], canvas.shape[1]), (tissue.shape[0], tissue.shape[1])
        mask, extent = on_canvas(tissue, size), extent_of(shape, size)
        found = masked_activation(self.network, self.variables, canvas[None], mask[None], extent)
        return at_odds(np.asarray(found)[0, : shape[0], : shape[1]], self.odds)

    def empty_canvas(self, shape_px: tuple[int, int]) -> Float[np.ndarray, "v u c"]:
        """What an image of that many rows and columns is laid into, for one of few programs."""
        return np.zeros((*canvas_px(shape_px, self.network), len(self.scaling.mean)), np.float32)

    def activation_of_prepared(
        self, cube: Float[Array, "*b y x c"], tissue: Bool[Array, "*b y x"]
    ) -> Float[Array, "*b y x"]:
        """The same of prepared spectra before scaling, as a pure function for ``jax.jit``, ``vmap`` and ``grad``."""
        batched = cube.ndim == 4
        cubes, masks = (cube, tissue) if batched else (cube[None], tissue[None])
        mean, sd = jnp.asarray(self.scaling.mean), jnp.asarray(self.scaling.sd)
        scaled = standardise(cubes, masks, mean, sd)
        activation = at_odds(masked_activation(self.network, self.variables, scaled, masks), self.odds)
        return activation if batched else activation[0]


@partial(jax.jit, static_argnums=0)
def masked_activation(
    network: Any,
    variables: Variables,
    scaled: Float[Array, "b y x c"],
    tissue: Bool[Array, "b y x"],
    extent: Extent | None = None,
    part: Part | None = None,
) -> Float[Array, "b y x"]:
    """Activation of standardised cubes, 0 outside the tissue: the one program of every prediction."""
    return jnp.where(tissue, activation_map(network, variables, scaled, tissue, extent, part), 0.0)
