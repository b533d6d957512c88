"""The model of a prediction: one network or an ensemble, told apart once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compseg_jax.model.bundle import SegmentingModel, load_model
from compseg_jax.model.diseased_area import AreaRule
from compseg_jax.model.uncertainty import is_ensemble, load_ensemble
from compseg_jax.prediction.inputs import Task
from compseg_jax.spectra.preparation import Preparation

DESCRIBED = ("weights_sha256", "scaling", "preparation", "wavenumbers_cm1", "background", "network")


@dataclass(frozen=True, eq=False)
class Networks:
    """What predicts.

    Attributes:
      path: as it was named.
      models: one network, or the members of an ensemble, whose maps are averaged.
      threshold: where the mean map is cut.
      description: of the model or the ensemble.
    """

    path: Path
    models: tuple[SegmentingModel, ...]
    threshold: float
    description: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path, threshold: float | None = None) -> Networks:
        """Loads a model folder or an ensemble; its own threshold where none is given.

        Raises:
          ModelError: when there is none, or it is damaged.
        """
        if is_ensemble(path):
            ensemble = load_ensemble(path)
            models, own, description = ensemble.members, ensemble.threshold, ensemble.description
        else:
            model = load_model(path)
            models, own, description = (model,), model.threshold, model.description
        return cls(path, models, own if threshold is None else threshold, description)

    def digest(self) -> str:
        """Hash of everything that a map depends on."""
        listed = [{name: model.description.get(name) for name in DESCRIBED} for model in self.models]
        return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()

    def weights_sha256(self) -> str:
        """Of the network; of an ensemble the hash of its members' hashes."""
        own = [str(model.description["weights_sha256"]) for model in self.models]
        return own[0] if len(own) == 1 else hashlib.sha256(" ".join(own).encode()).hexdigest()

    def area_rule(self) -> AreaRule:
        """What the validation samples say about the diseased part of others, at the threshold in use."""
        choice = {"threshold": self.own_threshold, **self.description.get("threshold_choice", {})}
        return AreaRule.of_choice(choice, threshold=self.threshold)

    @property
    def own_threshold(self) -> float:
        """The threshold that model or ensemble states."""
        return float(self.description["threshold"])

    def steps_for(self, task: Task) -> list[Preparation | None]:
        """What each network's training images went through from the state that a sample is in; equal ones are one.

        Raises:
          ModelError: when the sample's store was prepared otherwise.
        """
        found: list[Preparation | None] = []
        known: dict[str, Preparation | None] = {}
        for model in self.models:
            steps = model.preparation if task.store is None else model.preparation_behind(task.store)
            key = "" if steps is None else json.dumps(steps.to_json())
            found.append(known.setdefault(key, steps))
        return found
