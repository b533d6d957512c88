"""From extracted networks and samples to activation maps: samples in memory, and images of any size by tiles."""

from compseg_jax.predict.samples import Prediction, RawPrediction, predict_raw, predict_samples

__all__ = ["Prediction", "RawPrediction", "predict_raw", "predict_samples"]
