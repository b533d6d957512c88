"""Images whose pixels stand in the rows of a matrix, and where the file says how they become an image.

Quasar (Orange) saves positions `map_x` and `map_y` of every row beside the spectra. OCTAVVS keeps a matrix `AB` with
the wavenumbers in its first column and a pixel in each further one (or first row and rows), and `wh`, the width and
height of the image, whose pixels follow each other along x (`octavvs/io/spectraldata.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from compseg_jax.readers import axis_names, grid
from compseg_jax.readers.cube import CubeError
from compseg_jax.readers.file_contents import Contents, NamedArray

_PAIRS = (("mapx", "mapy"), ("xpos", "ypos"), ("posx", "posy"), ("xposition", "yposition"))


def folded(contents: Contents, path: Path) -> Contents:
    """The contents with matrices of spectra as images, where the file states how they lie; else as they are.

    Raises:
      CubeError: if the size that is stated does not fit the matrix.
    """
    names = {axis_names.plain(name): name for name in contents.arrays}
    if "wh" in names and "ab" in names:
        return _of_octavvs(contents, names["ab"], names["wh"], path)
    for x, y in _PAIRS:
        if x in names and y in names:
            return _of_positions(contents, names[x], names[y], path)
    return contents


def _of_octavvs(contents: Contents, matrix: str, size: str, path: Path) -> Contents:
    array, stated = contents.arrays[matrix], contents.arrays[size]
    if len(array.shape) != 2 or int(np.prod(stated.shape)) != 2:
        return contents
    width, height = (int(extent) for extent in np.ravel(stated.load()))
    pixels = width * height
    if width < 1 or height < 1 or pixels + 1 not in array.shape:
        raise CubeError(
            f"{path}: {size} states {width} × {height} pixels, but {matrix} has the shape {array.shape}; required is a "
            f"column of wavenumbers and {pixels} of spectra. The size belongs to another image; save both again."
        )
    in_columns = array.shape[1] == pixels + 1
    channels = array.shape[0 if in_columns else 1]

    def table() -> np.ndarray:
        return array.load() if in_columns else array.load().T

    def image() -> np.ndarray:
        return np.ascontiguousarray(table()[:, 1:].T).reshape(height, width, channels)

    words = f"{'columns' if in_columns else 'rows'} of {matrix}, x fastest, {size} is (width, height)"
    arrays = {
        **{name: each for name, each in contents.arrays.items() if name not in (matrix, size)},
        matrix: replace(array, shape=(height, width, channels), load=image, said={"axes": words}),
        f"{matrix}/wavenumbers": NamedArray((channels,), lambda: table()[:, 0]),
    }
    return replace(contents, arrays=arrays)


def _of_positions(contents: Contents, x: str, y: str, path: Path) -> Contents:
    along = [contents.arrays[name] for name in (x, y)]
    number = int(np.prod(along[0].shape))
    if number < 2 or int(np.prod(along[1].shape)) != number:
        return contents
    matrices = [
        name
        for name, array in contents.arrays.items()
        if len(array.shape) == 2 and array.shape[0] == number and array.shape[1] > 1
    ]
    if len(matrices) != 1:
        return contents
    positions = np.stack([np.ravel(array.load()).astype(np.float64) for array in along], axis=1)
    placed = grid.of_positions(positions, path)
    if placed is None:
        raise CubeError(
            f"{path}: {x} and {y} are not those of a map: the {number} positions lie on a line or are scattered. "
            "Save a complete map."
        )
    matrix = contents.arrays[matrices[0]]
    channels = matrix.shape[1]
    said = {
        "axes": f"rows of {matrices[0]}, by {x} and {y}",
        "orientation": placed.orientation,
        **placed.left_out(),
    }
    whole = replace(
        matrix, shape=(*placed.shape, channels), load=lambda: placed.image(matrix.load()), said=said
    )
    kept = {name: array for name, array in contents.arrays.items() if name not in (x, y)}
    return replace(contents, arrays={**kept, matrices[0]: whole})
