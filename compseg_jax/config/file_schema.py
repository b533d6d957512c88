"""JSON files as dataclasses: what each key holds, and within which range, written once for writers, readers and checks.

A file's dataclass names the keys that this release knows; `values_of` makes one of what a file holds, and says of what
does not fit which key it is, what was found and what is allowed. Keys that it does not know are left alone, as
docs/format.md asks of a reader.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from compseg_jax.config.ranges import Range
from compseg_jax.config.serialisation import NotAllowedError, allowed, converted

Values = TypeVar("Values")
LONGEST_SHOWN = 60

Axis = tuple[Annotated[float, Range(-100_000, 100_000)], ...]
"""In cm⁻¹: shifts are negative on the anti-Stokes side, and 1e5 cm⁻¹ are 100 nm."""


def values_of(cls: type[Values], found: Mapping[str, Any]) -> Values:
    """What a file holds as its dataclass, whose ``__post_init__`` says what has to fit together.

    Raises:
      ValueError: names the key, what was found and what is allowed.
    """
    return _nested(cls, found, "")


def refuse_axis(axis: Axis | None, channels: int) -> None:
    """Raises ValueError where an axis is not one value a channel, strictly rising or falling; images have None."""
    if axis is None:
        return
    if len(axis) != channels:
        raise ValueError(
            f"wavenumbers_cm1 has {len(axis)} wavenumbers for {channels} channels: must be one for each"
        )
    steps = [later - earlier for earlier, later in itertools.pairwise(axis)]
    for at, step in enumerate(steps):
        if step * steps[0] <= 0:
            raise ValueError(
                f"wavenumbers_cm1[{at}] = {axis[at]:.10g}, [{at + 1}] = {axis[at + 1]:.10g}: must be strictly rising "
                "or falling"
            )


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _nested(cls: type[Values], found: Mapping[str, Any], prefix: str) -> Values:
    kind: type = cls
    hints, given = _hints(kind), {}
    for each in dataclasses.fields(cls):  # type: ignore[arg-type]
        if each.name in found:
            given[each.name] = _value(hints[each.name], found[each.name], prefix + each.name)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{each.name} missing")
    try:
        return cls(**given)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error


def _value(hint: Any, found: Any, name: str) -> Any:
    """A JSON value as its type; of what holds others, each with a name of its own."""
    parts = [part for part in get_args(hint) if part is not types.NoneType]
    if found is not None and len(parts) == 1 and len(get_args(hint)) == 2 and get_origin(hint) is not tuple:
        return _value(parts[0], found, name)  # a value that may be left out and is there
    if dataclasses.is_dataclass(hint) and isinstance(found, Mapping):
        return _nested(hint, found, f"{name}.")  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(found, list | tuple):
        return tuple(_value(parts[0], each, f"{name}[{at}]") for at, each in enumerate(found))
    try:
        return converted(hint, found)
    except NotAllowedError:
        text = json.dumps(found, default=str, ensure_ascii=False)
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
        raise ValueError(f"{name} = {shown}: must be {allowed(hint)}") from None
