"""Small files that announce or unpack to gigabytes, under a limit of memory: one sentence, or read within the limit."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from torture.commands import Ran, begun, ended
from torture.outcomes import Outcome, Row, digest

LIMITS_GIB = (0.1, 0.25, 0.5)
SLACK_MB = 300
"""What a command may take beside the file: libraries that it imports, and a copy in other units."""
ANSWERS_WITHIN_S = 60
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def rows(folder: Path, n: int, seed: int) -> Iterator[Row]:
    """About n cases, over the bombs and the limits in turn."""
    row = Row(
        "bombs under --max-memory: `info`, `ingest`",
        seed,
        f"{len(BOMBS)} kinds; a peak above the limit and {SLACK_MB} MB, or {ANSWERS_WITHIN_S} s, is bad",
    )
    plain = folder / "plain.npz"
    np.savez(plain, absorbance=np.ones((9, 9, 3), np.float32), wavenumbers_cm1=[1700.0, 1600.0, 1500.0])
    base = {command: _watched(_typed(command, plain, 1.0))[1] for command in ("info", "ingest")}
    places = {name: write(folder) for name, write in BOMBS.items()}
    for case, choose in row.choices(n):
        name = list(BOMBS)[case % len(BOMBS)]
        limit_gib, command = choose.choice(LIMITS_GIB), choose.choice(("info", "info", "ingest"))
        words = _typed(command, places[name], limit_gib)
        row.count(
            case, f"{command} of {name}, {limit_gib:g} GiB", _tried(words, base[command] + limit_gib * 1024)
        )
    yield row


def _typed(command: str, path: Path, limit_gib: float) -> list[str]:
    words = [command, str(path), "--out", str(path.with_name(f"{path.name}.png"))]
    if command == "ingest":
        table = path.with_name(f"{path.name}.csv")
        lines = [
            f"{split}{label},{label},{path.name},{split}" for split in ("train", "val") for label in (0, 1)
        ]
        table.write_text("\n".join(["id,label,path,split", *lines]) + "\n")
        words = [command, str(table), "--out", str(path.with_name(f"{path.name}.store"))]
    return [*words, "--max-memory", f"{limit_gib:g}"]


def _tried(words: list[str], most_mb: float) -> Outcome:
    ran, peak_mb = _watched(words)
    outcome = ran.outcome(lambda: True, digest(True))
    if not outcome.is_bad and peak_mb > most_mb + SLACK_MB:
        return Outcome("too much memory", f"{peak_mb:.0f} MB, allowed were {most_mb:.0f} and {SLACK_MB}")
    return outcome


def _watched(words: list[str]) -> tuple[Ran, float]:
    """How a command ended, and the most memory that the system saw it take."""
    process, peaks_mb = begun(words), [0.0]

    def watch() -> None:
        with contextlib.suppress(OSError):
            while found := PEAK.search(Path(f"/proc/{process.pid}/status").read_text()):
                peaks_mb.append(int(found[1]) / 1024)
                time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ran = ended(process, ANSWERS_WITHIN_S)
    watcher.join()
    return ran, max(peaks_mb)


def _png(folder: Path) -> Path:
    side = 13_000
    packing = zlib.compressobj(9)
    data = b"".join(packing.compress(bytes(1 + side)) for _ in range(side)) + packing.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text in parts
    )
    path = folder / "wide.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def _tiff(folder: Path) -> Path:
    import tifffile

    path, tile = folder / "wide.tif", zlib.compress(bytes(1024 * 1024))
    tifffile.imwrite(
        path, iter([tile] * 40 * 40), shape=(40_960, 40_960), dtype=np.uint8, tile=(1024, 1024), compression="zlib",
        photometric="minisblack",
    )  # fmt: skip
    return path


def _npz(folder: Path) -> Path:
    path = folder / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("absorbance.npy", "w", force_zip64=True) as member:
            _npy_head(member.write, (8192, 8192, 8))
            for _ in range(2 * 1024):
                member.write(bytes(1 << 20))
        with archive.open("wavenumbers_cm1.npy", "w") as member:
            np.lib.format.write_array(member, np.linspace(1700, 1000, 8))
    return path


def _npy_head(write: Callable[[bytes], object], shape: tuple[int, ...]) -> None:
    said = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said.encode())


def _npy(folder: Path) -> Path:
    """Of the size that it announces, though hardly anything of it lies on the disk."""
    path = folder / "sparse.npy"
    with path.open("wb") as file:
        _npy_head(file.write, (16_384, 16_384, 8))
        file.truncate(file.tell() + 16_384 * 16_384 * 8 * 4)
    return path


def _envi(folder: Path) -> Path:
    path = folder / "sparse.hdr"
    path.write_text(
        "ENVI\nsamples = 16384\nlines = 16384\nbands = 8\ndata type = 4\ninterleave = bip\nbyte order = 0\n"
        "wavelength units = Wavenumber\nwavelength = {1700, 1600, 1500, 1400, 1300, 1200, 1100, 1000}\n"
    )
    with path.with_suffix(".dat").open("wb") as file:
        file.truncate(16_384 * 16_384 * 8 * 4)
    return path


def _hdf5(folder: Path) -> Path:
    """Chunks that were never written take no room."""
    import h5py

    path = folder / "hollow.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("absorbance", (30_000, 30_000, 8), "f4", chunks=(256, 256, 8), compression="gzip")
        file["wavenumbers"] = np.linspace(1700, 1000, 8)
    return path


def _nested(folder: Path) -> Path:
    import h5py

    path = folder / "nested.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["absorbance"] = np.ones((3, 4, 5))
    return path


def _zarr(folder: Path) -> Path:
    path = folder / "hollow.zarr"
    path.mkdir()
    array = {
        "zarr_format": 3, "node_type": "array", "shape": [30_000, 30_000, 8], "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [256, 256, 8]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {"wavenumbers_cm1": np.linspace(1700, 1000, 8).tolist()},
    }  # fmt: skip
    (path / "zarr.json").write_text(json.dumps(array))
    return path


def _nifti(folder: Path) -> Path:
    path = folder / "zeros.nii.gz"
    head = bytearray(352)
    struct.pack_into("<i8h", head, 0, 348, *([0] * 8))
    struct.pack_into("<8h", head, 40, 3, 16_384, 16_384, 4, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes(head))
        for _ in range(1024):
            file.write(bytes(1 << 20))
    return path


def _matlab(folder: Path) -> Path:
    """A matrix of version 5, packed: zeros of 1 GiB."""
    rows, columns = 16_384, 8192
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    shape = struct.pack("<IIii", 5, 8, rows, columns)
    name = struct.pack("<II8s", 1, 4, b"cube\0\0\0\0")
    size = rows * columns * 8
    body = flags + shape + name + struct.pack("<II", 9, size)
    packing = zlib.compressobj(1)
    packed = packing.compress(struct.pack("<II", 14, len(body) + size) + body)
    packed += b"".join(packing.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packing.flush()
    path = folder / "zeros.mat"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    return path


def _jpeg(folder: Path) -> Path:
    """A picture of 8 × 8 whose head says 65,500 × 65,500."""
    from PIL import Image

    path = folder / "forged.jpg"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    content = path.read_bytes()
    at = content.index(b"\xff\xc0") + 5
    path.write_bytes(content[:at] + struct.pack(">HH", 65_500, 65_500) + content[at + 4 :])
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "PNG of 13,000²": _png,
    "TIFF of 40,960²": _tiff,
    "NPZ of 2 GiB": _npz,
    "NPY of 8 GiB, sparse": _npy,
    "ENVI of 8 GiB, sparse": _envi,
    "HDF5 of 27 GiB, no chunk written": _hdf5,
    "HDF5 of 3,000 nested groups": _nested,
    "zarr of 27 GiB, no chunk written": _zarr,
    "NIfTI of 1 GiB, packed": _nifti,
    "MATLAB of 1 GiB, packed": _matlab,
    "JPEG that says 65,500²": _jpeg,
}
