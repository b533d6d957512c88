"""Files that people have and that are not read: what they are, and what to export instead.

docs/formats.md lists this table; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NotRead:
    """What a file is, and what to save or export in its place, in words within a sentence; the suffixes it has."""

    what: str
    instead: str
    suffixes: tuple[str, ...] = ()


_IMAGE, _OME = "save it as PNG or TIFF", "export it as OME-TIFF"
_ARRAY = "write its array as .csv, .mat or HDF5"

NOT_READ: tuple[NotRead, ...] = (
    NotRead(
        "a file of LabSpec",
        "export the map or spectrum from LabSpec as text (.txt)",
        (".l6s", ".l6m", ".l5s", ".l5m", ".ngs", ".ngc"),
    ),
    NotRead(
        "a project of WITec", "export the image from WITec Project to MATLAB or as a table", (".wip", ".wid")
    ),
    NotRead("a file of CytoSpec", "save it with File, Save Matlab", (".cyt",)),
    NotRead(
        "a mosaic of Agilent Resolutions Pro", "give the .dmt file beside it, or export it as ENVI", (".dms",)
    ),
    NotRead("a file of JASCO Spectra Manager", "export it as JCAMP-DX or text", (".jws", ".jwb", ".jwi")),
    NotRead(
        "a file of Shimadzu LabSolutions IR", "export it as JCAMP-DX or text", (".ispd", ".smf", ".lspd")
    ),
    NotRead(
        "a map of Analysis Studio or PTIR Studio before .ptir",
        "export it as .csv, or save it as .ptir",
        (".axz", ".axd"),
    ),
    NotRead(
        "a cube of Specim, Perception or another camera",
        "export it as ENVI (.hdr with its data)",
        (".cub", ".cue", ".pam"),
    ),
    NotRead(
        "frames of a Princeton or Andor camera",
        "export them as text, TIFF or HDF5 with their wavelengths",
        (".spe", ".sif"),
    ),
    NotRead(
        "a scan of Gwyddion or a probe microscope",
        "export it as .csv, TIFF or HDF5",
        (".gwy", ".ibw", ".nid", ".spm", ".sm4", ".mtrx"),
    ),
    NotRead(
        "raw data of a mass spectrometer, or of ENVI without its header",
        "convert the run to imzML, or copy the .hdr beside it",
        (".raw",),
    ),
    NotRead(
        "a run of a Bruker or Agilent mass spectrometer",
        "export the image as imzML with common m/z (SCiLS Lab, flexImaging)",
        (".d", ".baf", ".tdf", ".tsf", ".mis", ".slx"),
    ),
    NotRead(
        "mass spectra without positions",
        "export the image as imzML",
        (".mzml", ".mzxml", ".mz5", ".mgf", ".wiff"),
    ),
    NotRead("an image of ZEISS", _OME, (".czi", ".zvi", ".lsm")),
    NotRead("an image of Leica", _OME, (".lif", ".lof", ".xlef")),
    NotRead("an image of Nikon", _OME, (".nd2",)),
    NotRead("an image of Olympus or Evident", _OME, (".vsi", ".ets", ".oib", ".oif", ".oir")),
    NotRead("an image of Imaris or another microscope's program", _OME, (".ims", ".stk", ".flex", ".dv")),
    NotRead("a micrograph of an electron microscope", _OME, (".dm3", ".dm4", ".mrc", ".emd")),
    NotRead(
        "a slide of Philips, 3DHISTECH, Motic or KFBio",
        "export it as pyramidal TIFF, DICOM or OME-TIFF",
        (".isyntax", ".mds", ".mdsx", ".kfb", ".sdpc", ".tmap"),
    ),
    NotRead(
        "an image in JPEG 2000, JPEG XL or JPEG XR", _IMAGE, (".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".jxr")
    ),
    NotRead(
        "an image for the web or of a telephone", _IMAGE, (".webp", ".gif", ".heic", ".heif", ".avif", ".ico")
    ),
    NotRead("an image of a drawing program", _IMAGE, (".psd", ".psb", ".xcf", ".ai", ".eps", ".svg")),
    NotRead(
        "a raw image of a camera",
        "develop it to TIFF",
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    ),
    NotRead("a film", "save its frames as PNG or TIFF", (".avi", ".mp4", ".mov", ".mkv", ".wmv")),
    NotRead(
        "a volume of MINC, NRRD, MetaImage, FreeSurfer, PAR/REC or AFNI",
        "convert it to NIfTI (.nii)",
        (".mnc", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".par", ".rec", ".brik", ".head"),
    ),
    NotRead("an image or table of astronomy", "write its array as .npy or HDF5", (".fits", ".fit", ".fts")),
    NotRead(
        "a workbook (Excel)",
        "save spectra as .csv; a table of samples goes to `compseg ingest`, .xlsx as it is",
        (".xls", ".xlsx", ".xlsm", ".ods"),
    ),
    NotRead(
        "a table of another program",
        "save it as .csv",
        (".parquet", ".feather", ".arrow", ".sav", ".dta", ".sas7bdat", ".sqlite", ".db"),
    ),
    NotRead("an object of R", _ARRAY, (".rds",)),
    NotRead("a workspace of R", _ARRAY, (".rdata",)),
    NotRead("a pickle", "save the array as .npy or .npz", (".pkl", ".pickle", ".pt", ".pth")),
    NotRead(
        "a file of annotations",
        "give it as a reference or tissue mask of the image",
        (".geojson", ".json", ".qpdata", ".xml", ".ndpa", ".roi"),
    ),
    NotRead("a file of HDF4", "convert it to HDF5 (h4toh5)", (".hdf4", ".h4")),
    NotRead("a file of NetCDF 3", "convert it to NetCDF 4 (nccopy -k nc4)", (".cdf", ".nc3")),
    NotRead("a table of Orange", "save it as .csv or .xyz", (".tab",)),
    NotRead("a pointer of Git LFS, not the file itself", "run `git lfs pull` where it was cloned", (".lfs",)),
    NotRead("a document", "give the measured data", (".doc", ".docx", ".odt", ".ppt", ".pptx", ".pdf")),
    NotRead(
        "an archive of files",
        "unpack it and give the file inside",
        (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz"),
    ),
)
"""What is not read, what to export instead, and the suffixes by which it is known."""
_BY_SUFFIX = {suffix: each for each in NOT_READ for suffix in each.suffixes}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
# First bytes, from a place in the file on, that no other kind of file has; and a suffix of that kind.
_BY_MAGIC = (
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (0, b"\0\0\0\x0cjP  ", ".jp2"),
    (0, b"\xff\x4f\xff\x51", ".jp2"),
    (4, b"ftypheic", ".heic"),
    (4, b"ftypmif1", ".heic"),
    (4, b"ftypavif", ".avif"),
    (0, b"8BPS", ".psd"),
    (0, b"%PDF", ".pdf"),
    (0, b"ZISRAWFILE", ".czi"),
    (0, b"\xda\xce\xbe\x0a", ".nd2"),
    (0, b"WIT^", ".wip"),
    (0, b"WIT_PR06", ".wip"),
    (0, b"SIMPLE  =", ".fits"),
    (0, b"NRRD000", ".nrrd"),
    (0, b"GWYP", ".gwy"),
    (0, b"Andor Technology", ".sif"),
    (0, b"PAR1", ".parquet"),
    (0, b"\x0e\x03\x13\x01", ".hdf4"),
    (0, b"CDF\x01", ".nc3"),
    (0, b"CDF\x02", ".nc3"),
    (0, b"version https://git-lfs", ".lfs"),
    (0, b"7z\xbc\xaf\x27\x1c", ".7z"),
    (0, b"Rar!", ".rar"),
)
# Streams that tell what an OLE document or a zip is, as their names stand in the file.
_OF_OLE = {name.encode("utf-16-le"): name for name in ("Workbook", "WordDocument", "PowerPoint Document")}
_OF_ZIP = {
    b"xl/workbook": "Workbook",
    b"word/document": "WordDocument",
    b"ppt/presentation": "PowerPoint Document",
}
_DIRECTORY_BYTES = 1 << 22
_AGILENT = (".dmt", ".bsp")


def named(path: Path, first: bytes) -> NotRead | None:
    """What a file or folder is that no reader takes, by its content where that is unmistakable, else by its suffix.

    Args:
      path: the file or folder.
      first: its first bytes, at least 16 where it has them; none of a folder.
    """
    suffix = path.suffix.lower()
    if first.startswith(_OLE) or (first.startswith(_ZIP) and suffix != ".npz"):
        with path.open("rb") as stream:
            content = stream.read(_DIRECTORY_BYTES)
            stream.seek(-min(path.stat().st_size, _DIRECTORY_BYTES), 2)
            content += stream.read()
        marks = _OF_OLE if first.startswith(_OLE) else _OF_ZIP
        kind = next((name for mark, name in marks.items() if mark in content), None)
        if kind is not None:
            return _BY_SUFFIX[".xls" if kind == "Workbook" else ".doc"]
        if suffix not in _BY_SUFFIX and first.startswith(_OLE) and suffix not in _AGILENT:
            return NotRead(
                "a compound document of an unknown program", "export its data as text, ENVI or HDF5"
            )
    by_magic = (kind for at, magic, kind in _BY_MAGIC if first[at:].startswith(magic))
    return _BY_SUFFIX.get(next(by_magic, suffix))
