"""THE model: networks with their preparation, scaling, axis and threshold, and what is made of them."""

from compseg_jax.model.extracted import ExtractedNetwork, ModelError
from compseg_jax.model.importance import BandImportance, band_importance
from compseg_jax.model.model import Model, Prediction
from compseg_jax.model.model_files import load_model

__all__ = [
    "BandImportance",
    "ExtractedNetwork",
    "Model",
    "ModelError",
    "Prediction",
    "band_importance",
    "load_model",
]
