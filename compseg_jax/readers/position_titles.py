"""Titles of columns that hold positions, as instruments and people write them: `X`, `map_y`, `Pos. Y [mm]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

X_NAMES = frozenset(
    ("x", "mapx", "posx", "xpos", "positionx", "xposition", "columnx", "stagex", "xcoordinate")
)
Y_NAMES = frozenset(("y", "mapy", "posy", "ypos", "positiony", "yposition", "rowy", "stagey", "ycoordinate"))
_UM_PER_UNIT = {"": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}
_IN_BRACKETS = re.compile(r"[(\[/]\s*([^()\[\]]*?)\s*[)\]]?$")
_AT_END = re.compile(r"[_ ](um|µm|μm|mm|nm)$")


def name(title: str) -> str:
    """The letters of a title without its unit, in lower case: `Map_X (µm)` is `mapx`, `column (x)` is `columnx`."""
    text = title.lower().strip()
    if unit(text):
        found = _IN_BRACKETS.search(text) or _AT_END.search(text)
        text = text[: found.start()] if found is not None else text
    return re.sub(r"[^a-z]", "", text)


def unit(title: str) -> str:
    """The unit in a title, empty where there is none."""
    found = _IN_BRACKETS.search(title.strip()) or _AT_END.search(title.strip())
    return found.group(1) if found is not None and found.group(1).lower() not in ("x", "y") else ""


def um_per_unit(titles: Sequence[str]) -> tuple[float | None, bool]:
    """µm of one unit of the positions below the titles, None for a unit that is no length, and whether one is stated.

    Where none is stated the positions are taken as µm, as the programs of microscopes write them.
    """
    units = {unit(title).lower().rstrip("s") for title in titles}
    if len(units) != 1:
        return None, True
    stated = units.pop()
    return _UM_PER_UNIT.get(stated), bool(stated)
