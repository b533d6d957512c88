"""What a model's training had to say against it, as model.json keeps it (`training/trouble.py` writes it)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TROUBLE = "training_trouble"
PAINTS_BACKGROUND = "background"


def trouble_of(descriptions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of all networks, each sentence once; models of earlier releases have none."""
    found = [entry for description in descriptions for entry in description.get(TROUBLE) or []]
    return list({entry["sentence"]: entry for entry in found}.values())
