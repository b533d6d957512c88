"""Every reader knows what it takes in memory before it reads, and refuses in one sentence what takes too much."""

from __future__ import annotations

import gzip
import os
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest

from compseg_jax.cli import main as cli
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.readers import checks, read
from compseg_jax.readers.cube import CubeError
from compseg_jax.runtime.memory import max_memory, reading_limit_bytes

SIDE_PX = 400
ALLOWED_GIB = 1e-5
VALUES = (SIDE_PX, SIDE_PX)


def png(path, side_px=SIDE_PX):
    """A grey picture of zeros; its rows are packed in pieces, so that none is made whole."""
    packing = zlib.compressobj(9)
    rows = bytes(64 * (1 + side_px))
    data = b"".join(
        packing.compress(rows[: (1 + side_px) * min(64, side_px - at)]) for at in range(0, side_px, 64)
    )

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data + packing.flush()) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def tiff(path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, np.zeros(VALUES, np.uint8), compression="zlib", tile=(128, 128))


def npz(path):
    np.savez_compressed(path, absorbance=np.zeros((SIDE_PX // 4, SIDE_PX // 4, 4), np.float32))


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        cube = np.zeros((SIDE_PX // 4, SIDE_PX // 4, 4), np.float32)
        file.create_dataset("absorbance", data=cube, compression="gzip")
        file["wavenumbers"] = np.arange(4.0) + 1000


def zarr(path):
    library = pytest.importorskip("zarr")
    group = library.open_group(store=str(path), mode="w")
    cube = group.create_array(
        "absorbance", shape=(SIDE_PX // 4, SIDE_PX // 4, 4), chunks=(50, 50, 4), dtype="f4"
    )
    cube[:] = np.random.default_rng(0).random(cube.shape, np.float32)
    group.create_array("wavenumbers", data=np.arange(4.0) + 1000)


def matlab(path):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(path, {"cube": np.zeros((SIDE_PX // 4, SIDE_PX // 4, 4))}, do_compression=True)


def nifti(path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros(VALUES, np.uint8), np.eye(4)), path)


def bsq(path):
    """Integers of ENVI, which are made floats."""
    np.zeros(VALUES, np.int16).tofile(path.with_suffix(".img"))
    path.write_text(
        f"ENVI\nsamples = {SIDE_PX}\nlines = {SIDE_PX}\nbands = 1\ndata type = 2\ninterleave = bsq\nbyte order = 0\n"
        "wavelength units = Wavenumber\nwavelength = {1000}\n"
    )


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.png", png), ("a.tif", tiff), ("a.npz", npz), ("a.h5", hdf5), ("a.zarr", zarr), ("a.mat", matlab),
        ("a.nii.gz", nifti), ("a.hdr", bsq),
    ],
)  # fmt: skip
def test_what_takes_more_than_is_allowed_is_refused_before_it_is_read(name, write, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "SMALL_BYTES", 0)
    path = tmp_path / name
    write(path)
    with (
        max_memory(ALLOWED_GIB),
        pytest.raises(CubeError, match=r"too large .* 1e-05 GiB are allowed \(by --max-mem"),
    ):
        read(path)


@pytest.mark.parametrize(
    ("name", "write"), [("a.png", png), ("a.npz", npz), ("a.h5", hdf5), ("a.mat", matlab)]
)
def test_what_unpacks_to_more_than_anything_measured_is_refused(name, write, tmp_path, monkeypatch):
    path = tmp_path / name
    write(path)
    monkeypatch.setattr(checks, "LARGE_BYTES", 1 << 14)
    monkeypatch.setattr(checks, "LARGEST_RATIO", 50)
    with pytest.raises(CubeError, match="nothing that was measured becomes 50 times as small"):
        read(path)


@pytest.mark.parametrize("suffix", [".h5", ".nxs", ".mat"])
def test_groups_within_groups_are_refused_at_once(suffix, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / f"deep{suffix}"
    with h5py.File(path, "w", userblock_size=512 if suffix == ".mat" else 0) as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["absorbance"] = np.zeros((3, 4, 5))
    if suffix == ".mat":
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    began = time.process_time()
    with pytest.raises(CubeError, match="nested more than 64 deep"):
        read(path)
    assert time.process_time() - began < 2


def test_the_limit_is_a_share_of_what_is_free_or_what_was_said(tmp_path, capsys, monkeypatch):
    free = reading_limit_bytes()
    with max_memory(2):
        assert reading_limit_bytes() == 2 * 2**30
        with max_memory(3):
            assert reading_limit_bytes() == 3 * 2**30
        assert reading_limit_bytes() == 2 * 2**30
    assert reading_limit_bytes() == pytest.approx(free, rel=0.5)
    png(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "SMALL_BYTES", 0)
    assert cli.main(["info", "a.png", "--max-memory", "0.00001"]) == 1
    assert "is too large to be read at once; 1e-05 GiB are allowed" in capsys.readouterr().err
    for wrong in (["--max-memory"], ["--max-memory", "-1"], ["--max-memory=nan"], ["--max-memory", "much"]):
        assert cli.main(["info", "a.png", *wrong]) == 1
        assert "--max-memory" in capsys.readouterr().err


def test_what_lies_in_memory_all_the_same_is_one_sentence(tmp_path, monkeypatch):
    def none_left(*_, **__):
        raise MemoryError("Unable to allocate 1.2 TiB")

    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.float32))
    for name in ("as_float", "array_header"):  # outside of what a parser raises, and within
        with monkeypatch.context() as patched:
            patched.setattr(checks, name, none_left)
            with pytest.raises(CubeError, match="too large to be read at once"):
                read(tmp_path / "a.npy")


@pytest.mark.parametrize("size", [-1, 8193, 1_000_000])
def test_a_size_that_no_image_is_to_have_is_refused_with_the_range(size):
    options = IngestOptions(resize=size)
    with pytest.raises(IngestError, match=f"--resize {size}: 1 to 8192 pixels are possible"):
        options.check_resize()


@pytest.mark.slow
def test_real_bombs_end_within_seconds(tmp_path):
    """4 GiB in 4 MB, and what a gigabyte of memory does not hold."""
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("absorbance.npy", "w", force_zip64=True) as stream,
    ):
        described = {"descr": "<f4", "fortran_order": False, "shape": (2**14, 2**14, 4)}
        np.lib.format.write_array_header_1_0(stream, described)
        for _ in range(2**8):
            stream.write(bytes(2**24))
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=1) as stream:
        nibabel = pytest.importorskip("nibabel")
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape((2**14, 2**14))
        stream.write(header.binaryblock.ljust(352, b"\0"))
        for _ in range(2**6):
            stream.write(bytes(2**24))
    png(tmp_path / "bomb.png", 40_000)
    for path in sorted(tmp_path.iterdir()):
        assert os.path.getsize(path) < 10 * 2**20
        began = time.monotonic()
        with max_memory(1), pytest.raises(CubeError, match=r"nothing that was measured|too large to be read"):
            read(path)
        assert time.monotonic() - began < 5
