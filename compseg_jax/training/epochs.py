"""How long a network trains where nobody says: until labels are told, and not until it is sure of them.

A network that tells the labels of all training samples goes on to grow surer of their most active pixels; on another
array the rest of the lesion then lies below every threshold (docs/decisions/48). Too few steps leave it on the plateau
from which it starts.
"""

from __future__ import annotations

from dataclasses import replace

from compseg_jax.config import Training

LEAST_EPOCHS = 20
LEAST_STEPS = 240
"""Networks that left the plateau took 60 to 360 steps; of 20 epochs or 240 steps, the later one is taken."""


def with_epochs(config: Training, n_training: int, n_validation: int) -> Training:
    """The run with a number of epochs: as asked for, or 20 passes and at least 240 steps where ``epochs`` is 0.

    Args:
      config: the run.
      n_training: samples that the table has for training.
      n_validation: and for validation; folds are cut from both, and all networks of an ensemble train equally long.
    """
    if config.epochs:
        return config
    folds = config.ensemble.folds
    n_samples = n_training if folds == 1 else (n_training + n_validation) * (folds - 1) // folds
    steps = -(-max(n_samples, 1) // config.batch_size)
    return replace(config, epochs=max(LEAST_EPOCHS, -(-LEAST_STEPS // steps)))
