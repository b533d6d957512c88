"""What every reader checks at its border: libraries present, sizes within the file, values real numbers."""

from __future__ import annotations

import importlib
import io
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from traceback import walk_tb
from types import ModuleType, TracebackType
from typing import IO

import numpy as np

from compseg_jax.readers.cube import CubeError
from compseg_jax.runtime.extras import install_line
from compseg_jax.runtime.memory import reading_limit_bytes, reading_limit_in_words

# Deflate cannot expand by more than this (zlib technical notes, "Maximum Compression Factor").
DEFLATE_MAX_RATIO = 1032
# Most pixels a byte of a compressed image can stand for: beyond this the announced size is forged.
MAX_PIXELS_PER_BYTE = 8 * DEFLATE_MAX_RATIO
# Nothing that was measured is that much smaller when packed, and that large; sparse cubes reach some 200.
LARGEST_RATIO, LARGE_BYTES = 500, 1 << 30
# What takes less is read without asking how much memory is free.
SMALL_BYTES = 1 << 26
# Up to here float64 holds every integer.
_EXACT = 2**53


def imported(name: str, path: Path, *, extra: str = "instruments") -> ModuleType:
    """Imports the library of a format, or says which extra brings it.

    Raises:
      CubeError: if the library is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CubeError(
            f"{path}: reading it needs the package {name.partition('.')[0]!r}, which cannot be imported "
            f"({error}). Install it with: {install_line(extra)}"
        ) from error


class ReaderFault(CubeError):
    """A reader failed in a way that no file should make it fail."""


# What a mistake in a program raises, whatever the file; damage shows as any other exception.
_FAULTS = (
    AttributeError,
    IndexError,
    NameError,
    TypeError,
    AssertionError,
    NotImplementedError,
    RecursionError,
)


# Decoders that meet damage with exceptions of every kind: what is raised inside them is the file's.
_DECODERS = ("tifffile", "PIL", "imagecodecs")


class Reading(AbstractContextManager[None]):
    """Turns whatever a parser raises into one CubeError that names file and layout.

    Damage shows as any exception a parser can raise (struct, key, value, unicode, memory …), hence the wide net;
    what a mistake in the program raises is said to be one. A CubeError passes unchanged.
    """

    def __init__(self, path: Path, layout: str) -> None:
        self.path, self.layout = path, layout

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, CubeError):
            return
        if isinstance(error, MemoryError):
            raise too_large(self.path, self.layout) from error
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, _FAULTS) and not _within_decoder(trace):
            raise ReaderFault(
                f"{self.path}: a fault of compseg_jax while reading {self.layout} ({said}). Please report it, with "
                "the file if you can; meanwhile export the file in another format."
            ) from error
        raise CubeError(
            f"{self.path}: cannot be read as {self.layout} ({said}). "
            "The file is cut, damaged or of an unknown version; export it again from the instrument."
        ) from error


def _within_decoder(trace: TracebackType | None) -> bool:
    frames = [] if trace is None else [frame for frame, _ in walk_tb(trace)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").partition(".")[0] in _DECODERS


def count(shape: Sequence[int], path: Path, what: str) -> int:
    """Number of values of an array a header announces.

    Raises:
      CubeError: if an extent is below one.
    """
    if not shape or any(int(extent) < 1 for extent in shape):
        raise CubeError(f"{path}: {what} has the shape {tuple(shape)}; every extent must be at least 1.")
    return math.prod(int(extent) for extent in shape)


def size(path: Path, required: int, what: str, *, exact: bool = False) -> None:
    """Compares the bytes a header announces with the bytes the file has, before anything is allocated.

    Raises:
      CubeError: if the file is shorter, or longer where `exact`.
    """
    found = os.path.getsize(path)
    if found < required or (exact and found != required):
        relation = "" if exact else "at least "
        raise CubeError(
            f"{path}: found {found} bytes, but {what} needs {relation}{required}. "
            "The header belongs to another file, or one of them is damaged; export both again."
        )


def room(path: Path, held: float, what: str, *, unpacked: float = 0, packed: float = 0) -> None:
    """Compares the memory that reading takes with what may be taken, before anything is read.

    Args:
      path: the file.
      held: bytes in memory at once: as stored, and once more as floats.
      what: is read, in words.
      unpacked: bytes that come out of a compression; 0 without one.
      packed: those that go into it.

    Raises:
      CubeError: if reading takes more than is allowed, or the file unpacks to what no measurement does.
    """
    if unpacked > max(LARGE_BYTES, LARGEST_RATIO * packed):
        raise CubeError(
            f"{path}: {what} of {unpacked / 2**30:.3g} GiB lies in {packed / 2**20:.3g} MiB; nothing that was measured "
            f"becomes {LARGEST_RATIO} times as small. The file is empty, damaged or was made to fill the memory."
        )
    if held > SMALL_BYTES and held > reading_limit_bytes():
        raise too_large(path, f"{what}, {held / 2**30:.3g} GiB in memory,")


def too_large(path: Path, what: str) -> CubeError:
    """The error for what takes more memory than may be taken."""
    return CubeError(
        f"{path}: {what} is too large to be read at once; {reading_limit_in_words()}. Cut it into samples, or "
        "convert it to what is read by parts: ENVI or .npy of float32, a pyramid of tiled TIFF, or an Agilent mosaic."
    )


def held_bytes(values: int, itemsize: int) -> int:
    """Memory of an array as stored, and once more as floats."""
    return values * (itemsize + max(itemsize, 4))


def companion(path: Path, suffixes: Sequence[str]) -> Path | None:
    """The file of the same stem with one of the suffixes, whatever the case of its name."""
    wanted = [(path.stem + suffix).lower() for suffix in suffixes]
    beside = {entry.name.lower(): entry for entry in sorted(path.parent.iterdir()) if entry.is_file()}
    return next((beside[name] for name in wanted if name in beside), None)


def as_float(values: np.ndarray, path: Path) -> np.ndarray:
    """Floats the rest of the package takes, unscaled and in the machine's byte order.

    Float32 and float64 stay (a memory map stays a memory map); 32- and 64-bit integers become float64,
    which must hold them exactly, as it does up to 2⁵³; everything smaller becomes float32.

    Raises:
      CubeError: if the values are not real numbers, or float64 would change one.
    """
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind not in "fiub":
        raise CubeError(f"{path}: found values of type {values.dtype}; a cube needs real numbers.")
    if kind == "f" and values.dtype.isnative and width in (4, 8):
        return values
    room(path, values.size * (4 if width <= (4 if kind == "f" else 2) else 8), "the array as floats")
    # A base array: `astype` of a memory map would call itself one though it lies in memory.
    plain = np.asarray(values)
    if width <= (4 if kind == "f" else 2):
        return plain.astype(np.float32)
    with np.errstate(over="ignore"):
        wide = plain.astype(np.float64)
    if width >= 8 and values.dtype.newbyteorder("=") != np.float64:
        if kind == "f":
            changed = np.count_nonzero((wide != plain) & ~np.isnan(plain))
        else:
            changed = np.count_nonzero((plain > _EXACT) | (plain < -_EXACT if kind == "i" else False))
        if changed:
            raise CubeError(
                f"{path}: {changed} values of {values.dtype} are not held by float64, which computes here; save them "
                "as float64, or scaled to fewer digits."
            )
    return wide


class NotOpaqueError(CubeError):
    """Pixels of an image are transparent."""


def without_alpha(values: np.ndarray, opaque: float, path: Path, *, channel: int = -1) -> np.ndarray:
    """Drops one channel of an image, its alpha.

    Raises:
      CubeError: if a pixel is not opaque.
    """
    transparent = int(np.count_nonzero(values[:, :, channel] != opaque))
    if transparent:
        raise NotOpaqueError(
            f"{path}: {transparent} pixels are not opaque; what lies below them is unknown. "
            "Flatten the image onto a background, or remove the alpha channel."
        )
    return np.delete(values, channel, axis=2)


def array_header(
    stream: IO[bytes] | io.BufferedIOBase, length: int, path: Path, what: str
) -> tuple[np.dtype, tuple[int, ...]]:
    """Reads a .npy header and checks that its array fits the `length` bytes of the stream.

    Raises:
      CubeError: if the version or type is not readable without pickles, or the length is another.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise CubeError(f"{path}: {what} is .npy version {version}; versions 1.0 and 2.0 are read.")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise CubeError(
            f"{path}: {what} holds {dtype}; only plain real numbers are read (never pickles). "
            "Save it with numpy.save(…, allow_pickle=False)."
        )
    announced = stream.tell() + math.prod(shape) * dtype.itemsize
    if announced != length:
        raise CubeError(
            f"{path}: {what} has {length} bytes, but its header (shape {shape}, {dtype}) needs {announced}. "
            "The file is cut or damaged; save it again."
        )
    return dtype, shape
