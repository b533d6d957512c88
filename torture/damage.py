"""Damage to files: flipped bits, cuts, deleted and swapped parts, undone afterwards."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KINDS = ("flipped", "truncated", "deleted", "swapped")


def damage(choose: random.Random, files: Sequence[Path]) -> tuple[str, dict[Path, bytes]]:
    """Damages one of the files, or two that are swapped; returns what was done, and what they held."""
    kind = choose.choice(KINDS if len(files) > 1 else KINDS[:3])
    path = choose.choice(files)
    before = path.read_bytes()
    held = {path: before}
    shared = Path(os.path.commonpath([each.parent for each in files]))
    named = path.relative_to(shared)
    if kind == "flipped" and before:
        bit = choose.randrange(8 * len(before))
        changed = bytearray(before)
        changed[bit // 8] ^= 1 << bit % 8
        _replace(path, bytes(changed))
        return f"{named} bit {bit} flipped", held
    if kind == "truncated" and before:
        at = choose.randrange(len(before))
        _replace(path, before[:at])
        return f"{named} cut at {at}", held
    if kind == "swapped":
        other = choose.choice([each for each in files if each != path])
        held[other] = other.read_bytes()
        _replace(path, held[other])
        _replace(other, before)
        return f"{named} swapped with {other.relative_to(shared)}", held
    path.unlink()
    return f"{named} deleted", held


@contextmanager
def damaged(choose: random.Random, files: Sequence[Path]) -> Iterator[str]:
    """The same, undone afterwards; yields what was done."""
    what, held = damage(choose, files)
    try:
        yield what
    finally:
        for path, content in held.items():
            _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    """A new file, for the old one may still be mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@contextmanager
def damaged_copy(
    choose: random.Random, folder: Path, files: Sequence[Path], place: Path
) -> Iterator[tuple[Path, str]]:
    """Damage in a copy of the folder that holds the files, for what changes a folder as it reads it."""
    shutil.copytree(folder, place, copy_function=os.link)
    try:
        what, _ = damage(choose, [place / path.relative_to(folder) for path in files])
        yield place, what
    finally:
        shutil.rmtree(place)


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    """Files in a stable order."""
    return sorted(path for path in folder.rglob(pattern) if path.is_file())
