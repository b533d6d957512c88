"""Whether the global heaps of an HDF5 file, where its texts lie, can be walked to their end.

The HDF5 library (2.0 as well as 1.14) follows a free object of length 0 for ever. The layout is that of the HDF5 File
Format Specification 3.0, III.E: a collection is its signature, a version, its size, and objects one after the other.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from compseg_jax.readers.cube import CubeError

_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = struct.Struct("<8sQ")
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(path: Path) -> None:
    """Refuses a file with a collection of which an object has no length, or reaches beyond the collection.

    Raises:
      CubeError: if there is one; the file is damaged.
    """
    if path.stat().st_size < _HEADER.size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_SIGNATURE)
        while at >= 0:
            if at + _HEADER.size <= len(content) and not _ends(content, at):
                raise CubeError(f"{path}: its texts, at byte {at}, are damaged; write the file again.")
            at = content.find(_SIGNATURE, at + 1)


def _ends(content: mmap.mmap, at: int) -> bool:
    _, size = _HEADER.unpack_from(content, at)
    end = at + size
    if size < _HEADER.size or end > len(content):
        return False
    place = at + _HEADER.size
    while place + _OBJECT.size <= end:
        index, _, _, length = _OBJECT.unpack_from(content, place)
        # A free object counts its own header, the others are padded to eight bytes.
        step = length if index == 0 else _OBJECT.size + -(-length // 8) * 8
        if step < _OBJECT.size:
            return False
        place += step
    return place <= end
