"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_or_absent(path: Path | str) -> Iterator[Path]:
    """Place to write a file to: a hidden one beside ``path``, renamed to it at the end of the block.

    After an error nothing is left of it, and what was at ``path`` before is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
