"""NIfTI images (.nii, .nii.gz) through nibabel: an image, or a slice of a volume with its sequences as channels."""

from __future__ import annotations

import gzip
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from compseg_jax.readers import axis, checks, pixel_size
from compseg_jax.readers.cube import Cube, CubeError

_SLICE = re.compile(r"slice:([0-9]{1,6})")
_CHUNK_BYTES = 1 << 20
_UM_PER_UNIT = {"meter": 1e6, "mm": 1e3, "micron": 1.0}
# Pixels of magnetic resonance and of a body's tomogram.
_LARGEST_PIXEL_UM = 2e4
_TOWARDS = {"L": "left", "R": "right", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


def read(
    path: str | os.PathLike[str],
    *,
    wavenumbers_cm1: np.ndarray | None = None,
    variable: str | None = None,
) -> Cube:
    """Reads an image, or the slice `variable='slice:K'` (K from 0, along z) of a volume.

    The file's x runs along the columns and its y along the rows, as stored, never turned, so that a reference mask
    of the same series fits; `orientation` in provenance says where they point in the patient. What follows z
    (sequences, echoes or times) are the channels; the file's slope and intercept are applied.

    Returns:
      the cube, values of shape (y, x, c).

    Raises:
      CubeError: if the file is damaged, a volume of which no slice is named, or holds complex numbers.
    """
    path = Path(path)
    nibabel = checks.imported("nibabel", path, extra="medical")
    with checks.Reading(path, "a NIfTI image"):
        if path.suffix.lower() == ".gz" and not path.stem.lower().endswith(".nii"):
            raise CubeError(f"{path}: of compressed files .nii.gz is read; unpack it and give what it holds.")
        try:
            image = nibabel.load(path)
        except nibabel.filebasedimages.ImageFileError as error:
            raise CubeError(f"{path}: it is no NIfTI image ({error}). Export it again as .nii.") from error
        if not isinstance(image, nibabel.Nifti1Image):
            raise CubeError(f"{path}: found {type(image).__name__}; required is a NIfTI image. Convert it.")
        shape = tuple(int(extent) for extent in image.shape)
        dtype = image.get_data_dtype()
        number = checks.count(shape, path, "the image")
        required = int(image.dataobj.offset) + number * dtype.itemsize
        if path.suffix.lower() == ".gz":
            # A slice of what is compressed is read after all that lies before it.
            held = checks.held_bytes(number, dtype.itemsize)
            checks.room(path, held, "an image", unpacked=required, packed=os.path.getsize(path))
        _check_size(path, required)
        values, place = _slice(image, shape, variable, path)
        size_um, size_stated = _pixel_size_um(image.header)
        codes = nibabel.aff2axcodes(image.affine)
    provenance = {
        "source": str(path),
        "format": "NIfTI",
        **place,
        "stored_type": dtype.name if dtype.names is None else "colours of uint8",
        "orientation": f"as stored: {_directions(codes)}",
        "pixel_size": size_stated,
        **axis.of_picture(wavenumbers_cm1),
    }
    return Cube(checks.as_float(values, path), wavenumbers_cm1, size_um, provenance)


def _check_size(path: Path, required: int) -> None:
    """Compares the bytes announced with those of the file, unpacked where it is compressed."""
    if path.suffix.lower() != ".gz":
        checks.size(path, required, "its header", exact=True)
        return
    if required > checks.DEFLATE_MAX_RATIO * path.stat().st_size:
        raise CubeError(f"{path}: its header announces {required} bytes, more than it can hold; damaged.")
    found = 0
    with gzip.open(path) as stream:
        while found <= required and (part := stream.read(_CHUNK_BYTES)):
            found += len(part)
    if found != required:
        raise CubeError(
            f"{path}: unpacked it has {'more' if found > required else found} bytes, but its header needs {required}. "
            "The file is cut or damaged; copy it again."
        )


def _slice(
    image: Any, shape: tuple[int, ...], variable: str | None, path: Path
) -> tuple[np.ndarray, dict[str, str]]:
    """Values (y, x, c) of the one slice, and what it is for the provenance."""
    padded = (*shape, *[1] * (3 - len(shape)))
    width, height, depth = padded[:3]
    at = 0
    if variable is not None or depth > 1:
        match = _SLICE.fullmatch(variable or "")
        if match is None or int(match[1]) >= depth:
            found = f"; found variable={variable!r}" if variable else ""
            raise CubeError(
                f"{path}: it holds a volume of {depth} slices (x, y, z …: {' × '.join(map(str, shape))}){found}. "
                f"Name one, such as variable='slice:{depth // 2}' (0 … {depth - 1}), or save those that you want "
                "as images or .npy of shape (y, x, sequence)."
            )
        at = int(match[1])
    part = image.dataobj[:, :, at] if len(shape) > 2 else np.asanyarray(image.dataobj)
    values = np.asarray(part)
    if values.dtype.names is not None:
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
    channels = math.prod(values.shape[2:])
    values = values.reshape(width, height, channels).swapaxes(0, 1)
    if image.get_data_dtype().names is not None and channels == 4:
        values = checks.without_alpha(values, 255, path)
    return values, {} if depth == 1 else {"variable": f"slice:{at}", "slices": f"{at} of 0 … {depth - 1}"}


def _pixel_size_um(header: Any) -> tuple[float | None, str]:
    unit = header.get_xyzt_units()[0]
    sizes = [float(each) for each in header.get_zooms()[:2]]
    if unit not in _UM_PER_UNIT:
        return None, f"{sizes[0]:g} × {sizes[1]:g} of no stated unit; give pixel_size_um= where you know it"
    sizes_um = [size * _UM_PER_UNIT[unit] for size in sizes]
    stated = f"pixdim {sizes[0]:g} × {sizes[1]:g} {unit}"
    return pixel_size.judged(sizes_um, stated, most_um=_LARGEST_PIXEL_UM)


def _directions(codes: tuple[str | None, ...]) -> str:
    """Where columns and rows run in the patient."""
    words = [_TOWARDS.get(code or "", "nowhere stated") for code in codes[:2]]
    return f"columns run to the patient's {words[0]}, rows to {words[1]}"
