"""What every command does with `--quiet` (errors alone) and `--json` (one object for scripts, at the end)."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import ContextVar
from typing import Any

QUIET, AS_JSON = "--quiet", "--json"
_is_quiet = ContextVar("is_quiet", default=False)
_facts: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)


def is_quiet() -> bool:
    """Whether no bars are to be drawn."""
    return _is_quiet.get()


def tell(**facts: object) -> None:
    """Facts for the object that ``--json`` prints; nothing without it. Paths become text."""
    told = _facts.get()
    if told is not None:
        told.update(facts)


@contextmanager
def quietly() -> Iterator[None]:
    """What is printed goes nowhere meanwhile."""
    token = _is_quiet.set(True)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        _is_quiet.reset(token)


def as_json(command: Callable[[], int]) -> int:
    """Runs a command and prints one JSON object: exit_code, what it told, and the lines that it said.

    Lines of standard error stand under ``errors``.
    """
    said, errors, facts = io.StringIO(), io.StringIO(), dict[str, Any]()
    tokens = _is_quiet.set(True), _facts.set(facts)
    try:
        with redirect_stdout(said), redirect_stderr(errors):
            code = command()
    except SystemExit as ended:  # an unknown option, or --help
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        _is_quiet.reset(tokens[0])
        _facts.reset(tokens[1])
    lines = {"said": said.getvalue().splitlines(), "errors": errors.getvalue().splitlines()}
    json.dump({"exit_code": code, **facts, **lines}, sys.stdout, default=str, ensure_ascii=False)
    print()
    return code
