"""Runs in MLflow, where its environment says so: ``MLFLOW_TRACKING_URI`` is set and mlflow is installed.

Nothing of mlflow is imported otherwise, and nothing that it does ends a run: log.jsonl and metrics.json hold the same
numbers. ``mlflow.json`` in a run's folder says which run of MLflow it is, so that what goes on and what is evaluated
later stands with it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from compseg_jax.runtime.extras import install_line
from compseg_jax.runtime.files import JsonFormat, json_text, write_text
from compseg_jax.runtime.together import is_first

URI, EXPERIMENT, FILES_ALLOWED = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE"
DEFAULT_EXPERIMENT = "compseg"
TRACKED = "mlflow.json"
LONGEST_VALUE = 500
"""Characters of a parameter that every version of MLflow keeps."""
PARAMETERS_AT_ONCE = 100
_FORMAT = JsonFormat(
    "compseg-mlflow",
    version=1,
    required=("run_id", "tracking_uri"),
    absent="The run was not tracked.",
    again="remove it",
)


@dataclass
class Tracking:
    """A run of MLflow that numbers are sent to; after the first failure it says so and sends nothing more.

    Attributes:
      run_id: MLflow's name of it.
      client: mlflow.MlflowClient.
      say: prints a line.
    """

    run_id: str
    client: Any
    say: Callable[[str], None] = print
    _failed: bool = field(default=False, init=False)

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Numbers of one step; what is none, or not finite, is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        sent = [
            Metric(name, float(value), now, step)
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ]
        self._try(lambda: self.client.log_batch(self.run_id, metrics=sent))

    def tags(self, values: Mapping[str, str]) -> None:
        """Texts that belong to the run."""
        for name, value in values.items():
            self._try(partial(self.client.set_tag, self.run_id, name, value))

    def artifacts(self, paths: Iterable[Path], place: str = "") -> None:
        """Files, copied to where MLflow keeps them."""
        for path in paths:
            self._try(partial(self.client.log_artifact, self.run_id, str(path), place or None))

    def end(self, status: str) -> None:
        """Says how the run ended: FINISHED, FAILED or KILLED."""
        self._try(lambda: self.client.set_terminated(self.run_id, status))

    def _try(self, action: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever a server, a disk or a proxy answers, the training goes on
            self._failed = True
            self.say(
                f"MLflow: nothing more is sent, as it failed ({_short(error)}); log.jsonl holds the same."
            )


def track(
    folder: Path, parameters: Mapping[str, Any], *, is_kept: bool = True, say: Callable[[str], None] = print
) -> Tracking | None:
    """The run of MLflow that belongs to a folder: the one it had, or a new one with these parameters.

    Args:
      folder: the run, or the report of a model that has no run here.
      parameters: of a new one, as a flat mapping.
      is_kept: whether the folder may keep which run of MLflow it is, for those who go on.
      say: prints a line where MLflow is asked for and cannot be used.

    Returns:
      None where the environment does not ask for MLflow, where it cannot be used, and in all processes but the first.
    """
    uri = os.environ.get(URI)
    if not uri or not is_first():
        return None
    if uri.startswith("file:") or "://" not in uri:
        os.environ.setdefault(
            FILES_ALLOWED, "true"
        )  # MLflow 3 asks whether files are meant; here they were named
    try:
        from mlflow import MlflowClient
    except ImportError:
        say(
            f"MLflow: {URI} is set, but mlflow is not installed, so nothing is sent. Install it with: "
            f"{install_line('mlflow')}"
        )
        return None
    try:
        client = MlflowClient(tracking_uri=uri)
        known = _known(folder, uri)
        if known is not None:
            client.update_run(known, status="RUNNING")
            return Tracking(known, client, say)
        run_id = _new_run(client, folder, parameters)
        if is_kept:
            write_text(folder / TRACKED, json_text(_FORMAT.stamped({"run_id": run_id, "tracking_uri": uri})))
        return Tracking(run_id, client, say)
    except Exception as error:  # as in Tracking: no server ends a run
        say(f"MLflow: nothing is sent, as {uri} failed ({_short(error)}); log.jsonl holds the same.")
        return None


def _known(folder: Path, uri: str) -> str | None:
    """The run that the folder names, of the same MLflow."""
    if not (folder / TRACKED).is_file():
        return None
    values = _FORMAT.read(folder / TRACKED)
    return str(values["run_id"]) if values["tracking_uri"] == uri else None


def _new_run(client: Any, folder: Path, parameters: Mapping[str, Any]) -> str:
    from mlflow.entities import Param

    name = os.environ.get(EXPERIMENT, DEFAULT_EXPERIMENT)
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    place = folder.resolve()
    run = client.create_run(experiment, run_name="/".join(place.parts[-2:]), tags={"folder": str(place)})
    sent = [Param(name, _text(value)) for name, value in parameters.items()]
    for first in range(0, len(sent), PARAMETERS_AT_ONCE):
        client.log_batch(run.info.run_id, params=sent[first : first + PARAMETERS_AT_ONCE])
    return str(run.info.run_id)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:LONGEST_VALUE]


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
