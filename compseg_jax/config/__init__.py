"""What an experiment is: frozen dataclasses with a docstring, unit and default for every field.

``RECIPES`` are values of these classes, so a recipe is a whole configuration that any field can override; recipe files
hold some of the fields.
Nothing here imports anything else of the package, nor anything but the standard library.
"""

from compseg_jax.config.locations import Location, Url, location
from compseg_jax.config.network import Network
from compseg_jax.config.objective import ALPHA, BETA, GAMMA, Objective
from compseg_jax.config.recipe_file import recipe, recipe_text
from compseg_jax.config.recipes import RECIPES
from compseg_jax.config.serialisation import from_json, to_json
from compseg_jax.config.training import PAPER_THRESHOLD, Ensemble, Optimiser, Training

__all__ = [
    "ALPHA",
    "BETA",
    "GAMMA",
    "PAPER_THRESHOLD",
    "RECIPES",
    "Ensemble",
    "Location",
    "Network",
    "Objective",
    "Optimiser",
    "Training",
    "Url",
    "from_json",
    "location",
    "recipe",
    "recipe_text",
    "to_json",
]
