"""`--quiet` of every command: nothing but errors is printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar

QUIET = "--quiet"
_is_quiet = ContextVar("is_quiet", default=False)


def is_quiet() -> bool:
    """Whether nothing but errors is to be printed: no bars either."""
    return _is_quiet.get()


@contextmanager
def quietly() -> Iterator[None]:
    """What is printed goes nowhere meanwhile."""
    token = _is_quiet.set(True)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        _is_quiet.reset(token)
