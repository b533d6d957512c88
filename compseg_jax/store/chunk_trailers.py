"""What binds each chunk of an array to its place: the last four bytes of it, its CRC-32C, stated in one place for all.

A chunk that lies where another one should has a right checksum of its own. Its last four bytes are read without the
rest, and are held against those that were stated when the array was written.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorstore as ts

from compseg_jax.config.locations import Location
from compseg_jax.store.kvstore import joined, read_parts_later
from compseg_jax.store.read import StoreError

KEY = "chunks_crc32c"
"""Where a group's attributes state them, under 'compseg': path of an array below the group → hexadecimal digits."""
TRAILER_BYTES = 4
_ENTRY_BYTES = 16
"""Of an inner chunk in the index of a shard: where it begins and how long it is, 8 bytes each."""
Chunk = tuple[int, ...]


@dataclass(frozen=True)
class ChunkTrailers:
    """The chunks of an array whose last codec is crc32c, in files of their own or in shards with the index at the end.

    Attributes:
      path: of the array.
      shape: its sizes.
      chunk: sizes of what is read at once.
      file: sizes of what lies in one file: a chunk, or some of them.
    """

    path: Location
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    file: tuple[int, ...]

    @classmethod
    def of(cls, path: Location, array: ts.TensorStore) -> ChunkTrailers:
        """Those of an opened array."""
        layout = array.chunk_layout
        return cls(path, tuple(array.shape), _sizes(layout.read_chunk), _sizes(layout.write_chunk))

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-size // edge) for size, edge in zip(self.shape, self.chunk, strict=True))

    def all(self) -> bytes:
        """As they are in the files, in the order of the chunks; empty ones where a chunk is missing."""
        return b"".join(self._read_later(itertools.product(*map(range, self.grid)))())

    def refuse_others_later(self, stated: bytes, part: Iterable[slice]) -> Callable[[], None]:
        """Begins to read those of the chunks that a part of the array touches.

        Args:
          stated: all trailers of the array, as they were when it was written.
          part: of the array, as slices with a start and a stop.

        Returns:
          what waits for them, and raises StoreError where one is another than was stated.
        """
        if len(stated) != TRAILER_BYTES * math.prod(self.grid):
            raise StoreError(
                f"{self.path}: {len(stated) // TRAILER_BYTES} checksums of chunks are stated, required "
                f"{math.prod(self.grid)}. It was replaced or damaged: predict again."
            )
        spans = [
            range(each.start // edge, -(-each.stop // edge))
            for each, edge in zip(part, self.chunk, strict=True)
        ]
        chunks = list(itertools.product(*spans))
        read = self._read_later(chunks)

        def refuse() -> None:
            for chunk, found in zip(chunks, read(), strict=True):
                at = TRAILER_BYTES * self._number(chunk)
                if found != stated[at : at + TRAILER_BYTES]:
                    raise StoreError(
                        f"{self.path}: its chunk {chunk} is whole, and not the one that was written there: it ends in "
                        "another checksum than is stated. Files were exchanged: predict again."
                    )

        return refuse

    def _number(self, chunk: Chunk) -> int:
        number = 0
        for at, count in zip(chunk, self.grid, strict=True):
            number = number * count + at
        return number

    def _read_later(self, chunks: Iterable[Chunk]) -> Callable[[], list[bytes]]:
        listed = list(chunks)
        if self.file == self.chunk:
            return read_parts_later((self._place(each), slice(-TRAILER_BYTES, None)) for each in listed)
        per_file = tuple(whole // edge for whole, edge in zip(self.file, self.chunk, strict=True))
        files = {
            chunk: tuple(at // each for at, each in zip(chunk, per_file, strict=True)) for chunk in listed
        }
        names = list(dict.fromkeys(files.values()))
        last = slice(-_ENTRY_BYTES * math.prod(per_file) - TRAILER_BYTES, None)
        read_indices = read_parts_later((self._place(name), last) for name in names)

        def read() -> list[bytes]:
            indices = dict(zip(names, read_indices(), strict=True))
            parts = []
            for chunk, name in files.items():
                number = 0
                for at, count in zip(chunk, per_file, strict=True):
                    number = number * count + at % count
                entry = indices[name][_ENTRY_BYTES * number :][:_ENTRY_BYTES]
                begin, size = struct.unpack("<QQ", entry) if len(entry) == _ENTRY_BYTES else (0, 0)
                parts.append((self._place(name), slice(begin + size - TRAILER_BYTES, begin + size)))
            return read_parts_later(parts)()

        return read

    def _place(self, file: Chunk) -> Location:
        return joined(self.path, "/".join(["c", *map(str, file)]))


def _sizes(grid: ts.ChunkLayout.Grid) -> tuple[int, ...]:
    return tuple(each or 1 for each in grid.shape or ())


def stated_trailers(attributes: Mapping[str, Any]) -> Mapping[str, bytes]:
    """What the attributes of a group state of the arrays below it; empty for those of earlier releases.

    Raises:
      ValueError, TypeError, AttributeError: where that cannot be read.
    """
    stated = attributes.get("compseg", {}).get(KEY, {})
    return {name: bytes.fromhex(digits) for name, digits in stated.items()}
