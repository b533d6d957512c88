"""MATLAB 5 files parsed with every size checked first.

Layout: MathWorks, "MAT-File Format" (R2019b), chapter 1, "Level 5 MAT-File Format". Parsed here because
scipy.io allocates what a header announces before it looks at the bytes there are (a forged cell of 2²⁷
elements takes 2 GB and six seconds before it is refused).
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import checks
from compseg_jax.readers.cube import CubeError

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
# Data types of numbers and text (table 1-1) as NumPy codes without byte order.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
# Array classes (table 1-3): numbers, and the ones made of other arrays.
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = 1, 2, 3, 4, 5
# Tables, strings and other classes of MATLAB's newer objects: flags and names, then an undocumented content.
_OPAQUE = 17
_COMPLEX_FLAG = 0x08
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Cells:
    """A cell array: its shape and its elements in column-major order."""

    shape: tuple[int, ...]
    elements: tuple[Any, ...]


@dataclass(frozen=True)
class Unread:
    """A variable whose class is not read: what it is, in words, and what to save instead."""

    what: str


def variables(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB 5 file that can be read, as of `contents`."""
    return {name: value for name, value in contents(path).items() if not isinstance(value, Unread)}


def contents(path: Path) -> dict[str, Any]:
    """Reads the variables of a MATLAB 5 file.

    Returns:
      by name: numbers as arrays (memory-mapped where not compressed), text as str with a line for each row, cell
      arrays as `Cells`, a structure or object as a dict of its fields, an array of them as `Cells` of dicts, and
      what cannot be read (tables and other objects, sparse and complex matrices) as `Unread`.

    Raises:
      CubeError: if the file is damaged.
    """
    with checks.Reading(path, "a MATLAB 5 file"):
        checks.size(path, _HEADER_BYTES + 8, "a MATLAB 5 file")
        content = np.memmap(path, np.uint8, "r")
        mark = bytes(content[126:128])
        if mark not in (b"IM", b"MI"):
            raise CubeError(f"{path}: its byte-order mark is {mark!r}; required is 'IM' or 'MI'. Damaged.")
        order = "<" if mark == b"IM" else ">"
        (version,) = struct.unpack(order + "H", bytes(content[124:126]))
        if version != 0x0100:
            raise CubeError(f"{path}: MATLAB file version {version:#06x}; required is 0x0100. Save with -v7.")
        found: dict[str, Any] = {}
        top = _Cursor(memoryview(content)[_HEADER_BYTES:], order)
        while not top.at_end():
            kind, body = top.element()
            if kind == _COMPRESSED:
                kind, body = _Cursor(memoryview(_inflate(body, order, path)), order).element()
            if kind != _MATRIX:
                raise ValueError(f"element of type {kind} where an array is required")
            cursor = _Cursor(body, order)
            name, value = _array(cursor, 0)
            if not isinstance(value, Unread) and not cursor.at_end():
                raise ValueError(f"{name!r} is followed by {len(body) - cursor.at} bytes not its own")
            if name:  # what MATLAB keeps for its objects has none
                found[name] = value
        return found


class _Cursor:
    """A place in a block of data elements; nothing is read beyond the block."""

    def __init__(self, block: memoryview, order: str) -> None:
        self.block, self.order, self.at = block, order, 0

    def at_end(self) -> bool:
        return self.at >= len(self.block)

    def element(self) -> tuple[int, memoryview]:
        """Type and content of the element here; moves past it."""
        kind, length = struct.unpack_from(self.order + "II", self.block, self.at)
        if kind >> 16:
            kind, length, begin, self.at = kind & 0xFFFF, kind >> 16, self.at + 4, self.at + 8
            if length > 4:
                raise ValueError(f"a small element of {length} bytes")
        else:
            begin = self.at + 8
            self.at = begin + length + (0 if kind == _COMPRESSED else -length % 8)
        if begin + length > len(self.block):
            raise ValueError(f"an element of {length} bytes where {len(self.block) - begin} are left")
        return kind, self.block[begin : begin + length]

    def typed(self, required: int) -> memoryview:
        kind, body = self.element()
        if kind != required:
            raise ValueError(f"element of type {kind} where type {required} is required")
        return body

    def arrays(self, number: int, depth: int) -> tuple[Any, ...]:
        """The next `number` arrays. Each ends where its own parts end: WITec understates nested lengths."""
        if 8 * number > len(self.block) - self.at:
            raise ValueError(f"{number} arrays where {len(self.block) - self.at} bytes are left")
        values = []
        for _ in range(number):
            kind, length = struct.unpack_from(self.order + "II", self.block, self.at)
            if kind != _MATRIX:
                raise ValueError(f"element of type {kind} where an array is required")
            self.at += 8
            begin = self.at
            value = np.zeros((0, 0)) if length == 0 else _array(self, depth + 1)[1]
            if isinstance(value, Unread):
                self.at = begin + length + -length % 8
            values.append(value)
        return tuple(values)


