"""Configurations as JSON values and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_json(cls: type[Config], values: dict[str, Any]) -> Config:
    """The configuration that :func:`to_json` wrote; keys this version does not know are refused."""
    hints = get_type_hints(cls)
    unknown = set(values) - set(hints)
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(sorted(unknown))}; the file was written by a newer version."
        )
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            value = from_json(hints[name], value)
        elif value is not None and "Path" in str(hints[name]):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return cls(**arguments)
