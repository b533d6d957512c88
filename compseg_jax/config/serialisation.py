"""Configurations as JSON values and back."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from compseg_jax.config.fields import described, with_values
from compseg_jax.config.locations import Url, is_url, location, writable
from compseg_jax.config.ranges import Range

Config = TypeVar("Config")
_UNIONS = (Union, types.UnionType)


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=lambda place: writable(str(place))))


def from_json(cls: type[Config], values: Mapping[str, Any], *, base: Config | None = None) -> Config:
    """The configuration that :func:`to_json` wrote; fields that are left out are those of ``base`` or the class.

    Raises:
      ValueError: for a field that is none, with the nearest one; for a value of another type or out of its range,
        with what is allowed.
    """
    fields = described(cls)
    given: dict[str, Any] = {}
    for name, value in _entries(values):
        if name not in fields:
            raise ValueError(f"{name}: there is no field of that name{_nearest(name, fields)}")
        try:
            given[name] = converted(fields[name].hint, value)
        except NotAllowedError:
            found = json.dumps(value, ensure_ascii=False, default=str)
            raise ValueError(f"{name} = {found}: must be {allowed(fields[name].hint)}.") from None
    return with_values(cls() if base is None else base, given)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every value of nested mappings by its name, those inside of others as ``part.name``."""
    return dict(_entries(values))


def allowed(hint: Any) -> str:
    """What a field of this type may hold, in words."""
    plain = {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}
    plain |= {Path: "a path", Url: "a URL"}
    if hint in plain:
        return plain[hint]
    if get_origin(hint) is Annotated:
        kind, *ranges = get_args(hint)
        return ", ".join([allowed(kind), *(str(each) for each in ranges if isinstance(each, Range))])
    if get_origin(hint) is Literal:
        names = [json.dumps(value) for value in get_args(hint)]
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0]
    if get_origin(hint) is tuple:
        return f"a list whose entries are {allowed(get_args(hint)[0])}"
    if get_origin(hint) in _UNIONS:
        return " or ".join("left out" if each is types.NoneType else allowed(each) for each in get_args(hint))
    return "an object of keys and values"


class NotAllowedError(Exception):
    """A value is none that a field of its type may hold."""


def _entries(values: Mapping[str, Any], group: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{group}{name}.")
        else:
            yield group + name, value


def _nearest(name: str, fields: Iterable[str]) -> str:
    names = list(fields)
    last = name.rpartition(".")[2]
    elsewhere = [each for each in names if each.rpartition(".")[2] == last]
    near = elsewhere or difflib.get_close_matches(name, names, n=1)
    near = near or [each for each in names if difflib.get_close_matches(last, [each.rpartition(".")[2]])]
    if not near:
        return "; the file may come from a newer version of compseg_jax."
    return f"; did you mean {near[0]}?"


def converted(hint: Any, value: Any) -> Any:
    """A JSON value as a field of this type holds it; raises NotAllowedError where it holds no such value."""
    if hint is Any:
        return value
    if get_origin(hint) is Annotated:
        kind, *ranges = get_args(hint)
        number = converted(kind, value)
        if all(number in each for each in ranges if isinstance(each, Range)):
            return number
    elif get_origin(hint) in _UNIONS:
        for each in get_args(hint):
            with contextlib.suppress(NotAllowedError):
                return converted(each, value)
    elif get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(converted(get_args(hint)[0], each) for each in value)
    elif (
        get_origin(hint) is Literal
        and any(type(value) is type(each) and value == each for each in get_args(hint))
    ) or (get_origin(hint) is Mapping and isinstance(value, Mapping)):
        return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif hint is Url and isinstance(value, str) and is_url(value):
        return location(value)
    elif hint is Path and isinstance(value, str) and not is_url(value):
        return Path(value)
    elif isinstance(hint, type) and (type(value) is hint or (value is None and hint is types.NoneType)):
        return value
    raise NotAllowedError
