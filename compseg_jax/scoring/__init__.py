"""Scores of samples and sets, intervals, and the threshold chosen from labels alone."""

from compseg_jax.scoring.area_interval import AreaRule
from compseg_jax.scoring.evaluation import Evaluation, RocCurve, evaluate_samples
from compseg_jax.scoring.metrics import MeanAndSpread, PixelHistogram
from compseg_jax.scoring.samples import SampleResult
from compseg_jax.scoring.threshold import PAPER_THRESHOLD, ThresholdChoice, choose_threshold

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
