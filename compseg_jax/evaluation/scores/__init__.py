"""Scores of samples and sets, intervals, and the threshold chosen from labels alone."""

from compseg_jax.evaluation.scores.metrics import MeanAndSpread, PixelHistogram
from compseg_jax.evaluation.scores.sample_scores import SampleResult
from compseg_jax.evaluation.scores.summary import Evaluation, RocCurve, evaluate_samples
from compseg_jax.evaluation.scores.threshold import PAPER_THRESHOLD, ThresholdChoice, choose_threshold
from compseg_jax.model.diseased_area import AreaRule

__all__ = [
    "PAPER_THRESHOLD",
    "AreaRule",
    "Evaluation",
    "MeanAndSpread",
    "PixelHistogram",
    "RocCurve",
    "SampleResult",
    "ThresholdChoice",
    "choose_threshold",
    "evaluate_samples",
]
