"""Recipes as files: TOML or JSON with some fields of a run; the rest is that of the recipe they start from.

A file of parts ``[objective]``, ``[network]``, ``[optimiser]`` and ``[ensemble]``, as the dataclasses are nested. The
``config.json`` of a run is such a file with every field.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

from compseg_jax.config.fields import described
from compseg_jax.config.recipes import RECIPES
from compseg_jax.config.regular_files import refuse_special
from compseg_jax.config.serialisation import from_json
from compseg_jax.config.training import Training

OF_A_RUN = frozenset({"data", "out", "resume", "recipe"})
"""Fields that say where a run lies and what it starts from, not how it is trained."""
STORE_FINGERPRINT = "store_fingerprint"
"""Key of a run's config.json that is no field: what tells the store that it was started with from any other."""
_WIDTH = 100


def recipe(named: str) -> Training:
    """The recipe of a name, or that of a .toml or .json file.

    Raises:
      ValueError: when there is none of that name, or the file holds a field, type or value that is not allowed; the
        message names file, field, value and what is allowed.
      OSError: when there is no such file, it cannot be read, or it is a named pipe, a socket or a device.

    >>> recipe("paper2019").objective.alpha
    0.1
    """
    if named in RECIPES:
        return RECIPES[named]
    if named.endswith((".toml", ".json")):
        return _read(Path(named))
    near = difflib.get_close_matches(named, RECIPES, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(
        f"recipe {named!r}: there is none of that name.{hint} Choose one of {', '.join(RECIPES)}, or name a recipe "
        "file, my.toml or my.json; `compseg recipe default > my.toml` writes one."
    )


def recipe_text(config: Training, start: str) -> str:
    """A recipe file in TOML with every field, its explanation, what it may be and its value in ``config``.

    Args:
      config: what is written, but for :data:`OF_A_RUN`.
      start: name of the recipe that fields start from when they are taken out of the file.
    """
    lines = [
        *_comment(
            "A recipe of compseg train: --recipe FILE. Fields that are left out keep the value of the recipe named "
            "here; options on the command line come before both."
        ),
        f"recipe = {toml_value(start)}",
    ]
    group = ""
    fields = sorted(described(Training).items(), key=lambda item: "." in item[0])
    for path, field in fields:
        if path in OF_A_RUN:
            continue
        part, _, name = path.rpartition(".")
        if part != group:
            group = part
            lines += ["", "", f"[{part}]", *_comment(type(attrgetter(part)(config)).__doc__ or "")]
        lines += ["", *_comment(field.doc)]
        if get_origin(field.hint) is Literal:
            lines += _comment(f"One of: {', '.join(get_args(field.hint))}.")
        value = attrgetter(path)(config)
        lines.append(f"# {name} = (not set)" if value is None else f"{name} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value of a field as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, _WIDTH - 2, break_on_hyphens=False)]


def _read(path: Path) -> Training:
    refuse_special(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe file; `compseg recipe default > {path}` writes one.")
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        if not isinstance(values, Mapping):
            raise ValueError(f"holds {type(values).__name__}; a recipe holds fields and their values")
        values = {name: value for name, value in values.items() if name != STORE_FINGERPRINT}
        start = values.get("recipe", "default")
        if str(start) not in RECIPES:
            raise ValueError(f"recipe = {json.dumps(start)}: must be one of {', '.join(RECIPES)}.")
        if values.get("resume"):
            raise ValueError("resume: belongs on the command line, `compseg train --out RUN --resume`.")
        return from_json(Training, values, base=RECIPES[start])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
