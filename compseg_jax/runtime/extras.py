"""The line that installs what an extra stands for, into the environment that runs."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

NAME = "compseg-jax"


def install_line(extra: str) -> str:
    """A command that brings the libraries of an extra, to be pasted into a shell as it stands.

    It names this interpreter, as another `pip` may come first on the path; libraries instead of the extra, as the
    package need not come from an index; and uv where the environment has no pip, as those that uv makes.
    """
    words = ["-m", "pip", "install"] if find_spec("pip") else []
    command = [sys.executable, *words] if words else ["uv", "pip", "install", "--python", sys.executable]
    return shlex.join([*command, *(_libraries(extra) or [f"{NAME}[{extra}]"])])


def _libraries(extra: str) -> list[str]:
    """What the installed package says that the extra needs; empty where it is not installed or has no such extra."""
    try:
        said = requires(NAME) or []
    except PackageNotFoundError:
        return []
    wanted = re.compile(rf"""extra == ['"]{re.escape(extra)}['"]""")
    return [line.partition(";")[0].strip() for line in said if wanted.search(line)]
