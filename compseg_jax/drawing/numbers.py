"""Numbers as text."""

from __future__ import annotations

UNKNOWN = "–"


def number(value: object, digits: int = 3) -> str:
    """A number in few digits, a dash where there is none."""
    if value is None or isinstance(value, str):
        return value or UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def percent(value: object) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else UNKNOWN


def interval(value: object) -> str:
    """[lo, hi] as text."""
    return f"{value[0]:.3f} to {value[1]:.3f}" if isinstance(value, list | tuple) else UNKNOWN
