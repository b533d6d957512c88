"""How a run was started, and where its store is now: ``config.json`` and ``places.json`` beside its model."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from compseg_jax.config import Training, from_json, to_json
from compseg_jax.config.locations import Location, Url
from compseg_jax.model.extracted import ModelError
from compseg_jax.runtime.files import JsonFormat, json_text, write_text
from compseg_jax.runtime.places import found_place, place_of

CONFIG, PLACES = "config.json", "places.json"
PLACED = ("data", "init_from")
"""Fields of a run that are places outside of its folder."""
PLACES_JSON = JsonFormat(
    "compseg-places",
    version=1,
    absent="The run is of an earlier release: name its store with --data.",
    again="name the store with --data",
    error=ModelError,
)


def write_run(folder: Path, config: Training) -> None:
    """Keeps how a run is started: its configuration, with places from the root, and the same relative to its folder."""
    given = {name: place for name in PLACED if (place := getattr(config, name)) is not None}
    places = {name: place_of(place, folder) for name, place in given.items()}
    write_text(folder / PLACES, json_text(PLACES_JSON.stamped(places)))
    write_text(folder / CONFIG, json_text(to_json(replace(from_the_root(config), resume=False))))


def from_the_root(config: Training) -> Training:
    """The same run with its places from the root, so that they are the same in any working folder."""
    given = {name: place for name in (*PLACED, "out") if (place := getattr(config, name)) is not None}
    absolute: dict[str, Any] = {
        name: place if isinstance(place, Url) else Path(os.path.abspath(place))
        for name, place in given.items()
    }
    return replace(config, **absolute)


def read_run(folder: Path) -> Training:
    """How a run was started, its store where it is found now.

    Raises:
      ModelError: when the folder holds no run, or one that cannot be read.
    """
    path = folder / CONFIG
    try:
        config = from_json(Training, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no run (no {CONFIG}). Name its folder.") from error
    except ValueError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not (folder / PLACES).is_file():
        return replace(config, out=folder)
    places = PLACES_JSON.read(folder / PLACES)
    found: dict[str, Any] = {name: found_place(places[name], folder) for name in PLACED if name in places}
    return replace(config, out=folder, **found)


def store_of(model: Location) -> Location:
    """The store that a model was trained on; ./data where its run does not say which.

    Args:
      model: the run, or the folder model in it; one behind a URL has no run beside it.
    """
    if isinstance(model, Url):
        return Training().data
    folder = Path(os.path.abspath(model))
    folder = folder.parent if (folder / "model.json").is_file() else folder
    return read_run(folder).data if (folder / CONFIG).is_file() else Training().data
