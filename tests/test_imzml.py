"""Mass-spectrometry images: written by pyimzML's writer, read back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import science_files

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.to_store import ingest
from compseg_jax.readers import CubeError, read
from compseg_jax.store import Store

writer = pytest.importorskip("pyimzml.ImzMLWriter", reason="pyimzML writes the files of these tests")
compression = pytest.importorskip("pyimzml.compression")

MZ = np.array([100.5, 200.25, 300.125, 400.0, 1000.75])
IMAGE = np.random.default_rng(5).integers(1, 1 << 20, (3, 4, MZ.size))
COUNTS = '<cvParam cvRef="IMS" accession="IMS:1000043"'


def written(folder: Path, image: np.ndarray = IMAGE, **how) -> Path:
    return science_files.imzml(folder, image, MZ, **how)


def state(path: Path, *lines: str) -> None:
    """Adds parameters to those of the raster."""
    text = path.read_text()
    assert COUNTS in text
    path.write_text(text.replace(COUNTS, "\n".join(lines) + COUNTS))


def pixel_size(direction: str, value: str, unit: str = "micrometer") -> str:
    accession = {"x": "IMS:1000046", "y": "IMS:1000047"}[direction]
    return (
        f'<cvParam cvRef="IMS" accession="{accession}" name="pixel size" value="{value}" unitName="{unit}"/>'
    )


@pytest.mark.parametrize("mode", ["continuous", "processed"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_written_is_read(tmp_path, mode, dtype, compressed):
    how = {}
    if compressed:
        how = {f"{kind}_compression": compression.ZlibCompression() for kind in ("mz", "intensity")}
    image = IMAGE + (1 << 40) if dtype in (np.int64, np.float64) else IMAGE
    cube = read(written(tmp_path, image, mode=mode, dtype=dtype, **how))
    np.testing.assert_array_equal(cube.absorbance, image)
    assert cube.wavenumbers_cm1 is None
    assert cube.pixel_size_um is None
    np.testing.assert_array_equal(cube.provenance["channel_values"], MZ)
    assert cube.provenance["channel_name"] == "m/z"
    assert cube.provenance["stored_type"] == np.dtype(dtype).name
    assert "left_out" not in cube.provenance


def test_either_of_the_two_files_is_the_image(tmp_path):
    path = written(tmp_path)
    np.testing.assert_array_equal(read(path.with_suffix(".ibd")).absorbance, IMAGE)
    path.with_suffix(".ibd").rename(tmp_path / "other.ibd")
    with pytest.raises(CubeError, match=r"companion \(.ibd\)"):
        read(path)


@pytest.mark.parametrize("first", [(1, 1), (0, 0), (17, 301)])
def test_positions_without_a_spectrum_are_zero_and_counted(tmp_path, first):
    image = IMAGE.copy()
    image[0, 0] = image[2, 1] = image[1, 3] = 0
    cube = read(written(tmp_path, image, first=first))
    np.testing.assert_array_equal(cube.absorbance, image)
    assert cube.provenance["left_out"] == "3 of 12 positions have no spectrum; they are 0"
    assert cube.provenance["first_position"] == first


def test_wavenumbers_may_be_given(tmp_path):
    axis = np.linspace(1000, 1800, MZ.size)
    cube = read(written(tmp_path), wavenumbers_cm1=axis)
    np.testing.assert_array_equal(cube.wavenumbers_cm1, axis)
    assert cube.provenance["axis"] == "given by the caller"


@pytest.mark.parametrize(
    ("stated", "size_um"),
    [
        ([pixel_size("x", "25"), pixel_size("y", "25.0")], 25),
        ([pixel_size("x", "50")], 50),
        ([pixel_size("x", "0.02", "millimeter"), pixel_size("y", "20000", "nanometer")], 20),
        ([pixel_size("x", "25"), pixel_size("y", "50")], None),
        ([pixel_size("x", "25", "dots")], None),
        ([pixel_size("x", "0")], None),
    ],
)
def test_pixel_size(tmp_path, stated, size_um):
    path = written(tmp_path)
    state(path, *stated)
    cube = read(path)
    assert cube.pixel_size_um == size_um
    assert (
        size_um
        or "not square" in cube.provenance["pixel_size"]
        or "no length" in cube.provenance["pixel_size"]
    )


def test_spectra_of_different_mz_are_refused(tmp_path):
    path = tmp_path / "peaks.imzML"
    with writer.ImzMLWriter(str(path), mode="processed") as file:
        file.addSpectrum(MZ, MZ, (1, 1, 1))
        file.addSpectrum(MZ + 0.5, MZ, (2, 1, 1))
        file.addSpectrum(MZ[:3], MZ[:3], (3, 1, 1))
    with pytest.raises(CubeError, match=r"2 of 3 spectra have other m/z than the first.*peakAlign"):
        read(path)


def test_several_sections_are_refused(tmp_path):
    path = tmp_path / "block.imzML"
    with writer.ImzMLWriter(str(path), mode="continuous") as file:
        for z in (1, 2):
            file.addSpectrum(MZ, MZ, (1, 1, z))
    with pytest.raises(CubeError, match=r"2 sections \(z = 1 … 2\); save each"):
        read(path)


def test_files_of_two_measurements_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    path, other = written(tmp_path), written(tmp_path / "other")
    other.with_suffix(".ibd").replace(path.with_suffix(".ibd"))
    with pytest.raises(CubeError, match=r"different measurements; copy the two of one export"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="position x" value="4"', 'name="position x" value="7"', r"reach from 1 to 7 along x, but 4"),
        ('name="position x" value="4"', 'name="position x" value="3"', r"two spectra have the same position"),
        ('name="position x" value="1"', 'name="position x" value="0"', r"positions count from 1"),
        ('"external array length" value="5"', '"external array length" value="999999999"', r"cannot be"),
        ('name="no compression"', 'name="MS-Numpress linear compression"', "numpress"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, old, new, message):
    path = written(tmp_path)
    text = path.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    if message == "numpress":
        text, message = text.replace("MS:1000576", "MS:1002312", 1), r"stored with 'MS-Numpress linear"
    path.write_text(text)
    with pytest.raises(CubeError, match=message):
        read(path)


def test_a_cut_ibd_is_refused(tmp_path):
    path = written(tmp_path)
    content = path.with_suffix(".ibd").read_bytes()
    path.with_suffix(".ibd").write_bytes(content[:-1])
    with pytest.raises(
        CubeError, match=rf"found {len(content) - 1} bytes, but .* needs at least {len(content)}"
    ):
        read(path)


def test_pixels_without_a_spectrum_are_background_of_a_store(tmp_path):
    rows = ["id,label,path,split"]
    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32) + 1
    values[0, :3] = 0
    for at in range(4):
        folder = tmp_path / f"s{at}"
        folder.mkdir()
        science_files.imzml(folder, values + at * (values > 0), 100.0 + np.arange(7))
        rows.append(f"s{at},{at % 2},s{at}/image.imzML,{'train' if at < 2 else 'val'}")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    ingest(tmp_path / "t.csv", tmp_path / "store", IngestOptions())
    np.testing.assert_array_equal(Store.open(tmp_path / "store").tissue("s3"), values.any(axis=2))


@pytest.mark.parametrize(("other", "is_shared"), [(MZ * (1 + 1e-7), True), (MZ + 0.1, False)])
def test_samples_of_other_mz_do_not_share_a_store(tmp_path, other, is_shared):
    rows = ["id,label,path,split"]
    for at, mz in enumerate((MZ, other, MZ, MZ)):
        folder = tmp_path / f"s{at}"
        folder.mkdir()
        science_files.imzml(folder, IMAGE + at, mz)
        rows.append(f"s{at},{at % 2},s{at}/image.imzML,{'train' if at < 2 else 'val'}")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    if is_shared:
        ingest(tmp_path / "t.csv", tmp_path / "store", IngestOptions())
        return
    with pytest.raises(IngestError, match="are other m/z than those of"):
        ingest(tmp_path / "t.csv", tmp_path / "store", IngestOptions())
