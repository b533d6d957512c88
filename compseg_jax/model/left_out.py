"""Pixels of an image that no network saw though they are not background: how many, and why, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

LeftOut = Mapping[str, int]
"""Pixels by reason."""
NOT_FINITE = "NaN or infinite values"
TOO_LARGE = "values beyond ±1e15"
"""Such as the largest number of float32, which stands for 'not measured' in many files."""
LARGEST = 1e15
"""No instrument counts as far, and float32 still holds the sum of the squares of a spectrum."""
TOO_SMALL = "no value beyond ±1e-30"
SMALLEST = 1e-30
"""Below it float32 loses digits, and their squares are 0: a file that was scaled wrongly."""
BROKEN = (NOT_FINITE, TOO_LARGE, TOO_SMALL)
"""What is wrong with a spectrum before any step."""


class NothingLeft(ValueError):
    """No pixel of an image is left to predict.

    Attributes:
      left_out: pixels by reason.
    """

    def __init__(self, left_out: LeftOut, pixels: int) -> None:
        super().__init__(why_nothing_is_left(left_out, pixels))
        self.left_out = left_out


def why_nothing_is_left(left_out: LeftOut, pixels: int) -> str:
    """The reason why no pixel of an image is left, a sentence.

    Args:
      left_out: its pixels by reason.
      pixels: all of them.
    """
    number = total(left_out)
    background = (
        "outside the tissue: 0 in every channel, outside its mask, or background to the model's preparation"
    )
    if not number:
        return f"no pixel is left to predict: all {pixels} lie {background}. Look at it with `compseg info`."
    rest = f"; the other {pixels - number} lie {background}" if number < pixels else ""
    return (
        f"no pixel is left to predict: of {pixels}, {number} were left out ({in_words(left_out)}){rest}. Look at the "
        "file with `compseg info`, and write it anew."
    )


def total(left_out: LeftOut) -> int:
    """All pixels left out."""
    return sum(left_out.values())


def in_words(left_out: LeftOut) -> str:
    """The reasons with their pixels, the commonest first; empty where there are none."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{why}: {number}" for why, number in ordered if number)


def added(parts: Sequence[LeftOut]) -> dict[str, int]:
    """Of parts of an image, together."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found)


def most(seen: Sequence[LeftOut]) -> dict[str, int]:
    """Of networks that prepare an image each in its way: by each reason the most that one of them left out."""
    return {
        why: max(each.get(why, 0) for each in seen) for why in dict.fromkeys(w for each in seen for w in each)
    }
