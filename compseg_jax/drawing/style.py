"""The style sheet of every page, and its colours and fonts for what is drawn by other means."""

from __future__ import annotations

import re
from pathlib import Path

STYLE_SHEET = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
_VARIABLES = dict(re.findall(r"--([\w-]+): ([^;]+);", STYLE_SHEET.partition("}")[0]))

FONT = _VARIABLES["font"]


def colour(name: str) -> str:
    """A colour of the style sheet as ``#rrggbb``, by the name of its variable."""
    return _VARIABLES[name]


def rgb(name: str) -> tuple[int, int, int]:
    """The same as red, green and blue from 0 to 255."""
    red, green, blue = bytes.fromhex(_VARIABLES[name].removeprefix("#"))
    return red, green, blue
