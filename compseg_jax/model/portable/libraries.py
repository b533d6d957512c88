"""Libraries of single formats, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from compseg_jax.model.portable.description import PortableError
from compseg_jax.runtime.extras import install_line


def library(name: str, extra: str) -> Any:
    """A module, or PortableError with the extra that brings it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise PortableError(
            f"this format needs {name.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it with: {install_line(extra)}"
        ) from error
