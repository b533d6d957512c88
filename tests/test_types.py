"""Annotations hold: every one of them resolves, and the tests check every call against them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import get_type_hints

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import compseg_jax
from compseg_jax.objective import modified_sigmoid, pooled_activation

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(compseg_jax.__path__, "compseg_jax.")
    if not module.name.endswith("__main__")
)


def annotated(module) -> Iterator[object]:
    """The module, and every function, class and method that it defines; not the methods dataclasses make."""
    yield module
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        yield value
        for member in vars(value).values() if inspect.isclass(value) else ():
            if isinstance(member, property | cached_property):
                member = member.fget if isinstance(member, property) else member.func
            function = inspect.unwrap(getattr(member, "__func__", member))
            if inspect.isfunction(function) and function.__code__.co_filename == module.__file__:
                yield function


@pytest.mark.parametrize("name", MODULES)
def test_every_annotation_resolves(name):
    for found in annotated(importlib.import_module(name)):
        get_type_hints(found)


def test_calls_are_checked():
    with pytest.raises(TypeCheckError, match="pooled_activation"):
        pooled_activation(jnp.zeros(3))
    with pytest.raises(TypeCheckError, match="modified_sigmoid"):
        modified_sigmoid("z", 0.1, 1.0, 0.1)


def test_the_package_says_that_it_is_typed():
    assert (Path(compseg_jax.__file__).parent / "py.typed").is_file()
