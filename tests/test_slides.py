"""Whole slides and pyramids: written by tifffile as scanners and converters write them, read by level and window."""

from __future__ import annotations

import numpy as np
import pytest
import science_files
import tifffile

from compseg_jax.readers import CubeError, read
from compseg_jax.readers.formats import slide
from compseg_jax.readers.scan import Scan, open_scan

OME_NAMES = ["1655 cm-1", "1545 cm-1"]


def levels(channels: int = 3, dtype=np.uint8, number: int = 3) -> list[np.ndarray]:
    """A pyramid of 70 × 100 pixels and less, each level of its own numbers."""
    random = np.random.default_rng(7)
    top = 255 if dtype == np.uint8 else 60_000
    shapes = [(70 >> at, 100 >> at, channels) for at in range(number)]
    return [random.integers(0, top, shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("kind", ["pages", "subifds", "svs", "planes", "strips"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_is_read_as_written(tmp_path, kind, dtype, channels):
    if kind in ("svs", "planes") and channels == 1:
        pytest.skip("of colours only")
    written = levels(channels, dtype)
    path = science_files.pyramid(tmp_path, written, kind=kind, um=0.5)
    for level, image in enumerate(written):
        cube = read(path, level=level)
        np.testing.assert_array_equal(cube.absorbance, image)
        assert cube.wavenumbers_cm1 is None
        assert cube.pixel_size_um == pytest.approx(0.5 * 100 / image.shape[1])
        assert cube.provenance["stored_type"] == np.dtype(dtype).name
        assert cube.provenance["level"].startswith(
            f"{level} of 3 levels (0: 70 × 100 px of 0.5 µm, 1: 35 × 50 px"
        )
    np.testing.assert_array_equal(read(path).absorbance, written[0])


def test_directories_of_hamamatsu_lead_on_by_64_bits(tmp_path):
    written = levels()
    plain = science_files.pyramid(tmp_path, written, kind="hamamatsu", um=0.5)
    path = science_files.as_ndpi(plain)
    for level, image in enumerate(written):
        cube = read(path, level=level)
        np.testing.assert_array_equal(cube.absorbance, image)
        assert cube.pixel_size_um == pytest.approx(0.5 * 100 / image.shape[1])
    assert cube.provenance["format"] == "Hamamatsu slide"


@pytest.mark.parametrize("kind", ["pages", "svs", "planes", "strips"])
def test_windows_are_parts_of_the_level(tmp_path, kind):
    written = levels()
    path = science_files.pyramid(tmp_path, written, kind=kind)
    scan = open_scan(path, level=0)
    assert isinstance(scan, Scan)
    assert scan.shape == (70, 100, 3)
    for rows, columns in [((3, 60), (15, 17)), ((0, 16), (16, 32)), ((60, 99), (90, 200)), ((5, 5), (7, 9))]:
        part = scan.window(slice(*rows), slice(*columns), slice(1, 3))
        np.testing.assert_array_equal(part, written[0][slice(*rows), slice(*columns), 1:3])


def test_a_window_decodes_only_the_tiles_under_it(tmp_path, monkeypatch):
    path = science_files.pyramid(tmp_path, levels())
    scan = open_scan(path)
    decoded = []
    whole = slide._Page.tile_values
    monkeypatch.setattr(slide._Page, "tile_values", lambda *where: decoded.append(where[2:]) or whole(*where))
    scan.window(slice(17, 31), slice(30, 40))
    assert decoded == [(0, 1, 1), (0, 1, 2)]


def test_a_level_too_large_for_memory_is_named_and_read_by_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(slide, "LARGEST_CUBE_BYTES", 40 * 60 * 3 * 4)
    written = levels()
    path = science_files.pyramid(tmp_path, written)
    with pytest.raises(
        CubeError, match=r"level 0 takes .* Choose a coarser one with level=, of 3 levels \(0: 70"
    ):
        read(path)
    np.testing.assert_array_equal(read(path, level=1).absorbance, written[1])
    np.testing.assert_array_equal(
        open_scan(path).window(slice(9, 20), slice(50, 90)), written[0][9:20, 50:90]
    )


def test_a_level_that_is_not_there_is_refused(tmp_path):
    path = science_files.pyramid(tmp_path, levels())
    with pytest.raises(
        CubeError, match=r"found level=3, required is one of 3 levels \(0: 70 × 100 px, 1: 35 × 50"
    ):
        read(path, level=3)


def test_label_and_macro_are_never_taken(tmp_path):
    written = levels(number=1)
    path = science_files.pyramid(tmp_path, written, kind="svs")
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance, written[0])
    assert cube.provenance["left_out"] == "images that are not the slide: Thumbnail, Label, Macro"
    assert cube.provenance["format"] == "Aperio slide"


def test_a_pyramid_of_wavenumbers_has_its_axis(tmp_path):
    written = levels(2, np.float32)
    path = tmp_path / "bands.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": OME_NAMES}, "PhysicalSizeX": 2.5, "PhysicalSizeY": 2.5}
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as file:
        for at, image in enumerate(written):
            stack = np.moveaxis(image, 2, 0)
            how = {"subifds": len(written) - 1, "metadata": metadata} if at == 0 else {"subfiletype": 1}
            file.write(stack, photometric="minisblack", tile=(16, 16), **how)
    for level, image in enumerate(written):
        cube = read(path, level=level)
        np.testing.assert_array_equal(cube.absorbance, image)
        np.testing.assert_array_equal(cube.wavenumbers_cm1, [1655, 1545])
        assert cube.pixel_size_um == 2.5 * 2**level
    axis = np.array([1700.0, 1600.0])
    np.testing.assert_array_equal(read(path, wavenumbers_cm1=axis, level=1).wavenumbers_cm1, axis)


def test_tiles_that_were_not_scanned_are_white(tmp_path):
    written = levels(number=2)
    path = science_files.pyramid(tmp_path, written)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    written[0][:16, :16] = 255
    np.testing.assert_array_equal(read(path).absorbance, written[0])


def test_what_is_transparent_is_white(tmp_path):
    written = levels(4, number=2)
    written[0][:9, :, 3], written[0][9:, :, 3] = 0, 255
    path = tmp_path / "alpha.tif"
    with tifffile.TiffWriter(path) as file:
        for at, image in enumerate(written):
            file.write(
                image, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16), subfiletype=at > 0
            )
    written[0][:9] = 255
    np.testing.assert_array_equal(read(path).absorbance, written[0][:, :, :3])


