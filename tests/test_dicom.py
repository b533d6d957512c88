"""DICOM images: written by pydicom, or its own examples, read back exactly."""

from __future__ import annotations

import numpy as np
import pytest
import science_files
from science_files import SYNTAX

from compseg_jax.readers import CubeError, read
from compseg_jax.readers.scan import open_scan

pydicom = pytest.importorskip("pydicom", reason="pydicom reads and writes DICOM")

SYNTAXES = {"implicit": SYNTAX, "little": f"{SYNTAX}.1", "big": f"{SYNTAX}.2", "run lengths": f"{SYNTAX}.5"}


def frames(number: int = 1, *, colours: bool = False, dtype=np.uint16) -> np.ndarray:
    limits = np.iinfo(dtype)
    shape = (number, 5, 7, 3) if colours else (number, 5, 7)
    return np.random.default_rng(3).integers(limits.min, limits.max, shape).astype(dtype)


def example(name: str) -> str:
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom brings no {name}")
    return str(path)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32])
@pytest.mark.parametrize("colours", [False, True])
def test_an_image_is_read_as_written(tmp_path, syntax, dtype, colours):
    if colours and np.dtype(dtype).kind == "i":
        pytest.skip("colours have no sign")
    if syntax == "run lengths" and dtype == np.uint32:
        pytest.skip("run lengths are of 8 and 16 bits")
    written = frames(colours=colours, dtype=dtype)
    cube = read(science_files.dicom(tmp_path / "a.dcm", written, syntax=SYNTAXES[syntax]))
    np.testing.assert_array_equal(cube.absorbance, written[0].reshape(5, 7, -1))
    assert cube.wavenumbers_cm1 is None
    assert cube.provenance["stored_type"] == np.dtype(dtype).name
    assert cube.provenance["format"] == "DICOM MR"


@pytest.mark.parametrize("name", ["a.dcm", "IM-0001-0042", "1.2.840.113619.2.5", "1.2.840.1762583", "a.IMA"])
def test_it_is_known_by_its_prefix_where_its_name_says_nothing(tmp_path, name):
    written = frames()
    np.testing.assert_array_equal(
        read(science_files.dicom(tmp_path / name, written)).absorbance[:, :, 0], written[0]
    )


def test_nothing_of_the_patient_is_kept(tmp_path):
    cube = read(science_files.dicom(tmp_path / "a.dcm", frames(), PatientBirthDate="19700101"))
    kept = repr(dict(cube.provenance))
    assert not any(word in kept for word in ("Doe", "Jane", "4711", "1970"))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_frame_of_several_is_named(tmp_path, syntax):
    written = frames(4)
    path = science_files.dicom(tmp_path / "clip.dcm", written, syntax=SYNTAXES[syntax])
    with pytest.raises(CubeError, match=r"it holds 4 frames. Name one, such as variable='frame:2' \(0 … 3\)"):
        read(path)
    with pytest.raises(CubeError, match="found variable='frame:4'"):
        read(path, variable="frame:4")
    cube = read(path, variable="frame:3")
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], written[3])
    assert cube.provenance["frames"] == "3 of 0 … 3"


def test_slope_and_intercept_are_applied(tmp_path):
    written = frames(dtype=np.int16)
    path = science_files.dicom(tmp_path / "a.dcm", written, RescaleSlope=0.5, RescaleIntercept=-1024)
    cube = read(path)
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], 0.5 * written[0] - 1024)
    assert cube.provenance["values"] == "rescaled, slope 0.5, intercept -1024"


def test_those_of_a_frame_are_those_of_its_group(tmp_path):
    groups = []
    for slope in (1, 2):
        transformation, measures, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, 10
        measures.PixelSpacing = [slope, slope]
        group.PixelValueTransformationSequence, group.PixelMeasuresSequence = [transformation], [measures]
        groups.append(group)
    written = frames(2)
    path = science_files.dicom(tmp_path / "a.dcm", written, PerFrameFunctionalGroupsSequence=groups)
    cube = read(path, variable="frame:1")
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], 2.0 * written[1] + 10)
    assert cube.pixel_size_um == 2000