def _inflate(body: memoryview, order: str, path: Path) -> bytes:
    stream = zlib.decompressobj()
    begin = stream.decompress(body, 8)
    (announced,) = struct.unpack_from(order + "I", begin, 4)
    if announced > checks.DEFLATE_MAX_RATIO * len(body):
        raise ValueError(f"{announced} bytes announced in {len(body)} compressed ones")
    checks.room(path, 2 * announced, "a variable", unpacked=announced, packed=len(body))
    content = begin + stream.decompress(stream.unconsumed_tail, announced + 8)
    if not stream.eof or len(content) != announced + 8:
        raise ValueError("a compressed variable is cut")
    return content


def _array(cursor: _Cursor, depth: int) -> tuple[str, Any]:
    """Name and value of the array here; the value is `Unread` for a class that is not read."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"arrays nested more than {_MAX_DEPTH} deep")
    (flags,) = struct.unpack_from(cursor.order + "I", cursor.typed(6), 0)
    kind = flags & 0xFF
    if kind == _OPAQUE:
        return bytes(cursor.typed(1)).decode("ascii"), Unread(
            "a table or another object; save its arrays, each by itself"
        )
    if kind not in (_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, *_CLASSES):
        return "", Unread("of a class that holds no numbers")
    shape = tuple(int(extent) for extent in np.frombuffer(cursor.typed(5), cursor.order + "i4"))
    if len(shape) < 2 or any(extent < 0 for extent in shape):
        raise ValueError(f"an array of shape {shape}")
    name = bytes(cursor.typed(1)).decode("ascii")
    number = math.prod(shape)
    if kind == _CELL:
        return name, Cells(shape, cursor.arrays(number, depth))
    if kind in (_STRUCT, _OBJECT):
        return name, _structure(cursor, shape, depth, is_object=kind == _OBJECT)
    if kind == _SPARSE:
        return name, Unread("a sparse matrix; save it with full(…)")
    if flags >> 8 & _COMPLEX_FLAG:
        return name, Unread("complex numbers; save their real part or magnitude")
    stored, body = cursor.element()
    if kind == _CHAR:
        return name, _text(stored, body, cursor.order, shape)
    values: np.ndarray = np.frombuffer(body, cursor.order + _STORED[stored]) if len(body) else np.zeros(0)
    if values.size != number:
        raise ValueError(f"{values.size} numbers where {number} are announced")
    return name, values.reshape(shape, order="F").astype(cursor.order + _CLASSES[kind], copy=False)


def _structure(cursor: _Cursor, shape: tuple[int, ...], depth: int, *, is_object: bool) -> Any:
    if is_object:
        cursor.typed(1)
    (width,) = struct.unpack(cursor.order + "i", cursor.typed(5))
    raw = bytes(cursor.typed(1))
    if width < 1 or len(raw) % width or not raw:
        raise ValueError(f"field names of {width} bytes in {len(raw)}")
    names = [raw[at : at + width].split(b"\0")[0].decode("ascii") for at in range(0, len(raw), width)]
    values = cursor.arrays(math.prod(shape) * len(names), depth)
    records = tuple(
        dict(zip(names, values[at : at + len(names)], strict=True))
        for at in range(0, len(values), len(names))
    )
    return records[0] if len(records) == 1 else Cells(shape, records)


def _text(kind: int, body: memoryview, order: str, shape: tuple[int, ...]) -> str:
    """Text as one line for each row of the character array, which is stored by columns."""
    if kind in _TEXT:
        encoding = _TEXT[kind] + ("" if kind == 16 else "-le" if order == "<" else "-be")
        text = bytes(body).decode(encoding, errors="replace")
    else:
        # WITec stores the units of text as elements of type 4.
        text = "".join(chr(int(unit)) for unit in np.frombuffer(body, order + _STORED[kind]))
    if len(shape) > 2 or shape[0] < 2 or not text:
        return text
    if len(text) != math.prod(shape):
        raise ValueError(f"{len(text)} characters where {shape} are announced")
    return "\n".join(text[row :: shape[0]].rstrip() for row in range(shape[0]))
