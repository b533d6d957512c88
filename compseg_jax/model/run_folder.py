"""How a run was started, and where its store is now: ``config.json`` beside its model.

Places stand in it from the root, that of the run included: so they hold in any working folder, and what lies in the
same place relative to the run is found after a move of both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compseg_jax.config import Training, from_json, to_json
from compseg_jax.config.fields import with_values
from compseg_jax.config.locations import Location, Url
from compseg_jax.config.recipe_file import STORE_FINGERPRINT
from compseg_jax.model.extracted import ModelError
from compseg_jax.runtime.files import json_text, write_text

CONFIG = "config.json"
GRAFTING = "grafting"
"""Folder of a run's second phase, and what model.json says of it."""
PLACED = ("data", "init_from")
"""Fields of a run that are places outside of its folder."""


def write_run(folder: Path, config: Training, fingerprint: Mapping[str, str] | None = None) -> None:
    """Keeps how a run is started, with its places from the root, and what tells its store from any other."""
    values = to_json(with_values(from_the_root(config), {"resume": False}))
    if fingerprint:
        values[STORE_FINGERPRINT] = dict(fingerprint)
    write_text(folder / CONFIG, json_text(values))


def is_trained(config: Training, described: Mapping[str, Any]) -> bool:
    """Whether model.json is that of a run at its end: after the last epoch, and its second phase where it has one."""
    after_the_last = int(described.get("epochs_trained", 0)) >= config.epochs
    return after_the_last and (not config.grafting or GRAFTING in described)


def from_the_root(config: Training) -> Training:
    """The same run with its places from the root, so that they are the same in any working folder."""
    given = {name: place for name in (*PLACED, "out") if (place := getattr(config, name)) is not None}
    absolute = {
        name: place if isinstance(place, Url) else Path(os.path.abspath(place))
        for name, place in given.items()
    }
    return with_values(config, absolute)


def read_run(folder: Path) -> Training:
    """How a run was started, its store where it is found now.

    Raises:
      ModelError: when the folder holds no run, or one that cannot be read.
    """
    values = _values(folder)
    values.pop(STORE_FINGERPRINT, None)
    try:
        config = from_json(Training, values)
    except ValueError as error:
        raise _unreadable(folder, error) from error
    found = {name: _found(place, config.out, folder) for name in PLACED if (place := getattr(config, name))}
    return with_values(config, {"out": folder, **found})


def read_fingerprint(folder: Path) -> dict[str, str]:
    """What told the store of a run from any other when it was started; empty for runs of earlier releases.

    Raises:
      ModelError: as `read_run`.
    """
    found = _values(folder).get(STORE_FINGERPRINT, {})
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise _unreadable(folder, f"{STORE_FINGERPRINT} = {found!r}: must be hashes by their names")
    return found


def _values(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no run (no {CONFIG}). Name its folder.") from error
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    if not isinstance(values, dict):
        raise _unreadable(folder, f"it holds {type(values).__name__}, required are fields and their values")
    return values


def _unreadable(folder: Path, what: object) -> ModelError:
    return ModelError(
        f"{folder / CONFIG} cannot be read: {what}. It is damaged or from a newer release: take it from a copy of the "
        "run, or start a new one."
    )


def _found(place: Location, out: Path, folder: Path) -> Location:
    """A place of a run that was started in ``out`` and lies in ``folder`` now; as it was where it is gone."""
    if isinstance(place, Url):
        return place
    if place.is_absolute() != out.is_absolute() or place.anchor != out.anchor:
        return place
    moved = Path(os.path.abspath(folder / os.path.relpath(place, out)))
    return moved if moved.exists() else place


def store_of(model: Location) -> Location:
    """The store that a model was trained on; ./data where its run does not say which.

    Args:
      model: the run, or the folder model in it; one behind a URL has no run beside it.
    """
    run = run_of(model)
    return Training().data if run is None else read_run(run).data


def run_of(model: Location) -> Path | None:
    """The run of a model; None where there is none beside it. Arguments as of `store_of`."""
    if isinstance(model, Url):
        return None
    folder = Path(os.path.abspath(model))
    folder = folder.parent if (folder / "model.json").is_file() else folder
    return folder if (folder / CONFIG).is_file() else None


def model_of_run(model: Location) -> Path | None:
    """The folder of a run's network; None for a model that lies by itself, as others handed it over.

    Args:
      model: the run, or the folder model in it; one behind a URL is nobody's here.
    """
    run = run_of(model)
    folder = None if run is None else run / "model"
    return folder if folder is not None and (folder / "model.json").is_file() else None
