"""Small segmenting networks for tests: untrained, two features at the first level."""

from __future__ import annotations

import jax
import numpy as np

from compseg_jax.config import Network
from compseg_jax.model import ExtractedNetwork
from compseg_jax.model.model_files import save_network
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.spectra.scaling import Scaling
from tests.store_example import CHANNELS, WAVENUMBERS_CM1


def write_model(folder, *, seed=0, channels=CHANNELS, axis=WAVENUMBERS_CM1, choice=None):
    """A model folder that `compseg predict` reads; `choice` is what is known of its threshold."""
    config = Network(base=2, depth=1)
    network = build_network(config)
    variables = init_variables(network, jax.random.key(seed), channels)
    scaling = Scaling(np.full(channels, 5.0, np.float32), np.full(channels, 2.0, np.float32))
    description = {"recipe": "random", **({"threshold_choice": choice} if choice else {})}
    save_network(
        folder, ExtractedNetwork(network, variables, scaling, axis, 0.45, "zero", description), config
    )
    return folder
