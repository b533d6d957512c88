"""Files of every format that is read, small and whole, for those who damage them; and whether one is still the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import Cube
from tests import instrument_files as files
from tests import science_files


@dataclass(frozen=True)
class Sample:
    """A good file (or several that belong together), the one opened, and those that are damaged."""

    opened: Path
    damaged: tuple[Path, ...]
    reader: Callable = read
    flips: bool = True
    rows_may_be_missing: bool = False
    points_may_be_missing: bool = False
    """Whether the rows of a text are the points of the spectra."""
    axis_may_change: bool = False
    """For formats that state the ends of an even axis once."""


def _png_of_16_bits(path: Path, values: np.ndarray) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    path.write_bytes(imagecodecs.png_encode(values[:, :, :3] * 100))


def _tiff_of_a_palette(path: Path, values: np.ndarray) -> None:
    colours = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(path, values[:, :, 0].astype(np.uint8), photometric="palette", colormap=colours)


def _planes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, 2, 0))


PICTURES: dict[str, Callable[[Path, np.ndarray], None]] = {
    "16 bits.png": _png_of_16_bits,
    "palette.png": lambda path, values: (
        Image.fromarray(values[:, :, :3].astype(np.uint8)).quantize(9).save(path)
    ),
    "plain.bmp": lambda path, values: Image.fromarray(values[:, :, :3].astype(np.uint8)).save(path),
    "palette.tif": _tiff_of_a_palette,
    "planes.tif": lambda path, values: tifffile.imwrite(
        path, _planes(values[:, :, :3]), photometric="rgb", planarconfig="separate"
    ),
    "samples.tif": lambda path, values: tifffile.imwrite(
        path, values, photometric="minisblack", planarconfig="contig", rowsperstrip=2
    ),
    "deflate.tif": lambda path, values: tifffile.imwrite(
        path, values[:, :, :3], photometric="rgb", compression="zlib", predictor=True
    ),
    "tiles.tif": lambda path, values: tifffile.imwrite(
        path, values[:, :, :3], photometric="rgb", tile=(16, 16), bigtiff=True, byteorder=">"
    ),
    "imagej.tif": lambda path, values: tifffile.imwrite(
        path, _planes(values), imagej=True, metadata={"axes": "CYX"}
    ),
    "ome.tif": lambda path, values: tifffile.imwrite(
        path, _planes(values), ome=True, photometric="minisblack", metadata={"axes": "CYX"}
    ),
}


def written(kind: str, folder: Path) -> Sample:
    values, axis = files.sample(4, 4, 12)
    if kind in ("png", "tif", "stack.tif", "jpg"):
        path = folder / f"a.{kind}"
        image = np.round(values[:, :, :3] * 100).astype(np.uint8)
        if kind == "stack.tif":
            stack = np.moveaxis(values, 2, 0)
            tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "CYX"})
        else:
            Image.fromarray(image).save(path)
        return Sample(path, (path,), flips=kind != "jpg")
    if kind in PICTURES:
        path = folder / f"a{kind[kind.rindex('.') :]}"
        PICTURES[kind](path, np.round(values * 100).astype(np.uint16))
        return Sample(path, (path,), flips=kind != "plain.bmp")
    if kind in ("npy", "npz"):
        path = folder / f"a.{kind}"
        if kind == "npy":
            np.save(path, values)
        else:
            np.savez(path, absorbance=values, wavenumbers_cm1=axis)
        return Sample(path, (path,))
    if kind == "envi":
        path = files.envi(folder, values, axis)
        return Sample(path, (path, path.with_suffix(".dat")))
    if kind in ("tile", "mosaic"):
        files.envi(folder, values, 3.75 * (256 + np.arange(12)))
        (folder / "cube.dat").unlink()
        if kind == "mosaic":
            (folder / "cube.hdr").rename(folder / "scan.hdr")
            path = files.agilent_mosaic(folder, values, edge=2)
            return Sample(path, (path, folder / "Scan_0001_0000.dmd"))
        files.agilent_tile(folder / "cube.dat", values)
        files.agilent_parameters(folder / "cube.bsp", 3.75, 256, 12, 4, 2)
        return Sample(folder / "cube.dat", (folder / "cube.dat", folder / "cube.bsp"))
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(str(folder / "a.zarr"), data=values, chunks=(2, 4, 12))
        array.attrs["wavenumbers_cm1"] = axis.tolist()
        chunk = next(path for path in (folder / "a.zarr").rglob("*") if path.is_file() and path.suffix == "")
        return Sample(folder / "a.zarr", (chunk,))
    if kind in ("h5", "mat73", "ptir"):
        h5py = pytest.importorskip("h5py")
        path = folder / f"a.{kind.replace('73', '')}"
        if kind == "h5":
            with h5py.File(path, "w") as file:
                file.create_dataset("absorbance", data=values, compression="gzip", chunks=(2, 4, 12))
                file["wavenumbers"] = axis
        else:
            files.ptir(path, values, axis) if kind == "ptir" else files.mat73(path, {"c": values, "wn": axis})
        return Sample(path, (path,))
    if kind in ("mat5", "mat5z"):
        io = pytest.importorskip("scipy.io")
        io.savemat(folder / "a.mat", {"c": values, "wn": axis}, do_compression=kind == "mat5z")
        return Sample(folder / "a.mat", (folder / "a.mat",))
    if kind in ("octavvs", "struct", "witec", "cytospec"):
        io = pytest.importorskip("scipy.io")
        io.savemat(folder / "a.mat", files.of_matlab(kind, values, axis))
        return Sample(folder / "a.mat", (folder / "a.mat",))
    if kind == "sparse.h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(folder / "a.h5", "w") as file:
            data = file.create_dataset("data", values.shape, "f4", chunks=(2, 4, 12), fillvalue=-1)
            data[:2] = values[:2]
            file["wavenumbers"] = axis
        return Sample(folder / "a.h5", (folder / "a.h5",))
    if kind == "witec table":
        path = files.table_of_witec(folder / "a.txt", values, axis)
        return Sample(path, (path,), points_may_be_missing=True)
    if kind == "csv":
        rows = [",".join(["name", *map(str, axis)])] + [f"s{n}," + "1," * 11 + "2" for n in range(6)]
        (folder / "a.csv").write_text("\n".join(rows) + "\n")
        return Sample(folder / "a.csv", (folder / "a.csv",), read_spectra, rows_may_be_missing=True)
    if kind == "jcamp":
        lines = [
            "##TITLE=a",
            "##XUNITS=1/CM",
            f"##FIRSTX={axis[0]:g}",
            f"##LASTX={axis[-1]:g}",
            "##NPOINTS=12",
        ]
        table = f"{axis[0]:g}A0J2%TK5j1\n{axis[5]:g}C6%j3TK0LK\n{axis[11]:g}C5\n"
        (folder / "a.dx").write_text("\n".join([*lines, "##XYDATA=(X++(Y..Y))", table + "##END="]))
        return Sample(folder / "a.dx", (folder / "a.dx",), read_spectra, axis_may_change=True)
    if kind == "ptir5":
        pytest.importorskip("h5py")
        path = files.ptir5_map(folder / "a.ptir", values, axis)
        return Sample(path, (path,), axis_may_change=True)
    if kind in ("grams map", "omnic map"):
        path = (
            files.grams(folder / "a.spc", values, axis)
            if kind == "grams map"
            else files.omnic_map(folder / "a.map", values, axis)
        )
        return Sample(path, (path,), axis_may_change=True)
    if kind == "witec graph":
        path = files.witec_graph(folder / "a (Header).txt", values, axis)
        return Sample(path, (path, folder / "a (X-Axis).txt", folder / "a (Y-Axis).txt"))
    if kind == "gsf":
        path = files.gsf(folder / "a.gsf", values[..., 0], XReal=1e-6, YReal=1e-6, XYUnits="m")
        return Sample(path, (path,))
    if kind == "neaspec":
        path = files.neaspec(folder / "a.txt", {"O2A": values}, axis)
        return Sample(path, (path,), rows_may_be_missing=True)
    if kind in ("labspec", "wire text"):
        path = (files.labspec if kind == "labspec" else files.wire_text)(folder / "a.txt", values, axis)
        return Sample(path, (path,), rows_may_be_missing=True)
    if kind == "imzml":
        path = science_files.imzml(folder, values, 100.0 + np.arange(12))
        return Sample(path, (path, path.with_suffix(".ibd")))
    if kind in ("svs", "pages", "subifds"):
        image = np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)
        path = science_files.pyramid(folder, [image, image[::2, ::2]], kind=kind, um=0.5)
        return Sample(path, (path,))
    if kind in ("nii", "nii.gz"):
        path = science_files.nifti(folder / f"a.{kind}", np.arange(96, dtype=np.int16).reshape(4, 6, 1, 4))
        return Sample(path, (path,))
    if kind in ("dcm", "rle.dcm"):
        syntax = f"{science_files.SYNTAX}.{5 if kind == 'rle.dcm' else 1}"
        frames = np.arange(96, dtype=np.uint16).reshape(1, 8, 12)
        path = science_files.dicom(folder / f"a.{kind}", frames, syntax=syntax)
        return Sample(path, (path,))
    if kind == "nxs":
        axes = {
            "sample_y": (np.arange(4.0), "um"),
            "sample_x": (np.arange(4.0), "um"),
            "wavenumber": (axis, "1/cm"),
        }
        path = science_files.nexus(folder / "a.nxs", values, axes)
        return Sample(path, (path,))
    writer, suffix, reader, part = {
        "fsm": (files.fsm, "fsm", read, values),
        "opus map": (files.opus, "0", read, values),
        "opus": (files.opus, "1", read_spectra, values[0, 0]),
        "sp": (files.sp, "sp", read_spectra, values[0, 0]),
        "wdf": (files.wdf, "wdf", read_spectra, values[0]),
        "wdf map": (files.wdf_map, "wdf", read, values),
    }[kind]
    path = writer(folder / f"a.{suffix}", part, axis)
    return Sample(path, (path,), reader)


WRITTEN = (
    *PICTURES,
    *(
        "png",
        "jpg",
        "tif",
        "stack.tif",
        "npy",
        "npz",
        "envi",
        "tile",
        "mosaic",
        "zarr",
        "h5",
        "mat73",
        "ptir",
    ),
    *(
        "mat5",
        "mat5z",
        "csv",
        "fsm",
        "opus",
        "opus map",
        "sp",
        "wdf",
        "wdf map",
        "labspec",
        "wire text",
        "omnic map",
        "grams map",
        "ptir5",
        "jcamp",
        "witec graph",
        "gsf",
        "neaspec",
    ),
    *("imzml", "svs", "pages", "subifds", "nii", "nii.gz", "dcm", "rle.dcm", "nxs"),
)


def difference(sample: Sample, whole: Cube, found: Cube) -> str:
    """What is another shape or axis than in the whole file; '' where nothing is."""
    shape, found_shape = whole.absorbance.shape, found.absorbance.shape
    if sample.rows_may_be_missing and 0 < found_shape[0] < shape[0]:
        found_shape = (shape[0], *found_shape[1:])
    points = found_shape[2] if sample.points_may_be_missing else None
    found_shape = found_shape if points is None else (*found_shape[:2], shape[2])
    if found_shape != shape:
        return f"shape {found_shape}, not {shape}"
    axis, found_axis = whole.wavenumbers_cm1, found.wavenumbers_cm1
    if axis is None or sample.axis_may_change:
        return ""
    tolerance = 0.03 * abs(axis[1] - axis[0])
    is_same = found_axis is not None and np.allclose(found_axis, axis[:points], rtol=0, atol=tolerance)
    return "" if is_same else f"axis {found_axis}, not {axis[:points]}"


def changes(content: bytes, choose: random.Random, n: int, *, flips: bool) -> Iterator[tuple[str, bytes]]:
    """About n: cuts all over the file, most of them early; changed bytes, most of them in its first 4 KiB."""
    yield "cut to nothing", b""
    for _ in range(n // 2):
        at = int(len(content) * choose.random() ** choose.choice((1, 4)))
        yield f"cut at {at}", content[:at]
    for _ in range(n // 2 if flips else 0):
        at = choose.randrange(min(len(content), 4096) if choose.random() < 0.7 else len(content))
        value = choose.choice((0, 255, content[at] ^ 1 << choose.randrange(8)))
        changed = content[:at] + bytes([value]) + content[at + 1 :]
        yield f"byte {at} from {content[at]} to {value}", changed
