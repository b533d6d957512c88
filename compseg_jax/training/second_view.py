"""A second network of another view, trained on the same labels: does it find the disease in the same place?

Labels say nothing of the place, so neither the loss nor the AUC on validation samples tells whether a map covers the
lesion. Networks of one view and one objective can be wrong together; one that sees no more than 5×5 pixels and one that
sees more err in different ways, and where both learnt the labels but mark different tissue, at most one map is right.
The second network costs about half of the first one's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from compseg_jax.config import Training
from compseg_jax.evaluation.agreement import WhereAgreement
from compseg_jax.model import ExtractedNetwork, Model
from compseg_jax.networks.build import NETWORKS
from compseg_jax.runtime.together import spread
from compseg_jax.store import Sample
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.training.further_run import further_run

FOLDER = "second_view"


def has_second_view(config: Training) -> bool:
    """Whether a run trains a second network: asked for, and of a topology whose depth is its view."""
    return config.second_view and config.network.network in NETWORKS


def second_view(config: Training) -> Training:
    """The run of the second network: without poolings (of a network without any: with one)."""
    network = replace(config.network, depth=0 if config.network.depth > 0 else 1)
    return further_run(config, FOLDER, network=network)


def agreement_on_validation(
    first: ExtractedNetwork, second: ExtractedNetwork, cubes: PreparedStore
) -> dict[str, Any]:
    """What model.json says under `second_view`: the second network, and how far both agree on where disease lies.

    Args:
      first: the network of the run.
      second: that of another view.
      cubes: prepared samples, whose diseased validation samples are looked at.
    """
    state = WhereAgreement.empty()
    diseased = [sample for sample in cubes.store.split("val") if sample.label == 1]
    thresholds = first.threshold, second.threshold
    both = Model((first, second), first.threshold, first.description)

    def states(some: Iterable[Sample]) -> Iterator[WhereAgreement]:
        for sample in some:
            cube, tissue = cubes.read(sample.id)
            prediction = both.predict(cube, tissue=tissue, prepared=True)
            maps = prediction.activations[:, prediction.tissue].astype(np.float64)
            yield WhereAgreement.of(maps, thresholds) if maps.shape[1] else WhereAgreement.empty()

    for of_sample in spread(states, diseased):
        state = state.merge(of_sample)
    said = second.description
    return {
        "depth": getattr(second.network, "depth", None),
        "epochs": said["epochs_trained"],
        "val_auc": said["best_epoch"]["val_auc"],
        "threshold": second.threshold,
        "labels_learnt": bool(said["threshold_choice"]["supported"]),
        "samples": len(diseased),
        **state.compute(),
    }
