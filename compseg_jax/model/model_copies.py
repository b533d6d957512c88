"""Models behind URLs, and copies of stores and models between folders and object stores.

Orbax restores parameters from a file system alone, so that a model behind a URL is copied to a temporary folder first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.config.locations import Location, Url
from compseg_jax.model.extracted import ModelError
from compseg_jax.runtime.files import atomic_folder, temporary_folder
from compseg_jax.store.kvstore import (
    MissingFileError,
    copy_files,
    exist,
    joined,
    names_below,
    read_together,
    refuse_read_only,
)

DESCRIPTION, ENSEMBLE, FILES = "model.json", "ensemble.json", "files"
"""Names of what describes a model and an ensemble, and the key of model.json that lists the other files."""
TABLES = ("samples.csv", "predictions.json")
"""Of a store, and of predictions."""


@dataclass(frozen=True)
class Contents:
    """What a store, predictions or a model consist of.

    Attributes:
      place: where it lies.
      names: its files below it, without the last one.
      last: the file without which it is none, which is written after all others; empty where ``place`` holds neither.
    """

    place: Location
    names: tuple[str, ...]
    last: str


@contextmanager
def local_model(url: Url) -> Iterator[Path]:
    """A model behind a URL as a folder, for as long as the block lasts; errors of loading name the URL.

    Raises:
      LocationError: when the URL refuses or does not answer, or is of a model of an earlier release on a web server.
    """
    with temporary_folder("model") as temporary:
        folder = temporary / "model"
        folder.mkdir()
        found = model_contents(url)
        _copy(found, folder, [*found.names, found.last] if found.last else [])
        try:
            yield folder
        except ValueError as error:
            raise type(error)(str(error).replace(str(folder), str(found.place))) from error


def model_contents(place: Location) -> Contents:
    """The files of a model folder, or of a run's model: RUN/model, or those of all members of an ensemble.

    Raises:
      ModelError: when an ensemble lists a model that lies elsewhere.
      LocationError: when the place cannot be read or listed.
    """
    ensemble, own, below = read_together(
        [place / ENSEMBLE, place / DESCRIPTION, place / "model" / DESCRIPTION]
    )
    if ensemble is not None:
        folders = [str(entry["model"]) for entry in _json(ensemble).get("members") or ()]
        texts = read_together([joined(place, f"{name}/{DESCRIPTION}") for name in folders])
        names: list[str] = []
        for folder, text in zip(folders, texts, strict=True):
            if folder.startswith("/") or ".." in folder.split("/"):
                raise ModelError(f"{place / ENSEMBLE}: member {folder!r} lies elsewhere. Copy the run again.")
            if text is not None:
                names += [f"{folder}/{name}" for name in (*_files(joined(place, folder), text), DESCRIPTION)]
        return Contents(place, tuple(names), ENSEMBLE)
    if own is None and below is not None:
        place, own = place / "model", below
    return Contents(place, () if own is None else _files(place, own), "" if own is None else DESCRIPTION)


def _files(place: Location, description: bytes) -> tuple[str, ...]:
    """Files of a model folder beside its description, which lists them unless an earlier release wrote it."""
    listed = _json(description).get(FILES)
    if not isinstance(listed, list):
        return tuple(name for name in names_below(place) if name != DESCRIPTION)
    if any(str(name).startswith("/") or ".." in str(name).split("/") for name in listed):
        raise ModelError(f"{place / DESCRIPTION} lists files that lie elsewhere. Copy the model again.")
    return tuple(map(str, listed))


def _json(text: bytes) -> dict:
    try:
        values = json.loads(text)
    except ValueError:  # said by whoever loads the copy
        return {}
    return values if isinstance(values, dict) else {}


def copy(source: Location, target: Location) -> Contents:
    """Copies a store, predictions, or the model of a run, between folders and object stores; returns what was copied.

    What makes it a store, predictions or a model is written last, so that nobody reads half of one.

    Args:
      source: a store, predictions, a model folder, or a run of one network or an ensemble.
      target: where to; nothing may be there.

    Raises:
      ModelError: when ``source`` is none of them, or ``target`` is taken.
      LocationError: when either cannot be reached, listed or written.
    """
    refuse_read_only(target)
    table = next(
        (
            name
            for name, is_there in zip(TABLES, exist([source / n for n in TABLES]), strict=True)
            if is_there
        ),
        "",
    )
    if table:
        found = Contents(source, tuple(name for name in names_below(source) if name != table), table)
    else:
        found = model_contents(source)
    if not found.last:
        raise ModelError(
            f"{source}: neither a store (samples.csv) nor predictions (predictions.json) nor a finished model "
            "(model.json, ensemble.json). Name the store, the predictions, RUN or RUN/model."
        )
    taken = exist([target / name for name in (*TABLES, DESCRIPTION, ENSEMBLE)])
    if any(taken) or (isinstance(target, Path) and target.exists()):
        raise ModelError(f"{target} exists already. Remove it, or choose another place.")
    if isinstance(target, Path):
        with atomic_folder(target) as staging:
            _copy(found, staging, [*found.names, found.last])
    else:
        _copy(found, target, list(found.names))
        _copy(found, target, [found.last])
    return found


def _copy(source: Contents, target: Location, names: list[str]) -> None:
    try:
        copy_files(source.place, target, names)
    except MissingFileError as error:
        raise ModelError(f"{error} {source.place / source.last} lists it.") from error
