"""THE model: networks with their preparation, scaling, axis and threshold, and what is made of them."""

from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.importance import BandImportance, band_importance
from compseg_jax.model.model import Model, Prediction
from compseg_jax.model.model_files import load_model
from compseg_jax.model.seen import Seen, Sightings
from compseg_jax.model.training_distribution import Departure, TrainingDistribution
from compseg_jax.runtime.lazy_names import lazy_names

_HOMES = {
    "ExportOptions": "portable.export",
    "export": "portable.export",
    "load_safetensors": "portable.safetensors_file",
}

__all__ = [
    "BandImportance",
    "Departure",
    "ExportOptions",
    "ExtractedNetwork",
    "Model",
    "ModelError",
    "Prediction",
    "Seen",
    "Sightings",
    "TrainingDistribution",
    "band_importance",
    "export",
    "load_model",
    "load_safetensors",
]

__getattr__ = lazy_names(__name__, _HOMES)
