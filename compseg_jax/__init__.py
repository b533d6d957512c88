"""compseg_jax: pixel-level segmentations from sample-level labels (CompSegNet, Schuhmacher et al. 2019).

The names below are loaded on first use, so that importing the package costs nothing. The only work done at
import is appending the XLA flags that correct results need (see ``runtime/xla_flags.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compseg_jax.runtime import xla_flags as _xla_flags
from compseg_jax.runtime.lazy_names import lazy_names
from compseg_jax.runtime.versions import __version__

if TYPE_CHECKING:
    from compseg_jax.config import Objective, Optimiser
    from compseg_jax.evaluation.evaluate import EvaluateOptions, evaluate
    from compseg_jax.model import Model, Prediction, load_model
    from compseg_jax.networks.segnet import SegNet
    from compseg_jax.networks.unet import UNet
    from compseg_jax.objective import (
        absolute_error,
        crossing_point,
        modified_sigmoid,
        one_sided_error,
        pooled_activation,
    )
    from compseg_jax.prediction.predict import predict
    from compseg_jax.prediction.predict_options import PredictOptions
    from compseg_jax.training.batch import Batch
    from compseg_jax.training.run import train
    from compseg_jax.training.step import TrainState, init_train_state, make_train_step, train_step

_HOMES = {
    "Batch": "training.batch",
    "EvaluateOptions": "evaluation.evaluate",
    "Model": "model",
    "Objective": "config",
    "Optimiser": "config",
    "PredictOptions": "prediction.predict_options",
    "Prediction": "model",
    "SegNet": "networks.segnet",
    "TrainState": "training.step",
    "UNet": "networks.unet",
    "absolute_error": "objective",
    "crossing_point": "objective",
    "evaluate": "evaluation.evaluate",
    "init_train_state": "training.step",
    "load_model": "model",
    "make_train_step": "training.step",
    "modified_sigmoid": "objective",
    "one_sided_error": "objective",
    "pooled_activation": "objective",
    "predict": "prediction.predict",
    "train": "training.run",
    "train_step": "training.step",
}

__all__ = [
    "Batch",
    "EvaluateOptions",
    "Model",
    "Objective",
    "Optimiser",
    "PredictOptions",
    "Prediction",
    "SegNet",
    "TrainState",
    "UNet",
    "__version__",
    "absolute_error",
    "crossing_point",
    "evaluate",
    "init_train_state",
    "load_model",
    "make_train_step",
    "modified_sigmoid",
    "one_sided_error",
    "pooled_activation",
    "predict",
    "train",
    "train_step",
]

_xla_flags.append_xla_flags()

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
