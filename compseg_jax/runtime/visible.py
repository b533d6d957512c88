"""Text from elsewhere, shown so that it looks like what it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

# Controls of terminals but for tab, line ends and the escape of colours and cursors, which bars and help pages write;
# then of Unicode what shows nothing or turns others around, such as U+202E, which writes 'gpj.exe' backwards. Joiners
# and soft hyphens, which belong to words and emoji, stay.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;?]*[A-Za-z])"
    r"|[\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    r"|[\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)


def visible(text: str) -> str:
    r"""A text with what cannot be seen written as an escape.

    >>> print(visible("invoice\u202egpj.exe"))
    invoice\u202egpj.exe
    """
    return _UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


class VisibleStream:
    """A stream of text, such as a terminal, on which everything can be seen."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, what cannot be seen in it as escapes."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def visibly() -> Iterator[None]:
    """What is printed meanwhile can be seen."""
    said, errors = (cast("TextIO", VisibleStream(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(said), redirect_stderr(errors):
        yield
