"""Ids of samples, which are names of files: on this machine, and on every other that a store may be copied to."""

from __future__ import annotations

import re
import unicodedata

LONGEST_ID_BYTES = 200
_NOT_IN_NAMES = '/\\:*?"<>|'
# Windows opens its devices under these names, in every folder and with every suffix.
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])", re.IGNORECASE)


def is_file_name(sample_id: str) -> bool:
    """Whether an id is the name of a file that lies where it should, here; stores of earlier releases hold such."""
    return (
        bool(sample_id.strip())
        and not sample_id.startswith(".")
        and len(sample_id.encode(errors="surrogatepass")) <= LONGEST_ID_BYTES
        and not any(character in _NOT_IN_NAMES or not character.isprintable() for character in sample_id)
    )


def names_a_file(sample_id: str) -> bool:
    """Whether an id can be the name of a cube on every file system."""
    return (
        is_file_name(sample_id)
        and not sample_id.endswith((".", " "))
        and not _DEVICE.fullmatch(sample_id.partition(".")[0].rstrip())
    )


def as_file_name(name: str) -> str:
    """A name with what no file name can hold replaced; not shortened.

    >>> as_file_name("P7: core/3"), as_file_name("con.core"), as_file_name("..a. ")
    ('P7_ core_3', 'con_.core', 'a')
    """
    kept = "".join("_" if c in _NOT_IN_NAMES or not c.isprintable() else c for c in name)
    kept = kept.lstrip(".").rstrip(". ")
    first, dot, rest = kept.partition(".")
    return f"{first}_{dot}{rest}" if _DEVICE.fullmatch(first.rstrip()) else kept


def same_file(sample_id: str) -> str:
    """What two ids share that are one file on Windows or macOS: neither tells case, nor how an accent is written.

    >>> same_file("Müller"), same_file("MU\\u0308LLER")
    ('müller', 'müller')
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", sample_id).casefold())
