"""Files of formats from mass spectrometry, pathology, radiology and beamlines, by each format's usual writer."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile


def imzml(
    folder: Path, image: np.ndarray, mz: np.ndarray, *, dtype: Any = np.float32, first=(1, 1), **how: Any
) -> Path:
    """An image (y, x, c) of every pixel that is not all zero, the places (x, y) counted from `first`."""
    writer = pytest.importorskip("pyimzml.ImzMLWriter", reason="pyimzML writes imzML")
    path = folder / "image.imzML"
    with writer.ImzMLWriter(str(path), intensity_dtype=dtype, **{"mode": "continuous", **how}) as file:
        for y, x in np.argwhere(image.any(axis=-1)):
            file.addSpectrum(mz, image[y, x].astype(dtype), (int(x) + first[0], int(y) + first[1], 1))
    return path


APERIO = "Aperio Image Library v12.0.16\r\n{width}x{height} [0,0 {width}x{height}] (16x16) J2K/YUV16 Q=70|AppMag = 20"


def pyramid(
    folder: Path, levels: list[np.ndarray], *, kind: str = "pages", um: float | None = None, **how: Any
) -> Path:
    """Levels (y, x, c), the finest first, in a TIFF as programs write pyramids.

    `kind` is one of: pages, one after the other (libvips, ASAP); subifds (Bio-Formats, QuPath); planes of colours;
    strips instead of tiles; svs with thumbnail, label and macro; hamamatsu, for `as_ndpi`.
    """
    path = folder / ("slide.svs" if kind == "svs" else "pyramid.tif")
    how = {"photometric": "rgb" if levels[0].shape[2] == 3 else "minisblack", "metadata": None, **how}
    how |= {"compression": "adobe_deflate"}
    how |= {"rowsperstrip": 11} if kind == "strips" else {"tile": (16, 16)}
    if um is not None and kind != "svs":
        how |= {"resolutionunit": "centimeter"}
    small = np.zeros((8, 9, 3), levels[0].dtype)
    with tifffile.TiffWriter(path) as file:
        for at, level in enumerate(levels):
            more = dict(how)
            if um is not None and kind != "svs":
                more["resolution"] = (1e4 / um * level.shape[1] / levels[0].shape[1],) * 2
            image = level[:, :, 0] if level.shape[2] == 1 else level
            if kind == "planes":
                image, more = np.moveaxis(image, 2, 0), {**more, "planarconfig": "separate"}
            if kind == "svs":
                size = f"|MPP = {um}" if um else ""
                more["description"] = APERIO.format(width=level.shape[1], height=level.shape[0]) + size
            elif kind == "subifds" and at == 0:
                more["subifds"] = len(levels) - 1
            elif at:
                more["subfiletype"] = 1
            if kind == "hamamatsu":
                # Make of the scanner, and the version of its format.
                more["extratags"] = [(271, 2, 10, "Hamamatsu", True), (65420, 4, 1, 1, True)]
            file.write(image, **more)
            if kind == "svs" and at == 0:
                file.write(small, photometric="rgb", description=f"Aperio Image Library\nthumbnail -> {um}")
        for name, place in (("label", 1), ("macro", 9)) if kind == "svs" else ():
            file.write(
                small, photometric="rgb", description=f"Aperio Image Library\n{name} 9x8", subfiletype=place
            )
    return path


def nifti(path: Path, values: np.ndarray, *, affine: np.ndarray | None = None, unit: str = "mm") -> Path:
    """An image whose array is `values` (x, y, z, …), written by nibabel."""
    nibabel = pytest.importorskip("nibabel", reason="nibabel writes NIfTI")
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def as_ndpi(path: Path) -> Path:
    """A little-endian TIFF with its directories written anew as Hamamatsu does, which lead on by 64 bits."""
    content = bytearray(path.read_bytes())
    (begin,) = struct.unpack_from("<I", content, 4)
    pointer_at = 4
    while begin:
        (entries,) = struct.unpack_from("<H", content, begin)
        directory = bytes(content[begin : begin + 2 + 12 * entries])
        (following,) = struct.unpack_from("<I", content, begin + len(directory))
        content += bytes(-len(content) % 2)
        struct.pack_into("<Q", content, pointer_at, len(content))
        pointer_at = len(content) + len(directory)
        content += (
            directory + bytes(8) + bytes(4 * entries)
        )  # the next directory, and the upper halves of offsets
        begin = following
    path.with_suffix(".ndpi").write_bytes(content)
    return path.with_suffix(".ndpi")


SYNTAX = "1.2.840.10008.1.2"
MR_IMAGE, ULTRASOUND_CLIP = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.3.1"


def dicom(path: Path, frames: np.ndarray, *, syntax: str = f"{SYNTAX}.1", **attributes: Any) -> Path:
    """Frames (frame, y, x) or (frame, y, x, 3) of integers, written by pydicom; other attributes by their keyword."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom writes DICOM")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = f"{SYNTAX}.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", "MR"
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    dataset.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * frames.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(frames.dtype.kind == "i")
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    if syntax == f"{SYNTAX}.5":
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == f"{SYNTAX}.2":
        dataset.PixelData = frames.astype(frames.dtype.newbyteorder(">")).tobytes()
    little, implicit = syntax != f"{SYNTAX}.2", syntax == SYNTAX
    dataset.save_as(path, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return path


def nexus(
    path: Path,
    signal: np.ndarray,
    axes: dict[str, tuple[np.ndarray, str]],
    *,
    version: int = 3,
    groups: tuple[str, ...] = ("data",),
    default: bool = True,
    **how: Any,
) -> Path:
    """A signal with one axis (values, unit) for each dimension, as versions 1 to 3 of NeXus' rules say it."""
    h5py = pytest.importorskip("h5py", reason="h5py writes NeXus")
    with h5py.File(path, "w") as file:
        file.attrs["NX_class"] = "NXroot"
        entry = file.create_group("entry1")
        entry.attrs["NX_class"] = "NXentry"
        if default:
            file.attrs["default"], entry.attrs["default"] = "entry1", groups[-1]
        for name in groups:
            group = entry.create_group(name)
            group.attrs["NX_class"] = "NXdata"
            dataset = group.create_dataset("intensity", data=signal, **how)
            for at, (axis, (values, unit)) in enumerate(axes.items()):
                group[axis] = values
                if unit:
                    group[axis].attrs["units"] = unit
                if version == 1:
                    group[axis].attrs["axis"] = at + 1
            if version == 3:
                group.attrs["signal"] = "intensity"
                group.attrs["axes"] = list(axes)
            else:
                dataset.attrs["signal"] = 1
            if version == 2:
                dataset.attrs["axes"] = ":".join(axes)
    return path
