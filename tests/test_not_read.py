"""Files that are not read are named, with what to export instead."""

from __future__ import annotations

import zipfile

import instrument_files as files
import numpy as np
import pytest

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xls", OLE + bytes(600) + "Workbook".encode("utf-16-le"), r"a workbook \(Excel\).*\.csv"),
        ("a.data", OLE + bytes(600) + "Workbook".encode("utf-16-le"), r"a workbook \(Excel\).*\.csv"),
        ("a.doc", OLE + bytes(600) + "WordDocument".encode("utf-16-le"), "a document"),
        ("a.jws", OLE + bytes(600), "JASCO.*JCAMP-DX"),
        ("a.thing", OLE + bytes(600), "compound document.*text, ENVI or HDF5"),
        ("a.wip", b"WIT^PR06", "project of WITec.*MATLAB or as a table"),
        ("a.l6m", b"\1\2", "LabSpec.*as text"),
        ("a.czi", b"ZISRAWFILE", "ZEISS.*OME-TIFF"),
        ("a.png", b"GIF89a", "for the web.*PNG or TIFF"),
        ("a.jpg", b"RIFF\x10\0\0\0WEBPVP8 ", "for the web.*PNG or TIFF"),
        ("IMG_0042", b"\0\0\0\x18ftypheic", "of a telephone.*PNG or TIFF"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        ("a.raw", b"\1\xa1F\0i\0n\0n\0", r"mass spectrometer.*imzML.*\.hdr"),
        ("a.mzML", b"<?xml version", "without positions.*imzML"),
        ("a.cub", b"\0\1", "camera.*ENVI"),
        ("a.pkl", b"\x80\4", r"pickle.*\.npz"),
    ],
)
def test_a_file_that_is_not_read_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CubeError, match=said) as raised:
        read(tmp_path / name)
    assert "which is not read: " in str(raised.value)


def test_a_workbook_is_no_archive_of_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.book", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(CubeError, match=r"a workbook \(Excel\)"):
        read(tmp_path / "a.book")
    values, axis = files.sample()
    np.savez(tmp_path / "a.npz", absorbance=values, wavenumbers=axis)
    (tmp_path / "a.npz").rename(tmp_path / "a.arrays")
    np.testing.assert_array_equal(read(tmp_path / "a.arrays").absorbance, values)


def test_a_folder_of_a_mass_spectrometer_is_named(tmp_path):
    (tmp_path / "run.d").mkdir()
    with pytest.raises(CubeError, match=r"this folder is a run of a Bruker .*imzML with common m/z"):
        read(tmp_path / "run.d")
