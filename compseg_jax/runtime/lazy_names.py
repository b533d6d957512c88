"""Names of a package that are imported when they are first asked for, so that importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package (PEP 562).

    Args:
      package: its ``__name__``.
      homes: the module below the package that each name lies in.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it offers {', '.join(sorted(homes))}"
            )
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return __getattr__
