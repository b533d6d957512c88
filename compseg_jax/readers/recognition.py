"""From a file to a cube or to spectra: one module per format, chosen by one table of name and first bytes."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from compseg_jax.config.regular_files import refuse_special
from compseg_jax.readers import not_read
from compseg_jax.readers.checks import too_large
from compseg_jax.readers.cube import Cube, CubeError
from compseg_jax.readers.point_spectra import Spectra
from compseg_jax.readers.reading_options import Instructions, check_instructions
from compseg_jax.readers.transmittance import (
    Kind,
    converted_provenance,
    refuse_pictures,
    settled,
    to_absorbance,
)


@dataclass(frozen=True)
class Format:
    """How a format is recognised, and the module that reads it.

    Attributes:
      name: the format in words.
      module: module of this package with `read(path) -> Cube`, `read_spectra(path) -> Spectra`, or both.
      suffixes: lower-case patterns (fnmatch) of the file name's suffix.
      magic: first bytes of the file, one of which must be there; empty where the format has none.
      companions: suffixes, one of which a file of the same stem beside it must have; empty for none.
      takes: which of the keywords `variable`, `axes` and `level` of :func:`read` its module takes.
      stands_beside: whether another file beside it stands for the image, so that in a folder it is passed over.
      told_by_content: whether the module's `holds(path) -> bool` has the last word, as among formats of text.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    companions: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    told_by_content: bool = False
    stands_beside: bool = False


_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
# The size of the header, 348 bytes of NIfTI-1 or 540 of NIfTI-2, in either byte order.
_NIFTI = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")

