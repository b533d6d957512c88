"""Steps as files keep them: in dataset.json of a store and in model.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compseg_jax.config.file_schema import Axis
from compseg_jax.spectra.preparation.pipeline import Preparation


@dataclass(frozen=True)
class KeptStep:
    """One of the steps, the axis before it, and what it was fitted to."""

    step: str
    settings: Mapping[str, Any]
    wavenumbers_cm1: Axis
    fitted: Mapping[str, Any]


def refuse_steps(steps: Sequence[KeptStep] | None) -> None:
    """Raises ValueError where a step is unknown to this release, or was fitted to what is no finite number."""
    for at, step in enumerate(steps or ()):
        for name, values in step.fitted.items():
            try:
                finite = bool(np.all(np.isfinite(np.asarray(values, np.float64))))
            except (TypeError, ValueError):
                finite = False
            if not finite:
                raise ValueError(f"preparation[{at}].fitted.{name}: must be finite numbers")
    if steps:
        Preparation.from_json([asdict(step) for step in steps])
