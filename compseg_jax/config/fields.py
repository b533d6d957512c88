"""The fields of a dataclass as people are shown them: name, type, default, docstring, nested ones by dotted names."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, get_type_hints

Config = TypeVar("Config")


class Described(NamedTuple):
    """A field: its type, its default (``MISSING`` where there is none) and its docstring on one line."""

    hint: Any
    default: Any
    doc: str


def described(cls: type) -> dict[str, Described]:
    """The fields of a dataclass in their order; those of nested ones are named like ``objective.alpha``."""
    hints, docs = get_type_hints(cls), _docstrings(cls)
    found: dict[str, Described] = {}
    for each in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[each.name]):
            nested = described(hints[each.name])
            found |= {f"{each.name}.{name}": field for name, field in nested.items()}
        else:
            found[each.name] = Described(hints[each.name], each.default, docs.get(each.name, ""))
    return found


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with other values of the fields named as :func:`described` names them, each group checked once.

    Raises:
      ValueError: what the dataclasses themselves refuse.
    """
    own = {name: value for name, value in values.items() if "." not in name}
    for group in dict.fromkeys(name.partition(".")[0] for name in values if "." in name):
        nested = {
            name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{group}.")
        }
        own[group] = with_values(getattr(config, group), nested)
    return dataclasses.replace(config, **own)  # type: ignore[type-var]


@functools.cache
def _docstrings(cls: type) -> dict[str, str]:
    """The texts that follow the fields in the source of a dataclass and of those it inherits from, if there is one."""
    texts: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        try:
            source = inspect.getsource(each)
        except OSError:
            continue
        (definition,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in itertools.pairwise(definition.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(doc))),
                ):
                    texts[name] = " ".join(doc.split())
    return texts
