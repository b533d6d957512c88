"""What the folder of a training says: how it was started, how far it came, and how good its reports say it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from compseg_jax.config import Training, from_json, to_json
from compseg_jax.config.locations import Location, Url
from compseg_jax.config.serialisation import flat
from compseg_jax.evaluation.run_records.scores_record import (
    METRICS,
    OUT_OF_FOLD,
    Scores,
    read_report,
    read_rows,
)
from compseg_jax.model.model_copies import DESCRIPTION, ENSEMBLE
from compseg_jax.model.model_files import ENSEMBLE_JSON, MEMBERS, read_description
from compseg_jax.model.run_folder import CONFIG, GRAFTING, is_trained, read_run

LOG, SECOND_VIEW = "log.jsonl", "second_view"
OUT_OF_FOLD_FILE = "out_of_fold.csv"


class RunFolderError(ValueError):
    """A folder that holds no run, or one that cannot be read."""


@dataclass(frozen=True)
class RunRecord:
    """One training, or a report whose training is not there.

    Attributes:
      folder: the run; a model's folder or a report where there is no run.
      kind: one network, an ensemble, or a report alone.
      config: how it was started; None for a report alone.
      networks: how many it has, or is to have.
      epochs_trained: of the network; of an ensemble the least of its networks.
      seconds: that training took, the second network's included; None without a log.
      best: the record of the epoch whose network was kept (``epoch``, ``val_loss``, ``val_auc``); {} where there is
        none, and for ensembles.
      is_finished: whether its model is the one of the last epoch.
      weights_sha256: of the model's network; None for an ensemble, or without a model.
      scores: its reports, and the out-of-fold predictions of an ensemble.
    """

    folder: Path
    kind: Literal["network", "ensemble", "report"]
    config: Training | None = field(repr=False)
    networks: int = 1
    epochs_trained: int = 0
    seconds: float | None = None
    best: Mapping[str, Any] = field(default_factory=dict)
    is_finished: bool = True
    weights_sha256: str | None = None
    scores: Sequence[Scores] = ()

    @property
    def data(self) -> Location | None:
        """The store that was trained on; of a report alone the one that was evaluated."""
        if self.config is None:
            return self.scores[0].data if self.scores else None
        return self.config.data

    @property
    def state(self) -> str:
        """How far it came, in words."""
        if self.kind == "report":
            return "report alone"
        assert self.config is not None
        if self.kind == "ensemble":
            return (
                f"{self.networks} networks"
                if self.is_finished
                else f"of {self.networks} networks, unfinished"
            )
        if self.is_finished:
            return f"{self.epochs_trained} epochs"
        if self.epochs_trained >= self.config.epochs:
            return f"{self.epochs_trained} epochs, second phase unfinished"
        return f"epoch {self.epochs_trained} of {self.config.epochs}"

    def is_of_other_weights(self, scores: Scores) -> bool:
        """Whether a report is one of a network that was replaced since."""
        stated = None if scores.source is None else scores.source.weights_sha256
        return None not in (stated, self.weights_sha256) and stated != self.weights_sha256

    def settings(self) -> dict[str, Any]:
        """Every field of the configuration by its name, those of nested parts as ``part.name``; {} without one."""
        return {} if self.config is None else flat(to_json(self.config))

    def to_json(self) -> dict[str, Any]:
        """What `compseg runs --json` says of it."""
        return {
            "run": self.folder,
            "kind": self.kind,
            "state": self.state,
            "is_finished": self.is_finished,
            "data": self.data,
            "recipe": None if self.config is None else self.config.recipe,
            "seed": None if self.config is None else self.config.seed,
            "networks": self.networks,
            "epochs_trained": self.epochs_trained,
            "val_loss": self.best.get("val_loss"),
            "val_auc": self.best.get("val_auc"),
            "seconds": self.seconds,
            "scores": [
                {**each.to_json(), "is_of_other_weights": self.is_of_other_weights(each)}
                for each in self.scores
            ],
        }


def read_run_record(folder: Path, reports: Sequence[Scores] | None = None) -> RunRecord:
    """What a folder says.

    Args:
      folder: run of `compseg train`, finished or not, of one network or an ensemble; its folder ``model``, or one that
        was copied; report of `compseg evaluate`.
      reports: those of the run; the ones in its folder when None.

    Raises:
      RunFolderError, ModelError, ValueError: when it is nothing of these, or a file in it is damaged; names the file.

    >>> record = read_run_record(Path("runs/demo/train"))  # doctest: +SKIP
    >>> record.best["val_auc"], record.scores[0].metrics["auc_area"]  # doctest: +SKIP
    """
    if (folder / METRICS).is_file():
        return RunRecord(folder, "report", None, scores=(read_report(folder),))
    if (folder / DESCRIPTION).is_file() and (folder.parent / CONFIG).is_file() and folder.name == "model":
        folder = folder.parent
    if reports is None:
        reports = [read_report(path.parent) for path in sorted(folder.glob(f"*/{METRICS}"))]
    if (folder / ENSEMBLE).is_file() or (folder / MEMBERS).is_dir():
        return _ensemble(folder, reports)
    if (folder / CONFIG).is_file():
        return _network(folder, reports)
    if (folder / DESCRIPTION).is_file():
        return _model_alone(folder, reports)
    raise RunFolderError(
        f"{folder} holds no run, model or report (no {CONFIG}, {ENSEMBLE}, {DESCRIPTION} or {METRICS}). Name the "
        "folder that `compseg train` or `compseg evaluate` wrote."
    )


def run_named_by(scores: Scores) -> Path | None:
    """The run, or the model where there is no run, that a report names; None where it is not there."""
    if scores.source is None:
        return next((each for each in scores.folder.parents if (each / CONFIG).is_file()), None)
    if isinstance(scores.source.model, Url):
        return None
    model = Path(os.path.abspath(scores.source.model))
    run = model.parent if (model.parent / CONFIG).is_file() and model.name == "model" else model
    return run if any((run / name).is_file() for name in (CONFIG, ENSEMBLE, DESCRIPTION)) else None


def _network(folder: Path, reports: Sequence[Scores]) -> RunRecord:
    config, log = read_run(folder), _read_log(folder / LOG)
    others = [each for name in (GRAFTING, SECOND_VIEW) for each in _read_log(folder / name / LOG)]
    model = read_description(folder / "model") if (folder / "model" / DESCRIPTION).is_file() else {}
    trained = int(model.get("epochs_trained", 0))
    return RunRecord(
        folder,
        "network",
        config,
        epochs_trained=max(trained, log[-1]["epoch"] if log else 0),
        seconds=_seconds([*log, *others]),
        best=model.get("best_epoch", {}),
        is_finished=is_trained(config, model),
        weights_sha256=model.get("weights_sha256"),
        scores=tuple(reports),
    )


def _model_alone(folder: Path, reports: Sequence[Scores]) -> RunRecord:
    model = read_description(folder)
    try:
        config = from_json(Training, model.get("config", {}))
    except ValueError as error:
        raise RunFolderError(f"{folder / DESCRIPTION}: {error}") from error
    history = model.get("history", [])
    return RunRecord(
        folder,
        "network",
        config,
        epochs_trained=int(model.get("epochs_trained", 0)),
        seconds=_seconds(history),
        best=model.get("best_epoch", {}),
        weights_sha256=model["weights_sha256"],
        scores=tuple(reports),
    )


def _ensemble(folder: Path, reports: Sequence[Scores]) -> RunRecord:
    values = ENSEMBLE_JSON.read(folder / ENSEMBLE) if (folder / ENSEMBLE).is_file() else {}
    logs = [_read_log(path) for path in sorted(folder.glob(f"{MEMBERS}/*/{LOG}"))]
    config = read_run(folder) if (folder / CONFIG).is_file() else _config_of_members(folder, values)
    of_folds = values.get("cross_validation")
    out_of_fold = (
        [Scores(folder, OUT_OF_FOLD, of_folds, read_rows(folder / OUT_OF_FOLD_FILE), None)]
        if of_folds and (folder / OUT_OF_FOLD_FILE).is_file()
        else []
    )
    return RunRecord(
        folder,
        "ensemble",
        config,
        networks=config.ensemble.n_members,
        epochs_trained=min((log[-1]["epoch"] for log in logs if log), default=0),
        seconds=_seconds([record for log in logs for record in log]),
        is_finished=bool(values),
        scores=(*out_of_fold, *reports),
    )


def _config_of_members(folder: Path, values: Mapping[str, Any]) -> Training:
    """The configuration that ensemble.json keeps, of a run that was copied without its config.json."""
    try:
        return from_json(Training, values["config"])
    except KeyError as error:
        raise RunFolderError(
            f"{folder} does not say how it was started: {CONFIG} is missing. Copy the run again."
        ) from error
    except ValueError as error:
        raise RunFolderError(f"{folder / ENSEMBLE}: {error}") from error


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The epochs of a run; a last line that a killed process left half-written is none."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            record["epoch"], record["seconds"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise RunFolderError(
                f"{path}: line {number} is no epoch of a run ({error!r}). Resume the run."
            ) from error
        records.append(record)
    return records


def _seconds(records: Sequence[Mapping[str, Any]]) -> float | None:
    """Of all epochs, those of starts that were given up included; networks that trained side by side share theirs."""
    each = [float(record["seconds"]) / record.get("networks_at_once", 1) for record in records]
    return round(sum(each), 1) if each else None