# The first row whose suffix, first bytes and companions all fit is used; so the order of rows of the same
# suffix matters: an Agilent tile also carries an ENVI header, which knows less.
FORMATS: tuple[Format, ...] = (
    Format("PNG image", "image", (".png",), (b"\x89PNG\r\n\x1a\n",)),
    Format("JPEG image", "image", (".jpg", ".jpeg"), (b"\xff\xd8\xff",)),
    Format("BMP image", "image", (".bmp",), (b"BM",)),
    Format(
        "TIFF or OME-TIFF image",
        "image",
        (".tif", ".tiff"),
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        takes=("axes", "level"),
    ),
    Format("NumPy array", "array", (".npy",), (b"\x93NUMPY",), takes=("axes",)),
    Format("NumPy archive", "array", (".npz",), (_ZIP,), takes=("variable", "axes")),
    Format("Agilent FPA mosaic", "agilent", (".dmt",), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    Format("Agilent FPA tile", "agilent", (".bsp",), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    Format("Agilent FPA tile", "agilent", (".dat",), (), (".bsp",)),
    Format("Agilent FPA tile of a mosaic", "agilent", (".dmd",), stands_beside=True),
    Format("Agilent FPA interferograms", "agilent", (".seq", ".drd"), stands_beside=True),
    Format("ENVI header", "envi", (".hdr",), (b"ENVI", b"\xef\xbb\xbfENVI")),
    Format("header of another program", "envi", (".hdr",), told_by_content=True),
    Format(
        "ENVI data",
        "envi",
        (".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ""),
        (),
        (".hdr",),
        stands_beside=True,
    ),
    Format("MATLAB 5", "matlab", (".mat",), (b"MATLAB 5.0",), takes=("variable", "axes")),
    Format("MATLAB 7.3", "matlab", (".mat",), (b"MATLAB 7.3",), takes=("variable", "axes")),
    Format("MATLAB 4", "matlab", (".mat",), told_by_content=True),
    Format("photothermal map", "ptir", (".ptir",), (_HDF5,), takes=("variable",)),
    Format("NeXus", "nexus", (".nxs", ".nx5", ".nexus"), (_HDF5,), takes=("variable", "axes")),
    Format(
        "NeXus", "nexus", (".h5", ".hdf5", ".hdf"), (_HDF5,), (), ("variable", "axes"), told_by_content=True
    ),
    Format(
        "HDF5", "hdf5", (".h5", ".hdf5", ".hdf", ".hspy", ".he5", ".nc"), (_HDF5,), takes=("variable", "axes")
    ),
    Format("PerkinElmer map", "perkinelmer", (".fsm",), (b"PEPE",)),
    Format("PerkinElmer spectrum", "perkinelmer", (".sp",), (b"PEPE",)),
    Format("Bruker OPUS", "opus", (".[0-9]", ".[0-9][0-9]", ".[0-9][0-9][0-9]"), (b"\x0a\x0a\xfe\xfe",)),
    Format("Renishaw WiRE", "wdf", (".wdf",), (b"WDF1",)),
    Format("OMNIC", "omnic", (".map", ".spa", ".spg", ".srs"), (b"Spectral Data Fi", b"Spectral Exte Fi")),
    Format("GRAMS", "grams", (".spc",), told_by_content=True),
    Format("JCAMP-DX", "jcamp", (".jdx", ".dx", ".jcm", ".jcamp"), told_by_content=True),
    Format("Gwyddion Simple Field", "gsf", (".gsf",), (b"Gwyddion Simple ",)),
    Format("WITec graph", "witec_graph", (".txt", ".dat"), told_by_content=True),
    Format(
        "part of a WITec graph",
        "witec_graph_part",
        (".txt", ".dat"),
        stands_beside=True,
        told_by_content=True,
    ),
    Format("neaSPEC spectra", "neaspec", (".txt", ".nea"), takes=("variable",), told_by_content=True),
    Format("long text table", "long_text", (".txt", ".csv", ".tsv", ".dat"), told_by_content=True),
    Format("text map", "text_map", (".txt", ".csv", ".tsv", ".xyz", ".dat", ".asc"), told_by_content=True),
    Format("imzML", "imzml", (".imzml",), (), (".ibd",)),
    Format("imzML", "imzml", (".ibd",), (), (".imzml",), stands_beside=True),
    Format("Aperio slide", "slide", (".svs",), takes=("level",)),
    Format("Hamamatsu slide", "slide", (".ndpi",), takes=("level",)),
    Format("Akoya slide", "slide", (".qptiff",), takes=("level",)),
    Format("slide", "slide", (".scn", ".bif", ".mrxs", ".vms", ".vmu", ".svslide"), takes=("level",)),
    Format("NIfTI", "nifti", (".nii",), _NIFTI, takes=("variable",)),
    Format("DICOM", "dicom", (".dcm", ".dicom", ".ima"), takes=("variable", "level")),
    Format("DICOM", "dicom", ("", ".[0-9]*"), takes=("variable", "level"), told_by_content=True),
    Format("compressed NIfTI", "nifti", (".gz",), (b"\x1f\x8b",), takes=("variable",)),
    Format("WITec table", "witec_table", (".txt",), told_by_content=True),
    Format("text table of spectra", "text", (".csv", ".tsv", ".txt", ".dpt", ".asc", ".xyz")),
)
"""Every format that is read; the first whose suffix, first bytes and companions fit is used."""
_NOT_TAKEN = {
    "variable": "holds one array",
    "axes": "states the order of its axes",
    "level": "has one resolution",
}
_ZARR = Format("zarr", "zarr", (".zarr",), takes=("variable", "axes"))


def recognise(path: str | os.PathLike[str]) -> Format:
    """Finds the format of a file by its suffix and first bytes, or of a zarr directory by its metadata.

    A file whose suffix is unknown is recognised by its first bytes alone, where these are unmistakable.

    Raises:
      FileNotFoundError: if there is no such file.
      NotRegularError: if it is a named pipe, a socket or a device.
      CubeError: if no format fits.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file. Correct the path.")
    if path.is_dir():
        if any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")):
            return _ZARR
        other = not_read.named(path, b"")
        if other is not None:
            raise CubeError(f"{path}: this folder is {other.what}, which is not read: {other.instead}.")
        raise CubeError(f"{path}: this directory is not a zarr array or group (no zarr.json); give a file.")
    refuse_special(path)
    with path.open("rb") as stream:
        first = stream.read(32)
    named = _named(path.suffix.lower())
    for each in named:
        begins = not each.magic or first.startswith(each.magic)
        if begins and _accompanied(path, each) and (not each.told_by_content or module_of(each).holds(path)):
            return each
    by_content = [each for each in FORMATS if each.magic and first.startswith(each.magic)]
    other = not_read.named(path, first)
    if other is not None:
        advice = f"this is {other.what}, which is not read: {other.instead}"
        raise CubeError(f"{path}: format not recognised (begins with {first[:8]!r}); {advice}.")
    if not named and len({each.module for each in by_content}) == 1 and _accompanied(path, by_content[0]):
        return by_content[0]
    if named and by_content:
        advice = (
            f"its first bytes are those of {by_content[0].name}; rename it to *{by_content[0].suffixes[0]}"
        )
    elif any(each.companions for each in named):
        wanted = sorted({suffix for each in named for suffix in each.companions})
        advice = f"a file of this suffix is read with its companion ({' or '.join(wanted)}) beside it"
    elif named:
        advice = f"{named[0].name} begins otherwise; the file is damaged or misnamed"
    else:
        known = sorted({suffix for each in FORMATS for suffix in each.suffixes if suffix})
        advice = "read are " + " ".join(known) + " and zarr directories; export it as one of these"
    raise CubeError(f"{path}: format not recognised (begins with {first[:8]!r}); {advice}.")


@lru_cache(maxsize=256)
def _named(suffix: str) -> tuple[Format, ...]:
    return tuple(each for each in FORMATS if any(fnmatchcase(suffix, pattern) for pattern in each.suffixes))


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
    axes: str | None = None,
    level: int | None = None,
    pixel_size_um: float | None = None,
    transmittance: Kind | None = None,
) -> Cube:
    """Reads a spectral image of any format in the table.

    Args:
      path: the file (a zarr directory for zarr).
      wavenumbers_cm1: the axis, shape (c,), used instead of the one in the file.
      variable: name of the array to read, for files that hold several (.npz, MATLAB, HDF5, zarr).
      axes: order of the axes in the file, three letters of y, x and c, where it does not state it.
      level: resolution level of a whole slide, 0 the finest.
      pixel_size_um: edge of a pixel in µm, used instead of the one in the file.
      transmittance: what the values are, used instead of what the file states: 'percent', 'fraction' or 'none'.

    Returns:
      the cube, absorbance of shape (y, x, c); its provenance states format, axis and direction. Transmittance is
      converted where the file states it or the caller says so.

    Raises:
      FileNotFoundError: if there is no such file.
      CubeError: if no reader fits, the file is damaged, or it holds no image or no axis.
    """
    path = Path(path)
    given = Instructions(wavenumbers_cm1, variable, axes, level, pixel_size_um, transmittance)
    found = recognise(path)
    module = module_of(found)
    if not hasattr(module, "read"):
        raise CubeError(f"{path}: {found.name} holds spectra, not an image; read it with read_spectra.")
    try:
        cube: Cube = module.read(path, **keywords_for(found, given, path))
    except MemoryError as error:
        raise too_large(path, found.name) from error
    kind, who = settled(cube.provenance, transmittance, lambda: cube.absorbance)
    if kind != "none":
        refuse_pictures(cube.wavenumbers_cm1, cube.absorbance.shape[2], path)
        provenance = converted_provenance(cube.provenance, kind, who)
        cube = replace(cube, absorbance=to_absorbance(cube.absorbance, kind), provenance=provenance)
    if pixel_size_um is None:
        return cube
    provenance = {**cube.provenance, "pixel_size": "given by the caller"}
    return replace(cube, pixel_size_um=float(pixel_size_um), provenance=provenance)


def keywords_for(found: Format, given: Instructions, path: Path) -> dict[str, Any]:
    """What a format's module takes of the caller's instructions.

    Raises:
      CubeError: where one is given that the format does not take, or is no such thing.
    """
    check_instructions(given, path)
    keywords = given.keywords()
    for name in ("pixel_size_um", "transmittance"):
        keywords.pop(name, None)
    axis = keywords.pop("wavenumbers_cm1", None)
    for name, value in keywords.items():
        if name not in found.takes:
            raise CubeError(f"{path}: {found.name} {_NOT_TAKEN[name]}; found {name}={value!r}. Leave it out.")
    if "axes" in keywords:
        keywords["axes"] = keywords["axes"].lower()
    return {"wavenumbers_cm1": None if axis is None else np.asarray(axis, np.float64), **keywords}


def read_spectra(path: str | os.PathLike[str], *, transmittance: Kind | None = None) -> Spectra:
    """Reads the spectra of a single-spectrum file: OPUS, .wdf, .sp, MATLAB, CSV and other text tables.

    Args:
      path: the file.
      transmittance: as of :func:`read`.

    Raises:
      FileNotFoundError: if there is no such file.
      CubeError: if no reader fits, the file is damaged, or it holds no spectra.
    """
    path = Path(path)
    found = recognise(path)
    module = module_of(found)
    if not hasattr(module, "read_spectra"):
        raise CubeError(f"{path}: {found.name} holds an image, not spectra; read it with read.")
    spectra: Spectra = module.read_spectra(path)
    kind, who = settled(spectra.provenance, transmittance, lambda: spectra.absorbance)
    if kind == "none":
        return spectra
    provenance = converted_provenance(spectra.provenance, kind, who)
    return replace(spectra, absorbance=to_absorbance(spectra.absorbance, kind), provenance=provenance)


def module_of(found: Format) -> ModuleType:
    """The module that reads a format."""
    return importlib.import_module(f"compseg_jax.readers.formats.{found.module}")


def _accompanied(path: Path, found: Format) -> bool:
    if not found.companions:
        return True
    beside = {entry.name.lower() for entry in path.parent.iterdir()}
    names = {stem.lower() + suffix for stem in (path.stem, path.name) for suffix in found.companions}
    return bool(names & beside)