def test_white_as_the_lowest_number_is_said_and_nothing_is_turned(tmp_path):
    written = frames()
    cube = read(science_files.dicom(tmp_path / "a.dcm", written, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(cube.absorbance[:, :, 0], written[0])
    assert cube.provenance["bands"] == "grey, white is the lowest number; numbers as stored"


def test_colours_of_ultrasound_become_rgb(tmp_path):
    grey = np.full((1, 5, 7, 3), 128, np.uint8)
    grey[..., 0] = np.arange(7)
    cube = read(science_files.dicom(tmp_path / "a.dcm", grey, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(cube.absorbance, np.repeat(grey[0, :, :, :1], 3, axis=2), atol=1)
    red = grey.copy()
    red[..., 2] = 255
    cube = read(science_files.dicom(tmp_path / "b.dcm", red, PhotometricInterpretation="YBR_FULL"))
    assert np.all(cube.absorbance[:, :, 0] > cube.absorbance[:, :, 2])


def test_other_colours_are_refused(tmp_path):
    path = science_files.dicom(tmp_path / "a.dcm", frames(), PhotometricInterpretation="HSV")
    with pytest.raises(CubeError, match=r"HSV; required is grey, RGB"):
        read(path)


@pytest.mark.parametrize(
    ("attributes", "size_um"),
    [
        ({"PixelSpacing": [0.3125, 0.3125]}, 312.5),
        ({"PixelSpacing": [0.3, 0.4]}, None),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, 100),
        ({}, None),
    ],
)
def test_pixel_size(tmp_path, attributes, size_um):
    cube = read(science_files.dicom(tmp_path / "a.dcm", frames(), **attributes))
    assert cube.pixel_size_um == size_um
    assert cube.provenance["pixel_size"] != "not stated" or not attributes


@pytest.mark.parametrize("unit", [3, 4])
def test_pixel_size_of_ultrasound_in_centimetres(tmp_path, unit):
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = unit
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.02
    cube = read(science_files.dicom(tmp_path / "a.dcm", frames(), SequenceOfUltrasoundRegions=[region]))
    assert cube.pixel_size_um == (200 if unit == 3 else None)


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("SC_rgb_rle_16bit.dcm", None),
        ("JPGExtended.dcm", None),
        ("examples_palette.dcm", None),
        ("examples_ybr_color.dcm", None),
        ("rtdose_1frame.dcm", None),
    ],
)
def test_what_pydicom_brings_is_read(compressed, plain):
    if compressed in ("MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm"):
        pytest.importorskip("imagecodecs", reason="imagecodecs decodes what pydicom does not")
    path = example(compressed)
    several = int(pydicom.dcmread(path).get("NumberOfFrames") or 1) > 1
    cube = read(path, variable="frame:2" if several else None)
    dataset = pydicom.dcmread(path)
    assert cube.absorbance.shape[:2] == (dataset.Rows, dataset.Columns)
    assert cube.absorbance.shape[2] == (1 if dataset.PhotometricInterpretation.startswith("MONO") else 3)
    assert np.ptp(cube.absorbance) > 0
    if plain is not None:
        np.testing.assert_array_equal(cube.absorbance, read(example(plain)).absorbance)


@pytest.mark.parametrize("name", ["rtplan.dcm", "reportsi.dcm"])
def test_what_holds_no_image_is_refused(name):
    with pytest.raises(CubeError, match="found no image in it"):
        read(example(name))


def test_more_pixels_than_stored_are_refused(tmp_path):
    path = science_files.dicom(tmp_path / "a.dcm", frames(), Rows=4000)
    with pytest.raises(CubeError, match=r"announces 56000 bytes of pixels, but 70 are stored"):
        read(path)


def test_a_whole_slide_is_read_by_windows(tmp_path):
    pytest.importorskip("openslide", reason="OpenSlide reads DICOM slides")
    path = science_files.dicom(
        tmp_path / "a.dcm",
        frames(4, colours=True, dtype=np.uint8),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6",
    )
    with pytest.raises(CubeError, match="OpenSlide cannot read it"):
        open_scan(path)
