"""Commands as their user can type them: with the program's own name, and quoted for a shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

SCRIPTS = {"train": "train.py", "evaluate": "evaluate.py"}
"""Commands that have a script of their own."""


def typed(command: str, *words: object) -> str:
    """The line that runs a command of `compseg` the way this program was started.

    >>> typed("view", "my runs/report")  # doctest: +SKIP
    "compseg view 'my runs/report'"
    """
    program = Path(sys.argv[0])
    if program.name == SCRIPTS.get(command):
        start = ["python", str(program)]
    elif program.name == "__main__.py" and program.parent.name == "cli":
        start = ["python", "-m", "compseg_jax.cli", command]
    else:
        start = ["compseg", command]
    return shlex.join([*start, *map(str, words)])
