"""Files that people have and that are not read: what they are, and what to export instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NotRead:
    """What a file is, and what to save or export in its place, in words within a sentence."""

    what: str
    instead: str


_TABLE = "save the sheet as .csv: spectra are read from it, and tables of samples too"
_LABSPEC = NotRead("a file of LabSpec", "export the map or spectrum from LabSpec as text (.txt)")
_JASCO = NotRead("a file of JASCO Spectra Manager", "export it as JCAMP-DX or text")
_DOCUMENT = NotRead("a document", "give the measured data")
_WITEC = NotRead("a project of WITec", "export the image from WITec Project to MATLAB or as a table")
_ARCHIVE = NotRead("an archive of files", "unpack it and give the file inside")
_BY_SUFFIX = {
    **dict.fromkeys((".xls", ".xlsx", ".xlsm", ".ods"), NotRead("a workbook (Excel)", _TABLE)),
    **dict.fromkeys(
        (".doc", ".docx", ".odt", ".ppt", ".pptx", ".pdf"), NotRead("a document", "give the measured data")
    ),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz"), _ARCHIVE),
    **dict.fromkeys((".l6s", ".l6m", ".l5s", ".l5m", ".ngs", ".ngc"), _LABSPEC),
    **dict.fromkeys((".jws", ".jwb", ".jwi"), _JASCO),
    **dict.fromkeys((".wip", ".wid"), _WITEC),
    ".cyt": NotRead("a file of CytoSpec", "save it with File, Save Matlab"),
    ".dms": NotRead(
        "a mosaic of Agilent Resolutions Pro", "give the .dmt file beside it, or export it as ENVI"
    ),
    ".czi": NotRead("an image of ZEISS", "export it as OME-TIFF"),
    ".lif": NotRead("an image of Leica", "export it as OME-TIFF"),
    ".nd2": NotRead("an image of Nikon", "export it as OME-TIFF"),
    ".vsi": NotRead("an image of Olympus or Evident", "export it as OME-TIFF"),
    ".rds": NotRead("an object of R", "write it as .csv, .mat or HDF5"),
    ".rdata": NotRead("a workspace of R", "write its array as .csv, .mat or HDF5"),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth"), NotRead("a pickle", "save the array as .npy or .npz")
    ),
}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
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
    """What a file is that no reader takes, by its content where that is unmistakable, else by its suffix.

    Args:
      path: the file.
      first: its first bytes.
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
            return _BY_SUFFIX[".xls"] if kind == "Workbook" else _DOCUMENT
        if suffix not in _BY_SUFFIX and first.startswith(_OLE) and suffix not in _AGILENT:
            return NotRead(
                "a compound document of an unknown program", "export its data as text, ENVI or HDF5"
            )
    return _BY_SUFFIX.get(suffix)