@pytest.mark.parametrize(
    ("resolution", "unit", "size_um"),
    [((20_000, 20_000), "centimeter", 0.5), ((72, 72), "inch", None), ((20_000, 10_000), "centimeter", None)],
)
def test_a_resolution_of_a_print_is_no_pixel_size(tmp_path, resolution, unit, size_um):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as file:
        for at, image in enumerate(levels()):
            how = {"resolution": resolution, "resolutionunit": unit, "subfiletype": at > 0}
            file.write(image, photometric="rgb", tile=(16, 16), **how)
    cube = read(path)
    assert cube.pixel_size_um == size_um
    assert ("give pixel_size_um=" in cube.provenance["pixel_size"]) == (size_um is None)
    assert read(path, pixel_size_um=3.0).pixel_size_um == 3


def test_two_slides_in_a_file_are_refused(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for _ in range(2):
            for at, image in enumerate(levels(number=2)):
                how = {"subifds": 1} if at == 0 else {"subfiletype": 1}
                file.write(image, photometric="rgb", tile=(16, 16), **how)
    with pytest.raises(CubeError, match="found 2 slides in one file"):
        read(path)


def test_focal_planes_are_refused_with_what_to_export(tmp_path):
    path = tmp_path / "planes.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for at, image in enumerate(levels(number=2)):
            how = {"subifds": 1, "metadata": {"axes": "ZYXS"}} if at == 0 else {"subfiletype": 1}
            file.write(np.stack([image] * 3), photometric="rgb", tile=(16, 16), **how)
    with pytest.raises(CubeError, match=r"axes ZYXS of shape \(3, 70, 100, 3\).* Save one focal plane"):
        read(path)


def test_openslide_reads_the_same_of_what_both_read(tmp_path):
    pytest.importorskip("openslide", reason="OpenSlide reads what tifffile does not")
    written = [image[: 64 >> at, : 96 >> at] for at, image in enumerate(levels())]
    path = science_files.pyramid(tmp_path, written, um=0.5)
    for level, image in enumerate(written):
        scan = slide._with_openslide(path, level)
        assert scan.shape == image.shape
        assert scan.pixel_size_um == 0.5 * 2**level
        np.testing.assert_array_equal(
            scan.window(slice(3, 16), slice(1, 24), slice(1, 3)), image[3:16, 1:24, 1:3]
        )
        np.testing.assert_array_equal(scan.window(slice(None), slice(None)), image)


def test_a_file_that_is_no_slide_is_refused(tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"no slide")
    with pytest.raises(CubeError, match=r"OpenSlide cannot read it|pip install"):
        read(path)
